"""Checkpoints: what a running reconstruction needs to go on after it was stopped.

A checkpoint is one NPZ file: ``header``, JSON in UTF-8 as bytes, the arrays ``volume``, ``ahead``
and ``dual`` of the iteration and, while a finished volume is refined, that volume as ``base``; all
exactly as they are in memory, so that a resumed run ends with the same bits as an uninterrupted
one. Nothing in it is pickled.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import NASAM3DLib
from NASAM3DLib.files import replacing
from NASAM3DLib.reconstruct.iterative import IterationState
from NASAM3DLib.reconstruct.operator_scale import OperatorScale
from NASAM3DLib.reconstruct.settings import PHASES, ReconstructionSettings
from NASAM3DLib.scan.geometry import ConeBeamGeometry
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.projections import ProjectionSet

FORMAT = "NASAM3D checkpoint 2"

WHAT = {
    "projections": "the projections",
    "geometry": "the scanner geometry",
    "voxels": "the voxels",
    "settings": "the settings",
    "library": "the version of NASAM3DLib",
}
"""Parts of a fingerprint, as a message names them."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A stopped reconstruction.

    Parameters
    ----------
    fingerprint : mapping of str to str
        What it belongs to, see :func:`fingerprint`.
    choice : mapping of str to object
        Plain JSON values: the strength of total variation and how it was chosen; empty before.
    scale : OperatorScale, optional
        Scale of the problem, once it is known.
    state : IterationState, optional
        Where the iteration is, once it has begun.
    base : ndarray, shape (k, j, i), float32, optional
        The finished volume that is being refined, 1/mm; then the state is that of the refinement.
    """

    fingerprint: Mapping[str, str]
    choice: Mapping[str, Any] = field(default_factory=dict)
    scale: OperatorScale | None = None
    state: IterationState | None = None
    base: npt.NDArray[np.float32] | None = None


def fingerprint(
    projection_set: ProjectionSet, grid: VolumeGrid, settings: ReconstructionSettings
) -> dict[str, str]:
    """Describe a reconstruction so that another one is told apart.

    Parameters
    ----------
    projection_set : ProjectionSet
        Line integrals and geometry.
    grid : VolumeGrid
        Voxels.
    settings : ReconstructionSettings
        Method and quality.

    Returns
    -------
    dict of str to str
        Hashes of projections, geometry and voxels, the settings and the library's version.
    """
    phases = [asdict(phase) for phase in PHASES[settings.quality]]
    chosen = {**asdict(settings), "phases": phases}
    return {
        "projections": _digest(projection_set.projections),
        "geometry": _geometry_digest(projection_set.geometry),
        "voxels": _digest(np.array(grid.shape_kji, dtype=np.int64), grid.ijk_to_ras),
        "settings": json.dumps(chosen, sort_keys=True),
        "library": NASAM3DLib.__version__,
    }


def _geometry_digest(geometry: ConeBeamGeometry) -> str:
    """Hash all poses and the detector's shape."""
    poses = (geometry.sources_ras, geometry.detector_centres_ras)
    steps = (geometry.detector_u_ras, geometry.detector_v_ras)
    return _digest(*poses, *steps, np.array(geometry.detector_shape, dtype=np.int64))


def _digest(*arrays: np.ndarray[Any, Any]) -> str:
    """Hash shapes, types and values."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.shape} {array.dtype.str};".encode())
        # View by view, which needs no second copy of large arrays that are not contiguous.
        for part in np.atleast_1d(array):
            digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint, replacing the one before when the new one is complete.

    Parameters
    ----------
    checkpoint : Checkpoint
        What to write.
    path : Path
        File to write.

    Raises
    ------
    OSError
        If the file cannot be written.
    ValueError
        If a step was torn out of the state.
    """
    state, scale = checkpoint.state, checkpoint.scale
    header: dict[str, Any] = {
        "format": FORMAT,
        "fingerprint": dict(checkpoint.fingerprint),
        "choice": dict(checkpoint.choice),
        "scale": None if scale is None else asdict(scale),
        "position": None,
    }
    arrays: dict[str, Any] = {}
    if state is not None:
        if not state.is_whole:
            raise ValueError("The iteration was torn out of a step: its state cannot be saved.")
        header["position"] = {"momentum": state.momentum, "n_steps": state.n_steps}
        arrays = {"volume": state.volume, "ahead": state.ahead, "dual": state.dual}
    if checkpoint.base is not None:
        arrays["base"] = checkpoint.base
    write_record(path, header, arrays)


