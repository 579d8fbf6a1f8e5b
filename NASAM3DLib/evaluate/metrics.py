"""Figures of merit for volumes and masks.

Images are compared voxel by voxel, so both must lie on one grid;
:mod:`NASAM3DLib.evaluate.resample` brings them there. Distances between surfaces are in
:mod:`NASAM3DLib.evaluate.surfaces`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from NASAM3DLib.segment.mask import Mask

CT_RANGE_HU = 3000.0
"""Span from -1000 to 2000 HU, to which the literature on sparse-view CT scales its volumes."""

NAF_DATA_RANGE = 2.0
"""``data_range`` of SSIM for volumes scaled to [0, 1], as published with NAF (see :func:`ssim`)."""

SSIM_WINDOW = 7


def rmse(array: npt.ArrayLike, reference: npt.ArrayLike) -> float:
    """Compute the root of the mean squared difference.

    Parameters
    ----------
    array, reference : array_like, any equal shape
        Values to compare.

    Returns
    -------
    float
        In the unit of the arrays.

    Raises
    ------
    ValueError
        If the shapes differ, there are no values, or one is not finite.
    """
    first, second = _checked_pair(array, reference)
    return float(np.sqrt(np.mean((first - second) ** 2)))


def psnr(
    array: npt.ArrayLike, reference: npt.ArrayLike, *, data_range: float | None = None
) -> float:
    """Compute the peak signal-to-noise ratio.

    Parameters
    ----------
    array, reference : array_like, any equal shape
        Volume to judge and the truth.
    data_range : float, optional
        The peak, in the unit of the arrays. Ratios with different peaks cannot be compared, so name
        it wherever the ratio is printed. Without it: maximum minus minimum of the reference.

    Returns
    -------
    float
        Decibels; infinity for equal arrays.

    Raises
    ------
    ValueError
        If the shapes differ, there are no values, one is not finite, or the peak is not positive.

    Notes
    -----
    ``PSNR = 20 log10(peak / RMSE)``. NAF and its followers scale [-1000, 2000] HU to [0, 1] and use
    the peak 1: the same figure as volumes in HU with :data:`CT_RANGE_HU`.
    """
    peak = _checked_range(data_range, reference)
    error = rmse(array, reference)
    return float("inf") if error == 0 else float(20 * np.log10(peak / error))


def ssim(
    array: npt.ArrayLike, reference: npt.ArrayLike, *, data_range: float | None = None
) -> float:
    """Compute the mean structural similarity of two volumes.

    Parameters
    ----------
    array, reference : array_like, shape (k, j, i)
        Volume to judge and the truth, at least 7 voxels along each axis.
    data_range : float, optional
        Span of the values, which scales the two stabilising constants. Without it: maximum minus
        minimum of the reference.

    Returns
    -------
    float
        1 for equal volumes.

    Raises
    ------
    ValueError
        If the shapes differ, the volumes are not three-dimensional or too small, a value is not
        finite, or the span is not positive.

    Notes
    -----
    Wang et al. (2004) with three-dimensional uniform windows of 7x7x7 voxels, K1 = 0.01, K2 = 0.03
    and unbiased covariances, averaged over all windows inside the volume (scikit-image's
    definition). NAF and SAX-NeRF call the same function on volumes scaled to [0, 1] without naming
    a range, which older scikit-image took as 2; pass ``data_range=NAF_DATA_RANGE`` for that.
    Averages over two-dimensional slices, as R2-Gaussian reports them, are yet another figure.

    References
    ----------
    Z. Wang, A. C. Bovik, H. R. Sheikh, E. P. Simoncelli, "Image quality assessment: from error
    visibility to structural similarity", IEEE Trans. Image Process. 13 (2004) 600-612.
    """
    from skimage import metrics

    first, second = _checked_pair(array, reference)
    if first.ndim != 3 or min(first.shape) < SSIM_WINDOW:
        raise ValueError(
            f"SSIM needs volumes of at least {SSIM_WINDOW} voxels along each of three axes, got "
            f"shape {first.shape}."
        )
    span = _checked_range(data_range, second)
    similarity: Callable[..., float] = metrics.structural_similarity
    return float(similarity(first, second, win_size=SSIM_WINDOW, data_range=span))


def relative_held_out_error(predicted: npt.ArrayLike, measured: npt.ArrayLike) -> float:
    """Compute how far a volume's projections are from views that it was not made from.

    Parameters
    ----------
    predicted : array_like, shape (n_views, n_rows, n_cols)
        Line integrals through the volume in the held-out geometry, dimensionless.
    measured : array_like, same shape
        The held-out projections, dimensionless.

    Returns
    -------
    float
        Root of the mean squared difference over the root of the mean square of ``measured``.

    Raises
    ------
    ValueError
        If the shapes differ, a value is not finite, or all measured values are zero.

    Notes
    -----
    Measurement noise bounds this figure from below, and it weighs coarse structure more than edges:
    it tells a broken reconstruction from a sound one, not a good one from a slightly better one.
    """
    first, second = _checked_pair(predicted, measured)
    signal = float(np.sqrt(np.mean(second**2)))
    if signal == 0:
        raise ValueError(
            "The held-out projections are all zero, so there is nothing to compare with: choose "
            "views that see the object."
        )
    return rmse(first, second) / signal


def dice(mask: Mask, reference: Mask) -> float:
    """Compute the Dice overlap.

    Parameters
    ----------
    mask, reference : Mask
        Mask to judge and the truth, on one grid.

    Returns
    -------
    float
        ``2 |A and B| / (|A| + |B|)``; 0 for an empty mask, because the object was missed.

    Raises
    ------
    ValueError
        If the grids differ or the reference is empty: then no overlap is defined.
    """
    both = _checked_overlap(mask, reference)
    return 2.0 * both / (mask.n_voxels + reference.n_voxels)


def iou(mask: Mask, reference: Mask) -> float:
    """Compute intersection over union, also called the Jaccard index.

    Parameters
    ----------
    mask, reference : Mask
        Mask to judge and the truth, on one grid.

    Returns
    -------
    float
        ``|A and B| / |A or B|``; 0 for an empty mask.

    Raises
    ------
    ValueError
        If the grids differ or the reference is empty.
    """
    both = _checked_overlap(mask, reference)
    return both / (mask.n_voxels + reference.n_voxels - both)


def check_same_grid(mask: Mask, reference: Mask) -> None:
    """Refuse two masks that do not share their voxels.

    Parameters
    ----------
    mask, reference : Mask
        Masks to compare.

    Raises
    ------
    ValueError
        If the grids differ.
    """
    if not mask.grid.same_as(reference.grid):
        raise ValueError(
            f"The masks must lie on one grid, got {mask.grid} and {reference.grid}: bring one onto "
            "the other's grid with resample_mask first."
        )


def _checked_overlap(mask: Mask, reference: Mask) -> int:
    """Count the voxels in both masks after checking that they can be compared."""
    check_same_grid(mask, reference)
    if not reference.n_voxels:
        raise ValueError(
            "The reference mask is empty, so no overlap with it is defined: check that the right "
            "label was chosen."
        )
    return int(np.count_nonzero(mask.array & reference.array))


def _checked_pair(
    array: npt.ArrayLike, reference: npt.ArrayLike
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Give both arrays in double precision after checking shape and values."""
    first, second = (np.asarray(x, dtype=np.float64) for x in (array, reference))
    if first.shape != second.shape or not first.size:
        raise ValueError(
            f"Compared arrays must have one shape and at least one value, got {first.shape} and "
            f"{second.shape}."
        )
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("Compared arrays must be finite, got NaN or infinity.")
    return first, second


def _checked_range(data_range: float | None, reference: npt.ArrayLike) -> float:
    """Give the span of values, from the reference if it was left out."""
    span = float(np.ptp(np.asarray(reference))) if data_range is None else float(data_range)
    if not (np.isfinite(span) and span > 0):
        raise ValueError(
            f"data_range must be positive and finite, got {span:g}: give the span that the values "
            "can take, for example 3000 for CT in HU."
        )
    return span
