"""How much each view and each ray counts in filtered back-projection.

References
----------
.. [1] F. Noo, M. Defrise, R. Clackdoyle, H. Kudo, "Image reconstruction from fan-beam projections
   on less than a short scan", Phys. Med. Biol. 47, 2002, section 3.
.. [2] G. Wang, "X-ray micro-CT with a displaced detector array", Med. Phys. 29(7), 2002.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from NASAM3DLib.scan.field_of_view import closes_circle, lateral_mm, lateral_reach
from NASAM3DLib.scan.geometry import ConeBeamGeometry
from NASAM3DLib.scan.orbit import CircularOrbit

Float32Array = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]

SMOOTH_EDGE_RAD = np.deg2rad(10.0)
"""Width over which the weight of a partial scan fades in and out; the choice of [1]_."""

SMOOTH_EDGE_SHARE = 0.25
"""Share of the detector's width over which the weight fades at the nearer edge of a shifted one."""


def view_steps(orbit: CircularOrbit) -> FloatArray:
    """Give the angle that each view stands for.

    Parameters
    ----------
    orbit : CircularOrbit
        Views in any order, evenly spread or not.

    Returns
    -------
    ndarray, shape (n_views,), float64
        Half the angle to both neighbours; the first and last view of a partial scan count a whole
        mean step. The sum is the arc, rad; where a scan overlaps itself both passes share it.
    """
    full = closes_circle(orbit)
    angles = np.mod(orbit.angles_rad, 2 * np.pi) if full else orbit.angles_rad
    order = np.argsort(angles)
    ordered = angles[order]
    gaps = np.diff(ordered)
    if full:
        closing = 2 * np.pi - (ordered[-1] - ordered[0])
        before, after = np.append(closing, gaps), np.append(gaps, closing)
    else:
        mean = gaps.mean()
        before, after = np.append(mean, gaps), np.append(gaps, mean)
    steps = np.empty_like(ordered)
    steps[order] = (before + after) / 2
    return steps


def redundancy_weights(
    geometry: ConeBeamGeometry, *, columns: npt.ArrayLike | None = None
) -> Float32Array:
    """Weight rays so that each line through the object counts once.

    Parameters
    ----------
    geometry : ConeBeamGeometry
        Circular orbit.
    columns : array_like, optional
        Columns to weight, also beyond the detector; by default those of the detector.

    Returns
    -------
    ndarray, shape (n_views, 1, n_cols), float32
        1/2 everywhere for a full turn of a centred detector. Otherwise ``m = c(beta) d(s) /
        (c(beta) d(s) + c(beta') d(-s))`` where ``beta' = beta + pi - 2 gamma`` is the view that
        saw the same line from behind, s the line's distance from the axis, c fades smoothly to
        zero at both ends of the arc and d at the nearer edge of a shifted detector.

    Raises
    ------
    ValueError
        If the geometry is not a circular orbit or no ray of the detector passes the axis.

    Notes
    -----
    With d = 1 this is [1]_ eq. 24-26. Parker's weights are its special case for an arc of 180
    degrees plus the fan; at exactly 180 degrees, where Parker's weights leave rays out, m still
    adds up to one for every line that was measured.

    With c = 1 and ``d(s) = sin^2(pi/2 (s + T) / 2T)``, T the distance of the nearer edge, m is
    ``(1 + sin(pi s / 2T)) / 2``, the weight of [2]_ for a shifted detector. Where the overlap 2T is
    more than a quarter of the detector, d fades over that quarter only: an even share of both
    measurements has the least noise.
    """
    orbit = geometry.orbit
    if orbit is None:
        raise ValueError("Redundancy weights need a circular orbit, not poses per view.")
    n_columns = geometry.detector_shape[1]
    wanted = np.asarray(np.arange(n_columns) if columns is None else columns, dtype=np.float64)
    u_mm = (wanted - (n_columns - 1) / 2) * orbit.pixel_spacing_mm[1]
    own_seen, conjugate_seen = _detector_windows(geometry, lateral_mm(orbit, u_mm))
    if closes_circle(orbit):
        own, conjugate = np.broadcast_arrays(
            np.ones((geometry.n_views, 1)), np.ones((1, wanted.size))
        )
    else:
        gamma = _fan_angles(orbit, u_mm)
        begin = orbit.angles_rad.min() - orbit.arc_rad / (2 * orbit.angles_rad.size)
        beta = orbit.angles_rad[:, None] - begin
        own = _arc_window(beta, orbit.arc_rad)
        conjugate = _arc_window(np.mod(beta + np.pi - 2 * gamma, 2 * np.pi), orbit.arc_rad)
    own, conjugate = own * own_seen, conjugate * conjugate_seen
    total = own + conjugate
    weights = np.divide(own, total, out=np.zeros_like(total), where=total > 0)
    return np.asarray(weights[:, None, :], dtype=np.float32)


def _fan_angles(orbit: CircularOrbit, u_mm: FloatArray) -> FloatArray:
    """Give the angle of rays to the line from source to axis, positive towards +u, rad."""
    near, far = orbit.source_to_isocenter_mm, orbit.source_to_detector_mm
    if near is None or far is None:
        return np.zeros(u_mm.shape)
    towards_axis = np.arctan2(orbit.rotation_centre_shift_mm, near)
    return np.asarray(np.arctan2(u_mm + orbit.detector_offset_mm[1], far) + towards_axis)


def _arc_window(beta: FloatArray, arc_rad: float) -> FloatArray:
    """Give c(beta): 1 in the arc, sine-squared edges, 0 outside."""
    edge = min(SMOOTH_EDGE_RAD, arc_rad / 4)
    inside = np.minimum(beta, arc_rad - beta)
    return np.asarray(np.sin(np.pi / 2 * np.clip(inside / edge, 0.0, 1.0)) ** 2)


def _detector_windows(
    geometry: ConeBeamGeometry, s_mm: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Give d(s) and d(-s): 1, but for the nearer edge of a shifted detector, 0 beyond it."""
    reach = lateral_reach(geometry)
    if reach.shorter_mm <= 0:
        raise ValueError(
            "The detector is shifted so far that it does not show the rotation axis (its edge ends "
            f"{-reach.shorter_mm:.1f} mm short of it); filtered back-projection cannot weight such "
            "a scan. Use the method tv instead, or check detector_offset_mm."
        )
    if not reach.is_shifted:
        return np.ones_like(s_mm), np.ones_like(s_mm)
    near = reach.shorter_mm
    width = reach.shorter_mm + reach.longer_mm
    edge = min(2 * near, SMOOTH_EDGE_SHARE * width)
    sign = 1.0 if reach.towards_minus_u_mm < reach.towards_plus_u_mm else -1.0
    windows = (
        np.sin(np.pi / 2 * np.clip((side * sign * s_mm + near) / edge, 0.0, 1.0)) ** 2
        for side in (1.0, -1.0)
    )
    own, conjugate = windows
    return own, conjugate
