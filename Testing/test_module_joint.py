"""The module in the Slicer host with a known worker: volume and segment refined together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from module_user import BALL_CENTRE_RAS, User, add_volume, beside, nodes

pytestmark = pytest.mark.slicer

WHY = "The volume was refined: held-out views do not speak against it."


@pytest.fixture
def ready(user: User, scan_file: Path) -> User:
    """A user with a segment from two clicks in a reconstructed volume."""
    user.panel.enter()
    user.choose(scan_file)
    user.reconstruct()
    user.place(BALL_CENTRE_RAS)
    user.place(beside(-6.0, 0, 0))
    return user


def volumes() -> list[Any]:
    """The volumes that lists of nodes show."""
    return [node for node in nodes("vtkMRMLScalarVolumeNode") if not node.GetHideFromEditors()]


def refine(user: User) -> None:
    """Press the button and wait for what comes."""
    assert user.ui.jointButton.enabled, user.ui.jointButton.toolTip
    user.ui.jointButton.click()
    user.wait(lambda: user.widget.segmentation.joint.job is None)
    user.rest()


def voxels(volume: Any) -> np.ndarray:
    """Values of a volume."""
    import slicer

    return slicer.util.arrayFromVolume(volume)


def background() -> Any:
    """The volume in the red slice view."""
    import slicer

    composite = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    return slicer.mrmlScene.GetNodeByID(composite.GetBackgroundVolumeID() or "")


def shown_segments(user: User) -> list[tuple[str, bool]]:
    """Names of the volumes whose segmentations there are, and whether their segment is shown."""
    found = []
    for node in nodes("vtkMRMLSegmentationNode"):
        (segment_id,) = node.GetSegmentation().GetSegmentIDs()
        visible = node.GetDisplayNode().GetSegmentVisibility(segment_id)
        found.append((node.GetName(), bool(visible)))
    return found


def test_a_new_volume_and_segment_stand_beside_the_old(ready: User) -> None:
    import slicer

    volume, first_points, before = (
        ready.parameters.inputVolume,
        ready.parameters.points,
        ready.mask(),
    )
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "Study")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(volume), study)
    old_segmentation = ready.parameters.segmentation
    colour = old_segmentation.GetSegmentation().GetNthSegment(0).GetColor()
    refine(ready)
    refined = ready.parameters.inputVolume
    assert (refined.GetName(), volume.GetName()) == ("patient joint", "patient")
    np.testing.assert_allclose(voxels(refined), voxels(volume) + 5.0, atol=0.01)
    assert background() is refined
    for node in (refined, ready.parameters.segmentation):
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study
    assert refined.GetDescription() == "held-out views do not speak against it"
    assert refined.GetAttribute("NASAM3D.Quantity") == "HU"
    after = ready.mask()
    assert after.sum() > 2 * before.sum()
    segment = ready.parameters.segmentation.GetSegmentation().GetNthSegment(0)
    assert (segment.GetName(), segment.GetColor()) == ("Segment 1", colour)
    assert ready.parameters.points is not first_points
    assert ready.ui.statusLabel.text == f"{WHY[:-1]}. The segment changed by 25 %. Undo goes back."
    assert ready.ui.resultLabel.text.startswith("Segment 1: ")
    assert shown_segments(ready) == [
        ("patient segmentation", False),
        ("patient joint segmentation", True),
    ]
    assert not ready.ui.jointButton.enabled, "a refined volume is refined no further"


def test_undo_goes_back_and_redo_forward_again(ready: User) -> None:
    volume, points, before = ready.parameters.inputVolume, ready.parameters.points, ready.mask()
    refine(ready)
    refined, after = ready.parameters.inputVolume, ready.mask()
    ready.press("Ctrl+Z")
    assert ready.parameters.inputVolume is volume
    assert ready.parameters.points is points
    assert background() is volume
    np.testing.assert_array_equal(ready.mask(), before)
    assert shown_segments(ready) == [
        ("patient segmentation", True),
        ("patient joint segmentation", False),
    ]
    ready.press("Ctrl+Y")
    assert ready.parameters.inputVolume is refined
    np.testing.assert_array_equal(ready.mask(), after)
    ready.place(beside(0, 0, 20.0))
    assert ready.mask().sum() > after.sum(), "clicks go on from the refined segment"
    assert (ready.mask()[after > 0] == 1).all()
    ready.press("Ctrl+Z")
    np.testing.assert_array_equal(ready.mask(), after)
    ready.press("Ctrl+Z")
    assert ready.parameters.inputVolume is volume
    ready.press("Ctrl+Z")
    assert ready.points.placedIndices(ready.parameters.points) == [0]
    ready.place(beside(0, 10.0, 0))
    assert not ready.ui.redoButton.enabled, "another click forgets the refinement"


def test_the_mask_from_before_may_stay(user: User, scan_file: Path) -> None:
    user.choose(scan_file)
    user.reconstruct()
    user.place(BALL_CENTRE_RAS)
    before = user.mask()
    refine(user)
    np.testing.assert_array_equal(user.mask(), before)
    assert "The segment stays as it was" in user.ui.statusLabel.text


def test_nothing_comes_where_held_out_views_speak_against_it(user: User, scan_file: Path) -> None:
    user.choose(scan_file)
    volume = user.reconstruct()
    user.place(beside(8.0, 0, 0))
    before = user.mask()
    refine(user)
    assert user.ui.statusLabel.text == "Nothing was changed: held-out views got worse."
    assert volumes() == [volume]
    np.testing.assert_array_equal(user.mask(), before)


def test_progress_and_previews_are_shown_and_editing_rests(ready: User) -> None:
    volume = ready.parameters.inputVolume
    ready.ui.jointButton.click()
    assert ready.ui.jointButton.text == "Cancel"
    for button in (ready.ui.positiveButton, ready.ui.undoButton, ready.ui.applyButton):
        assert not button.enabled
    assert ready.parameters.points.GetLocked()
    formats: set[str] = set()
    ready.wait(
        lambda: (
            formats.add(ready.ui.jointProgressBar.format)
            or background().GetName() == "Preview"
            or ready.widget.segmentation.joint.job is None
        )
    )
    assert background().GetName() == "Preview"
    assert any(text.startswith("Refereeing") for text in formats)
    ready.wait(lambda: ready.widget.segmentation.joint.job is None)
    assert ready.ui.jointButton.text == "Refine jointly"
    assert ready.ui.jointProgressBar.isHidden()
    assert not ready.parameters.points.GetLocked()
    assert len(volumes()) == 2
    assert volume in volumes()


def test_cancel_leaves_everything_as_it_was(ready: User) -> None:
    volume, before = ready.parameters.inputVolume, ready.mask()
    ready.ui.jointButton.click()
    ready.wait(lambda: background().GetName() == "Preview")
    ready.ui.jointButton.click()
    ready.wait(lambda: ready.widget.segmentation.joint.job is None, 2.5)
    assert ready.ui.statusLabel.text == "The refinement was cancelled."
    assert volumes() == [volume]
    assert background() is volume
    np.testing.assert_array_equal(ready.mask(), before)
    refine(ready)
    assert ready.parameters.inputVolume is not volume


def test_what_is_lacking_is_said(user: User, scan_file: Path) -> None:
    assert not user.ui.jointButton.enabled
    user.choose(scan_file)
    user.ui.methodComboBox.currentText = "Filtered back-projection"
    user.reconstruct()
    assert "Choose a segment" in user.ui.jointButton.toolTip
    user.place(BALL_CENTRE_RAS)
    assert "by total variation" in user.ui.jointButton.toolTip
    user.parameters.inputVolume = add_volume(np.zeros((30, 30, 30)), np.diag([2.0, 2, 2, 1]))
    user.place([30.0, 30.0, 30.0])
    assert "was reconstructed here" in user.ui.jointButton.toolTip
    assert not user.ui.jointButton.enabled


def test_projections_that_are_gone_are_named_and_may_be_chosen_again(
    ready: User, scan_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from slicerhost import slot_errors

    moved = scan_file.rename(tmp_path / "moved.npz")
    ready.ui.jointButton.click()
    shown = "".join(slot_errors.take()) + caplog.text
    assert f"The projections {scan_file} are gone" in shown
    assert ready.widget.segmentation.joint.job is None
    ready.choose(moved)
    refine(ready)
    assert ready.ui.statusLabel.text.startswith(WHY)


@pytest.mark.parametrize("fate", ["deleted", "segment", "closed"])
def test_what_goes_meanwhile_leaves_no_trace(ready: User, fate: str) -> None:
    import slicer

    ready.ui.jointButton.click()
    ready.wait(lambda: background().GetName() == "Preview")
    if fate == "deleted":
        slicer.mrmlScene.RemoveNode(ready.parameters.inputVolume)
    elif fate == "segment":
        ready.parameters.segmentation.GetSegmentation().RemoveSegment(ready.parameters.segmentId)
    else:
        slicer.mrmlScene.Clear(0)
    ready.wait(lambda: ready.widget.segmentation.joint.job is None)
    ready.rest()
    assert len(volumes()) == (1 if fate == "segment" else 0)
    if fate != "closed":
        assert "the result was dropped" in ready.ui.statusLabel.text


def test_whoever_has_gone_on_is_not_taken_away_from_it(ready: User) -> None:
    ready.ui.jointButton.click()
    ready.ui.newSegmentButton.click()
    volume = ready.parameters.inputVolume
    ready.wait(lambda: ready.widget.segmentation.joint.job is None)
    ready.rest()
    assert ready.parameters.inputVolume is volume
    assert [node.GetName() for node in volumes()] == [
        "patient",
        "patient joint",
    ]


def test_a_saved_scene_can_still_be_refined_and_taken_back(ready: User, tmp_path: Path) -> None:

    before = ready.mask()
    ready.reopen(tmp_path / "first.mrb")
    refine(ready)
    after = ready.mask()
    assert after.sum() > before.sum()
    ready.reopen(tmp_path / "second.mrb")
    np.testing.assert_array_equal(ready.mask(), after)
    ready.ui.undoButton.click()
    ready.rest()
    assert ready.parameters.inputVolume.GetName() == "patient"
    np.testing.assert_array_equal(ready.mask(), before)


def test_a_refined_volume_lies_where_the_old_one_does(ready: User) -> None:
    import slicer

    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    to_world = np.diag([1.0, 1.0, 1.0, 1.0])
    to_world[:3, 3] = (30.0, -10.0, 5.0)
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(to_world))
    for node in (ready.parameters.inputVolume, ready.parameters.segmentation):
        node.SetAndObserveTransformNodeID(transform.GetID())
    points = ready.parameters.points
    for index in range(2):
        place = np.array(points.GetNthControlPointPosition(index)) + to_world[:3, 3]
        points.SetNthControlPointPosition(index, *place)
    points.InvokeEvent(points.PointEndInteractionEvent)
    ready.rest()
    refine(ready)
    assert ready.parameters.inputVolume.GetParentTransformNode() is transform
    assert ready.parameters.segmentation.GetParentTransformNode() is transform
    centre = np.argwhere(ready.mask()).mean(axis=0)
    grid = ready.volumes.gridOf(ready.parameters.inputVolume)
    np.testing.assert_allclose(grid.to_ras(centre[::-1]), BALL_CENTRE_RAS, atol=1.0)
