"""Which mask is returned: that from before, changed where everything speaks for the later one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.segment.mask import Mask
from NASAM3DLib.segment.prompts import POSITIVE, Prompts

Float32Array = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

LATER_SHARE = 0.5
"""Weight of the later probability.

This, the number below and the support were chosen on 28 scans of generated bodies, among rules with
which one of them loses more than half a point of Dice: they gain 1.7 points in the mean and lose
0.7 at worst. The later mask alone loses up to 8.
"""

LEAST_SURE = 0.05
"""Least distance of the later probability from one half."""

LOCAL_MM, LOCAL_VOXELS = 10.0, 2.0
"""Standard deviation of the neighbourhood whose means a voxel is compared with, at least."""


def joint_mask(
    before: tuple[Mask, Float32Array],
    later: tuple[Mask, Float32Array],
    volume: Volume,
    prompts: Prompts,
) -> Mask:
    """Change a mask where a later one is surer than it and the volume agrees with the later.

    Parameters
    ----------
    before, later : tuple of Mask and ndarray, shape (k, j, i), float32
        Masks of the same object on the same voxels, made on the volume from before and on the
        refined one, and their probabilities.
    volume : Volume
        The refined volume.
    prompts : Prompts
        The clicks that both were made with.

    Returns
    -------
    Mask
        Where the two agree that; elsewhere the one from before, but for voxels that the later one
        changes, whose later probability is 0.05 or more away from one half, whose mean probability
        ``(before + later) / 2`` is on the same side, and whose value is nearer to the local mean
        of that side; tidied so that it agrees with every click. The one from before if nothing
        changes, as with an engine without probabilities.

    Notes
    -----
    The local means are those of the voxels that both masks have inside and of those that both have
    outside, weighted by a Gaussian of 10 mm, or 2 voxels if these are more.
    """
    (old, old_soft), (new, new_soft) = before, later
    share, half = np.float32(LATER_SHARE), np.float32(0.5)
    fused = (1 - share) * old_soft + share * new_soft > half
    changes = (old.array != new.array) & (fused == new.array)
    changes &= np.abs(new_soft - half) >= LEAST_SURE
    if changes.any():
        changes &= _supported(volume, old.array, new.array)
    if not changes.any():
        return old
    mask = Mask(np.where(changes, new.array, old.array), old.grid)
    # A box alone has no point that could say which components are meant.
    return mask.tidied(prompts) if (prompts.labels == POSITIVE).any() else mask


def _supported(volume: Volume, old: BoolArray, new: BoolArray) -> BoolArray:
    """Find where a volume is nearer to the local mean of the side that the new mask says."""
    spacing = np.asarray(volume.grid.spacing_mm)[::-1]
    widths = np.maximum(LOCAL_MM / spacing, LOCAL_VOXELS)
    inside, outside = (
        np.abs(volume.array - _local_mean(volume.array, part, widths))
        for part in (old & new, ~old & ~new)
    )
    # Without voxels of both sides near it nothing is nearer: NaN compares false.
    return np.asarray(np.where(new, inside < outside, outside < inside), dtype=np.bool_)


def _local_mean(
    array: Float32Array, part: BoolArray, widths: npt.NDArray[np.float64]
) -> Float32Array:
    """Average the values of a part of the voxels by a Gaussian; NaN far from all of them."""
    weights = part.astype(np.float32)
    total = ndimage.gaussian_filter(weights, widths)
    sums = ndimage.gaussian_filter(array * weights, widths)
    means = np.full(array.shape, np.nan, dtype=np.float32)
    np.divide(sums, total, out=means, where=total > 1e-6)
    return means
