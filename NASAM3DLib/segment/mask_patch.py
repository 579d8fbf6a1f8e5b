"""From a probability on a part of the volume to a mask that agrees with the prompts."""

from __future__ import annotations

import numpy as np

from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.components import tidied
from NASAM3DLib.segment.prompt_voxels import ResolvedPrompts
from NASAM3DLib.segment.prompts import NEGATIVE, POSITIVE
from NASAM3DLib.segment.refine import Patch
from NASAM3DLib.segment.region_box import lattice_grid


def mask_patch(probability: Patch, prompts: ResolvedPrompts, grid: VolumeGrid) -> Patch:
    """Threshold a probability on a box that holds all marks, and make it agree with them.

    Parameters
    ----------
    probability : Patch
        Probability in [0, 1].
    prompts : ResolvedPrompts
        Marked voxels, and a box that cuts the mask.
    grid : VolumeGrid
        Voxels of the volume.

    Returns
    -------
    Patch
        1 inside the mask, 0 outside; each of its parts holds a positive mark and each of its holes
        a negative one.
    """
    positive, negative = prompts.marked(POSITIVE), prompts.marked(NEGATIVE)
    voxels = np.concatenate([positive, negative])
    lower = np.minimum(voxels.min(axis=0), probability.lower_kji)
    upper = np.maximum(voxels.max(axis=0) + 1, probability.lower_kji + probability.values.shape)
    part = lattice_grid(grid, lower, upper - lower)
    moved = Patch(probability.values, probability.lower_kji - lower)
    array = (moved.on(part.shape_kji) > 0.5) & prompts.clicks.inside_box(part)
    mask = tidied(array, positive - lower, negative - lower)
    return Patch(mask.astype(np.float32), lower)
