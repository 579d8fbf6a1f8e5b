"""Which of the packages that the worker needs are not installed."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from pathlib import Path

_IMPORT_NAMES = {"scikit-image": "skimage"}


def missing_requirements(path: str | Path) -> list[str]:
    """List the lines of a requirements file that are not satisfied.

    Parameters
    ----------
    path : str or Path
        Requirements file with one package a line; comments and options are skipped.

    Returns
    -------
    list of str
        In the order of the file, for example ``["numba>=0.61"]``.
    """
    lines = (line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and line[0] not in "#-" and not is_satisfied(line)]


def is_satisfied(requirement: str) -> bool:
    """Tell whether a package is installed in a version that serves.

    Parameters
    ----------
    requirement : str
        Name and versions, for example ``"numba>=0.61"``.

    Returns
    -------
    bool

    Raises
    ------
    ValueError
        If the requirement does not start with a name.
    """
    match = re.match(r"[A-Za-z0-9][\w.-]*", requirement)
    if match is None:
        raise ValueError(f"A requirement must start with a package's name, got {requirement!r}.")
    name = match.group()
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        # A package that Slicer builds itself may come without metadata.
        return importlib.util.find_spec(_IMPORT_NAMES.get(name, name)) is not None
    if importlib.util.find_spec("packaging") is None:
        return True
    from packaging.requirements import Requirement

    return Requirement(requirement).specifier.contains(version, prereleases=True)
