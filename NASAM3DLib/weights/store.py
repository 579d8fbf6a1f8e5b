"""The folder in which weights are kept; what is in it has been checked.

Each file of weights has a record beside it with its digest. A file enters the folder under a
passing name, is checked there, and gets its own name and its record last: whatever is interrupted,
a file without a record is not there as far as the store is concerned.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from NASAM3DLib.files import replacing, write_text
from NASAM3DLib.progress import ProgressCallback, no_progress
from NASAM3DLib.weights.catalogue import CATALOGUE

FOLDER_VARIABLE = "NASAM3D_WEIGHTS"
"""Environment variable that names the folder."""

CHUNK_BYTES = 1 << 20

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True)
class StoredWeights:
    """Weights in the store.

    Parameters
    ----------
    name : str
        Their name.
    sha256 : str
        Digest when they were stored, hexadecimal.
    size_bytes : int
        Size of the file.
    source : str
        Where they came from.
    """

    name: str
    sha256: str
    size_bytes: int
    source: str


def default_folder() -> Path:
    """Choose the folder of the weights.

    Returns
    -------
    Path
        What the environment variable ``NASAM3D_WEIGHTS`` names, else the place of the system for
        the user's application data.
    """
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        return Path(named).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return base / "NASAM3D" / "weights"


class WeightStore:
    """Weights that have been checked, by name.

    Parameters
    ----------
    folder : Path, optional
        Where they lie; :func:`default_folder` if not given. Made when something is stored.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or default_folder()

    def path_of(self, name: str) -> Path:
        """Give the place of the file of a name, whether it is there or not.

        Parameters
        ----------
        name : str
            Name of the weights.

        Returns
        -------
        Path

        Raises
        ------
        ValueError
            If the name cannot be one of a file.
        """
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"Weights cannot be called {name!r}: use small letters, digits, dots and dashes."
            )
        return self.folder / f"{name}.pth"

    def partial_path(self, name: str) -> Path:
        """Give the place where a download of that name grows.

        Parameters
        ----------
        name : str
            Name of the weights.

        Returns
        -------
        Path
        """
        return self.path_of(name).with_suffix(".part")

    def stored(self) -> list[StoredWeights]:
        """List what is in the store.

        Returns
        -------
        list of StoredWeights
            By name.
        """
        names = sorted(path.stem for path in self.folder.glob("*.pth"))
        records = (self._record(name) for name in names if _NAME.fullmatch(name))
        return [record for record in records if record is not None]

    def find(self, name: str | None = None) -> Path:
        """Give the file of stored weights.

        Parameters
        ----------
        name : str, optional
            Name of the weights; the preferred ones if not given.

        Returns
        -------
        Path

        Raises
        ------
        FileNotFoundError
            If they are not in the store.
        """
        name = name or self.preferred()
        if self._record(name) is None:
            raise FileNotFoundError(
                f"The weights {name!r} are not installed in {self.folder}: run "
                f'"python -m NASAM3DLib weights download {name}", or "weights install FILE" with a '
                "file you have."
            )
        return self.path_of(name)

    def preferred(self) -> str:
        """Give the name of the weights that engines use.

        Returns
        -------
        str
            The chosen ones, else the first of the catalogue.
        """
        choice = self._choice_path()
        name = choice.read_text("utf-8").strip() if choice.is_file() else ""
        return name if _NAME.fullmatch(name) else next(iter(CATALOGUE))

    def prefer(self, name: str) -> None:
        """Choose the weights that engines use.

        Parameters
        ----------
        name : str
            Name of stored weights.

        Raises
        ------
        FileNotFoundError
            If they are not in the store.
        """
        self.find(name)
        write_text(self._choice_path(), f"{name}\n", force=True)

    def install(
        self,
        file: Path,
        *,
        name: str | None = None,
        check: Callable[[Path], Any],
        force: bool = False,
    ) -> StoredWeights:
        """Copy a file into the store after checking it.

        Parameters
        ----------
        file : Path
            File of weights.
        name : str, optional
            Name to store it under. Without one, it must be a public file, known by its digest.
        check : callable
            Called with the copy's path for files that are not public ones; raises if the file is
            not what it should be.
        force : bool
            Whether stored weights of that name may be replaced.

        Returns
        -------
        StoredWeights

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        FileExistsError
            If there are weights of that name.
        ValueError
            If the file is damaged, or not the public one of that name.
        """
        if not file.is_file():
            raise FileNotFoundError(f"There is no file {file}.")
        digest = sha256_of(file)
        public = next((entry for entry in CATALOGUE.values() if entry.sha256 == digest), None)
        name = name or (public.name if public else None)
        if name is None:
            raise ValueError(
                f"{file} has the SHA-256 {digest}, which is no public file's: if you trained these "
                "weights or trust their source, give them a name of your own with --name."
            )
        if name in CATALOGUE and CATALOGUE[name].sha256 != digest:
            raise ValueError(
                f"{file} is not {name}: its SHA-256 is {digest} instead of "
                f"{CATALOGUE[name].sha256}. It is damaged, or another file."
            )
        target = self.path_of(name)
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(target, force=force) as passing:
            shutil.copyfile(file, passing)
            if sha256_of(passing) != digest:
                raise ValueError(f"{file} changed while it was copied: try again.")
            if public is None:
                check(passing)
        return self._write_record(StoredWeights(name, digest, target.stat().st_size, str(file)))

    def admit(self, name: str, *, sha256: str, source: str) -> StoredWeights:
        """Take a finished download into the store, or throw it away if it is wrong.

        Parameters
        ----------
        name : str
            Name of the weights; the download lies at :meth:`partial_path`.
        sha256 : str
            Digest that it must have, hexadecimal.
        source : str
            Where it came from.

        Returns
        -------
        StoredWeights

        Raises
        ------
        ValueError
            If the digest is another; the download is removed then.
        """
        partial, target = self.partial_path(name), self.path_of(name)
        digest = sha256_of(partial)
        if digest != sha256:
            partial.unlink()
            raise ValueError(
                f"What came from {source} has the SHA-256 {digest} instead of {sha256}: it is "
                "damaged or was changed, and has been removed. Nothing was installed."
            )
        partial.replace(target)
        return self._write_record(StoredWeights(name, digest, target.stat().st_size, source))

    def verify(self, name: str, *, progress: ProgressCallback = no_progress) -> StoredWeights:
        """Read stored weights and compare their digest with that of the day they were stored.

        Parameters
        ----------
        name : str
            Name of the weights.
        progress : callable
            Called with stage and fraction.

        Returns
        -------
        StoredWeights

        Raises
        ------
        FileNotFoundError
            If they are not in the store.
        ValueError
            If the file has changed.
        """
        path = self.find(name)
        record = self._record(name)
        digest = sha256_of(path, progress=progress)
        if record is None or digest != record.sha256:
            raise ValueError(
                f"{path} has the SHA-256 {digest}, which is not the one it was stored with: it is "
                f'damaged. Run "python -m NASAM3DLib weights remove {name}" and install it again.'
            )
        return record

    def remove(self, name: str) -> int:
        """Remove weights, and what was left of an interrupted download.

        Parameters
        ----------
        name : str
            Name of the weights.

        Returns
        -------
        int
            Bytes that were freed.

        Raises
        ------
        FileNotFoundError
            If there is nothing of that name.
        """
        paths = (self.path_of(name), self.partial_path(name), self._record_path(name))
        present = [path for path in paths if path.is_file()]
        if not present:
            raise FileNotFoundError(f"There is nothing called {name!r} in {self.folder}.")
        freed = sum(path.stat().st_size for path in present)
        for path in present:
            path.unlink()
        if self._choice_path().is_file() and self.preferred() == name:
            self._choice_path().unlink()
        return freed

    def _record(self, name: str) -> StoredWeights | None:
        """Read the record of weights; None if they are not completely there."""
        path = self._record_path(name)
        if not (self.path_of(name).is_file() and path.is_file()):
            return None
        try:
            record = StoredWeights(**json.loads(path.read_text("utf-8")))
        except (ValueError, TypeError):
            return None
        whole = record.name == name and record.size_bytes == self.path_of(name).stat().st_size
        return record if whole else None

    def _write_record(self, record: StoredWeights) -> StoredWeights:
        """Write the record that makes weights part of the store."""
        text = json.dumps(asdict(record), indent=2) + "\n"
        write_text(self._record_path(record.name), text, force=True)
        return record

    def _record_path(self, name: str) -> Path:
        """Give the place of a record."""
        return self.path_of(name).with_suffix(".json")

    def _choice_path(self) -> Path:
        """Give the file that names the preferred weights."""
        return self.folder / "preferred.txt"


def sha256_of(path: Path, *, progress: ProgressCallback = no_progress) -> str:
    """Compute the digest of a file.

    Parameters
    ----------
    path : Path
        The file.
    progress : callable
        Called with stage and fraction.

    Returns
    -------
    str
        SHA-256, hexadecimal.
    """
    digest = hashlib.sha256()
    size, done = max(path.stat().st_size, 1), 0
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
            done += len(chunk)
            progress("checking", done / size)
    return digest.hexdigest()
