"""Exact line integrals of simple bodies: the truth for projector and reconstruction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from NASAM3DLib.scan.geometry import ConeBeamGeometry
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.orbit import CircularOrbit

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid turned about the S axis, adding ``value`` to what is there."""

    value: float
    semi_axes_mm: tuple[float, float, float]
    centre_ras: tuple[float, float, float]
    turn_rad: float = 0.0

    def _local(self, vectors: Array) -> Array:
        """Bring vectors into the frame in which the ellipsoid is the unit ball."""
        cosine, sine = np.cos(self.turn_rad), np.sin(self.turn_rad)
        turn = np.array([[cosine, sine, 0.0], [-sine, cosine, 0.0], [0.0, 0.0, 1.0]])
        return vectors @ turn.T / np.array(self.semi_axes_mm)

    def line_integrals(self, origins: Array, directions: Array) -> Array:
        """Integrate along whole lines; directions are unit vectors."""
        start, along = self._local(origins - np.array(self.centre_ras)), self._local(directions)
        a = (along * along).sum(-1)
        b = (start * along).sum(-1)
        c = (start * start).sum(-1) - 1.0
        return self.value * 2 * np.sqrt(np.maximum(b * b - a * c, 0.0)) / a

    def inside(self, points: Array) -> npt.NDArray[np.bool_]:
        local = self._local(points - np.array(self.centre_ras))
        return np.asarray((local * local).sum(-1) < 1.0)


def shepp_logan(size_mm: float) -> list[Ellipsoid]:
    """Shepp and Logan's head with the values of Kak and Slaney (table 3.1), in three dimensions."""
    table = (
        (2.0, 0.69, 0.92, 0.9, 0.0, 0.0, 0.0, 0.0),
        (-0.98, 0.6624, 0.874, 0.88, 0.0, 0.0, 0.0, 0.0),
        (-0.02, 0.41, 0.16, 0.21, -0.22, 0.0, -0.25, 108.0),
        (-0.02, 0.31, 0.11, 0.22, 0.22, 0.0, -0.25, 72.0),
        (0.02, 0.21, 0.25, 0.5, 0.0, 0.35, -0.25, 0.0),
        (0.02, 0.046, 0.046, 0.046, 0.0, 0.1, -0.25, 0.0),
        (0.01, 0.046, 0.023, 0.02, -0.08, -0.65, -0.25, 0.0),
        (0.01, 0.046, 0.023, 0.02, 0.06, -0.65, -0.25, 90.0),
        (0.02, 0.056, 0.04, 0.1, 0.06, -0.105, 0.625, 90.0),
        (-0.02, 0.056, 0.056, 0.1, 0.0, 0.1, 0.625, 0.0),
    )
    return [
        Ellipsoid(
            value,
            (a * size_mm, b * size_mm, c * size_mm),
            (x * size_mm, y * size_mm, z * size_mm),
            np.deg2rad(degrees),
        )
        for value, a, b, c, x, y, z, degrees in table
    ]


def project(bodies: list[Ellipsoid], geometry: ConeBeamGeometry) -> npt.NDArray[np.float32]:
    """Compute exact projections."""
    out = np.zeros(geometry.projections_shape, dtype=np.float32)
    rows, columns = np.indices(geometry.detector_shape)
    for view in range(geometry.n_views):
        origins, directions = geometry.rays(view, rows, columns)
        out[view] = sum(body.line_integrals(origins, directions) for body in bodies)
    return out


def draw(
    bodies: list[Ellipsoid], grid: VolumeGrid, supersampling: int = 4
) -> npt.NDArray[np.float32]:
    """Draw bodies on a grid, each voxel the mean of ``supersampling`` cubed points."""
    fine = grid.refined(supersampling)
    out = np.zeros(grid.shape_kji, dtype=np.float32)
    j, i = np.indices(fine.shape_kji[1:])
    for k in range(grid.shape_kji[0]):
        for part in range(supersampling):
            index = np.stack([i, j, np.full_like(i, k * supersampling + part)], axis=-1)
            points = fine.to_ras(index)
            plane = np.zeros(fine.shape_kji[1:])
            for body in bodies:
                plane += body.value * body.inside(points)
            n_j, n_i = grid.shape_kji[1:]
            blocks = plane.reshape(n_j, supersampling, n_i, supersampling)
            out[k] += (blocks.mean(axis=(1, 3)) / supersampling).astype(np.float32)
    return out


def box_line_integrals(origins: Array, directions: Array, half_mm: float, *, far: float) -> Array:
    """Length inside the cube [-half, half]^3 of rays that start at the origin point, mm."""
    with np.errstate(divide="ignore"):
        first, second = (-half_mm - origins) / directions, (half_mm - origins) / directions
    enter = np.minimum(first, second).max(axis=-1)
    leave = np.maximum(first, second).min(axis=-1)
    return np.maximum(np.minimum(leave, far) - np.maximum(enter, 0.0), 0.0)


def circular_scan(
    n_views: int = 20,
    *,
    arc_deg: float = 360.0,
    detector: tuple[int, int] = (48, 64),
    pixel_mm: float = 4.0,
    parallel: bool = False,
    **orbit: object,
) -> ConeBeamGeometry:
    """Make a circular scan of a body of about 120 mm."""
    distances = (
        {} if parallel else {"source_to_isocenter_mm": 500.0, "source_to_detector_mm": 800.0}
    )
    angles = np.arange(n_views) * np.deg2rad(arc_deg) / n_views
    spacing = (pixel_mm, pixel_mm)
    return ConeBeamGeometry.circular(
        CircularOrbit(angles, spacing, **distances, **orbit),  # type: ignore[arg-type]
        detector,
    )
