"""The volume that a scan can see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from NASAM3DLib.scan.geometry import ConeBeamGeometry
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.orbit import CircularOrbit

FloatArray = npt.NDArray[np.float64]

LARGEST_DEFAULT_SIDE = 512

LEAST_ASYMMETRY_PIXELS = 1.0
"""Difference of both sides, in pixels, from which on a detector counts as shifted sideways."""


@dataclass(frozen=True)
class LateralReach:
    """How far the rays of a circular orbit pass from its axis.

    Parameters
    ----------
    towards_minus_u_mm, towards_plus_u_mm : float
        Distance between the axis and the outer edge of the first and of the last column's rays, mm
        at the isocenter; negative where the detector ends before the axis.
    pixel_mm : float
        Pixel at the isocenter, mm.
    """

    towards_minus_u_mm: float
    towards_plus_u_mm: float
    pixel_mm: float

    @property
    def shorter_mm(self) -> float:
        """Reach of the nearer edge, mm: lines up to here are seen from both ends of a full turn."""
        return min(self.towards_minus_u_mm, self.towards_plus_u_mm)

    @property
    def longer_mm(self) -> float:
        """Reach of the farther edge, mm: the field of view of a full turn."""
        return max(self.towards_minus_u_mm, self.towards_plus_u_mm)

    @property
    def is_shifted(self) -> bool:
        """Whether one side reaches farther than the other by more than a pixel."""
        return self.longer_mm - self.shorter_mm > LEAST_ASYMMETRY_PIXELS * self.pixel_mm


def lateral_mm(orbit: CircularOrbit, u_mm: npt.ArrayLike) -> FloatArray:
    """Give the signed distance of rays from the axis of the orbit.

    Parameters
    ----------
    orbit : CircularOrbit
        The orbit.
    u_mm : array_like
        Places on the detector along u from its centre, mm.

    Returns
    -------
    ndarray, float64
        Distance within the plane of the orbit, mm, positive towards +u. The line seen from behind
        has the opposite sign.
    """
    u = np.asarray(u_mm, dtype=np.float64) + orbit.detector_offset_mm[1]
    shift = orbit.rotation_centre_shift_mm
    near, far = orbit.source_to_isocenter_mm, orbit.source_to_detector_mm
    if near is None or far is None:
        return np.asarray(u + shift, dtype=np.float64)
    fan = np.arctan2(u, far)
    return np.asarray(near * np.sin(fan) + shift * np.cos(fan), dtype=np.float64)


def lateral_reach(geometry: ConeBeamGeometry) -> LateralReach:
    """Measure how far the rays of a circular orbit pass from its axis.

    Parameters
    ----------
    geometry : ConeBeamGeometry
        Circular orbit.

    Returns
    -------
    LateralReach

    Raises
    ------
    ValueError
        If the geometry only has poses per view.
    """
    orbit = geometry.orbit
    if orbit is None:
        raise ValueError("Only a circular orbit has an axis that rays pass at a distance.")
    pixel = orbit.pixel_spacing_mm[1]
    edge = geometry.detector_shape[1] * pixel / 2
    first, last = (float(value) for value in lateral_mm(orbit, [-edge, edge]))
    return LateralReach(-first, last, pixel / orbit.magnification)


def closes_circle(orbit: CircularOrbit) -> bool:
    """Tell whether the views close a circle, up to one step.

    Parameters
    ----------
    orbit : CircularOrbit
        Views in any order.

    Returns
    -------
    bool
    """
    return bool(orbit.arc_rad > 2 * np.pi - 1.01 * 2 * np.pi / orbit.angles_rad.size)


def default_grid(geometry: ConeBeamGeometry, *, spacing_mm: float | None = None) -> VolumeGrid:
    """Make the grid that a detector sees fully, with voxels as large as a pixel at the isocenter.

    Parameters
    ----------
    geometry : ConeBeamGeometry
        Poses.
    spacing_mm : float, optional
        Voxel spacing, mm. By default a pixel divided by the magnification at the centre, but at
        least so large that no side has more than 512 voxels.

    Returns
    -------
    VolumeGrid
        Isotropic, axes along RAS, centred where the central rays of all views meet.

    Raises
    ------
    ValueError
        If the spacing is not positive.

    Notes
    -----
    The centre c minimises the squared distance to the central rays. Width and height are those of
    the detector scaled to c, for a cone beam less the part that the rays' slant cuts off: a
    cylinder of radius r = R sin(fan / 2) is what every view sees. A full turn with the detector
    shifted sideways sees everything up to the farther edge, because the opposite views show what
    the nearer edge cuts off.
    """
    if spacing_mm is not None and not 0 < spacing_mm < float("inf"):
        raise ValueError(f"The voxel spacing must be positive in mm, got {spacing_mm:g}.")
    rows, columns = geometry.detector_shape
    centre = _meeting_point(geometry)
    widened = _radius_of_shifted_detector(geometry)
    normals = np.cross(geometry.detector_u_ras, geometry.detector_v_ras)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    widths, heights, pixels = [], [], []
    for view in range(geometry.n_views):
        source, detector = geometry.sources_ras[view], geometry.detector_centres_ras[view]
        pixel_v = float(np.linalg.norm(geometry.detector_v_ras[view]))
        pixel_u = float(np.linalg.norm(geometry.detector_u_ras[view]))
        half_width, half_height = columns * pixel_u / 2, rows * pixel_v / 2
        if source[3]:
            # The distance to the plane: a shifted detector's centre is farther away.
            far = float(abs((detector - source[:3]) @ normals[view]))
            near = float(np.linalg.norm(centre - source[:3]))
            radius = widened or near * np.sin(np.arctan(half_width / far))
            widths.append(2 * radius)
            heights.append(2 * half_height * (near - radius) / far)
            pixels.append(pixel_u * near / far)
        else:
            widths.append(2 * (widened or half_width))
            heights.append(2 * half_height)
            pixels.append(pixel_u)
    width, height = min(widths), min(heights)
    spacing = spacing_mm or max(min(pixels), max(width, height) / LARGEST_DEFAULT_SIDE)
    side, slices = (max(1, round(length / spacing)) for length in (width, height))
    x, y, z = (float(value) for value in centre)
    return VolumeGrid.centred((slices, side, side), spacing, centre_ras=(x, y, z))


def _radius_of_shifted_detector(geometry: ConeBeamGeometry) -> float:
    """Give the field of view's radius if a full turn with a shifted detector widens it, else 0."""
    if geometry.orbit is None or not closes_circle(geometry.orbit):
        return 0.0
    reach = lateral_reach(geometry)
    return reach.longer_mm if reach.is_shifted and reach.shorter_mm > 0 else 0.0


def _meeting_point(geometry: ConeBeamGeometry) -> FloatArray:
    """Give the point nearest to all central rays, in the least-squares sense."""
    if geometry.orbit is not None:
        return np.asarray(geometry.orbit.isocenter_ras, dtype=np.float64)
    system, right = np.zeros((3, 3)), np.zeros(3)
    middle = (np.array(geometry.detector_shape) - 1) / 2
    for view in range(geometry.n_views):
        origin, direction = geometry.rays(view, middle[0], middle[1])
        across = np.eye(3) - np.outer(direction, direction)
        system += across
        right += across @ origin
    return np.asarray(np.linalg.lstsq(system, right, rcond=None)[0], dtype=np.float64)
