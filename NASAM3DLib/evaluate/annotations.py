"""What a reader needs to find the way in a slice: letters, position and scale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from NASAM3DLib.evaluate.slices import LETTERS, SliceView

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK = "#ffe9a8"

ROUND_LENGTHS_MM = (200, 100, 50, 20, 10, 5, 2, 1)


def annotate(axes: Axes, view: SliceView, *, ink: str = INK, halo: str = "black") -> None:
    """Write orientation letters, slice position and a scale bar into a panel.

    Parameters
    ----------
    axes : Axes
        Where to write.
    view : SliceView
        Which slice.
    ink, halo : str
        Colours of the letters and of their rim.
    """
    left, right, top, bottom = view.plane.letters
    for place, letter in (
        ((0.02, 0.5), left),
        ((0.98, 0.5), right),
        ((0.5, 0.98), top),
        ((0.5, 0.02), bottom),
    ):
        write(axes, place, letter, ink=ink, halo=halo, weight="bold")
    letter = LETTERS[view.plane.normal_axis][0 if view.position_mm >= 0 else 1]
    position = f"{view.plane.name} {letter} {abs(view.position_mm):.0f} mm"
    write(axes, (0.02, 0.98), position, ink=ink, halo=halo, size="small")
    _draw_scale_bar(axes, view, ink=ink, halo=halo)


def write(
    axes: Axes,
    place: tuple[float, float],
    text: str,
    *,
    ink: str = INK,
    halo: str = "black",
    **font: Any,
) -> None:
    """Write at a place given in fractions of the panel, aligned to the nearest edges.

    Parameters
    ----------
    axes : Axes
        Where to write.
    place : tuple of float
        To the right and upwards, 0 to 1.
    text : str
        What to write.
    ink, halo : str
        Colours of the letters and of their rim.
    **font : str
        Properties of the letters for matplotlib.
    """
    from matplotlib.patheffects import withStroke

    x, y = place
    axes.text(
        *(x, y, text),
        transform=axes.transAxes,
        color=ink,
        path_effects=[withStroke(linewidth=2, foreground=halo)],
        ha="center" if x == 0.5 else "left" if x < 0.5 else "right",
        va="center" if y == 0.5 else "bottom" if y < 0.5 else "top",
        **font,
    )


def _draw_scale_bar(axes: Axes, view: SliceView, *, ink: str, halo: str) -> None:
    """Draw a bar of a round length, at most a quarter of the width, at the lower right."""
    from matplotlib.patheffects import withStroke

    round_lengths = [n for n in ROUND_LENGTHS_MM if n <= view.width_mm / 4]
    length = round_lengths[0] if round_lengths else view.width_mm / 4
    _, right, bottom, _ = view.extent_mm
    end, height = right - 0.04 * view.width_mm, bottom + 0.05 * view.height_mm
    axes.plot(
        [end - length, end],
        [height, height],
        color=ink,
        linewidth=2.5,
        solid_capstyle="butt",
        path_effects=[withStroke(linewidth=4.5, foreground=halo)],
    )
    axes.text(
        *(end - length / 2, height + 0.015 * view.height_mm, f"{length:g} mm"),
        color=ink,
        path_effects=[withStroke(linewidth=2, foreground=halo)],
        ha="center",
        va="bottom",
        size="small",
    )
