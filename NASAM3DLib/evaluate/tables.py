"""Tables of figures, as Markdown, CSV and HTML."""

from __future__ import annotations

import csv
import html
import io
import math
from dataclasses import dataclass

Cell = str | int | float | None

NOT_DEFINED = "–"


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Parameters
    ----------
    name : str
        Heading, with the unit in brackets.
    digits : int
        Digits after the point of its floating-point numbers.
    """

    name: str
    digits: int = 3


@dataclass(frozen=True)
class Table:
    """Rows of figures under named columns.

    Parameters
    ----------
    columns : tuple of Column
        Headings and number formats.
    rows : tuple of tuple
        Text, numbers or None; None and NaN are shown as a dash: not defined.
    caption : str
        What the figures are, in one or two sentences.

    Raises
    ------
    ValueError
        If a row has more or fewer cells than there are columns.
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""

    def __post_init__(self) -> None:
        for number, row in enumerate(self.rows, start=1):
            if len(row) != len(self.columns):
                raise ValueError(
                    f"Row {number} of the table must have {len(self.columns)} cells, one for each "
                    f"column, got {len(row)}."
                )

    def formatted(self) -> list[list[str]]:
        """Give the cells as text.

        Returns
        -------
        list of list of str
            One list for each row.
        """
        return [
            [_text(cell, column.digits) for cell, column in zip(row, self.columns, strict=True)]
            for row in self.rows
        ]

    def is_numeric(self, index: int) -> bool:
        """Tell whether a column holds numbers only and should be aligned to the right.

        Parameters
        ----------
        index : int
            Index of the column.

        Returns
        -------
        bool
        """
        return not any(isinstance(row[index], str) for row in self.rows)

    def to_markdown(self) -> str:
        """Write the table in Markdown.

        Returns
        -------
        str
            Ends with a line break; the caption follows the table.
        """
        names = [column.name for column in self.columns]
        rules = ["---:" if self.is_numeric(n) else "---" for n in range(len(names))]
        lines = [names, rules, *self.formatted()]
        escaped = [[cell.replace("|", "\\|") for cell in line] for line in lines]
        table = "\n".join("| " + " | ".join(line) + " |" for line in escaped)
        return table + "\n" + (f"\n{self.caption}\n" if self.caption else "")

    def to_csv(self) -> str:
        """Write the table as comma-separated values.

        Returns
        -------
        str
            Numbers in full precision, empty cells where a figure is not defined.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([column.name for column in self.columns])
        for row in self.rows:
            writer.writerow(["" if _is_undefined(cell) else cell for cell in row])
        return text.getvalue()

    def to_html(self) -> str:
        """Write the table in HTML.

        Returns
        -------
        str
            A ``table`` element with all text escaped.
        """
        numeric = [self.is_numeric(n) for n in range(len(self.columns))]
        names = [column.name for column in self.columns]
        head = _html_row("th", names, numeric)
        body = "\n".join(_html_row("td", row, numeric) for row in self.formatted())
        caption = f"<caption>{html.escape(self.caption)}</caption>\n" if self.caption else ""
        return f"<table>\n{caption}<thead>\n{head}\n</thead>\n<tbody>\n{body}\n</tbody>\n</table>\n"


def _html_row(tag: str, cells: list[str], numeric: list[bool]) -> str:
    """Write one row; numbers get the class that aligns them."""
    parts = [
        f'<{tag} class="number">{html.escape(cell)}</{tag}>'
        if is_number
        else f"<{tag}>{html.escape(cell)}</{tag}>"
        for cell, is_number in zip(cells, numeric, strict=True)
    ]
    return "<tr>" + "".join(parts) + "</tr>"


def _is_undefined(cell: Cell) -> bool:
    """Tell whether there is no figure to show."""
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def _text(cell: Cell, digits: int) -> str:
    """Give a cell as text with the column's number of digits."""
    if _is_undefined(cell):
        return NOT_DEFINED
    if isinstance(cell, float):
        return f"{cell:.{digits}f}" if math.isfinite(cell) else "∞"
    return str(cell)
