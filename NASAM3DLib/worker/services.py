"""Small jobs around the work: what this machine has, what a job would cost, weights to download."""

from __future__ import annotations

import functools
import importlib.util
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from NASAM3DLib.progress import ProgressCallback
from NASAM3DLib.worker.protocol import Message

SIMULATED_PHOTONS = 1e5


def machine(request: Message, progress: ProgressCallback) -> Message:
    """Describe the computer that the worker runs on.

    Parameters
    ----------
    request : Message
        Without fields.
    progress : callable
        Progress callback.

    Returns
    -------
    Message
        Fields ``cores``, ``memory_bytes`` and ``free_memory_bytes`` (None where they are not
        known), ``device`` (a sentence), ``gpu`` (None, or ``name``, ``memory_bytes`` and
        ``free_memory_bytes``), ``engines`` (names), ``has_torch`` and ``weights`` (a list with
        ``name``, ``title``, ``licence``, ``size_bytes`` and ``is_installed``).
    """
    from NASAM3DLib.reconstruct.device import choose_solver_device, describe_device
    from NASAM3DLib.reconstruct.estimate import memory_of_machine
    from NASAM3DLib.segment.segmenter import available_engines

    progress("Looking at this machine", 0.0)
    device = choose_solver_device("auto")
    total, free = memory_of_machine()
    fields = {
        "cores": os.cpu_count(),
        "memory_bytes": total,
        "free_memory_bytes": free,
        "device": describe_device(device),
        "gpu": _gpu() if device == "cuda" else None,
        "engines": list(available_engines()),
        "has_torch": importlib.util.find_spec("torch") is not None,
        "weights": _weights(),
    }
    return Message("result", fields)


def estimate(request: Message, progress: ProgressCallback) -> Message:
    """Estimate what a reconstruction takes on this machine.

    Parameters
    ----------
    request : Message
        With ``n_views``, ``detector_shape`` and ``shape_kji`` as ``inspect`` gives them, and
        ``settings`` for ``ReconstructionSettings``.
    progress : callable
        Progress callback.

    Returns
    -------
    Message
        Fields ``seconds`` (None where nothing has been measured: on a GPU, and for the published
        field), ``peak_bytes``, ``device``, ``free_memory_bytes`` and ``fits`` (None if it is not
        known).
    """
    from NASAM3DLib.reconstruct.device import choose_solver_device
    from NASAM3DLib.reconstruct.estimate import (
        ScanSize,
        estimate_cost,
        measure_speed,
        memory_of_machine,
    )
    from NASAM3DLib.reconstruct.settings import ReconstructionSettings

    fields = request.fields
    for name in ("n_views", "detector_shape", "shape_kji"):
        if not fields.get(name):
            raise ValueError(f"Message 'estimate' needs a field {name!r}, as inspect gives it.")
    size = ScanSize(
        int(fields["n_views"]), tuple(fields["detector_shape"]), tuple(fields["shape_kji"])
    )
    settings = ReconstructionSettings(**fields.get("settings", {}))
    progress("Timing this machine", 0.0)
    device = choose_solver_device(settings.device)
    speed = measure_speed() if device == "cpu" else 1.0
    cost = estimate_cost(size, settings, speed=speed, device=device)
    free = memory_of_machine()[1]
    answer = {
        **asdict(cost),
        "free_memory_bytes": free,
        "fits": None if free is None else cost.peak_bytes <= free,
    }
    return Message("result", answer)


