"""The tables of the ablation of density guidance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from NASAM3DLib.benchmark.click_tables import interval, shown_clicks, unique
from NASAM3DLib.benchmark.journal import Row
from NASAM3DLib.benchmark.score_tables import clicks_word
from NASAM3DLib.benchmark.statistics import Summary, summarise_by_case
from NASAM3DLib.evaluate.tables import Cell, Column, Table

OFF, DEFAULT = "off", "default"
HARM = 0.01
"""A target that loses more Dice than this by the guidance is harmed by it."""

ALL = "all"
"""Stands for all volumes together."""

JUDGED = (1, 3)
"""Numbers of clicks by which variants are ranked."""


@dataclass(frozen=True)
class Variant:
    """A variant of an engine.

    Parameters
    ----------
    engine, choice : str
        As in its name, ``engine: choice``.
    """

    engine: str
    choice: str

    @classmethod
    def of(cls, method: str) -> Variant:
        """Take a name apart.

        Parameters
        ----------
        method : str
            ``engine: choice``.

        Returns
        -------
        Variant
        """
        engine, _, choice = method.partition(": ")
        return cls(engine, choice)


def ablation_table(rows: Sequence[Row]) -> Table:
    """List every variant of every engine on every volume.

    Parameters
    ----------
    rows : sequence of Row
        All rows with figures.

    Returns
    -------
    Table
        Mean Dice over targets with the interval of a bootstrap of cases.
    """
    clicks = shown_clicks(rows)
    lines: list[tuple[Cell, ...]] = []
    for method in unique([row.method for row in rows]):
        for view in unique([row.view for row in rows]):
            mine = [row for row in rows if (row.method, row.view) == (method, view)]
            if mine:
                variant = Variant.of(method)
                means = [interval(_mean(mine, n)) for n in clicks]
                lines.append((variant.engine, variant.choice, view, len(mine), *means))
    columns = (
        *(Column(name) for name in ("engine", "guidance", "volume", "targets")),
        *(Column(f"Dice, {clicks_word(n)}") for n in clicks),
    )
    caption = "Mean Dice over targets; in brackets 95 % bootstrap intervals that draw whole cases."
    return Table(columns, tuple(lines), caption)


def against_off(rows: Sequence[Row], engine: str) -> Table:
    """Compare the variants of an engine with the same engine without guidance.

    Parameters
    ----------
    rows : sequence of Row
        All rows with figures.
    engine : str
        Name of the engine.

    Returns
    -------
    Table
        Differences on the same target and volume, over all volumes and on each.
    """
    clicks = shown_clicks(rows)
    lines: list[tuple[Cell, ...]] = []
    for view in (ALL, *unique([row.view for row in rows])):
        for choice in choices_of(rows, engine):
            pairs = paired(rows, engine, choice, view=view)
            if pairs and choice != OFF:
                gains = [interval(gain(pairs, n), signed=True) for n in clicks]
                harmed = [100 * share_harmed(pairs, n) for n in JUDGED]
                worst = min(min(changes(pairs, n)) for n in JUDGED)
                lines.append((view, choice, len(pairs), *gains, *harmed, worst))
    columns = (
        *(Column(name) for name in ("volume", "guidance", "pairs")),
        *(Column(f"Dice gained, {clicks_word(n)}") for n in clicks),
        *(Column(f"harmed at {clicks_word(n)} [%]", 0) for n in JUDGED),
        Column("worst at 1 or 3 clicks", 3),
    )
    caption = (
        f"{engine}: Dice minus that without guidance on the same target and volume; in brackets "
        "95 % bootstrap intervals that draw whole cases. Harmed: share of the pairs that lose "
        f"more than {HARM:g}."
    )
    return Table(columns, tuple(lines), caption)


def choices_of(rows: Sequence[Row], engine: str) -> list[str]:
    """List the variants of an engine.

    Parameters
    ----------
    rows : sequence of Row
        All rows with figures.
    engine : str
        Name of the engine.

    Returns
    -------
    list of str
    """
    variants = [Variant.of(method) for method in unique([row.method for row in rows])]
    return [variant.choice for variant in variants if variant.engine == engine]


def paired(
    rows: Sequence[Row], engine: str, choice: str, *, view: str = ALL, base: str = OFF
) -> list[tuple[Row, Row]]:
    """Pair the rows of two variants of an engine by target and volume.

    Parameters
    ----------
    rows : sequence of Row
        All rows with figures.
    engine, choice : str
        The variant.
    view : str
        A volume, or "all".
    base : str
        The variant that it is compared with.

    Returns
    -------
    list of tuple of Row
        The base's row first.
    """
    seen = [row for row in rows if view in (ALL, row.view)]
    bases = {_place(row): row for row in seen if row.method == f"{engine}: {base}"}
    mine = [row for row in seen if row.method == f"{engine}: {choice}"]
    return [(bases[_place(row)], row) for row in mine if _place(row) in bases]


def changes(pairs: Sequence[tuple[Row, Row]], n_clicks: int) -> list[float]:
    """Give what each pair differs by.

    Parameters
    ----------
    pairs : sequence of tuple of Row
        Of :func:`paired`.
    n_clicks : int
        After how many clicks.

    Returns
    -------
    list of float
        Differences in Dice.
    """
    return [b.after(n_clicks).dice - a.after(n_clicks).dice for a, b in pairs]


def share_harmed(pairs: Sequence[tuple[Row, Row]], n_clicks: int) -> float:
    """Give the share of the pairs that lose more than 0.01 Dice.

    Parameters
    ----------
    pairs : sequence of tuple of Row
        Of :func:`paired`, at least one.
    n_clicks : int
        After how many clicks.

    Returns
    -------
    float
        In [0, 1].
    """
    return float(np.mean(np.array(changes(pairs, n_clicks)) < -HARM))


def gain(pairs: Sequence[tuple[Row, Row]], n_clicks: int) -> Summary:
    """Summarise what pairs differ by.

    Parameters
    ----------
    pairs : sequence of tuple of Row
        Of :func:`paired`.
    n_clicks : int
        After how many clicks.

    Returns
    -------
    Summary
        Of the differences in Dice, with an interval that draws cases.
    """
    return summarise_by_case(changes(pairs, n_clicks), [row.case for _, row in pairs])


def common(rows: Sequence[Row]) -> list[Row]:
    """Keep the targets that every variant of an engine was measured on, volume by volume.

    Parameters
    ----------
    rows : sequence of Row
        All rows with figures.

    Returns
    -------
    list of Row
        Of each engine and volume the targets without gaps; variants that no row of a volume
        belongs to do not count as gaps.
    """
    kept = []
    keys = unique([f"{Variant.of(row.method).engine}\n{row.view}" for row in rows])
    for key in keys:
        engine, view = key.split("\n")
        mine = [r for r in rows if Variant.of(r.method).engine == engine and r.view == view]
        places = [{_place(r) for r in mine if r.method == m} for m in {r.method for r in mine}]
        shared = set.intersection(*places)
        kept += [row for row in mine if _place(row) in shared]
    return kept


def ranking(rows: Sequence[Row], engine: str) -> list[tuple[str, float]]:
    """Rank the variants of an engine that were measured on every volume.

    Parameters
    ----------
    rows : sequence of Row
        All rows with figures.
    engine : str
        Name of the engine.

    Returns
    -------
    list of tuple of str and float
        Variant and mean gain in Dice over "off" at 1 and 3 clicks over all volumes, the best first;
        "off" itself with 0.
    """
    n_views = len({row.view for row in rows if Variant.of(row.method).engine == engine})
    found = []
    for choice in choices_of(rows, engine):
        pairs = paired(rows, engine, choice)
        if pairs and len({row.view for _, row in pairs}) == n_views:
            found.append((choice, float(np.mean([gain(pairs, n).mean for n in JUDGED]))))
    return sorted(found, key=lambda one: -one[1])


def harm_table(rows: Sequence[Row]) -> Table:
    """List the targets that the guidance of the product harms.

    Parameters
    ----------
    rows : sequence of Row
        All rows with figures.

    Returns
    -------
    Table
        Those that lose more than 0.01 Dice after 1 or 3 clicks, the largest losses first.
    """
    found: list[tuple[float, tuple[Cell, ...]]] = []
    for engine in unique([Variant.of(row.method).engine for row in rows]):
        for before, after in paired(rows, engine, DEFAULT):
            worst = min(changes([(before, after)], n)[0] for n in JUDGED)
            if worst < -HARM:
                dices = [f"{before.after(n).dice:.2f} → {after.after(n).dice:.2f}" for n in JUDGED]
                found.append((worst, (engine, after.view, after.title, *dices)))
    lines = [cells for _, cells in sorted(found, key=lambda one: one[0])]
    columns = (
        *(Column(name) for name in ("engine", "volume", "target")),
        *(Column(f"Dice, {clicks_word(n)}") for n in JUDGED),
    )
    caption = (
        f"Off → default, where the default loses more than {HARM:g} Dice after 1 or 3 clicks, the "
        "largest losses first."
    )
    return Table(columns, tuple(lines), caption)


def _mean(rows: Sequence[Row], n_clicks: int) -> Summary:
    """Summarise Dice after some clicks."""
    values = [row.after(n_clicks).dice for row in rows]
    return summarise_by_case(values, [row.case for row in rows])


def _place(row: Row) -> tuple[str, str, str]:
    """Say where a row belongs whatever its method."""
    return row.case, row.target, row.view
