"""Points in 3D Slicer's markups files (``.mrk.json``)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from NASAM3DLib.files import write_text
from NASAM3DLib.segment.prompts import POSITIVE, Prompts

SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/"
    "Schema/markups-schema-v1.0.3.json#"
)
LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])
NEGATIVE_MARKS = ("negative", "neg", "-")


def load_prompts(path: Path) -> Prompts:
    """Read points that were placed in 3D Slicer.

    Parameters
    ----------
    path : Path
        A markups file with one or more point lists.

    Returns
    -------
    Prompts
        In the order of the file. A point counts as negative if its own name, or else the name of
        its list, begins with "negative", "neg" or "-"; points not yet placed are left out.

    Raises
    ------
    ValueError
        If the file is not a markups file, holds no placed point, or is not in millimetres.
    FileNotFoundError
        If there is no such file.

    Notes
    -----
    The format is that of Slicer's markups schema, version 1.0.x: positions in LPS or RAS as the
    list says, and LPS where it says nothing.
    """
    prompts = Prompts()
    for markup in _point_lists(path):
        list_is_negative = _is_negative(str(markup.get("name", "")))
        to_ras = _to_ras(markup, path)
        for point in markup.get("controlPoints", []):
            if point.get("positionStatus", "defined") != "defined":
                continue
            position = np.asarray(point.get("position", ()), dtype=np.float64)
            if position.shape != (3,):
                raise ValueError(f"{path}: a control point has no position of three numbers.")
            negative = _is_negative(str(point.get("label", ""))) or list_is_negative
            prompts = prompts.with_point(position * to_ras, positive=not negative)
    if not len(prompts):
        raise ValueError(f"{path} holds no placed point: place one in 3D Slicer and save again.")
    return prompts


def save_prompts(prompts: Prompts, path: Path, *, force: bool = False) -> None:
    """Write points as a list that 3D Slicer opens.

    Parameters
    ----------
    prompts : Prompts
        Points; a box is not written.
    path : Path
        File to be written; its name should end in ``.mrk.json``.
    force : bool
        Whether an existing file may be replaced.

    Raises
    ------
    FileExistsError
        If the file exists and must not be replaced.
    """
    points = [
        {
            "id": str(number),
            "label": f"{'positive' if label == POSITIVE else 'negative'} {number}",
            "position": (position * LPS_TO_RAS).tolist(),
            "selected": bool(label == POSITIVE),
            "locked": False,
            "visibility": True,
            "positionStatus": "defined",
        }
        for number, (position, label) in enumerate(
            zip(prompts.points_ras, prompts.labels, strict=True), start=1
        )
    ]
    markup = {
        "type": "Fiducial",
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "locked": False,
        "labelFormat": "%N-%d",
        "controlPoints": points,
    }
    content = {"@schema": SCHEMA, "markups": [markup]}
    write_text(path, json.dumps(content, indent=2) + "\n", force=force)


def _point_lists(path: Path) -> list[dict[str, Any]]:
    """Read the markups of a file."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a markups file of 3D Slicer: {error}.") from error
    markups = content.get("markups") if isinstance(content, dict) else None
    if not isinstance(markups, list) or not all(isinstance(one, dict) for one in markups):
        raise ValueError(
            f"{path} is not a markups file of 3D Slicer: it has no list named 'markups'."
        )
    return markups


def _to_ras(markup: dict[str, Any], path: Path) -> np.ndarray:
    """Give the signs that turn a list's positions into RAS."""
    unit = str(markup.get("coordinateUnits", "mm"))
    if unit not in ("mm", "[mm]"):
        raise ValueError(f"{path}: positions must be in mm, got {unit!r}: convert them first.")
    system = str(markup.get("coordinateSystem", "LPS")).upper()
    if system not in ("LPS", "RAS"):
        raise ValueError(f"{path}: the coordinate system must be LPS or RAS, got {system!r}.")
    return LPS_TO_RAS if system == "LPS" else np.ones(3)


def _is_negative(name: str) -> bool:
    """Tell whether a name marks points beside the object."""
    return name.strip().lower().startswith(NEGATIVE_MARKS)
