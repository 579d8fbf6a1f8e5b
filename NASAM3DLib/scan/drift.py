"""Slow changes of the source's intensity during a scan.

References
----------
.. [1] S. Helgason, "The Radon Transform", 2nd ed., Birkhaeuser 1999; D. Ludwig, Comm. Pure Appl.
   Math. 19, 1966: the zeroth moment of a parallel projection is the same in every view.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from NASAM3DLib.scan.air import find_air
from NASAM3DLib.scan.projections import ProjectionSet

FloatArray = npt.NDArray[np.float64]

SMALLEST_DRIFT = 0.002
"""Root mean square offset of the line integrals below which nothing is corrected (0.2 %)."""

FLICKER_FACTOR = 4.0
"""Scatter from view to view, in standard errors, from which on it is real and not noise."""

SMOOTH_SHARE, FEWEST_SMOOTHED = 0.15, 7
"""Part of the views that a local parabola is fitted to, and their least number."""


@dataclass(frozen=True, eq=False)
class Drift:
    """How much the source's intensity changed.

    Parameters
    ----------
    offsets : ndarray, shape (n_views,), float64
        What the change added to the line integrals of each view: ``ln(I_0 / I)`` of the intensity I
        relative to the flat field's I_0.
    source : str
        What it was estimated from, in words.
    """

    offsets: FloatArray
    source: str

    @property
    def rms(self) -> float:
        """Root mean square of the offsets."""
        return float(np.sqrt(np.mean(self.offsets**2)))

    @property
    def is_significant(self) -> bool:
        """Whether it is worth correcting."""
        return self.rms > SMALLEST_DRIFT

    def remove(self, projection_set: ProjectionSet) -> ProjectionSet:
        """Correct a scan.

        Parameters
        ----------
        projection_set : ProjectionSet
            The scan.

        Returns
        -------
        ProjectionSet
            Line integrals less the offset of their view.

        Raises
        ------
        ValueError
            If the number of views differs.
        """
        if self.offsets.shape != (projection_set.n_views,):
            raise ValueError(
                f"The drift was estimated for {self.offsets.size} views, the scan has "
                f"{projection_set.n_views}: estimate it on the same scan."
            )
        offsets = self.offsets.astype(np.float32)[:, None, None]
        return ProjectionSet(projection_set.projections - offsets, projection_set.geometry)


def drift_from_air(projection_set: ProjectionSet) -> Drift | None:
    """Estimate drift from columns that see only air.

    Parameters
    ----------
    projection_set : ProjectionSet
        Line integrals, views in the order in which they were taken.

    Returns
    -------
    Drift or None
        None if no side of the detector sees air in all views, see
        :func:`~NASAM3DLib.scan.air.find_air`.

    Notes
    -----
    With the intensity I in a view whose flat field was taken with I_0, every line integral of the
    view is too large by ``ln(I_0 / I)``, and air shows just that.
    """
    air = find_air(projection_set)
    if air is None:
        return None
    offsets = smooth_over_views(air.level, air.standard_error)
    first, last = air.columns
    return Drift(offsets, f"air in {first} first and {last} last columns")


def drift_from_mass(projection_set: ProjectionSet) -> Drift:
    """Estimate drift from the constancy of the total attenuation of a parallel beam.

    Parameters
    ----------
    projection_set : ProjectionSet
        Parallel beam; the detector sees all of the object in every view.

    Returns
    -------
    Drift
        Relative to the mean over the views, which this law says nothing about.

    Raises
    ------
    ValueError
        If the beam is not parallel or the rows are not the same slices in all views.

    Notes
    -----
    The sum of a view's line integrals is the mass of the slices, whatever the angle ([1]_). So the
    mean of a view changes only by the drift.
    """
    geometry = projection_set.geometry
    if not geometry.is_parallel:
        raise ValueError(
            "The total attenuation is the same in all views of a parallel beam only: use "
            "drift_from_prediction() for a cone beam."
        )
    directions = geometry.detector_v_ras / np.linalg.norm(geometry.detector_v_ras, axis=1)[:, None]
    if np.abs(directions - directions[0]).max() > 1e-6:
        raise ValueError("The detector's rows must be parallel in all views to see the same mass.")
    level = projection_set.projections.mean(axis=(1, 2), dtype=np.float64)
    level -= level.mean()
    return Drift(smooth_over_views(level, 0.0), "the total attenuation of each view")


def drift_from_prediction(projection_set: ProjectionSet, predicted: npt.ArrayLike) -> Drift:
    """Estimate drift by comparison with the projections of a reconstruction.

    Parameters
    ----------
    projection_set : ProjectionSet
        Measured line integrals.
    predicted : array_like, shape (n_views, n_rows, n_cols)
        Line integrals of a volume that was reconstructed from all views.

    Returns
    -------
    Drift
        Relative to the mean over the views: a constant cannot be told from the object.

    Raises
    ------
    ValueError
        If the shapes differ.

    Notes
    -----
    The median difference of a view, smoothed over the views. The volume has taken part of the drift
    into itself, so the estimate is too small; correcting and repeating brings most of the rest if
    nearly all of the object is seen, and about half of it in a narrow field of view.
    """
    expected = np.asarray(predicted, dtype=np.float32)
    if expected.shape != projection_set.projections.shape:
        raise ValueError(
            f"The prediction must have the scan's shape {projection_set.projections.shape}, got "
            f"{expected.shape}."
        )
    level = np.median(projection_set.projections - expected, axis=(1, 2)).astype(np.float64)
    level -= level.mean()
    return Drift(smooth_over_views(level, np.inf), "the difference from a reconstruction")


def smooth_over_views(level: FloatArray, standard_error: float) -> FloatArray:
    """Smooth a value per view, unless its scatter is real.

    Parameters
    ----------
    level : ndarray, shape (n_views,), float64
        Values in the order of the views.
    standard_error : float
        Their uncertainty; 0 switches smoothing off, infinity forces it.

    Returns
    -------
    ndarray, shape (n_views,), float64
        Local parabolas (Savitzky and Golay) over 15 % of the views; the values themselves where
        they scatter by more than four standard errors, as with a source that flickers.
    """
    window = max(FEWEST_SMOOTHED, int(level.size * SMOOTH_SHARE)) | 1
    if level.size < window:
        return level.copy()
    bends = np.diff(level, 2)
    scatter = float(np.median(np.abs(bends)) / (0.6745 * np.sqrt(6.0)))
    if scatter > FLICKER_FACTOR * standard_error:
        return level.copy()
    from scipy.signal import savgol_filter

    return np.asarray(savgol_filter(level, window, 2, mode="interp"), dtype=np.float64)
