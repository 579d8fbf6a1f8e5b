"""Progressive merge: late clicks repair what they point at and leave the rest alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from NASAM3DLib.segment.components import tidied
from NASAM3DLib.segment.region_box import IndexArray
from NASAM3DLib.segment.walk import WorkingClicks

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

FREE_CLICKS = 3
"""Clicks after which only the neighbourhood of the newest one may change."""

NEAR = 2
"""A change belongs to a click that is at most this many voxels away along each axis."""

CERTAIN = (0.02, 0.98)
"""Probability of a voxel that a click or the tidying decides."""


def component_at(change: BoolArray, voxel_kji: IndexArray, *, near: int = NEAR) -> BoolArray:
    """Find the part of a change that a click asked for.

    Parameters
    ----------
    change : ndarray, shape (k, j, i), bool
        Voxels that would change.
    voxel_kji : ndarray, shape (3,), intp
        The newest click.
    near : int
        Distance along each axis within which a change belongs to the click, voxels.

    Returns
    -------
    ndarray, shape (k, j, i), bool
        The 6-connected component that holds the click; if none does, the nearest within reach;
        otherwise empty.
    """
    labels, _ = ndimage.label(change)
    own = labels[tuple(voxel_kji)]
    if not own:
        lower = np.maximum(voxel_kji - near, 0)
        box = tuple(slice(a, b) for a, b in zip(lower, voxel_kji + near + 1, strict=True))
        places = np.argwhere(labels[box])
        if not len(places):
            return np.zeros_like(change)
        away = np.linalg.norm(places + lower - voxel_kji, axis=1)
        own = labels[tuple(places[int(away.argmin())] + lower)]
    return np.asarray(labels == own)


def merged(
    previous: FloatArray,
    probability: FloatArray,
    clicks: WorkingClicks,
    *,
    newest_kji: IndexArray,
    near: int = NEAR,
) -> FloatArray:
    """Take a new probability over where the clicks allow it.

    Parameters
    ----------
    previous : ndarray, shape (k, j, i), float32
        Merged probability after the click before.
    probability : ndarray, shape (k, j, i), float32
        What the network says now.
    clicks : WorkingClicks
        All clicks so far, the newest included.
    newest_kji : ndarray, shape (3,), intp
        The newest click.
    near : int
        See :func:`component_at`.

    Returns
    -------
    ndarray, shape (k, j, i), float32
        Agrees with every click where it is compared with 1/2.

    Notes
    -----
    Up to three clicks the whole mask may change, and is tidied: parts without a positive click go,
    holes without a negative one are filled. From the fourth click on only the connected component
    of the change that the newest click points at is taken over; all else stays bit by bit.
    """
    found = probability > 0.5
    if len(clicks) <= FREE_CLICKS:
        wanted = tidied(found, clicks.all_positive_kji, clicks.all_negative_kji)
        return _decided(probability, wanted)
    before = previous > 0.5
    change = component_at(found != before, newest_kji, near=near)
    result = np.where(change, probability, previous)
    wanted = result > 0.5
    wanted[tuple(clicks.all_negative_kji.T)] = False
    wanted[tuple(clicks.all_positive_kji.T)] = True
    return _decided(result, wanted)


def _decided(probability: FloatArray, wanted: BoolArray) -> FloatArray:
    """Move the probability of voxels on the wrong side of 1/2 to the other."""
    low, high = (np.float32(value) for value in CERTAIN)
    found = probability > 0.5
    result = np.where(wanted & ~found, high, probability)
    return np.asarray(np.where(found & ~wanted, low, result), dtype=np.float32)
