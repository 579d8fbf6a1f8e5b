"""Geometries in RTK's words: nine numbers or one 3x4 matrix per view.

RTK's frame turns about y: its (x, y, z) are (A, S, R) of this library, and its gantry angle is the
orbit's angle. In the frame that turns with the gantry the source stands at (source offset x, source
offset y, source to isocenter) and the point (0, 0) of the projection image at (projection offset x,
projection offset y, source to isocenter - source to detector).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from NASAM3DLib.scan.geometry import ConeBeamGeometry
from NASAM3DLib.scan.orbit import CircularOrbit

FloatArray = npt.NDArray[np.float64]

RTK_FROM_RAS = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
"""Rotation from RAS to RTK's fixed frame."""

PARALLEL_SOURCE_MM = 1000.0
"""Source to isocenter that a parallel beam gets; RTK marks it by source to detector = 0."""

TOLERANCE = 1e-6

NAMES = (
    "source_to_isocenter_mm",
    "source_to_detector_mm",
    "gantry_deg",
    "projection_offset_x_mm",
    "projection_offset_y_mm",
    "out_of_plane_deg",
    "in_plane_deg",
    "source_offset_x_mm",
    "source_offset_y_mm",
)
"""The columns of :attr:`RtkGeometry.parameters`, in the order of RTK's ``AddProjection``."""


@dataclass(frozen=True, eq=False)
class RtkGeometry:
    """RTK's ``ThreeDCircularProjectionGeometry`` with the lattice of the projection image.

    Parameters
    ----------
    parameters : ndarray, shape (n_views, 9), float64
        One row per view, columns as in :data:`NAMES`: mm and degrees. A source to detector distance
        of 0 means a parallel beam.
    detector_shape : tuple of int
        Number of rows and columns of the projection image.
    spacing_mm : tuple of float
        Distance between rows and between columns (v, u), mm.
    origin_mm : tuple of float
        Position of the first row and of the first column (v, u), mm: ITK's image origin.

    Raises
    ------
    ValueError
        If the shape is wrong, values are not finite, or parallel and cone beams are mixed.
    """

    parameters: FloatArray
    detector_shape: tuple[int, int]
    spacing_mm: tuple[float, float]
    origin_mm: tuple[float, float]

    def __post_init__(self) -> None:
        values = np.array(self.parameters, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] != len(NAMES) or not len(values):
            raise ValueError(
                f"RtkGeometry.parameters must have shape (n_views, {len(NAMES)}) with the columns "
                f"{', '.join(NAMES)}, got {values.shape}."
            )
        if not np.isfinite(values).all():
            raise ValueError("RtkGeometry.parameters must be finite, got NaN or infinity.")
        is_parallel = values[:, 1] == 0
        if is_parallel.any() != is_parallel.all():
            raise ValueError(
                "RtkGeometry mixes parallel views (source to detector = 0) with cone-beam views: "
                "split the scan."
            )
        if min(self.spacing_mm) <= 0:
            raise ValueError(
                f"RtkGeometry.spacing_mm must be positive (v, u) in mm, got {self.spacing_mm}."
            )
        values.setflags(write=False)
        object.__setattr__(self, "parameters", values)

    @property
    def is_parallel(self) -> bool:
        """Whether the beam is parallel."""
        return bool(self.parameters[0, 1] == 0)

    def rotations(self) -> FloatArray:
        """Compute the rotations from RTK's fixed frame to the turning frame.

        Returns
        -------
        ndarray, shape (n_views, 3, 3)
            ``Rz(-in plane) Rx(-out of plane) Ry(-gantry)``.
        """
        gantry, out_of_plane, in_plane = np.radians(self.parameters[:, [2, 5, 6]].T)
        return np.asarray(_turns(2, -in_plane) @ _turns(0, -out_of_plane) @ _turns(1, -gantry))

    def matrices(self) -> FloatArray:
        """Compute the projection matrices as RTK stores them.

        Returns
        -------
        ndarray, shape (n_views, 3, 4)
            Homogeneous point in RTK's frame (mm) to homogeneous (u, v) on the image (mm).

        Notes
        -----
        ``T(s - p) diag(-sdd, -sdd, 1; 0 0 1 -sid) T(-s) R`` with the source offsets s, projection
        offsets p and the rotation R; for a parallel beam ``T(-p)`` times the first two rows of R.
        """
        n_views = len(self.parameters)
        sid, sdd, _, px, py, _, _, sx, sy = self.parameters.T
        rotation = np.zeros((n_views, 4, 4))
        rotation[:, :3, :3] = self.rotations()
        rotation[:, 3, 3] = 1.0
        project = np.zeros((n_views, 3, 4))
        if self.is_parallel:
            project[:, 0, 0] = project[:, 1, 1] = project[:, 2, 3] = 1.0
            project[:, 0, 3], project[:, 1, 3] = -px, -py
            return np.asarray(project @ rotation)
        project[:, 0, 0] = project[:, 1, 1] = -sdd
        project[:, 0, 3], project[:, 1, 3] = sdd * sx, sdd * sy
        project[:, 2, 2], project[:, 2, 3] = 1.0, -sid
        shift = np.broadcast_to(np.eye(3), (n_views, 3, 3)).copy()
        shift[:, 0, 2], shift[:, 1, 2] = sx - px, sy - py
        return np.asarray(shift @ project @ rotation)


