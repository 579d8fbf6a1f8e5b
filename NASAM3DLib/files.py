"""How results are written: whole or not at all, and never over something by accident."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path


def check_writable(path: Path, *, force: bool = False) -> None:
    """Refuse to write to a place before time is spent on what shall be written.

    Parameters
    ----------
    path : Path
        File to be written.
    force : bool
        Whether an existing file may be replaced.

    Raises
    ------
    FileExistsError
        If the file exists and must not be replaced.
    OSError
        If the folder does not exist, or the path is a folder.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: name a file in it.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"The folder {path.parent} does not exist: make it first.")
    if path.exists() and not force:
        raise FileExistsError(
            f"{path} exists already: choose another name, or allow replacing it (--force on the "
            "command line, force=True in Python)."
        )


@contextlib.contextmanager
def replacing(path: Path, *, force: bool = False) -> Iterator[Path]:
    """Write a file under a passing name and move it into place when it is complete.

    Parameters
    ----------
    path : Path
        File to be written.
    force : bool
        Whether an existing file may be replaced.

    Yields
    ------
    Path
        Where to write: in the same folder, with the same ending. It is removed if writing fails,
        and an existing file then stays as it was.

    Raises
    ------
    FileExistsError
        If the file exists and must not be replaced.
    OSError
        If the folder does not exist, or the path is a folder.
    """
    check_writable(path, force=force)
    # The ending decides the format, and may have two parts (.nii.gz, .seg.nrrd).
    passing = path.with_name(f".{secrets.token_hex(4)}-{path.name}")
    try:
        yield passing
        passing.replace(path)
    finally:
        passing.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, force: bool = False) -> None:
    """Write a text file in UTF-8.

    Parameters
    ----------
    path : Path
        File to be written.
    text : str
        Its content.
    force : bool
        Whether an existing file may be replaced.

    Raises
    ------
    FileExistsError
        If the file exists and must not be replaced.
    """
    write_bytes(path, text.encode("utf-8"), force=force)


def write_bytes(path: Path, content: bytes, *, force: bool = False) -> None:
    """Write a file.

    Parameters
    ----------
    path : Path
        File to be written.
    content : bytes
        Its content.
    force : bool
        Whether an existing file may be replaced.

    Raises
    ------
    FileExistsError
        If the file exists and must not be replaced.
    """
    with replacing(path, force=force) as passing:
        passing.write_bytes(content)
