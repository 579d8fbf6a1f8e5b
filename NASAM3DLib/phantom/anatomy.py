"""The whole patient: what is painted in which order, and the phantom that results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from NASAM3DLib.phantom.abdomen import paint_abdomen, paint_great_vessels, paint_thorax
from NASAM3DLib.phantom.lattice import Float32, Lattice
from NASAM3DLib.phantom.muscles import paint_inner_muscles, paint_outer_muscles
from NASAM3DLib.phantom.patient import REGION_CENTRE_MM, Patient, Region, draw_patient
from NASAM3DLib.phantom.pelvis import paint_pelvis
from NASAM3DLib.phantom.scene import Scene, set_scene, trunk_bounds_mm
from NASAM3DLib.phantom.skeleton import paint_skeleton
from NASAM3DLib.phantom.texture import BandNoise
from NASAM3DLib.phantom.tissues import (
    LABELS,
    LESION_CONTRAST_HU,
    LIVER_LESION_CONTRAST_HU,
    ContrastState,
    texture_table,
)
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid

DEFAULT_FIELD_MM = 410.0
"""Edge of the cube that holds any patient's cross-section, mm."""

WARP_SCALE_MM = 70.0
LARGEST_WARP = 3.0
"""Deformations are clipped at so many standard deviations."""

LEAST_HU = -1000.0
BODY_MARGIN_MM = 5.0
"""Voxels farther than this from the box around the body are not computed: they are air."""


@dataclass(frozen=True, eq=False)
class Phantom:
    """A generated patient.

    Parameters
    ----------
    volume : Volume
        Linear attenuation coefficients without noise, 1/mm.
    labels : ndarray, shape (k, j, i), uint8
        Label of each voxel.
    label_names : mapping of int to str
        Name of each label number.
    patient : Patient
        What was drawn for this patient, CT numbers included.
    region : {"pelvis", "abdomen"}
        Part of the body in the middle of the grid.
    lesion_label : int
        Label of the lesion of this region: on the rectal wall or in the liver.
    lesion_point_ras : ndarray, shape (3,), float64
        A point well inside that lesion, mm: the centre of the voxel deepest in it.
    """

    volume: Volume
    labels: npt.NDArray[np.uint8]
    label_names: Mapping[int, str]
    patient: Patient
    region: Region
    lesion_label: int
    lesion_point_ras: npt.NDArray[np.float64]

    def mask_of(self, name: str) -> npt.NDArray[np.bool_]:
        """Find the voxels of one structure.

        Parameters
        ----------
        name : str
            Name of the label.

        Returns
        -------
        ndarray, shape (k, j, i), bool

        Raises
        ------
        ValueError
            If there is no such label.
        """
        if name not in LABELS:
            raise ValueError(f"Unknown structure {name!r}: choose one of {', '.join(LABELS)}.")
        return np.asarray(self.labels == LABELS[name])


def phantom_grid(n_voxels: int = 128, field_mm: float = DEFAULT_FIELD_MM) -> VolumeGrid:
    """Make a cubic grid that holds a whole cross-section.

    Parameters
    ----------
    n_voxels : int
        Number of voxels along each edge.
    field_mm : float
        Length of the edge, mm.

    Returns
    -------
    VolumeGrid
    """
    return VolumeGrid.centred((n_voxels,) * 3, field_mm / n_voxels)


def make_phantom(
    seed: int,
    grid: VolumeGrid,
    *,
    region: Region = "pelvis",
    contrast: ContrastState | None = None,
) -> Phantom:
    """Generate a patient on a grid.

    Parameters
    ----------
    seed : int
        Decides everything about the patient; the same seed on another grid is the same patient.
    grid : VolumeGrid
        Voxels to fill. The region's centre comes to lie at the centre of the grid.
    region : {"pelvis", "abdomen"}
        Part of the body.
    contrast : {"native", "arterial", "portal"}, optional
        State of contrast medium, else drawn. Changing it changes CT numbers only.

    Returns
    -------
    Phantom

    Raises
    ------
    ValueError
        If the region is unknown, or the grid is so small or coarse that it misses the lesion.
    """
    if region not in REGION_CENTRE_MM:
        raise ValueError(f"region must be one of {tuple(REGION_CENTRE_MM)}, got {region!r}.")
    person_rng, shape_rng, warp_rng, texture_rng = (
        np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(4)
    )
    patient = _with_lesions(draw_patient(person_rng, contrast), person_rng)
    lattice = _lattice(grid, patient, region)
    body = lattice.box(trunk_bounds_mm(patient), LARGEST_WARP * patient.warp_mm + BODY_MARGIN_MM)
    scene = set_scene(_warped(lattice.alone(body), patient, warp_rng), patient)
    _paint_all(scene, shape_rng)
    _add_texture(scene, texture_rng)
    hu = np.full(grid.shape_kji, patient.hu["air"], dtype=np.float32)
    hu[body] = np.maximum(scene.canvas.hu, LEAST_HU)
    labels = np.zeros(grid.shape_kji, dtype=np.uint8)
    labels[body] = scene.canvas.labels
    _drop_crumbs(labels, LABELS["rectal_lesion"], LABELS["rectum"])
    _drop_crumbs(labels, LABELS["liver_lesion"], LABELS["liver"])
    lesion_label = LABELS["rectal_lesion" if region == "pelvis" else "liver_lesion"]
    return Phantom(
        volume=Volume(hu, grid, "HU").to_attenuation(),
        labels=labels,
        label_names={number: name for name, number in LABELS.items()},
        patient=patient,
        region=region,
        lesion_label=lesion_label,
        lesion_point_ras=_deepest_point(labels == lesion_label, grid),
    )