def to_rtk(geometry: ConeBeamGeometry) -> RtkGeometry:
    """Express any geometry in RTK's convention, with a centred projection image.

    Parameters
    ----------
    geometry : ConeBeamGeometry
        Circular or general. RTK's origin is the RAS origin, wherever the isocenter lies.

    Returns
    -------
    RtkGeometry

    Raises
    ------
    ValueError
        If pixels are oblique or change their size from view to view, the detector is mirrored, or
        a parallel beam does not meet it at a right angle.
    """
    step_u, step_v = geometry.detector_u_ras, geometry.detector_v_ras
    size_u, size_v = (np.linalg.norm(step, axis=1) for step in (step_u, step_v))
    axis_u, axis_v = step_u / size_u[:, None], step_v / size_v[:, None]
    if np.abs(np.sum(axis_u * axis_v, axis=1)).max() > TOLERANCE:
        raise ValueError("RTK needs detector rows and columns at right angles: these are oblique.")
    if max(np.ptp(size_u) / size_u[0], np.ptp(size_v) / size_v[0]) > TOLERANCE:
        raise ValueError("RTK needs pixels of one size: these change from view to view.")
    axes = np.stack([axis_u, axis_v, np.cross(axis_u, axis_v)], axis=1)
    sources = np.einsum("nab,nb->na", axes, geometry.sources_ras[:, :3])
    centres = np.einsum("nab,nb->na", axes, geometry.detector_centres_ras)
    if (sources[:, 2] - geometry.sources_ras[:, 3] * centres[:, 2] <= 0).any():
        raise ValueError(
            "RTK needs u x v to point from the detector to the source: this detector is mirrored. "
            "Reverse its columns and the sign of detector_u_ras."
        )
    parameters = np.zeros((geometry.n_views, len(NAMES)))
    parameters[:, [2, 5, 6]] = np.degrees(_angles(axes @ RTK_FROM_RAS.T))
    parameters[:, 3:5] = centres[:, :2]
    if geometry.is_parallel:
        tilt = np.linalg.norm(sources[:, :2], axis=1) / np.linalg.norm(sources, axis=1)
        if tilt.max() > TOLERANCE:
            raise ValueError("RTK needs a parallel beam at right angles to the detector.")
        parameters[:, 0] = PARALLEL_SOURCE_MM
    else:
        parameters[:, 0] = sources[:, 2]
        parameters[:, 1] = sources[:, 2] - centres[:, 2]
        parameters[:, 7:9] = sources[:, :2]
    spacing = (float(size_v[0]), float(size_u[0]))
    rows, columns = geometry.detector_shape
    origin = (-(rows - 1) / 2 * spacing[0], -(columns - 1) / 2 * spacing[1])
    return RtkGeometry(parameters, geometry.detector_shape, spacing, origin)


