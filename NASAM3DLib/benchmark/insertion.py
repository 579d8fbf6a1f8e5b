"""Lesions of known shape in the organs of scanned patients.

Contours of real lesions are few and disagree by their readers; a lesion that was put in has a
truth without doubt, amid real texture, noise and neighbours. Solid organs and muscles get lesions
that are 20 to 70 HU darker or brighter, lungs solid nodules.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from NASAM3DLib.benchmark.case import MIN_VOXELS, Case, Target
from NASAM3DLib.benchmark.layout import CaseFiles
from NASAM3DLib.benchmark.sources import FileSource
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.segment.mask import Mask

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

HOSTS = re.compile(r"liver|spleen|kidney|lung|muscle|autochthon|iliopsoas|glute", re.IGNORECASE)
"""Names of organs that get lesions."""

RADIUS_MM = (6.0, 18.0)
DEPTH_SHARE = 0.8
"""Largest radius of a lesion in the depth of its organ."""

CONTRAST_HU = (20.0, 70.0)
NODULE_HU = (-80.0, 60.0)
LUNG_HU = -500.0
DARK_SHARE = 0.7
BUMPS = 0.2
"""Standard deviation of the radius over the surface, in the radius."""

EDGE_MM = 3.0
SEED = 0x4C45


@dataclass(frozen=True)
class InsertedSource:
    """A case in whose organs lesions are inserted; they are its only targets.

    Parameters
    ----------
    original : FileSource
        The case.
    per_organ : int
        Lesions of each organ, fewer where there is no room.
    """

    original: FileSource
    per_organ: int

    @property
    def name(self) -> str:
        """Name of the case."""
        return f"{self.original.name} with lesions"

    def key(self) -> str:
        """Identify the case.

        Returns
        -------
        str
        """
        return f"{self.original.key()} {self.per_organ} inserted 2"

    def load(self, spacing_mm: float) -> Case:
        """Read the case and insert lesions.

        Parameters
        ----------
        spacing_mm : float
            Spacing of the benchmark's grid, mm.

        Returns
        -------
        Case
        """
        case = self.original.load(spacing_mm)
        rng = np.random.default_rng([zlib.crc32(case.name.encode()), SEED])
        named = replace(case, name=self.name, data_set=f"{case.data_set}, inserted")
        return with_lesions(named, self.per_organ, rng=rng)


def insertions(files: Sequence[CaseFiles], per_organ: int) -> list[InsertedSource]:
    """List the cases that can get lesions.

    Parameters
    ----------
    files : sequence of CaseFiles
        Cases.
    per_organ : int
        Lesions of each organ.

    Returns
    -------
    list of InsertedSource
        Those with a solid organ, a lung or a muscle among their targets; none for no lesions.
    """
    return [
        InsertedSource(FileSource(case), per_organ)
        for case in files
        if per_organ and any(HOSTS.search(target.name) for target in case.targets)
    ]


def with_lesions(case: Case, per_organ: int, *, rng: np.random.Generator) -> Case:
    """Insert lesions into the organs of a case.

    Parameters
    ----------
    case : Case
        Volume and organs.
    per_organ : int
        Lesions of each organ.
    rng : numpy.random.Generator
        Decides place, size, shape and density.

    Returns
    -------
    Case
        With the lesions as targets, each within its organ and apart from the others.
    """
    array = case.volume.array.astype(np.float64)
    grid = case.volume.grid
    taken = np.zeros(grid.shape_kji, dtype=bool)
    targets = []
    for organ in case.targets:
        if organ.group != "organ" or not HOSTS.search(organ.name):
            continue
        for number in range(1, per_organ + 1):
            weight = _place(organ.mask, taken, rng)
            inside = weight > 0.5
            if np.count_nonzero(inside) < MIN_VOXELS:
                continue
            array = _changed(array, weight, organ.mask.array, rng)
            # A voxel's width stays between two lesions.
            taken |= weight > 0
            name = f"lesion {number} in {organ.name}"
            targets.append(Target(name, "lesion", Mask(inside, grid)))
    volume = Volume(array.astype(np.float32), grid, "HU")
    return replace(case, volume=volume, targets=tuple(targets), left_out=())


def _place(organ: Mask, taken: BoolArray, rng: np.random.Generator) -> FloatArray:
    """Draw a lesion: 1 inside, 0 outside, falling over 3 mm; all zero where there is no room."""
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    spacing = organ.grid.spacing_mm[::-1]
    free = np.pad(organ.array & ~taken, 1)
    depth = distance_transform_edt(free, sampling=spacing)[1:-1, 1:-1, 1:-1]
    largest = min(RADIUS_MM[1], DEPTH_SHARE * float(depth.max()))
    if largest < RADIUS_MM[0]:
        return np.zeros(organ.array.shape)
    radius = float(rng.uniform(RADIUS_MM[0], largest))
    choices = np.argwhere(depth >= radius)
    centre = choices[rng.integers(len(choices))]
    axes = np.exp(rng.normal(0, 0.15, 3))
    offsets = [
        (np.arange(n) - c) * step / scale
        for n, c, step, scale in zip(organ.array.shape, centre, spacing, axes, strict=True)
    ]
    distance = np.sqrt(sum(one**2 for one in np.meshgrid(*offsets, indexing="ij", sparse=True)))
    bumps = gaussian_filter(rng.standard_normal(organ.array.shape), radius / 2 / spacing)
    bumps *= BUMPS / bumps.std()
    weight = np.clip((radius * (1 + bumps) - distance) / EDGE_MM + 0.5, 0, 1)
    # Bumps may break away far from the centre, where the distance exceeds twice the radius.
    return np.asarray(np.where((distance < 2 * radius) & (depth > 0), weight, 0.0))


def _changed(
    array: FloatArray, weight: FloatArray, organ: BoolArray, rng: np.random.Generator
) -> FloatArray:
    """Change the density within a lesion; what is not lung keeps its texture."""
    if float(np.median(array[organ])) < LUNG_HU:
        level = rng.uniform(*NODULE_HU) + rng.normal(0, 12.0, array.shape)
        return np.asarray(array * (1 - weight) + level * weight)
    sign = -1 if rng.random() < DARK_SHARE else 1
    return np.asarray(array + sign * rng.uniform(*CONTRAST_HU) * weight)
