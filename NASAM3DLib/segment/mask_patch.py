"""From a probability on a part of the volume to a mask that agrees with the prompts."""

from __future__ import annotations

import numpy as np

from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.components import tidied
from NASAM3DLib.segment.prompts import POSITIVE, Prompts
from NASAM3DLib.segment.refine import Patch
from NASAM3DLib.segment.region_box import lattice_grid


def mask_patch(probability: Patch, prompts: Prompts, grid: VolumeGrid) -> Patch:
    """Threshold a probability on a box that holds all points, and make it agree with them.

    Parameters
    ----------
    probability : Patch
        Probability in [0, 1].
    prompts : Prompts
        Points, and a box that cuts the mask.
    grid : VolumeGrid
        Voxels of the volume.

    Returns
    -------
    Patch
        1 inside the mask, 0 outside; each of its parts holds a positive point and each of its holes
        a negative one.
    """
    voxels = prompts.voxels(grid)
    lower = np.minimum(voxels.min(axis=0), probability.lower_kji)
    upper = np.maximum(voxels.max(axis=0) + 1, probability.lower_kji + probability.values.shape)
    part = lattice_grid(grid, lower, upper - lower)
    moved = Patch(probability.values, probability.lower_kji - lower)
    array = (moved.on(part.shape_kji) > 0.5) & prompts.inside_box(part)
    positive = prompts.labels == POSITIVE
    mask = tidied(array, voxels[positive] - lower, voxels[~positive] - lower)
    return Patch(mask.astype(np.float32), lower)