def _with_lesions(patient: Patient, rng: np.random.Generator) -> Patient:
    """Draw the CT numbers of the lesions relative to the tissues around them."""
    hu = dict(patient.hu)
    brighter = max(hu["rectal_wall"], hu["muscle"])
    hu["rectal_lesion"] = brighter + float(rng.uniform(*LESION_CONTRAST_HU))
    hu["liver_lesion"] = hu["liver"] + float(rng.uniform(*LIVER_LESION_CONTRAST_HU))
    return replace(patient, hu=hu)


def _lattice(grid: VolumeGrid, patient: Patient, region: Region) -> Lattice:
    """Express the grid's voxel centres in the frame of the template."""
    to_ras = np.eye(4)
    to_ras[:3, :3] = patient.rotation * patient.scale
    centre = np.array([0.0, 0.0, REGION_CENTRE_MM[region]])
    to_ras[:3, 3] = grid.centre_ras + patient.shift_mm - to_ras[:3, :3] @ centre
    return Lattice.regular(grid.shape_kji, np.linalg.inv(to_ras) @ grid.ijk_to_ras)


def _warped(lattice: Lattice, patient: Patient, rng: np.random.Generator) -> Lattice:
    """Displace the points smoothly and at random, so that nothing is quite symmetric."""
    moved: list[Float32] = []
    for coordinate in (lattice.x, lattice.y, lattice.z):
        shift = np.clip(BandNoise(rng, WARP_SCALE_MM).sample(lattice), -LARGEST_WARP, LARGEST_WARP)
        moved.append(coordinate + shift * np.float32(patient.warp_mm))
    x, y, z = moved
    return Lattice(x, y, z, lattice.ijk_to_mm, LARGEST_WARP * patient.warp_mm)


def _paint_all(scene: Scene, rng: np.random.Generator) -> None:
    """Paint the anatomy from the outside in; what comes later covers what came before."""
    paint_outer_muscles(scene)
    scene.paint(scene.cavity, "fat", "deep_fat")
    paint_thorax(scene)
    paint_inner_muscles(scene)
    paint_abdomen(scene, rng)
    paint_great_vessels(scene, rng)
    paint_skeleton(scene)
    paint_pelvis(scene, rng)


def _add_texture(scene: Scene, rng: np.random.Generator) -> None:
    """Add each tissue's fine and coarse texture."""
    canvas = scene.canvas
    amplitude: Float32 = texture_table()[canvas.labels]
    fine, coarse = (BandNoise(rng, scale).sample(canvas.lattice) for scale in (5.0, 18.0))
    canvas.hu += amplitude * (np.float32(0.8) * fine + np.float32(0.6) * coarse)


def _drop_crumbs(labels: npt.NDArray[np.uint8], label: int, instead: int) -> None:
    """Keep the largest piece of a lesion; thin parts may come loose on coarse voxels."""
    from scipy.ndimage import find_objects
    from scipy.ndimage import label as find_pieces

    boxes = find_objects((labels == label).astype(np.uint8))
    if not boxes:
        return
    part = labels[boxes[0]]
    pieces, n_pieces = find_pieces(part == label)
    if n_pieces > 1:
        sizes = np.bincount(pieces.ravel())
        sizes[0] = 0
        part[(pieces > 0) & (pieces != sizes.argmax())] = instead


def _deepest_point(mask: npt.NDArray[np.bool_], grid: VolumeGrid) -> npt.NDArray[np.float64]:
    """Find the voxel centre farthest from a structure's surface, RAS mm."""
    from scipy.ndimage import distance_transform_edt, find_objects

    if not mask.any():
        raise ValueError(
            f"The grid ({grid}) does not hold a voxel of the lesion: take one that spans at least "
            "200 mm around its centre with voxels of at most 6 mm."
        )
    (box,) = find_objects(mask.astype(np.uint8))
    inside = np.pad(mask[box], 1)
    depth = distance_transform_edt(inside, sampling=grid.spacing_mm[::-1])
    local = np.unravel_index(int(np.argmax(depth)), inside.shape)
    index = [int(n) - 1 + s.start for n, s in zip(local, box, strict=True)]
    return grid.to_ras(index[::-1])
