"""Finding cases in folders that do not say what they hold.

An image and its mask lie in one folder, or in ``imagesTr`` and ``labelsTr``, and their names
differ by one word: ``CT_image`` and ``CT_mask``, ``volume-0`` and ``segmentation-0``.
A folder of that name, or called ``segmentations``, holds one mask for each object. Names of labels
come from ``labels.json``, ``dataset.json`` (``labels``: names by number or numbers by name) or a
JSON file beside the mask. A mask of one object without a name is taken for a lesion, as in most
public collections. Planning targets of radiotherapy (PTV, CTV, ITV) have margins that nobody can
see, and are left out.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from NASAM3DLib.benchmark.layout import (
    FILE_NAME,
    CaseFiles,
    TargetFile,
    group_of,
    read_layout,
)
from NASAM3DLib.scan.images import IMAGE_ENDINGS, ending_of, read_image, simple_itk

logger = logging.getLogger(__name__)

KNOWN = Path(__file__).with_name("known")
"""Layouts of public cases whose files do not tell enough, by the name of their folder."""

_IMAGE_WORDS = {"ct", "image", "img", "volume", "vol", "scan"}
_MASK_WORDS = {"mask", "masks", "seg", "segmentation", "label", "labels", "lm", "gt"}
_PLANNED = re.compile(r"^(ptv|ctv|itv)", re.IGNORECASE)
_PARTS = re.compile(r"[a-z]+|\d+", re.IGNORECASE)
UNNAMED = "lesion"


def find_cases(folder: Path) -> list[CaseFiles]:
    """Find the cases of a folder.

    Parameters
    ----------
    folder : Path
        With a file ``benchmark.json``, or to be searched with all folders in it.

    Returns
    -------
    list of CaseFiles
        In the order of their names; an image without any mask is no case.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    ValueError
        If its ``benchmark.json`` cannot be used, or there is no case.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {folder} with cases.")
    if (folder / FILE_NAME).is_file():
        return read_layout(folder / FILE_NAME)
    cases = [case for place in _folders(folder) for case in _cases_in(place, folder)]
    if not cases:
        raise ValueError(
            f"No image with a mask was found in {folder}: name them like ct.nii.gz and "
            f"labels.nii.gz, or describe them in a file {FILE_NAME}."
        )
    return sorted(cases, key=lambda case: case.name)


def _folders(folder: Path) -> Iterator[Path]:
    """Go through a folder and those in it."""
    yield folder
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.name.startswith("."):
            yield from _folders(path)


def _cases_in(place: Path, root: Path) -> list[CaseFiles]:
    """Pair the images of one folder with masks."""
    known = _known(place)
    if known:
        return known
    files = [p for p in sorted(place.iterdir()) if p.is_file() and ending_of(p) in IMAGE_ENDINGS]
    masks = [p for p in files if _words(p) & _MASK_WORDS]
    images = [p for p in files if p not in masks and _words(p) & _IMAGE_WORDS]
    data_set = root.name
    if place.name == "imagesTr":
        masks, images = _medical_decathlon(place), files
        data_set = place.parent.name
    cases = []
    for image in images:
        targets = _targets(image, masks)
        if targets:
            name = place.relative_to(root).as_posix()
            if len(images) > 1 or name == ".":
                name = _stem(image) if name == "." else f"{name}/{_stem(image)}"
            cases.append(CaseFiles(name, data_set, image, tuple(targets)))
        else:
            logger.info("%s has no mask.", image)
    return cases


def _known(place: Path) -> list[CaseFiles]:
    """Give the cases of a public folder that is described here, if its files are there."""
    layout = KNOWN / f"{place.name}.json"
    if not layout.is_file():
        return []
    try:
        return read_layout(layout, place)
    except FileNotFoundError:
        return []


def _medical_decathlon(place: Path) -> list[Path]:
    """Give the masks of the Medical Segmentation Decathlon's layout."""
    folder = place.with_name("labelsTr")
    return sorted(p for p in folder.glob("*") if ending_of(p) in IMAGE_ENDINGS)


def _targets(image: Path, masks: list[Path]) -> list[TargetFile]:
    """List the objects of an image: those with a mask of their own first."""
    targets = []
    for folder in sorted(p for p in image.parent.iterdir() if p.is_dir()):
        if folder.name == "segmentations" or _belongs(image, folder):
            targets += _in_folder(folder)
    if not targets:
        for mask in masks:
            if _belongs(image, mask) or (mask.parent != image.parent and mask.name == image.name):
                targets += _in_label_map(mask)
    return [target for target in targets if not _is_planned(target, image)]


def _is_planned(target: TargetFile, image: Path) -> bool:
    """Tell whether a target is drawn with a margin."""
    planned = bool(_PLANNED.match(target.name))
    if planned:
        logger.info("%s: %s is a planned volume, not an object.", image, target.name)
    return planned


def _in_folder(folder: Path) -> list[TargetFile]:
    """Take each mask of a folder for one object."""
    paths = sorted(p for p in folder.iterdir() if p.is_file() and ending_of(p) in IMAGE_ENDINGS)
    return [TargetFile(_stem(p), p, (), group_of(_stem(p))) for p in paths]


def _in_label_map(mask: Path) -> list[TargetFile]:
    """Take each label of a mask for one object."""
    array = np.asarray(simple_itk().GetArrayFromImage(read_image(mask)))
    labels = [int(label) for label in np.unique(array) if label != 0]
    names = _label_names(mask)
    if len(labels) == 1 and labels[0] not in names:
        return [TargetFile(UNNAMED, mask, (labels[0],), "lesion")]
    named = {label: names.get(label, f"label {label}") for label in labels}
    return [TargetFile(name, mask, (n,), group_of(name)) for n, name in named.items()]


def _label_names(mask: Path) -> dict[int, str]:
    """Read names of labels from beside a mask."""
    stem = _stem(mask)
    for path in (
        mask.with_name(f"{stem}.json"),
        mask.with_name("labels.json"),
        mask.parent.parent / "dataset.json",
    ):
        if path.is_file():
            content = json.loads(path.read_text(encoding="utf-8"))
            listed = content.get("labels", content) if isinstance(content, dict) else {}
            return _by_number(listed) if isinstance(listed, dict) else {}
    return {}


def _by_number(listed: dict[str, object]) -> dict[int, str]:
    """Turn names by number, or numbers by name, into names by number."""
    if all(str(key).isdigit() for key in listed):
        return {int(key): str(value) for key, value in listed.items()}
    return {value: str(key) for key, value in listed.items() if isinstance(value, int)}


def _belongs(image: Path, other: Path) -> bool:
    """Tell whether two names differ by the word for image and the word for mask."""
    return (
        bool(_words(other) & _MASK_WORDS)
        and _words(image) - _IMAGE_WORDS == _words(other) - _MASK_WORDS - _IMAGE_WORDS
    )


def _words(path: Path) -> set[str]:
    """Split a file name into words and numbers."""
    return {part.lower() for part in _PARTS.findall(_stem(path))}


def _stem(path: Path) -> str:
    """Give a name without the ending of an image."""
    ending = ending_of(path)
    return path.name[: -len(ending)] if ending in IMAGE_ENDINGS else path.name
