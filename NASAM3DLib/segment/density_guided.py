"""The engine that needs no training: density attention as the prior of a random walker."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from NASAM3DLib.progress import ProgressCallback, sub_progress
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.segment.components import tidied
from NASAM3DLib.segment.corrections import Accepted, accept
from NASAM3DLib.segment.engine_base import ClickEngine, Prediction
from NASAM3DLib.segment.fronts import DensityFronts
from NASAM3DLib.segment.mask_patch import mask_patch
from NASAM3DLib.segment.prompt_voxels import ResolvedPrompts
from NASAM3DLib.segment.prompts import NEGATIVE, POSITIVE
from NASAM3DLib.segment.refine import refined, resampled
from NASAM3DLib.segment.region import WorkingRegion, make_region
from NASAM3DLib.segment.region_box import (
    RegionBox,
    grown_box,
    initial_box,
    to_triple,
)
from NASAM3DLib.segment.segmenter import SegmentationSettings
from NASAM3DLib.segment.walk import WorkingClicks, guided_walk, plain_walk, working_clicks

FloatArray = npt.NDArray[np.float32]

MAX_REGIONS = 4
"""Regions kept with their fronts: the present one and those it grew from."""


@dataclass(frozen=True, eq=False)
class _Step:
    """The answer to some clicks, kept for those that follow."""

    key: bytes
    accepted: Accepted
    region: WorkingRegion
    attention: FloatArray | None
    ambiguity: float | None

    def prediction(self, volume: Volume) -> Prediction:
        """Give the answer as it is kept for undo."""
        shown = None
        if self.attention is not None:
            shape = volume.grid.shape_kji
            shown = functools.partial(resampled, self.region, self.attention, shape)
        accepted = self.accepted
        return Prediction(accepted.mask, accepted.probability, shown, self.ambiguity)


class DensityGuidedSegmenter(ClickEngine):
    """Segment by density attention and a random walker: no network, no training.

    Parameters
    ----------
    settings : SegmentationSettings
        With ``density_guidance`` off, the plain random walker on intensities runs instead, with the
        border of the region around the clicks as background.
    widen_by_uncertainty : bool
        Whether the uncertainty of a volume, if it has one, widens the density models.

    Notes
    -----
    Widening is off by default because it measured worse: an uncertain voxel is most often one at a
    boundary, and there a wider model lets the front through. Figures are in docs/uncertainty.md.

    A mask depends on the volume and the prompts, not on what was asked before. The steps, each in
    its module: ``region_box`` (where to work), ``density`` and ``fronts`` (attention), ``walk``
    (probability), ``refine`` (boundary) and ``corrections`` (what a later click may change). Clicks
    are answered in their order, and answers are kept, so that a new click costs its own only.
    """

    def __init__(
        self, settings: SegmentationSettings, *, widen_by_uncertainty: bool = False
    ) -> None:
        super().__init__(settings)
        self.widen_by_uncertainty = widen_by_uncertainty
        self._fronts: dict[tuple[RegionBox, tuple[int, int, int]], DensityFronts] = {}
        self._steps: list[_Step] = []

    @property
    def name(self) -> str:
        """Name of the engine: "density-guided"."""
        return "density-guided"

    def _prepared(self, volume_hu: Volume) -> Volume:
        """Forget the regions; the uncertainty too, unless it is wanted."""
        self._fronts.clear()
        self._steps.clear()
        return volume_hu if self.widen_by_uncertainty else replace(volume_hu, uncertainty=None)

    def _answer(
        self, volume: Volume, prompts: ResolvedPrompts, progress: ProgressCallback
    ) -> Prediction:
        """Answer the clicks one after another, as far as no answer is kept."""
        progress("density", 0.0)
        # What comes before the first positive click is answered together with it.
        parts = [part for part in prompts.parts if part.stop > prompts.first_positive]
        steps: list[_Step] = []
        for number, part in enumerate(parts):
            shown = prompts.first(part.stop)
            kept = self._steps[number] if number < len(self._steps) else None
            if kept is None or kept.key != shown.key():
                before = steps[-1].accepted if steps else None
                share = sub_progress(progress, number / len(parts), (number + 1) / len(parts))
                kept = self._step(volume, shown, before, share)
            steps.append(kept)
        progress("boundary", 1.0)
        self._steps = steps
        return steps[-1].prediction(volume)

    def _step(
        self,
        volume: Volume,
        prompts: ResolvedPrompts,
        before: Accepted | None,
        progress: ProgressCallback,
    ) -> _Step:
        """Answer the newest part: find the region, walk in it, refine the boundary, accept."""
        progress("density", 0.0)
        fronts = self._fronts_of(volume, prompts)
        region = fronts.region
        clicks = working_clicks(region, prompts)
        progress("random walker", 0.3)
        probability, attention = self._walk(fronts, clicks, prompts)
        progress("boundary", 0.7)
        sharpen = self.settings.refine_boundary
        fine = refined(volume.array, region, _tidied(probability, clicks), sharpen=sharpen)
        solved = Accepted(mask_patch(fine, prompts, volume.grid), fine)
        if before is not None:
            solved = accept(before, solved, prompts, volume.grid)
        progress("boundary", 1.0)
        ambiguity = self._ambiguity(fronts, clicks, prompts)
        return _Step(prompts.key(), solved, region, attention, ambiguity)

    def _ambiguity(
        self, fronts: DensityFronts, clicks: WorkingClicks, prompts: ResolvedPrompts
    ) -> float | None:
        """Measure the ambiguity of the density, if it guides."""
        if not self.settings.density_guidance:
            return None
        inside = None
        if prompts.clicks.box_ras is not None:
            inside = prompts.clicks.inside_box(fronts.region.grid)
        return fronts.ambiguity(clicks.positive_kji, clicks.negative_kji, inside=inside)

    def _fronts_of(self, volume: Volume, prompts: ResolvedPrompts) -> DensityFronts:
        """Find the region of the clicks; with guidance it grows until it holds the object."""
        positive = prompts.positive_kji
        marks = (positive, prompts.marked(POSITIVE), prompts.marked(NEGATIVE))
        box = initial_box(volume.grid, np.concatenate(marks))
        fronts = self._cached(volume, box, to_triple(positive[0]))
        while self.settings.density_guidance:
            reached = fronts.positive(fronts.region.to_working(positive)) < 1
            larger = grown_box(volume.grid, box, reached)
            if larger == box:
                break
            box = larger
            fronts = self._cached(volume, box, to_triple(positive[0]))
        return fronts

    def _cached(
        self, volume: Volume, box: RegionBox, anchor_kji: tuple[int, int, int]
    ) -> DensityFronts:
        """Give the fronts of a region, from the cache if it is there."""
        key = (box, anchor_kji)
        if key not in self._fronts:
            if len(self._fronts) >= MAX_REGIONS:
                del self._fronts[next(iter(self._fronts))]
            region = make_region(volume, box, anchor_kji=anchor_kji)
            self._fronts[key] = DensityFronts(region, widen_homogeneous=True)
        return self._fronts[key]

    def _walk(
        self, fronts: DensityFronts, clicks: WorkingClicks, prompts: ResolvedPrompts
    ) -> tuple[FloatArray, FloatArray | None]:
        """Compute the probability, and the attention if it guides."""
        outside = None
        if prompts.clicks.box_ras is not None:
            outside = ~prompts.clicks.inside_box(fronts.region.grid)
        if not self.settings.density_guidance:
            return plain_walk(fronts, clicks, outside=outside), None
        strength = self.settings.guidance_strength
        return guided_walk(fronts, clicks, strength=strength, outside=outside)


def _tidied(probability: FloatArray, clicks: WorkingClicks) -> FloatArray:
    """Clear the parts without a positive click and fill the holes without a negative one."""
    object_voxels = probability > 0.5
    kept = tidied(object_voxels, clicks.all_positive_kji, clicks.all_negative_kji)
    filled = np.where(kept & ~object_voxels, 1, probability)
    return np.where(object_voxels & ~kept, 0, filled).astype(np.float32)
