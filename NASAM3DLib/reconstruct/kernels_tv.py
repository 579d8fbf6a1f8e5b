"""Numba kernels of the dual of total-variation denoising (Beck and Teboulle's FGP)."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

OPTIONS: dict[str, Any] = {"fastmath": True, "error_model": "numpy", "cache": True}


@nb.njit(parallel=True, **OPTIONS)
def dual_step(b: Any, settings: Any, n_slabs: int, dual: Any, ahead: Any) -> None:
    """Do one projected gradient step on the dual, in place.

    Each thread walks through a slab of planes and keeps the primal image of two planes only, which
    stay in its cache. What it needs from its neighbours' planes is computed before any is changed.
    """
    n_0, n_1, n_2 = b.shape
    weight, step, beta = settings[0], settings[1], settings[2]
    first = np.empty((n_slabs + 1, n_1, n_2), np.float32)
    border = np.empty((n_slabs + 1, n_1, n_2), np.float32)
    for slab in nb.prange(n_slabs):
        plane = slab * n_0 // n_slabs
        before = ahead[0, plane - 1] if plane > 0 else ahead[0, plane]
        border[slab] = before
        _primal_plane(b, weight, ahead, plane, before, first[slab])
    for slab in nb.prange(n_slabs):
        begin, end = slab * n_0 // n_slabs, (slab + 1) * n_0 // n_slabs
        current, following = first[slab].copy(), np.empty((n_1, n_2), np.float32)
        for plane in range(begin, end):
            if plane + 1 == n_0:
                following[:] = current
            elif plane + 1 == end:
                following[:] = first[slab + 1]
            else:
                _primal_plane(b, weight, ahead, plane + 1, ahead[0, plane], following)
            _update_plane(current, following, plane, step, beta, dual, ahead)
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
                upper * d_0[k] - lower * old[k] + high_j * d_1[k] - low_j * below[k] + d_2[k]
            )
        # The third dual is zero at the last k by construction.
        for k in range(1, n_2):
            target[k] -= d_2[k - 1]
        for k in range(n_2):
            target[k] = max(row[k] - weight * target[k], zero)


@nb.njit(**OPTIONS)
def _update_plane(
    current: Any, following: Any, plane: int, step: Any, beta: Any, dual: Any, ahead: Any
) -> None:
    """Step along the primal's differences, project on the unit ball, extrapolate."""
    n_1, n_2 = current.shape
    one = np.float32(1.0)
    for j in range(n_1):
        x, x_0, x_1 = current[j], following[j], current[j + 1 if j + 1 < n_1 else j]
        p_0, p_1, p_2 = dual[0, plane, j], dual[1, plane, j], dual[2, plane, j]
        r_0, r_1, r_2 = ahead[0, plane, j], ahead[1, plane, j], ahead[2, plane, j]
        for k in range(n_2):
            ahead_k = x[k + 1] if k + 1 < n_2 else x[k]
            q_0 = r_0[k] + step * (x[k] - x_0[k])
            q_1 = r_1[k] + step * (x[k] - x_1[k])
            q_2 = r_2[k] + step * (x[k] - ahead_k)
            scale = one / max(one, np.sqrt(q_0 * q_0 + q_1 * q_1 + q_2 * q_2))
            q_0, q_1, q_2 = q_0 * scale, q_1 * scale, q_2 * scale
            r_0[k] = q_0 + beta * (q_0 - p_0[k])
            r_1[k] = q_1 + beta * (q_1 - p_1[k])
            r_2[k] = q_2 + beta * (q_2 - p_2[k])
            p_0[k], p_1[k], p_2[k] = q_0, q_1, q_2


@nb.njit(parallel=True, **OPTIONS)
def primal(b: Any, weight: Any, dual: Any, out: Any) -> None:
    """Compute the primal image of the final dual."""
    for plane in nb.prange(b.shape[0]):
        before = dual[0, plane - 1] if plane > 0 else dual[0, plane]
        _primal_plane(b, weight, dual, plane, before, out[plane])
