"""A generated volume with objects that a user may click on, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from NASAM3DLib.segment.labelfree.generator.acquisition import AcquisitionChances, acquired
from NASAM3DLib.segment.labelfree.generator.anatomy import Anatomy, densities, make_anatomy
from NASAM3DLib.segment.labelfree.generator.draws import Draws

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

MIN_TARGET_VOXELS, MAX_TARGET_SHARE = 30, 0.45
"""Least size of an object in voxels, and its largest share of the volume."""

LESION_SHARE = 0.5
"""How often an object is a lesion where there are lesions."""

GAS_HU, GAS_WEIGHT = -900.0, 0.3
"""Below this density an object is chosen more rarely, by this factor."""

ATTEMPTS = 20


@dataclass(frozen=True)
class GeneratorSettings:
    """What is generated.

    Parameters
    ----------
    edge : int
        Voxels along each edge.
    n_targets : int
        Objects of one volume.
    chances : AcquisitionChances
        Faults of the scan.
    device : str
        Torch device that computes.

    Raises
    ------
    ValueError
        If the volume is too small or there is no object.
    """

    edge: int = 64
    n_targets: int = 4
    chances: AcquisitionChances = field(default_factory=AcquisitionChances)
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.edge < 16 or self.n_targets < 1:
            raise ValueError(
                "GeneratorSettings needs at least 16 voxels along an edge and one target, got "
                f"{self.edge} and {self.n_targets}."
            )


@dataclass(frozen=True, eq=False)
class GeneratedVolume:
    """A volume, what lies where in it, and objects to click on.

    Parameters
    ----------
    array_hu : ndarray, shape (k, j, i), float32
        What the scan shows, HU.
    true_hu : ndarray, shape (k, j, i), float32
        What was scanned, HU.
    anatomy : Anatomy
        The parts, with labels on the generator's device.
    targets : tuple of ndarray, shape (k, j, i), bool
        Objects, each in one piece.
    """

    array_hu: FloatArray
    true_hu: FloatArray
    anatomy: Anatomy
    targets: tuple[BoolArray, ...]


def generate(seed: int | list[int], settings: GeneratorSettings | None = None) -> GeneratedVolume:
    """Generate a volume.

    Parameters
    ----------
    seed : int or list of int
        Decides everything: the same seed gives the same volume.
    settings : GeneratorSettings, optional
        Size, number of objects, faults.

    Returns
    -------
    GeneratedVolume

    Raises
    ------
    RuntimeError
        If twenty anatomies in a row have no object of a suitable size.
    """
    settings = settings or GeneratorSettings()
    rng = np.random.default_rng(seed)
    for _ in range(ATTEMPTS):
        draws = Draws(rng, settings.edge, settings.device)
        anatomy = make_anatomy(draws)
        targets = _targets(draws, anatomy, settings.n_targets)
        if targets:
            true = densities(draws, anatomy)
            seen = acquired(draws, true, settings.chances)
            return GeneratedVolume(
                np.ascontiguousarray(seen.cpu().numpy(), dtype=np.float32),
                np.ascontiguousarray(true.cpu().numpy(), dtype=np.float32),
                anatomy,
                targets,
            )
    raise RuntimeError(
        f"{ATTEMPTS} anatomies of {settings.edge} voxels had no object of a suitable size: "
        "enlarge the volume."
    )


def _targets(draws: Draws, anatomy: Anatomy, n_targets: int) -> tuple[BoolArray, ...]:
    """Choose objects: a part with all that belongs to it, its largest piece."""
    labels = anatomy.labels.cpu().numpy()
    sizes = anatomy.sizes()
    largest = MAX_TARGET_SHARE * labels.size
    usable = [
        n
        for n in np.flatnonzero((sizes >= MIN_TARGET_VOXELS) & (sizes <= largest)).tolist()
        if n not in anatomy.aside
    ]
    if not usable:
        return ()
    lesions = [n for n in anatomy.lesions if n in usable]
    weights = np.array([_weight(anatomy.densities_hu[n], int(sizes[n])) for n in usable])
    targets = []
    for _ in range(n_targets):
        if lesions and draws.chance(LESION_SHARE):
            chosen = int(draws.rng.choice(lesions))
        else:
            chosen = int(draws.rng.choice(usable, p=weights / weights.sum()))
        target = _largest_piece(np.isin(labels, list(_family(anatomy, chosen))))
        if MIN_TARGET_VOXELS <= np.count_nonzero(target) <= largest:
            targets.append(target)
    return tuple(targets)


def _weight(hu: float, size: int) -> float:
    """Give how often a part is chosen: large ones a little more, gas less."""
    return float(size**0.25 * (GAS_WEIGHT if hu < GAS_HU else 1.0))


def _family(anatomy: Anatomy, part: int) -> set[int]:
    """List what belongs to one object: marrow to its bone, lumen to its wall, lesions to organs."""
    family = {part}
    is_lesion = part in anatomy.lesions
    whole = anatomy.wholes.get(part)
    # Marrow alone is no object, and a lesion is one; a lesion's core belongs to the lesion.
    if whole is not None and not is_lesion and anatomy.densities_hu[whole] > 150:
        family.add(whole)
    if whole is not None and whole in anatomy.lesions:
        family.add(whole)
    for inner, outer in anatomy.wholes.items():
        if outer in family:
            family.add(inner)
    return family


def _largest_piece(array: BoolArray) -> BoolArray:
    """Keep the largest component."""
    labels, n_pieces = ndimage.label(array)
    if n_pieces < 2:
        return array
    counts = np.bincount(labels.ravel())
    counts[0] = 0
    return np.asarray(labels == counts.argmax())
