"""Long tables of a benchmark of clicks: every target, every click, every mean, every failure."""

from __future__ import annotations

from collections.abc import Sequence

from NASAM3DLib.benchmark.click_tables import (
    GROUPS,
    distances,
    in_group,
    shown_clicks,
    unique,
)
from NASAM3DLib.benchmark.journal import Row
from NASAM3DLib.benchmark.statistics import summarise
from NASAM3DLib.evaluate.tables import Cell, Column, Table


def target_table(rows: Sequence[Row], method: str) -> Table:
    """List what one method reaches on every target.

    Parameters
    ----------
    rows : sequence of Row
        All rows.
    method : str
        Its name.

    Returns
    -------
    Table
        Generated targets are left to the summaries.
    """
    mine = [r for r in rows if r.method == method and r.group != "generated"]
    views = unique([row.view for row in mine])
    by_target = {(row.case, row.target): row for row in mine}
    clicks = shown_clicks(mine)
    lines: list[tuple[Cell, ...]] = []
    for (case, target), row in by_target.items():
        cells: list[Cell] = []
        for view in views:
            found = [r for r in mine if (r.case, r.target, r.view) == (case, target, view)]
            cells.append(_course(found[0], clicks) if found and found[0].figures else None)
        lines.append((case, target, row.group, row.n_voxels, *cells))
    numbers = "/".join(str(n) for n in clicks)
    columns = (
        Column("case"),
        Column("target"),
        Column("group"),
        Column("voxels"),
        *(Column(f"Dice at {numbers}, {view}") for view in views),
    )
    return Table(columns, tuple(lines), f"Every target of scanned patients with {method}.")


def failure_table(rows: Sequence[Row]) -> Table:
    """List what failed.

    Parameters
    ----------
    rows : sequence of Row
        All rows.

    Returns
    -------
    Table
    """
    lines = tuple((r.method, r.title, r.view, r.error) for r in rows if r.error)
    columns = (Column("method"), Column("target"), Column("view"), Column("error"))
    return Table(columns, lines, "What failed; these targets are in no mean of that method.")


def click_table(rows: Sequence[Row]) -> Table:
    """List every click of every session, for the CSV file.

    Parameters
    ----------
    rows : sequence of Row
        All rows.

    Returns
    -------
    Table
    """
    names = ("case", "data set", "target", "group", "voxels", "view", "method", "identity")
    lines = [
        (
            *(row.case, row.data_set, row.target, row.group, row.n_voxels, row.view),
            *(row.method, row.identity, number),
            *("positive" if figure.positive else "negative", figure.dice),
            *(figure.hd95_mm, figure.cpu_s),
        )
        for row in rows
        for number, figure in enumerate(row.figures, 1)
    ]
    columns = (*names, "click", "kind", "Dice", "HD95 [mm]", "CPU s")
    return Table(tuple(Column(name) for name in columns), tuple(lines))


def summary_table(rows: Sequence[Row]) -> Table:
    """List all means with their intervals, for the CSV file.

    Parameters
    ----------
    rows : sequence of Row
        All rows.

    Returns
    -------
    Table
    """
    lines: list[tuple[Cell, ...]] = []
    for view in unique([row.view for row in rows]):
        for group in GROUPS:
            chosen = [row for row in in_group(rows, group) if row.view == view]
            for method in unique([row.method for row in chosen]):
                mine = [row for row in chosen if row.method == method]
                for n in range(1, max(row.n_clicks for row in mine) + 1):
                    dice = summarise([row.after(n).dice for row in mine])
                    apart = distances(mine, n)
                    far: tuple[Cell, ...] = summarise(apart)[1:5] if apart else (None,) * 4
                    lines.append((view, group, method, n, *dice, len(apart), *far))
    names = ("view", "group", "method", "clicks", "targets")
    dice_names = ("mean", "low", "high", "median", "worst")
    figures = [f"Dice {name}" for name in dice_names] + ["targets with HD95"]
    figures += [f"HD95 {name} [mm]" for name in dice_names[:4]]
    return Table(tuple(Column(name) for name in (*names, *figures)), tuple(lines))


def _course(row: Row, clicks: tuple[int, ...]) -> str:
    """Write Dice after some numbers of clicks."""
    return " / ".join(f"{row.after(n).dice:.2f}" for n in clicks)
