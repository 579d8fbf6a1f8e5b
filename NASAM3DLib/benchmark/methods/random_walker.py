"""The random walker of scikit-image."""

from __future__ import annotations

import warnings

import numpy as np

from NASAM3DLib.benchmark.methods.crop import BoolArray, Crop, CroppedSegmenter
from NASAM3DLib.benchmark.methods.protocol import Method, package_missing, package_version

WINDOW_HU = 150.0
BETA, TOLERANCE = 1000.0, 5e-3
OBJECT, BACKGROUND = 1, 2


def random_walker(crop: Crop) -> BoolArray:
    """Ask whether a random walker meets a positive or a negative click first.

    Parameters
    ----------
    crop : Crop
        Values and clicks.

    Returns
    -------
    ndarray, shape (k, j, i), bool
        The border of the crop counts as background.
    """
    from skimage import segmentation

    mean = float(np.mean([crop.density(click)[0] for click in crop.positive]))
    shown = np.tanh((crop.array_hu - mean) / WINDOW_HU)
    labels = np.zeros(shown.shape, dtype=np.int32)
    labels[crop.shell()] = BACKGROUND
    labels[crop.marked(crop.negative)] = BACKGROUND
    labels[crop.marked(crop.positive)] = OBJECT
    with warnings.catch_warnings():
        # It recommends pyamg, and tells when a probability is a rounding error below zero.
        warnings.simplefilter("ignore", category=UserWarning)
        found = segmentation.random_walker(
            shown,
            labels,
            beta=BETA,
            mode="cg_j",
            tol=TOLERANCE,
            spacing=tuple(np.array(crop.spacing_kji_mm) / min(crop.spacing_kji_mm)),
            prob_tol=0.1,
        )
    return np.asarray(found == OBJECT)


METHODS = (
    Method(
        "random-walker",
        "peer",
        "scikit-image random_walker on tanh((HU - mean)/150), beta 1000, mode cg_j; negative "
        "clicks and the border of the crop are background",
        lambda: CroppedSegmenter(random_walker),
        lambda: package_missing("skimage", "scikit-image"),
        lambda: package_version("scikit-image"),
    ),
)