def weights(request: Message, progress: ProgressCallback) -> Message:
    """Download weights whose licence the user has accepted.

    Parameters
    ----------
    request : Message
        With ``name``, ``accepted`` (must be true: the licence was shown and agreed to) and
        optionally ``mirror``.
    progress : callable
        Progress callback; a cancelled download goes on where it was when it is asked for again.

    Returns
    -------
    Message
        Fields ``name``, ``sha256``, ``size_bytes`` and ``source``.
    """
    from NASAM3DLib.weights.catalogue import public_weights
    from NASAM3DLib.weights.download import download
    from NASAM3DLib.weights.store import WeightStore

    wanted = public_weights(str(request.fields.get("name")))
    if request.fields.get("accepted") is not True:
        raise ValueError(
            f"The weights {wanted.name} are downloaded only after their licence was accepted: show "
            f"it, and ask again with accepted = true. {wanted.licence}"
        )
    mirror = request.fields.get("mirror") or None
    progress("Connecting", 0.0)
    stored = download(wanted, WeightStore(), mirror=mirror, progress=progress)
    return Message("result", asdict(stored))


def sample(request: Message, progress: ProgressCallback) -> Message:
    """Make the sample scan, or find it where it was made before.

    Parameters
    ----------
    request : Message
        With ``folder``, on this machine.
    progress : callable
        Progress callback.

    Returns
    -------
    Message
        Fields ``path`` and ``lesion_ras``, a list of points in its lesion, mm.
    """
    from NASAM3DLib.demo.sample import make_sample

    path, lesion = make_sample(Path(request.fields["folder"]).expanduser(), progress=progress)
    return Message("result", {"path": str(path), "lesion_ras": lesion.points_ras.tolist()})


def simulate(request: Message, progress: ProgressCallback) -> Message:
    """Simulate noisy views of a volume, for research.

    Parameters
    ----------
    request : Message
        With a volume, ``path`` of the file to write (replaced if there is one) and ``n_views``;
        optionally ``photons`` per pixel and view.
    progress : callable
        Progress callback.

    Returns
    -------
    Message
        Field ``path``.
    """
    import numpy as np

    from NASAM3DLib.reconstruct.simulate import SimulationSettings
    from NASAM3DLib.reconstruct.simulate import simulate as project
    from NASAM3DLib.scan.io import save_projections
    from NASAM3DLib.scan.presets import default_scan
    from NASAM3DLib.worker.payloads import unpack_volume

    volume, path = unpack_volume(request), Path(request.fields["path"]).expanduser()
    geometry = default_scan(volume.grid, n_views=int(request.fields["n_views"]))
    settings = SimulationSettings(float(request.fields.get("photons", SIMULATED_PHOTONS)))
    rng = np.random.default_rng(0)
    scan = project(volume, geometry, settings=settings, rng=rng, progress=progress)
    save_projections(scan, path, force=True)
    return Message("result", {"path": str(path)})


def _weights() -> list[dict[str, Any]]:
    """List the public weights and whether they are here."""
    from NASAM3DLib.weights.catalogue import CATALOGUE
    from NASAM3DLib.weights.store import WeightStore

    installed = {record.name for record in WeightStore().stored()}
    return [
        {
            "name": entry.name,
            "title": entry.title,
            "licence": entry.licence,
            "size_bytes": entry.size_bytes,
            "is_installed": entry.name in installed,
        }
        for entry in CATALOGUE.values()
    ]


def _gpu() -> dict[str, Any]:
    """Describe the GPU that is used."""
    import torch

    free, total = torch.cuda.mem_get_info(0)
    name = torch.cuda.get_device_name(0)
    return {"name": name, "memory_bytes": total, "free_memory_bytes": free}


@functools.cache
def warm_up() -> None:
    """Load what the first click needs, so that it is answered as soon as those after it."""
    import numpy as np

    from NASAM3DLib.pipeline import segment
    from NASAM3DLib.reconstruct.volume import Volume
    from NASAM3DLib.scan.grid import VolumeGrid
    from NASAM3DLib.segment.figures import measure
    from NASAM3DLib.segment.prompts import Prompts

    array = np.full((24, 24, 24), -1000, dtype=np.float32)
    array[8:16, 8:16, 8:16] = 50
    volume = Volume(array, VolumeGrid.centred(array.shape, 2.0), "HU")
    prompts = Prompts().with_point((0.0, 0.0, 0.0)).with_point((18.0, 0.0, 0.0), positive=False)
    measure(segment(volume, prompts), volume)
