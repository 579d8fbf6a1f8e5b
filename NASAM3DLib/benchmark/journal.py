"""What was measured, one line for each target, view and method, in a file that survives a kill."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

logger = logging.getLogger(__name__)


class ClickFigures(NamedTuple):
    """How good the mask was after one more click.

    Parameters
    ----------
    positive : bool
        Whether the click was placed on the object.
    dice : float
        Overlap with the truth.
    hd95_mm : float or None
        Robust Hausdorff distance, mm; None where the mask is empty.
    cpu_s : float
        CPU time of the answer.
    asd_mm : float or None
        Mean distance of the surfaces, mm; None where the mask is empty or it was not measured.
    """

    positive: bool
    dice: float
    hd95_mm: float | None
    cpu_s: float
    asd_mm: float | None = None


class RowKey(NamedTuple):
    """What a row is about.

    Parameters
    ----------
    case, target, view, method, identity, checksum : str
        As in the row.
    n_clicks : int
        As in the row.
    """

    case: str
    target: str
    view: str
    method: str
    identity: str
    checksum: str
    n_clicks: int


@dataclass(frozen=True)
class Row:
    """One method on one target.

    Parameters
    ----------
    case, data_set, target, group : str
        The object and what it belongs to.
    view : str
        What the method was shown: "full" or a number of views.
    method, identity : str
        Name of the method, and what its answers depend on besides.
    checksum : str
        Of what was shown and of the truth.
    n_clicks : int
        Clicks that were to be made; fewer figures mean that nothing was left to correct.
    n_voxels : int
        Size of the object.
    figures : tuple of ClickFigures
        One for each click.
    error : str
        Why there are no figures; empty if there are.
    """

    case: str
    data_set: str
    target: str
    group: str
    view: str
    method: str
    identity: str
    checksum: str
    n_clicks: int
    n_voxels: int
    figures: tuple[ClickFigures, ...] = ()
    error: str = ""

    @property
    def key(self) -> RowKey:
        """What the row is about."""
        return RowKey(
            self.case,
            self.target,
            self.view,
            self.method,
            self.identity,
            self.checksum,
            self.n_clicks,
        )

    @property
    def title(self) -> str:
        """Case and target for readers."""
        return f"{self.case}, {self.target}"

    def after(self, n_clicks: int) -> ClickFigures:
        """Give the figures after some clicks.

        Parameters
        ----------
        n_clicks : int
            Number of clicks, at least one.

        Returns
        -------
        ClickFigures
            The last ones if the user had nothing left to correct before.
        """
        return self.figures[min(n_clicks, len(self.figures)) - 1]


class Journal:
    """The file of all rows of a benchmark.

    Parameters
    ----------
    path : Path
        File with one JSON object per line; it is made with the first row.

    Notes
    -----
    Of two rows with one key the later counts. A last line that a kill cut off is ignored.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def rows(self) -> dict[RowKey, Row]:
        """Read all rows.

        Returns
        -------
        dict of RowKey to Row
        """
        if not self.path.is_file():
            return {}
        rows = {}
        for number, line in enumerate(self.path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                row = _row(line)
            except (json.JSONDecodeError, TypeError, KeyError):
                logger.warning("Line %d of %s is cut off and ignored.", number, self.path)
                continue
            rows[row.key] = row
        return rows

    def append(self, row: Row) -> None:
        """Add a row.

        Parameters
        ----------
        row : Row
            What was measured.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b") as file:
            # After a kill the file may end within a line.
            if file.tell():
                file.seek(-1, 2)
                if file.read(1) != b"\n":
                    file.write(b"\n")
            file.write((json.dumps(asdict(row)) + "\n").encode())

    def forget(self, methods: Iterable[str]) -> None:
        """Drop the rows of some methods, to measure them again.

        Parameters
        ----------
        methods : iterable of str
            Their names.
        """
        dropped = set(methods)
        kept = [row for row in self.rows().values() if row.method not in dropped]
        if self.path.is_file():
            text = "".join(json.dumps(asdict(row)) + "\n" for row in kept)
            self.path.write_text(text, encoding="utf-8")


def _row(line: str) -> Row:
    """Read a row."""
    entry = json.loads(line)
    figures = tuple(ClickFigures(*one) for one in entry.pop("figures"))
    return Row(**entry, figures=figures)
