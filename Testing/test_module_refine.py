"""The module in the Slicer host with a known worker: segments that were made or changed by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from module_user import BALL_CENTRE_RAS, User, beside

pytestmark = pytest.mark.slicer


@pytest.fixture
def ready(user: User, scan_file: Path) -> User:
    """A user in front of a reconstructed volume."""
    user.choose(scan_file)
    user.reconstruct()
    return user


def draw_by_hand(user: User, array: np.ndarray, name: str = "By hand") -> None:
    """Draw a segment as the Segment Editor would, and pick it in the list."""
    import slicer

    volume = user.parameters.inputVolume
    if user.parameters.segmentation is None:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
        node.CreateDefaultDisplayNodes()
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        user.parameters.segmentation = node
    node = user.parameters.segmentation
    segment_id = node.GetSegmentation().AddEmptySegment("", name)
    slicer.util.updateSegmentBinaryLabelmapFromArray(array, node, segment_id, volume)
    user.ui.segmentsTable.setSelectedSegmentIDs([segment_id])
    assert user.parameters.segmentId == segment_id


def edit_by_hand(user: User, array: np.ndarray) -> None:
    """Change the chosen segment as the Segment Editor would."""
    import slicer

    node, volume = user.parameters.segmentation, user.parameters.inputVolume
    slicer.util.updateSegmentBinaryLabelmapFromArray(array, node, user.parameters.segmentId, volume)
    user.widget.updateGui()


def slab() -> np.ndarray:
    """A slab far from where the tests click."""
    array = np.zeros((40, 48, 56), dtype=np.uint8)
    array[2:6, 4:44, 4:52] = 1
    return array


def test_clicks_on_a_segment_made_by_hand_correct_it(ready: User) -> None:
    draw_by_hand(ready, slab())
    assert ready.ui.resultLabel.text == "By hand was changed elsewhere."
    ready.place(BALL_CENTRE_RAS)
    mask = ready.mask()
    assert (mask[slab() > 0] == 1).all(), "what was drawn stays"
    assert mask.sum() > slab().sum()
    assert ready.ui.resultLabel.text.startswith("By hand: ")
    ready.ui.undoButton.click()
    ready.rest()
    np.testing.assert_array_equal(ready.mask(), slab())
    assert ready.parameters.segmentation.GetSegmentation().GetNumberOfSegments() == 1


def test_clicks_after_an_edit_go_on_from_it(ready: User) -> None:
    ready.place(BALL_CENTRE_RAS)
    edited = ready.mask() | slab()
    edit_by_hand(ready, edited)
    points = ready.parameters.points
    points.SetNthControlPointPosition(0, *beside(5.0, 0, 0))
    points.InvokeEvent(points.PointEndInteractionEvent)
    ready.rest()
    assert "was changed elsewhere" in ready.ui.statusLabel.text
    np.testing.assert_array_equal(ready.mask(), edited)
    np.testing.assert_allclose(points.GetNthControlPointPosition(0), BALL_CENTRE_RAS)
    ready.ui.positiveButton.click()
    ready.ui.positiveButton.click()
    ready.place(beside(0, 14.0, 0))
    assert ready.points.placedIndices(ready.parameters.points) == [0]
    after = ready.mask()
    assert (after[edited > 0] == 1).all()
    assert after.sum() > edited.sum()
    ready.place(beside(0, 0, 14.0), positive=False)
    edit_by_hand(ready, slab())
    ready.ui.negativeButton.click()
    ready.place(BALL_CENTRE_RAS)
    assert (ready.mask()[slab() > 0] == 1).all()


def test_what_is_corrected_survives_a_saved_scene(ready: User, tmp_path: Path) -> None:

    draw_by_hand(ready, slab())
    ready.place(BALL_CENTRE_RAS)
    corrected = ready.mask()
    ready.reopen(tmp_path / "session.mrb")
    np.testing.assert_array_equal(ready.mask(), corrected)
    ready.ui.undoButton.click()
    ready.rest()
    np.testing.assert_array_equal(ready.mask(), slab())


def test_a_removed_segment_takes_what_it_was_with_it(ready: User) -> None:
    draw_by_hand(ready, slab())
    ready.place(BALL_CENTRE_RAS)
    assert hidden_nodes() == ["vtkMRMLLabelMapVolumeNode"]
    ready.parameters.segmentation.GetSegmentation().RemoveSegment(ready.parameters.segmentId)
    ready.rest()
    assert hidden_nodes() == []


def hidden_nodes() -> list[str]:
    """Classes of the volumes that no list shows."""
    import slicer

    found: list[Any] = slicer.util.getNodesByClass("vtkMRMLVolumeNode")
    return [node.GetClassName() for node in found if node.GetHideFromEditors()]
