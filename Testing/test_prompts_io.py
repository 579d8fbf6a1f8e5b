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


def test_clicks_scribbles_and_the_box_survive_the_round_trip_in_order(tmp_path: Path) -> None:
    prompts = (
        Prompts()
        .with_scribble([[1.5, 2, 3], [4, 5, 6], [7, 8.25, 9]])
        .with_point([-1, -2, -3], positive=False)
        .with_point([0, 0, 0.5])
        .with_scribble([[9, 9, 9]], positive=False)
        .with_box([[-10.5, -20, -30], [11, 22, 33.25]])
    )
    save_prompts(prompts, tmp_path / "p.mrk.json")
    loaded = load_prompts(tmp_path / "p.mrk.json")
    np.testing.assert_array_equal(loaded.points_ras, prompts.points_ras)
    np.testing.assert_array_equal(loaded.labels, prompts.labels)
    assert loaded.parts == prompts.parts
    assert prompts.box_ras is not None
    assert loaded.box_ras is not None
    np.testing.assert_allclose(loaded.box_ras, prompts.box_ras, atol=1e-12)


def roi(**more: object) -> dict:  # type: ignore[type-arg]
    described = {
        "type": "ROI",
        "roiType": "Box",
        "center": [1, 2, 3],
        "size": [2, 4, 6],
        "orientation": [-1, 0, 0, 0, -1, 0, 0, 0, 1],
        "controlPoints": [point([1, 2, 3], "R-1")],
    }
    return described | more


def test_a_region_of_interest_is_the_box_and_not_a_click(tmp_path: Path) -> None:
    loaded = load_prompts(written(tmp_path, roi()))
    assert len(loaded) == 0
    np.testing.assert_array_equal(loaded.box_ras, [[-2, -4, 0], [0, 0, 6]])
    # The first edge lies along the patient's second axis, and the other way round.
    turned = roi(orientation=[0, 1, 0, 1, 0, 0, 0, 0, 1], coordinateSystem="RAS")
    np.testing.assert_array_equal(
        load_prompts(written(tmp_path, turned)).box_ras, [[-1, 1, 0], [3, 3, 6]]
    )


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"orientation": [0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1]}, "turned against"),
        ({"size": [1, 2]}, "a centre, a size"),
        ({"insideOut": True}, "not inside out"),
        ({"roiType": "Sphere"}, "must be a box"),
        ({"size": [0, 4, 6]}, "have a size along each axis"),
    ],
)
def test_regions_that_are_no_box_are_refused(
    tmp_path: Path, more: dict[str, object], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        load_prompts(written(tmp_path, roi(**more)))


def test_two_regions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="more than one ROI"):
        load_prompts(written(tmp_path, roi(), roi()))


def test_curves_and_lines_are_scribbles(tmp_path: Path) -> None:
    corners = [point([n, n * n, 0]) for n in range(3)]
    path = written(
        tmp_path,
        {"type": "Curve", "controlPoints": corners},
        {"type": "ClosedCurve", "name": "negative rim", "controlPoints": corners},
        {"type": "Line", "name": "- L", "controlPoints": corners[:2]},
        {"type": "Curve", "controlPoints": []},
    )
    loaded = load_prompts(path)
    assert [part.stop - part.start for part in loaded.parts] == [3, 4, 2]
    assert loaded.labels.tolist() == [1] * 3 + [0] * 6
    np.testing.assert_array_equal(loaded.points_ras[3], loaded.points_ras[6])


def test_the_command_line_takes_a_box_alone_and_refuses_a_negative_scribble_alone(
    tmp_path: Path,
) -> None:
    typer = pytest.importorskip("typer")
    from NASAM3DLib.cli.options import prompts_of

    boxed = prompts_of([], [], written(tmp_path, roi()))
    assert boxed.box_ras is not None
    beside = {"type": "Line", "name": "- L", "controlPoints": [point([0, 0, 0]), point([9, 0, 0])]}
    with pytest.raises(typer.BadParameter, match="at least one point on the object"):
        prompts_of([], [], written(tmp_path, beside))
