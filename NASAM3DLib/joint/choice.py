"""Which of two masks explains a volume better."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Float32Array = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

NEIGHBOURHOOD_VOXELS = 2
"""How far around both masks values count."""

CLEARLY_LESS = 0.02
"""Fall of the energy from which on the newer mask is believed.

Of six scans that this was chosen on, the four masks above it were better than those from before by
3 to 12 points of Dice, and those below between 5 points worse and 4 better.
"""


def region_energies(array: Float32Array, *masks: BoolArray) -> tuple[float, ...]:
    """Measure how uneven a volume is inside and outside of masks, near all of them.

    Parameters
    ----------
    array : ndarray, shape (k, j, i), float32
        Attenuation, 1/mm.
    *masks : ndarray, shape (k, j, i), bool
        Masks to be compared.

    Returns
    -------
    tuple of float
        For each mask the mean squared deviation from the mean inside and from the mean outside,
        1/mm^2: the region terms of :func:`~NASAM3DLib.joint.energy.segmentation_energy`. Infinite
        for an empty mask.
    """
    union = np.logical_or.reduce(masks)
    near = ndimage.binary_dilation(union, iterations=NEIGHBOURHOOD_VOXELS)
    energies = []
    for mask in masks:
        parts = (array[near & mask], array[near & ~mask])
        squares = (part.size * float(np.var(part, dtype=np.float64)) for part in parts if part.size)
        count = np.count_nonzero(near)
        energies.append(sum(squares) / count if mask.any() else float("inf"))
    return tuple(energies)


def is_clearly_better(array: Float32Array, mask: BoolArray, before: BoolArray) -> bool:
    """Tell whether a mask explains a volume clearly better than the mask from before.

    Parameters
    ----------
    array : ndarray, shape (k, j, i), float32
        Attenuation, 1/mm.
    mask, before : ndarray, shape (k, j, i), bool
        The masks.

    Returns
    -------
    bool
    """
    newer, older = region_energies(array, mask, before)
    return newer < (1 - CLEARLY_LESS) * older
