"""The volume that a scan can see."""

from __future__ import annotations

import numpy as np

from NASAM3DLib.scan.geometry import ConeBeamGeometry
from NASAM3DLib.scan.grid import VolumeGrid

LARGEST_DEFAULT_SIDE = 512


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
    cylinder of radius r = R sin(fan / 2) is what every view sees.
    """
    if spacing_mm is not None and not 0 < spacing_mm < float("inf"):
        raise ValueError(f"The voxel spacing must be positive in mm, got {spacing_mm:g}.")
    rows, columns = geometry.detector_shape
    centre = _meeting_point(geometry)
    widths, heights, pixels = [], [], []
    for view in range(geometry.n_views):
        source, detector = geometry.sources_ras[view], geometry.detector_centres_ras[view]
        pixel_v = float(np.linalg.norm(geometry.detector_v_ras[view]))
        pixel_u = float(np.linalg.norm(geometry.detector_u_ras[view]))
        half_width, half_height = columns * pixel_u / 2, rows * pixel_v / 2
        if source[3]:
            far = float(np.linalg.norm(detector - source[:3]))
            near = float(np.linalg.norm(centre - source[:3]))
            radius = near * np.sin(np.arctan(half_width / far))
            widths.append(2 * radius)
            heights.append(2 * half_height * (near - radius) / far)
            pixels.append(pixel_u * near / far)
        else:
            widths.append(2 * half_width)
            heights.append(2 * half_height)
            pixels.append(pixel_u)
    width, height = min(widths), min(heights)
    spacing = spacing_mm or max(min(pixels), max(width, height) / LARGEST_DEFAULT_SIDE)
    side, slices = (max(1, round(length / spacing)) for length in (width, height))
    x, y, z = (float(value) for value in centre)
    return VolumeGrid.centred((slices, side, side), spacing, centre_ras=(x, y, z))


def _meeting_point(geometry: ConeBeamGeometry) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
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
