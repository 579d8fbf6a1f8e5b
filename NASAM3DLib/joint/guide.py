"""From a volume and a soft mask to the directions in which values may change.

Where a surface is known, total variation need not pay for the step across it, only for changes
along it. The surface of the object comes from the mask, all others from the volume itself.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from NASAM3DLib.joint.cutting import cut_up
from NASAM3DLib.joint.directional import Int8Array, as_guide
from NASAM3DLib.reconstruct.refine import FACTOR
from NASAM3DLib.reconstruct.volume import AIR_ATTENUATION, WATER_ATTENUATION

Float32Array = npt.NDArray[np.float32]

LONGEST = 0.95
"""Length of the guide at a sure surface; what is left keeps the problem coercive."""

EDGE_STEP = 30 * (WATER_ATTENUATION - AIR_ATTENUATION) / 1000
"""Step from voxel to voxel, 1/mm, at which an edge of the volume is as sure as not: 30 HU."""

MASK_STEP = 0.02
"""The same for the probability of the object."""

SLAB_PLANES = 16
"""Planes that are done at once, an even number: vectors in full precision take much memory."""

VOLUME_SMOOTHING, MASK_SMOOTHING = 1.0, 1.5
"""Standard deviations, in fine voxels, of the Gaussians before the differences."""


def guide_of(
    fine: Float32Array,
    soft_mask: Float32Array,
    *,
    uncertainty: Float32Array | None = None,
) -> Int8Array:
    """Find the surfaces that values may change across.

    Parameters
    ----------
    fine : ndarray, shape (2 i, 2 j, 2 k), float32
        Attenuation on the fine lattice, 1/mm.
    soft_mask : ndarray, shape (k, j, i), float32
        Probability of the object on the wanted voxels.
    uncertainty : ndarray, shape (k, j, i), float32, optional
        Standard deviation of the wanted voxels, 1/mm.

    Returns
    -------
    ndarray, shape (3, 2 i, 2 j, 2 k), int8
        xi for :class:`~NASAM3DLib.joint.directional.DirectionalProx`.

    Notes
    -----
    Volume u and probability m each give ``xi = 0.95 g / sqrt(|g|^2 + eta^2)`` with g the forward
    differences after smoothing; the longer of the two is taken. eta is 0.02 for m, and for u the
    step of 30 HU or the uncertainty, whichever is more: what may be noise does not steer. An
    unsure boundary is a wide one, whose small differences steer as little.
    """
    image = ndimage.gaussian_filter(fine, VOLUME_SMOOTHING, mode="nearest")
    mask = ndimage.gaussian_filter(cut_up(soft_mask), MASK_SMOOTHING, mode="nearest")
    guide = np.empty((3, *fine.shape), dtype=np.int8)
    for first in range(0, len(fine), SLAB_PLANES):
        # One plane more, for the differences of the last one.
        part = slice(first, first + SLAB_PLANES + 1)
        eta: npt.ArrayLike = np.float32(EDGE_STEP)
        if uncertainty is not None:
            columns = slice(first // FACTOR, (first + SLAB_PLANES) // FACTOR + 1)
            eta = np.maximum(cut_up(uncertainty[:, :, columns])[: len(image[part])], eta)
        edges, surface = _directions(image[part], eta), _directions(mask[part], MASK_STEP)
        stronger = np.square(surface).sum(axis=0) >= np.square(edges).sum(axis=0)
        xi = as_guide(np.where(stronger, surface, edges))
        guide[:, first : first + SLAB_PLANES] = xi[:, :SLAB_PLANES]
    return guide


def _directions(image: Float32Array, eta: npt.ArrayLike) -> Float32Array:
    """Give the differences of an image, shortened to less than one; sure where they exceed eta."""
    axes = range(image.ndim)
    steps = np.stack([np.diff(image, axis=a, append=np.take(image, [-1], axis=a)) for a in axes])
    length = np.sqrt(np.square(steps).sum(axis=0) + np.square(np.asarray(eta)))
    return np.asarray(np.float32(LONGEST) * steps / length, dtype=np.float32)