def from_rtk(rtk: RtkGeometry) -> ConeBeamGeometry:
    """Read a geometry in RTK's convention.

    Parameters
    ----------
    rtk : RtkGeometry
        Parameters of the views and lattice of the projection image.

    Returns
    -------
    ConeBeamGeometry
        With its orbit where only the gantry turns, as filtered back-projection needs it.
    """
    rows, columns = rtk.detector_shape
    centre_v = rtk.origin_mm[0] + (rows - 1) / 2 * rtk.spacing_mm[0]
    centre_u = rtk.origin_mm[1] + (columns - 1) / 2 * rtk.spacing_mm[1]
    sid, sdd, _, px, py, _, _, sx, sy = rtk.parameters.T
    axes = rtk.rotations() @ RTK_FROM_RAS
    centres = np.stack([px + centre_u, py + centre_v, sid - sdd], axis=1)
    weight = np.zeros_like(sid) if rtk.is_parallel else np.ones_like(sid)
    if rtk.is_parallel:
        centres[:, 2] = 0.0
        sources = np.stack([weight, weight, np.ones_like(sid)], axis=1)
    else:
        sources = np.stack([sx, sy, sid], axis=1)
    geometry = ConeBeamGeometry(
        np.concatenate([np.einsum("nba,nb->na", axes, sources), weight[:, None]], axis=1),
        np.einsum("nba,nb->na", axes, centres),
        axes[:, 0] * rtk.spacing_mm[1],
        axes[:, 1] * rtk.spacing_mm[0],
        rtk.detector_shape,
    )
    return _with_orbit(geometry, rtk, (centre_v, centre_u))


def _with_orbit(
    geometry: ConeBeamGeometry, rtk: RtkGeometry, centre_vu: tuple[float, float]
) -> ConeBeamGeometry:
    """Add the orbit if the views differ in the gantry angle only."""
    others = np.delete(rtk.parameters, 2, axis=1)
    if np.ptp(others, axis=0).max() > TOLERANCE:
        return geometry
    sid, sdd, _, px, py, _, _, sx, _ = (float(value) for value in rtk.parameters[0])
    shift = 0.0 if rtk.is_parallel else sx
    try:
        orbit = CircularOrbit(
            np.unwrap(np.radians(rtk.parameters[:, 2])),
            rtk.spacing_mm,
            None if rtk.is_parallel else sid,
            None if rtk.is_parallel else sdd,
            (py + centre_vu[0], px + centre_vu[1] - shift),
            rotation_centre_shift_mm=shift,
        )
    except ValueError:
        # Not a scan that a circular orbit describes; the poses themselves are valid.
        return geometry
    circular = ConeBeamGeometry.circular(orbit, rtk.detector_shape)
    names = ("sources_ras", "detector_centres_ras", "detector_u_ras", "detector_v_ras")
    same = all(np.allclose(getattr(circular, n), getattr(geometry, n), atol=1e-6) for n in names)
    return circular if same else geometry


def _turns(axis: int, angles: FloatArray) -> FloatArray:
    """Give right-handed rotations about one axis, shape (n, 3, 3)."""
    matrix = np.zeros((angles.size, 3, 3))
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix[:, axis, axis] = 1.0
    matrix[:, first, first] = matrix[:, second, second] = np.cos(angles)
    matrix[:, second, first] = np.sin(angles)
    matrix[:, first, second] = -np.sin(angles)
    return matrix


def _angles(rotations: FloatArray) -> FloatArray:
    """Give gantry, out-of-plane and in-plane angle of rotations, rad, shape (n, 3).

    The third row of ``Rz(a) Rx(b) Ry(c)`` is (-cos b sin c, sin b, cos b cos c), its second column
    starts with (-sin a cos b, cos a cos b). Where cos b = 0 only a + c counts: a is set to 0.
    """
    out = np.arcsin(np.clip(rotations[:, 2, 1], -1, 1))
    locked = np.hypot(rotations[:, 2, 0], rotations[:, 2, 2]) < 1e-9
    gantry = np.arctan2(-rotations[:, 2, 0], rotations[:, 2, 2])
    in_plane = np.arctan2(-rotations[:, 0, 1], rotations[:, 1, 1])
    gantry = np.where(locked, np.arctan2(rotations[:, 0, 2], rotations[:, 0, 0]), gantry)
    in_plane = np.where(locked, 0.0, in_plane)
    return -np.stack([gantry, out, in_plane], axis=1)
