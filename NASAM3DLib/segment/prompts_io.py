"""Prompts in 3D Slicer's markups files (``.mrk.json``)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from NASAM3DLib.files import write_text
from NASAM3DLib.segment.prompts import CLICK, POSITIVE, Prompts

SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/"
    "Schema/markups-schema-v1.0.3.json#"
)
LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])
NEGATIVE_MARKS = ("negative", "neg", "-")

LINES = ("Curve", "ClosedCurve", "Line")
"""Types of markups that are scribbles."""

ALIGNED = 1e-3
"""Largest part of an axis of a box that may point along another axis of the patient."""


def load_prompts(path: Path) -> Prompts:
    """Read points, curves and a box that were drawn in 3D Slicer.

    Parameters
    ----------
    path : Path
        A markups file. Point lists give clicks; a curve or a line gives a scribble with straight
        segments between its control points; a region of interest (ROI) gives the box.

    Returns
    -------
    Prompts
        In the order of the file. A point counts as negative if its own name, or else the name of
        its list, begins with "negative", "neg" or "-", a scribble if the name of its curve or of
        all its points does; points not yet placed are left out.

    Raises
    ------
    ValueError
        If the file is not a markups file, holds nothing placed, is not in millimetres, has several
        boxes, or one that is turned against the axes of RAS.
    FileNotFoundError
        If there is no such file.

    Notes
    -----
    The format is that of Slicer's markups schema, version 1.0.x: positions in LPS or RAS as the
    list says, and LPS where it says nothing.
    """
    prompts = Prompts()
    for markup in _markups(path):
        kind = str(markup.get("type", "Fiducial"))
        if kind == "ROI":
            if prompts.box_ras is not None:
                raise ValueError(f"{path} holds more than one ROI: leave the one that is meant.")
            prompts = prompts.with_box(_box_of(markup, path))
            continue
        placed = list(_placed_points(markup, path))
        if kind in LINES and placed:
            points = [position for position, _ in placed]
            closing = points[:1] if kind == "ClosedCurve" else []
            positive = not all(negative for _, negative in placed)
            prompts = prompts.with_scribble(np.array(points + closing), positive=positive)
            continue
        for position, negative in placed:
            prompts = prompts.with_point(position, positive=not negative)
    if not len(prompts) and prompts.box_ras is None:
        raise ValueError(f"{path} holds no placed point: place one in 3D Slicer and save again.")
    return prompts


def save_prompts(prompts: Prompts, path: Path, *, force: bool = False) -> None:
    """Write prompts as markups that 3D Slicer opens.

    Parameters
    ----------
    prompts : Prompts
        Clicks become point lists, scribbles curves, the box a region of interest.
    path : Path
        File to be written; its name should end in ``.mrk.json``.
    force : bool
        Whether an existing file may be replaced.

    Raises
    ------
    FileExistsError
        If the file exists and must not be replaced.

    Notes
    -----
    Clicks that follow each other share a list, so that the file keeps the order of clicks and
    scribbles. 3D Slicer draws a curve smoothly through its points; here it is read as straight
    segments.
    """
    markups: list[dict[str, Any]] = []
    for part in prompts.parts:
        points = [_control_point(prompts, n) for n in range(part.start, part.stop)]
        if prompts.scribbles[part.start] != CLICK:
            name = _label_of(prompts, part.start).replace(" ", " scribble ")
            markups.append(_markup("Curve", name, points))
        elif markups and markups[-1]["type"] == "Fiducial":
            markups[-1]["controlPoints"] += points
        else:
            markups.append(_markup("Fiducial", "clicks", points))
    if prompts.box_ras is not None:
        markups.append(_roi(prompts.box_ras))
    content = {"@schema": SCHEMA, "markups": markups or [_markup("Fiducial", "clicks", [])]}
    write_text(path, json.dumps(content, indent=2) + "\n", force=force)


def _markup(kind: str, name: str, points: list[dict[str, Any]]) -> dict[str, Any]:
    """Describe a point list or a curve."""
    return {
        "type": kind,
        "name": name,
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "locked": False,
        "labelFormat": "%N-%d",
        "controlPoints": points,
    }


def _label_of(prompts: Prompts, index: int) -> str:
    """Name a point by its side and its number."""
    side = "positive" if prompts.labels[index] == POSITIVE else "negative"
    return f"{side} {index + 1}"


def _control_point(prompts: Prompts, index: int) -> dict[str, Any]:
    """Describe one point."""
    return {
        "id": str(index + 1),
        "label": _label_of(prompts, index),
        "position": (prompts.points_ras[index] * LPS_TO_RAS).tolist(),
        "selected": bool(prompts.labels[index] == POSITIVE),
        "locked": False,
        "visibility": True,
        "positionStatus": "defined",
    }


def _roi(box_ras: npt.NDArray[np.float64]) -> dict[str, Any]:
    """Describe a box."""
    centre = (box_ras.mean(axis=0) * LPS_TO_RAS).tolist()
    point = {"id": "1", "label": "box", "position": centre, "positionStatus": "defined"}
    return _markup("ROI", "box", [point]) | {
        "roiType": "Box",
        "center": centre,
        "orientation": np.diag(LPS_TO_RAS).ravel().tolist(),
        "size": (box_ras[1] - box_ras[0]).tolist(),
        "insideOut": False,
    }


def _placed_points(
    markup: dict[str, Any], path: Path
) -> Iterator[tuple[npt.NDArray[np.float64], bool]]:
    """Give the placed points of a markup in RAS, and whether each is negative."""
    list_is_negative = _is_negative(str(markup.get("name", "")))
    to_ras = _to_ras(markup, path)
    for point in markup.get("controlPoints", []):
        if point.get("positionStatus", "defined") != "defined":
            continue
        position = np.asarray(point.get("position", ()), dtype=np.float64)
        if position.shape != (3,):
            raise ValueError(f"{path}: a control point has no position of three numbers.")
        negative = _is_negative(str(point.get("label", ""))) or list_is_negative
        yield position * to_ras, negative


def _box_of(markup: dict[str, Any], path: Path) -> npt.NDArray[np.float64]:
    """Give the corners of a region of interest."""
    if str(markup.get("roiType", "Box")) not in ("Box", "BoundingBox") or markup.get("insideOut"):
        raise ValueError(f"{path}: the ROI must be a box that is not inside out.")
    centre, size = (np.asarray(markup.get(key, ()), dtype=float) for key in ("center", "size"))
    axes = np.abs(np.asarray(markup.get("orientation", np.eye(3).ravel()), dtype=np.float64))
    if centre.shape != (3,) or size.shape != (3,) or axes.size != 9:
        raise ValueError(f"{path}: the ROI needs a centre, a size and an orientation.")
    # Columns are the directions of the box's own axes; signs do not matter to a box.
    axes = axes.reshape(3, 3)
    if np.abs(np.sort(axes, axis=0) - [[0.0], [0.0], [1.0]]).max() > ALIGNED:
        raise ValueError(
            f"{path}: the ROI is turned against the axes of the patient, which is not supported: "
            "set its transform and orientation back."
        )
    half = np.rint(axes) @ size / 2
    middle = centre * _to_ras(markup, path)
    return np.array([middle - half, middle + half])


def _markups(path: Path) -> list[dict[str, Any]]:
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
