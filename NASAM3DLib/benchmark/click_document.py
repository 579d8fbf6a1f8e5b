"""The document and the files that a benchmark of clicks leaves."""

from __future__ import annotations

import datetime
import os
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import NASAM3DLib
from NASAM3DLib.benchmark.click_lists import (
    click_table,
    failure_table,
    summary_table,
    target_table,
)
from NASAM3DLib.benchmark.click_pictures import (
    choose_examples,
    picture_curves,
    picture_examples,
)
from NASAM3DLib.benchmark.click_run import Outcome
from NASAM3DLib.benchmark.click_tables import (
    GROUPS,
    default_table,
    dice_table,
    group_words,
    in_group,
    loss_table,
    unique,
    view_words,
)
from NASAM3DLib.benchmark.click_task import ClickSettings
from NASAM3DLib.benchmark.journal import Row
from NASAM3DLib.benchmark.methods.protocol import package_version
from NASAM3DLib.benchmark.methods.registry import all_methods
from NASAM3DLib.benchmark.sources import Source
from NASAM3DLib.benchmark.views import FULL, view_name
from NASAM3DLib.evaluate.pictures import Picture
from NASAM3DLib.evaluate.tables import Table
from NASAM3DLib.files import write_bytes, write_text
from NASAM3DLib.segment.segmenter import DEFAULT_ENGINE

HEAD = Path(__file__).with_name("clicks_head.md")
PACKAGES = ("numpy", "scipy", "numba", "torch", "SimpleITK", "scikit-image", "itk-growcut")
NAME = "clicks.md"


@dataclass(frozen=True)
class ClickReport:
    """What a benchmark of clicks says.

    Parameters
    ----------
    text : str
        The document, Markdown; pictures are named as in ``pictures/NAME.png``.
    tables : dict of str to Table
        Tables for CSV files.
    pictures : tuple of Picture
        The pictures.
    """

    text: str
    tables: dict[str, Table]
    pictures: tuple[Picture, ...]

    def save(self, folder: Path, *, document: Path | None = None) -> list[Path]:
        """Write all files, replacing older ones.

        Parameters
        ----------
        folder : Path
            Where the document, CSV files and pictures go.
        document : Path, optional
            A folder that gets document and pictures as well.

        Returns
        -------
        list of Path
            The written documents.
        """
        for name, table in self.tables.items():
            folder.mkdir(parents=True, exist_ok=True)
            write_text(folder / f"{name}.csv", table.to_csv(), force=True)
        places = [folder] if document is None else [folder, document]
        for place in places:
            (place / "pictures").mkdir(parents=True, exist_ok=True)
            for picture in self.pictures:
                file = place / "pictures" / f"{picture.name}.png"
                write_bytes(file, picture.png, force=True)
            write_text(place / NAME, self.text, force=True)
        return [place / NAME for place in places]


def make_report(
    outcome: Outcome, sources: Sequence[Source], settings: ClickSettings
) -> ClickReport:
    """Put the tables, pictures and words together.

    Parameters
    ----------
    outcome : Outcome
        What was measured.
    sources : sequence of Source
        All cases.
    settings : ClickSettings
        What was asked for.

    Returns
    -------
    ClickReport
    """
    rows = outcome.rows
    measured = [row for row in rows if row.figures]
    default = DEFAULT_ENGINE
    names = unique([row.method for row in measured])
    if default not in names:
        default = names[0] if names else ""
    pictures: tuple[Picture, ...] = ()
    if measured:
        examples = choose_examples(rows, sources, settings, method=default)
        pictures = (
            picture_curves(rows),
            *picture_examples(examples, settings, method=default),
        )
    parts = [
        HEAD.read_text(encoding="utf-8").rstrip(),
        machine(),
        _asked(rows, settings),
        "## Curves and examples",
        *(f"![{one.caption}](pictures/{one.name}.png)\n\n*{one.caption}*" for one in pictures),
        *_figures(measured, default),
        "## Methods",
        _methods(outcome, settings),
        "## What is not in the figures",
        *_missing(outcome),
    ]
    tables = {"clicks": click_table(rows), "summary": summary_table(rows)}
    return ClickReport("\n\n".join(parts) + "\n", tables, pictures)


