"""Pictures of the benchmark: reconstructions beside the truth, and the measured object."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib as mpl
import numpy as np
from cases import Case
from PIL import Image

from NASAM3DLib.evaluate.pictures import Subject, picture_comparison
from NASAM3DLib.reconstruct.volume import Volume

mpl.use("Agg")

WIDTH_PIXELS = 1296

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
    path.write_bytes(_small(picture.png))
    return f"![{caption}](pictures/{path.name})"


def _small(png: bytes) -> bytes:
    """Shrink a picture to 1296 pixels and 200 colours: a quarter of its size in the repository."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    height = image.height * WIDTH_PIXELS // image.width
    small = image.resize((WIDTH_PIXELS, height), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.quantize(200, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


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
