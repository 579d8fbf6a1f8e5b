"""One panel of a picture: an image with what a reader needs to understand it.

Everything here draws into given axes. Figures are made without pyplot, so nothing global changes
and no window can open.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from NASAM3DLib.evaluate.annotations import annotate, write
from NASAM3DLib.evaluate.slices import SliceView
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.mask import Mask
from NASAM3DLib.segment.prompts import POSITIVE, Prompts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

POSITIVE_COLOUR, NEGATIVE_COLOUR = "#35e07c", "#ff4d4d"
CLICK_REACH_MM = 1.0
"""A click is drawn as in the slice if it is not farther from it than this."""

HEAT_OPACITY = 0.75


@dataclass(frozen=True)
class Window:
    """Which HU are shown from black to white.

    Parameters
    ----------
    level, width : float
        Middle and span, HU.
    """

    level: float = 40.0
    width: float = 400.0

    @property
    def limits(self) -> tuple[float, float]:
        """HU of black and of white."""
        return self.level - self.width / 2, self.level + self.width / 2

    def __str__(self) -> str:
        return f"W {self.width:.0f} L {self.level:.0f} HU"


SOFT_TISSUE = Window()


@dataclass(frozen=True)
class Outline:
    """A mask to draw as a line.

    Parameters
    ----------
    label : str
        Name in the legend.
    mask : Mask
        What to outline; may lie on another grid than the image.
    colour : str
        Colour of the line.
    style : {"-", "--", "-.", ":"}
        Solid, dashed, dash-dotted or dotted line.
    """

    label: str
    mask: Mask
    colour: str
    style: Literal["-", "--", "-.", ":"] = "-"


def draw_image(axes: Axes, view: SliceView, volume: Volume, *, window: Window) -> None:
    """Draw a slice in grey with orientation letters, scale bar and slice position.

    Parameters
    ----------
    axes : Axes
        Where to draw.
    view : SliceView
        Which slice.
    volume : Volume
        What to show.
    window : Window
        HU of black and white.
    """
    low, high = window.limits
    _show(axes, view, view.sample(volume), cmap="gray", limits=(low, high))
    annotate(axes, view)
    write(axes, (0.02, 0.02), str(window), size="small")


def draw_difference(
    axes: Axes, view: SliceView, volumes: tuple[Volume, Volume], *, limit_hu: float
) -> AxesImage:
    """Draw the first volume minus the second in colour.

    Parameters
    ----------
    axes : Axes
        Where to draw.
    view : SliceView
        Which slice.
    volumes : tuple of Volume
        Volume to judge and the truth, on any grids.
    limit_hu : float
        Difference of the strongest colours, HU.

    Returns
    -------
    AxesImage
        For the colour bar.
    """
    first, second = (view.sample(volume) for volume in volumes)
    image = _show(axes, view, first - second, cmap="RdBu_r", limits=(-limit_hu, limit_hu))
    annotate(axes, view, ink="black", halo="white")
    return image


def draw_heat(
    axes: Axes, view: SliceView, heat: npt.NDArray[np.float32], *, grid: VolumeGrid
) -> None:
    """Lay values between 0 and 1 over an image as colours; 0 is transparent.

    Parameters
    ----------
    axes : Axes
        Where to draw.
    view : SliceView
        Which slice.
    heat : ndarray, shape (k, j, i), float32
        Values.
    grid : VolumeGrid
        Where the voxels lie.
    """
    values = np.clip(view.sample_array(heat, grid), 0, 1)
    axes.imshow(
        values,
        origin="lower",
        extent=view.extent_mm,
        cmap="inferno",
        vmin=0.0,
        vmax=1.0,
        alpha=np.minimum(HEAT_OPACITY, 2 * values),
        interpolation="bilinear",
    )


def draw_outlines(axes: Axes, view: SliceView, outlines: tuple[Outline, ...]) -> None:
    """Draw the outlines of masks.

    Parameters
    ----------
    axes : Axes
        Where to draw.
    view : SliceView
        Which slice.
    outlines : tuple of Outline
        Masks that do not reach the slice leave no line.
    """
    to_right, upwards = view.axes_mm()
    for outline in outlines:
        covered = view.sample_mask(outline.mask)
        if covered.min() < 0.5 < covered.max():
            axes.contour(
                to_right,
                upwards,
                covered,
                levels=[0.5],
                colors=[outline.colour],
                linestyles=[outline.style],
                linewidths=1.5,
            )


def draw_clicks(axes: Axes, view: SliceView, prompts: Prompts) -> None:
    """Draw the clicks, numbered in their order; those beside the slice are faint.

    Parameters
    ----------
    axes : Axes
        Where to draw.
    view : SliceView
        Which slice.
    prompts : Prompts
        Points to draw.
    """
    from matplotlib.patheffects import withStroke

    reach = max(CLICK_REACH_MM, 2 * view.spacing_mm)
    left, right, bottom, top = view.extent_mm
    for number, (x, y, distance) in enumerate(view.place(prompts.points_ras), start=1):
        if not (left < x < right and bottom < y < top):
            continue
        positive = prompts.labels[number - 1] == POSITIVE
        colour = POSITIVE_COLOUR if positive else NEGATIVE_COLOUR
        alpha = 1.0 if abs(distance) <= reach else 0.35
        marker = "P" if positive else "X"
        axes.plot(x, y, marker, color=colour, markersize=8, markeredgecolor="black", alpha=alpha)
        axes.annotate(
            str(number),
            (x, y),
            (6, 5),
            textcoords="offset points",
            color=colour,
            alpha=alpha,
            weight="bold",
            path_effects=[withStroke(linewidth=2, foreground="black")],
        )


def _show(
    axes: Axes, view: SliceView, image: np.ndarray, *, cmap: str, limits: tuple[float, float]
) -> AxesImage:
    """Show an image in millimetres without ticks."""
    shown = axes.imshow(
        image,
        origin="lower",
        extent=view.extent_mm,
        cmap=cmap,
        vmin=limits[0],
        vmax=limits[1],
        interpolation="bilinear",
    )
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_autoscale_on(False)
    return shown