def machine() -> str:
    """Describe where and when the figures were made.

    Returns
    -------
    str
    """
    today = datetime.datetime.now(tz=datetime.UTC).date()
    versions = ", ".join(package_version(package) for package in PACKAGES)
    return (
        f"NASAM3D {NASAM3DLib.__version__}, {today}, {os.cpu_count()} cores "
        f"({platform.machine()}), one thread per method, Python {platform.python_version()}; "
        f"{versions}."
    )


def _asked(rows: Sequence[Row], settings: ClickSettings) -> str:
    """Say how much was measured."""
    targets = {(row.case, row.target): (row.data_set, row.group) for row in rows}
    counts = Counter(targets.values())
    words = "; ".join(
        f"{data_set} {n} {_plural(group, n)}" for (data_set, group), n in counts.items()
    )
    n_failed = sum(bool(row.error) for row in rows)
    scan = settings.scan
    views = ", ".join(view_name(n) for n in settings.views)
    return (
        f"Targets: {words or 'none'}. Views: {views}. Sessions: {len(rows)}, {n_failed} of them "
        f"failed, each of {settings.n_clicks} clicks. Voxels of {settings.spacing_mm:g} mm along "
        f"axes that are finer. Sparse scans: cone beam, full turn, {scan.photons:g} photons per "
        f"pixel and view, electronic noise of {scan.electronic_noise:g} photons, reconstructed by "
        f'total variation at quality "{scan.quality}".'
    )


def _figures(rows: Sequence[Row], default: str) -> list[str]:
    """Write the tables of all views and groups."""
    views = unique([row.view for row in rows])
    parts = []
    for view in views:
        parts.append(f"## {view_words(view)}")
        for group in GROUPS:
            if [row for row in in_group(rows, group) if row.view == view]:
                parts.append(f"### {group_words(group)}")
                parts.append(dice_table(rows, view, group).to_markdown().rstrip())
        against = default_table(rows, view, default)
        if against.rows:
            parts.append(f"### Against {default}")
            parts.append(against.to_markdown().rstrip())
    losses = [loss_table(rows, view) for view in views if view != FULL]
    if any(table.rows for table in losses):
        parts.append("## What few views cost")
        parts += [table.to_markdown().rstrip() for table in losses if table.rows]
    per_target = target_table(rows, default) if default else None
    if per_target is not None and per_target.rows:
        parts += ["## Target by target", per_target.to_markdown().rstrip()]
    return parts


def _methods(outcome: Outcome, settings: ClickSettings) -> str:
    """Describe the methods that ran."""
    known = all_methods(settings.method_files)
    identities = {row.method: row.identity for row in outcome.rows}
    return "\n".join(
        f"- **{name}** ({known[name].kind}; {identity}): {known[name].note}."
        for name, identity in identities.items()
    )


def _missing(outcome: Outcome) -> list[str]:
    """Say what did not run, failed or was left out."""
    parts = []
    if outcome.not_run:
        lines = [f"- **{name}**: not run, {reason}." for name, reason in outcome.not_run]
        parts.append("\n".join(lines))
    if outcome.unmeasured:
        lines = [f"- {line}" for line in outcome.unmeasured]
        parts.append("Not measured yet; the command above goes on with it:\n\n" + "\n".join(lines))
    if any(row.error for row in outcome.rows):
        parts.append(failure_table(outcome.rows).to_markdown().rstrip())
    if outcome.failed_views:
        lines = [f"- {line}" for line in outcome.failed_views]
        parts.append("Views that could not be made:\n\n" + "\n".join(lines))
    if outcome.left_out:
        lines = [f"- {line}." for line in outcome.left_out]
        parts.append("Objects that are no targets:\n\n" + "\n".join(lines))
    return parts or ["Every method ran on every target."]


def _plural(group: str, n: int) -> str:
    """Write what some targets are."""
    word = "object" if group == "generated" else group
    return word if n == 1 else f"{word}s"
