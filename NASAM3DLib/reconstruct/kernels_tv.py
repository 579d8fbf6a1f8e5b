"""Numba kernels of the dual of total-variation denoising (Beck and Teboulle's FGP).

The dual lies in the unit ball and is kept as 16-bit integers in steps of 1/32767, the extrapolated
dual, which reaches up to 3, in steps of 1/10920. The kernels are bound by memory traffic, so this
is faster as well as smaller; the rounding is far below what a few inner iterations leave open.
"""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

from NASAM3DLib.reconstruct import threads

threads.sleep_when_idle()

OPTIONS: dict[str, Any] = {"fastmath": True, "error_model": "numpy", "cache": True}

DUAL_UNIT = np.float32(32767)
AHEAD_UNIT = np.float32(10920)
BACK = AHEAD_UNIT / DUAL_UNIT


@nb.njit(inline="always", **OPTIONS)
def _rounded(value: Any) -> Any:
    """Round to the nearest 16-bit integer; the detour through positive numbers vectorises."""
    return nb.int16(nb.int32(value + np.float32(32768.5)) - nb.int32(32768))


@nb.njit(parallel=True, **OPTIONS)
def dual_step(b: Any, settings: Any, n_slabs: int, dual: Any, ahead: Any) -> None:
    """Do one projected gradient step on the dual, in place.

    ``settings`` holds the weight, the step, the factor of extrapolation, and whether the
    extrapolated dual is read (else the dual is where the step starts) and written (1 or 0).

    Each thread walks through a slab of planes and keeps the primal image of two planes only, which
    stay in its cache. What it needs from its neighbours' planes is computed before any is changed.
    """
    n_0, n_1, n_2 = b.shape
    reads = settings[3] > 0.5
    source = ahead if reads else dual
    weight = settings[0] / (AHEAD_UNIT if reads else DUAL_UNIT)
    first = np.empty((n_slabs, n_1, n_2), np.float32)
    for slab in nb.prange(n_slabs):
        plane = slab * n_0 // n_slabs
        before = source[0, plane - 1] if plane > 0 else source[0, plane]
        _primal_plane(b, weight, source, plane, before, first[slab])
    for slab in nb.prange(n_slabs):
        begin, end = slab * n_0 // n_slabs, (slab + 1) * n_0 // n_slabs
        current, following = first[slab].copy(), np.empty((n_1, n_2), np.float32)
        for plane in range(begin, end):
            if plane + 1 == n_0:
                following[:] = current
            elif plane + 1 == end:
                following[:] = first[slab + 1]
            else:
                _primal_plane(b, weight, source, plane + 1, source[0, plane], following)
            _update_plane(current, following, plane, settings, dual, ahead)
            current, following = following, current


@nb.njit(**OPTIONS)
def _primal_plane(b: Any, weight: Any, dual: Any, plane: int, before: Any, out: Any) -> None:
    """Compute ``max(b - w D^T dual, 0)`` on a plane; ``before`` is the first dual a plane back."""
    n_0, n_1, n_2 = b.shape
    zero, one = np.float32(0.0), np.float32(1.0)
    lower, upper = one if plane > 0 else zero, one if plane < n_0 - 1 else zero
    for j in range(n_1):
        below = dual[1, plane, j - 1 if j > 0 else 0]
        low_j, high_j = one if j > 0 else zero, one if j < n_1 - 1 else zero
        d_0, d_1, d_2 = dual[0, plane, j], dual[1, plane, j], dual[2, plane, j]
        row, old, target = b[plane, j], before[j], out[j]
        for k in range(n_2):
            target[k] = (
                upper * np.float32(d_0[k])
                - lower * np.float32(old[k])
                + high_j * np.float32(d_1[k])
                - low_j * np.float32(below[k])
                + np.float32(d_2[k])
            )
        # The third dual is zero at the last k by construction.
        for k in range(1, n_2):
            target[k] -= np.float32(d_2[k - 1])
        for k in range(n_2):
            target[k] = max(row[k] - weight * target[k], zero)


