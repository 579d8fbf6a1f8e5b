"""A simulated user: first clicks, clicks on errors, and the state of one object between them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.components import bounding_box
from NASAM3DLib.segment.fronts import DensityFronts
from NASAM3DLib.segment.labelfree.features import network_input
from NASAM3DLib.segment.labelfree.merge import merged
from NASAM3DLib.segment.region import WorkingRegion
from NASAM3DLib.segment.region_box import REFERENCE_MM, IndexArray
from NASAM3DLib.segment.walk import WorkingClicks

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

CENTRAL_SHARE = 0.5
"""How often a click is put where the object or the error is thickest."""

DEPTH_SHARE = 0.4
"""Other clicks lie at least this part of the greatest depth inside."""

JITTER = 1
"""Clicks are moved by up to this many voxels along each axis, where they stay inside."""


def region_of(array_hu: FloatArray) -> WorkingRegion:
    """Take a whole array as a region; its voxels are the reference length.

    Parameters
    ----------
    array_hu : ndarray, shape (k, j, i), float32
        Volume, HU.

    Returns
    -------
    WorkingRegion
    """
    k, j, i = array_hu.shape
    grid = VolumeGrid.centred((k, j, i), REFERENCE_MM)
    return WorkingRegion(
        np.ascontiguousarray(array_hu, dtype=np.float32),
        None,
        grid,
        (0, 0, 0),
        (1, 1, 1),
        REFERENCE_MM,
    )


def click_inside(array: BoolArray, rng: np.random.Generator | None = None) -> IndexArray:
    """Click into an object or an error.

    Parameters
    ----------
    array : ndarray, shape (k, j, i), bool
        At least one voxel is set.
    rng : numpy.random.Generator, optional
        Without it, the first of the deepest voxels is clicked.

    Returns
    -------
    ndarray, shape (3,), intp
        A voxel that is set. With a generator it is one of the deepest with probability 1/2, else
        any at 0.4 of the greatest depth or more, and then moved by up to one voxel.
    """
    lower, upper = bounding_box(array)
    box = tuple(slice(a, b + 1) for a, b in zip(lower, upper, strict=True))
    depth = ndimage.distance_transform_edt(np.pad(array[box], 1))[1:-1, 1:-1, 1:-1]
    if rng is None:
        deepest = np.unravel_index(int(depth.argmax()), depth.shape)
        return np.asarray(lower + np.array(deepest), dtype=np.intp)
    share = 1.0 if rng.random() < CENTRAL_SHARE else DEPTH_SHARE
    places = np.argwhere(depth >= share * depth.max())
    voxel = places[int(rng.integers(len(places)))] + lower
    moved = voxel + rng.integers(-JITTER, JITTER + 1, 3)
    inside = (moved >= 0).all() and (moved < array.shape).all() and array[tuple(moved)]
    return np.asarray(moved if inside else voxel, dtype=np.intp)


def error_click(
    found: BoolArray, truth: BoolArray, rng: np.random.Generator | None = None
) -> tuple[IndexArray, bool] | None:
    """Click on the largest connected error.

    Parameters
    ----------
    found, truth : ndarray, shape (k, j, i), bool
        What was found, and what should have been.
    rng : numpy.random.Generator, optional
        See :func:`click_inside`.

    Returns
    -------
    tuple of ndarray and bool, or None
        The voxel, and whether it belongs to the object; None if there is no error.
    """
    largest: tuple[int, BoolArray, bool] | None = None
    for error, positive in ((truth & ~found, True), (found & ~truth, False)):
        if not error.any():
            continue
        labels, _ = ndimage.label(error)
        counts = np.bincount(labels.ravel())
        counts[0] = 0
        size = int(counts.max())
        if largest is None or size > largest[0]:
            largest = size, labels == counts.argmax(), positive
    if largest is None:
        return None
    return click_inside(largest[1], rng), largest[2]


@dataclass(eq=False)
class Interaction:
    """One object and the clicks on it so far.

    Parameters
    ----------
    fronts : DensityFronts
        Of its region.
    truth : ndarray, shape (k, j, i), bool
        The object.
    guided : bool
        Whether the network is shown the density guidance.
    positive, negative : list of ndarray, shape (3,), intp
        Clicked voxels, in order.
    newest : ndarray, shape (3,), intp, optional
        The newest click.
    """

    fronts: DensityFronts
    truth: BoolArray
    guided: bool = True
    positive: list[IndexArray] = field(default_factory=list)
    negative: list[IndexArray] = field(default_factory=list)
    newest: IndexArray | None = None
    previous: FloatArray = field(init=False)

    def __post_init__(self) -> None:
        self.previous = np.zeros(self.truth.shape, dtype=np.float32)

    @property
    def clicks(self) -> WorkingClicks:
        """All clicks so far."""
        return WorkingClicks(_stacked(self.positive), _stacked(self.negative))

    def click(self, rng: np.random.Generator | None = None) -> bool:
        """Add the next click: on the object at first, then on the largest error.

        Parameters
        ----------
        rng : numpy.random.Generator, optional
            See :func:`click_inside`.

        Returns
        -------
        bool
            Whether there was anything to click on.
        """
        if not self.positive:
            self.newest = click_inside(self.truth, rng)
            self.positive.append(self.newest)
            return True
        chosen = error_click(self.previous > 0.5, self.truth, rng)
        if chosen is None:
            return False
        self.newest = chosen[0]
        (self.positive if chosen[1] else self.negative).append(self.newest)
        return True

    def shown(self) -> FloatArray:
        """Assemble what the network is shown.

        Returns
        -------
        ndarray, shape (12, k, j, i), float32
        """
        return network_input(self.fronts, self.clicks, self.previous, guided=self.guided)

    def take(self, probability: FloatArray) -> float:
        """Merge the network's answer into the mask before.

        Parameters
        ----------
        probability : ndarray, shape (k, j, i), float32
            Answer.

        Returns
        -------
        float
            Dice of the merged mask.

        Raises
        ------
        RuntimeError
            If there was no click yet.
        """
        if self.newest is None:
            raise RuntimeError("There is no click to answer yet: call click first.")
        self.previous = merged(self.previous, probability, self.clicks, newest_kji=self.newest)
        found = self.previous > 0.5
        both = int(found.sum()) + int(self.truth.sum())
        return 2 * int((found & self.truth).sum()) / both


def _stacked(voxels: list[IndexArray]) -> IndexArray:
    """Put voxels into one array, shape (n, 3)."""
    return np.array(voxels, dtype=np.intp).reshape(-1, 3)
