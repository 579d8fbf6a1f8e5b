"""Pictures that a clinician can read, with orientation, scale and slice positions in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from NASAM3DLib.evaluate.panels import (
    SOFT_TISSUE,
    Outline,
    Window,
    draw_clicks,
    draw_difference,
    draw_heat,
    draw_image,
    draw_outlines,
)
from NASAM3DLib.evaluate.png import png_of
from NASAM3DLib.evaluate.slices import PLANES, PlaneName, SliceView
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.projections import ProjectionSet
from NASAM3DLib.segment.mask import Mask
from NASAM3DLib.segment.prompts import Prompts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANEL_WIDTH_INCH = 3.6
MARGIN_INCH = 0.2
CLOSE_UP_MARGIN_MM = 20.0
SMALLEST_CLOSE_UP_MM = 60.0
RESOLUTION_DPI = 120


@dataclass(frozen=True)
class Picture:
    """A finished picture.

    Parameters
    ----------
    name : str
        File name without ending.
    caption : str
        What is to be seen, for the report and for readers who cannot see it.
    png : bytes
        The picture as a PNG file.
    """

    name: str
    caption: str
    png: bytes


@dataclass(frozen=True, eq=False)
class Subject:
    """What pictures of one case have in common.

    Parameters
    ----------
    point_ras : ndarray, shape (3,)
        Point through which all slices go, mm.
    outlines : tuple of Outline
        Masks to outline in every picture.
    prompts : Prompts
        Clicks to mark.
    window : Window
        HU of black and white.
    heat : ndarray, shape (k, j, i), float32, optional
        Values between 0 and 1 on the volume's grid, shown as colours in close-ups.
    """

    point_ras: npt.NDArray[np.float64]
    outlines: tuple[Outline, ...] = ()
    prompts: Prompts = field(default_factory=Prompts)
    window: Window = SOFT_TISSUE
    heat: npt.NDArray[np.float32] | None = None


def picture_volume(volume: Volume, subject: Subject, *, caption: str = "") -> Picture:
    """Show the three orthogonal slices through a point.

    Parameters
    ----------
    volume : Volume
        What to show; its axes may be oblique, the slices are along RAS.
    subject : Subject
        Point, outlines, clicks and window.
    caption : str
        What is to be seen.

    Returns
    -------
    Picture
    """
    views = [SliceView.through(volume, name, subject.point_ras) for name in PLANES]
    figure = _figure([views])
    for axes, view in zip(figure.axes, views, strict=True):
        draw_image(axes, view, volume, window=subject.window)
        draw_outlines(axes, view, subject.outlines)
        draw_clicks(axes, view, subject.prompts)
    _legend(figure, subject.outlines)
    return Picture("volume", caption, png_of(figure))


def picture_comparison(
    volumes: Mapping[str, Volume],
    reference: Volume,
    subject: Subject,
    *,
    planes: Sequence[PlaneName] = ("axial", "coronal"),
    caption: str = "",
) -> Picture:
    """Show volumes side by side with the truth, and below each how it differs.

    Parameters
    ----------
    volumes : mapping of str to Volume
        Volumes to judge, by name.
    reference : Volume
        The truth.
    subject : Subject
        Point, outlines and window; the differences are shown on a scale of half the window.
    planes : sequence of str
        Viewing directions; each takes two rows.
    caption : str
        What is to be seen.

    Returns
    -------
    Picture
    """
    views = [SliceView.through(reference, name, subject.point_ras) for name in planes]
    n_columns = len(volumes) + 1
    figure = _figure([[view] * n_columns for view in views for _ in range(2)])
    limit_hu = subject.window.width / 2
    for number, view in enumerate(views):
        rows = [
            figure.axes[n * n_columns : (n + 1) * n_columns] for n in (2 * number, 2 * number + 1)
        ]
        for axes, volume in zip(rows[0], (reference, *volumes.values()), strict=True):
            draw_image(axes, view, volume, window=subject.window)
            draw_outlines(axes, view, subject.outlines)
        rows[1][0].set_axis_off()
        for axes, volume in zip(rows[1][1:], volumes.values(), strict=True):
            image = draw_difference(axes, view, (volume, reference), limit_hu=limit_hu)
        bar = rows[1][0].inset_axes((0.72, 0.08, 0.05, 0.84))
        figure.colorbar(image, cax=bar)
        bar.yaxis.set_ticks_position("left")
        bar.set_title("difference\nfrom truth (HU)", size="small")
    for axes, name in zip(figure.axes, ("truth", *volumes), strict=False):
        axes.set_title(name)
    _legend(figure, subject.outlines)
    return Picture("comparison", caption, png_of(figure))


def picture_masks(
    volume: Volume, rows: Mapping[str, Subject], *, around: Mask, caption: str = ""
) -> Picture:
    """Show several segmentations of one object close up, one in each row.

    Parameters
    ----------
    volume : Volume
        What was segmented.
    rows : mapping of str to Subject
        Point in the middle, outlines and clicks of each row, by the row's name.
    around : Mask
        The object that fills the panels, with a margin.
    caption : str
        What is to be seen.

    Returns
    -------
    Picture
    """
    middle, size_mm = _close_up(around)
    views = [
        [
            SliceView.through(volume, name, subject.point_ras).zoomed(middle, size_mm)
            for name in PLANES
        ]
        for subject in rows.values()
    ]
    figure = _figure(views)
    panels = iter(figure.axes)
    for (name, subject), row in zip(rows.items(), views, strict=True):
        for number, (view, axes) in enumerate(zip(row, panels, strict=False)):
            draw_image(axes, view, volume, window=subject.window)
            if subject.heat is not None:
                draw_heat(axes, view, subject.heat, grid=volume.grid)
            draw_outlines(axes, view, subject.outlines)
            draw_clicks(axes, view, subject.prompts)
            if number == 0:
                axes.set_title(name, loc="left")
    outlines = {one.label: one for subject in rows.values() for one in subject.outlines}
    _legend(figure, tuple(outlines.values()))
    return Picture("masks", caption, png_of(figure))


def picture_projections(
    projection_set: ProjectionSet, *, n_views: int = 4, caption: str = ""
) -> Picture:
    """Show some of the measured views.

    Parameters
    ----------
    projection_set : ProjectionSet
        Line integrals.
    n_views : int
        How many to show, spread over the scan.
    caption : str
        What is to be seen.

    Returns
    -------
    Picture
    """
    shown = projection_set.sparse(min(n_views, projection_set.n_views))
    step_v, step_u = shown.geometry.pixel_spacing_mm
    n_rows, n_columns = shown.geometry.detector_shape
    figure = _figure_of_sizes([n_columns * step_u] * shown.n_views, [n_rows * step_v])
    limits = float(shown.projections.min()), float(np.percentile(shown.projections, 99.9))
    orbit = shown.geometry.orbit
    for view, (axes, image) in enumerate(zip(figure.axes, shown.projections, strict=True)):
        shown_image = axes.imshow(
            image,
            origin="lower",
            cmap="gray",
            aspect=step_v / step_u,
            vmin=limits[0],
            vmax=limits[1],
        )
        axes.set_xticks([])
        axes.set_yticks([])
        if orbit is not None:
            axes.set_title(f"{np.degrees(orbit.angles_rad[view]):.0f}°")
    figure.colorbar(
        shown_image, ax=figure.axes, label="line integral", fraction=0.02, pad=0.01, aspect=12
    )
    return Picture("projections", caption, png_of(figure))


def _close_up(mask: Mask) -> tuple[npt.NDArray[np.float64], float]:
    """Give middle and side of a square that holds an object with a margin, mm."""
    points = mask.grid.to_ras(np.argwhere(mask.array)[:, ::-1])
    if not len(points):
        return mask.grid.centre_ras, SMALLEST_CLOSE_UP_MM
    low, high = points.min(axis=0), points.max(axis=0)
    size = float((high - low).max()) + 2 * CLOSE_UP_MARGIN_MM
    return (low + high) / 2, max(size, SMALLEST_CLOSE_UP_MM)


def _figure(rows: list[list[SliceView]]) -> Figure:
    """Make a figure with a panel for each view, all at one scale."""
    widths = [view.width_mm for view in rows[0]]
    return _figure_of_sizes(widths, [max(view.height_mm for view in row) for row in rows])


def _figure_of_sizes(widths: list[float], heights: list[float]) -> Figure:
    """Make a figure whose columns and rows are in proportion to the given sizes."""
    from matplotlib.figure import Figure

    inch = PANEL_WIDTH_INCH * len(widths) / sum(widths)
    size = (sum(widths) * inch, sum(heights) * inch + MARGIN_INCH * (len(heights) + 1))
    figure = Figure(figsize=size, dpi=RESOLUTION_DPI, layout="constrained")
    grid = {"width_ratios": widths, "height_ratios": heights}
    figure.subplots(len(heights), len(widths), gridspec_kw=grid, squeeze=False)
    return figure


def _legend(figure: Figure, outlines: Sequence[Outline]) -> None:
    """Explain the outlines below the panels."""
    from matplotlib.lines import Line2D

    if outlines:
        lines = [Line2D([], [], color=one.colour, linestyle=one.style) for one in outlines]
        labels = [one.label for one in outlines]
        figure.legend(lines, labels, loc="outside lower center", ncols=4, frameon=False)
