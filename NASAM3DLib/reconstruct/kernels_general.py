"""Numba kernels of Joseph's projector and its exact adjoint for any pose of source and detector.

Conventions are those of :mod:`NASAM3DLib.reconstruct.kernels_cpu`. A ray is followed along its main
axis in runs of planes. Where both ends of a run lie inside the volume all of it does, for a ray is
straight, and the run needs no test of borders; where both lie off the same side it is skipped.
"""

from __future__ import annotations

import math
from typing import Any

import numba as nb
import numpy as np

from NASAM3DLib.reconstruct.kernels_cpu import INLINE, PARALLEL, column_ray

RUN = 16
"""Planes that are tested for borders at once, and that a thread of the adjoint owns."""

OUTSIDE, BORDER, INSIDE = 0, 1, 2


@nb.njit(**INLINE)
def _main_axis(d0: float, d1: float, d2: float) -> int:
    """Give the axis along which a ray advances most, in voxels."""
    if abs(d0) >= abs(d1) and abs(d0) >= abs(d2):
        return 0
    return 1 if abs(d1) >= abs(d2) else 2


@nb.njit(**INLINE)
def _ordered(axis: int, a: Any, b: Any, c: Any) -> Any:
    """Bring the main axis to the front, the others keep their order."""
    if axis == 0:
        return a, b, c
    if axis == 1:
        return b, a, c
    return c, a, b


@nb.njit(**INLINE)
def _pixel_ray(cone: bool, ray: Any, step_v: Any, row: int) -> Any:
    """Give origin and direction of the ray to one pixel of a column whose ray to row 0 is known."""
    o0, o1, o2, d0, d1, d2 = ray
    if cone:
        return o0, o1, o2, d0 + row * step_v[0], d1 + row * step_v[1], d2 + row * step_v[2]
    return o0 + row * step_v[0], o1 + row * step_v[1], o2 + row * step_v[2], d0, d1, d2


@nb.njit(**INLINE)
def _length(matrix: Any, d0: float, d1: float, d2: float) -> float:
    """Give the mm that a ray covers from one plane of its main axis to the next."""
    x = matrix[0, 0] * d0 + matrix[0, 1] * d1 + matrix[0, 2] * d2
    y = matrix[1, 0] * d0 + matrix[1, 1] * d1 + matrix[1, 2] * d2
    z = matrix[2, 0] * d0 + matrix[2, 1] * d1 + matrix[2, 2] * d2
    return math.sqrt(x * x + y * y + z * z) / max(abs(d0), abs(d1), abs(d2))


@nb.njit(**INLINE)
def _line(o0: float, o1: float, o2: float, d0: float, d1: float, d2: float) -> Any:
    """Give alpha and the two positions on plane 0 of the main axis, and their steps per plane."""
    inverse = 1.0 / d0
    slope_p, slope_q = d1 * inverse, d2 * inverse
    return -o0 * inverse, inverse, o1 - o0 * slope_p, slope_p, o2 - o0 * slope_q, slope_q


@nb.njit(**INLINE)
def _place(cone: bool, line: Any, begin: int, end: int, n_1: int, n_2: int) -> int:
    """Tell where the run of planes from ``begin`` to before ``end`` lies along a ray."""
    alpha, step_alpha, p, step_p, q, step_q = line
    p_a, p_b = p + begin * step_p, p + (end - 1) * step_p
    q_a, q_b = q + begin * step_q, q + (end - 1) * step_q
    low_p, high_p = min(p_a, p_b), max(p_a, p_b)
    low_q, high_q = min(q_a, q_b), max(q_a, q_b)
    if high_p <= -1.0 or low_p >= n_1 or high_q <= -1.0 or low_q >= n_2:
        return OUTSIDE
    a, b = alpha + begin * step_alpha, alpha + (end - 1) * step_alpha
    if cone and (min(a, b) <= 0.0 or max(a, b) > 1.0):
        return BORDER
    # Exactly on the last voxel there is no next one to interpolate with.
    inside = low_p >= 0.0 and high_p < n_1 - 1 and low_q >= 0.0 and high_q < n_2 - 1
    return INSIDE if inside else BORDER


