"""The pictures of a benchmark of clicks: curves, and the best, median and worst target."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from NASAM3DLib.benchmark.click_tables import GROUPS, MIDDLE, in_group, shown_clicks, unique
from NASAM3DLib.benchmark.click_task import ClickSettings, View, click_on, view_of
from NASAM3DLib.benchmark.journal import Row
from NASAM3DLib.benchmark.methods.protocol import Occasion
from NASAM3DLib.benchmark.methods.registry import all_methods
from NASAM3DLib.benchmark.sources import Source
from NASAM3DLib.benchmark.views import Look, view_name
from NASAM3DLib.evaluate.panels import Outline, Window
from NASAM3DLib.evaluate.pictures import Picture, Subject, picture_masks
from NASAM3DLib.evaluate.png import few_colours, png_of
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.segment.mask import Mask
from NASAM3DLib.segment.prompts import Prompts

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

OUR_COLOURS = ("#d1495b", "#8f2d8c", "#ee964b", "#5c677d")
PEER_COLOURS = ("#1f77b4", "#2ca02c", "#17becf", "#8c8c3c", "#7f7f7f", "#8c564b", "#111111")
PEER_LINES = ("--", ":", "-.")
"""Where there are more peers than colours, the next style takes the colours from the start."""
PANEL_INCH, LEAST_PANEL_INCH, WIDTH_INCH = 3.6, 2.5, 14.0
"""Width of a panel, of the narrowest, and of all where they can be that narrow."""
TRUTH_COLOUR, MASK_COLOUR = "#ffd23f", "#35b7ff"
SCALE = 0.75
"""Size of a stored picture of examples in the drawn one."""

LEAST_WIDTH_HU, MOST_WIDTH_HU = 200.0, 1600.0


@dataclass(frozen=True)
class Example:
    """A target to be shown.

    Parameters
    ----------
    rank : {"best", "median", "worst"}
        Its place among all.
    row : Row
        Its figures.
    source : Source
        Its case.
    """

    rank: str
    row: Row
    source: Source


def picture_curves(rows: Sequence[Row]) -> Picture:
    """Draw mean Dice over clicks, one line for each method.

    Parameters
    ----------
    rows : sequence of Row
        All rows.

    Returns
    -------
    Picture
        A row of panels for each group that has targets, a column for each view.
    """
    from matplotlib.figure import Figure

    views = unique([row.view for row in rows])
    groups = [group for group in GROUPS if in_group(rows, group)]
    names = unique([row.method for row in rows if row.figures])
    styles = line_styles(names)
    width = min(PANEL_INCH, max(LEAST_PANEL_INCH, WIDTH_INCH / len(views)))
    size = (width * len(views) + 2.2, 2.7 * len(groups) + 0.4)
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    grid = figure.subplots(len(groups), len(views), squeeze=False, sharex=True, sharey=True)
    for group, line in zip(groups, grid, strict=True):
        for view, axes in zip(views, line, strict=True):
            chosen = [row for row in in_group(rows, group) if row.view == view]
            _draw_curves(axes, chosen, styles)
            n_targets = len({(row.case, row.target) for row in chosen})
            axes.set_title(f"{group}, {view} ({n_targets})", fontsize="medium")
    for axes in grid[-1]:
        axes.set_xlabel("clicks")
    for line in grid:
        line[0].set_ylabel("mean Dice")
    handles, labels = _legend(grid, names)
    figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize="small")
    caption = (
        "Mean Dice after each click; in brackets the number of targets. A method without figures "
        "for all of them is left out of the panel."
    )
    return Picture("clicks-curves", caption, few_colours(png_of(figure)))


def methods_of_all_targets(rows: Sequence[Row]) -> list[str]:
    """List the methods whose means are comparable: those measured on every target.

    Parameters
    ----------
    rows : sequence of Row
        Rows with figures, of one view.

    Returns
    -------
    list of str
    """
    targets = {row.title for row in rows}
    return [
        method
        for method in unique([row.method for row in rows])
        if {row.title for row in rows if row.method == method} == targets
    ]


def choose_examples(
    rows: Sequence[Row], sources: Sequence[Source], settings: ClickSettings, *, method: str
) -> list[Example]:
    """Choose the best, the median and the worst target of a method.

    Parameters
    ----------
    rows : sequence of Row
        All rows.
    sources : sequence of Source
        All cases.
    settings : ClickSettings
        Where cases are kept.
    method : str
        Name of the method.

    Returns
    -------
    list of Example
        By Dice after five clicks in the first view, among the cases that may be shown; generated
        ones only where there are no others.
    """
    by_name = {source.name: source for source in sources}
    mine = [row for row in rows if row.method == method and row.figures]
    mine = [row for row in mine if row.view == mine[0].view]
    mine = [row for row in mine if row.group != "generated"] or mine
    shown = {
        name: settings.store.case(by_name[name]).pictures
        for name in unique([row.case for row in mine])
    }
    ranked = sorted((r for r in mine if shown[r.case]), key=lambda r: -r.after(MIDDLE).dice)
    if not ranked:
        return []
    places = {"best": 0, "median": len(ranked) // 2, "worst": len(ranked) - 1}
    chosen = {places[rank]: rank for rank in ("worst", "median", "best")}
    return [
        Example(chosen[place], ranked[place], by_name[ranked[place].case])
        for place in sorted(chosen)
    ]


def picture_examples(
    examples: Sequence[Example], settings: ClickSettings, *, method: str
) -> Iterator[Picture]:
    """Click on targets again and show the masks.

    Parameters
    ----------
    examples : sequence of Example
        What to show.
    settings : ClickSettings
        Where cases are kept.
    method : str
        Name of the method.

    Yields
    ------
    Picture
        One for each target: rows after 1, 5 and all clicks.
    """
    for example in examples:
        row = example.row
        view = View(example.source, _n_views(row.view, settings))
        known = all_methods(settings.method_files)[method]
        segmenter = known.made_for(Occasion(row.case, row.target))
        session = click_on(settings, view, target=row.target, segmenter=segmenter)
        case, volume = view_of(settings, view)
        truth = next(one.mask for one in case.targets if one.name == row.target)
        window = _window(volume, truth)
        rows = {}
        for n in unique_numbers([1, MIDDLE, len(session.masks)], len(session.masks)):
            outlines = (
                Outline("truth", truth, TRUTH_COLOUR, "--"),
                Outline(method, session.masks[n - 1], MASK_COLOUR),
            )
            clicks = Prompts(session.prompts.points_ras[:n], session.prompts.labels[:n])
            title = f"{n} click{'s' * (n > 1)}, Dice {session.records[n - 1].dice:.2f}"
            point = session.prompts.points_ras[0]
            rows[title] = Subject(point, outlines, clicks, window=window)
        caption = (
            f"{example.rank.capitalize()} target of {method} after {MIDDLE} clicks: {row.title}, "
            f"{row.view}."
        )
        picture = picture_masks(volume, rows, around=truth, caption=caption)
        small = few_colours(picture.png, scale=SCALE)
        yield replace(picture, name=f"clicks-{example.rank}", png=small)


def unique_numbers(numbers: Sequence[int], most: int) -> list[int]:
    """Sort numbers of clicks, without repetitions and without those that were not made.

    Parameters
    ----------
    numbers : sequence of int
        Numbers of clicks.
    most : int
        How many were made.

    Returns
    -------
    list of int
    """
    return sorted({number for number in numbers if number <= most})


def _draw_curves(axes: Axes, rows: Sequence[Row], styles: Mapping[str, dict[str, object]]) -> None:
    """Draw the lines of one panel."""
    for method in methods_of_all_targets(rows):
        mine = [row for row in rows if row.method == method]
        clicks = np.arange(1, max(row.n_clicks for row in mine) + 1)
        means = [np.mean([row.after(int(n)).dice for row in mine]) for n in clicks]
        axes.plot(clicks, means, label=method, **styles[method])  # type: ignore[arg-type]
    axes.set_ylim(0, 1)
    axes.grid(alpha=0.3)
    axes.set_xticks(shown_clicks(rows))


def line_styles(names: Sequence[str]) -> dict[str, dict[str, object]]:
    """Choose how each method is drawn: ours thick in warm colours, peers thin and broken.

    Parameters
    ----------
    names : sequence of str
        The methods; one that is not registered counts as a peer.

    Returns
    -------
    dict of str to dict
        Properties of a line of matplotlib for each; no two of 21 peers look alike.
    """
    known = all_methods()
    ours = [n for n in names if n in known and known[n].kind == "ours"]
    peers = [n for n in names if n not in ours]
    styles: dict[str, dict[str, object]] = {}
    for number, name in enumerate(ours):
        colour = OUR_COLOURS[number % len(OUR_COLOURS)]
        styles[name] = {"color": colour, "linewidth": 2.4, "marker": "o", "markersize": 4}
    for number, name in enumerate(peers):
        turn, place = divmod(number, len(PEER_COLOURS))
        line = PEER_LINES[turn % len(PEER_LINES)]
        colour = PEER_COLOURS[place]
        styles[name] = {"color": colour, "linewidth": 1.2, "marker": ".", "linestyle": line}
    return styles


def _legend(grid: np.ndarray, names: Sequence[str]) -> tuple[list[Artist], list[str]]:
    """Collect one line for each method from all panels."""
    found: dict[str, Artist] = {}
    for axes in grid.ravel():
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    labels = [name for name in names if name in found]
    return [found[label] for label in labels], labels


def _window(volume: Volume, truth: Mask) -> Window:
    """Choose a window around the densities in and near the object."""
    from scipy.ndimage import binary_dilation

    near = volume.array[binary_dilation(truth.array, iterations=3)]
    low, high = np.percentile(near, (5, 95))
    width = float(np.clip(1.4 * (high - low), LEAST_WIDTH_HU, MOST_WIDTH_HU))
    return Window(float(np.median(volume.array[truth.array])), width)


def _n_views(view: str, settings: ClickSettings) -> Look:
    """Find what is behind the name of a view."""
    return next(n for n in settings.views if view_name(n) == view)