def write_record(
    path: Path, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray[Any, Any]]
) -> None:
    """Write a header and arrays; a file that is there is replaced as a whole or not at all.

    Parameters
    ----------
    path : Path
        File to write, NPZ.
    header : mapping
        Plain JSON values.
    arrays : mapping of str to ndarray
        Arrays by name.
    """
    encoded = np.frombuffer(json.dumps(header, allow_nan=False).encode("utf-8"), dtype=np.uint8)
    # Through an open file, because NumPy would add an ending to a name without one.
    with replacing(path, force=True) as passing, passing.open("wb") as stream:
        np.savez(stream, header=encoded, **arrays)  # type: ignore[arg-type]


def read_header(content: Mapping[str, Any], wanted_format: str) -> dict[str, Any]:
    """Read the header of a record.

    Parameters
    ----------
    content : mapping
        Arrays of the file.
    wanted_format : str
        What its field ``format`` must be.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If it has another format.
    """
    header = json.loads(content["header"].tobytes().decode("utf-8"))
    if not isinstance(header, dict) or header.get("format") != wanted_format:
        raise ValueError(f"its format is not {wanted_format!r}")
    return header


def load_checkpoint(path: Path, expected: Mapping[str, str]) -> Checkpoint:
    """Read a checkpoint of the same reconstruction.

    Parameters
    ----------
    path : Path
        File to read.
    expected : mapping of str to str
        Fingerprint of the reconstruction that shall go on.

    Returns
    -------
    Checkpoint

    Raises
    ------
    ValueError
        If the file is damaged or no checkpoint, or belongs to another reconstruction.
    OSError
        If the file cannot be opened.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as content:
            header = read_header(content, FORMAT)
            _check_fingerprint(path, header["fingerprint"], expected)
            scale = header["scale"]
            return Checkpoint(
                header["fingerprint"],
                header["choice"],
                None if scale is None else OperatorScale(**scale),
                None if header["position"] is None else read_state(content, header["position"]),
                content.get("base"),
            )
    except CheckpointMismatchError:
        raise
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{path} is no checkpoint of this version or was cut short ({error}): remove it to "
            "start from the beginning."
        ) from error


class CheckpointMismatchError(ValueError):
    """A checkpoint belongs to another reconstruction."""


def _check_fingerprint(path: Path, found: Mapping[str, str], expected: Mapping[str, str]) -> None:
    """Refuse a checkpoint of something else, naming what differs."""
    different = [name for key, name in WHAT.items() if found.get(key) != expected.get(key)]
    if different:
        raise CheckpointMismatchError(
            f"The checkpoint {path} belongs to another reconstruction: it differs in "
            f"{', '.join(different)}. Name another file, or remove it to start from the beginning."
        )


def read_state(content: Mapping[str, Any], position: Mapping[str, Any]) -> IterationState:
    """Read the iteration's arrays, checking that they belong together.

    Parameters
    ----------
    content : mapping
        Arrays of the file.
    position : mapping
        ``momentum`` and ``n_steps``.

    Returns
    -------
    IterationState

    Raises
    ------
    ValueError
        If types or shapes do not fit.
    """
    volume, ahead, dual = content["volume"], content["ahead"], content["dual"]
    if (volume.dtype, ahead.dtype, dual.dtype) != (np.float32, np.float32, np.int16):
        raise ValueError("its arrays have the wrong types")
    if ahead.shape != volume.shape or dual.shape != (3, *volume.shape):
        raise ValueError("its arrays have different shapes")
    return IterationState(
        volume, ahead, dual, float(position["momentum"]), int(position["n_steps"])
    )