@nb.njit(**OPTIONS)
def _update_plane(
    current: Any, following: Any, plane: int, settings: Any, dual: Any, ahead: Any
) -> None:
    """Step along the primal's differences, project on the unit ball, extrapolate if asked to.

    The rows pass through a buffer because the compiler vectorises no loop whose arrays may overlap.
    """
    n_1, n_2 = current.shape
    step, beta = settings[1], settings[2]
    reads, writes = settings[3] > 0.5, settings[4] > 0.5
    rows = np.empty((3, n_2), np.float32)
    for j in range(n_1):
        x, x_0, x_1 = current[j], following[j], current[j + 1 if j + 1 < n_1 else j]
        if reads:
            _project(x, x_0, x_1, step, AHEAD_UNIT, ahead, plane, j, rows)
        else:
            _project(x, x_0, x_1, step, DUAL_UNIT, dual, plane, j, rows)
        for axis in range(3):
            q, p = rows[axis], dual[axis, plane, j]
            if writes:
                a = ahead[axis, plane, j]
                for k in range(n_2):
                    a[k] = _rounded(BACK * (q[k] + beta * (q[k] - np.float32(p[k]))))
            for k in range(n_2):
                p[k] = _rounded(q[k])


@nb.njit(**OPTIONS)
def _project(
    x: Any,
    x_0: Any,
    x_1: Any,
    step: Any,
    unit: Any,
    source: Any,
    plane: int,
    j: int,
    rows: Any,
) -> None:
    """Fill the rows with the dual after the step, projected, in units of DUAL_UNIT."""
    n = x.shape[0]
    one, scale = np.float32(1.0), np.float32(1.0) / unit
    r_0, r_1, r_2 = source[0, plane, j], source[1, plane, j], source[2, plane, j]
    q_0, q_1, q_2 = rows[0], rows[1], rows[2]
    for k in range(n - 1):
        q_2[k] = np.float32(r_2[k]) * scale + step * (x[k] - x[k + 1])
    q_2[n - 1] = np.float32(r_2[n - 1]) * scale
    for k in range(n):
        c_0 = np.float32(r_0[k]) * scale + step * (x[k] - x_0[k])
        c_1 = np.float32(r_1[k]) * scale + step * (x[k] - x_1[k])
        c_2 = q_2[k]
        factor = DUAL_UNIT / max(one, np.sqrt(c_0 * c_0 + c_1 * c_1 + c_2 * c_2))
        q_0[k], q_1[k], q_2[k] = c_0 * factor, c_1 * factor, c_2 * factor


@nb.njit(parallel=True, **OPTIONS)
def primal(b: Any, weight: Any, dual: Any, out: Any) -> None:
    """Compute the primal image of the final dual."""
    for plane in nb.prange(b.shape[0]):
        before = dual[0, plane - 1] if plane > 0 else dual[0, plane]
        _primal_plane(b, weight / DUAL_UNIT, dual, plane, before, out[plane])


@nb.njit(parallel=True, **OPTIONS)
def primal_and_ahead(b: Any, settings: Any, dual: Any, volume: Any, ahead: Any) -> None:
    """Replace ``volume`` by the primal image x and ``ahead`` by ``x + factor (x - volume)``.

    ``settings`` holds the weight and the factor.
    """
    for plane in nb.prange(b.shape[0]):
        before = dual[0, plane - 1] if plane > 0 else dual[0, plane]
        x = np.empty((b.shape[1], b.shape[2]), np.float32)
        _primal_plane(b, settings[0] / DUAL_UNIT, dual, plane, before, x)
        old, new = volume[plane], ahead[plane]
        for j in range(b.shape[1]):
            for k in range(b.shape[2]):
                new[j, k] = x[j, k] + settings[1] * (x[j, k] - old[j, k])
                old[j, k] = x[j, k]


@nb.njit(parallel=True, **OPTIONS)
def descend(gradient: Any, step: Any, ahead: Any) -> None:
    """Replace the gradient by the point reached from ``ahead``: ``ahead - step * gradient``."""
    for plane in nb.prange(gradient.shape[0]):
        source, target = ahead[plane], gradient[plane]
        for j in range(gradient.shape[1]):
            for k in range(gradient.shape[2]):
                target[j, k] = source[j, k] - step * target[j, k]


@nb.njit(parallel=True, **OPTIONS)
def block_means(volume: Any, factor: int, out: Any) -> None:
    """Fill ``out[k, j, i]`` with means over cubes of ``factor`` voxels of ``volume[i, j, k]``."""
    n_k, n_j, n_i = out.shape
    share = np.float32(1.0 / factor**3)
    for i in nb.prange(n_i):
        sums = np.empty(n_k, np.float32)
        for j in range(n_j):
            sums[:] = np.float32(0.0)
            for a in range(i * factor, (i + 1) * factor):
                for b in range(j * factor, (j + 1) * factor):
                    line = volume[a, b]
                    for k in range(n_k):
                        for c in range(factor):
                            sums[k] += line[k * factor + c]
            for k in range(n_k):
                out[k, j, i] = sums[k] * share
