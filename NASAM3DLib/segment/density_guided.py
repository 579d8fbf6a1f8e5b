"""The engine that needs no training: density attention as the prior of a random walker."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from NASAM3DLib.progress import ProgressCallback, no_progress
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.segment.components import tidied
from NASAM3DLib.segment.fronts import DensityFronts
from NASAM3DLib.segment.mask import Mask
from NASAM3DLib.segment.mask_patch import mask_patch
from NASAM3DLib.segment.prompts import POSITIVE, Prompts
from NASAM3DLib.segment.refine import Patch, refined, resampled
from NASAM3DLib.segment.region import WorkingRegion, make_region
from NASAM3DLib.segment.region_box import (
    IndexArray,
    RegionBox,
    grown_box,
    initial_box,
    to_triple,
)
from NASAM3DLib.segment.segmenter import SegmentationSettings
from NASAM3DLib.segment.walk import WorkingClicks, guided_walk, plain_walk

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float32]

MAX_REGIONS = 4
"""Regions kept with their fronts: the present one and those it grew from."""


@dataclass(frozen=True, eq=False)
class _Prediction:
    """One answer, kept for undo as boxes of the volume."""

    mask: Patch
    probability: Patch
    region: WorkingRegion
    attention: FloatArray | None


class DensityGuidedSegmenter:
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
    (probability) and ``refine`` (boundary).
    """

    def __init__(
        self, settings: SegmentationSettings, *, widen_by_uncertainty: bool = False
    ) -> None:
        self.settings = settings
        self.widen_by_uncertainty = widen_by_uncertainty
        self._volume_hu: Volume | None = None
        self._fronts: dict[tuple[RegionBox, tuple[int, int, int]], DensityFronts] = {}
        self._history: list[_Prediction] = []

    @property
    def name(self) -> str:
        """Name of the engine: "density-guided"."""
        return "density-guided"

    def set_volume(self, volume: Volume) -> None:
        """Take the volume to be segmented and forget the one before.

        Parameters
        ----------
        volume : Volume
            In 1/mm or HU.
        """
        volume_hu = volume.to_hu()
        if not self.widen_by_uncertainty:
            volume_hu = replace(volume_hu, uncertainty=None)
        self._volume_hu = volume_hu
        self._fronts.clear()
        self.reset()

    def reset(self) -> None:
        """Forget all predictions and keep the volume."""
        self._history.clear()

    def predict(self, prompts: Prompts, *, progress: ProgressCallback = no_progress) -> Mask:
        """Segment the object that the prompts point at.

        Parameters
        ----------
        prompts : Prompts
            All points so far, in the order of the clicks; at least one positive.
        progress : callable
            Called with stage and fraction; may raise to cancel, which leaves no trace.

        Returns
        -------
        Mask
            On the volume's grid. Agrees with every point, each of its parts holds a positive point
            and each of its holes a negative one.

        Raises
        ------
        RuntimeError
            If there is no volume yet.
        ValueError
            If no point is positive, one is outside the volume, or a positive one outside the box.
        """
        volume = self._required_volume()
        started = time.perf_counter()
        voxels = prompts.checked_voxels(volume.grid)
        positive, negative = voxels[prompts.labels == POSITIVE], voxels[prompts.labels != POSITIVE]
        progress("density", 0.0)
        fronts = self._fronts_of(volume, positive, negative)
        region = fronts.region
        clicks = WorkingClicks(region.to_working(positive), region.to_working(negative))
        progress("random walker", 0.3)
        probability, attention = self._walk(fronts, clicks, prompts)
        progress("boundary", 0.7)
        sharpen = self.settings.refine_boundary
        fine = refined(volume.array, region, _tidied(probability, clicks), sharpen=sharpen)
        mask = mask_patch(fine, prompts, volume.grid)
        self._history.append(_Prediction(mask, fine, region, attention))
        logger.info("%d clicks took %.2f s", len(prompts), time.perf_counter() - started)
        progress("boundary", 1.0)
        return self._current_mask(volume)

    def undo(self) -> Mask | None:
        """Go back to the prediction before the last one.

        Returns
        -------
        Mask or None
            The former mask, exactly; None if there was none.

        Raises
        ------
        RuntimeError
            If there is no volume yet.
        """
        volume = self._required_volume()
        if self._history:
            self._history.pop()
        return self._current_mask(volume) if self._history else None

    def last_attention(self) -> FloatArray | None:
        """Give the density-aware attention behind the current mask.

        Returns
        -------
        ndarray, shape (k, j, i), float32, or None
            Attention in [0, 1] on the volume's grid, 0 where it was not computed; None if there is
            no mask or it came about without density guidance.
        """
        if not self._history or self._history[-1].attention is None:
            return None
        shape = self._required_volume().grid.shape_kji
        return resampled(self._history[-1].region, self._history[-1].attention, shape).on(shape)

    def last_probability(self) -> FloatArray | None:
        """Give the probability behind the current mask.

        Returns
        -------
        ndarray, shape (k, j, i), float32, or None
            Probability in [0, 1] on the volume's grid, 0 where it was not computed; None if there
            is no mask.
        """
        if not self._history:
            return None
        return self._history[-1].probability.on(self._required_volume().grid.shape_kji)

    def _required_volume(self) -> Volume:
        """Give the volume, or say what is to be done first."""
        if self._volume_hu is None:
            raise RuntimeError("There is no volume to segment yet: call set_volume first.")
        return self._volume_hu

    def _current_mask(self, volume: Volume) -> Mask:
        """Put the newest mask on the volume's grid."""
        return Mask(self._history[-1].mask.on(volume.grid.shape_kji) > 0, volume.grid)

    def _fronts_of(
        self, volume: Volume, positive: IndexArray, negative: IndexArray
    ) -> DensityFronts:
        """Find the region of the clicks; with guidance it grows until it holds the object."""
        box = initial_box(volume.grid, np.concatenate([positive, negative]))
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
            self._fronts[key] = DensityFronts(make_region(volume, box, anchor_kji=anchor_kji))
        return self._fronts[key]

    def _walk(
        self, fronts: DensityFronts, clicks: WorkingClicks, prompts: Prompts
    ) -> tuple[FloatArray, FloatArray | None]:
        """Compute the probability, and the attention if it guides."""
        outside = None if prompts.box_ras is None else ~prompts.inside_box(fronts.region.grid)
        if not self.settings.density_guidance:
            return plain_walk(fronts, clicks, outside=outside), None
        strength = self.settings.guidance_strength
        return guided_walk(fronts, clicks, strength=strength, outside=outside)


def _tidied(probability: FloatArray, clicks: WorkingClicks) -> FloatArray:
    """Clear the parts without a positive click and fill the holes without a negative one."""
    object_voxels = probability > 0.5
    kept = tidied(object_voxels, clicks.positive_kji, clicks.negative_kji)
    filled = np.where(kept & ~object_voxels, 1, probability)
    return np.where(object_voxels & ~kept, 0, filled).astype(np.float32)
