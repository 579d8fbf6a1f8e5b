"""PNG files from figures, and small ones for documents that are kept with their history."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.figure import Figure

N_COLOURS = 256
"""As many as the palette of a PNG file holds (PNG specification, third edition, 11.2.2)."""

N_GREYS = 86
"""Every third of 256: a slice looks as it did."""

TINT = 8
"""Largest component minus smallest of what passes for grey."""


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


def few_colours(png: bytes, *, scale: float = 1.0) -> bytes:
    """Store a picture with a palette, in a third of its size in true colours.

    A document's pictures are kept for good with each of its versions, and slices compress badly. A
    third of the palette are greys, the rest covers the colours that the picture has: a quantiser
    that counts pixels gives to the greys of slices what outlines and scales of colour need.

    Parameters
    ----------
    png : bytes
        A PNG file; what is transparent in it becomes opaque.
    scale : float
        Width and height of the result by those of the given picture.

    Returns
    -------
    bytes
        A PNG file with a palette; each pixel has its nearest colour, without dithering.

    Raises
    ------
    ValueError
        If the scale is not positive.
    """
    from PIL import Image
    from scipy.spatial import KDTree

    if not scale > 0:
        raise ValueError(f"a scale above 0 was wanted, got {scale:g}")
    with Image.open(io.BytesIO(png)) as image:
        width, height = (max(1, round(scale * n)) for n in image.size)
        opaque = image.convert("RGB")
    if (width, height) != opaque.size:
        opaque = opaque.resize((width, height), Image.Resampling.LANCZOS)
    pixels = np.asarray(opaque).reshape(-1, 3)
    colours, places = np.unique(pixels, axis=0, return_inverse=True)
    palette = _palette(colours)
    nearest = KDTree(palette).query(colours)[1].astype(np.uint8)
    reduced = Image.fromarray(nearest[places].reshape(height, width))
    reduced.putpalette(palette.tobytes())
    file = io.BytesIO()
    reduced.save(file, format="png", optimize=True)
    return file.getvalue()


def _palette(colours: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Choose the palette, shape (n, 3), for the different colours of a picture, shape (m, 3)."""
    from PIL import Image

    greys = np.linspace(0, 255, N_GREYS).round().astype(np.uint8)
    palette = np.repeat(greys[:, None], 3, axis=1)
    tinted = colours[np.ptp(colours.astype(int), axis=1) > TINT]
    if not len(tinted):
        return palette
    method, n_left = Image.Quantize.MAXCOVERAGE, min(N_COLOURS - N_GREYS, len(tinted))
    found = Image.fromarray(tinted[None]).quantize(n_left, method=method, kmeans=1)
    chosen = np.array(found.getpalette(), dtype=np.uint8).reshape(-1, 3)[:n_left]
    return np.concatenate([palette, chosen])
