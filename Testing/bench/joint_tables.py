"""Tables and picture of the joint refinement's figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from NASAM3DLib.evaluate.tables import Cell, Column, Table
from NASAM3DLib.reconstruct.volume import AIR_ATTENUATION, WATER_ATTENUATION

Figures = dict[str, float]

FEW_VIEWS = (15, 25)
"""The views that the aim is about."""

REAL_BODY, GENERATED_BODY, CHOSEN_ON = BODIES = ("real", "generated", "generated, chosen on")
"""Kinds of bodies; the constants of the gate were chosen on the last."""

MEASURES = {"band": "band PSNR [dB]", "dice": "Dice [%]", "hd95": "HD95 [mm]", "asd": "ASD [mm]"}
MOST_LOST = 0.5
"""Loss of band PSNR, dB, and of Dice, points, that the aim allows in a scan."""

WINDOW_HU = (-160.0, 240.0)


@dataclass(frozen=True)
class Row:
    """Figures of one scan before and after joint refinement; the code that they are of."""

    target: str
    bodies: str
    n_views: int
    noisy: bool
    is_joint: bool
    n_rounds: int
    gain: float
    gain_spread: float
    is_new_mask: bool
    before: Figures
    after: Figures
    dice_on_truth: float
    cpu_s: float
    code: str = ""

    @property
    def scan(self) -> tuple[str, int, bool]:
        """What was scanned how: target, views, noise."""
        return self.target, self.n_views, self.noisy

    def changes(self) -> Figures:
        """Give what each figure has changed by."""
        return {key: self.after[key] - self.before[key] for key in self.before}


def photons(noisy: bool) -> str:
    """Name the noise."""
    return "1e4" if noisy else "all"


def mean_table(rows: Sequence[Row]) -> Table:
    """Give means by kind of body, views and noise."""
    columns = [Column("bodies"), Column("views"), Column("photons"), Column("scans", 0)]
    for title in MEASURES.values():
        columns += [Column(f"{title}, before", 1), Column(f"{title}, after", 1)]
    columns += [
        Column("change of band PSNR, least to most [dB]"),
        Column("change of Dice, least to most [points]"),
        Column("volume joint"),
        Column("mask changed"),
        Column("Dice on the truth", 1),
        Column("CPU s", 0),
    ]
    lines: list[tuple[Cell, ...]] = []
    for bodies, n_views, noisy in product(BODIES, (15, 25, 50), (True, False)):
        group = [r for r in rows if (r.bodies, r.n_views, r.noisy) == (bodies, n_views, noisy)]
        if group:
            lines.append((bodies, str(n_views), photons(noisy), *_means(group)))
    for name, group in _groups(rows).items():
        lines.append((name, "15 and 25", "both", *_means(group)))
    return Table(tuple(columns), tuple(lines))


def standing_table(rows: Sequence[Row]) -> Table:
    """Count, with the views that the aim is about, what is gained and where something is lost."""
    columns = [Column("bodies"), Column("scans", 0)]
    columns += [Column(title) for title in ("band PSNR [dB]", "Dice [points]")]
    columns += [Column(f"{name} loses over 0.5", 0) for name in ("band PSNR", "Dice")]
    columns += [Column("neither does", 0), Column("volume joint", 0)]
    lines: list[tuple[Cell, ...]] = []
    for name, group in _groups(rows).items():
        changes = [row.changes() for row in group]
        lost = [[change[key] < -MOST_LOST for change in changes] for key in ("band", "dice")]
        lines.append(
            (
                name,
                len(group),
                *(_span([change[key] for change in changes]) for key in ("band", "dice")),
                *(sum(one) for one in lost),
                sum(not any(both) for both in zip(*lost, strict=True)),
                sum(row.is_joint for row in group),
            )
        )
    return Table(tuple(columns), tuple(lines))


def _groups(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Sort the rows with few views by kind of body; also all that the gate was not chosen on."""
    few = [row for row in rows if row.n_views in FEW_VIEWS]
    groups = {bodies: [row for row in few if row.bodies == bodies] for bodies in BODIES}
    groups["real and generated"] = [row for row in few if row.bodies != CHOSEN_ON]
    return {name: group for name, group in groups.items() if group}


