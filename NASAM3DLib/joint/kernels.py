"""Numba kernels of the dual of directional total variation.

The dual lies in the unit ball and is kept as in :mod:`NASAM3DLib.reconstruct.kernels_tv`: 16-bit
integers in steps of 1/32767, the extrapolated dual in steps of 1/10920. The guide xi, a vector
shorter than one for every voxel, is kept as 8-bit integers in steps of 1/127.
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
GUIDE_UNIT = np.float32(127)
BACK = AHEAD_UNIT / DUAL_UNIT
SHARE = np.float32(1.0) / (GUIDE_UNIT * GUIDE_UNIT)


@nb.njit(inline="always", **OPTIONS)
def _rounded(value: Any) -> Any:
    """Round to the nearest 16-bit integer."""
    return nb.int16(nb.int32(value + np.float32(32768.5)) - nb.int32(32768))


@nb.njit(inline="always", **OPTIONS)
def _along(guide: Any, dual: Any, i: int, j: int, k: int) -> Any:
    """Compute ``<xi, q>`` at a voxel, in steps of the dual, over 127."""
    return (
        np.float32(guide[0, i, j, k]) * np.float32(dual[0, i, j, k])
        + np.float32(guide[1, i, j, k]) * np.float32(dual[1, i, j, k])
        + np.float32(guide[2, i, j, k]) * np.float32(dual[2, i, j, k])
    ) * SHARE


@nb.njit(parallel=True, **OPTIONS)
def primal(b: Any, weight: Any, guide: Any, dual: Any, out: Any) -> None:
    """Compute ``max(b - weight D^T P q, 0)``; the weight is per step of the dual's integers."""
    n_0, n_1, n_2 = b.shape
    for i in nb.prange(n_0):
        for j in range(n_1):
            for k in range(n_2):
                along = _along(guide, dual, i, j, k)
                total = np.float32(0.0)
                if i < n_0 - 1:
                    total += np.float32(dual[0, i, j, k]) - np.float32(guide[0, i, j, k]) * along
                if j < n_1 - 1:
                    total += np.float32(dual[1, i, j, k]) - np.float32(guide[1, i, j, k]) * along
                if k < n_2 - 1:
                    total += np.float32(dual[2, i, j, k]) - np.float32(guide[2, i, j, k]) * along
                if i > 0:
                    along = _along(guide, dual, i - 1, j, k)
                    xi = np.float32(guide[0, i - 1, j, k])
                    total -= np.float32(dual[0, i - 1, j, k]) - xi * along
                if j > 0:
                    along = _along(guide, dual, i, j - 1, k)
                    xi = np.float32(guide[1, i, j - 1, k])
                    total -= np.float32(dual[1, i, j - 1, k]) - xi * along
                if k > 0:
                    along = _along(guide, dual, i, j, k - 1)
                    xi = np.float32(guide[2, i, j, k - 1])
                    total -= np.float32(dual[2, i, j, k - 1]) - xi * along
                out[i, j, k] = max(b[i, j, k] - weight * total, np.float32(0.0))


@nb.njit(parallel=True, **OPTIONS)
def dual_step(x: Any, settings: Any, guide: Any, dual: Any, ahead: Any) -> None:
    """Do one projected gradient step on the dual, in place, and extrapolate.

    ``settings`` holds the step over the weight and the factor of extrapolation. The step starts
    from ``ahead``. Rows pass through a buffer because the compiler vectorises no loop whose arrays
    may overlap.
    """
    n_0, n_1, n_2 = x.shape
    for i in nb.prange(n_0):
        rows = np.empty((3, n_2), np.float32)
        for j in range(n_1):
            _project(x, (nb.int64(i), j), settings[0], (guide, ahead), rows)
            for axis in range(3):
                row, old, following = rows[axis], dual[axis, i, j], ahead[axis, i, j]
                for k in range(n_2):
                    q = row[k]
                    following[k] = _rounded(BACK * (q + settings[1] * (q - np.float32(old[k]))))
                for k in range(n_2):
                    old[k] = _rounded(row[k])


@nb.njit(**OPTIONS)
def _project(x: Any, place: Any, step: Any, vectors: Any, rows: Any) -> None:
    """Fill the rows with the dual after the step, cut to the unit ball, in steps of 1/32767."""
    n_0, n_1, n_2 = x.shape
    i, j = place
    guide, ahead = vectors
    one, scale, share = np.float32(1.0), np.float32(1.0) / AHEAD_UNIT, SHARE
    here = x[i, j]
    next_0, next_1 = x[i + 1 if i < n_0 - 1 else i, j], x[i, j + 1 if j < n_1 - 1 else j]
    guide_0, guide_1, guide_2 = guide[0, i, j], guide[1, i, j], guide[2, i, j]
    ahead_0, ahead_1, ahead_2 = ahead[0, i, j], ahead[1, i, j], ahead[2, i, j]
    out_0, out_1, out_2 = rows[0], rows[1], rows[2]
    for k in range(n_2 - 1):
        out_2[k] = here[k] - here[k + 1]
    out_2[n_2 - 1] = np.float32(0.0)
    for k in range(n_2):
        g_0, g_1, g_2 = here[k] - next_0[k], here[k] - next_1[k], out_2[k]
        xi_0, xi_1 = np.float32(guide_0[k]), np.float32(guide_1[k])
        xi_2 = np.float32(guide_2[k])
        along = (xi_0 * g_0 + xi_1 * g_1 + xi_2 * g_2) * share
        q_0 = np.float32(ahead_0[k]) * scale + step * (g_0 - xi_0 * along)
        q_1 = np.float32(ahead_1[k]) * scale + step * (g_1 - xi_1 * along)
        q_2 = np.float32(ahead_2[k]) * scale + step * (g_2 - xi_2 * along)
        factor = DUAL_UNIT / max(one, np.sqrt(q_0 * q_0 + q_1 * q_1 + q_2 * q_2))
        out_0[k], out_1[k], out_2[k] = q_0 * factor, q_1 * factor, q_2 * factor


@nb.njit(parallel=True, **OPTIONS)
def restart(dual: Any, ahead: Any) -> None:
    """Let the extrapolated dual begin at the dual."""
    for i in nb.prange(dual.shape[1]):
        for axis in range(3):
            for j in range(dual.shape[2]):
                for k in range(dual.shape[3]):
                    ahead[axis, i, j, k] = _rounded(BACK * np.float32(dual[axis, i, j, k]))


@nb.njit(parallel=True, **OPTIONS)
def take_over(x: Any, factor: Any, volume: Any, ahead: Any) -> None:
    """Replace ``volume`` by x and ``ahead`` by ``x + factor (x - volume)``."""
    for i in nb.prange(x.shape[0]):
        for j in range(x.shape[1]):
            for k in range(x.shape[2]):
                ahead[i, j, k] = x[i, j, k] + factor * (x[i, j, k] - volume[i, j, k])
                volume[i, j, k] = x[i, j, k]
