"""Draw the extension's icon: an X-ray fan through a body section, a lesion, and a click on it.

Writes ``NASAM3D.png`` and ``Resources/Icons/NASAM3D.png``. It is drawn at eight times its size and
averaged down, so that edges stay crisp at 128 pixels.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, FancyBboxPatch, Polygon
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
TARGETS = (ROOT / "NASAM3D.png", ROOT / "Resources" / "Icons" / "NASAM3D.png")

SIZE_PX = 128
OVERSAMPLING = 8
POINTS_PER_UNIT = 72 / SIZE_PX
"""Line widths are in points, and the figure is one inch wide."""

BACKGROUND = "#12263f"
FAN = "#5ec8f2"
DETECTOR = "#d8eefa"
SKIN = "#8d99a8"
FAT = "#44525f"
ORGAN = "#74818f"
BONE = "#f2f0e6"
LESION = "#ff7a1a"
CLICK = "#ffffff"

SOURCE = (64.0, 117.0)
LESION_CENTRE = (77.0, 64.0)
FAN_FOOT_Y = 15.0
FAN_HALF_WIDTH = 50.0
"""The canvas has its origin at the lower left and one unit per pixel of the icon."""


def draw() -> Figure:
    """Draw the icon."""
    figure = Figure(figsize=(1, 1), dpi=SIZE_PX * OVERSAMPLING)
    figure.patch.set_alpha(0)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, SIZE_PX), ylim=(0, SIZE_PX))
    axes.axis("off")
    shapes = [
        background(),
        *fan(0.16, 0.42),
        *body(),
        *fan(0.0, 0.2),
        *lesion(),
        *source_and_detector(),
        *click(),
    ]
    for order, shape in enumerate(shapes):
        shape.set_zorder(order)
        axes.add_patch(shape)
    return figure


def background() -> FancyBboxPatch:
    """Draw the rounded square that carries the rest."""
    margin, rounding = 2, 22
    inner = SIZE_PX - 2 * (margin + rounding)
    return FancyBboxPatch(
        (margin + rounding, margin + rounding),
        inner,
        inner,
        boxstyle=f"round,pad={rounding},rounding_size={rounding}",
        facecolor=BACKGROUND,
        edgecolor="none",
    )


def fan(whole_alpha: float, beam_alpha: float) -> list[Polygon]:
    """Draw a few separate beams, since the projections are sparse, in a faint whole fan."""
    n_beams, duty = 5, 0.5
    left, right = SIZE_PX / 2 - FAN_HALF_WIDTH, SIZE_PX / 2 + FAN_HALF_WIDTH
    pitch = (right - left) / (n_beams - 1 + duty)
    starts = left + pitch * np.arange(n_beams)
    feet = [((x, FAN_FOOT_Y), (x + duty * pitch, FAN_FOOT_Y)) for x in starts]
    whole = Polygon(
        [SOURCE, (left, FAN_FOOT_Y), (right, FAN_FOOT_Y)], color=FAN, alpha=whole_alpha, lw=0
    )
    beams = [Polygon([SOURCE, *foot], color=FAN, alpha=beam_alpha, lw=0) for foot in feet]
    return [whole, *beams]


def body() -> list[Ellipse]:
    """Draw an axial section: skin, fat, two organs, spine and pelvic bones."""
    return [
        Ellipse((64, 58), 104, 68, facecolor=FAT, edgecolor=SKIN, linewidth=3 * POINTS_PER_UNIT),
        Ellipse((64, 59), 80, 48, color=ORGAN, lw=0),
        Ellipse((64, 36), 18, 14, color=BONE, lw=0),
        Ellipse((64, 37.5), 6.5, 5.5, color=FAT, lw=0),
        Ellipse((27, 54), 10, 25, angle=14, color=BONE, lw=0),
        Ellipse((101, 54), 10, 25, angle=-14, color=BONE, lw=0),
        Ellipse((47, 65), 22, 18, color=FAT, lw=0),
    ]


def lesion() -> list[Ellipse]:
    """Draw the lesion with the outline of its segment."""
    x, y = LESION_CENTRE
    return [
        Ellipse((x, y), 32, 29, color=LESION, alpha=0.35, lw=0),
        Ellipse((x, y), 24, 21, color=LESION, lw=0),
    ]


def source_and_detector() -> list[Ellipse | FancyBboxPatch]:
    """Draw the focal spot and the detector under the fan."""
    width = 2 * FAN_HALF_WIDTH
    return [
        Ellipse(SOURCE, 11, 11, color=FAN, lw=0),
        Ellipse(SOURCE, 5.5, 5.5, color=CLICK, lw=0),
        FancyBboxPatch(
            ((SIZE_PX - width) / 2, FAN_FOOT_Y - 3.5),
            width,
            3,
            boxstyle="round,pad=1.5,rounding_size=2.5",
            facecolor=DETECTOR,
            edgecolor="none",
        ),
    ]


def click() -> list[Polygon]:
    """Draw the pointer whose tip is on the lesion."""
    outline = np.array(
        [(0, 0), (0, -27), (6.4, -21), (10.6, -30.4), (15.2, -28.4), (11, -19.2), (19.6, -19.2)]
    )
    return [
        Polygon(
            outline + LESION_CENTRE,
            facecolor=CLICK,
            edgecolor=BACKGROUND,
            linewidth=2.2 * POINTS_PER_UNIT,
            joinstyle="round",
        )
    ]


def pixels(figure: Figure) -> npt.NDArray[np.uint8]:
    """Render the figure and average it down, shape (128, 128, 4), uint8.

    Colours are weighted by their opacity: otherwise the transparent corners would darken the rim.
    """
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    fine = np.asarray(canvas.buffer_rgba()) / 255  # type: ignore[no-untyped-call]
    blocks = fine.reshape(SIZE_PX, OVERSAMPLING, SIZE_PX, OVERSAMPLING, 4)
    alpha = blocks[..., 3:].mean(axis=(1, 3))
    colour = (blocks[..., :3] * blocks[..., 3:]).mean(axis=(1, 3)) / np.maximum(alpha, 1e-9)
    return np.round(255 * np.concatenate([colour, alpha], axis=-1)).astype(np.uint8)


def main() -> int:
    """Write the icon to both places."""
    image = Image.fromarray(pixels(draw()))
    for target in TARGETS:
        target.parent.mkdir(parents=True, exist_ok=True)
        image.save(target, optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
