"""Which files of a folder are cases: an image and the masks of what is to be found in it.

A folder says so itself in a file ``benchmark.json``::

    {"cases": [{"name": "patient 1", "image": "ct.nii.gz", "data_set": "my hospital",
                "targets": [{"name": "tumour", "mask": "seg.nii.gz", "labels": [2],
                             "group": "lesion"}]}]}

Paths are relative to the file. Only names, images and masks are needed: without ``labels`` every
voxel that is not zero belongs to the target, without ``group`` its name decides, ``data_set`` is
the name of the folder. ``"pictures": false`` keeps a case out of published pictures. Folders
without such a file are searched, see :mod:`NASAM3DLib.benchmark.discovery`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

Group = Literal["lesion", "organ", "generated"]

FILE_NAME = "benchmark.json"

_LESION_WORDS = re.compile(
    r"lesion|tumou?r|gtv|cancer|carcinoma|sarcoma|metast|nodule|mass|cyst|abscess", re.IGNORECASE
)


@dataclass(frozen=True)
class TargetFile:
    """Where the truth about one object is found.

    Parameters
    ----------
    name : str
        Name of the object.
    mask : Path
        Label map.
    labels : tuple of int
        Labels that belong to the object; none means all but zero.
    group : {"lesion", "organ", "generated"}
        What kind of object it is.
    """

    name: str
    mask: Path
    labels: tuple[int, ...]
    group: Group


@dataclass(frozen=True)
class CaseFiles:
    """An image with the objects whose truth is known.

    Parameters
    ----------
    name : str
        Name of the case, unlike all others of a run.
    data_set : str
        What it belongs to.
    image : Path
        CT in HU.
    targets : tuple of TargetFile
        The objects.
    pictures : bool
        Whether the case may be shown.
    """

    name: str
    data_set: str
    image: Path
    targets: tuple[TargetFile, ...]
    pictures: bool = True


def group_of(name: str) -> Group:
    """Tell lesions from organs by their name.

    Parameters
    ----------
    name : str
        Name of an object.

    Returns
    -------
    {"lesion", "organ"}

    Examples
    --------
    >>> group_of("GTV_Mass"), group_of("kidney_left")
    ('lesion', 'organ')
    """
    return "lesion" if _LESION_WORDS.search(name) else "organ"


def read_layout(path: Path, folder: Path | None = None) -> list[CaseFiles]:
    """Read which cases a file names.

    Parameters
    ----------
    path : Path
        JSON file.
    folder : Path, optional
        What its paths are relative to; by default the folder of the file.

    Returns
    -------
    list of CaseFiles

    Raises
    ------
    FileNotFoundError
        If the file, or an image or mask that it names, does not exist.
    ValueError
        If the file is no JSON or an entry is missing or of the wrong kind.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no JSON file: {error}.") from error
    if not isinstance(content, dict) or not isinstance(content.get("cases"), list):
        raise ValueError(f'{path} must hold an object with a list "cases".')
    place = path.parent if folder is None else folder
    cases = [_case(entry, place, path) for entry in content["cases"]]
    names = [case.name for case in cases]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"{path} names several cases {repeated[0]!r}: give each its own name.")
    return cases


def _case(entry: Any, folder: Path, path: Path) -> CaseFiles:
    """Read one case."""
    name = _text(entry, "name", path)
    where = f"{path}, case {name!r}"
    listed = entry.get("targets")
    if not isinstance(listed, list) or not listed:
        raise ValueError(f'{where} needs a list "targets" with at least one target.')
    return CaseFiles(
        name=name,
        data_set=str(entry.get("data_set", folder.name)),
        image=_existing(folder / _text(entry, "image", where), where),
        targets=tuple(_target(one, folder, where) for one in listed),
        pictures=bool(entry.get("pictures", True)),
    )


def _target(entry: Any, folder: Path, where: str) -> TargetFile:
    """Read one target."""
    name = _text(entry, "name", where)
    labels = entry.get("labels", [])
    if not isinstance(labels, list) or any(type(label) is not int for label in labels):
        raise ValueError(f'{where}, target {name!r}: "labels" must be a list of whole numbers.')
    group = entry.get("group", group_of(name))
    if group not in get_args(Group):
        raise ValueError(
            f'{where}, target {name!r}: "group" must be one of {", ".join(get_args(Group))}, got '
            f"{group!r}."
        )
    mask = _existing(folder / _text(entry, "mask", where), where)
    return TargetFile(name, mask, tuple(labels), group)


def _text(entry: Any, key: str, where: Path | str) -> str:
    """Read a text that must be there."""
    value = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(value, str) or not value:
        raise ValueError(f'{where}: an entry lacks the text "{key}".')
    return value


def _existing(path: Path, where: str) -> Path:
    """Refuse a file that is not there."""
    if not path.is_file():
        raise FileNotFoundError(f"{where} names {path}, which does not exist.")
    return path
