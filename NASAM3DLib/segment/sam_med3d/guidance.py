"""Density guidance at the decoder's output: attention of the clicks, added to the logits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.segment.density import fuse
from NASAM3DLib.segment.fronts import DensityFronts
from NASAM3DLib.segment.prompts import POSITIVE, Prompts
from NASAM3DLib.segment.refine import Patch
from NASAM3DLib.segment.region import make_region
from NASAM3DLib.segment.region_box import RegionBox, grown_box, initial_box, to_triple

IndexArray = npt.NDArray[np.intp]

MAX_REGIONS = 4
"""Regions kept with their fronts: the present one and those it grew from."""


class DensityGuide:
    """The density-guided module on one volume, for logits that a network made.

    Parameters
    ----------
    volume_hu : Volume
        The volume, in HU.
    """

    def __init__(self, volume_hu: Volume) -> None:
        # As in the density-guided engine: widening by uncertainty measured worse.
        self._volume = replace(volume_hu, uncertainty=None)
        self._fronts: dict[tuple[RegionBox, tuple[int, int, int]], DensityFronts] = {}

    def guided(self, logits: Patch, prompts: Prompts, *, strength: float) -> tuple[Patch, Patch]:
        """Add the evidence of the attention to logits.

        Parameters
        ----------
        logits : Patch
            Logits on a box of the volume's voxels.
        prompts : Prompts
            Points inside the volume, at least one positive.
        strength : float
            Weight of the attention.

        Returns
        -------
        logits : Patch
            Fused logits on the same box.
        attention : Patch
            Attention on that box; beyond the region where it was computed, that of its border.
        """
        voxels = prompts.voxels(self._volume.grid)
        positive, negative = voxels[prompts.labels == POSITIVE], voxels[prompts.labels != POSITIVE]
        fronts = self._fronts_of(positive, negative)
        region = fronts.region
        working = fronts.attention(region.to_working(positive), region.to_working(negative))
        last = logits.lower_kji + logits.values.shape - 1
        attention = region.upsample(working, logits.lower_kji, last)
        fused = fuse(logits.values, attention, strength)
        return Patch(fused, logits.lower_kji), Patch(attention, logits.lower_kji)

    def _fronts_of(self, positive: IndexArray, negative: IndexArray) -> DensityFronts:
        """Find the region of the clicks: it grows until the fronts of the object end in it."""
        grid = self._volume.grid
        box = initial_box(grid, np.concatenate([positive, negative]))
        anchor = to_triple(positive[0])
        while True:
            fronts = self._cached(box, anchor)
            reached = fronts.positive(fronts.region.to_working(positive)) < 1
            larger = grown_box(grid, box, reached)
            if larger == box:
                return fronts
            box = larger

    def _cached(self, box: RegionBox, anchor_kji: tuple[int, int, int]) -> DensityFronts:
        """Give the fronts of a region, from those kept if they are there."""
        key = (box, anchor_kji)
        if key not in self._fronts:
            if len(self._fronts) >= MAX_REGIONS:
                del self._fronts[next(iter(self._fronts))]
            self._fronts[key] = DensityFronts(make_region(self._volume, box, anchor_kji=anchor_kji))
        return self._fronts[key]