def _means(group: Sequence[Row]) -> tuple[Cell, ...]:
    """Average some rows."""
    cells: list[Cell] = [len(group)]
    for key in MEASURES:
        cells += [_mean(row.before[key] for row in group), _mean(row.after[key] for row in group)]
    changes = [row.changes() for row in group]
    cells += [_span([change[key] for change in changes]) for key in ("band", "dice")]
    cells += [
        f"{sum(row.is_joint for row in group)} of {len(group)}",
        f"{sum(row.is_new_mask for row in group)} of {len(group)}",
        _mean(row.dice_on_truth for row in group),
        _mean(row.cpu_s for row in group),
    ]
    return tuple(cells)


def _mean(values: Iterable[float]) -> float:
    """Average, leaving out what is undefined."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def _span(values: Sequence[float]) -> str:
    """Give the mean and the extremes."""
    return f"{np.mean(values):+.2f} ({min(values):+.1f} to {max(values):+.1f})"


def case_table(rows: Sequence[Row]) -> Table:
    """Give the figures of each scan."""
    names = ("target", "bodies", "views", "photons", "volume", "rounds", "mask")
    columns = [Column(name) for name in names]
    columns += [Column("held-out gain [%]", 2), Column("its standard error [%]", 2)]
    for title in MEASURES.values():
        columns += [Column(f"{title} before", 2), Column(f"{title} after", 2)]
    columns += [Column("Dice on the truth [%]", 2), Column("CPU s", 1)]
    lines: list[tuple[Cell, ...]] = []
    for row in sorted(
        rows, key=lambda r: (BODIES.index(r.bodies), r.target, r.n_views, not r.noisy)
    ):
        figures = [stage[key] for key in MEASURES for stage in (row.before, row.after)]
        lines.append(
            (
                row.target,
                row.bodies,
                str(row.n_views),
                photons(row.noisy),
                "joint" if row.is_joint else "un-joined",
                str(row.n_rounds),
                "changed" if row.is_new_mask else "from before",
                100 * row.gain,
                100 * row.gain_spread,
                *figures,
                row.dice_on_truth,
                row.cpu_s,
            )
        )
    return Table(tuple(columns), tuple(lines))


def save_picture(
    shown: Mapping[str, tuple[Row, Mapping[str, npt.NDArray[Any]]]], path: Path
) -> None:
    """Draw a slice of some scans: truth, before, after, with the masks' outlines."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(
        len(shown), 3, figsize=(9.6, 3.6 * len(shown)), layout="constrained", squeeze=False
    )
    for line, (title, (row, slices)) in zip(panels, shown.items(), strict=True):
        outlines = ("target", "mask_before", "mask_after")
        for panel, key, outline in zip(line, ("truth", "before", "after"), outlines, strict=True):
            hu = 1000 * (slices[key] - WATER_ATTENUATION) / (WATER_ATTENUATION - AIR_ATTENUATION)
            panel.imshow(hu[::-1], cmap="gray", vmin=WINDOW_HU[0], vmax=WINDOW_HU[1])
            panel.contour(slices["target"][::-1], levels=[0.5], colors="tab:green", linewidths=1)
            if outline != "target" and slices[outline].any():
                mask = slices[outline][::-1]
                panel.contour(mask, levels=[0.5], colors="tab:orange", linewidths=1)
            # Radiological convention: the patient's right is on the left.
            panel.invert_xaxis()
            panel.set_axis_off()
        line[0].set_title(title, fontsize=7)
        for panel, figures, name in zip(
            line[1:], (row.before, row.after), ("before", "after"), strict=True
        ):
            told = f"{name}: band {figures['band']:.1f} dB, Dice {figures['dice']:.1f} %"
            panel.set_title(told, fontsize=8)
    figure.savefig(path, dpi=100)
    plt.close(figure)
