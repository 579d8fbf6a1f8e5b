"""Pictures of the benchmark: reconstructions beside the truth, and the measured object."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from cases import Case

from NASAM3DLib.evaluate.pictures import Subject, picture_comparison
from NASAM3DLib.reconstruct.volume import Volume

mpl.use("Agg")

SHOWN = (
    "itk-rtk FDK, Hann",
    "itk-rtk SART, 3 iterations",
    "ours, total variation, standard",
    "ours, total variation, best",
)


def save_reconstruction_picture(case: Case, volumes: dict[str, Volume], path: Path) -> str:
    """Show the main methods and their errors; return the Markdown that shows the file."""
    shown = {name: volumes[name].to_hu() for name in SHOWN}
    first = next(iter(case.targets.values()))
    k, j, i = np.argwhere(first.array).mean(axis=0)
    subject = Subject(case.truth.grid.to_ras((i, j, k)))
    caption = f"{case.name}: truth, reconstructions and their errors"
    picture = picture_comparison(shown, case.truth.to_hu(), subject, caption=caption)
    path.write_bytes(picture.png)
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
