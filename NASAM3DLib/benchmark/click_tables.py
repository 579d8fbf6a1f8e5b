"""The tables of a benchmark of clicks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from NASAM3DLib.benchmark.journal import Row
from NASAM3DLib.benchmark.statistics import Summary, summarise
from NASAM3DLib.benchmark.views import FULL
from NASAM3DLib.evaluate.tables import Cell, Column, Table

SHOWN_CLICKS = (1, 3, 5, 10)
LOWERED = 0.02
"""A click that costs more Dice than this has lowered it."""

MIDDLE = 5
"""Clicks at which single targets are compared."""

GROUPS: dict[str, tuple[str, ...]] = {
    "all": ("lesion", "organ"),
    "lesions": ("lesion",),
    "organs": ("organ",),
    "generated": ("generated",),
}
"""Groups of targets; "all" are those of scanned patients."""


def unique(values: Sequence[str]) -> list[str]:
    """Drop repetitions and keep the order.

    Parameters
    ----------
    values : sequence of str
        Names.

    Returns
    -------
    list of str
    """
    return list(dict.fromkeys(values))


def in_group(rows: Sequence[Row], group: str) -> list[Row]:
    """Keep the rows with figures of a group.

    Parameters
    ----------
    rows : sequence of Row
        Rows.
    group : str
        A key of :data:`GROUPS`.

    Returns
    -------
    list of Row
    """
    return [row for row in rows if row.group in GROUPS[group] and row.figures]


def shown_clicks(rows: Sequence[Row]) -> tuple[int, ...]:
    """Choose the numbers of clicks that tables show.

    Parameters
    ----------
    rows : sequence of Row
        Rows.

    Returns
    -------
    tuple of int
        1, 3, 5, 10 as far as that many were made, and the last; 1 if there is no row.
    """
    most = max((row.n_clicks for row in rows), default=1)
    return tuple(sorted({*(n for n in SHOWN_CLICKS if n <= most), most}))


def lowered_share(rows: Sequence[Row]) -> float:
    """Give the share of clicks after the first that lowered Dice by more than 0.02.

    Parameters
    ----------
    rows : sequence of Row
        Sessions of one method.

    Returns
    -------
    float
        NaN if there was no second click.
    """
    changes = [after.dice - before.dice for row in rows for before, after in pairwise(row.figures)]
    return float(np.mean([change < -LOWERED for change in changes])) if changes else float("nan")


def dice_table(rows: Sequence[Row], view: str, group: str) -> Table:
    """Compare the methods on one group in one view.

    Parameters
    ----------
    rows : sequence of Row
        All rows.
    view : str
        What was shown.
    group : str
        A key of :data:`GROUPS`.

    Returns
    -------
    Table
    """
    chosen = [row for row in in_group(rows, group) if row.view == view]
    clicks = shown_clicks(chosen)
    lines = []
    for method in unique([row.method for row in chosen]):
        mine = [row for row in chosen if row.method == method]
        means = [summarise([row.after(n).dice for row in mine]) for n in clicks]
        middle = means[_middle(clicks)]
        lines.append(
            (
                method,
                len(mine),
                *(interval(one) for one in means),
                middle.median,
                middle.worst,
                *(_mean_distance(mine, n) for n in (clicks[_middle(clicks)], clicks[-1])),
                100 * lowered_share(mine),
                "yes" if all(a.mean < b.mean for a, b in pairwise(means)) else "no",
                float(np.mean([figure.cpu_s for row in mine for figure in row.figures])),
            )
        )
    at, last = clicks[_middle(clicks)], clicks[-1]
    columns = (
        Column("method"),
        Column("targets"),
        *(Column(f"Dice, {_clicks(n)}") for n in clicks),
        Column(f"median at {at}"),
        Column(f"worst at {at}"),
        Column(f"HD95 at {at} [mm]", 1),
        Column(f"HD95 at {last} [mm]", 1),
        Column("lowered [%]", 1),
        Column("rising"),
        Column("CPU s per click", 2),
    )
    return Table(columns, tuple(lines))


def loss_table(rows: Sequence[Row], view: str) -> Table:
    """Tell what the methods lose from the full data to fewer views, target by target.

    Parameters
    ----------
    rows : sequence of Row
        All rows.
    view : str
        The fewer views.

    Returns
    -------
    Table
    """

    def partner(row: Row) -> tuple[str, ...]:
        return (row.case, row.target, row.method)

    full = {partner(row): row for row in rows if row.view == FULL and row.figures}
    pairs = [(full[partner(r)], r) for r in rows if r.view == view and partner(r) in full]
    caption = f"Dice with {view} minus Dice with full data on the same target."
    return _paired_table(pairs, lambda pair: pair[1].method, caption)


def default_table(rows: Sequence[Row], view: str, default: str) -> Table:
    """Compare every method with one, target by target.

    Parameters
    ----------
    rows : sequence of Row
        All rows.
    view : str
        What was shown.
    default : str
        Name of the method that the others are compared with.

    Returns
    -------
    Table
    """
    seen = [row for row in rows if row.view == view and row.figures]
    base = {(row.case, row.target): row for row in seen if row.method == default}
    pairs = [
        (base[row.case, row.target], row)
        for row in seen
        if row.method != default and (row.case, row.target) in base
    ]
    caption = f"{view_words(view)}: Dice minus that of {default} on the same target."
    return _paired_table(pairs, lambda pair: pair[1].method, caption)


def distances(rows: Sequence[Row], n_clicks: int) -> list[float]:
    """Collect the distances where there is a mask.

    Parameters
    ----------
    rows : sequence of Row
        Sessions.
    n_clicks : int
        After how many clicks.

    Returns
    -------
    list of float
        HD95, mm.
    """
    found = [row.after(n_clicks).hd95_mm for row in rows]
    return [distance for distance in found if distance is not None]


def interval(summary: Summary, *, signed: bool = False) -> str:
    """Write a mean with its interval.

    Parameters
    ----------
    summary : Summary
        Mean and interval.
    signed : bool
        Whether positive numbers get their sign.

    Returns
    -------
    str

    Examples
    --------
    >>> interval(Summary(3, 0.5, 0.25, 0.75, 0.5, 0.1))
    '0.500 [0.250, 0.750]'
    """
    sign = "+" if signed else ""
    return f"{summary.mean:{sign}.3f} [{summary.low:{sign}.3f}, {summary.high:{sign}.3f}]"


def _paired_table(
    pairs: list[tuple[Row, Row]], method_of: Callable[[tuple[Row, Row]], str], caption: str
) -> Table:
    """Summarise differences within pairs by group and method."""
    clicks = shown_clicks([second for _, second in pairs])
    lines: list[tuple[Cell, ...]] = []
    for group, kinds in GROUPS.items():
        chosen = [pair for pair in pairs if pair[1].group in kinds and pair[1].figures]
        for method in unique([method_of(pair) for pair in chosen]):
            mine = [pair for pair in chosen if method_of(pair) == method]
            changes = [
                summarise([b.after(n).dice - a.after(n).dice for a, b in mine]) for n in clicks
            ]
            cells = [interval(one, signed=True) for one in changes]
            lines.append((group, method, len(mine), *cells))
    names = ("group", "method", "targets", *(_clicks(n) for n in clicks))
    return Table(tuple(Column(name) for name in names), tuple(lines), caption)


def _middle(clicks: tuple[int, ...]) -> int:
    """Give the place of five clicks, or of the most that were made."""
    return clicks.index(MIDDLE) if MIDDLE in clicks else len(clicks) - 1


def _mean_distance(rows: Sequence[Row], n_clicks: int) -> float:
    """Average the distances where there is a mask."""
    found = distances(rows, n_clicks)
    return float(np.mean(found)) if found else float("nan")


def _clicks(n: int) -> str:
    """Write a number of clicks."""
    return "1 click" if n == 1 else f"{n} clicks"


def group_words(group: str) -> str:
    """Write which targets a group holds.

    Parameters
    ----------
    group : str
        A key of :data:`GROUPS`.

    Returns
    -------
    str
    """
    return {
        "all": "All targets of scanned patients",
        "lesions": "Lesions",
        "organs": "Organs",
        "generated": "Held-out generated volumes",
    }[group]


def view_words(view: str) -> str:
    """Write what was shown.

    Parameters
    ----------
    view : str
        Name of a view.

    Returns
    -------
    str
    """
    return "Full data" if view == FULL else f"Reconstructions from {view}"
