"""How scans, volumes, points and masks travel in messages; used on both sides."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from NASAM3DLib.reconstruct.volume import Quantity, Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.projections import ProjectionSet
from NASAM3DLib.segment.prompts import Prompts
from NASAM3DLib.worker.mask_parts import occupied_box
from NASAM3DLib.worker.protocol import Array, Message

if TYPE_CHECKING:
    # Masks load SciPy, which would slow the start of Slicer and of the worker.
    from NASAM3DLib.segment.mask import Mask

_ID_BYTES = 16


def pack_projections(projection_set: ProjectionSet) -> Message:
    """Put a scan into a "reconstruct" message.

    Parameters
    ----------
    projection_set : ProjectionSet
        The scan.

    Returns
    -------
    Message
        With the array ``projections`` and the field ``geometry``, described as in a sidecar file.
    """
    from NASAM3DLib.scan.sidecar import describe_geometry

    geometry = describe_geometry(projection_set.geometry)
    return Message(
        "reconstruct", {"geometry": geometry}, {"projections": projection_set.projections}
    )


def unpack_projections(message: Message) -> ProjectionSet:
    """Take a scan out of a message.

    Parameters
    ----------
    message : Message
        As :func:`pack_projections` made it.

    Returns
    -------
    ProjectionSet

    Raises
    ------
    ValueError
        If something is missing or the scan contradicts itself.
    """
    from NASAM3DLib.scan.sidecar import geometry_from_description

    projections = _array(message, "projections")
    if projections.ndim != 3:
        raise ValueError(
            f"projections must have shape (n_views, n_rows, n_cols), got {projections.shape}."
        )
    geometry = geometry_from_description(
        _field(message, "geometry"), projections.shape, Path("the message")
    )
    return ProjectionSet(projections, geometry)


def pack_volume(kind: str, volume: Volume, **fields: Any) -> Message:
    """Put a volume into a message.

    Parameters
    ----------
    kind : str
        Kind of the message.
    volume : Volume
        The volume.
    **fields : object
        Further fields.

    Returns
    -------
    Message
    """
    arrays: dict[str, Array] = {"volume": volume.array}
    if volume.uncertainty is not None:
        arrays["uncertainty"] = volume.uncertainty
    described = {"grid": volume.grid.to_dict(), "quantity": volume.quantity}
    return Message(kind, {**described, **fields}, arrays)


def unpack_volume(message: Message) -> Volume:
    """Take a volume out of a message.

    Parameters
    ----------
    message : Message
        As :func:`pack_volume` made it.

    Returns
    -------
    Volume

    Raises
    ------
    ValueError
        If something is missing or wrong.
    """
    grid = VolumeGrid.from_dict(_field(message, "grid"))
    uncertainty = message.arrays.get("uncertainty")
    return Volume(_array(message, "volume"), grid, _field(message, "quantity"), uncertainty)


@dataclass(frozen=True, eq=False)
class ReceivedVolume:
    """A volume as a worker sent it, with the same names as :class:`Volume` but no check of voxels.

    Parameters
    ----------
    array : ndarray, shape (k, j, i), float32
        Voxel values.
    grid : VolumeGrid
        Where the voxels lie.
    quantity : {"attenuation", "HU"}
        What the values are.
    uncertainty : ndarray, shape (k, j, i), float32, or None
        One standard deviation of each voxel.
    """

    array: Array
    grid: VolumeGrid
    quantity: Quantity
    uncertainty: Array | None


def receive_volume(message: Message) -> ReceivedVolume:
    """Take a worker's volume out of a message, at once whatever its size.

    Parameters
    ----------
    message : Message
        A result or a preview of a reconstruction. The worker has checked the voxels.

    Returns
    -------
    ReceivedVolume

    Raises
    ------
    ValueError
        If something is missing or the shape is not the grid's.
    """
    array, grid = _array(message, "volume"), VolumeGrid.from_dict(_field(message, "grid"))
    if array.shape != grid.shape_kji:
        raise ValueError(f"A volume must have the shape {grid.shape_kji}, got {array.shape}.")
    uncertainty = message.arrays.get("uncertainty")
    return ReceivedVolume(array, grid, _field(message, "quantity"), uncertainty)


def pack_prompts(kind: str, prompts: Prompts, **fields: Any) -> Message:
    """Put prompts into a message.

    Parameters
    ----------
    kind : str
        Kind of the message.
    prompts : Prompts
        Points, scribbles and box.
    **fields : object
        Further fields.

    Returns
    -------
    Message
    """
    arrays: dict[str, Array] = {
        "points_ras": prompts.points_ras,
        "labels": prompts.labels,
        "scribbles": prompts.scribbles,
    }
    if prompts.box_ras is not None:
        arrays["box_ras"] = prompts.box_ras
    return Message(kind, fields, arrays)


def unpack_prompts(message: Message) -> Prompts:
    """Take prompts out of a message.

    Parameters
    ----------
    message : Message
        As :func:`pack_prompts` made it.

    Returns
    -------
    Prompts

    Raises
    ------
    ValueError
        If something is missing or wrong.
    """
    box, scribbles = (message.arrays.get(name) for name in ("box_ras", "scribbles"))
    points, labels = _array(message, "points_ras"), _array(message, "labels")
    if scribbles is None:
        return Prompts(points, labels, box)
    return Prompts(points, labels, box, scribbles)


def pack_mask(kind: str, mask: Mask, **fields: Any) -> Message:
    """Put the occupied box of a mask into a message.

    Parameters
    ----------
    kind : str
        Kind of the message.
    mask : Mask
        The mask.
    **fields : object
        Further fields.

    Returns
    -------
    Message
        Its array ``mask`` is the smallest box that holds all voxels, at ``offset_kji``.
    """
    box = occupied_box(mask.array)
    offset_kji = [part.start for part in box]
    described = {"shape_kji": list(mask.grid.shape_kji), "offset_kji": offset_kji}
    return Message(kind, {**described, **fields}, {"mask": mask.array[box]})


def unpack_mask(message: Message) -> npt.NDArray[np.uint8]:
    """Take a mask out of a message.

    Parameters
    ----------
    message : Message
        As :func:`pack_mask` made it.

    Returns
    -------
    ndarray, shape (k, j, i), uint8
        1 inside the object, 0 outside.

    Raises
    ------
    ValueError
        If something is missing or the box does not fit into the volume.
    """
    shape, low = (tuple(_field(message, name)) for name in ("shape_kji", "offset_kji"))
    box = _array(message, "mask")
    high = tuple(a + n for a, n in zip(low, box.shape, strict=True))
    if min(low) < 0 or any(b > n for b, n in zip(high, shape, strict=True)):
        raise ValueError(
            f"A mask of shape {box.shape} at {low} does not fit into a volume of shape {shape}."
        )
    mask = np.zeros(shape, dtype=np.uint8)
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = box
    return mask


def content_id(volume: Volume) -> str:
    """Give a short name that only volumes of the same content share.

    Parameters
    ----------
    volume : Volume
        The volume.

    Returns
    -------
    str
        Hash of voxels, grid, quantity and uncertainty.
    """
    digest = hashlib.blake2b(digest_size=_ID_BYTES)
    digest.update(repr((volume.grid.shape_kji, volume.quantity)).encode())
    digest.update(np.ascontiguousarray(volume.grid.ijk_to_ras).data)
    digest.update(np.ascontiguousarray(volume.array).data)
    if volume.uncertainty is not None:
        digest.update(np.ascontiguousarray(volume.uncertainty).data)
    return digest.hexdigest()


def _array(message: Message, name: str) -> Array:
    """Give one array of a message, or say that it is missing."""
    if name not in message.arrays:
        raise ValueError(f"Message {message.kind!r} needs an array {name!r}.")
    return message.arrays[name]


def _field(message: Message, name: str) -> Any:
    """Give one field of a message, or say that it is missing."""
    if name not in message.fields:
        raise ValueError(f"Message {message.kind!r} needs a field {name!r}.")
    return message.fields[name]
