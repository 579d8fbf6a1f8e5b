"""Finding the rotation axis of a parallel-beam scan from the projections themselves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage, optimize

from NASAM3DLib.scan.geometry import ConeBeamGeometry
from NASAM3DLib.scan.projections import ProjectionSet

OPPOSITE_TOLERANCE_RAD = np.deg2rad(1.0)
SMALLEST_OVERLAP = 0.5
"""Share of the columns that both views must show at a candidate axis."""


def rotation_centre_column(projection_set: ProjectionSet) -> float:
    """Find the detector column onto which the rotation axis projects.

    Parameters
    ----------
    projection_set : ProjectionSet
        Parallel beam, circular orbit, with at least one pair of views half a turn apart.

    Returns
    -------
    float
        Column, fractional.

    Raises
    ------
    ValueError
        If the beam is not parallel or no two views are opposite within a degree.

    Notes
    -----
    Opposite views of a parallel beam are mirror images about the axis: p(beta + pi, c + x) =
    p(beta, c - x). The axis c minimises the mean square difference over the overlap, first over
    half columns, then between them with linear interpolation.
    """
    orbit = projection_set.geometry.orbit
    if orbit is None or not orbit.is_parallel:
        raise ValueError(
            "The rotation axis can be found from opposite views of a parallel beam on a circular "
            "orbit only; for a cone beam give detector_offset_mm."
        )
    first, second = _opposite_views(orbit.angles_rad)
    image = projection_set.projections[first].astype(np.float64)
    mirrored = projection_set.projections[second].astype(np.float64)

    def mismatch(column: float) -> float:
        """Compare one view with the mirror image of the other about a column."""
        partner = 2 * column - np.arange(image.shape[1])
        seen = (partner >= 0) & (partner <= image.shape[1] - 1)
        if seen.mean() < SMALLEST_OVERLAP:
            return float("inf")
        rows = np.arange(image.shape[0])[:, None]
        grid = np.broadcast_arrays(rows, partner[seen][None])
        folded = ndimage.map_coordinates(mirrored, grid, order=1)
        return float(np.mean((image[:, seen] - folded) ** 2))

    candidates = np.arange(0.0, image.shape[1] - 0.5, 0.5)
    best = float(candidates[int(np.argmin([mismatch(float(c)) for c in candidates]))])
    refined = optimize.minimize_scalar(
        mismatch, bounds=(best - 0.5, best + 0.5), method="bounded", options={"xatol": 1e-3}
    )
    return float(refined.x)


def _opposite_views(angles_rad: npt.NDArray[np.float64]) -> tuple[int, int]:
    """Give the two views that are closest to half a turn apart."""
    difference = np.abs(angles_rad[:, None] - angles_rad[None, :])
    error = np.abs(np.mod(difference, 2 * np.pi) - np.pi)
    first, second = np.unravel_index(int(np.argmin(error)), error.shape)
    if error[first, second] > OPPOSITE_TOLERANCE_RAD:
        raise ValueError(
            "No two views are half a turn apart within one degree (closest: "
            f"{np.degrees(np.pi - error[first, second]):.1f} degrees), so the rotation axis cannot "
            "be found from the views: give it."
        )
    return int(first), int(second)


def with_rotation_centre(projection_set: ProjectionSet, column: float) -> ProjectionSet:
    """Give the scan with the detector shifted so that the axis projects onto a column.

    Parameters
    ----------
    projection_set : ProjectionSet
        Circular orbit.
    column : float
        Column of the rotation axis, fractional.

    Returns
    -------
    ProjectionSet
        The same projections with another detector offset.

    Raises
    ------
    ValueError
        If the orbit is not circular.
    """
    geometry = projection_set.geometry
    if geometry.orbit is None:
        raise ValueError("Only a circular orbit has a rotation axis to be moved.")
    n_columns = geometry.detector_shape[1]
    offset_u = ((n_columns - 1) / 2 - column) * geometry.orbit.pixel_spacing_mm[1]
    orbit = replace(
        geometry.orbit, detector_offset_mm=(geometry.orbit.detector_offset_mm[0], offset_u)
    )
    moved = ConeBeamGeometry.circular(orbit, geometry.detector_shape)
    return ProjectionSet(projection_set.projections, moved)
