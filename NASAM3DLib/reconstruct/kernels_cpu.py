"""Numba kernels of Joseph's projector and its exact adjoint where detector rows run along k.

All kernels work in voxel index space: poses are transformed by the grid's ``ras_to_ijk`` first, so
one code serves anisotropic, oblique and mirrored grids. A ray is ``origin + alpha * direction``.

Every kernel writes each output element from one thread only, in a fixed order: results are the same
bit for bit whatever the number of threads, and no per-thread volumes are needed.

Arrays are laid out for the innermost loop: volumes as (i, j, k) and projections as (view, column,
row), both C-contiguous, so that k and rows are neighbours in memory.
"""

from __future__ import annotations

import math
from typing import Any

import numba as nb
import numpy as np

from NASAM3DLib.reconstruct import threads

threads.sleep_when_idle()

PARALLEL: dict[str, Any] = {
    "parallel": True,
    "fastmath": True,
    "error_model": "numpy",
    "cache": True,
}
INLINE: dict[str, Any] = {"fastmath": True, "error_model": "numpy", "cache": True}


@nb.njit(**INLINE)
def column_ray(source: Any, corner: Any, step: Any, column: int) -> Any:
    """Give origin and direction (index space) of the ray to row 0 of a column.

    For a cone beam the ray starts at the source and alpha = 1 is the pixel; for a parallel beam it
    starts at the pixel and runs against the direction to the source.
    """
    p0 = corner[0] + column * step[0]
    p1 = corner[1] + column * step[1]
    p2 = corner[2] + column * step[2]
    if source[3] > 0.5:
        return (
            source[0],
            source[1],
            source[2],
            p0 - source[0],
            p1 - source[1],
            p2 - source[2],
        )
    return p0, p1, p2, -source[0], -source[1], -source[2]


@nb.njit(**PARALLEL)
def weight_pixels(
    sources: Any, corners: Any, steps_u: Any, steps_v: Any, matrix: Any, out: Any
) -> None:
    """Multiply ``out[view, column, row]`` by the ray's length in mm per voxel step.

    The step is one voxel along i or j, whichever the ray follows more; see forward_separable.
    """
    n_columns, n_rows = out.shape[1], out.shape[2]
    for ray in nb.prange(out.shape[0] * n_columns):
        view, column = ray // n_columns, ray % n_columns
        cone = sources[view, 3] > 0.5
        _, _, _, d0, d1, d2 = column_ray(sources[view], corners[view], steps_u[view], column)
        main = max(abs(d0), abs(d1))
        x = matrix[0, 0] * d0 + matrix[0, 1] * d1 + matrix[0, 2] * d2
        y = matrix[1, 0] * d0 + matrix[1, 1] * d1 + matrix[1, 2] * d2
        z = matrix[2, 0] * d0 + matrix[2, 1] * d1 + matrix[2, 2] * d2
        rise = steps_v[view, 2] if cone else 0.0
        rise_x, rise_y, rise_z = matrix[0, 2] * rise, matrix[1, 2] * rise, matrix[2, 2] * rise
        pixels = out[view, column]
        for row in range(n_rows):
            a, b, c = x + row * rise_x, y + row * rise_y, z + row * rise_z
            pixels[row] *= np.float32(math.sqrt(a * a + b * b + c * c) / main)


@nb.njit(**PARALLEL)
def forward_separable(
    volume: Any, sources: Any, corners: Any, steps_u: Any, steps_v: Any, out: Any
) -> None:
    """Project where detector rows run along k: all rays of a column lie in one plane over (i, j).

    For each crossed plane of the main axis the two nearest k-lines are blended once and then
    sampled by all rows. The result lacks the factor of weight_pixels.
    """
    n_i, n_j, n_k = volume.shape
    n_columns, n_rows = out.shape[1], out.shape[2]
    for ray in nb.prange(out.shape[0] * n_columns):
        view, column = ray // n_columns, ray % n_columns
        cone = sources[view, 3] > 0.5
        o0, o1, o2, d0, d1, d2 = column_ray(sources[view], corners[view], steps_u[view], column)
        along_i = abs(d0) >= abs(d1)
        if not along_i:
            o0, o1, d0, d1 = o1, o0, d1, d0
        n_main, n_side = (n_i, n_j) if along_i else (n_j, n_i)
        # One zero before and two behind let the sampling run over the border without a branch.
        line = np.zeros(n_k + 4, np.float32)
        total = np.zeros(n_rows, np.float32)
        for plane in range(n_main):
            alpha = (plane - o0) / d0
            if cone and (alpha <= 0.0 or alpha > 1.0):
                continue
            position = o1 + alpha * d1
            side = int(math.floor(position))
            if side < -1 or side >= n_side:
                continue
            upper = np.float32(position - side)
            lower = np.float32(1.0) - upper
            if side < 0:
                lower = np.float32(0.0)
            if side >= n_side - 1:
                upper = np.float32(0.0)
            first, second = max(side, 0), min(side + 1, n_side - 1)
            if along_i:
                for k in range(n_k):
                    line[k + 2] = lower * volume[plane, first, k] + upper * volume[plane, second, k]
            else:
                for k in range(n_k):
                    line[k + 2] = lower * volume[first, plane, k] + upper * volume[second, plane, k]
            start = np.float32(o2 + alpha * d2)
            slope = np.float32(alpha * steps_v[view, 2] if cone else steps_v[view, 2])
            row_a = (np.float32(-1.0) - start) / slope
            row_b = (np.float32(n_k) - start) / slope
            low = max(0, int(math.ceil(min(row_a, row_b))))
            high = min(n_rows - 1, int(math.floor(max(row_a, row_b))))
            for row in range(low, high + 1):
                shifted = np.float32(row) * slope + start + np.float32(2.0)
                k = nb.int32(shifted)
                fraction = shifted - np.float32(k)
                total[row] += line[k] + fraction * (line[k + 1] - line[k])
        for row in range(n_rows):
            out[view, column, row] = total[row]


