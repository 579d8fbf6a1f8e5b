"""A strip of small pictures of the views, to see at a glance whether a scan was read rightly."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

N_PICTURES, HEIGHT, GAP = 5, 56, 2
WIDEST = 96
"""Pixels: a strip of five such pictures is as wide as a panel."""


def thumbnail_strip(projections: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Draw some of the views side by side.

    Parameters
    ----------
    projections : ndarray, shape (views, rows, cols), float32
        Line integrals, of any unit.

    Returns
    -------
    ndarray, shape (height, width), uint8
        Views that lie evenly in the scan, the more attenuation the brighter, on one scale; the
        first row of the detector, which lies lowest in the patient, at the foot.
    """
    n_views, n_rows, n_cols = projections.shape
    chosen = np.unique(np.linspace(0, n_views - 1, N_PICTURES).round().astype(np.intp))
    scale = min(HEIGHT / n_rows, WIDEST / n_cols)
    height, width = (max(1, round(n * scale)) for n in (n_rows, n_cols))
    rows = ((np.arange(height) + 0.5) * n_rows / height).astype(np.intp)[::-1]
    columns = ((np.arange(width) + 0.5) * n_cols / width).astype(np.intp)
    small = np.nan_to_num(projections[np.ix_(chosen, rows, columns)].astype(np.float64))
    low, high = np.percentile(small, (1.0, 99.5))
    levels = np.clip((small - low) / max(high - low, 1e-12), 0.0, 1.0)
    pictures = np.rint(255 * levels).astype(np.uint8)
    gap = np.full((height, GAP), 255, dtype=np.uint8)
    parts = [part for picture in pictures for part in (picture, gap)]
    return np.concatenate(parts[:-1], axis=1)
