"""Dice, IoU and surface distances by data set, and their means and variances over data sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from NASAM3DLib.benchmark.click_tables import unique
from NASAM3DLib.benchmark.journal import ClickFigures, Row
from NASAM3DLib.benchmark.statistics import summarise_by_case
from NASAM3DLib.evaluate.tables import Cell, Column, Table


class Scores(NamedTuple):
    """Means over the targets that one method was measured on.

    Parameters
    ----------
    n : int
        Number of targets.
    dice, iou : float
        Mean overlap.
    hd95_mm, asd_mm : float
        Mean distances over the targets with a mask, mm; NaN if there is none.
    n_empty : int
        Targets whose mask was empty, which have no distance.
    """

    n: int
    dice: float
    iou: float
    hd95_mm: float
    asd_mm: float
    n_empty: int


def iou_of(dice: float) -> float:
    """Compute intersection over union from the Dice overlap of the same masks.

    Parameters
    ----------
    dice : float
        ``2 |A and B| / (|A| + |B|)``.

    Returns
    -------
    float
        ``|A and B| / |A or B| = D / (2 - D)``.

    Examples
    --------
    >>> round(iou_of(0.8), 4)
    0.6667
    """
    return dice / (2 - dice)


def scores(rows: Sequence[Row], n_clicks: int) -> Scores:
    """Average the figures after some clicks.

    Parameters
    ----------
    rows : sequence of Row
        Sessions of one method, at least one, all with figures.
    n_clicks : int
        Number of clicks.

    Returns
    -------
    Scores
    """
    after = [row.after(n_clicks) for row in rows]
    far = [one.hd95_mm for one in after if one.hd95_mm is not None]
    apart = [one.asd_mm for one in after if one.asd_mm is not None]
    return Scores(
        len(after),
        float(np.mean([one.dice for one in after])),
        float(np.mean([iou_of(one.dice) for one in after])),
        float(np.mean(far)) if far else float("nan"),
        float(np.mean(apart)) if apart else float("nan"),
        len(after) - len(far),
    )


def data_set_table(rows: Sequence[Row], view: str, n_clicks: int) -> Table:
    """List what the methods reach on each data set, like the first table of the paper.

    Parameters
    ----------
    rows : sequence of Row
        All rows.
    view : str
        What was shown.
    n_clicks : int
        After how many clicks.

    Returns
    -------
    Table
    """
    seen = [row for row in rows if row.view == view]
    lines: list[tuple[Cell, ...]] = []
    for data_set in unique([row.data_set for row in seen]):
        for method in unique([row.method for row in seen]):
            mine = [r for r in seen if (r.data_set, r.method) == (data_set, method)]
            measured = [row for row in mine if row.figures]
            if measured:
                found = scores(measured, n_clicks)
                lines.append((data_set, method, *found, len(mine) - found.n))
            elif mine:
                lines.append((data_set, method, 0, None, None, None, None, 0, len(mine)))
    columns = (
        *(Column(name) for name in ("data set", "method", "targets")),
        *(Column(name) for name in ("Dice", "IoU")),
        *(Column(name, 2) for name in ("HD95 [mm]", "ASD [mm]")),
        *(Column(name) for name in ("empty", "failed")),
    )
    caption = (
        f"{view}: means over targets after {clicks_word(n_clicks)}. Empty: targets without a mask, "
        "which have no distance; failed: targets in no mean of that method."
    )
    return Table(columns, tuple(lines), caption)


def variance_table(rows: Sequence[Row], n_clicks: int) -> Table:
    """List means and variances, like the second table of the paper.

    Parameters
    ----------
    rows : sequence of Row
        All rows.
    n_clicks : int
        After how many clicks.

    Returns
    -------
    Table
        As in the paper the mean of the data sets' means with the population variance of these, and
        beside it what the paper leaves out: mean and standard deviation over targets, with an
        interval that draws cases.
    """
    lines: list[tuple[Cell, ...]] = []
    for view in unique([row.view for row in rows]):
        for method in unique([row.method for row in rows]):
            mine = [r for r in rows if (r.view, r.method) == (view, method) and r.figures]
            if mine:
                lines.append((view, method, *_spread(mine, n_clicks)))
    columns = (
        *(Column(name) for name in ("volume", "method", "data sets")),
        *(Column("Dice, mean"), Column("variance", 4)),
        *(Column("HD95, mean [mm]", 2), Column("variance [mm²]", 2)),
        *(Column("ASD, mean [mm]", 2), Column("variance [mm²]", 2)),
        *(Column("targets"), Column("Dice over targets"), Column("its SD"), Column("its interval")),
    )
    caption = (
        f"After {clicks_word(n_clicks)}. Left: mean of the data sets' means and their population "
        "variance, as the paper's second table was found to be computed. Right: mean, standard "
        "deviation and 95 % interval over targets, which draws whole cases."
    )
    return Table(columns, tuple(lines), caption)


def score_list(rows: Sequence[Row]) -> Table:
    """List every click of every session, for the CSV file.

    Parameters
    ----------
    rows : sequence of Row
        All rows.

    Returns
    -------
    Table
        A session that failed has one line, with its error.
    """
    lines: list[tuple[Cell, ...]] = []
    for row in rows:
        where = (row.case, row.data_set, row.target, row.group, row.n_voxels, row.view)
        whose = (*where, row.method, row.identity)
        for n, one in enumerate(row.figures, 1):
            figures = (one.dice, iou_of(one.dice), one.hd95_mm, one.asd_mm, one.cpu_s)
            lines.append((*whose, n, *figures, ""))
        if row.error:
            lines.append((*whose, *6 * (None,), row.error))
    names = (
        *("case", "data set", "target", "group", "voxels", "volume", "method", "identity"),
        *("click", "Dice", "IoU", "HD95 [mm]", "ASD [mm]", "CPU s", "error"),
    )
    return Table(tuple(Column(name) for name in names), tuple(lines))


def clicks_word(n: int) -> str:
    """Write a number of clicks.

    Parameters
    ----------
    n : int
        Number.

    Returns
    -------
    str

    Examples
    --------
    >>> clicks_word(1), clicks_word(5)
    ('1 click', '5 clicks')
    """
    return "1 click" if n == 1 else f"{n} clicks"


def _spread(rows: Sequence[Row], n_clicks: int) -> tuple[Cell, ...]:
    """Give the cells of one method on one volume."""
    sets = unique([row.data_set for row in rows])
    of_sets = [scores([r for r in rows if r.data_set == one], n_clicks) for one in sets]
    cells: list[Cell] = [len(sets)]
    for values in (
        [one.dice for one in of_sets],
        [one.hd95_mm for one in of_sets],
        [one.asd_mm for one in of_sets],
    ):
        defined = np.array([value for value in values if np.isfinite(value)])
        cells += [float(defined.mean()), float(defined.var())] if defined.size else [None, None]
    after: list[ClickFigures] = [row.after(n_clicks) for row in rows]
    dices = [one.dice for one in after]
    whole = summarise_by_case(dices, [row.case for row in rows])
    spread = float(np.std(dices, ddof=1)) if len(dices) > 1 else None
    return (*cells, len(rows), whole.mean, spread, f"[{whole.low:.3f}, {whole.high:.3f}]")
