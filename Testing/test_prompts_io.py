from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from NASAM3DLib.segment.prompts import Prompts
from NASAM3DLib.segment.prompts_io import load_prompts, save_prompts


def written(folder: Path, *markups: dict) -> Path:  # type: ignore[type-arg]
    path = folder / "points.mrk.json"
    path.write_text(json.dumps({"@schema": "x", "markups": list(markups)}), "utf-8")
    return path


def point(position: list[float], label: str = "", **more: str) -> dict:  # type: ignore[type-arg]
    return {"label": label, "position": position, **more}


def test_points_survive_the_round_trip(tmp_path: Path) -> None:
    prompts = Prompts(np.array([[1.5, -2.25, 3.0], [-10.0, 20.0, -30.0]]), np.array([1, 0]))
    save_prompts(prompts, tmp_path / "p.mrk.json")
    loaded = load_prompts(tmp_path / "p.mrk.json")
    np.testing.assert_array_equal(loaded.points_ras, prompts.points_ras)
    np.testing.assert_array_equal(loaded.labels, prompts.labels)


def test_written_in_lps_as_slicer_does(tmp_path: Path) -> None:
    save_prompts(Prompts(np.array([[1.0, 2.0, 3.0]]), np.array([1])), tmp_path / "p.mrk.json")
    markup = json.loads((tmp_path / "p.mrk.json").read_text("utf-8"))["markups"][0]
    assert markup["coordinateSystem"] == "LPS"
    assert markup["controlPoints"][0]["position"] == [-1.0, -2.0, 3.0]


@pytest.mark.parametrize(
    ("system", "expected"), [("LPS", [-1, -2, 3]), ("RAS", [1, 2, 3]), (None, [-1, -2, 3])]
)
def test_coordinate_systems(tmp_path: Path, system: str | None, expected: list[float]) -> None:
    frame = {"coordinateSystem": system} if system else {}
    path = written(tmp_path, {"controlPoints": [point([1, 2, 3])], **frame})
    np.testing.assert_array_equal(load_prompts(path).points_ras, [expected])


def test_names_tell_negative_points(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        {
            "controlPoints": [
                point([0, 0, 0], "F-1"),
                point([1, 0, 0], "Negative 2"),
                point([2, 0, 0], "-3"),
                point([3, 0, 0], "waiting", positionStatus="undefined"),
            ]
        },
        {"name": "neg points", "controlPoints": [point([4, 0, 0], "F-1")]},
    )
    assert load_prompts(path).labels.tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{broken", r"is not a markups file of 3D Slicer: Expecting"),
        ("[1, 2]", r"has no list named 'markups'"),
        ('{"markups": []}', r"holds no placed point"),
        ('{"markups": [{"controlPoints": [{"position": [1, 2]}]}]}', r"no position of three"),
        ('{"markups": [{"coordinateUnits": "m"}]}', r"must be in mm, got 'm'"),
        ('{"markups": [{"coordinateSystem": "XYZ"}]}', r"must be LPS or RAS, got 'XYZ'"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "bad.mrk.json"
    path.write_text(content, "utf-8")
    with pytest.raises(ValueError, match=message):
        load_prompts(path)


@pytest.mark.slicer
def test_slicer_reads_the_points_where_they_were(tmp_path: Path) -> None:
    import slicer_core

    prompts = Prompts(np.array([[1.5, -2.25, 3.0], [-10.0, 20.0, -30.0]]), np.array([1, 0]))
    save_prompts(prompts, tmp_path / "p.mrk.json")
    node, storage = (
        slicer_core.vtkMRMLMarkupsFiducialNode(),
        slicer_core.vtkMRMLMarkupsJsonStorageNode(),
    )
    storage.SetFileName(str(tmp_path / "p.mrk.json"))
    assert storage.ReadData(node)
    positions = [node.GetNthControlPointPosition(n) for n in range(2)]
    np.testing.assert_allclose(positions, prompts.points_ras)
    assert [node.GetNthControlPointLabel(n) for n in range(2)] == ["positive 1", "negative 2"]
