"""Checkpoints of a joint refinement: what it needs to go on after it was stopped.

One NPZ file: ``header``, JSON in UTF-8 as bytes, and the arrays of the rounds exactly as they are
in memory. Nothing in it is pickled.
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

from NASAM3DLib.joint.referee import Verdict
from NASAM3DLib.joint.rounds import Position
from NASAM3DLib.joint.settings import JointSettings
from NASAM3DLib.pipeline import Reconstruction
from NASAM3DLib.reconstruct.checkpoint import (
    fingerprint,
    read_header,
    read_state,
    write_record,
)
from NASAM3DLib.reconstruct.settings import ReconstructionSettings
from NASAM3DLib.scan.projections import ProjectionSet
from NASAM3DLib.segment.prompts import Prompts

FORMAT = "NASAM3D joint checkpoint 2"

REFEREE, FINAL = "referee", "final"

REPORTED = ("tv_strength", "settings", "noise_share", "surroundings", "weighted")
"""What a run takes from the report of the reconstruction that it starts from."""


@dataclass(eq=False)
class JointCheckpoint:
    """A stopped joint refinement.

    Parameters
    ----------
    mark : mapping of str to str
        What it belongs to, see :func:`mark_of`.
    part : {"referee", "final"}
        Whether the rounds leave views out or use all.
    verdicts : list of Verdict
        What held-out views say: of the volume from before, then after each round of the referee.
    changes : list of float
        Changes of the mask in the rounds of this part.
    n_rounds : int
        Rounds that the referee found good.
    start : ndarray, shape (k, j, i), float32, optional
        The referee's volume from before, 1/mm.
    position : Position, optional
        Where the rounds are; None before the first of a part.
    """

    mark: Mapping[str, str]
    part: str = REFEREE
    verdicts: list[Verdict] = field(default_factory=list)
    changes: list[float] = field(default_factory=list)
    n_rounds: int = 0
    start: npt.NDArray[np.float32] | None = None
    position: Position | None = None


def mark_of(
    projection_set: ProjectionSet,
    base: Reconstruction,
    prompts: Prompts,
    settings: JointSettings,
) -> dict[str, str]:
    """Describe a joint refinement so that another one is told apart.

    Parameters
    ----------
    projection_set : ProjectionSet
        Line integrals and geometry.
    base : Reconstruction
        What the refinement starts from.
    prompts : Prompts
        Clicks.
    settings : JointSettings
        Engine, rounds, tolerance.

    Returns
    -------
    dict of str to str
    """
    volume = base.volume
    mark = fingerprint(projection_set, volume.grid, ReconstructionSettings())
    digest = hashlib.sha256()
    arrays: list[npt.NDArray[Any]] = [
        volume.array,
        prompts.points_ras,
        prompts.labels,
        prompts.scribbles,
    ]
    if volume.uncertainty is not None:
        arrays.append(volume.uncertainty)
    if prompts.box_ras is not None:
        arrays.append(prompts.box_ras)
    for array in arrays:
        digest.update(f"{array.shape} {array.dtype.str};".encode())
        digest.update(np.ascontiguousarray(array).data)
    used = {name: base.report.get(name) for name in REPORTED}
    chosen = json.dumps([asdict(settings), used], sort_keys=True)
    return {**mark, "volume and clicks": digest.hexdigest(), "settings": chosen}


def save(checkpoint: JointCheckpoint, path: Path) -> None:
    """Write a checkpoint, replacing the one before when the new one is complete.

    Parameters
    ----------
    checkpoint : JointCheckpoint
        What to write; nothing is written while a step is half done.
    path : Path
        File to write.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    position = checkpoint.position
    header: dict[str, Any] = {"format": FORMAT, "mark": dict(checkpoint.mark), "position": None}
    for name in ("part", "changes", "n_rounds"):
        header[name] = getattr(checkpoint, name)
    header["verdicts"] = [asdict(verdict) for verdict in checkpoint.verdicts]
    arrays: dict[str, Any] = {}
    if position is not None:
        state = position.state
        if not state.is_whole:
            return
        header["position"] = {
            "n_rounds": position.n_rounds,
            "momentum": state.momentum,
            "n_steps": state.n_steps,
        }
        arrays = {"volume": state.volume, "ahead": state.ahead, "dual": state.dual}
        arrays |= {"guide": position.guide, "mask": position.mask}
    if checkpoint.start is not None:
        arrays["start"] = checkpoint.start
    write_record(path, header, arrays)


def load(path: Path, mark: Mapping[str, str]) -> JointCheckpoint:
    """Read the checkpoint of the same refinement.

    Parameters
    ----------
    path : Path
        File to read.
    mark : mapping of str to str
        What it must belong to.

    Returns
    -------
    JointCheckpoint

    Raises
    ------
    ValueError
        If the file is damaged or no checkpoint, or belongs to another refinement.
    OSError
        If the file cannot be opened.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as content:
            header = read_header(content, FORMAT)
            checkpoint = JointCheckpoint(
                header["mark"],
                header["part"],
                [Verdict(**verdict) for verdict in header["verdicts"]],
                header["changes"],
                int(header["n_rounds"]),
                content.get("start"),
                _position(content, header["position"]),
            )
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{path} is no checkpoint of a joint refinement or was cut short ({error}): remove it "
            "to start from the beginning."
        ) from error
    different = [key for key, value in mark.items() if checkpoint.mark.get(key) != value]
    if different:
        raise ValueError(
            f"The checkpoint {path} belongs to another joint refinement: it differs in "
            f"{', '.join(different)}. Name another file, or remove it to start from the beginning."
        )
    return checkpoint


def _position(content: Mapping[str, Any], saved: Mapping[str, Any] | None) -> Position | None:
    """Read the arrays of the rounds, checking that they belong together."""
    if saved is None:
        return None
    state, guide, mask = read_state(content, saved), content["guide"], content["mask"]
    if (guide.dtype, mask.dtype) != (np.int8, np.bool_):
        raise ValueError("its guide or mask has the wrong type")
    if guide.shape != state.dual.shape:
        raise ValueError("its arrays have different shapes")
    return Position(state, guide, mask, int(saved["n_rounds"]))
