"""The module in the Slicer host with a known worker: points become segments."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from module_user import (
    BALL_CENTRE_RAS,
    BALL_ML,
    RADIUS_MM,
    User,
    add_volume,
    beside,
    centroid_ras,
    nodes,
    turned,
)

pytestmark = pytest.mark.slicer


def test_a_mouse_click_in_a_slice_gives_a_segment_there(
    user: User, scan_file: Path, slicer_app: Any
) -> None:
    import slicer

    user.choose(scan_file)
    volume = user.reconstruct()
    user.ui.positiveButton.click()
    assert user.ui.positiveButton.checked
    user.click_red()
    user.rest()
    points = user.parameters.points
    assert user.points.placedIndices(points) == [0]
    clicked = slicer.util.arrayFromMarkupsControlPoints(points, world=True)[0]
    np.testing.assert_allclose(clicked[:2], BALL_CENTRE_RAS[:2], atol=2.0)
    mask = user.mask()
    assert mask.shape == (40, 48, 56)
    grid = user.volumes.gridOf(volume)
    np.testing.assert_allclose(centroid_ras(mask, grid.ijk_to_ras), clicked, atol=1.0)
    assert mask.sum() * grid.voxel_volume_mm3 / 1000 == pytest.approx(BALL_ML, rel=0.05)
    assert user.ui.resultLabel.text.startswith("Segment 1: 3.")
    assert " ml, mean 40 ± 0 HU\nlongest diameter 20 mm, surface 9" in user.ui.resultLabel.text


def test_the_segmentation_belongs_to_its_volume(user: User, scan_file: Path) -> None:
    import slicer
    import vtk

    user.choose(scan_file)
    volume = user.reconstruct()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "Study")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(volume), study)
    user.place(BALL_CENTRE_RAS)
    segmentation = user.parameters.segmentation
    role = segmentation.GetReferenceImageGeometryReferenceRole()
    assert segmentation.GetNodeReference(role) is volume
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(segmentation)) == study
    surface = vtk.vtkPolyData()
    segmentation.GetClosedSurfaceRepresentation(user.parameters.segmentId, surface)
    bounds = np.array(surface.GetBounds()).reshape(3, 2)
    np.testing.assert_allclose(bounds.mean(axis=1), BALL_CENTRE_RAS, atol=1.5)
    np.testing.assert_allclose(np.ptp(bounds, axis=1), 2 * RADIUS_MM, atol=3.5)


def oblique_affine() -> np.ndarray:
    """Unequal spacing, turned about two axes, one axis mirrored."""
    a, b = np.radians([25.0, -40.0])
    about_s = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_r = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = about_s @ about_r @ np.diag([1.5, -2.0, 3.0])
    affine[:3, 3] = (-40.0, 60.0, 12.0)
    return affine


@pytest.mark.parametrize("under_transform", [False, True])
def test_points_land_where_they_were_placed_in_any_volume(
    user: User, under_transform: bool
) -> None:
    import slicer
    import vtk

    affine = oblique_affine()
    volume = add_volume(np.zeros((24, 40, 50)), affine)
    to_world = turned(volume) if under_transform else np.eye(4)
    user.widget.initializeParameterNode()
    user.parameters.inputVolume = volume
    world = (to_world @ affine @ [24.0, 21.0, 11.0, 1.0])[:3]
    user.place(world)
    segmentation, segment_id = user.parameters.segmentation, user.parameters.segmentId
    mask = slicer.util.arrayFromSegmentInternalBinaryLabelmap(segmentation, segment_id)
    assert mask.sum() * 9.0 / 1000 == pytest.approx(BALL_ML, rel=0.05)
    image = segmentation.GetBinaryLabelmapInternalRepresentation(segment_id)
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    own = slicer.util.arrayFromVTKMatrix(matrix)
    own[:3, 3] += own[:3, :3] @ np.array(image.GetExtent())[::2]
    assert segmentation.GetParentTransformNode() is volume.GetParentTransformNode()
    np.testing.assert_allclose(centroid_ras(mask, to_world @ own), world, atol=0.5)


def test_a_negative_point_trims_and_has_its_own_look(user: User, scan_file: Path) -> None:
    import vtk

    user.choose(scan_file)
    user.reconstruct()
    user.place(BALL_CENTRE_RAS)
    before = user.mask()
    user.place(beside(6.0, 0, 0), positive=False)
    assert user.ui.negativeButton.checked
    assert not user.ui.positiveButton.checked
    after = user.mask()
    assert 0 < after.sum() < before.sum()
    assert not (after & ~before).any()
    surface = vtk.vtkPolyData()
    user.parameters.segmentation.GetClosedSurfaceRepresentation(user.parameters.segmentId, surface)
    assert surface.GetBounds()[1] < BALL_CENTRE_RAS[0] + 2.5, "the surface must follow the mask"
    points = user.parameters.points
    assert [points.GetNthControlPointLabel(n) for n in range(2)] == ["+", "−"]
    assert [points.GetNthControlPointSelected(n) for n in range(2)] == [True, False]


def test_undo_takes_back_marker_and_mask_together(user: User, scan_file: Path) -> None:
    user.choose(scan_file)
    user.reconstruct()
    user.place(BALL_CENTRE_RAS)
    before = user.mask()
    user.place(beside(12.0, 0, 0))
    assert user.mask().sum() > before.sum()
    user.ui.undoButton.click()
    user.rest()
    np.testing.assert_array_equal(user.mask(), before)
    user.ui.undoButton.click()
    user.rest()
    assert user.parameters.segmentation.GetSegmentation().GetNumberOfSegments() == 0
    assert user.parameters.points.GetNumberOfControlPoints() == 0
    assert user.ui.resultLabel.text == "No segment yet."
    assert not user.ui.undoButton.enabled


def test_a_moved_point_segments_again(user: User, scan_file: Path) -> None:
    user.choose(scan_file)
    volume = user.reconstruct()
    user.place(BALL_CENTRE_RAS)
    target = beside(0, 10.0, 0)
    points = user.parameters.points
    points.SetNthControlPointPosition(0, *target)
    points.InvokeEvent(points.PointEndInteractionEvent)
    user.rest()
    middle = centroid_ras(user.mask(), user.volumes.gridOf(volume).ijk_to_ras)
    np.testing.assert_allclose(middle, target, atol=1.0)


def test_a_point_outside_the_volume_is_refused_and_taken_away(
    user: User, scan_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    user.choose(scan_file)
    user.reconstruct()
    user.place(BALL_CENTRE_RAS)
    before = user.mask()
    with caplog.at_level(logging.ERROR):
        user.place(beside(500.0, 0, 0))
    assert "Point 2 at RAS (510.0, -5.0, 20.0) mm lies outside the volume" in caplog.text
    assert "lies outside the volume" in user.ui.statusLabel.text
    assert user.points.placedIndices(user.parameters.points) == [0]
    np.testing.assert_array_equal(user.mask(), before)


def test_the_next_segment_gets_its_own_points_and_colour(user: User, scan_file: Path) -> None:
    user.choose(scan_file)
    user.reconstruct()
    user.place(BALL_CENTRE_RAS)
    first_id, first = user.parameters.segmentId, user.mask()
    user.ui.newSegmentButton.click()
    user.rest()
    user.place(beside(15.0, 0, 0))
    segmentation = user.parameters.segmentation.GetSegmentation()
    assert segmentation.GetNumberOfSegments() == 2
    assert user.ui.resultLabel.text.startswith("Segment 2: ")
    colours = {segmentation.GetNthSegment(n).GetColor() for n in range(2)}
    assert len(colours) == 2
    user.parameters.segmentId = first_id
    np.testing.assert_array_equal(user.mask(), first)


def test_clicks_during_a_prediction_end_in_the_newest_state(user: User, scan_file: Path) -> None:
    user.choose(scan_file)
    user.reconstruct()
    offsets = [[0, 0, 0], [14.0, 0, 0], [0, 14.0, 0], [0, 0, 14.0]]
    user.ui.positiveButton.click()
    for offset in offsets:
        user.parameters.points.AddControlPoint(*beside(*offset))
        user.wait(lambda: True)
    user.rest()
    quick = user.mask()
    user.ui.densityCheckBox.checked = True
    for _ in offsets[1:]:
        user.ui.undoButton.click()
        user.rest()
    user.place(*(beside(*offset) for offset in offsets[1:]))
    np.testing.assert_array_equal(user.mask(), quick)


def test_a_volume_deleted_right_after_a_click_leaves_no_trace(user: User, scan_file: Path) -> None:
    import slicer

    user.choose(scan_file)
    volume = user.reconstruct()
    user.ui.positiveButton.click()
    user.parameters.points.AddControlPoint(*BALL_CENTRE_RAS)
    slicer.mrmlScene.RemoveNode(volume)
    user.rest()
    assert nodes("vtkMRMLSegmentationNode") == []
    assert not user.ui.positiveButton.enabled


@pytest.mark.parametrize("fate", ["changed", "deleted", "exchanged"])
def test_a_mask_of_a_volume_that_is_gone_is_dropped(user: User, scan_file: Path, fate: str) -> None:
    import slicer

    user.choose(scan_file)
    volume = user.reconstruct()
    user.ui.positiveButton.click()
    user.parameters.points.AddControlPoint(*BALL_CENTRE_RAS)
    user.wait(lambda: user.ui.statusLabel.text == "Segmenting…")
    if fate == "changed":
        slicer.util.updateVolumeFromArray(volume, np.zeros((40, 48, 56), np.float32))
    elif fate == "deleted":
        slicer.mrmlScene.RemoveNode(volume)
    else:
        user.parameters.inputVolume = add_volume(np.zeros((8, 8, 8)), np.eye(4))
    user.rest()
    assert nodes("vtkMRMLSegmentationNode") == []


def test_another_volume_gets_other_points_and_another_segmentation(
    user: User, scan_file: Path
) -> None:
    user.choose(scan_file)
    volume = user.reconstruct()
    user.place(BALL_CENTRE_RAS)
    segmentation = user.parameters.segmentation
    other = add_volume(np.zeros((30, 30, 30)), np.diag([2.0, 2.0, 2.0, 1.0]), "Other")
    user.parameters.inputVolume = other
    assert user.parameters.points is None
    assert user.parameters.segmentation is None
    user.place([30.0, 30.0, 30.0])
    assert user.parameters.segmentation is not segmentation
    assert segmentation.GetSegmentation().GetNumberOfSegments() == 1
    assert volume.GetName() == "patient"
