"""Parts of masks and maps in messages: the box that is not empty, and where it lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.worker.protocol import Message

if TYPE_CHECKING:
    # Masks load SciPy, which would slow the start of Slicer and of the worker.
    from NASAM3DLib.segment.mask import Mask


def occupied_box(array: npt.NDArray[np.bool_]) -> tuple[slice, ...]:
    """Give the smallest box with all true voxels.

    Parameters
    ----------
    array : ndarray, bool
        The voxels.

    Returns
    -------
    tuple of slice
        One for each axis; empty ones if no voxel is true.
    """
    # Each axis has to look only at what the axes before it have left.
    box = [slice(0, n) for n in array.shape]
    for axis in range(array.ndim):
        others = tuple(other for other in range(array.ndim) if other != axis)
        occupied = np.flatnonzero(array[tuple(box)].any(axis=others))
        if not occupied.size:
            return (slice(0, 0),) * array.ndim
        box[axis] = slice(int(occupied[0]), int(occupied[-1]) + 1)
    return tuple(box)


def pack_attention(attention: npt.NDArray[np.float32] | None, grid: VolumeGrid) -> Message:
    """Put an attention map into a message, in steps of 1/255.

    Parameters
    ----------
    attention : ndarray, shape (k, j, i), float32, or None
        Attention in [0, 1] on the volume's grid.
    grid : VolumeGrid
        The volume's grid.

    Returns
    -------
    Message
        The array ``attention``, uint8, is the box where it is not zero; the field ``ijk_to_ras`` is
        the place of that box. Without an array where there is no attention.
    """
    levels = None if attention is None else np.rint(255.0 * attention).astype(np.uint8)
    if levels is None or not levels.any():
        return Message("result")
    box = occupied_box(levels > 0)
    ijk_to_ras = grid.ijk_to_ras.copy()
    low_ijk = np.array([part.start for part in box[::-1]], dtype=np.float64)
    ijk_to_ras[:3, 3] = grid.to_ras(low_ijk)
    return Message("result", {"ijk_to_ras": ijk_to_ras.tolist()}, {"attention": levels[box]})


@dataclass(frozen=True, eq=False)
class MaskPart:
    """The occupied box of a mask on a volume's grid.

    Parameters
    ----------
    box : ndarray, shape (k, j, i), bool
        Its voxels.
    offset_kji : tuple of int
        Where the box lies in the volume.
    """

    box: npt.NDArray[np.bool_]
    offset_kji: tuple[int, ...]

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for equal parts."""
        return self.offset_kji, self.box.shape, np.packbits(self.box).tobytes()


def occupied_part(array: npt.NDArray[np.bool_]) -> MaskPart:
    """Cut the occupied box out of a mask.

    Parameters
    ----------
    array : ndarray, shape (k, j, i), bool
        The whole mask.

    Returns
    -------
    MaskPart
        With a copy of the voxels.
    """
    box = occupied_box(array)
    return MaskPart(array[box].copy(), tuple(part.start for part in box))


def with_base(message: Message, base: MaskPart | None) -> Message:
    """Add the mask that clicks shall correct to a request.

    Parameters
    ----------
    message : Message
        As :func:`~NASAM3DLib.worker.payloads.pack_prompts` made it.
    base : MaskPart or None
        The mask before the clicks; None if they begin a new one.

    Returns
    -------
    Message
    """
    if base is None:
        return message
    fields = {**message.fields, "base_offset_kji": list(base.offset_kji)}
    return Message(message.kind, fields, {**message.arrays, "base": base.box})


def unpack_base(message: Message, grid: VolumeGrid) -> Mask | None:
    """Take the mask that clicks shall correct out of a request.

    Parameters
    ----------
    message : Message
        As :func:`with_base` made it.
    grid : VolumeGrid
        Grid of the volume.

    Returns
    -------
    Mask or None

    Raises
    ------
    ValueError
        If the mask does not fit into the volume.
    """
    if "base" not in message.arrays:
        return None
    from NASAM3DLib.segment.mask import Mask

    box, low = message.arrays["base"], tuple(message.fields["base_offset_kji"])
    high = tuple(a + n for a, n in zip(low, box.shape, strict=True))
    if min(low) < 0 or any(b > n for b, n in zip(high, grid.shape_kji, strict=True)):
        raise ValueError(
            f"A mask of shape {box.shape} at {low} does not fit into a volume of shape "
            f"{grid.shape_kji}."
        )
    array = np.zeros(grid.shape_kji, dtype=np.bool_)
    array[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = box
    return Mask(array, grid)
