"""The document of the ablation of density guidance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from NASAM3DLib.benchmark.case import SPACING_MM
from NASAM3DLib.benchmark.click_document import machine
from NASAM3DLib.benchmark.click_lists import click_table
from NASAM3DLib.benchmark.click_run import Outcome
from NASAM3DLib.benchmark.click_tables import interval, unique
from NASAM3DLib.benchmark.density_tables import (
    DEFAULT,
    HARM,
    JUDGED,
    OFF,
    Variant,
    ablation_table,
    against_off,
    choices_of,
    common,
    gain,
    harm_table,
    paired,
    ranking,
    share_harmed,
)
from NASAM3DLib.benchmark.density_variants import METHODS
from NASAM3DLib.benchmark.document import Document, measured_words, missing_section
from NASAM3DLib.benchmark.journal import Row
from NASAM3DLib.evaluate.pictures import Picture
from NASAM3DLib.evaluate.png import few_colours, png_of
from NASAM3DLib.evaluate.report import Section

HEAD = Path(__file__).with_name("density_head.md")
AIM = 0.02
"""Dice that the guidance is to gain at 1 and 3 clicks."""


def make_document(outcome: Outcome, *, spacing_mm: float = SPACING_MM) -> Document:
    """Put words, tables and the picture together.

    Parameters
    ----------
    outcome : Outcome
        What was measured.
    spacing_mm : float
        Spacing of the benchmark's grid, mm.

    Returns
    -------
    Document
    """
    rows = common([row for row in outcome.rows if row.figures])
    engines = unique([Variant.of(row.method).engine for row in rows])
    compared = [engine for engine in engines if OFF in choices_of(rows, engine)]
    sections = [Section("What was measured", (measured_words(outcome.rows, spacing_mm),))]
    tables = {"clicks": click_table(outcome.rows)}
    if compared:
        differences = {engine: against_off(rows, engine) for engine in compared}
        words = tuple(line for engine in compared for line in verdict(rows, engine))
        pictures = (picture_gains(rows, compared),)
        sections.append(Section("What wins", items=words, pictures=pictures))
        sections.append(Section("Gained by the guidance", tables=tuple(differences.values())))
        harm = harm_table(rows)
        sections.append(Section("Where it hurts", tables=(harm,)))
        tables |= {f"against-off-{engine}": table for engine, table in differences.items()}
        tables["harm"] = harm
    whole = ablation_table(rows)
    tables["variants"] = whole
    sections.append(Section("Every variant on every volume", tables=(whole,)))
    sections.append(_variants(outcome))
    sections.append(missing_section(outcome))
    introduction = tuple(HEAD.read_text(encoding="utf-8").strip().split("\n\n"))
    title = "Density guidance, ablated"
    return Document("density", title, introduction, machine(), tuple(sections), tables)


def verdict(rows: Sequence[Row], engine: str) -> tuple[str, ...]:
    """Say what the figures of an engine say.

    Parameters
    ----------
    rows : sequence of Row
        All rows with figures.
    engine : str
        Name of the engine.

    Returns
    -------
    tuple of str
        Sentences: what the default gains, whether it wins, and where it hurts.
    """
    pairs = paired(rows, engine, DEFAULT)
    if not pairs:
        return ()
    gains = [gain(pairs, n) for n in JUDGED]
    shares = [share_harmed(pairs, n) for n in JUDGED]
    reached = "reached" if min(one.mean for one in gains) >= AIM else "not reached"
    order = ranking(rows, engine)
    place = [choice for choice, _ in order].index(DEFAULT)
    first, best = order[0]
    wins = (
        f"The default is the first of {len(order)} ranked by the mean gain at 1 and 3 clicks."
        if place == 0
        else f"Ranked by the mean gain at 1 and 3 clicks, the default is number {place + 1} of "
        f"{len(order)}; the first, {first}, is ahead by {best - order[place][1]:.3f}"
        f"{_told_apart(rows, engine, first)}."
    )
    return (
        f"{engine}: over {len(pairs)} pairs of target and volume the guidance changes Dice by "
        f"{interval(gains[0], signed=True)} at 1 click and {interval(gains[1], signed=True)} at 3. "
        f"The aim of +{AIM:g} at both is {reached}.",
        f"{engine}: {wins}",
        f"{engine}: {100 * shares[0]:.0f} % of the pairs lose more than {HARM:g} at 1 click and "
        f"{100 * shares[1]:.0f} % at 3, so that the aim of never more than {HARM:g} below off is "
        f"{'reached' if max(shares) == 0 else 'not reached'}.",
    )


def _told_apart(rows: Sequence[Row], engine: str, first: str) -> str:
    """Say whether the first of the ranking can be told from the default."""
    pairs = paired(rows, engine, first, base=DEFAULT)
    told = [gain(pairs, n) for n in JUDGED]
    if any(one.low > 0 for one in told):
        return ""
    return ", which the intervals of the differences do not tell from nothing"


def picture_gains(rows: Sequence[Row], engines: Sequence[str]) -> Picture:
    """Draw what each variant gains at 1 and 3 clicks.

    Parameters
    ----------
    rows : sequence of Row
        All rows with figures.
    engines : sequence of str
        Engines with a variant "off".

    Returns
    -------
    Picture
        A panel for each engine, points with their intervals.
    """
    from matplotlib.figure import Figure

    choices = {e: [c for c in choices_of(rows, e) if c != OFF] for e in engines}
    height = 0.6 + 0.3 * max(len(one) for one in choices.values())
    size = (4.6 * len(engines), height + 0.8)
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    panels = figure.subplots(1, len(engines), squeeze=False)[0]
    for axes, engine in zip(panels, engines, strict=True):
        names = choices[engine]
        for n, colour, shift in zip(JUDGED, ("#1f77b4", "#d1495b"), (-0.14, 0.14), strict=True):
            found = [gain(paired(rows, engine, name), n) for name in names]
            means = np.array([one.mean for one in found])
            ends = np.array([[one.mean - one.low, one.high - one.mean] for one in found]).T
            label = f"{n} click{'s' * (n > 1)}"
            places = np.arange(len(names)) + shift
            axes.errorbar(means, places, xerr=ends, fmt="o", color=colour, label=label, capsize=2)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_yticks(np.arange(len(names)), names)
        axes.invert_yaxis()
        axes.set_title(engine)
        axes.set_xlabel("Dice minus that without guidance")
        axes.grid(alpha=0.3)
    # Below the panels: within them it would lie on intervals.
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(JUDGED), fontsize="small")
    caption = "What each variant gains over all volumes, with 95 % intervals that draw cases."
    return Picture("density-gains", caption, few_colours(png_of(figure)))


def _variants(outcome: Outcome) -> Section:
    """Describe the variants that ran."""
    known = {method.name: method for method in METHODS}
    identities = {row.method: row.identity for row in outcome.rows}
    items = tuple(
        f"{name} ({identity}): {known[name].note}." for name, identity in identities.items()
    )
    return Section("Variants", items=items)
