"""What the fields of a request mean for the library: scans, quantities, previews, checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from NASAM3DLib.progress import ProgressCallback
from NASAM3DLib.reconstruct.volume import AIR_ATTENUATION, WATER_ATTENUATION, Volume
from NASAM3DLib.scan.field_of_view import default_grid
from NASAM3DLib.scan.projections import ProjectionSet
from NASAM3DLib.worker.files import load_sent_scan
from NASAM3DLib.worker.payloads import pack_volume, unpack_projections
from NASAM3DLib.worker.protocol import Message
from NASAM3DLib.worker.reporting import ProgressReporter

if TYPE_CHECKING:
    from NASAM3DLib.reconstruct.running import RunOptions
    from NASAM3DLib.scan.geometry import ConeBeamGeometry

SOFT_TISSUE_WINDOW_HU = (-160.0, 240.0)
SOFT_TISSUE_PART = 0.05
"""Part of the voxels that must lie in the soft tissue window to show a volume with it."""


def display_window(volume: Volume) -> tuple[float, float]:
    """Choose the grey levels to show a volume with.

    Parameters
    ----------
    volume : Volume
        The volume.

    Returns
    -------
    low, high : float
        The soft tissue window of an abdomen in the unit of the volume. Where hardly a voxel lies in
        it, as in a scan whose attenuation is not calibrated, the 1st and 99th percentile.
    """
    low, high = SOFT_TISSUE_WINDOW_HU
    if volume.quantity == "attenuation":
        scale = (WATER_ATTENUATION - AIR_ATTENUATION) / 1000.0
        low, high = WATER_ATTENUATION + low * scale, WATER_ATTENUATION + high * scale
    inside = np.mean((volume.array > low) & (volume.array < high))
    if inside >= SOFT_TISSUE_PART:
        return low, high
    low, high = (float(value) for value in np.percentile(volume.array, (1, 99)))
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def default_shape(geometry: ConeBeamGeometry) -> list[int] | None:
    """Give the shape of the default grid, if this geometry has one.

    Parameters
    ----------
    geometry : ConeBeamGeometry
        Of a scan.

    Returns
    -------
    list of int, or None
        (k, j, i).
    """
    try:
        return list(default_grid(geometry).shape_kji)
    except ValueError:
        return None


def in_quantity(volume: Volume, request: Message) -> Volume:
    """Give a volume in HU unless the request asks for attenuation.

    Parameters
    ----------
    volume : Volume
        In any unit.
    request : Message
        Field ``quantity``: "HU", which is the default, or "attenuation".

    Returns
    -------
    Volume
    """
    is_hu = request.fields.get("quantity", "HU") == "HU"
    return volume.to_hu() if is_hu else volume.to_attenuation()


def run_options(request: Message, progress: ProgressCallback) -> RunOptions:
    """Send previews and keep a checkpoint where a request asks for it.

    Parameters
    ----------
    request : Message
        Fields ``previews``, ``checkpoint`` and ``quantity``.
    progress : callable
        Progress callback of the job.

    Returns
    -------
    RunOptions
    """
    from NASAM3DLib.reconstruct.running import RunOptions

    path = request.fields.get("checkpoint")
    checkpoint = None if path is None else Path(path).expanduser()
    if not request.fields.get("previews") or not isinstance(progress, ProgressReporter):
        return RunOptions(checkpoint=checkpoint)

    def show(volume: Volume, stage: str) -> None:
        """Send one preview."""
        shown = in_quantity(volume, request)
        window = list(display_window(shown))
        progress.send_preview(pack_volume("preview", shown, stage=stage, window=window))

    return RunOptions(on_preview=show, checkpoint=checkpoint)


def requested_scan(request: Message) -> ProjectionSet:
    """Give the scan of a request.

    Parameters
    ----------
    request : Message
        With files, a ``path``, or arrays.

    Returns
    -------
    ProjectionSet

    Raises
    ------
    ValueError
        If something is missing or the scan contradicts itself.
    OSError
        If a file cannot be read.
    """
    if "files" in request.arrays:
        return load_sent_scan(request)
    if "path" not in request.fields:
        return unpack_projections(request)
    from NASAM3DLib.scan.io import load_projections

    return load_projections(Path(request.fields["path"]).expanduser())
