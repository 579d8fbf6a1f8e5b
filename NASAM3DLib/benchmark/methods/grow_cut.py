"""GrowCut as ITK's module of that name has it: the algorithm behind 3D Slicer's Grow from seeds."""

from __future__ import annotations

import numpy as np

from NASAM3DLib.benchmark.methods.crop import BoolArray, Crop, CroppedSegmenter
from NASAM3DLib.benchmark.methods.protocol import Method, package_missing, package_version

OBJECT, BACKGROUND = 1, 2


def grow_cut(crop: Crop) -> BoolArray:
    """Give each voxel to the kind of seed from which the path with the least contrast leads.

    Parameters
    ----------
    crop : Crop
        Values and clicks.

    Returns
    -------
    ndarray, shape (k, j, i), bool
        The border of the crop counts as background.
    """
    import itk

    labels = np.zeros(crop.array_hu.shape, dtype=np.uint8)
    labels[crop.shell()] = BACKGROUND
    labels[crop.marked(crop.negative)] = BACKGROUND
    labels[crop.marked(crop.positive)] = OBJECT
    values = np.clip(np.rint(crop.array_hu), -32768, 32767).astype(np.int16)
    # The filter leaves the outermost voxels out, hence a border of two layers.
    cut = itk.FastGrowCut[itk.Image[itk.SS, 3], itk.Image[itk.UC, 3]].New()
    image, seeds = itk.image_from_array(values), itk.image_from_array(labels)
    cut.SetInput(image)
    cut.SetSeedImage(seeds)
    cut.Update()
    found = itk.array_from_image(cut.GetOutput()) == OBJECT
    return np.asarray(found)


def _missing() -> str:
    return package_missing("itk", "itk-growcut") or package_missing(
        "itk.itkFastGrowCutPython", "itk-growcut"
    )


METHODS = (
    Method(
        "grow-cut",
        "peer",
        "ITK FastGrowCut (itk-growcut), the algorithm of 3D Slicer's Grow from seeds, without "
        "distance penalty; negative clicks and the border of the crop are background",
        lambda: CroppedSegmenter(grow_cut),
        _missing,
        lambda: package_version("itk-growcut"),
    ),
)
