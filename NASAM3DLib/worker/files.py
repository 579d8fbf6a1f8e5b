"""A scan for a worker that may not see this computer's files.

A worker on the same computer gets a path. To any other the files themselves travel: the images and
what stands beside them. It writes them into a folder of its own, reads the scan, and deletes them.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from NASAM3DLib.worker.protocol import Deferred, Message

if TYPE_CHECKING:
    from NASAM3DLib.scan.projections import ProjectionSet

MAX_DESCRIPTION_BYTES = 8 * 2**20
"""Larger XML files beside the images do not describe a geometry."""

MAX_NAME_PARTS = 2

SCAN_VERBS = ("inspect", "reconstruct")


def scan_request(
    kind: str, path: str | Path, *, shares_files: bool, **fields: Any
) -> Message | Deferred:
    """Ask for something about a scan in files.

    Parameters
    ----------
    kind : str
        "inspect" or "reconstruct".
    path : str or Path
        A file or a folder, as :func:`~NASAM3DLib.scan.io.load_projections` takes it.
    shares_files : bool
        Whether the worker sees the same files: ``WorkerClient.shares_files``.
    **fields : object
        Further fields. A ``checkpoint`` is a path of the worker's computer.

    Returns
    -------
    Message or Deferred
        For ``WorkerClient.submit``. The files are read when it is sent, not by the caller; that
        there are none is an error of the job.
    """
    path = Path(path).expanduser()
    if shares_files:
        return Message(kind, {**fields, "path": str(path)})
    return Deferred(kind, lambda: pack_files(kind, path, **fields))


def without_path(request: Message | Deferred) -> Message | Deferred:
    """Send files in place of the path of a scan.

    Parameters
    ----------
    request : Message or Deferred
        Any request.

    Returns
    -------
    Message or Deferred
        The same request if it names no scan by its path.
    """
    if isinstance(request, Deferred) or request.kind not in SCAN_VERBS:
        return request
    fields = dict(request.fields)
    path = fields.pop("path", None)
    return (
        request if path is None else scan_request(request.kind, path, shares_files=False, **fields)
    )


def pack_files(kind: str, path: Path, **fields: Any) -> Message:
    """Put the files of a scan into a message.

    Parameters
    ----------
    kind : str
        Kind of the message.
    path : Path
        The scan.
    **fields : object
        Further fields.

    Returns
    -------
    Message
        Field ``file_name`` is the scan's, ``files`` lists names and sizes; the array ``files``
        holds the bytes of all, one behind the other.

    Raises
    ------
    FileNotFoundError
        If there is no such file or folder.
    ValueError
        If the geometry names a file in another folder.
    """
    path = path.absolute()
    files = scan_files(path)
    outside = [file for file in files if path.parent not in file.parents]
    if outside:
        raise ValueError(
            f"{outside[0]} does not lie beside the images of the scan, so it cannot be sent along: "
            "copy it there and name it without a folder."
        )
    names = [file.relative_to(path.parent).as_posix() for file in files]
    contents = [(name, file.read_bytes()) for name, file in zip(names, files, strict=True)]
    described = {
        "file_name": path.name,
        "files": [[name, len(content)] for name, content in contents],
    }
    joined = np.frombuffer(b"".join(content for _, content in contents), dtype=np.uint8)
    return Message(kind, {**fields, **described}, {"files": joined})


def scan_files(path: Path) -> list[Path]:
    """List the files that a scan consists of.

    Parameters
    ----------
    path : Path
        A file or a folder.

    Returns
    -------
    list of Path
        Images, and the geometry inside or beside; rather one too many than one too few.

    Raises
    ------
    FileNotFoundError
        If there is no such file or folder.
    """
    from NASAM3DLib.scan.images import ending_of
    from NASAM3DLib.scan.sidecar import SIDECAR_ENDING
    from NASAM3DLib.scan.vendor import VENDOR_ENDINGS

    path = path.absolute()
    if path.is_dir():
        beside = path.with_name(path.name + SIDECAR_ENDING)
        return _files_of([*sorted(path.iterdir()), beside])
    if not path.is_file():
        raise FileNotFoundError(f"There is no file or folder {path}.")
    ending = ending_of(path)
    if ending == ".npz":
        return [path]
    folder = sorted(path.parent.iterdir())
    stem = path.name.removesuffix(SIDECAR_ENDING).removesuffix(ending)
    same_kind = ending if ending in VENDOR_ENDINGS else None
    found = [
        file
        for file in _files_of(folder)
        if file.name.startswith(f"{stem}.")
        or (same_kind is not None and ending_of(file) == same_kind)
        or (file.suffix.lower() == ".xml" and file.stat().st_size <= MAX_DESCRIPTION_BYTES)
    ]
    for file in [file for file in found if file.name.endswith(".json")]:
        found += [named for named in _named_by(file) if named not in found]
    return found


def _named_by(sidecar_path: Path) -> list[Path]:
    """List the files that a sidecar names."""
    from NASAM3DLib.scan.sidecar import read_sidecar

    sidecar = read_sidecar(sidecar_path)
    names = [name for name in (sidecar.flat_field, sidecar.dark_field) if isinstance(name, str)]
    images = sorted(sidecar_path.parent.glob(sidecar.images)) if sidecar.images else []
    places = [Path(os.path.normpath(sidecar_path.parent / name)) for name in names]
    return _files_of([*places, *images])


def _files_of(paths: list[Path]) -> list[Path]:
    """Leave out folders, hidden files and what is not there."""
    return [path for path in paths if path.is_file() and not path.name.startswith(".")]


def load_sent_scan(request: Message) -> ProjectionSet:
    """Read the scan whose files are in a message.

    Parameters
    ----------
    request : Message
        As :func:`pack_files` made it.

    Returns
    -------
    ProjectionSet

    Raises
    ------
    ValueError
        If names and sizes do not fit the bytes, or a name leads elsewhere.
    """
    from NASAM3DLib.scan.io import load_projections

    with tempfile.TemporaryDirectory(prefix="nasam3d-", ignore_cleanup_errors=True) as folder:
        root = Path(folder)
        begin, content = 0, request.arrays["files"]
        for name, n_bytes in request.fields["files"]:
            place = root / _checked_name(name)
            place.parent.mkdir(exist_ok=True)
            place.write_bytes(content[begin : begin + n_bytes].tobytes())
            begin += n_bytes
        if begin != content.size:
            raise ValueError(
                f"The files of a scan must add up to {content.size} bytes, got {begin}: send them "
                "again."
            )
        return load_projections(root / _checked_name(request.fields["file_name"]))


def _checked_name(name: str) -> PurePosixPath:
    """Give a name that stays inside its folder."""
    path = PurePosixPath(name)
    unsafe = path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name
    if unsafe or not 1 <= len(path.parts) <= MAX_NAME_PARTS:
        raise ValueError(f"A file of a scan must be called by its plain name, got {name!r}.")
    return path