@nb.njit(**PARALLEL)
def adjoint_separable(
    weighted: Any,
    sources: Any,
    corners: Any,
    steps_u: Any,
    steps_v: Any,
    along_i: bool,
    block: int,
    out: Any,
) -> None:
    """Add to ``out`` the exact transpose of forward_separable for rays that follow i (or j).

    ``weighted`` holds the projections times their path weights. Each thread owns blocks of
    ``block`` planes of the main axis; the result does not depend on their size.
    """
    n_i, n_j, n_k = out.shape
    n_views, n_columns, n_rows = weighted.shape
    n_main, n_side = (n_i, n_j) if along_i else (n_j, n_i)
    for part in nb.prange((n_main + block - 1) // block):
        sums = np.zeros((n_rows + 1, 2))
        ramps = np.zeros(n_k + 2)
        for ray in range(n_views * n_columns):
            view, column = ray // n_columns, ray % n_columns
            cone = sources[view, 3] > 0.5
            o0, o1, o2, d0, d1, d2 = column_ray(sources[view], corners[view], steps_u[view], column)
            if (abs(d0) >= abs(d1)) != along_i:
                continue
            if not along_i:
                o0, o1, d0, d1 = o1, o0, d1, d0
            rise = steps_v[view, 2]
            summed = False
            for plane in range(part * block, min((part + 1) * block, n_main)):
                alpha = (plane - o0) / d0
                if cone and (alpha <= 0.0 or alpha > 1.0):
                    continue
                position = o1 + alpha * d1
                side = int(math.floor(position))
                if side < -1 or side >= n_side:
                    continue
                if not summed:
                    _sum_rows(weighted[view, column], rise < 0.0, sums)
                    summed = True
                slope = alpha * rise if cone else rise
                start = o2 + alpha * d2
                if slope < 0.0:
                    start, slope = start + slope * (n_rows - 1), -slope
                _fill_ramps(sums, start, slope, ramps)
                upper = position - side
                lower = 1.0 - upper
                if side >= 0:
                    target = out[plane, side] if along_i else out[side, plane]
                    for k in range(n_k):
                        hat = ramps[k] - 2.0 * ramps[k + 1] + ramps[k + 2]
                        target[k] += np.float32(lower * hat)
                if side < n_side - 1:
                    target = out[plane, side + 1] if along_i else out[side + 1, plane]
                    for k in range(n_k):
                        hat = ramps[k] - 2.0 * ramps[k + 1] + ramps[k + 2]
                        target[k] += np.float32(upper * hat)


@nb.njit(**INLINE)
def _sum_rows(pixels: Any, reverse: bool, sums: Any) -> None:
    """Fill the running sums of pixel values and of row times value."""
    n_rows = pixels.shape[0]
    value, moment = 0.0, 0.0
    for row in range(n_rows):
        pixel = np.float64(pixels[n_rows - 1 - row if reverse else row])
        value += pixel
        moment += row * pixel
        sums[row + 1, 0] = value
        sums[row + 1, 1] = moment


@nb.njit(**INLINE)
def _fill_ramps(sums: Any, start: float, slope: float, ramps: Any) -> None:
    """Fill ``F(k) = sum over rows of max(k - z(row), 0) * pixel`` with ``z = start + slope row``.

    The hat weights of linear interpolation are the second difference of that ramp, so the sum over
    all rows that touch a voxel costs one look-up in the running sums, however many rows there are.
    In double precision the cancellation leaves an error far below float32. A row at the very end of
    the ramp has weight zero, hence rounding of the index is harmless.
    """
    inverse, last = 1.0 / slope, float(sums.shape[0] - 1)
    for k in range(ramps.shape[0]):
        distance = (k - 1) - start
        n_below = nb.int32(np.ceil(min(max(distance * inverse, 0.0), last)))
        ramps[k] = distance * sums[n_below, 0] - slope * sums[n_below, 1]
