"""The document of the tables: reconstructions, scores by data set, variances, cited figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from NASAM3DLib.benchmark.click_document import machine
from NASAM3DLib.benchmark.click_pictures import (
    Example,
    choose_examples,
    picture_curves,
    picture_examples,
)
from NASAM3DLib.benchmark.click_run import Outcome
from NASAM3DLib.benchmark.click_tables import default_table, loss_table, unique
from NASAM3DLib.benchmark.click_task import ClickSettings, View, view_of
from NASAM3DLib.benchmark.document import Document, measured_words, missing_section
from NASAM3DLib.benchmark.journal import Row
from NASAM3DLib.benchmark.methods.registry import all_methods
from NASAM3DLib.benchmark.paper import cited_means_table, cited_table
from NASAM3DLib.benchmark.recipes import RECIPES, Reconstructed
from NASAM3DLib.benchmark.reconstruction_table import (
    VolumeFigures,
    case_table,
    reconstruction_table,
)
from NASAM3DLib.benchmark.score_tables import data_set_table, score_list, variance_table
from NASAM3DLib.benchmark.sources import Source
from NASAM3DLib.benchmark.views import FULL, true_volume, view_name
from NASAM3DLib.evaluate.panels import Outline
from NASAM3DLib.evaluate.pictures import Picture, Subject, picture_comparison
from NASAM3DLib.evaluate.png import few_colours
from NASAM3DLib.evaluate.report import Section
from NASAM3DLib.evaluate.tables import Table
from NASAM3DLib.segment.segmenter import DEFAULT_ENGINE

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

HEAD = Path(__file__).with_name("tables_head.md")
TRUTH_COLOUR = "#ffd23f"
GUIDED, UNGUIDED = "density-guided", "unguided"
FINAL = "best"
"""The recipe whose volumes the pictures show, if it was asked for."""


def make_document(
    outcome: Outcome,
    figures: Sequence[VolumeFigures],
    sources: Sequence[Source],
    settings: ClickSettings,
) -> Document:
    """Put words, tables and pictures together.

    Parameters
    ----------
    outcome : Outcome
        What was measured.
    figures : sequence of VolumeFigures
        Of all reconstructions.
    sources : sequence of Source
        All cases.
    settings : ClickSettings
        What was asked for.

    Returns
    -------
    Document
    """
    rows, n_clicks = outcome.rows, settings.n_clicks
    measured = [row for row in rows if row.figures]
    views = unique([row.view for row in rows])
    examples = _examples(measured, sources, settings)
    volumes, cases = reconstruction_table(figures), case_table(figures)
    by_set = {view: data_set_table(rows, view, n_clicks) for view in views}
    spread = variance_table(rows, n_clicks)
    losses = tuple(t for t in (loss_table(measured, v) for v in views if v != FULL) if t.rows)
    guided = _guidance(measured, views)
    cited = (cited_table(unique([row.data_set for row in rows])), cited_means_table())
    pictures = tuple(_pictures(measured, examples, settings))
    said = measured_words(rows, settings.spacing_mm)
    sections = [
        Section("What was measured", (said,), _recipes(settings)),
        Section("Reconstructions", tables=(volumes,), pictures=pictures[:1]),
        *(Section(f"Scores: {view}", tables=(table,)) for view, table in by_set.items()),
        Section("Means and variances", tables=(spread,), pictures=pictures[1:]),
        Section("What few views cost", tables=losses),
        Section(f"Density guidance: {GUIDED} against {UNGUIDED}", tables=guided),
        Section("The paper's figures, as cited", tables=cited),
        _methods(outcome, settings),
        _missing(outcome, figures),
    ]
    tables = {"sessions": score_list(rows), "reconstructions": volumes, "variances": spread}
    tables |= {"reconstructed-cases": cases, "cited": cited[0], "cited-means": cited[1]}
    tables |= {f"scores-{_file(view)}": table for view, table in by_set.items()}
    introduction = tuple(HEAD.read_text(encoding="utf-8").strip().split("\n\n"))
    title = "Tables: sparse scans, reconstructed, clicked, segmented"
    kept = tuple(one for one in sections if one.paragraphs or one.items or one.tables)
    return Document("tables", title, introduction, machine(), kept, tables)


def main_method(rows: Sequence[Row]) -> str:
    """Choose the method whose masks are shown.

    Parameters
    ----------
    rows : sequence of Row
        Rows with figures.

    Returns
    -------
    str
        The default engine if it was measured, else the first engine of the product, else the first
        method; empty without rows.
    """
    names = unique([row.method for row in rows])
    wanted = (DEFAULT_ENGINE, "label-free", GUIDED, *names)
    return next((name for name in wanted if name in names), "")


def _examples(
    rows: Sequence[Row], sources: Sequence[Source], settings: ClickSettings
) -> list[Example]:
    """Choose best, median and worst target on the final volumes, or on the first ones."""
    views = unique([row.view for row in rows])
    final = next((view for view in views if view.startswith(f"{FINAL}, ")), "".join(views[:1]))
    shown = [row for row in rows if row.view == final]
    return choose_examples(shown, sources, settings, method=main_method(shown))


def _pictures(
    rows: Sequence[Row], examples: Sequence[Example], settings: ClickSettings
) -> Iterator[Picture]:
    """Draw the reconstructions of one case, the curves, and the examples."""
    if not rows:
        return
    if examples:
        yield from _reconstructions(examples[len(examples) // 2], settings)
    yield replace(picture_curves(rows), name="tables-curves")
    method = main_method([example.row for example in examples])
    for picture in picture_examples(examples, settings, method=method):
        yield replace(picture, name=picture.name.replace("clicks", "tables"))


def _reconstructions(example: Example, settings: ClickSettings) -> Iterator[Picture]:
    """Show what the methods are shown of one case, beside the truth."""
    looks = [look for look in settings.views if look is not None]
    if not looks:
        return
    volumes = {view_name(look): view_of(settings, View(example.source, look))[1] for look in looks}
    case, _ = view_of(settings, View(example.source, None))
    target = next(one for one in case.targets if one.name == example.row.target)
    places = target.mask.grid.to_ras(_middle(target.mask.array)[::-1])
    outline = Outline(target.name, target.mask, TRUTH_COLOUR, "--")
    caption = f"{example.row.title}: reconstructions, and in colour their differences from truth."
    subject = Subject(places, (outline,))
    truth = true_volume(case)
    shown = picture_comparison(volumes, truth, subject, planes=("axial",), caption=caption)
    yield replace(shown, name="tables-reconstructions", png=few_colours(shown.png))


def _middle(array: BoolArray) -> FloatArray:
    """Find the voxel (k, j, i) of an object that lies deepest in it."""
    from scipy.ndimage import distance_transform_edt

    depth = distance_transform_edt(np.pad(array, 1))[1:-1, 1:-1, 1:-1]
    return np.array(np.unravel_index(int(np.argmax(depth)), array.shape), dtype=np.float64)


def _guidance(rows: Sequence[Row], views: Sequence[str]) -> tuple[Table, ...]:
    """Compare the walker with and without density guidance on each volume."""
    both = [row for row in rows if row.method in (GUIDED, UNGUIDED)]
    found = (default_table(both, view, UNGUIDED) for view in views)
    return tuple(table for table in found if table.rows)


def _recipes(settings: ClickSettings) -> tuple[str, ...]:
    """Say what the names of the volumes mean."""
    used = unique([look.recipe for look in settings.views if isinstance(look, Reconstructed)])
    left = [name for name in RECIPES if name not in used]
    lines = [f"{name}: {RECIPES[name].note}." for name in used]
    lines += [f"{name}: not run, not asked for ({RECIPES[name].note})." for name in left]
    return tuple(lines)


def _methods(outcome: Outcome, settings: ClickSettings) -> Section:
    """Describe the methods that ran."""
    known = all_methods(settings.method_files)
    identities = {row.method: row.identity for row in outcome.rows}
    items = tuple(
        f"{name} ({known[name].kind}; {identity}): {known[name].note}."
        for name, identity in identities.items()
    )
    return Section("Methods", items=items)


def _missing(outcome: Outcome, figures: Sequence[VolumeFigures]) -> Section:
    """Add reconstructions without figures to what is missing."""
    section = missing_section(outcome)
    known = " ".join(outcome.failed_views)
    more = [f"{one.case}, {one.view}: {one.error}" for one in figures if one.error]
    more = [line for line in more if line not in known]
    if not more:
        return section
    return replace(section, paragraphs=(), items=(*section.items, *more))


def _file(view: str) -> str:
    """Make a part of a file name out of a volume's name."""
    return view.replace(", ", "-").replace(" ", "-")
