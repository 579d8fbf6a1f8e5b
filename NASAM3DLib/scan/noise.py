"""How noisy measured projections are, judged from the projections alone.

References
----------
.. [1] J. Immerkaer, "Fast noise variance estimation", Comput. Vis. Image Underst. 64(2), 1996.
.. [2] K. Sauer, C. Bouman, "A local update strategy for iterative reconstruction from projections",
   IEEE Trans. Signal Process. 41(2), 1993, eq. 12-16: weights of the quadratic approximation.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from NASAM3DLib.progress import ProgressCallback, no_progress
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
STAGE = "weighing rays by their noise"

FEWEST_BLOCKS = 16
"""Blocks from which on a law of the noise is fitted."""

STEEPEST = 2.0
"""Largest growth of the logarithm of the variance per line integral: all noise electronic."""

PEAK_PERCENTILE = 99.9
FAINT_SHARE = 0.03
"""Attenuation, relative to the peak, up to which a pixel shows air, its noise cut off at 0."""

THICK_SHARE = 0.25
"""Blocks from this part of the peak on tell the law: at the rim of the object, air is mixed in."""

FLOOR_SHARE = 0.03
"""Error, relative to the peak, up to which line integrals are trusted alike.

Few views leave more unexplained than their noise: at 1e4 photons weights without this floor cost up
to 1.8 dB, with 2 % up to 1.2 dB. With 3 % they gain 0 to 0.15 dB there and up to 2.7 dB at 1e3.
"""

SMOOTHING_PIXELS = 5
EVEN_RATIO = 1.3
"""Weights whose 1st and 99th percentile differ by less than this are as good as none."""


def noise_variance(projection_set: ProjectionSet) -> float:
    """Estimate the variance of uncorrelated noise.

    Parameters
    ----------
    projection_set : ProjectionSet
        Line integrals.

    Returns
    -------
    float
        Mean variance of a line integral, dimensionless, times its weight if it has one. Zero if the
        detector is narrower than three pixels.

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
    variances = [_blocks(view)[0] for view in projection_set.projections[::step]]
    if projection_set.weights is None:
        return float(np.mean(variances, dtype=np.float64))
    weights = [_blocks(view)[1] for view in projection_set.weights[::step]]
    return float(np.mean(np.array(variances, dtype=np.float64) * np.array(weights)))


def noise_weights(
    projection_set: ProjectionSet, *, progress: ProgressCallback = no_progress
) -> Float32Array | None:
    """Weigh line integrals by how noisy they are.

    Parameters
    ----------
    projection_set : ProjectionSet
        Line integrals.
    progress : callable
        Called before every fraction of a second of work.

    Returns
    -------
    ndarray, shape (n_views, n_rows, n_cols), float32, or None
        Weights; their mean over rays that cross the object is 1. None where they would hardly
        differ, as without noise.

    Notes
    -----
    The variance of a line integral p measured with photons grows as ``a exp(b p)`` with b = 1 for
    counting alone and up to 2 where the electronics lead ([2]_). Both numbers are fitted to the
    blocks of :func:`noise_variance`, as the logarithm of the variance over the mean of p. The
    weight is ``1 / (a exp(b p) + f^2)`` with f = 3 % of the peak, so that only rays that are nearly
    starved of photons lose weight. p is averaged over 5 x 5 pixels first, since a pixel that is too
    bright by chance would otherwise count for more than one that is too dark.
    """
    p = projection_set.projections
    peak = float(np.percentile(p[:: max(1, len(p) // 16)], PEAK_PERCENTILE))
    progress(STAGE, 0.1)
    law = _noise_law(projection_set, THICK_SHARE * peak)
    if law is None:
        return None
    floor = (FLOOR_SHARE * peak) ** 2
    weights = np.empty_like(p)
    for number, (view, weight) in enumerate(zip(p, weights, strict=True)):
        progress(STAGE, 0.2 + 0.6 * number / len(p))
        smooth = ndimage.uniform_filter(view, SMOOTHING_PIXELS, mode="nearest")
        np.exp(law[0] + law[1] * np.clip(smooth, 0.0, peak), out=weight)
        weight += np.float32(floor)
        np.reciprocal(weight, out=weight)
    progress(STAGE, 0.8)
    low, high = np.percentile(weights[:: max(1, len(p) // 16)], (1, 99))
    if high < EVEN_RATIO * low:
        return None
    progress(STAGE, 0.9)
    weights /= np.float32(weights[p > FAINT_SHARE * peak].mean(dtype=np.float64))
    return weights


def _noise_law(projection_set: ProjectionSet, faint: float) -> tuple[float, float] | None:
    """Fit log a and b of the variance a exp(b p) to blocks above an attenuation."""
    if min(projection_set.geometry.detector_shape) < FEWEST_PIXELS:
        return None
    step = -(-projection_set.n_views // MOST_VIEWS)
    blocks = [_blocks(view) for view in projection_set.projections[::step]]
    variances = np.concatenate([variance.ravel() for variance, _ in blocks]).astype(np.float64)
    means = np.concatenate([mean.ravel() for _, mean in blocks]).astype(np.float64)
    used = (means > faint) & (variances > 0)
    if np.count_nonzero(used) < FEWEST_BLOCKS or np.ptp(means[used]) <= faint:
        return None
    logarithms = np.log(variances[used])
    slope = float(np.clip(np.polyfit(means[used], logarithms, 1)[0], 0.0, STEEPEST))
    return float(np.median(logarithms - slope * means[used])), slope


def _blocks(view: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Estimate variance and mean in each block; pixels behind the last block are left out."""
    along_v = view[:-2] - 2 * view[1:-1] + view[2:]
    magnitude = np.abs(along_v[:, :-2] - 2 * along_v[:, 1:-1] + along_v[:, 2:])
    # Blocks of a detector with few rows or columns are longer, to hold as many pixels.
    height = min(BLOCK_PIXELS, magnitude.shape[0])
    width = min(BLOCK_PIXELS**2 // height, magnitude.shape[1])
    height = min(BLOCK_PIXELS**2 // width, magnitude.shape[0])
    rows, columns = magnitude.shape[0] // height, magnitude.shape[1] // width
    kept = magnitude[: rows * height, : columns * width]
    medians = np.median(kept.reshape(rows, height, columns, width), axis=(1, 3))
    inner = view[1:-1, 1:-1][: rows * height, : columns * width]
    means = inner.reshape(rows, height, columns, width).mean(axis=(1, 3))
    variances = np.square(medians * (MEDIAN_TO_SIGMA / KERNEL_NORM))
    return np.asarray(variances, dtype=np.float32), np.asarray(means, dtype=np.float32)
