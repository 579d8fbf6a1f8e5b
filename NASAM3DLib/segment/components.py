"""Connected components and holes of a binary array, in six-connectivity."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

BoolArray = npt.NDArray[np.bool_]
IndexArray = npt.NDArray[np.intp]


def bounding_box(array: BoolArray) -> tuple[IndexArray, IndexArray]:
    """Find the first and last voxel that is set along each axis.

    Parameters
    ----------
    array : ndarray, shape (k, j, i), bool
        Array with at least one voxel set.

    Returns
    -------
    lower, upper : ndarray, shape (3,), intp

    Raises
    ------
    ValueError
        If no voxel is set.
    """
    lower, upper = [], []
    for axis in range(array.ndim):
        others = tuple(a for a in range(array.ndim) if a != axis)
        places = np.flatnonzero(array.any(axis=others))
        if not places.size:
            raise ValueError("An array without a voxel set has no bounding box.")
        lower.append(places[0])
        upper.append(places[-1])
    return np.array(lower), np.array(upper)


def keep_components(array: BoolArray, voxels_kji: IndexArray) -> BoolArray:
    """Keep the components that hold one of the given voxels.

    Parameters
    ----------
    array : ndarray, shape (k, j, i), bool
        Object voxels.
    voxels_kji : ndarray, shape (n, 3), intp
        Voxels that choose the components; those outside the object choose none.

    Returns
    -------
    ndarray, shape (k, j, i), bool
    """
    if not array.any():
        return array.copy()
    # Masks are read and written without SciPy, whose import takes a third of a second.
    from scipy import ndimage

    lower, upper = bounding_box(array)
    box = tuple(slice(a, b + 1) for a, b in zip(lower, upper, strict=True))
    labels, n_components = ndimage.label(array[box])
    inside = ((voxels_kji >= lower) & (voxels_kji <= upper)).all(axis=1)
    chosen = np.zeros(n_components + 1, dtype=np.bool_)
    chosen[labels[tuple((voxels_kji[inside] - lower).T)]] = True
    chosen[0] = False
    kept = np.zeros_like(array)
    kept[box] = chosen[labels]
    return kept


def fill_holes(array: BoolArray, open_kji: IndexArray) -> BoolArray:
    """Fill the holes of an object, except those that hold one of the given voxels.

    Parameters
    ----------
    array : ndarray, shape (k, j, i), bool
        Object voxels.
    open_kji : ndarray, shape (n, 3), intp
        Voxels whose holes stay open.

    Returns
    -------
    ndarray, shape (k, j, i), bool
        Object with every enclosed part of the background filled. A part that reaches the border
        of the array is not enclosed.
    """
    if not array.any():
        return array.copy()
    from scipy import ndimage

    lower, upper = bounding_box(array)
    box = tuple(slice(a, b + 1) for a, b in zip(lower, upper, strict=True))
    # One layer of background around the box joins all of the outside to one component.
    labels, n_components = ndimage.label(~np.pad(array[box], 1))
    inside = ((open_kji >= lower) & (open_kji <= upper)).all(axis=1)
    hole = np.ones(n_components + 1, dtype=np.bool_)
    hole[labels[0, 0, 0]] = False
    hole[labels[tuple((open_kji[inside] - lower + 1).T)]] = False
    filled = array.copy()
    # Label 0 is the object itself, even where a given voxel lies in it.
    hole[0] = True
    filled[box] = hole[labels[1:-1, 1:-1, 1:-1]]
    return filled


def tidied(array: BoolArray, positive_kji: IndexArray, negative_kji: IndexArray) -> BoolArray:
    """Force clicked voxels, keep the components with a positive one and fill the holes.

    Parameters
    ----------
    array : ndarray, shape (k, j, i), bool
        Object voxels.
    positive_kji, negative_kji : ndarray, shape (n, 3), intp
        Voxels that belong to the object, and voxels that do not; the former prevail.

    Returns
    -------
    ndarray, shape (k, j, i), bool
        Each of its components holds a positive voxel, and each of its holes a negative one.
    """
    clicked = array.copy()
    clicked[tuple(negative_kji.T)] = False
    clicked[tuple(positive_kji.T)] = True
    return fill_holes(keep_components(clicked, positive_kji), negative_kji)
