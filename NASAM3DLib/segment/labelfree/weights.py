"""Weight files: safetensors in half precision, a checksum and a record of the training beside."""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from NASAM3DLib.files import write_bytes, write_text
from NASAM3DLib.segment.labelfree.location import default_path
from NASAM3DLib.segment.labelfree.network import LabelFreeNetwork, NetworkConfig, channels_last

FORMAT = "nasam3d-labelfree-2"

MAX_BYTES = 10_000_000
"""Largest file of weights."""

_KINDS: dict[str, npt.DTypeLike] = {"F16": "<f2", "F32": "<f4"}
_LENGTH = struct.Struct("<Q")


class WeightsError(ValueError):
    """A file of weights that cannot be used, and why."""


class WeightsMissingError(FileNotFoundError):
    """There is no file of weights."""


@dataclass(frozen=True, eq=False)
class LoadedWeights:
    """A network and what is known about its training.

    Parameters
    ----------
    network : LabelFreeNetwork
        In evaluation mode, float32, on the CPU.
    record : dict
        The training record.
    sha256 : str
        Checksum of the file of weights.
    """

    network: LabelFreeNetwork
    record: dict[str, Any]
    sha256: str


def record_path(path: Path) -> Path:
    """Give the place of the training record of a file of weights.

    Parameters
    ----------
    path : Path
        File of weights.

    Returns
    -------
    Path
    """
    return path.with_suffix(".json")


def save_weights(
    network: LabelFreeNetwork, path: Path, *, record: dict[str, Any], force: bool = False
) -> str:
    """Write a network in half precision, and its record beside it.

    Parameters
    ----------
    network : LabelFreeNetwork
        What to write.
    path : Path
        File to write, ``.safetensors``.
    record : dict
        What is known about the training: plain values.
    force : bool
        Whether existing files may be replaced.

    Returns
    -------
    str
        SHA-256 of the file.

    Raises
    ------
    WeightsError
        If the file would exceed 10 MB, or a weight is too large for half precision.
    FileExistsError
        If a file exists and must not be replaced.
    """
    # What overflows becomes infinite, and is refused by name below.
    with np.errstate(over="ignore"):
        arrays = {
            name: values.detach().cpu().contiguous().numpy().astype("<f2")
            for name, values in sorted(network.state_dict().items())
        }
    for name, values in arrays.items():
        if not np.isfinite(values).all():
            raise WeightsError(f"Weight {name} does not fit into half precision: it is too large.")
    content = _packed(arrays)
    if len(content) > MAX_BYTES:
        raise WeightsError(
            f"The weights would take {len(content) / 1e6:.1f} MB, more than "
            f"{MAX_BYTES / 1e6:.0f} MB: choose a smaller network."
        )
    digest = hashlib.sha256(content).hexdigest()
    entry = {
        "format": FORMAT,
        "sha256": digest,
        "channels": list(network.config.channels),
        "training": record,
    }
    write_bytes(path, content, force=force)
    write_text(record_path(path), json.dumps(entry, indent=2) + "\n", force=force)
    return digest


def load_weights(path: Path | None = None) -> LoadedWeights:
    """Read a network, its checksum verified.

    Parameters
    ----------
    path : Path, optional
        File of weights; by default the one that comes with the product.

    Returns
    -------
    LoadedWeights

    Raises
    ------
    WeightsMissingError
        If there is no such file, or no record beside it.
    WeightsError
        If the file is damaged, changed or another network's.
    """
    path = path or default_path()
    for wanted in (path, record_path(path)):
        if not wanted.is_file():
            raise WeightsMissingError(
                f"The weights of the label-free network are not installed: there is no {wanted}. "
                'Train them with "train labelfree", or use the engine "density-guided".'
            )
    content = path.read_bytes()
    entry = _record(record_path(path))
    digest = hashlib.sha256(content).hexdigest()
    if digest != entry["sha256"]:
        raise WeightsError(
            f"{path} is damaged or was changed: its SHA-256 is {digest}, and the record beside it "
            f"says {entry['sha256']}. Install the file again."
        )
    network = LabelFreeNetwork(_config(entry, path))
    _fill(network, _unpacked(content, path), path)
    return LoadedWeights(channels_last(network).eval(), entry["training"], digest)


def _record(path: Path) -> dict[str, Any]:
    """Read the record beside the weights."""
    try:
        entry = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise WeightsError(f"{path} is no training record: {error}.") from error
    names = ("format", "sha256", "channels", "training")
    if not isinstance(entry, dict) or any(name not in entry for name in names):
        raise WeightsError(f"{path} is no training record: it needs {', '.join(names)}.")
    if entry["format"] != FORMAT:
        raise WeightsError(
            f"{path} has the format {entry['format']!r}, and this version reads {FORMAT!r}."
        )
    return entry


def _config(entry: dict[str, Any], path: Path) -> NetworkConfig:
    """Read the size of the network out of the record."""
    try:
        return NetworkConfig(tuple(entry["channels"]))
    except (TypeError, ValueError) as error:
        raise WeightsError(f"The record beside {path} has unusable channels: {error}") from error


def _packed(arrays: dict[str, npt.NDArray[np.float16]]) -> bytes:
    """Put arrays into the layout of safetensors: length, JSON header, values."""
    header: dict[str, Any] = {"__metadata__": {"format": FORMAT}}
    begin = 0
    for name, values in arrays.items():
        end = begin + values.nbytes
        header[name] = {"dtype": "F16", "shape": list(values.shape), "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([_LENGTH.pack(len(text)), text, *(v.tobytes() for v in arrays.values())])


def _unpacked(content: bytes, path: Path) -> dict[str, npt.NDArray[np.float32]]:
    """Read arrays out of the layout of safetensors."""
    try:
        (length,) = _LENGTH.unpack_from(content)
        header = json.loads(content[_LENGTH.size : _LENGTH.size + length])
        header.pop("__metadata__", None)
        values = memoryview(content)[_LENGTH.size + length :]
        arrays = {}
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            kind = np.dtype(_KINDS[entry["dtype"]])
            array: npt.NDArray[Any] = np.frombuffer(values[begin:end], dtype=kind)
            arrays[name] = array.reshape(entry["shape"]).astype(np.float32)
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{path} is no safetensors file of this network: {error!r}.") from error
    return arrays


def _fill(
    network: LabelFreeNetwork, arrays: dict[str, npt.NDArray[np.float32]], path: Path
) -> None:
    """Put the arrays into the network after comparing names, shapes and finiteness."""
    wanted = {name: tuple(values.shape) for name, values in network.state_dict().items()}
    got = {name: values.shape for name, values in arrays.items()}
    if wanted != got:
        differing = sorted(name for name in {*wanted, *got} if wanted.get(name) != got.get(name))
        raise WeightsError(
            f"{path} does not fit a network of channels {network.config.channels}: "
            f"{len(differing)} entries differ, {differing[0]} among them."
        )
    for name, values in arrays.items():
        if not np.isfinite(values).all():
            raise WeightsError(f"{path} holds a weight that is no number, in {name}.")
    network.load_state_dict({name: torch.from_numpy(values) for name, values in arrays.items()})
