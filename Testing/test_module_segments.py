"""The module in the Slicer host with a known worker: several segments, steps back, and keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from module_user import BALL_CENTRE_RAS, User, beside

pytestmark = pytest.mark.slicer


@pytest.fixture
def ready(user: User, scan_file: Path) -> User:
    """A user in front of a reconstructed volume, with the module chosen."""
    user.panel.enter()
    user.choose(scan_file)
    user.reconstruct()
    return user


def segments(user: User) -> Any:
    """The segments of the chosen segmentation."""
    return user.parameters.segmentation.GetSegmentation()


def test_a_wrong_click_is_undone_and_redone_by_keys(ready: User) -> None:
    ready.place(BALL_CENTRE_RAS)
    first = ready.mask()
    ready.place(beside(14.0, 0, 0))
    second = ready.mask()
    assert second.sum() > first.sum()
    assert not ready.ui.redoButton.enabled
    ready.press("Ctrl+Z")
    np.testing.assert_array_equal(ready.mask(), first)
    assert ready.points.placedIndices(ready.parameters.points) == [0]
    ready.press("Ctrl+Y")
    np.testing.assert_array_equal(ready.mask(), second)
    assert len(ready.points.placedIndices(ready.parameters.points)) == 2
    ready.press("Ctrl+Z")
    ready.place(beside(0, 14.0, 0))
    assert not ready.ui.redoButton.enabled, "a new click forgets what was taken back"


def test_undo_puts_a_moved_and_a_removed_point_back(ready: User) -> None:
    ready.place(BALL_CENTRE_RAS)
    ready.place(beside(6.0, 0, 0), positive=False)
    before = ready.mask()
    points = ready.parameters.points
    points.SetNthControlPointPosition(1, *beside(-6.0, 0, 0))
    points.InvokeEvent(points.PointEndInteractionEvent)
    ready.rest()
    assert not np.array_equal(ready.mask(), before)
    ready.ui.undoButton.click()
    ready.rest()
    np.testing.assert_array_equal(ready.mask(), before)
    points.RemoveNthControlPoint(1)
    ready.rest()
    assert ready.mask().sum() > before.sum()
    ready.ui.undoButton.click()
    ready.rest()
    np.testing.assert_array_equal(ready.mask(), before)
    assert [points.GetNthControlPointSelected(n) for n in range(2)] == [True, False]


def test_everything_undone_and_redone_is_the_same_segment_again(ready: User) -> None:
    ready.place(BALL_CENTRE_RAS)
    before = ready.mask()
    ready.ui.undoButton.click()
    ready.rest()
    assert segments(ready).GetNumberOfSegments() == 0
    ready.ui.redoButton.click()
    ready.rest()
    np.testing.assert_array_equal(ready.mask(), before)
    assert ready.ui.resultLabel.text.startswith("Segment 1: ")


def test_a_refused_move_is_taken_back(ready: User) -> None:
    ready.place(BALL_CENTRE_RAS)
    before = ready.mask()
    points = ready.parameters.points
    points.SetNthControlPointPosition(0, 900.0, 0.0, 0.0)
    points.InvokeEvent(points.PointEndInteractionEvent)
    ready.rest()
    assert "lies outside the volume" in ready.ui.statusLabel.text
    np.testing.assert_allclose(points.GetNthControlPointPosition(0), BALL_CENTRE_RAS)
    np.testing.assert_array_equal(ready.mask(), before)


def test_the_key_t_changes_between_inside_and_outside(ready: User) -> None:
    ready.press("T")
    assert ready.ui.positiveButton.checked
    ready.press("T")
    assert ready.ui.negativeButton.checked
    ready.parameters.points.AddControlPoint(*beside(6.0, 0, 0))
    ready.press("T")
    ready.parameters.points.AddControlPoint(*BALL_CENTRE_RAS)
    ready.rest()
    points = ready.parameters.points
    assert [ready.points.isPositive(points, n) for n in range(2)] == [False, True]


def test_keys_rest_while_another_module_is_chosen(ready: User) -> None:
    ready.place(BALL_CENTRE_RAS)
    ready.panel.exit()
    ready.press("Ctrl+Z")
    ready.panel.enter()
    assert ready.points.placedIndices(ready.parameters.points) == [0]
    ready.press("Ctrl+Z")
    assert ready.points.placedIndices(ready.parameters.points) == []


def test_a_segment_that_is_picked_comes_with_its_points(ready: User) -> None:
    ready.place(BALL_CENTRE_RAS)
    first_id, first_points, first = (
        ready.parameters.segmentId,
        ready.parameters.points,
        ready.mask(),
    )
    ready.press("E")
    assert ready.ui.positiveButton.checked, "the user goes on clicking"
    assert ready.ui.resultLabel.text == "No segment yet."
    ready.place(beside(0, 15.0, 0))
    second = ready.mask()
    assert ready.ui.segmentsTable.segmentCount == 2
    assert ready.ui.resultLabel.text.startswith("Segment 2: ")
    assert not first_points.GetDisplayVisibility()
    ready.ui.segmentsTable.setSelectedSegmentIDs([first_id])
    assert ready.parameters.points is first_points
    assert first_points.GetDisplayVisibility()
    assert ready.ui.resultLabel.text.startswith("Segment 1: ")
    ready.place(beside(6.0, 0, 0), positive=False)
    assert ready.mask().sum() < first.sum()
    ready.ui.undoButton.click()
    ready.rest()
    np.testing.assert_array_equal(ready.mask(), first)
    ready.ui.segmentsTable.setSelectedSegmentIDs([segments(ready).GetNthSegmentID(1)])
    np.testing.assert_array_equal(ready.mask(), second)


def test_a_locked_segment_stays_as_it_is(ready: User) -> None:
    ready.place(BALL_CENTRE_RAS)
    before = ready.mask()
    ready.ui.lockButton.click()
    ready.rest()
    assert ready.ui.lockButton.checked
    assert not ready.ui.positiveButton.checked, "placing ends"
    for button in (ready.ui.positiveButton, ready.ui.negativeButton, ready.ui.undoButton):
        assert not button.enabled
    ready.press("Ctrl+Z")
    ready.press("T")
    ready.ui.densityCheckBox.checked = False
    ready.rest()
    assert "locked" in ready.ui.statusLabel.text
    np.testing.assert_array_equal(ready.mask(), before)
    assert ready.parameters.points.GetLocked()
    ready.ui.densityCheckBox.checked = True
    ready.ui.lockButton.click()
    ready.place(beside(12.0, 0, 0))
    assert ready.mask().sum() > before.sum()


def test_a_segment_removed_elsewhere_does_not_come_back(ready: User) -> None:
    ready.place(BALL_CENTRE_RAS)
    segments(ready).RemoveSegment(ready.parameters.segmentId)
    ready.rest()
    assert (ready.parameters.segmentId, ready.parameters.points) == ("", None)
    ready.ui.densityCheckBox.checked = False
    ready.ui.densityCheckBox.checked = True
    ready.rest()
    assert segments(ready).GetNumberOfSegments() == 0
    ready.place(beside(0, 10.0, 0))
    assert segments(ready).GetNumberOfSegments() == 1


def test_a_deleted_segmentation_ends_its_points(ready: User) -> None:
    import slicer

    ready.place(BALL_CENTRE_RAS)
    slicer.mrmlScene.RemoveNode(ready.parameters.segmentation)
    ready.rest()
    assert (ready.parameters.segmentId, ready.parameters.points) == ("", None)
    assert ready.ui.resultLabel.text == "No segment yet."
    ready.place(beside(0, 10.0, 0))
    assert ready.mask().any()


def test_figures_of_a_segment_that_was_edited_elsewhere_are_not_shown(ready: User) -> None:
    import slicer

    ready.place(BALL_CENTRE_RAS)
    smaller = ready.mask()
    smaller[:, :, :26] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        smaller,
        ready.parameters.segmentation,
        ready.parameters.segmentId,
        ready.parameters.inputVolume,
    )
    ready.widget.updateGui()
    assert ready.ui.resultLabel.text == "Segment 1 was changed elsewhere."
