"""Region growing by SimpleITK: ConnectedThreshold and ConfidenceConnected."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from NASAM3DLib.benchmark.methods.crop import (
    BoolArray,
    Crop,
    CroppedSegmenter,
    without_negative,
)
from NASAM3DLib.benchmark.methods.protocol import Method, package_missing, package_version
from NASAM3DLib.scan.images import simple_itk
from NASAM3DLib.segment.region_box import IndexArray

THRESHOLD_SPREADS = 2.0
CONFIDENCE_ITERATIONS, CONFIDENCE_SPREADS, CONFIDENCE_RADIUS = 2, 2.5, 2


def connected_threshold(crop: Crop) -> BoolArray:
    """Grow from each positive click while the smoothed density stays within two deviations.

    Parameters
    ----------
    crop : Crop
        Values and clicks.

    Returns
    -------
    ndarray, shape (k, j, i), bool
    """
    sitk = simple_itk()

    def grown(image: Any, click: IndexArray) -> Any:
        mean, spread = crop.density(click)
        width = THRESHOLD_SPREADS * spread
        return sitk.ConnectedThreshold(image, _seed(click), mean - width, mean + width)

    return _grown_from_all(crop, grown)


def confidence_connected(crop: Crop) -> BoolArray:
    """Grow from each positive click; the density model follows the grown region.

    Parameters
    ----------
    crop : Crop
        Values and clicks.

    Returns
    -------
    ndarray, shape (k, j, i), bool
    """
    sitk = simple_itk()

    def grown(image: Any, click: IndexArray) -> Any:
        return sitk.ConfidenceConnected(
            image,
            seedList=_seed(click),
            numberOfIterations=CONFIDENCE_ITERATIONS,
            multiplier=CONFIDENCE_SPREADS,
            initialNeighborhoodRadius=CONFIDENCE_RADIUS,
        )

    return _grown_from_all(crop, grown)


def _seed(click: IndexArray) -> list[list[int]]:
    """Give a click as SimpleITK wants it, in the order i, j, k."""
    return [[int(n) for n in click[::-1]]]


def _grown_from_all(crop: Crop, grown: Callable[[Any, IndexArray], Any]) -> BoolArray:
    """Unite what grows from each positive click in the smoothed values."""
    sitk = simple_itk()
    image = sitk.GetImageFromArray(crop.smoothed)
    region = crop.marked(crop.positive)
    for click in crop.positive:
        region = region | np.asarray(sitk.GetArrayFromImage(grown(image, click)) > 0)
    return without_negative(crop, region)


def _missing() -> str:
    return package_missing("SimpleITK")


def _identity() -> str:
    return package_version("SimpleITK")


METHODS = (
    Method(
        "connected-threshold",
        "peer",
        "SimpleITK ConnectedThreshold from each positive click on smoothed values, mean ± 2 "
        "standard deviations around the click; negative clicks take away what is nearer to them",
        lambda: CroppedSegmenter(connected_threshold),
        _missing,
        _identity,
    ),
    Method(
        "confidence-connected",
        "peer",
        "SimpleITK ConfidenceConnected from each positive click on smoothed values, 2 iterations, "
        "multiplier 2.5, radius 2; negative clicks as above",
        lambda: CroppedSegmenter(confidence_connected),
        _missing,
        _identity,
    ),
)
