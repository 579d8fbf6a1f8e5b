"""One simulated user, one target, one view, one method."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from pathlib import Path

import numpy as np

from NASAM3DLib.benchmark.case import Case, Target, checksum
from NASAM3DLib.benchmark.journal import ClickFigures, Journal, Row
from NASAM3DLib.benchmark.methods.protocol import Method, Occasion
from NASAM3DLib.benchmark.methods.registry import all_methods
from NASAM3DLib.benchmark.pool import FAILURES, reason_of
from NASAM3DLib.benchmark.sources import CaseStore, Source
from NASAM3DLib.benchmark.views import Look, ScanSettings, shown_volume, view_name
from NASAM3DLib.evaluate.clicks import ClickSession, Segmenter, click_session
from NASAM3DLib.evaluate.surfaces import asd_mm
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.mask import Mask
from NASAM3DLib.segment.prompts import Prompts

logger = logging.getLogger(__name__)

N_CLICKS = 10
WARM_UP_EDGE = 24


@dataclass(frozen=True)
class ClickSettings:
    """What is measured.

    Parameters
    ----------
    folder : Path
        Where cases, reconstructions and the journal are kept.
    views : tuple of int, Reconstructed or None
        What is shown: numbers of views, reconstructions by a method; None for the volume as it is.
    methods : tuple of str
        Names of the methods.
    method_files : tuple of Path
        Python files with further methods.
    n_clicks : int
        Clicks of each session.
    spacing_mm : float
        Spacing of the benchmark's grid, mm.
    scan : ScanSettings
        Noise and quality of the reconstructions.
    asd_at : tuple of int
        Numbers of clicks after which the mean distance of the surfaces is measured as well.
    """

    folder: Path
    views: tuple[Look, ...] = (None, 50, 25)
    methods: tuple[str, ...] = ()
    method_files: tuple[Path, ...] = ()
    n_clicks: int = N_CLICKS
    spacing_mm: float = 3.0
    scan: ScanSettings = field(default_factory=ScanSettings)
    asd_at: tuple[int, ...] = ()

    @property
    def store(self) -> CaseStore:
        """Where cases are kept."""
        return CaseStore(self.folder / "cases", self.spacing_mm)

    @property
    def journal(self) -> Journal:
        """Where rows are kept."""
        return Journal(self.folder / "clicks.jsonl")


@dataclass(frozen=True)
class View:
    """A case and how it is seen.

    Parameters
    ----------
    source : Source
        The case.
    n_views : int, Reconstructed or None
        Number of views, or a reconstruction by a method; None for the volume as it is.
    """

    source: Source
    n_views: Look

    def __str__(self) -> str:
        return f"{self.source.name}, {view_name(self.n_views)}"


@dataclass(frozen=True)
class Shown:
    """What is known of a view before methods run on it.

    Parameters
    ----------
    view : View
        Case and number of views.
    blanks : tuple of Row
        For each target a row without method and figures.
    left_out : tuple of str
        Objects that are no targets, and why.
    error : str
        Why the view could not be made; empty if it could.
    """

    view: View
    blanks: tuple[Row, ...] = ()
    left_out: tuple[str, ...] = ()
    error: str = ""


class TimedSegmenter:
    """A method whose CPU time is taken.

    Parameters
    ----------
    segmenter : Segmenter
        The method.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        self.segmenter = segmenter
        self.seconds: list[float] = []
        self._before_first = 0.0

    def set_volume(self, volume: Volume) -> None:
        """Take the volume; its time counts for the first click.

        Parameters
        ----------
        volume : Volume
            What the user sees.
        """
        started = time.process_time()
        self.segmenter.set_volume(volume)
        self._before_first = time.process_time() - started

    def predict(self, prompts: Prompts) -> Mask:
        """Give the mask for all prompts so far.

        Parameters
        ----------
        prompts : Prompts
            All clicks, in order.

        Returns
        -------
        Mask
        """
        started = time.process_time()
        mask = self.segmenter.predict(prompts)
        self.seconds.append(time.process_time() - started + self._before_first)
        self._before_first = 0.0
        return mask


def prepare(settings: ClickSettings, view: View) -> Shown:
    """Make a view of a case and list its targets.

    Parameters
    ----------
    settings : ClickSettings
        Where it is kept, and how scans are made.
    view : View
        Case and number of views.

    Returns
    -------
    Shown
    """
    try:
        case, volume = _case(settings, view.source), _volume(settings, view)
    except FAILURES as error:
        logger.warning("%s: %s", view, error)
        return Shown(view, error=reason_of(error))
    blanks = tuple(_blank(case, one, (volume, view), settings.n_clicks) for one in case.targets)
    return Shown(view, blanks, case.left_out)


