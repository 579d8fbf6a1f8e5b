"""A circular orbit: the few numbers that most scanners are described by."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

DEGREES_NOT_RADIANS = 4 * np.pi + 0.1
"""Angles may run over two turns; a larger spread means that degrees were given."""


@dataclass(frozen=True, eq=False)
class CircularOrbit:
    """Source and detector turning about the S axis of RAS through the isocenter.

    At angle 0 the source stands on the +R axis; positive angles turn it towards +A. Detector
    columns (u) run along (-sin a, cos a, 0), rows (v) along +S. These are TIGRE's axes with its
    (x, y, z) read as (R, A, S).

    Parameters
    ----------
    angles_rad : ndarray, shape (n_views,), float64
        Angle of the source in each view.
    pixel_spacing_mm : tuple of float
        Distance between rows and between columns (v, u), mm.
    source_to_isocenter_mm, source_to_detector_mm : float or None
        Distances, mm. Both None for a parallel beam.
    detector_offset_mm : tuple of float
        Shift of the detector centre (v, u) from the line through source and isocenter, mm.
    detector_tilt_rad : tuple of float
        Rotation of the detector about its centre: in its own plane, about v, about u. Applied
        before the offset. TIGRE's ``rotDetector`` has the last two exchanged.
    rotation_centre_shift_mm : float
        Shift of source and detector together along u, mm (TIGRE's COR).
    isocenter_ras : tuple of float
        Centre of the orbit, mm.

    Raises
    ------
    ValueError
        If angles are not finite or look like degrees, or a distance or spacing is not positive.
    """

    angles_rad: FloatArray
    pixel_spacing_mm: tuple[float, float]
    source_to_isocenter_mm: float | None = None
    source_to_detector_mm: float | None = None
    detector_offset_mm: tuple[float, float] = (0.0, 0.0)
    detector_tilt_rad: tuple[float, float, float] = (0.0, 0.0, 0.0)
    rotation_centre_shift_mm: float = 0.0
    isocenter_ras: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        angles = np.array(self.angles_rad, dtype=np.float64)
        if angles.ndim != 1 or angles.size == 0 or not np.isfinite(angles).all():
            raise ValueError(
                "CircularOrbit.angles_rad must hold one finite angle per view, shape (n_views,), "
                f"got shape {angles.shape}."
            )
        if np.ptp(angles) > DEGREES_NOT_RADIANS or np.abs(angles).max() > 4 * DEGREES_NOT_RADIANS:
            raise ValueError(
                f"CircularOrbit.angles_rad runs from {angles.min():.4g} to {angles.max():.4g}, "
                "which is more than two turns in radians: these look like degrees, convert them "
                "with numpy.deg2rad."
            )
        angles.setflags(write=False)
        object.__setattr__(self, "angles_rad", angles)
        spacing = np.asarray(self.pixel_spacing_mm, dtype=np.float64)
        if spacing.shape != (2,) or not np.isfinite(spacing).all() or spacing.min() <= 0:
            raise ValueError(
                "CircularOrbit.pixel_spacing_mm must be two positive numbers (v, u) in mm, got "
                f"{self.pixel_spacing_mm}."
            )
        self._check_distances()

    def _check_distances(self) -> None:
        """Refuse distances that no scanner has."""
        near, far = self.source_to_isocenter_mm, self.source_to_detector_mm
        if (near is None) != (far is None):
            raise ValueError(
                "Give both source_to_isocenter_mm and source_to_detector_mm for a cone beam, or "
                f"neither for a parallel beam; got {near} and {far}."
            )
        if near is not None and far is not None:
            if not (np.isfinite([near, far]).all() and near > 0 and far > 0):
                raise ValueError(
                    "source_to_isocenter_mm and source_to_detector_mm must be positive and finite, "
                    f"got {near} and {far}."
                )
            if far <= near * 0.5:
                raise ValueError(
                    f"source_to_detector_mm = {far:g} puts the detector far in front of the "
                    f"isocenter (source_to_isocenter_mm = {near:g}): are the two exchanged?"
                )
        others = [
            *self.detector_offset_mm,
            *self.detector_tilt_rad,
            self.rotation_centre_shift_mm,
            *self.isocenter_ras,
        ]
        if not np.isfinite(others).all():
            raise ValueError("Offsets, tilt, shift and isocenter of CircularOrbit must be finite.")

    @property
    def is_parallel(self) -> bool:
        """Whether the beam is parallel."""
        return self.source_to_isocenter_mm is None

    @property
    def magnification(self) -> float:
        """Size on the detector over size at the isocenter; 1 for a parallel beam."""
        if self.source_to_isocenter_mm is None or self.source_to_detector_mm is None:
            return 1.0
        return self.source_to_detector_mm / self.source_to_isocenter_mm

    @property
    def arc_rad(self) -> float:
        """Angle that the views cover, rad: their spread plus one mean step, at most one turn."""
        if self.angles_rad.size == 1:
            return 0.0
        ordered = np.sort(self.angles_rad)
        spread = float(ordered[-1] - ordered[0])
        return min(spread + spread / (ordered.size - 1), 2 * np.pi)

    def select(self, views: npt.ArrayLike) -> CircularOrbit:
        """Keep some of the views.

        Parameters
        ----------
        views : array_like of int
            Indices of the views to keep.

        Returns
        -------
        CircularOrbit
        """
        return replace(self, angles_rad=self.angles_rad[np.asarray(views, dtype=np.intp)])

    def poses(self) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Compute sources, detector centres and pixel steps of all views.

        Returns
        -------
        sources_ras : ndarray, shape (n_views, 4)
            Homogeneous, mm.
        detector_centres_ras, detector_u_ras, detector_v_ras : ndarray, shape (n_views, 3)
            Centre and pixel steps, mm.

        Notes
        -----
        With the beam axis ``e_w = (cos a, sin a, 0)`` (isocenter to source), ``e_u = (-sin a,
        cos a, 0)`` and ``e_v = (0, 0, 1)``, source and detector stand at ``DSO e_w + COR e_u`` and
        ``-(DSD - DSO) e_w + COR e_u + off_u e_u + off_v e_v``; the pixel axes are ``R e_u`` and
        ``R e_v`` with ``R = R_v R_u R_w`` in the frame (w, u, v): TIGRE's ``computeDeltas``.
        """
        cosine, sine = np.cos(self.angles_rad), np.sin(self.angles_rad)
        zero = np.zeros_like(cosine)
        axis_w = np.stack([cosine, sine, zero], axis=1)
        axis_u = np.stack([-sine, cosine, zero], axis=1)
        axis_v = np.broadcast_to([0.0, 0.0, 1.0], axis_w.shape)
        shift = np.asarray(self.isocenter_ras) + self.rotation_centre_shift_mm * axis_u
        offset_v, offset_u = self.detector_offset_mm
        near, far = self.source_to_isocenter_mm, self.source_to_detector_mm
        if near is None or far is None:
            sources = np.concatenate([axis_w, zero[:, None]], axis=1)
            centres = shift + offset_u * axis_u + offset_v * axis_v
        else:
            sources = np.concatenate([shift + near * axis_w, np.ones_like(zero)[:, None]], axis=1)
            centres = shift - (far - near) * axis_w + offset_u * axis_u + offset_v * axis_v
        frame = np.stack([axis_w, axis_u, axis_v], axis=2)
        rotated = frame @ self._tilt_matrix()
        spacing_v, spacing_u = self.pixel_spacing_mm
        return sources, centres, rotated[:, :, 1] * spacing_u, rotated[:, :, 2] * spacing_v

    def _tilt_matrix(self) -> FloatArray:
        """Rotation of the detector in the frame (w, u, v)."""
        in_plane, about_v, about_u = (
            _rotation(axis, angle)
            for axis, angle in zip((0, 2, 1), self.detector_tilt_rad, strict=True)
        )
        return np.asarray(about_v @ about_u @ in_plane)

    def to_dict(self) -> dict[str, Any]:
        """Describe the orbit with plain numbers, for JSON; angles in degrees.

        Returns
        -------
        dict
        """
        return {
            "angles_deg": np.degrees(self.angles_rad).tolist(),
            "pixel_spacing_mm": list(self.pixel_spacing_mm),
            "source_to_isocenter_mm": self.source_to_isocenter_mm,
            "source_to_detector_mm": self.source_to_detector_mm,
            "detector_offset_mm": list(self.detector_offset_mm),
            "detector_tilt_deg": np.degrees(self.detector_tilt_rad).tolist(),
            "rotation_centre_shift_mm": self.rotation_centre_shift_mm,
            "isocenter_ras": list(self.isocenter_ras),
        }


def _rotation(axis: int, angle_rad: float) -> FloatArray:
    """Give the right-handed rotation about one axis of a frame."""
    cosine, sine = np.cos(angle_rad), np.sin(angle_rad)
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = cosine
    matrix[first, second], matrix[second, first] = -sine, sine
    return matrix
