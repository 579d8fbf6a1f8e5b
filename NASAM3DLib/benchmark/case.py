"""A case ready to be segmented: a volume on the benchmark's grid, and the truth about objects."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from NASAM3DLib.benchmark.layout import CaseFiles, Group
from NASAM3DLib.evaluate.resample import resample_mask, resample_volume
from NASAM3DLib.files import replacing
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.reconstruct.volume_io import load_volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.images import grid_of, read_image, simple_itk
from NASAM3DLib.segment.mask import Mask

BoolArray = npt.NDArray[np.bool_]

SPACING_MM = 3.0
"""Voxels of a benchmark along axes that are finer, mm."""

MIN_VOXELS, MAX_SHARE = 30, 0.45
"""Least size of an object in voxels, and its largest share of the volume."""


@dataclass(frozen=True, eq=False)
class Target:
    """An object whose truth is known.

    Parameters
    ----------
    name : str
        Name of the object.
    group : {"lesion", "organ", "generated"}
        What kind of object it is.
    mask : Mask
        The truth, on the grid of the case.
    """

    name: str
    group: Group
    mask: Mask


@dataclass(frozen=True, eq=False)
class Case:
    """A volume and the objects in it.

    Parameters
    ----------
    name, data_set : str
        Name of the case, and what it belongs to.
    volume : Volume
        HU, on the benchmark's grid.
    targets : tuple of Target
        The objects.
    left_out : tuple of str
        Objects that cannot be targets, and why.
    pictures : bool
        Whether the case may be shown.
    scanned : Volume, optional
        What sparse scans are made of; by default the volume.
    """

    name: str
    data_set: str
    volume: Volume
    targets: tuple[Target, ...]
    left_out: tuple[str, ...] = ()
    pictures: bool = True
    scanned: Volume | None = None


def working_grid(grid: VolumeGrid, spacing_mm: float = SPACING_MM) -> VolumeGrid:
    """Choose the benchmark's grid of a volume.

    Parameters
    ----------
    grid : VolumeGrid
        The volume's own.
    spacing_mm : float
        Wanted spacing, mm.

    Returns
    -------
    VolumeGrid
        The same box with voxels of about the wanted spacing along axes that are finer; axes that
        are coarser stay as they are.
    """
    edges_mm = grid.spacing_mm[::-1] * grid.shape_kji
    counts = [
        n if edge / n >= spacing_mm else max(round(edge / spacing_mm), 1)
        for n, edge in zip(grid.shape_kji, edges_mm.tolist(), strict=True)
    ]
    return grid.resampled((counts[0], counts[1], counts[2]))


def load_case(files: CaseFiles, spacing_mm: float = SPACING_MM) -> Case:
    """Read a case and bring it onto the benchmark's grid.

    Parameters
    ----------
    files : CaseFiles
        Where it is found.
    spacing_mm : float
        Spacing of the grid, mm.

    Returns
    -------
    Case
        An object of less than 30 voxels, or of more than 45 % of the volume, is left out.

    Raises
    ------
    ValueError
        If a file cannot be used.
    """
    volume = load_volume(files.image, quantity="HU")
    grid = working_grid(volume.grid, spacing_mm)
    label_maps: dict[Path, tuple[npt.NDArray[Any], VolumeGrid]] = {}
    targets, left_out = [], []
    for one in files.targets:
        if one.mask not in label_maps:
            label_maps[one.mask] = _label_map(one.mask)
        array, own_grid = label_maps[one.mask]
        inside = np.isin(array, one.labels) if one.labels else array != 0
        mask = resample_mask(Mask(inside, own_grid), grid)
        reason = unsuitable(mask.array)
        if reason:
            left_out.append(f"{files.name}, {one.name}: {reason}")
        else:
            targets.append(Target(one.name, one.group, mask))
    return Case(
        files.name,
        files.data_set,
        resample_volume(volume, grid),
        tuple(targets),
        tuple(left_out),
        files.pictures,
    )


def unsuitable(array: BoolArray) -> str:
    """Tell why an object cannot be a target.

    Parameters
    ----------
    array : ndarray, shape (k, j, i), bool
        The truth on the benchmark's grid.

    Returns
    -------
    str
        Empty if it can.
    """
    n_voxels = int(np.count_nonzero(array))
    if n_voxels < MIN_VOXELS:
        return f"{n_voxels} voxels on the benchmark's grid, fewer than {MIN_VOXELS}"
    if n_voxels > MAX_SHARE * array.size:
        return f"fills {100 * n_voxels / array.size:.0f} % of the volume"
    return ""


def checksum(volume: Volume, mask: Mask) -> str:
    """Identify what a method is shown and judged by.

    Parameters
    ----------
    volume : Volume
        What is segmented.
    mask : Mask
        The truth.

    Returns
    -------
    str
        CRC-32 of voxels, truth and grid, eight hexadecimal digits.
    """
    code = zlib.crc32(np.ascontiguousarray(volume.array).tobytes())
    code = zlib.crc32(np.packbits(mask.array).tobytes(), code)
    code = zlib.crc32(np.round(volume.grid.ijk_to_ras, 6).tobytes(), code)
    return f"{code:08x}"


def save_case(case: Case, path: Path) -> None:
    """Keep a case in one file, replacing an older one.

    Parameters
    ----------
    case : Case
        What to keep.
    path : Path
        File to write, ``.npz``.
    """
    entry = {
        "name": case.name,
        "data_set": case.data_set,
        "targets": [[target.name, target.group] for target in case.targets],
        "left_out": list(case.left_out),
        "pictures": case.pictures,
        "grid": case.volume.grid.to_dict(),
    }
    arrays = {"array_hu": case.volume.array}
    if case.scanned is not None:
        arrays["scanned_hu"] = case.scanned.array
    masks = np.array([target.mask.array for target in case.targets], dtype=bool)
    with replacing(path, force=True) as passing:
        np.savez_compressed(
            passing,
            entry=np.array(json.dumps(entry)),
            masks=np.packbits(masks),
            **arrays,  # type: ignore[arg-type]
        )


def read_case(path: Path) -> Case:
    """Read what :func:`save_case` kept.

    Parameters
    ----------
    path : Path
        File to read.

    Returns
    -------
    Case
    """
    with np.load(path, allow_pickle=False) as kept:
        entry = json.loads(str(kept["entry"]))
        grid = VolumeGrid.from_dict(entry["grid"])
        volume = Volume(kept["array_hu"], grid, "HU")
        scanned = Volume(kept["scanned_hu"], grid, "HU") if "scanned_hu" in kept else None
        n_targets = len(entry["targets"])
        bits = np.unpackbits(kept["masks"], count=n_targets * volume.array.size)
    masks = bits.astype(bool).reshape(n_targets, *grid.shape_kji)
    targets = tuple(
        Target(name, group, Mask(mask, grid))
        for (name, group), mask in zip(entry["targets"], masks, strict=True)
    )
    return Case(
        entry["name"],
        entry["data_set"],
        volume,
        targets,
        tuple(entry["left_out"]),
        entry["pictures"],
        scanned,
    )


def _label_map(path: Path) -> tuple[npt.NDArray[Any], VolumeGrid]:
    """Read a label map of one layer."""
    image = read_image(path)
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise ValueError(f"{path} has several layers: save each as a label map of its own.")
    array = np.asarray(simple_itk().GetArrayFromImage(image))
    return array, grid_of(image, path)
