"""How noisy measured projections are, judged from the projections alone.

References
----------
.. [1] J. Immerkaer, "Fast noise variance estimation", Comput. Vis. Image Underst. 64(2), 1996.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from NASAM3DLib.scan.projections import ProjectionSet

Float32Array = npt.NDArray[np.float32]

KERNEL_NORM = 6.0
"""Root of the sum of squares of the outer product of (1, -2, 1) with itself."""

MEDIAN_TO_SIGMA = 1 / 0.6745
"""Median of the magnitude of a normal deviate to its standard deviation."""

BLOCK_PIXELS = 16
"""Side of the blocks within which noise counts as even and edges as few."""

MOST_VIEWS = 64
"""Views that are looked at: more of them say nothing new, and each takes some milliseconds."""

FEWEST_PIXELS = 3


def noise_variance(projection_set: ProjectionSet) -> float:
    """Estimate the variance of uncorrelated noise.

    Parameters
    ----------
    projection_set : ProjectionSet
        Line integrals.

    Returns
    -------
    float
        Mean variance of a line integral, dimensionless. Zero if the detector is narrower than three
        pixels.

    Notes
    -----
    The second difference along rows of the second difference along columns blanks out what is
    locally a plane ([1]_). The median of its magnitude, divided by 0.6745 and by 6, is the standard
    deviation of the noise; unlike the mean of [1]_ it ignores the edges of the object, which are
    few. Behind thick parts of the object the variance of photon noise is hundreds of times that in
    air, so that the median is taken in blocks of 16 x 16 pixels and the mean over the variances of
    the blocks. At most 64 views are looked at.
    """
    if min(projection_set.geometry.detector_shape) < FEWEST_PIXELS:
        return 0.0
    step = -(-projection_set.n_views // MOST_VIEWS)
    variances = [_block_variances(view) for view in projection_set.projections[::step]]
    return float(np.mean(variances, dtype=np.float64))


def _block_variances(view: Float32Array) -> Float32Array:
    """Estimate the variance in each block of a view; pixels behind the last block are left out."""
    along_v = view[:-2] - 2 * view[1:-1] + view[2:]
    magnitude = np.abs(along_v[:, :-2] - 2 * along_v[:, 1:-1] + along_v[:, 2:])
    # Blocks of a detector with few rows or columns are longer, to hold as many pixels.
    height = min(BLOCK_PIXELS, magnitude.shape[0])
    width = min(BLOCK_PIXELS**2 // height, magnitude.shape[1])
    height = min(BLOCK_PIXELS**2 // width, magnitude.shape[0])
    rows, columns = magnitude.shape[0] // height, magnitude.shape[1] // width
    kept = magnitude[: rows * height, : columns * width]
    medians = np.median(kept.reshape(rows, height, columns, width), axis=(1, 3))
    return np.asarray(np.square(medians * (MEDIAN_TO_SIGMA / KERNEL_NORM)), dtype=np.float32)
