"""Fast marching by SimpleITK: fronts of positive and negative clicks compete."""

from __future__ import annotations

import numpy as np

from NASAM3DLib.benchmark.methods.crop import (
    BoolArray,
    Crop,
    CroppedSegmenter,
    arrival_times,
)
from NASAM3DLib.benchmark.methods.protocol import Method, package_missing, package_version

EDGE_HU_PER_VOXEL = 40.0
LOWEST_SPEED = 0.01


def fast_marching(crop: Crop) -> BoolArray:
    """Let fronts compete, slowed down by edges and, for positive ones, by unlike density.

    Parameters
    ----------
    crop : Crop
        Values and clicks.

    Returns
    -------
    ndarray, shape (k, j, i), bool
        What a positive front reaches before those of negative clicks and of the crop's border.
    """
    from scipy.ndimage import gaussian_gradient_magnitude

    gradient = gaussian_gradient_magnitude(crop.array_hu, 0.8, mode="nearest")
    smooth = 1 / (1 + (gradient / EDGE_HU_PER_VOXEL) ** 2)
    values = crop.smoothed
    alike = np.zeros_like(values)
    for click in crop.positive:
        mean, spread = crop.density(click)
        alike = np.maximum(alike, np.exp(-0.5 * ((values - mean) / (2 * spread)) ** 2))
    inward = (alike * smooth + LOWEST_SPEED).astype(np.float32)
    outward = ((1 - 0.9 * alike) * smooth + LOWEST_SPEED).astype(np.float32)
    spacing = crop.spacing_kji_mm
    mine = arrival_times(inward, crop.positive, spacing)
    starts = np.argwhere(crop.shell())
    # Every second voxel of the border: the front closes the gaps at its first step.
    starts = starts[(starts % 2 == 0).all(axis=1)]
    result = mine < arrival_times(outward, np.concatenate([starts, crop.negative]), spacing)
    if len(crop.negative):
        result &= mine < arrival_times(inward, crop.negative, spacing)
    return np.asarray(result)


METHODS = (
    Method(
        "fast-marching",
        "peer",
        "SimpleITK FastMarching, competing fronts of the positive clicks against negative clicks "
        "and the border of the crop; speed by edges and by likeness to the clicked density",
        lambda: CroppedSegmenter(fast_marching),
        lambda: package_missing("SimpleITK"),
        lambda: package_version("SimpleITK"),
    ),
)
