from __future__ import annotations

import csv
import io
from html.parser import HTMLParser

import pytest

from NASAM3DLib.evaluate.pictures import Picture
from NASAM3DLib.evaluate.report import Report, Section
from NASAM3DLib.evaluate.tables import Column, Table

TABLE = Table(
    (Column("Method"), Column("PSNR (dB)", 2), Column("Views", 0)),
    (("FDK | Hann", 27.126, 50), ("field <b>", float("nan"), 50), ("truth", float("inf"), None)),
    "Peak of 3000 HU.",
)


class Tags(HTMLParser):
    """Collects elements, attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_markdown_aligns_numbers_and_escapes_bars() -> None:
    assert TABLE.to_markdown().splitlines() == [
        "| Method | PSNR (dB) | Views |",
        "| --- | ---: | ---: |",
        r"| FDK \| Hann | 27.13 | 50 |",
        "| field <b> | – | 50 |",
        "| truth | ∞ | – |",
        "",
        "Peak of 3000 HU.",
    ]


def test_csv_keeps_full_precision() -> None:
    rows = list(csv.reader(io.StringIO(TABLE.to_csv())))
    assert rows[0] == ["Method", "PSNR (dB)", "Views"]
    assert float(rows[1][1]) == 27.126
    assert rows[2][1] == ""
    assert rows[3] == ["truth", "inf", ""]


def test_html_is_well_formed_and_escaped() -> None:
    tags = Tags(TABLE.to_html())
    assert tags.open == []
    assert [tag for tag, _ in tags.elements].count("td") == 9
    assert "field <b>" in tags.text
    assert "b" not in [tag for tag, _ in tags.elements]


def test_ragged_rows_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Row 2 .* must have 2 cells.* got 1"):
        Table((Column("a"), Column("b")), ((1, 2), (1,)))


def test_report_holds_everything_and_loads_nothing() -> None:
    picture = Picture("one", 'A "quoted" caption', b"\x89PNG not really")
    report = Report(
        "Scan & segment",
        "It worked.",
        (
            Section(
                "Figures", ("Text with <angle> brackets.",), ("first item",), (TABLE,), (picture,)
            ),
        ),
        "Version 1",
    )
    text = report.to_html()
    tags = Tags(text)
    assert tags.open == []
    names = [tag for tag, _ in tags.elements]
    assert "script" not in names
    assert "link" not in names
    for _, attributes in tags.elements:
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:").startswith("data:")
    assert "http" not in text
    assert "@import" not in text
    assert "url(" not in text
    assert next(a for tag, a in tags.elements if tag == "img")["alt"] == 'A "quoted" caption'
    for expected in ("Scan & segment", "Text with <angle> brackets.", "first item", "Version 1"):
        assert expected in tags.text
