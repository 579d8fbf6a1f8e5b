"""A scan that sees a whole volume, for simulations."""

from __future__ import annotations

import numpy as np

from NASAM3DLib.scan.geometry import ConeBeamGeometry
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.orbit import CircularOrbit

SOURCE_TO_ISOCENTER_MM = 1000.0
SOURCE_TO_DETECTOR_MM = 1500.0
"""Distances of a cone-beam scanner on a linear accelerator."""


def default_scan(
    volume_grid: VolumeGrid,
    *,
    n_views: int = 50,
    arc_rad: float = 2 * np.pi,
    detector_shape: tuple[int, int] = (256, 256),
) -> ConeBeamGeometry:
    """Make a circular scan whose detector sees the whole grid in every view.

    Parameters
    ----------
    volume_grid : VolumeGrid
        What shall be seen; its centre becomes the isocenter.
    n_views : int
        Number of views, evenly spread.
    arc_rad : float
        Angle over which they are spread, rad; the last view is one step before its end.
    detector_shape : tuple of int
        Number of rows and columns.

    Returns
    -------
    ConeBeamGeometry

    Raises
    ------
    ValueError
        If the grid would touch the source, or there is no view.

    Notes
    -----
    The cylinder around the grid has radius r and half height h. Rays tangent to it meet the
    detector at ``r D / sqrt(S^2 - r^2)`` from the centre, its nearest rim is seen at
    ``h D / (S - r)``, with source to detector D and source to isocenter S. Pixels are square.
    """
    if n_views < 1:
        raise ValueError(f"A scan needs at least one view, got n_views = {n_views}.")
    centre = volume_grid.centre_ras
    offsets = volume_grid.corners_ras - centre
    radius = float(np.hypot(offsets[:, 0], offsets[:, 1]).max())
    height = float(np.abs(offsets[:, 2]).max())
    near, far = SOURCE_TO_ISOCENTER_MM, SOURCE_TO_DETECTOR_MM
    if radius >= min(near, far - near):
        raise ValueError(
            f"The grid reaches {radius:.0f} mm from its axis, but the detector turns at "
            f"{far - near:.0f} mm: crop the volume, or give a geometry with larger distances."
        )
    rows, columns = detector_shape
    width_mm = 2 * radius * far / np.sqrt(near**2 - radius**2)
    height_mm = 2 * height * far / (near - radius)
    # The outermost rays run through pixel centres, half a pixel inside the edge.
    pixel = float(max(width_mm / max(columns - 1, 1), height_mm / max(rows - 1, 1)))
    right, anterior, superior = (float(x) for x in centre)
    orbit = CircularOrbit(
        arc_rad * np.arange(n_views) / n_views,
        (pixel, pixel),
        near,
        far,
        isocenter_ras=(right, anterior, superior),
    )
    return ConeBeamGeometry.circular(orbit, detector_shape)
