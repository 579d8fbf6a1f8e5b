"""The network on regions of any size: padded if they are small, in tiles if they are large."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
LogitFunction = Callable[[FloatArray], FloatArray]

EDGE, OVERLAP = 96, 24
"""Voxels along the edge of a tile, and those that two tiles share at least."""

EMPTY_LOGIT = -8.0
"""Logit of a tile that no click, front or former mask reaches."""

REACHED = 0.1
"""Attention or probability from which on a tile is computed."""

CAUSES = (4, 7, 8, 9)
"""Channels that make a tile worth computing: front, clicks, mask before."""


def tiled_logits(compute: LogitFunction, shown: FloatArray, *, multiple: int) -> FloatArray:
    """Compute the logits of a region.

    Parameters
    ----------
    compute : callable
        From channels, shape (11, k, j, i) with edges that are multiples, to logits (k, j, i).
    shown : ndarray, shape (11, k, j, i), float32
        Channels of the region.
    multiple : int
        Number by which edges must be divisible; 96 must be one of its multiples.

    Returns
    -------
    ndarray, shape (k, j, i), float32

    Notes
    -----
    A region of up to 96 voxels along an axis is one tile; its end is repeated up to the next
    multiple. Longer ones are covered by tiles that share at least 24 voxels, mixed with weights
    that fall linearly towards a tile's faces.
    """
    shape = shown.shape[1:]
    starts = [tile_starts(n) for n in shape]
    total, weights = (np.zeros(shape, dtype=np.float32) for _ in range(2))
    for corner in itertools.product(*starts):
        box = tuple(slice(a, min(a + EDGE, n)) for a, n in zip(corner, shape, strict=True))
        part = shown[(slice(None), *box)]
        weight = _weight(part.shape[1:])
        total[box] += weight * _tile(compute, part, multiple)
        weights[box] += weight
    return np.asarray(total / weights, dtype=np.float32)


def tile_starts(n_voxels: int) -> list[int]:
    """Choose where tiles begin along an axis.

    Parameters
    ----------
    n_voxels : int
        Voxels along the axis.

    Returns
    -------
    list of int
        The last tile ends with the axis.
    """
    if n_voxels <= EDGE:
        return [0]
    n_tiles = -(-(n_voxels - OVERLAP) // (EDGE - OVERLAP))
    return [round(float(a)) for a in np.linspace(0, n_voxels - EDGE, n_tiles)]


def _tile(compute: LogitFunction, part: FloatArray, multiple: int) -> FloatArray:
    """Compute one tile, or say that nothing is in it."""
    shape = part.shape[1:]
    if all(float(part[channel].max()) < REACHED for channel in CAUSES):
        return np.full(shape, EMPTY_LOGIT, dtype=np.float32)
    padding = [(0, -n % multiple) for n in shape]
    logits = compute(np.pad(part, [(0, 0), *padding], mode="edge"))
    return logits[tuple(slice(0, n) for n in shape)]


def _weight(shape: tuple[int, ...]) -> FloatArray:
    """Give weights that fall towards the faces, positive everywhere."""
    k, j, i = (
        np.minimum(np.arange(1, n + 1), np.arange(n, 0, -1)).clip(max=OVERLAP).astype(np.float32)
        for n in shape
    )
    return np.asarray(k[:, None, None] * j[:, None] * i, dtype=np.float32)
