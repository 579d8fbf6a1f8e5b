"""Where source and detector stood for each view.

One form serves all scanners: for every view a source, the centre of the detector and the two
vectors that step from pixel to pixel, in RAS millimetres. A parallel beam is the limit of a source
infinitely far away and is stored as such (homogeneous coordinate 0). Circular orbits keep their
few parameters as well, because filtered back-projection needs them.

Equivalent names elsewhere: source to isocenter is DSO (TIGRE), SAD (IEC 61217), the first argument
of RTK's ``AddProjection`` and DICOM (0018,9402) Distance Source to Isocenter; source to detector is
DSD (TIGRE), SID (IEC 61217), RTK's second argument and DICOM (0018,1110). "SID" means one of them
in some programs and the other in others, so it is not used here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from NASAM3DLib.scan.orbit import CircularOrbit, FloatArray

PIXEL_PLANE_TOLERANCE = 1e-9


@dataclass(frozen=True, eq=False)
class ConeBeamGeometry:
    """Source and detector poses of all views.

    Parameters
    ----------
    sources_ras : ndarray, shape (n_views, 4), float64
        Homogeneous source positions, mm: (x, y, z, 1) for a cone beam, (x, y, z, 0) for a parallel
        beam that comes *from* the direction (x, y, z).
    detector_centres_ras : ndarray, shape (n_views, 3), float64
        Centre of the detector, mm.
    detector_u_ras, detector_v_ras : ndarray, shape (n_views, 3), float64
        Steps from one column and one row to the next, mm.
    detector_shape : tuple of int
        Number of rows and columns.
    orbit : CircularOrbit, optional
        The parameters that the poses were made from, if the orbit is circular.

    Raises
    ------
    ValueError
        If shapes disagree, values are not finite, cone and parallel beams are mixed, or a source
        lies in the plane of its detector.
    """

    sources_ras: FloatArray
    detector_centres_ras: FloatArray
    detector_u_ras: FloatArray
    detector_v_ras: FloatArray
    detector_shape: tuple[int, int]
    orbit: CircularOrbit | None = None

    def __post_init__(self) -> None:
        for name, width in (
            ("sources_ras", 4),
            ("detector_centres_ras", 3),
            ("detector_u_ras", 3),
            ("detector_v_ras", 3),
        ):
            array = np.array(getattr(self, name), dtype=np.float64)
            if array.ndim != 2 or array.shape[1] != width or array.shape[0] == 0:
                raise ValueError(
                    f"ConeBeamGeometry.{name} must have shape (n_views, {width}) with at least one "
                    f"view, got {array.shape}."
                )
            if not np.isfinite(array).all():
                raise ValueError(f"ConeBeamGeometry.{name} must be finite, got NaN or infinity.")
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        self._check_consistency()

    def _check_consistency(self) -> None:
        """Refuse poses that contradict each other."""
        n_views = len(self.sources_ras)
        for name in ("detector_centres_ras", "detector_u_ras", "detector_v_ras"):
            if len(getattr(self, name)) != n_views:
                raise ValueError(
                    f"ConeBeamGeometry.{name} must have one row for each of the {n_views} sources, "
                    f"got {len(getattr(self, name))}."
                )
        rows, columns = (int(n) for n in self.detector_shape)
        if rows < 1 or columns < 1:
            raise ValueError(
                "ConeBeamGeometry.detector_shape must be (rows, columns), both positive, got "
                f"{self.detector_shape}."
            )
        object.__setattr__(self, "detector_shape", (rows, columns))
        if not np.isin(self.sources_ras[:, 3], (0.0, 1.0)).all() or np.ptp(self.sources_ras[:, 3]):
            raise ValueError(
                "The fourth number of ConeBeamGeometry.sources_ras must be 1 for all views (cone "
                "beam) or 0 for all views (parallel beam)."
            )
        normal = np.cross(self.detector_u_ras, self.detector_v_ras)
        beam = self.sources_ras[:, :3] - self.sources_ras[:, 3:] * self.detector_centres_ras
        pixel_area = np.linalg.norm(normal, axis=1)
        length = np.linalg.norm(beam, axis=1)
        height = np.abs(np.sum(normal * beam, axis=1))
        flat = np.flatnonzero(height <= PIXEL_PLANE_TOLERANCE * (pixel_area * length + 1e-300))
        if flat.size:
            raise ValueError(
                f"View {flat[0]}: the source lies in the plane of the detector or the pixel steps "
                "are parallel, so no ray crosses the object. Check distances and pixel vectors."
            )

    @classmethod
    def circular(cls, orbit: CircularOrbit, detector_shape: tuple[int, int]) -> ConeBeamGeometry:
        """Make the poses of a circular orbit.

        Parameters
        ----------
        orbit : CircularOrbit
            Angles, distances, offsets and tilt.
        detector_shape : tuple of int
            Number of rows and columns.

        Returns
        -------
        ConeBeamGeometry
        """
        sources, centres, step_u, step_v = orbit.poses()
        return cls(sources, centres, step_u, step_v, detector_shape, orbit)

    @property
    def n_views(self) -> int:
        """Number of views."""
        return len(self.sources_ras)

    @property
    def is_parallel(self) -> bool:
        """Whether the beam is parallel."""
        return bool(self.sources_ras[0, 3] == 0)

    @property
    def projections_shape(self) -> tuple[int, int, int]:
        """Shape of the projections that fit: (n_views, n_rows, n_cols)."""
        return (self.n_views, *self.detector_shape)

    @property
    def pixel_spacing_mm(self) -> tuple[float, float]:
        """Distance between rows and between columns (v, u) of the first view, mm."""
        return (
            float(np.linalg.norm(self.detector_v_ras[0])),
            float(np.linalg.norm(self.detector_u_ras[0])),
        )

    def select(self, views: npt.ArrayLike) -> ConeBeamGeometry:
        """Keep some of the views.

        Parameters
        ----------
        views : array_like of int
            Indices of the views to keep, in the wanted order.

        Returns
        -------
        ConeBeamGeometry
        """
        index = np.atleast_1d(np.asarray(views, dtype=np.intp))
        return ConeBeamGeometry(
            self.sources_ras[index],
            self.detector_centres_ras[index],
            self.detector_u_ras[index],
            self.detector_v_ras[index],
            self.detector_shape,
            None if self.orbit is None else self.orbit.select(index),
        )

    def pixel_centres_ras(
        self, view: int, rows: npt.ArrayLike, columns: npt.ArrayLike
    ) -> FloatArray:
        """Find where pixels of one view lie.

        Parameters
        ----------
        view : int
            Index of the view.
        rows, columns : array_like
            Pixel indices, possibly fractional, broadcast against each other.

        Returns
        -------
        ndarray, shape (..., 3), float64
            Pixel centres, mm.
        """
        n_rows, n_columns = self.detector_shape
        v = np.asarray(rows, dtype=np.float64)[..., None] - (n_rows - 1) / 2
        u = np.asarray(columns, dtype=np.float64)[..., None] - (n_columns - 1) / 2
        centre = self.detector_centres_ras[view]
        return np.asarray(centre + u * self.detector_u_ras[view] + v * self.detector_v_ras[view])

    def rays(
        self, view: int, rows: npt.ArrayLike, columns: npt.ArrayLike
    ) -> tuple[FloatArray, FloatArray]:
        """Give the rays that end in pixels of one view.

        Parameters
        ----------
        view : int
            Index of the view.
        rows, columns : array_like
            Pixel indices, broadcast against each other.

        Returns
        -------
        ray_origins : ndarray, shape (..., 3), float64
            A point on each ray, mm: the source of a cone beam, the pixel itself of a parallel one.
        ray_directions : ndarray, shape (..., 3), float64
            Unit vectors from source to detector.
        """
        pixels = self.pixel_centres_ras(view, rows, columns)
        source = self.sources_ras[view]
        if source[3]:
            directions = pixels - source[:3]
            origins = np.broadcast_to(source[:3], directions.shape)
        else:
            directions = np.broadcast_to(-source[:3], pixels.shape)
            origins = pixels
        return origins, directions / np.linalg.norm(directions, axis=-1, keepdims=True)

    def project_points(self, view: int, points_ras: npt.ArrayLike) -> FloatArray:
        """Find on which pixel of a view points are seen.

        Parameters
        ----------
        view : int
            Index of the view.
        points_ras : array_like, shape (..., 3)
            Points, mm.

        Returns
        -------
        ndarray, shape (..., 2), float64
            Row and column, fractional; the pixel (0, 0) has its centre at (0, 0).

        Notes
        -----
        Solves ``s + t (x - s) = c + u U + v V`` for u, v and t (``x - t b = ...`` for a parallel
        beam with direction b), the pinhole model in vector form.
        """
        points = np.asarray(points_ras, dtype=np.float64)
        source = self.sources_ras[view]
        towards = points - source[:3] if source[3] else np.broadcast_to(-source[:3], points.shape)
        step_u, step_v = self.detector_u_ras[view], self.detector_v_ras[view]
        normal = np.cross(step_u, step_v)
        distance = (self.detector_centres_ras[view] - points) @ normal
        hit = points + (distance / (towards @ normal))[..., None] * towards
        planar = hit - self.detector_centres_ras[view]
        gram = np.array([[step_v @ step_v, step_v @ step_u], [step_v @ step_u, step_u @ step_u]])
        pixel = np.stack([planar @ step_v, planar @ step_u], axis=-1) @ np.linalg.inv(gram)
        return np.asarray(pixel + (np.array(self.detector_shape) - 1) / 2)

    def __str__(self) -> str:
        rows, columns = self.detector_shape
        v, u = self.pixel_spacing_mm
        beam = "parallel" if self.is_parallel else "cone"
        arc = "" if self.orbit is None else f" over {np.degrees(self.orbit.arc_rad):.1f} degrees"
        return (
            f"{self.n_views} {beam}-beam views{arc}, {rows}x{columns} pixels of {v:.3g}x{u:.3g} mm"
        )
