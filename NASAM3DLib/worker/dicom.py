"""The job "dicom_seg": segments as a DICOM object, beside the images that they were made on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from NASAM3DLib.progress import ProgressCallback
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.worker.mask_parts import MaskPart
from NASAM3DLib.worker.payloads import unpack_volume
from NASAM3DLib.worker.protocol import Array, Message

SERIES_ENDING = "_images"
"""What the folder of derived images is called, after the segmentation beside it."""


def dicom_seg_request(
    path: str | Path, grid: VolumeGrid, segments: Sequence[tuple[MaskPart, dict[str, Any]]]
) -> Message:
    """Ask for a DICOM segmentation.

    Parameters
    ----------
    path : str or Path
        File to write, on the worker's computer; replaced if there is one.
    grid : VolumeGrid
        Grid of the volume that the segments lie on.
    segments : sequence of pairs
        The occupied part of each segment, and its ``name``, ``colour`` and ``terminology``.

    Returns
    -------
    Message
        To be completed by the field ``series`` (files of the source series), or by the volume
        (:func:`~NASAM3DLib.worker.payloads.pack_volume`), whose derived images are written then.
    """
    described = [
        {**told, "offset_kji": list(part.offset_kji), "array": f"segment{n}"}
        for n, (part, told) in enumerate(segments)
    ]
    arrays: dict[str, Array] = {f"segment{n}": part.box for n, (part, _) in enumerate(segments)}
    fields = {"path": str(path), "grid": grid.to_dict(), "segments": described}
    return Message("dicom_seg", fields, arrays)


def dicom_seg(request: Message, progress: ProgressCallback) -> Message:
    """Write a DICOM segmentation.

    Parameters
    ----------
    request : Message
        As :func:`dicom_seg_request` made it, with the field ``series`` or a volume.
    progress : callable
        Progress callback.

    Returns
    -------
    Message
        Fields ``path``, ``folder`` (of the derived images; None if there was a series) and
        ``n_images``.

    Raises
    ------
    ModuleNotFoundError
        If highdicom is not installed.
    ValueError
        If the series is not that of the volume, or something is missing.
    OSError
        If a file cannot be read or written.
    """
    from NASAM3DLib.reconstruct.dicom_ct import SeriesInfo, save_ct_series
    from NASAM3DLib.segment.dicom_seg import check_highdicom, save_dicom_seg

    check_highdicom()
    path = Path(request.fields["path"]).expanduser()
    segments = _segments(request)
    series = [Path(name) for name in request.fields.get("series", ())]
    folder = None
    if not series and "volume" in request.arrays:
        progress("Writing images", 0.1)
        folder = path.with_name(path.stem + SERIES_ENDING)
        info = SeriesInfo(str(request.fields.get("description") or SeriesInfo.description))
        series = save_ct_series(unpack_volume(request), folder, info=info)
    progress("Writing the segmentation", 0.5)
    save_dicom_seg(segments, series, path, force=True)
    told = {"path": str(path), "n_images": len(series)}
    return Message("result", {**told, "folder": None if folder is None else str(folder)})


def _segments(request: Message) -> list[Any]:
    """Give the segments of a request, without those that are empty."""
    from NASAM3DLib.segment.dicom_seg import NamedSegment
    from NASAM3DLib.segment.mask import Mask

    grid, found = VolumeGrid.from_dict(request.fields["grid"]), []
    for told in request.fields["segments"]:
        box, low = request.arrays[told["array"]], told["offset_kji"]
        if not box.any():
            continue
        array = np.zeros(grid.shape_kji, dtype=np.bool_)
        array[tuple(slice(a, a + n) for a, n in zip(low, box.shape, strict=True))] = box
        red, green, blue = (float(part) for part in told["colour"])
        colour = (red, green, blue)
        mask = Mask(array, grid)
        found.append(NamedSegment(mask, told["name"], colour, told.get("terminology", "")))
    if not found:
        raise ValueError("All segments are empty: there is nothing to write.")
    return found
