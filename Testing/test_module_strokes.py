"""The module in the Slicer host: strokes that are drawn with the mouse in a slice view."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from module_user import BALL_CENTRE_RAS, User, add_volume, beside, nodes, turned
from test_module_points import oblique_affine

pytestmark = pytest.mark.slicer

N_STEPS = 12


@pytest.fixture
def ready(user: User, scan_file: Path) -> User:
    """A user in front of a reconstructed volume, with the module chosen."""
    import slicer

    user.panel.enter()
    user.choose(scan_file)
    user.reconstruct()
    slicer.util.resetSliceViews()
    return user


def drag(
    user: User, begin_ras: Any, end_ras: Any, name: str = "Red", *, release: bool = True
) -> None:
    """Press the left button at a place of a slice view, move to another one, let go."""
    import qt
    import slicer
    from PySide6.QtTest import QTest
    from slicerhost.interaction import process_events

    widget = slicer.app.layoutManager().sliceWidget(name)
    view = widget.sliceView()
    widget.mrmlSliceNode().JumpSliceByOffsetting(*(float(x) for x in begin_ras))
    process_events()
    places = []
    for part in np.linspace(0.0, 1.0, N_STEPS):
        x, y, _ = view.convertRASToXYZ([float(v) for v in (1 - part) * begin_ras + part * end_ras])
        places.append(qt.QPoint(round(x), view.height - 1 - round(y)))
    QTest.mouseMove(view, places[0])
    QTest.mousePress(view, qt.Qt.LeftButton, qt.Qt.NoModifier, places[0])
    for place in places[1:]:
        QTest.mouseMove(view, place)
        process_events()
    if release:
        QTest.mouseRelease(view, qt.Qt.LeftButton, qt.Qt.NoModifier, places[-1])
        user.rest()


def strokes(user: User) -> list[int]:
    """Number of the stroke of each point, 0 for a click."""
    points = user.parameters.points
    return [user.points.strokeOf(points, n) for n in user.points.placedIndices(points)]


@pytest.mark.parametrize("view", ["Red", "Green", "Yellow"])
def test_dragging_marks_along_the_way(ready: User, view: str) -> None:
    import slicer

    along = {"Red": (24.0, 6.0, 0), "Green": (24.0, 0, 6.0), "Yellow": (0, 24.0, 6.0)}[view]
    begin, end = BALL_CENTRE_RAS - np.array(along) / 2, BALL_CENTRE_RAS + np.array(along) / 2
    ready.ui.strokeButton.click()
    drag(ready, begin, end, view)
    found = slicer.util.arrayFromMarkupsControlPoints(ready.parameters.points, world=True)
    assert len(found) > 4
    assert set(strokes(ready)) == {1}
    np.testing.assert_allclose(found[0], begin, atol=1.5)
    np.testing.assert_allclose(found[-1], end, atol=5.0)
    direction = (end - begin) / np.linalg.norm(end - begin)
    away = found - begin
    across = away - np.outer(away @ direction, direction)
    assert np.linalg.norm(across, axis=1).max() < 1.5, "the points lie on the way"
    assert (np.diff(away @ direction) > 0).all()
    prompts = ready.points.promptsOf(ready.parameters.points, ready.parameters.inputVolume)
    assert len(prompts.parts) == 1
    assert ready.mask().any()
    assert nodes("vtkMRMLMarkupsCurveNode") == [], "the ink is gone"
    assert ready.ui.strokeButton.checked, "the user goes on"
    assert ready.ui.positiveButton.checked


def test_a_stroke_lies_in_the_volume_below_its_transform(user: User) -> None:
    import slicer

    affine = oblique_affine()
    volume = add_volume(np.zeros((24, 40, 50)), affine)
    to_world = turned(volume)
    user.widget.initializeParameterNode()
    user.parameters.inputVolume = volume
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    world = (to_world @ affine @ [24.0, 21.0, 11.0, 1.0])[:3]
    user.ui.strokeButton.click()
    drag(user, world - np.array([8.0, 0, 0]), world + np.array([8.0, 0, 0]))
    prompts = user.points.promptsOf(user.parameters.points, volume)
    placed = np.column_stack([prompts.points_ras, np.ones(len(prompts))]) @ to_world.T
    np.testing.assert_allclose(placed[0, :3], world - np.array([8.0, 0, 0]), atol=1.0)
    assert np.ptp(prompts.scribbles) == 0
    assert prompts.scribbles[0] >= 0


def test_strokes_are_taken_back_and_done_again_as_a_whole(ready: User) -> None:
    ready.place(BALL_CENTRE_RAS)
    first = ready.mask()
    ready.ui.strokeButton.click()
    drag(ready, beside(-12.0, 14.0, 0), beside(12.0, 14.0, 0))
    second, marks = ready.mask(), strokes(ready)
    assert marks[0] == 0
    assert set(marks[1:]) == {1}
    assert second.sum() > first.sum()
    ready.ui.negativeButton.click()
    drag(ready, beside(-12.0, 19.0, 0), beside(0.0, 19.0, 0))
    third = ready.mask()
    assert third.sum() < second.sum()
    assert set(strokes(ready)) == {0, 1, 2}
    ready.press("Ctrl+Z")
    np.testing.assert_array_equal(ready.mask(), second)
    ready.press("Ctrl+Z")
    np.testing.assert_array_equal(ready.mask(), first)
    assert strokes(ready) == [0]
    ready.press("Ctrl+Y")
    ready.press("Ctrl+Y")
    np.testing.assert_array_equal(ready.mask(), third)
    points = ready.parameters.points
    kinds = [ready.points.isPositive(points, n) for n in range(points.GetNumberOfControlPoints())]
    assert kinds[1], "the first stroke is one inside"
    assert not kinds[-1]


def test_a_saved_scene_keeps_strokes(ready: User, tmp_path: Path) -> None:
    ready.ui.strokeButton.click()
    drag(ready, beside(-12.0, 0, 0), beside(12.0, 0, 0))
    before, marks = ready.mask(), strokes(ready)
    ready.reopen(tmp_path / "session.mrb")
    assert strokes(ready) == marks
    ready.place(beside(0, 0, 20.0))
    assert ready.mask().sum() > before.sum()
    ready.ui.undoButton.click()
    ready.rest()
    np.testing.assert_array_equal(ready.mask(), before)
    ready.ui.undoButton.click()
    ready.rest()
    assert ready.parameters.points.GetNumberOfControlPoints() == 0


def test_a_click_is_no_stroke_and_a_drag_without_the_button_is_none(ready: User) -> None:
    ready.ui.strokeButton.click()
    ready.click_red(20, 0)
    ready.rest()
    assert strokes(ready) == [0]
    ready.press("T")
    assert ready.ui.negativeButton.checked
    assert ready.ui.strokeButton.checked
    ready.ui.positiveButton.click()
    assert ready.ui.strokeButton.checked
    assert not ready.ui.negativeButton.checked
    ready.ui.strokeButton.click()
    assert not ready.ui.positiveButton.checked
    drag(ready, beside(-12.0, 14.0, 0), beside(12.0, 14.0, 0))
    assert strokes(ready) == [0]


def test_boxes_and_points_end_strokes(ready: User) -> None:
    ready.ui.strokeButton.click()
    ready.ui.boxButton.click()
    assert ready.ui.boxButton.checked
    assert not ready.ui.strokeButton.checked
    ready.ui.strokeButton.click()
    assert not ready.ui.boxButton.checked
    drag(ready, beside(-12.0, 0, 0), beside(12.0, 0, 0))
    assert set(strokes(ready)) == {1}
    ready.ui.lockButton.click()
    assert not ready.ui.strokeButton.checked
    assert not ready.ui.strokeButton.enabled


def test_leaving_in_the_middle_of_a_stroke_leaves_no_ink(ready: User) -> None:
    import slicer

    ready.ui.strokeButton.click()
    drag(ready, beside(-12.0, 0, 0), beside(12.0, 0, 0), release=False)
    assert len(nodes("vtkMRMLMarkupsCurveNode")) == 1
    assert not nodes("vtkMRMLMarkupsCurveNode")[0].GetSaveWithScene()
    ready.panel.exit()
    assert nodes("vtkMRMLMarkupsCurveNode") == []
    ready.panel.enter()
    ready.ui.strokeButton.click()
    drag(ready, beside(-12.0, 0, 0), beside(12.0, 0, 0), release=False)
    slicer.mrmlScene.Clear(0)
    ready.rest()
    assert nodes("vtkMRMLMarkupsNode") == []


def test_a_stroke_beyond_the_volume_is_refused_as_a_whole(ready: User) -> None:
    import slicer
    from slicerhost import slot_errors

    ready.place(BALL_CENTRE_RAS)
    before = ready.mask()
    edge = np.array([BALL_CENTRE_RAS[0] + 50.0, *BALL_CENTRE_RAS[1:]])
    slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode().SetFieldOfView(300, 300, 1)
    ready.ui.strokeButton.click()
    drag(ready, edge, edge + np.array([30.0, 0, 0]))
    slot_errors.take()
    assert "outside the volume" in ready.ui.statusLabel.text
    assert strokes(ready) == [0]
    np.testing.assert_array_equal(ready.mask(), before)
