"""Tables and picture of the comparison over many bodies."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from NASAM3DLib.evaluate.tables import Cell, Column, Table

CLAIMED_LOSS_DB = 0.5


@dataclass(frozen=True)
class Row:
    """Figures of one scan: PSNR in dB, blur in voxels, strengths as the library takes them."""

    body: str
    n_voxels: int
    arc_deg: float
    noisy: bool
    strength: float
    best_strength: float
    tuned_psnr: float
    best_psnr: float
    peer_psnr: float
    peer_blur: float
    peer_ssim: float
    psnr: float
    ssim: float
    noise_share: float
    outside: bool
    cpu_s: float

    @property
    def loss(self) -> float:
        """What tuning without the truth costs total variation."""
        return self.best_psnr - self.tuned_psnr

    @property
    def gain(self) -> float:
        """What the best quality gains over total variation tuned and blurred with the truth."""
        return self.psnr - self.peer_psnr

    @property
    def name(self) -> str:
        noise = "1e4 photons" if self.noisy else "clean"
        return f"{self.body}, {self.arc_deg:.0f}°, {noise}, {self.n_voxels}³"


def tables(rows: list[Row]) -> list[Table]:
    """Make the summaries and both tables of single scans."""
    return [_summary(rows), _strength_table(rows), _gain_table(rows)]


def _summary(rows: list[Row]) -> Table:
    """Average by body and by kind of scan; the larger volumes are not in the means."""
    smallest = min(row.n_voxels for row in rows)
    small = [row for row in rows if row.n_voxels == smallest]
    groups: list[tuple[str, list[Row]]] = [("all", small)]
    for noisy, arc_deg in sorted({(row.noisy, row.arc_deg) for row in small}):
        name = f"{arc_deg:.0f}°, {'1e4 photons' if noisy else 'clean'}"
        group = [row for row in small if (row.noisy, row.arc_deg) == (noisy, arc_deg)]
        groups.append((name, group))
    for body in dict.fromkeys(row.body for row in small):
        groups.append((body, [row for row in small if row.body == body]))
    columns = (
        Column("scans"),
        Column("number"),
        Column("mean loss by tuning [dB]", 2),
        Column("largest loss [dB]", 2),
        Column(f"losses above {CLAIMED_LOSS_DB} dB"),
        Column("mean gain of best [dB]", 2),
        Column("worst gain [dB]", 2),
        Column("mean gain in SSIM", 4),
    )
    cells = tuple((name, *_group_cells(group)) for name, group in groups)
    caption = f"Means over scans of {smallest}³ voxels; the tables below explain loss and gain"
    return Table(columns, cells, caption)


def _group_cells(rows: list[Row]) -> tuple[Cell, ...]:
    losses, gains = [row.loss for row in rows], [row.gain for row in rows]
    return (
        len(rows),
        float(np.mean(losses)),
        max(losses),
        sum(loss > CLAIMED_LOSS_DB for loss in losses),
        float(np.mean(gains)),
        min(gains),
        float(np.mean([row.ssim - row.peer_ssim for row in rows])),
    )


def _strength_table(rows: list[Row]) -> Table:
    columns = (
        Column("scan"),
        Column("strength, tuned"),
        Column("strength, best for the truth"),
        Column("PSNR, tuned [dB]", 2),
        Column("PSNR, best [dB]", 2),
        Column("loss [dB]", 2),
    )
    cells = tuple(
        (
            row.name,
            f"{row.strength:.2e}",
            f"{row.best_strength:.2e}",
            row.tuned_psnr,
            row.best_psnr,
            row.loss,
        )
        for row in rows
    )
    return Table(columns, cells, "Converged total variation, its strength tuned without the truth")


def _gain_table(rows: list[Row]) -> Table:
    columns = (
        Column("scan"),
        Column("peer's blur [voxels]", 2),
        Column("peer, PSNR [dB]", 2),
        Column("best, PSNR [dB]", 2),
        Column("gain [dB]", 2),
        Column("peer, SSIM", 4),
        Column("best, SSIM", 4),
        Column("noise share", 2),
        Column("outside?"),
        Column("best, CPU s", 1),
    )
    cells = tuple(
        (
            row.name,
            row.peer_blur,
            row.peer_psnr,
            row.psnr,
            row.gain,
            row.peer_ssim,
            row.ssim,
            row.noise_share,
            "yes" if row.outside else "no",
            row.cpu_s,
        )
        for row in rows
    )
    caption = (
        'Quality "best", automatic, beside converged total variation whose strength and blur were '
        "chosen with the truth"
    )
    return Table(columns, cells, caption)


def save_picture(rows: Iterable[Row], path: Path) -> None:
    """Plot loss and gain of every scan."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    rows = list(rows)
    labels = list(dict.fromkeys(f"{row.body}, {row.n_voxels}³" for row in rows))
    figure, panels = plt.subplots(1, 2, figsize=(11, 4.6), sharey=True, layout="constrained")
    kinds = sorted({(row.noisy, row.arc_deg) for row in rows})
    for (noisy, arc_deg), marker in zip(kinds, "osv^", strict=False):
        group = [row for row in rows if (row.noisy, row.arc_deg) == (noisy, arc_deg)]
        places = [labels.index(f"{row.body}, {row.n_voxels}³") for row in group]
        colour = "tab:orange" if noisy else "tab:blue"
        name = f"{arc_deg:.0f}°, {'1e4 photons' if noisy else 'clean'}"
        for panel, values in zip(panels, ("loss", "gain"), strict=True):
            panel.plot(
                [getattr(row, values) for row in group],
                places,
                marker,
                color=colour,
                label=name,
                alpha=0.8,
            )
    panels[0].axvline(CLAIMED_LOSS_DB, color="tab:grey", linestyle="--")
    panels[0].set_xlabel("loss by tuning without the truth, dB")
    panels[0].set_yticks(range(len(labels)), labels)
    panels[0].invert_yaxis()
    panels[1].axvline(0, color="tab:grey", linestyle="--")
    panels[1].set_xlabel('gain of "best" over total variation tuned with the truth, dB')
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(names), fontsize=8)
    for panel in panels:
        panel.grid(visible=True, alpha=0.3)
    figure.savefig(path, dpi=100)
    plt.close(figure)