@nb.njit(**INLINE)
def _weights(cone: bool, line: Any, plane: int, n_1: int, n_2: int) -> Any:
    """Give the voxel and the four weights of bilinear interpolation, zero beyond the borders."""
    alpha, step_alpha, p, step_p, q, step_q = line
    at = alpha + plane * step_alpha
    p, q = p + plane * step_p, q + plane * step_q
    m, n = int(math.floor(p)), int(math.floor(q))
    if (cone and (at <= 0.0 or at > 1.0)) or m < -1 or m >= n_1 or n < -1 or n >= n_2:
        return 0, 0, 0.0, 0.0, 0.0, 0.0
    f, g = p - m, q - n
    low_p, high_p = 1.0 - f if m >= 0 else 0.0, f if m < n_1 - 1 else 0.0
    low_q, high_q = 1.0 - g if n >= 0 else 0.0, g if n < n_2 - 1 else 0.0
    return m, n, low_p, high_p, low_q, high_q


@nb.njit(**PARALLEL)
def weight_general(
    sources: Any, corners: Any, steps_u: Any, steps_v: Any, matrix: Any, out: Any
) -> None:
    """Multiply ``out[view, column, row]`` by the ray's length in mm per plane of its main axis."""
    n_columns, n_rows = out.shape[1], out.shape[2]
    for item in nb.prange(out.shape[0] * n_columns):
        view, column = item // n_columns, item % n_columns
        cone = sources[view, 3] > 0.5
        first = column_ray(sources[view], corners[view], steps_u[view], column)
        for row in range(n_rows):
            _, _, _, d0, d1, d2 = _pixel_ray(cone, first, steps_v[view], row)
            out[view, column, row] *= np.float32(_length(matrix, d0, d1, d2))


@nb.njit(**PARALLEL)
def mark_axes(sources: Any, corners: Any, steps_u: Any, steps_v: Any, shape: Any, out: Any) -> None:
    """Set ``out[view, axis]`` where a ray of the view follows that axis most."""
    n_columns, n_rows = shape
    for view in nb.prange(out.shape[0]):
        cone = sources[view, 3] > 0.5
        for column in range(n_columns):
            first = column_ray(sources[view], corners[view], steps_u[view], column)
            for row in range(n_rows):
                _, _, _, d0, d1, d2 = _pixel_ray(cone, first, steps_v[view], row)
                out[view, _main_axis(d0, d1, d2)] = True


@nb.njit(**PARALLEL)
def forward_general(
    volume: Any, sources: Any, corners: Any, steps_u: Any, steps_v: Any, out: Any
) -> None:
    """Project any pose, ray by ray: bilinear interpolation in each crossed plane.

    The result lacks the factor of weight_general.
    """
    n_i, n_j, n_k = volume.shape
    values = volume.reshape(-1)
    n_columns, n_rows = out.shape[1], out.shape[2]
    for item in nb.prange(out.shape[0] * n_columns):
        view, column = item // n_columns, item % n_columns
        cone = sources[view, 3] > 0.5
        first = column_ray(sources[view], corners[view], steps_u[view], column)
        for row in range(n_rows):
            o0, o1, o2, d0, d1, d2 = _pixel_ray(cone, first, steps_v[view], row)
            axis = _main_axis(d0, d1, d2)
            o0, o1, o2 = _ordered(axis, o0, o1, o2)
            d0, d1, d2 = _ordered(axis, d0, d1, d2)
            n_0, n_1, n_2 = _ordered(axis, n_i, n_j, n_k)
            s_0, s_1, s_2 = _ordered(axis, n_j * n_k, n_k, 1)
            line = _line(o0, o1, o2, d0, d1, d2)
            total = 0.0
            for begin in range(0, n_0, RUN):
                end = min(begin + RUN, n_0)
                place = _place(cone, line, begin, end, n_1, n_2)
                if place == INSIDE:
                    total += _sum_inside(values, line, begin, end, s_0, s_1, s_2)
                elif place == BORDER:
                    total += _sum_border(
                        values, cone, line, begin, end, (n_1, n_2), (s_0, s_1, s_2)
                    )
            out[view, column, row] = total


@nb.njit(**INLINE)
def _sum_inside(values: Any, line: Any, begin: int, end: int, s_0: int, s_1: int, s_2: int) -> Any:
    """Sum the samples of a run that lies inside."""
    _, _, p_0, step_p, q_0, step_q = line
    total = np.float32(0.0)
    for plane in range(begin, end):
        p, q = p_0 + plane * step_p, q_0 + plane * step_q
        m, n = int(p), int(q)
        f, g = np.float32(p - m), np.float32(q - n)
        base = plane * s_0 + m * s_1 + n * s_2
        low = values[base] + g * (values[base + s_2] - values[base])
        base += s_1
        high = values[base] + g * (values[base + s_2] - values[base])
        total += low + f * (high - low)
    return total


