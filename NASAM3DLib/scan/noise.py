"""How noisy measured projections are, judged from the projections alone.

References
----------
.. [1] J. Immerkaer, "Fast noise variance estimation", Comput. Vis. Image Underst. 64(2), 1996.
"""

from __future__ import annotations

import numpy as np

from NASAM3DLib.scan.projections import ProjectionSet

KERNEL_NORM = 6.0
"""Root of the sum of squares of the outer product of (1, -2, 1) with itself."""

MEDIAN_TO_SIGMA = 1 / 0.6745
"""Median of the magnitude of a normal deviate to its standard deviation."""

TYPICAL_TO_MEAN = 1.5
"""Mean noise variance over that of a typical pixel: 1.4 to 1.6 in scans with 1e4 to 1e6 photons."""

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
    deviation of a typical pixel; unlike the mean of [1]_ it ignores the edges of the object, which
    are few. Thick parts of the object are noisier than a typical pixel, hence a factor of 1.5.
    """
    if min(projection_set.geometry.detector_shape) < FEWEST_PIXELS:
        return 0.0
    magnitudes = []
    for view in projection_set.projections:
        along_v = view[:-2] - 2 * view[1:-1] + view[2:]
        magnitudes.append(np.abs(along_v[:, :-2] - 2 * along_v[:, 1:-1] + along_v[:, 2:]))
    sigma = float(np.median(np.stack(magnitudes))) * MEDIAN_TO_SIGMA / KERNEL_NORM
    return TYPICAL_TO_MEAN * sigma**2
