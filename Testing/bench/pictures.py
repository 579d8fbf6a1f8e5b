"""Pictures of the benchmark: reconstructions beside the truth, and the measured object."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from cases import Case
from PIL import Image
from reconstructions import Result

from NASAM3DLib.evaluate.pictures import Subject, picture_comparison
from NASAM3DLib.evaluate.png import few_colours
from NASAM3DLib.reconstruct.volume import Volume

mpl.use("Agg")

WIDTH_PIXELS = 1296

SHOWN = {
    "rtk-fdk": "itk-rtk FDK",
    "rtk-sart": "itk-rtk SART",
    "rtk-cg": "itk-rtk CG",
    "standard": "ours, standard",
    "best": "ours, best",
}
MARKS = {
    "rtk-fdk": ("FDK", "s", "tab:red"),
    "rtk-sart": ("SART", "s", "tab:red"),
    "rtk-cg": ("CG", "s", "tab:red"),
    "fdk": ("FDK", "o", "tab:blue"),
    "preview": ("preview", "o", "tab:blue"),
    "standard": ("standard", "o", "tab:blue"),
    "best": ("best", "o", "tab:blue"),
    "field": ("field on standard", "^", "tab:cyan"),
    "field-best": ("field on best", "^", "tab:cyan"),
}
TICKS_S = (0.3, 1, 3, 10, 30, 100)
PANELS_IN_ROW = 4


def save_reconstruction_picture(case: Case, volumes: dict[str, Volume], path: Path) -> str:
    """Show the main methods and their errors; return the Markdown that shows the file."""
    shown = {label: volumes[method].to_hu() for method, label in SHOWN.items()}
    if case.targets:
        first = next(iter(case.targets.values()))
        k, j, i = np.argwhere(first.array).mean(axis=0)
    else:
        k, j, i = (np.array(case.truth.grid.shape_kji) - 1) / 2
    subject = Subject(case.truth.grid.to_ras((i, j, k)))
    caption = f"{case.name}: truth, reconstructions and their errors"
    picture = picture_comparison(shown, case.truth.to_hu(), subject, caption=caption)
    with Image.open(io.BytesIO(picture.png)) as drawn:
        scale = WIDTH_PIXELS / drawn.width
    path.write_bytes(few_colours(picture.png, scale=scale))
    return f"![{caption}](pictures/{path.name})"


def save_cost_picture(results: Mapping[str, Sequence[Result]], path: Path) -> str:
    """Plot quality against CPU time for each case; return the Markdown that shows the file."""
    import matplotlib.pyplot as plt

    n_columns = min(PANELS_IN_ROW, len(results))
    n_rows = -(-len(results) // n_columns)
    figure, axes = plt.subplots(
        n_rows,
        n_columns,
        figsize=(4.2 * n_columns, 3.8 * n_rows),
        squeeze=False,
        layout="constrained",
    )
    for panel in axes.flat[len(results) :]:
        panel.set_axis_off()
    for panel, (name, listed) in zip(axes.flat, results.items(), strict=False):
        staged = [r for r in listed if r.method in ("preview", "standard", "best")]
        panel.plot([r.cpu_s for r in staged], [r.psnr for r in staged], color="tab:blue", lw=1)
        for result in listed:
            label, marker, colour = MARKS[result.method]
            panel.plot(result.cpu_s, result.psnr, marker, color=colour)
            below = result.method.startswith(("rtk", "field"))
            panel.annotate(
                label,
                (result.cpu_s, result.psnr),
                xytext=(0, -12 if below else 6),
                textcoords="offset points",
                ha="center",
                fontsize=8,
                color=colour,
            )
        panel.set_xscale("log")
        panel.set_xticks(TICKS_S, [f"{tick:g}" for tick in TICKS_S])
        panel.minorticks_off()
        panel.margins(x=0.15, y=0.15)
        panel.set_title(name, fontsize=9)
        panel.set_xlabel("CPU time, s")
        panel.set_ylabel("PSNR, dB")
        panel.grid(visible=True, alpha=0.3)
    figure.savefig(path, dpi=80)
    plt.close(figure)
    caption = "Quality against CPU time; red squares itk-rtk, blue and cyan ours"
    return f"![{caption}](pictures/{path.name})"


def save_measured_picture(volumes: dict[str, Volume], path: Path) -> str:
    """Show slices through the densest part of the measured object."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, len(volumes), figsize=(3.6 * len(volumes), 6.6))
    limit = max(float(np.percentile(volume.array, 99.8)) for volume in volumes.values())
    dense = volumes["total variation, best"].array
    k, j, _ = np.argwhere(dense > 0.5 * dense.max()).mean(axis=0).round().astype(int)
    for column, (name, volume) in enumerate(volumes.items()):
        slices = (volume.array[k], volume.array[:, j])
        for row, image in enumerate(slices):
            axes[row, column].imshow(image, cmap="gray", vmin=0, vmax=limit, origin="lower")
            axes[row, column].set_axis_off()
        axes[0, column].set_title(name)
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)
    caption = "Measured object: slices across and along the axis, from 23 views"
    return f"![{caption}](pictures/{path.name})"