def measure(settings: ClickSettings, view: View, blank: Row) -> Row:
    """Let a simulated user click on one target.

    Parameters
    ----------
    settings : ClickSettings
        Clicks and methods.
    view : View
        Case and number of views.
    blank : Row
        Target and method.

    Returns
    -------
    Row
        With an error instead of figures if the method failed.
    """
    try:
        method = _warm(settings.method_files, blank.method)
        segmenter = TimedSegmenter(method.made_for(Occasion(blank.case, blank.target)))
        session = click_on(settings, view, target=blank.target, segmenter=segmenter)
    except FAILURES as error:
        logger.warning("%s on %s, %s: %s", blank.method, blank.title, blank.view, error)
        return replace(blank, error=reason_of(error))
    apart = _surface_distances(settings, view, blank.target, session)
    figures = tuple(
        ClickFigures(
            r.positive,
            r.dice,
            None if math.isnan(r.hd95_mm) else r.hd95_mm,
            round(seconds, 4),
            apart.get(r.n_clicks),
        )
        for r, seconds in zip(session.records, segmenter.seconds, strict=True)
    )
    return replace(blank, figures=figures)


def _surface_distances(
    settings: ClickSettings, view: View, target: str, session: ClickSession
) -> dict[int, float]:
    """Measure the mean distance of the surfaces after the clicks that ask for it, mm."""
    made = len(session.masks)
    asked = {min(n, made) for n in settings.asd_at}
    if not asked:
        return {}
    truth = next(t.mask for t in _case(settings, view.source).targets if t.name == target)
    masks = {n: session.masks[n - 1] for n in sorted(asked)}
    return {n: asd_mm(mask, truth) for n, mask in masks.items() if mask.n_voxels}


def click_on(
    settings: ClickSettings, view: View, *, target: str, segmenter: Segmenter
) -> ClickSession:
    """Click on a target with a method.

    Parameters
    ----------
    settings : ClickSettings
        Number of clicks.
    view : View
        Case and number of views.
    target : str
        Name of the target.
    segmenter : Segmenter
        The method.

    Returns
    -------
    ClickSession
    """
    volume = _volume(settings, view)
    wanted = next(one for one in _case(settings, view.source).targets if one.name == target)
    return click_session(segmenter, volume, target=wanted.mask, n_clicks=settings.n_clicks)


def view_of(settings: ClickSettings, view: View) -> tuple[Case, Volume]:
    """Give a case and what methods are shown of it.

    Parameters
    ----------
    settings : ClickSettings
        Where they are kept.
    view : View
        Case and number of views.

    Returns
    -------
    tuple of Case and Volume
    """
    return _case(settings, view.source), _volume(settings, view)


@lru_cache(maxsize=2)
def _case(settings: ClickSettings, source: Source) -> Case:
    """Keep the newest cases of this process."""
    return settings.store.case(source)


@lru_cache(maxsize=2)
def _volume(settings: ClickSettings, view: View) -> Volume:
    """Keep the newest views of this process."""
    return shown_volume(settings.store, view.source, view.n_views, settings.scan)


@cache
def _warm(files: tuple[Path, ...], name: str) -> Method:
    """Run a method once on a small ball, so that compiling and loading cost no target any time."""
    method = all_methods(files)[name]
    if method.make_for is not None:
        return method
    grid = VolumeGrid.centred((WARM_UP_EDGE,) * 3, 3.0)
    k, j, i = np.ogrid[:WARM_UP_EDGE, :WARM_UP_EDGE, :WARM_UP_EDGE]
    ball = (k - 12) ** 2 + (j - 12) ** 2 + (i - 12) ** 2 < 36
    volume = Volume(np.where(ball, 60.0, 0.0).astype(np.float32), grid, "HU")
    click_session(method.make(), volume, target=Mask(ball, grid), n_clicks=3)
    return method


def _blank(case: Case, target: Target, seen: tuple[Volume, View], n_clicks: int) -> Row:
    """Describe a target in a view, before any method."""
    volume, view = seen
    return Row(
        case=case.name,
        data_set=case.data_set,
        target=target.name,
        group=target.group,
        view=view_name(view.n_views),
        method="",
        identity="",
        checksum=checksum(volume, target.mask),
        n_clicks=n_clicks,
        n_voxels=target.mask.n_voxels,
    )
