"""A report in one HTML file that opens anywhere, prints well and loads nothing from outside."""

from __future__ import annotations

import base64
import html
from dataclasses import dataclass

from NASAM3DLib.evaluate.pictures import Picture
from NASAM3DLib.evaluate.tables import Table

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.55 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  color: #1c2430; background: #fff; max-width: 60rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.75rem; line-height: 1.25; margin: 0 0 .3rem; }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .5rem; padding-bottom: .2rem;
  border-bottom: 1px solid #d5dbe3; }
p, li { max-width: 46rem; }
.summary { font-size: 1.08rem; border-left: 4px solid #2a6f97; padding: .1rem 0 .1rem 1rem;
  margin: 1.2rem 0; }
table { border-collapse: collapse; margin: 1rem 0; font-size: .95rem; }
caption { caption-side: bottom; text-align: left; color: #566273; font-size: .85rem;
  padding-top: .4rem; max-width: 46rem; }
th, td { text-align: left; padding: .32rem .9rem .32rem 0; border-bottom: 1px solid #e3e8ee;
  vertical-align: top; }
thead th { border-bottom: 2px solid #9aa7b5; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
figure { margin: 1.2rem 0; break-inside: avoid; }
figure img { max-width: 100%; height: auto; display: block; }
figcaption { color: #566273; font-size: .88rem; margin-top: .35rem; max-width: 46rem; }
code { font-family: ui-monospace, Consolas, "Liberation Mono", monospace; font-size: .92em; }
footer { margin-top: 3rem; color: #566273; font-size: .85rem; }
@media print {
  @page { margin: 16mm; }
  body { font-size: 10.5pt; max-width: none; padding: 0; }
  h2 { break-after: avoid; }
  table { break-inside: avoid; }
}
"""


@dataclass(frozen=True)
class Section:
    """A part of the report under one heading.

    Parameters
    ----------
    heading : str
        Heading; empty for none.
    paragraphs : tuple of str
        Plain text.
    items : tuple of str
        Plain text, shown as a list after the paragraphs.
    tables : tuple of Table
        Shown after the list.
    pictures : tuple of Picture
        Shown last, with their captions.
    """

    heading: str
    paragraphs: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class Report:
    """All that the report says.

    Parameters
    ----------
    title : str
        Heading of the whole.
    summary : str
        The result in two or three sentences.
    sections : tuple of Section
        In the order of reading.
    footer : str
        Versions and origin, in small print.
    """

    title: str
    summary: str
    sections: tuple[Section, ...]
    footer: str = ""

    def to_html(self) -> str:
        """Write the report.

        Returns
        -------
        str
            One HTML document with its pictures inside, without scripts and external addresses.
        """
        body = "\n".join(_section(section) for section in self.sections)
        title = html.escape(self.title)
        return (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
            f'<p class="summary">{html.escape(self.summary)}</p>\n{body}\n'
            f"<footer>{html.escape(self.footer)}</footer>\n</body>\n</html>\n"
        )


def _section(section: Section) -> str:
    """Write one section."""
    parts = [f"<h2>{html.escape(section.heading)}</h2>"] if section.heading else []
    parts += [f"<p>{html.escape(text)}</p>" for text in section.paragraphs]
    if section.items:
        items = "\n".join(f"<li>{html.escape(item)}</li>" for item in section.items)
        parts.append(f"<ul>\n{items}\n</ul>")
    parts += [table.to_html() for table in section.tables]
    parts += [_figure(picture) for picture in section.pictures]
    return "<section>\n" + "\n".join(parts) + "\n</section>"


def _figure(picture: Picture) -> str:
    """Write a picture into the document."""
    data = base64.b64encode(picture.png).decode("ascii")
    caption = html.escape(picture.caption)
    return (
        f'<figure>\n<img alt="{caption}" src="data:image/png;base64,{data}">\n'
        f"<figcaption>{caption}</figcaption>\n</figure>"
    )
