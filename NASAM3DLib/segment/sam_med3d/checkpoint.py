"""Checkpoint files: read without executing anything, strictly compared, written whole."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from NASAM3DLib.files import replacing
from NASAM3DLib.segment.sam_med3d.config import SamMed3DConfig
from NASAM3DLib.segment.sam_med3d.model import SamMed3D, empty_sam_med3d

logger = logging.getLogger(__name__)

WEIGHTS_KEY = "model_state_dict"
"""Where training checkpoints, the public one too, hold the weights."""

MAX_NAMED = 5
"""Entries that an error message names before it says "and so on"."""


def load_checkpoint(path: Path | str, *, config: SamMed3DConfig | None = None) -> SamMed3D:
    """Load the network from a file.

    Parameters
    ----------
    path : Path or str
        File written by torch: a state dict, or a dict that holds one under ``model_state_dict``.
    config : SamMed3DConfig, optional
        Sizes; those of the public checkpoint if not given.

    Returns
    -------
    SamMed3D
        In evaluation mode, float32, on the CPU.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged, holds more than tensors and plain values, or is another network's.

    Notes
    -----
    The file is read with ``weights_only=True``: a pickled object in it is refused, not executed.
    Every entry is compared by name, shape, kind of number and finiteness.
    """
    path = Path(path)
    state = state_of(read_checkpoint(path), path)
    model = empty_sam_med3d(config)
    _check_entries(state, model.state_dict(), path)
    model.load_state_dict({name: _usable(name, state[name], path) for name in state}, assign=True)
    return model.requires_grad_(True)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a file of torch's without executing anything.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    dict
        What it holds: tensors and plain values.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged or holds anything else.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # Damaged files make torch raise almost anything: the pickle, zip, index and key errors of
        # its readers. What cannot be read is refused, whatever the reader calls it.
        raise ValueError(f"{path} cannot be loaded: {_reason(error, path)}") from error
    if not isinstance(content, dict):
        raise ValueError(
            f"{path} holds a {type(content).__name__}, not a dict of weights: it is no checkpoint."
        )
    return content


def state_of(content: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    """Find the weights in what a checkpoint holds.

    Parameters
    ----------
    content : mapping
        What :func:`read_checkpoint` gave.
    path : Path
        The file, for messages.

    Returns
    -------
    dict of str to Tensor

    Raises
    ------
    ValueError
        If there are none.
    """
    state = content.get(WEIGHTS_KEY, content)
    if not isinstance(state, dict) or not state:
        raise ValueError(f"{path} holds no weights under {WEIGHTS_KEY!r}: it is no checkpoint.")
    return dict(state)


def save_checkpoint(
    model: SamMed3D,
    path: Path,
    *,
    extra: Mapping[str, Any] | None = None,
    force: bool = False,
) -> None:
    """Write the network in the layout of the public checkpoint.

    Parameters
    ----------
    model : SamMed3D
        What to write.
    path : Path
        File to write.
    extra : mapping, optional
        Tensors and plain values to write beside the weights, such as the state of training.
    force : bool
        Whether an existing file may be replaced.

    Raises
    ------
    FileExistsError
        If the file exists and must not be replaced.
    """
    state = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    with replacing(path, force=force) as passing:
        torch.save({WEIGHTS_KEY: state, **(extra or {})}, passing)


def _check_entries(state: Mapping[str, Any], wanted: Mapping[str, Tensor], path: Path) -> None:
    """Compare names and shapes, and name what differs."""
    missing = [name for name in wanted if name not in state]
    extra = [str(name) for name in state if name not in wanted]
    if len(missing) > len(wanted) // 2:
        raise ValueError(
            f"{path} is not a checkpoint of SAM-Med3D: {len(wanted) - len(missing)} of its "
            f"{len(wanted)} entries are there, and {len(extra)} that it does not have"
            f"{_named(extra)}. Choose sam_med3d_turbo.pth or a file trained from it."
        )
    misshapen = [
        f"{name} is {_shape(state[name])} instead of {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in state and _shape(state[name]) != tuple(tensor.shape)
    ]
    faults = [
        f"{what}{_named(names)}"
        for what, names in (
            (f"{len(missing)} entries are missing", missing),
            (f"{len(extra)} entries do not belong to it", extra),
            (f"{len(misshapen)} entries have the wrong shape", misshapen),
        )
        if names
    ]
    if faults:
        raise ValueError(f"{path} does not fit SAM-Med3D of this size: {'; '.join(faults)}.")


def _usable(name: str, values: Tensor, path: Path) -> Tensor:
    """Give the values of an entry as float32 after checking that they are finite numbers."""
    if not values.is_floating_point():
        raise ValueError(f"{path}: {name} holds {values.dtype}, not floating-point numbers.")
    values = values.to(torch.float32)
    if not bool(torch.isfinite(values).all()):
        raise ValueError(f"{path}: {name} holds values that are not finite. The file is damaged.")
    return values.contiguous()


def _shape(values: Any) -> tuple[int, ...] | str:
    """Give the shape of a tensor, or the kind of what is no tensor."""
    return tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__


def _named(names: list[str]) -> str:
    """List the first few names."""
    if not names:
        return ""
    more = ", and so on" if len(names) > MAX_NAMED else ""
    return f" ({', '.join(names[:MAX_NAMED])}{more})"


def _reason(error: Exception, path: Path) -> str:
    """Say why torch refused a file."""
    text = " ".join(str(error).split())
    logger.debug("torch refused %s: %s", path, text)
    if "Weights only load failed" in text or "Unsupported global" in text:
        if zipfile.is_zipfile(path):
            return (
                "it holds Python objects besides tensors. They could run code and were not opened; "
                "ask its source for a file of plain weights."
            )
        return "it is not a file of torch's, or is damaged; nothing in it was executed."
    return f"it is damaged or incomplete ({text[:120]}). Copy or download it again."
