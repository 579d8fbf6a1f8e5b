"""Line integrals and the geometry they were measured in."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from NASAM3DLib.scan.geometry import ConeBeamGeometry

logger = logging.getLogger(__name__)

LARGEST_PLAUSIBLE_LINE_INTEGRAL = 25.0
"""exp(-25) is below one photon of 1e10: larger line integrals cannot have been measured."""


@dataclass(frozen=True, eq=False)
class ProjectionSet:
    """Measured line integrals with their geometry.

    Parameters
    ----------
    projections : ndarray, shape (n_views, n_rows, n_cols), float32
        Line integrals of the attenuation coefficient, dimensionless.
    geometry : ConeBeamGeometry
        Poses of the same views.
    weights : ndarray, shape (n_views, n_rows, n_cols), float32, optional
        How far iterative methods trust each line integral, not negative, about 1; all alike if not
        given. See :func:`~NASAM3DLib.scan.noise.noise_weights`.

    Raises
    ------
    ValueError
        If a shape does not fit the geometry, a value is not finite or a weight negative.
    """

    projections: npt.NDArray[np.float32]
    geometry: ConeBeamGeometry
    weights: npt.NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        array = np.asarray(self.projections, dtype=np.float32)
        if array.shape != self.geometry.projections_shape:
            raise ValueError(
                "ProjectionSet.projections must have shape (n_views, n_rows, n_cols) = "
                f"{self.geometry.projections_shape} from its geometry, got {array.shape}: views "
                "come first."
            )
        n_bad = int(array.size - np.count_nonzero(np.isfinite(array)))
        if n_bad:
            raise ValueError(
                f"ProjectionSet.projections has {n_bad} values that are NaN or infinite: mark dead "
                "pixels in the raw counts and use line_integrals(), which repairs them."
            )
        if array.size and array.max() > LARGEST_PLAUSIBLE_LINE_INTEGRAL:
            logger.warning(
                "The largest projection value is %.3g; line integrals stay below %g. Are these raw "
                "counts? Convert them with line_integrals().",
                array.max(),
                LARGEST_PLAUSIBLE_LINE_INTEGRAL,
            )
        object.__setattr__(self, "projections", array)
        if self.weights is not None:
            weights = np.asarray(self.weights, dtype=np.float32)
            if weights.shape != array.shape or not (weights.min(initial=0.0) >= 0):
                raise ValueError(
                    "ProjectionSet.weights must be numbers of 0 or more, as many as the "
                    f"projections {array.shape}, got shape {weights.shape}."
                )
            object.__setattr__(self, "weights", weights)

    @property
    def n_views(self) -> int:
        """Number of views."""
        return self.geometry.n_views

    def mean_square(self, residual: npt.NDArray[np.float32]) -> float:
        """Average the squares of what a volume leaves unexplained, with the weights.

        Parameters
        ----------
        residual : ndarray, shape (n_views, n_rows, n_cols), float32
            Line integrals of a volume minus these.

        Returns
        -------
        float
            ``sum w r^2 / n``.
        """
        squares = np.square(residual, dtype=np.float64)
        if self.weights is not None:
            squares *= self.weights
        return float(squares.mean())

    def select(self, views: npt.ArrayLike) -> ProjectionSet:
        """Keep some of the views.

        Parameters
        ----------
        views : array_like of int
            Indices of the views to keep.

        Returns
        -------
        ProjectionSet
        """
        index = np.atleast_1d(np.asarray(views, dtype=np.intp))
        weights = None if self.weights is None else self.weights[index]
        return ProjectionSet(self.projections[index], self.geometry.select(index), weights)

    def sparse(self, n_views: int) -> ProjectionSet:
        """Keep ``n_views`` views, spread evenly over the measured ones.

        Parameters
        ----------
        n_views : int
            Number of views to keep.

        Returns
        -------
        ProjectionSet

        Raises
        ------
        ValueError
            If fewer than one or more than the measured views are asked for.
        """
        return self.select(sparse_views(self.n_views, n_views))

    def binned(self, factor: int) -> ProjectionSet:
        """Average blocks of ``factor`` x ``factor`` pixels.

        Parameters
        ----------
        factor : int
            Pixels per block along rows and columns; what is left over at the last row and column
            is dropped.

        Returns
        -------
        ProjectionSet
            The same views with larger pixels, placed where their blocks were; poses per view only.

        Raises
        ------
        ValueError
            If the factor is below one or above the size of the detector.
        """
        rows, columns = self.geometry.detector_shape
        if not 1 <= factor <= min(rows, columns):
            raise ValueError(
                f"The detector of {rows}x{columns} pixels can be binned by 1 to "
                f"{min(rows, columns)}, not by {factor}."
            )
        shape = (rows // factor, columns // factor)
        step_v, step_u = self.geometry.detector_v_ras, self.geometry.detector_u_ras
        # What is left out at the end moves the detector's centre towards the beginning.
        centres = self.geometry.detector_centres_ras - (
            step_v * (rows % factor) / 2 + step_u * (columns % factor) / 2
        )
        geometry = ConeBeamGeometry(
            self.geometry.sources_ras, centres, step_u * factor, step_v * factor, shape
        )
        weights = None if self.weights is None else _block_means(self.weights, factor)
        return ProjectionSet(_block_means(self.projections, factor), geometry, weights)


def _block_means(images: npt.NDArray[np.float32], factor: int) -> npt.NDArray[np.float32]:
    """Average blocks of pixels; what is left over at the last row and column is dropped."""
    n_views, rows, columns = (images.shape[0], *(n // factor for n in images.shape[1:]))
    kept = images[:, : rows * factor, : columns * factor]
    means = kept.reshape(n_views, rows, factor, columns, factor).mean(axis=(2, 4))
    return np.asarray(means, dtype=np.float32)


def sparse_views(n_measured: int, n_views: int) -> npt.NDArray[np.intp]:
    """Choose evenly spread view indices.

    Parameters
    ----------
    n_measured : int
        Number of measured views.
    n_views : int
        Number of views to choose.

    Returns
    -------
    ndarray, shape (n_views,), intp
        Ascending indices, the first one 0, as ``floor(n * n_measured / n_views)``.

    Raises
    ------
    ValueError
        If fewer than one or more than the measured views are asked for.
    """
    if not 1 <= n_views <= n_measured:
        raise ValueError(
            f"Cannot choose {n_views} of {n_measured} measured views: ask for 1 to {n_measured}."
        )
    return (np.arange(n_views) * n_measured // n_views).astype(np.intp)


def line_integrals(
    intensities: npt.ArrayLike,
    flat_field: npt.ArrayLike,
    *,
    dark_field: npt.ArrayLike = 0.0,
) -> npt.NDArray[np.float32]:
    """Turn raw detector counts into line integrals.

    Parameters
    ----------
    intensities : array_like, shape (n_views, n_rows, n_cols)
        Counts behind the object. NaN marks a dead pixel.
    flat_field : array_like, shape (n_rows, n_cols) or (n, n_rows, n_cols) or scalar
        Counts without the object; several exposures are averaged.
    dark_field : array_like, shape as flat_field or scalar
        Counts without radiation.

    Returns
    -------
    ndarray, shape (n_views, n_rows, n_cols), float32
        Line integrals. Pixels whose flat field does not exceed the dark field, and counts that are
        not finite, are replaced by their neighbours' median.

    Raises
    ------
    ValueError
        If shapes disagree, or more than a fifth of all pixels is dead.

    Notes
    -----
    Beer and Lambert: ``p = -ln((I - D) / (F - D))``. Counts at or below the dark field hold less
    than one quantum; they are set to the smallest positive step that the data show.
    """
    counts = np.asarray(intensities, dtype=np.float32)
    if counts.ndim != 3:
        raise ValueError(
            f"intensities must have shape (n_views, n_rows, n_cols), got {counts.shape}."
        )
    detector = counts.shape[1:]
    dark = _detector_image(dark_field, detector, "dark_field")
    gain = _detector_image(flat_field, detector, "flat_field") - dark
    dead_pixel = ~(np.isfinite(gain) & (gain > 0))
    signal = counts - dark
    dead = np.broadcast_to(dead_pixel, counts.shape) | ~np.isfinite(signal)
    if dead.mean() > 0.2:
        raise ValueError(
            f"{100 * dead.mean():.0f} % of the pixels are dead (flat field not above dark field, "
            "or counts not finite): are flat and dark field exchanged?"
        )
    positive = signal[~dead & (signal > 0)]
    if not positive.size:
        raise ValueError("No pixel counts more than the dark field: is this the right dark field?")
    signal = np.maximum(signal, positive.min())
    with np.errstate(invalid="ignore", divide="ignore"):
        integrals = -np.log(signal / gain)
    return repair_pixels(integrals.astype(np.float32), dead)


def repair_pixels(
    projections: npt.NDArray[np.float32], dead: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32]:
    """Replace dead pixels by the median of the living ones around them.

    Parameters
    ----------
    projections : ndarray, shape (n_views, n_rows, n_cols), float32
        Images to repair.
    dead : ndarray, shape (n_views, n_rows, n_cols), bool
        Pixels without a valid value.

    Returns
    -------
    ndarray, shape (n_views, n_rows, n_cols), float32
        A copy; the window grows from 3x3 pixels until it holds a living one.
    """
    repaired = projections.copy()
    repaired[dead] = np.nan
    for view, row, column in np.argwhere(dead):
        image, half = projections[view], 0
        living = np.zeros(0, dtype=np.float32)
        while not living.size and half < max(image.shape):
            half += 1
            window = (
                slice(max(row - half, 0), row + half + 1),
                slice(max(column - half, 0), column + half + 1),
            )
            living = image[window][~dead[view][window]]
        repaired[view, row, column] = np.median(living) if living.size else 0.0
    return repaired


def _detector_image(
    values: npt.ArrayLike, detector: tuple[int, ...], name: str
) -> npt.NDArray[np.float32]:
    """Give one image of the detector's shape, averaging several exposures."""
    image = np.asarray(values, dtype=np.float32)
    if image.ndim == 3:
        image = image.mean(axis=0)
    if image.ndim != 0 and image.shape != detector:
        raise ValueError(
            f"{name} must be a number or have the detector's shape {detector} (rows, columns), got "
            f"{image.shape}."
        )
    return np.asarray(np.broadcast_to(image, detector))
