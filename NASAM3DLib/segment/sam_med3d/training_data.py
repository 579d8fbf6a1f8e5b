"""What fine-tuning learns from: structures of generated patients, no labels of anybody's."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from NASAM3DLib.phantom.anatomy import make_phantom, phantom_grid
from NASAM3DLib.phantom.tissues import LABELS
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.segment.components import keep_components
from NASAM3DLib.segment.mask import Mask
from NASAM3DLib.segment.sam_med3d.canonical import (
    CanonicalVolume,
    canonical_labels,
    canonical_volume,
)
from NASAM3DLib.segment.sam_med3d.region_cut import begin_around_mask, cut_cube, z_scores

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

LEFT_OUT = ("background", "subcutaneous_fat", "deep_fat")
"""Labels that nobody would click on."""

CLAMP_HU = (-1000.0, 1000.0)
"""CT numbers are held between these, as when the public weights were trained."""

MAX_NOISE_HU = 30.0
"""Noise is added with a standard deviation drawn evenly up to this."""


@dataclass(frozen=True, eq=False)
class TrainingSample:
    """A region and the object in it.

    Parameters
    ----------
    image_ijk : ndarray, shape (n, n, n), float32
        z-scores, axes i, j, k.
    truth_ijk : ndarray, shape (n, n, n), bool
        The object.
    """

    image_ijk: FloatArray
    truth_ijk: BoolArray


class SampleSource(Protocol):
    """Where samples come from."""

    def sample(self, index: int, rng: np.random.Generator) -> TrainingSample:
        """Make one sample.

        Parameters
        ----------
        index : int
            Number of the sample.
        rng : numpy.random.Generator
            Decides what index does not.

        Returns
        -------
        TrainingSample
        """


@dataclass(frozen=True)
class PhantomSource:
    """Structures of generated patients, as a click would want them: one connected piece.

    Parameters
    ----------
    region_size : int
        Voxels of 1.5 mm along each edge of a sample.
    phantom_voxels : int
        Voxels along each edge of the patient's grid of 410 mm.
    samples_per_patient : int
        Samples from one patient, one after the other, before the next is generated.
    min_voxels : int
        Least size of an object, in voxels of 1.5 mm.

    Notes
    -----
    Pelvis and abdomen alternate. The region lies around the object's bounding box; CT numbers get
    Gaussian noise and are clamped; each axis is turned round with probability 1/2.
    """

    region_size: int = 128
    phantom_voxels: int = 160
    samples_per_patient: int = 8
    min_voxels: int = 1000

    def sample(self, index: int, rng: np.random.Generator) -> TrainingSample:
        """Make one sample.

        Parameters
        ----------
        index : int
            Decides the patient.
        rng : numpy.random.Generator
            Decides structure, noise and turns.

        Returns
        -------
        TrainingSample

        Raises
        ------
        RuntimeError
            If the patient has no object of the least size.
        """
        volume, labels = _patient(index // self.samples_per_patient, self.phantom_voxels)
        found = self._object(labels, rng)
        begin = begin_around_mask(Mask(found, volume.grid), self.region_size)
        cube = cut_cube(volume.array_hu, begin, self.region_size)
        truth = cut_cube(found, begin, self.region_size)
        noise = rng.standard_normal(cube.shape, dtype=np.float32)
        cube = np.clip(cube + np.float32(rng.uniform(0, MAX_NOISE_HU)) * noise, *CLAMP_HU)
        axes = tuple(int(n) for n in np.flatnonzero(rng.random(3) < 0.5))
        image, truth = (np.flip(part.transpose(2, 1, 0), axes) for part in (z_scores(cube), truth))
        return TrainingSample(np.ascontiguousarray(image), np.ascontiguousarray(truth))

    def _object(self, labels: npt.NDArray[np.uint8], rng: np.random.Generator) -> BoolArray:
        """Choose a structure, and of it the piece in which a random voxel lies."""
        counts = np.bincount(labels.ravel(), minlength=len(LABELS))
        numbers = [n for name, n in LABELS.items() if name not in LEFT_OUT]
        for number in rng.permutation([n for n in numbers if counts[n] >= self.min_voxels]):
            structure = labels == number
            places = np.flatnonzero(structure)
            voxel = np.unravel_index(places[rng.integers(len(places))], labels.shape)
            piece = keep_components(structure, np.array([voxel]))
            if np.count_nonzero(piece) >= self.min_voxels:
                return piece
        raise RuntimeError(
            f"This generated patient has no object of {self.min_voxels} voxels: lower min_voxels."
        )


@functools.lru_cache(maxsize=1)
def _patient(seed: int, n_voxels: int) -> tuple[CanonicalVolume, npt.NDArray[np.uint8]]:
    """Generate a patient in voxels of 1.5 mm; the last one is kept."""
    phantom = make_phantom(seed, phantom_grid(n_voxels), region="pelvis" if seed % 2 else "abdomen")
    volume: Volume = replace(phantom.volume, uncertainty=None)
    canonical = canonical_volume(volume)
    labels, _ = canonical_labels(phantom.labels, volume.grid)
    return canonical, labels
