"""One text with its tables and pictures, written as Markdown, HTML and CSV that say the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from NASAM3DLib.benchmark.click_lists import failure_table
from NASAM3DLib.benchmark.click_run import Outcome
from NASAM3DLib.benchmark.click_tables import unique
from NASAM3DLib.benchmark.journal import Row
from NASAM3DLib.evaluate.pictures import Picture
from NASAM3DLib.evaluate.report import Report, Section
from NASAM3DLib.evaluate.tables import Table
from NASAM3DLib.files import write_bytes, write_text

PICTURES = "pictures"
"""Folder of the pictures beside the document."""


@dataclass(frozen=True)
class Document:
    """What a benchmark leaves to be read.

    Parameters
    ----------
    name : str
        Name of its files without ending.
    title : str
        Heading of the whole.
    introduction : tuple of str
        Paragraphs before the first section, plain text.
    machine : str
        Where, when and with what the figures were made.
    sections : tuple of Section
        In the order of reading.
    tables : dict of str to Table
        What is written as CSV, by the rest of the files' names.
    """

    name: str
    title: str
    introduction: tuple[str, ...]
    machine: str
    sections: tuple[Section, ...]
    tables: Mapping[str, Table] = field(default_factory=dict)

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """All pictures, in the order of reading."""
        return tuple(picture for section in self.sections for picture in section.pictures)

    def to_markdown(self) -> str:
        """Write the text in Markdown.

        Returns
        -------
        str
            Pictures are named as in ``pictures/NAME.png``.
        """
        parts = [f"# {self.title}", *self.introduction, self.machine]
        for section in self.sections:
            parts.append(f"## {section.heading}")
            parts.extend(section.paragraphs)
            if section.items:
                parts.append("\n".join(f"- {item}" for item in section.items))
            parts.extend(table.to_markdown().rstrip() for table in section.tables)
            parts.extend(
                f"![{one.caption}]({PICTURES}/{one.name}.png)\n\n*{one.caption}*"
                for one in section.pictures
            )
        return "\n\n".join(parts) + "\n"

    def to_html(self) -> str:
        """Write the text as one HTML document with its pictures inside.

        Returns
        -------
        str
        """
        start = Section("", self.introduction[1:])
        summary = self.introduction[0] if self.introduction else ""
        return Report(self.title, summary, (start, *self.sections), self.machine).to_html()

    def save(self, folder: Path, *, document: Path | None = None) -> list[Path]:
        """Write all files, replacing older ones.

        Parameters
        ----------
        folder : Path
            Where Markdown, HTML, CSV files and pictures go.
        document : Path, optional
            A folder that gets Markdown and pictures as well.

        Returns
        -------
        list of Path
            The written documents.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for rest, table in self.tables.items():
            write_text(folder / f"{self.name}-{rest}.csv", table.to_csv(), force=True)
        write_text(folder / f"{self.name}.html", self.to_html(), force=True)
        written = []
        for place in [folder] if document is None else [folder, document]:
            (place / PICTURES).mkdir(parents=True, exist_ok=True)
            for picture in self.pictures:
                write_bytes(place / PICTURES / f"{picture.name}.png", picture.png, force=True)
            write_text(place / f"{self.name}.md", self.to_markdown(), force=True)
            written.append(place / f"{self.name}.md")
        return [*written, folder / f"{self.name}.html"]


def measured_words(rows: Sequence[Row], spacing_mm: float) -> str:
    """Say how much was measured.

    Parameters
    ----------
    rows : sequence of Row
        All rows.
    spacing_mm : float
        Spacing of the benchmark's grid, mm.

    Returns
    -------
    str
    """
    targets = {(row.case, row.target) for row in rows}
    cases = unique([row.case for row in rows])
    n_failed = sum(bool(row.error) for row in rows)
    views = ", ".join(unique([row.view for row in rows]))
    return (
        f"{len(targets)} targets in {len(cases)} cases ({', '.join(cases)}); volumes: {views}; "
        f"{len(rows)} sessions, {n_failed} of them failed. Voxels of {spacing_mm:g} mm along axes "
        "that are finer."
    )


def missing_section(outcome: Outcome) -> Section:
    """Say what did not run, failed, waits or was left out.

    Parameters
    ----------
    outcome : Outcome
        What was measured.

    Returns
    -------
    Section
    """
    items = [f"{name}: not run, {reason}." for name, reason in outcome.not_run]
    items += [f"Not measured yet: {line}." for line in outcome.unmeasured]
    items += [f"This view could not be made: {line}" for line in outcome.failed_views]
    items += [f"No target: {line}." for line in outcome.left_out]
    failed = any(row.error for row in outcome.rows)
    tables = (failure_table(outcome.rows),) if failed else ()
    words = () if items or tables else ("Every method ran on every target.",)
    return Section("What is not in the figures", words, tuple(items), tables)
