"""The picture of docs/uncertainty.md: true error and its estimate side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt

from NASAM3DLib.reconstruct.volume import Volume

mpl.use("Agg")

CAPTION = "Reconstruction, true error and uncertainty; the last two share a scale in each row"


@dataclass(frozen=True)
class Shown:
    """One row of the picture."""

    name: str
    truth: Volume
    volume: Volume
    spread: npt.NDArray[np.float32]


def save_picture(rows: list[Shown], path: Path) -> str:
    """Show the middle slice of each scan; return the Markdown that shows the file."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        len(rows), 3, figsize=(9.6, 3.4 * len(rows)), squeeze=False, layout="constrained"
    )
    for row, item in enumerate(rows):
        volume = Volume(item.volume.array, item.volume.grid, uncertainty=item.spread).to_hu()
        truth = item.truth.to_hu().array
        k = truth.shape[0] // 2
        error = np.abs(volume.array[k] - truth[k])
        if volume.uncertainty is None:
            raise ValueError("The conversion lost the uncertainty.")
        spread = volume.uncertainty[k]
        limit = float(np.percentile(2 * spread, 98))
        axes[row, 0].imshow(volume.array[k], cmap="gray", vmin=-300, vmax=400, origin="lower")
        axes[row, 0].set_title(item.name, fontsize=8)
        for column, (image, title) in enumerate(((error, "|error|"), (spread, "sigma")), start=1):
            drawn = axes[row, column].imshow(
                image, cmap="inferno", vmin=0, vmax=limit, origin="lower"
            )
            axes[row, column].set_title(f"{title} [HU]", fontsize=8)
        figure.colorbar(drawn, ax=axes[row, 1:].tolist(), shrink=0.8)
        for axis in axes[row]:
            axis.set_axis_off()
    figure.savefig(path, dpi=90)
    plt.close(figure)
    return f"![{CAPTION}](pictures/{path.name})"
