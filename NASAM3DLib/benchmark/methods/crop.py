"""What the peers have in common: the part of the volume that they see, and the last touches.

The peers know neither where to stop looking nor what to do with a negative click, and would take
seconds to minutes on a whole volume. So each of them is shown a cube of 192 mm around the first
click, larger where later clicks lie outside, and gets the same help: the values are smoothed by a
mean over 3 x 3 x 3 voxels where noted, the mask is made to agree with the clicks, keeps the parts
that hold a positive click, and its holes are filled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.images import simple_itk
from NASAM3DLib.segment.mask import Mask
from NASAM3DLib.segment.prompts import POSITIVE, Prompts

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
IndexArray = npt.NDArray[np.intp]

REACH_MM, MARGIN_MM = 96.0, 24.0
"""Half the edge of the cube around the first click, and the margin around every later one, mm."""

PATCH = 2
"""Voxels to each side of a click over which its density is measured."""

LEAST_SPREAD_HU = 12.0
OUTSIDE_SPEED, LONGEST_MM = 1e-6, 2000.0
"""Speed outside a region, and the longest path within one: fronts do not leave it."""


@dataclass(frozen=True, eq=False)
class Crop:
    """What a peer sees.

    Parameters
    ----------
    array_hu : ndarray, shape (k, j, i), float32
        Values, HU.
    spacing_kji_mm : tuple of float
        Voxel spacing along k, j and i, mm.
    positive, negative : ndarray, shape (n, 3), intp
        Clicked voxels (k, j, i) of the crop, in order.
    """

    array_hu: FloatArray
    spacing_kji_mm: tuple[float, float, float]
    positive: IndexArray
    negative: IndexArray

    @cached_property
    def smoothed(self) -> FloatArray:
        """Mean over 3 x 3 x 3 voxels, shape (k, j, i), float32."""
        from scipy.ndimage import uniform_filter

        return np.asarray(uniform_filter(self.array_hu, 3, mode="nearest"), dtype=np.float32)

    def density(self, voxel_kji: IndexArray) -> tuple[float, float]:
        """Measure the density at a click.

        Parameters
        ----------
        voxel_kji : ndarray, shape (3,)
            The clicked voxel.

        Returns
        -------
        mean, spread : float
            Mean and standard deviation over 5 x 5 x 5 voxels of the smoothed values, the latter at
            least 12 HU.
        """
        box = tuple(slice(max(int(n) - PATCH, 0), int(n) + PATCH + 1) for n in voxel_kji)
        values = self.smoothed[box]
        return float(values.mean()), max(float(values.std()), LEAST_SPREAD_HU)

    def marked(self, voxels_kji: IndexArray) -> BoolArray:
        """Mark clicked voxels with their neighbours across faces.

        Parameters
        ----------
        voxels_kji : ndarray, shape (n, 3), intp
            Clicks.

        Returns
        -------
        ndarray, shape (k, j, i), bool
        """
        from scipy.ndimage import binary_dilation

        marks = np.zeros(self.array_hu.shape, dtype=bool)
        marks[tuple(voxels_kji.T)] = True
        return np.asarray(binary_dilation(marks)) if len(voxels_kji) else marks

    def shell(self) -> BoolArray:
        """Mark the outermost two layers of voxels, which count as background.

        Returns
        -------
        ndarray, shape (k, j, i), bool
        """
        outside = np.ones(self.array_hu.shape, dtype=bool)
        outside[2:-2, 2:-2, 2:-2] = False
        return outside


Answer = Callable[[Crop], BoolArray]


class CroppedSegmenter:
    """A method that sees a crop.

    Parameters
    ----------
    answer : callable
        Gives the object's voxels of a crop.
    """

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self._volume_hu: Volume | None = None

    def set_volume(self, volume: Volume) -> None:
        """Take the volume to segment.

        Parameters
        ----------
        volume : Volume
            In 1/mm or HU.
        """
        self._volume_hu = volume.to_hu()

    def predict(self, prompts: Prompts) -> Mask:
        """Give the mask for all prompts so far.

        Parameters
        ----------
        prompts : Prompts
            All clicks, in order; the first is positive.

        Returns
        -------
        Mask
            Agrees with every click.

        Raises
        ------
        RuntimeError
            If there is no volume yet.
        """
        if self._volume_hu is None:
            raise RuntimeError("There is no volume to segment yet: call set_volume first.")
        volume = self._volume_hu
        voxels = prompts.voxels(volume.grid)
        spacing = volume.grid.spacing_mm[::-1]
        box = _box(voxels, spacing, volume.grid.shape_kji)
        lower = np.array([side.start for side in box])
        positive = prompts.labels == POSITIVE
        crop = Crop(
            np.ascontiguousarray(volume.array[box]),
            (float(spacing[0]), float(spacing[1]), float(spacing[2])),
            voxels[positive] - lower,
            voxels[~positive] - lower,
        )
        whole = np.zeros(volume.grid.shape_kji, dtype=bool)
        whole[box] = self.answer(crop)
        return Mask(whole, volume.grid).tidied(prompts)


def without_negative(crop: Crop, region: BoolArray) -> BoolArray:
    """Take away what is nearer to a negative click than to a positive one, within a grown region.

    Parameters
    ----------
    crop : Crop
        Clicks and spacing.
    region : ndarray, shape (k, j, i), bool
        What a method that knows positive clicks only has grown.

    Returns
    -------
    ndarray, shape (k, j, i), bool
        Fronts from all clicks move through the region and do not leave it; a voxel belongs to the
        kind that arrives first.
    """
    if not len(crop.negative):
        return region
    speed = np.where(region, 1.0, OUTSIDE_SPEED).astype(np.float32)
    mine, others = (
        arrival_times(speed, seeds, crop.spacing_kji_mm, longest=LONGEST_MM)
        for seeds in (crop.positive, crop.negative)
    )
    return np.asarray(region & (mine <= others))


def arrival_times(
    speed: FloatArray,
    seeds_kji: IndexArray,
    spacing_kji_mm: Sequence[float],
    *,
    longest: float = 1e9,
) -> npt.NDArray[np.float64]:
    """Let a front move from some voxels through all others, by SimpleITK's fast marching.

    Parameters
    ----------
    speed : ndarray, shape (k, j, i), float32
        Speed, positive.
    seeds_kji : ndarray, shape (n, 3), intp
        Where the front starts.
    spacing_kji_mm : sequence of float
        Voxel spacing, mm.
    longest : float
        When the front stops; what it has not reached by then gets a larger time.

    Returns
    -------
    ndarray, shape (k, j, i), float64
        Arrival times.
    """
    sitk = simple_itk()
    image = sitk.GetImageFromArray(speed)
    image.SetSpacing([float(n) for n in reversed(spacing_kji_mm)])
    seeds = [[int(n) for n in seed[::-1]] for seed in seeds_kji]
    arrived = sitk.FastMarching(image, trialPoints=seeds, stoppingValue=longest)
    return np.asarray(sitk.GetArrayFromImage(arrived), dtype=np.float64)


def _box(
    voxels: IndexArray, spacing: npt.NDArray[np.float64], shape: tuple[int, int, int]
) -> tuple[slice, slice, slice]:
    """Find the bounds of what is shown."""
    reach = np.full((len(voxels), 1), MARGIN_MM)
    reach[0] = REACH_MM
    margin = np.ceil(reach / spacing).astype(int)
    lower = np.maximum((voxels - margin).min(axis=0), 0)
    upper = np.minimum((voxels + margin + 1).max(axis=0), shape)
    k, j, i = (slice(int(a), int(b)) for a, b in zip(lower, upper, strict=True))
    return k, j, i