@nb.njit(**INLINE)
def _sum_border(
    values: Any, cone: bool, line: Any, begin: int, end: int, sides: Any, strides: Any
) -> float:
    """Sum the samples of a run that touches a border."""
    n_1, n_2 = sides
    s_0, s_1, s_2 = strides
    total = 0.0
    for plane in range(begin, end):
        m, n, low_p, high_p, low_q, high_q = _weights(cone, line, plane, n_1, n_2)
        base = plane * s_0 + m * s_1 + n * s_2
        if low_p * low_q != 0.0:
            total += low_p * low_q * values[base]
        if low_p * high_q != 0.0:
            total += low_p * high_q * values[base + s_2]
        if high_p * low_q != 0.0:
            total += high_p * low_q * values[base + s_1]
        if high_p * high_q != 0.0:
            total += high_p * high_q * values[base + s_1 + s_2]
    return total


@nb.njit(**PARALLEL)
def adjoint_general(
    weighted: Any,
    sources: Any,
    corners: Any,
    steps_u: Any,
    steps_v: Any,
    axis: int,
    out: Any,
) -> None:
    """Add to ``out`` the exact transpose of forward_general for rays whose main axis is ``axis``.

    ``weighted`` holds the projections after weight_general. Each thread owns a slab of planes of
    that axis and visits all rays.
    """
    n_i, n_j, n_k = out.shape
    values = out.reshape(-1)
    n_views, n_columns, n_rows = weighted.shape
    n_0, n_1, n_2 = _ordered(axis, n_i, n_j, n_k)
    s_0, s_1, s_2 = _ordered(axis, n_j * n_k, n_k, 1)
    n_parts = max(1, n_0 // RUN)
    for part in nb.prange(n_parts):
        begin, end = part * n_0 // n_parts, (part + 1) * n_0 // n_parts
        for item in range(n_views * n_columns):
            view, column = item // n_columns, item % n_columns
            cone = sources[view, 3] > 0.5
            first = column_ray(sources[view], corners[view], steps_u[view], column)
            for row in range(n_rows):
                o0, o1, o2, d0, d1, d2 = _pixel_ray(cone, first, steps_v[view], row)
                if _main_axis(d0, d1, d2) != axis:
                    continue
                o0, o1, o2 = _ordered(axis, o0, o1, o2)
                d0, d1, d2 = _ordered(axis, d0, d1, d2)
                line = _line(o0, o1, o2, d0, d1, d2)
                value = weighted[view, column, row]
                place = _place(cone, line, begin, end, n_1, n_2)
                if place == INSIDE:
                    _add_inside(values, line, begin, end, s_0, s_1, s_2, value)
                elif place == BORDER:
                    _add_border(values, cone, line, begin, end, (n_1, n_2), (s_0, s_1, s_2), value)


@nb.njit(**INLINE)
def _add_inside(
    values: Any, line: Any, begin: int, end: int, s_0: int, s_1: int, s_2: int, value: Any
) -> None:
    """Transpose of _sum_inside."""
    _, _, p_0, step_p, q_0, step_q = line
    for plane in range(begin, end):
        p, q = p_0 + plane * step_p, q_0 + plane * step_q
        m, n = int(p), int(q)
        f, g = np.float32(p - m), np.float32(q - n)
        base = plane * s_0 + m * s_1 + n * s_2
        high = f * value
        low = value - high
        values[base] += low - g * low
        values[base + s_2] += g * low
        base += s_1
        values[base] += high - g * high
        values[base + s_2] += g * high


@nb.njit(**INLINE)
def _add_border(
    values: Any,
    cone: bool,
    line: Any,
    begin: int,
    end: int,
    sides: Any,
    strides: Any,
    value: float,
) -> None:
    """Transpose of _sum_border."""
    n_1, n_2 = sides
    s_0, s_1, s_2 = strides
    for plane in range(begin, end):
        m, n, low_p, high_p, low_q, high_q = _weights(cone, line, plane, n_1, n_2)
        base = plane * s_0 + m * s_1 + n * s_2
        if low_p * low_q != 0.0:
            values[base] += low_p * low_q * value
        if low_p * high_q != 0.0:
            values[base + s_2] += low_p * high_q * value
        if high_p * low_q != 0.0:
            values[base + s_1] += high_p * low_q * value
        if high_p * high_q != 0.0:
            values[base + s_1 + s_2] += high_p * high_q * value
