"""Numba kernel of the weighted, voxel-driven back-projection of filtered back-projection."""

from __future__ import annotations

from typing import Any

import numba as nb
import numpy as np

from NASAM3DLib.reconstruct import threads

threads.sleep_when_idle()


@nb.njit(parallel=True, fastmath=True, error_model="numpy", cache=True)
def backproject_weighted(filtered: Any, matrices: Any, repeat_rows: bool, out: Any) -> None:
    """Add ``sum over views of filtered(pixel of the voxel) / w^2`` to each voxel.

    Parameters are arrays in index space: ``filtered[view, column, row]``, ``matrices[view]`` of
    shape (3, 4) with ``(row * w, column * w, w) = matrix @ (i, j, k, 1)`` and w = 1 at the
    isocenter, ``out[i, j, k]``. Bilinear interpolation; pixels off the detector count as zero, or
    as the first or last row where ``repeat_rows`` says that the object goes on there.
    """
    n_i, n_j, n_k = out.shape
    n_views, n_columns, n_rows = filtered.shape
    for line in nb.prange(n_i * n_j):
        i, j = line // n_j, line % n_j
        total = np.zeros(n_k, np.float32)
        for view in range(n_views):
            m = matrices[view]
            row_w = m[0, 0] * i + m[0, 1] * j + m[0, 3]
            column_w = m[1, 0] * i + m[1, 1] * j + m[1, 3]
            depth = m[2, 0] * i + m[2, 1] * j + m[2, 3]
            image = filtered[view]
            for k in range(n_k):
                w = depth + m[2, 2] * k
                if w <= 0.0:
                    continue
                inverse = 1.0 / w
                row = (row_w + m[0, 2] * k) * inverse
                column = (column_w + m[1, 2] * k) * inverse
                if repeat_rows:
                    row = min(max(row, 0.0), n_rows - 1.0)
                if row < 0.0 or column < 0.0 or row > n_rows - 1 or column > n_columns - 1:
                    continue
                r, c = min(int(row), n_rows - 2), min(int(column), n_columns - 2)
                f, g = row - r, column - c
                low = image[c, r] + f * (image[c, r + 1] - image[c, r])
                high = image[c + 1, r] + f * (image[c + 1, r + 1] - image[c + 1, r])
                total[k] += np.float32((low + g * (high - low)) * inverse * inverse)
        for k in range(n_k):
            out[i, j, k] += total[k]
