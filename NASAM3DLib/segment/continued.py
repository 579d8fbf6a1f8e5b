"""Clicks on a mask that was made otherwise, by hand or by another program: only they change it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from NASAM3DLib.segment.mask import Mask
from NASAM3DLib.segment.prompts import POSITIVE, Prompts


def continued(base: Mask, prompts: Prompts, predict: Callable[[Prompts], Mask]) -> Mask:
    """Correct a mask by clicks.

    Parameters
    ----------
    base : Mask
        The mask before the first of the clicks.
    prompts : Prompts
        All clicks on it, and a box outside of which nothing changes.
    predict : callable
        Gives the mask of an object from clicks, as
        :meth:`~NASAM3DLib.segment.segmenter.PromptableSegmenter.predict` does on the same volume.

    Returns
    -------
    Mask
        On the grid of the base; agrees with every click.

    Raises
    ------
    ValueError
        If a click lies outside the volume, contradicts another, or a positive one lies outside the
        box.

    Notes
    -----
    Positive clicks beside the base add the object that they show, with the negative ones beside it.
    Negative clicks in the base take away the object that *they* show, beside which lie the positive
    ones, or the innermost voxel of the base where there are none. Everything else stays.
    """
    voxels = prompts.voxels(base.grid)
    prompts.check_box()
    k, j, i = voxels.T
    in_base, positive = base.array[k, j, i], prompts.labels == POSITIVE
    array = base.array.copy()
    adding, taking = positive & ~in_base, ~positive & in_base
    if adding.any():
        array |= predict(_clicks(prompts, adding, ~positive)).array
    if taking.any():
        array &= ~predict(_leak(base, prompts, taking)).array
    array = np.where(prompts.inside_box(base.grid), array, base.array)
    array[k, j, i] = positive
    return Mask(array, base.grid)


def _leak(base: Mask, prompts: Prompts, taking: npt.NDArray[np.bool_]) -> Prompts:
    """Give the prompts that show what is to be taken away."""
    positive = prompts.labels == POSITIVE
    shown = _clicks(prompts, taking, positive)
    if positive.any():
        return shown
    depth = ndimage.distance_transform_edt(base.array)
    inner_kji = np.array(np.unravel_index(int(depth.argmax()), depth.shape), dtype=np.float64)
    inner_ras = base.grid.to_ras(inner_kji[::-1])
    clicked = {tuple(voxel) for voxel in prompts.voxels(base.grid).tolist()}
    if tuple(inner_kji.astype(int).tolist()) in clicked:
        return shown
    return shown.with_point(inner_ras, positive=False)


def _clicks(
    prompts: Prompts, inside: npt.NDArray[np.bool_], beside: npt.NDArray[np.bool_]
) -> Prompts:
    """Give prompts with some of the points on the object and others beside it."""
    chosen = inside | beside
    return Prompts(prompts.points_ras[chosen], inside[chosen].astype(np.int8))
