"""PNG files from figures, and small ones for documents that are kept with their history."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_COLOURS = 256
"""As many as the palette of a PNG file holds (PNG specification, third edition, 11.2.2)."""


def png_of(figure: Figure) -> bytes:
    """Render a figure.

    Parameters
    ----------
    figure : Figure
        What was drawn, at its own resolution.

    Returns
    -------
    bytes
        A PNG file in true colours; equal figures give equal files.
    """
    file = io.BytesIO()
    # Without the version of matplotlib in it, equal pictures are equal files.
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def few_colours(png: bytes, *, scale: float = 1.0, n_colours: int = MOST_COLOURS) -> bytes:
    """Store a picture with a palette, a third to two thirds of its size in true colours.

    A document's pictures are kept for good with each of its versions, and slices compress badly.
    For lines, slices in grey with outlines and windows of a program; scales of colour show steps.

    Parameters
    ----------
    png : bytes
        A PNG file; what is transparent in it becomes opaque.
    scale : float
        Width and height of the result by those of the given picture.
    n_colours : int
        Most colours of the result, 2 to 256; each pixel takes the nearest, without dithering.

    Returns
    -------
    bytes
        A PNG file with a palette.

    Raises
    ------
    ValueError
        If the scale is not positive or the number of colours is not one of a palette.
    """
    from PIL import Image

    if not scale > 0:
        raise ValueError(f"a scale above 0 was wanted, got {scale:g}")
    if not 2 <= n_colours <= MOST_COLOURS:
        raise ValueError(f"2 to {MOST_COLOURS} colours were wanted, got {n_colours}")
    file = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        width, height = (max(1, round(scale * n)) for n in image.size)
        opaque = image.convert("RGB")
        if (width, height) != opaque.size:
            opaque = opaque.resize((width, height), Image.Resampling.LANCZOS)
        reduced = opaque.quantize(n_colours, dither=Image.Dither.NONE)
        reduced.save(file, format="png", optimize=True)
    return file.getvalue()
