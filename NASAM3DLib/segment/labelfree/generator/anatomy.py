"""Compose a volume: organs, fat between them, tubes, bones, lesions, lung vessels, skin."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from NASAM3DLib.segment.labelfree.generator.draws import Draws
from NASAM3DLib.segment.labelfree.generator.shapes import (
    Shape,
    ellipsoid,
    power_diagram,
    sheet,
    tube,
)
from NASAM3DLib.segment.labelfree.generator.tissues import (
    AIR_HU,
    BLOOD_HU,
    FAT_HU,
    LUNG_HU,
    lesion_hu,
    organ_hu,
    tissue_hu,
)

MIN_VOXELS = 25
"""Parts smaller than this are not painted."""

HOST_VOXELS = 800
"""Least size of an organ that is given lesions, voxels."""

N_ORGANS, N_STRUCTURES = (4, 40), (3, 16)


@dataclass(eq=False)
class Anatomy:
    """What lies where, and how dense it is.

    Parameters
    ----------
    labels : Tensor, shape (k, j, i), int64
        Number of the part at each voxel.
    densities_hu : list of float
        Density of each part.
    wholes : dict of int to int
        For a part of a larger object (marrow, lumen, lesion), the number of what it lies in.
    lesions : list of int
        Parts that are lesions.
    aside : set of int
        Parts that nobody would click on: fat between organs, skin, the air outside.
    """

    labels: Tensor
    densities_hu: list[float] = field(default_factory=list)
    wholes: dict[int, int] = field(default_factory=dict)
    lesions: list[int] = field(default_factory=list)
    aside: set[int] = field(default_factory=set)

    def paint(
        self, box: tuple[slice, ...], inside: Tensor, hu: float, *, whole: int | None = None
    ) -> int | None:
        """Give voxels to a new part.

        Parameters
        ----------
        box : tuple of slice
            Where.
        inside : Tensor of bool, shape of the box
            Which voxels.
        hu : float
            Density.
        whole : int, optional
            What the part belongs to.

        Returns
        -------
        int or None
            Number of the part; None if it would be too small.
        """
        if int(inside.sum()) < MIN_VOXELS:
            return None
        number = len(self.densities_hu)
        self.labels[box] = torch.where(inside, number, self.labels[box])
        self.densities_hu.append(max(AIR_HU, hu))
        if whole is not None:
            self.wholes[number] = whole
        return number

    def sizes(self) -> np.ndarray:
        """Count the voxels of each part.

        Returns
        -------
        ndarray, shape (n_parts,), int64
        """
        counts = torch.bincount(self.labels.reshape(-1), minlength=len(self.densities_hu))
        return np.asarray(counts.cpu().numpy())


def make_anatomy(draws: Draws) -> Anatomy:
    """Draw an anatomy.

    Parameters
    ----------
    draws : Draws
        Random numbers.

    Returns
    -------
    Anatomy
    """
    zoom = draws.uniform(0.7, 1.5)
    space = draws.coordinates * zoom
    space = space + draws.field(4, channels=3) * draws.uniform(0.02, 0.16)
    space = space + draws.field(9, channels=3) * draws.uniform(0, 0.045)
    common = tissue_hu(draws) if draws.chance(0.15) else draws.uniform(20, 90)
    anatomy = _organs(draws, space, common_hu=common, zoom=zoom)
    # Boxes of shapes are found in unwarped coordinates: shapes keep away from zooming.
    space = space / zoom
    for _ in range(int(draws.rng.integers(*N_STRUCTURES))):
        _structure(draws, anatomy, space, common)
    if draws.chance(0.3):
        _skin(draws, anatomy, space)
    if draws.chance(0.65):
        _lesions(draws, anatomy, space)
    return anatomy


def densities(draws: Draws, anatomy: Anatomy) -> Tensor:
    """Fill an anatomy with densities, textures and the vessels of lungs.

    Parameters
    ----------
    draws : Draws
        Random numbers.
    anatomy : Anatomy
        What lies where.

    Returns
    -------
    Tensor, shape (k, j, i), float32
        HU.
    """
    levels = draws.tensor(anatomy.densities_hu)
    image = levels[anatomy.labels]
    amplitude = np.abs(draws.rng.normal(0, 12, len(anatomy.densities_hu)))
    amplitude[np.array(anatomy.densities_hu) < -950] = 0
    texture = draws.field(int(draws.rng.integers(5, 12)))[0]
    fine = draws.field(max(4, draws.edge // int(draws.rng.integers(3, 6))))[0]
    texture = texture + draws.uniform(0, 0.7) * fine
    image = image + texture * draws.tensor(amplitude)[anatomy.labels]
    lung = (levels > LUNG_HU[0]) & (levels < LUNG_HU[1])
    if bool(lung.any()):
        image = _with_vessels(draws, image, lung[anatomy.labels])
    return image


def _organs(draws: Draws, space: Tensor, *, common_hu: float, zoom: float) -> Anatomy:
    """Part the volume into organs, and put fat between some of them."""
    n_cells = int(draws.rng.integers(*N_ORGANS))
    cells, gap = power_diagram(draws, space, n_cells=n_cells, extent=1.1 * zoom)
    anatomy = Anatomy(cells, [organ_hu(draws, common_hu) for _ in range(n_cells)])
    if draws.chance(0.75):
        width = 2.0 / draws.edge * draws.uniform(0.5, 3.0)
        thick = width * (0.6 + draws.field(5)[0])
        whole = (slice(0, draws.edge),) * 3
        hu = FAT_HU + 20 * float(draws.rng.standard_normal())
        fat = anatomy.paint(whole, gap < thick, hu)
        if fat is not None:
            anatomy.aside.add(fat)
    return anatomy


def _structure(draws: Draws, anatomy: Anatomy, space: Tensor, common_hu: float) -> None:
    """Paint one ellipsoid, tube or sheet; some have shells, walls or gas."""
    centre = draws.rng.uniform(-0.9, 0.9, 3)
    kind = draws.rng.random()
    shape: Shape | None
    if kind < 0.4:
        shape = ellipsoid(draws, space, centre=centre, radius=draws.uniform(0.06, 0.5))
    elif kind < 0.85:
        shape = tube(draws, space, centre=centre, radius=draws.uniform(0.04, 0.2))
    else:
        shape = sheet(draws, space, centre=centre, thickness=draws.uniform(0.03, 0.1))
    if shape is None:
        return
    inside = shape.level < 1
    if draws.chance(0.28):
        _bone(draws, anatomy, shape)
    elif kind < 0.85 and draws.chance(0.25):
        _hollow(draws, anatomy, shape)
    else:
        near = common_hu + draws.sign() * draws.uniform(12, 110)
        anatomy.paint(shape.box, inside, tissue_hu(draws) if draws.chance(0.45) else near)


def _bone(draws: Draws, anatomy: Anatomy, shape: Shape) -> None:
    """Paint a shell of bone, and marrow in it."""
    bone = anatomy.paint(shape.box, shape.level < 1, max(150.0, draws.rng.normal(600, 250)))
    if bone is None:
        return
    marrow = shape.level < draws.uniform(0.55, 0.92)
    anatomy.paint(shape.box, marrow, draws.rng.normal(140, 110), whole=bone)


def _hollow(draws: Draws, anatomy: Anatomy, shape: Shape) -> None:
    """Paint a wall around fluid, contrast or gas, the latter with a level in some."""
    wall = anatomy.paint(shape.box, shape.level < 1, draws.uniform(20, 90))
    if wall is None:
        return
    lumen = shape.level < draws.uniform(0.5, 0.85)
    contents = float(draws.rng.choice([AIR_HU, AIR_HU + 60, 10.0, 30.0, 250.0]))
    filled = anatomy.paint(shape.box, lumen, contents, whole=wall)
    if filled is None or contents > -500 or not draws.chance(0.5):
        return
    # Fluid lies below gas: a plane across the lumen.
    rows = draws.coordinates[1][shape.box]
    surface = float(rows[lumen].mean()) + draws.uniform(-0.05, 0.05)
    anatomy.paint(shape.box, lumen & (rows > surface), draws.uniform(0, 60), whole=wall)


def _skin(draws: Draws, anatomy: Anatomy, space: Tensor) -> None:
    """Let the body end: fat, skin and air beyond a bulging plane."""
    normal = draws.tensor(draws.rotation()[0])
    depth = torch.einsum("a,akji->kji", normal, space) - draws.uniform(0.35, 0.85)
    whole = (slice(0, draws.edge),) * 3
    voxel = 2.0 / draws.edge
    fat = anatomy.paint(whole, depth > -draws.uniform(0.02, 0.3), draws.rng.normal(FAT_HU, 12))
    skin = anatomy.paint(whole, depth > -1.2 * voxel, draws.uniform(-20, 50))
    air = anatomy.paint(whole, depth > 0, AIR_HU)
    anatomy.aside.update(n for n in (fat, skin, air) if n is not None)


def _lesions(draws: Draws, anatomy: Anatomy, space: Tensor) -> None:
    """Put one to three lesions into an organ, some with a core of another density."""
    sizes = anatomy.sizes()
    hosts = [n for n in np.flatnonzero(sizes > HOST_VOXELS).tolist() if n not in anatomy.aside]
    if not hosts:
        return
    host = int(draws.rng.choice(hosts))
    places = torch.nonzero(anatomy.labels == host)
    for _ in range(int(draws.rng.integers(1, 4))):
        place = places[int(draws.rng.integers(len(places)))]
        centre = space[(slice(None), *place)].cpu().numpy().astype(np.float64)
        shape = ellipsoid(
            draws, space, centre=centre, radius=draws.uniform(0.06, 0.25), spread=0.25
        )
        if shape is None:
            continue
        inside = (shape.level < 1) & (anatomy.labels[shape.box] == host)
        hu = lesion_hu(draws, anatomy.densities_hu[host])
        number = anatomy.paint(shape.box, inside, hu, whole=host)
        if number is None:
            continue
        anatomy.lesions.append(number)
        if draws.chance(0.25):
            core = inside & (shape.level < draws.uniform(0.35, 0.75))
            anatomy.paint(shape.box, core, hu - draws.uniform(10, 40), whole=number)


def _with_vessels(draws: Draws, image: Tensor, lung: Tensor) -> Tensor:
    """Add vessels to lungs: curves where two smooth fields vanish at once."""
    strength = torch.zeros_like(image)
    for divisor, width in ((12, 0.22), (6, 0.13)):
        nodes = max(4, draws.edge // divisor)
        first, second = draws.field(nodes, channels=2)
        away = (first.square() + second.square()) / width**2
        strength = torch.maximum(strength, torch.exp(-away))
    full = strength * draws.uniform(0.5, 1.0)
    return torch.where(lung, image + full * (BLOOD_HU - image), image)
