"""Whole stories in the Slicer host: every point is a click of the mouse in a slice view."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from module_user import (
    BALL_CENTRE_RAS,
    BALL_ML,
    User,
    add_volume,
    beside,
    centroid_ras,
    nodes,
    turned,
)
from test_module_points import oblique_affine

pytestmark = pytest.mark.slicer

VIEWS = ("Red", "Green", "Yellow")


def click(user: User, point_ras: Any, view: str = "Red", *, positive: bool = True) -> None:
    """Choose the kind of point and click on a place in a slice view; wait for the mask."""
    from slicerhost.interaction import click_in_slice

    button = user.ui.positiveButton if positive else user.ui.negativeButton
    if not button.checked:
        button.click()
    assert button.checked
    click_in_slice(view, [float(x) for x in point_ras])
    user.rest()


@pytest.fixture
def ready(user: User, scan_file: Path) -> User:
    """A user in front of a reconstructed volume, with the module chosen."""
    import slicer

    user.panel.enter()
    user.choose(scan_file)
    user.reconstruct()
    slicer.util.resetSliceViews()
    return user


def clicked(user: User) -> np.ndarray:
    """Where the points lie, world mm."""
    import slicer

    return slicer.util.arrayFromMarkupsControlPoints(user.parameters.points, world=True)


def centre(user: User) -> np.ndarray:
    """Centre of the mask, mm."""
    grid = user.volumes.gridOf(user.parameters.inputVolume)
    return centroid_ras(user.mask(), grid.ijk_to_ras)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("under_transform", [False, True])
def test_a_click_lands_where_it_is_seen_in_an_oblique_volume(
    user: User, view: str, under_transform: bool
) -> None:
    import slicer

    affine = oblique_affine()
    volume = add_volume(np.zeros((24, 40, 50)), affine)
    to_world = turned(volume) if under_transform else np.eye(4)
    user.widget.initializeParameterNode()
    user.parameters.inputVolume = volume
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    world = (to_world @ affine @ [24.0, 21.0, 11.0, 1.0])[:3]
    click(user, world, view)
    np.testing.assert_allclose(clicked(user), [world], atol=0.6)
    np.testing.assert_allclose((to_world @ [*centre(user), 1.0])[:3], clicked(user)[0], atol=0.6)


def test_first_lesion_wrong_click_second_lesion_and_a_leak(ready: User) -> None:
    click(ready, BALL_CENTRE_RAS)
    np.testing.assert_allclose(centre(ready), BALL_CENTRE_RAS, atol=1.5)
    voxel_ml = ready.volumes.gridOf(ready.parameters.inputVolume).voxel_volume_mm3 / 1000
    assert ready.mask().sum() * voxel_ml == pytest.approx(BALL_ML, rel=0.05)
    lesion, first_id = ready.mask(), ready.parameters.segmentId
    click(ready, beside(0, 18.0, 0), "Green")
    assert ready.mask().sum() > 1.5 * lesion.sum()
    ready.press("Ctrl+Z")
    np.testing.assert_array_equal(ready.mask(), lesion)
    assert len(clicked(ready)) == 1
    ready.press("E")
    click(ready, beside(0, 0, 21.0), "Yellow")
    np.testing.assert_allclose(centre(ready), beside(0, 0, 21.0), atol=1.5)
    second = ready.mask()
    click(ready, beside(0, 10.0, 21.0), "Red", positive=False)
    assert 0 < ready.mask().sum() < second.sum()
    assert not (ready.mask() & ~second).any()
    ready.ui.segmentsTable.setSelectedSegmentIDs([first_id])
    np.testing.assert_array_equal(ready.mask(), lesion)


def test_a_session_is_saved_closed_opened_and_continued(ready: User, tmp_path: Path) -> None:
    import slicer

    click(ready, BALL_CENTRE_RAS)
    click(ready, beside(0, 10.0, 0), positive=False)
    before = ready.mask()
    ready.reopen(tmp_path / "session.mrb")
    slicer.util.setSliceViewerLayers(background=ready.parameters.inputVolume, fit=True)
    np.testing.assert_array_equal(ready.mask(), before)
    click(ready, beside(-16.0, 0, 0), "Green")
    assert ready.mask().sum() > before.sum()
    assert len(clicked(ready)) == 3
    ready.press("Ctrl+Z")
    np.testing.assert_array_equal(ready.mask(), before)


def test_a_cancelled_run_leaves_the_lesion_and_the_next_click_works(ready: User) -> None:
    click(ready, BALL_CENTRE_RAS)
    lesion, volume = ready.mask(), ready.parameters.inputVolume
    ready.ui.qualityComboBox.currentText = "Best"
    ready.ui.applyButton.click()
    ready.wait(lambda: ready.ui.progressBar.value > 10)
    ready.ui.cancelButton.click()
    ready.wait(lambda: ready.widget.reconstruction.job is None, 2.5)
    assert ready.parameters.inputVolume is volume
    np.testing.assert_array_equal(ready.mask(), lesion)
    click(ready, beside(0, 16.0, 0))
    assert ready.mask().sum() > lesion.sum()


def test_a_killed_worker_is_told_and_the_next_click_starts_another(ready: User) -> None:
    click(ready, BALL_CENTRE_RAS)
    lesion = ready.mask()
    process = ready.client._connection.process
    process.kill()
    process.wait()
    click(ready, beside(0, 16.0, 0))
    assert ready.mask().sum() > lesion.sum()
    assert ready.ui.statusLabel.text == ""
    assert ready.client._connection.process.pid != process.pid


def test_after_the_volume_is_deleted_another_can_be_clicked_on(ready: User) -> None:
    import slicer

    click(ready, BALL_CENTRE_RAS)
    slicer.mrmlScene.RemoveNode(ready.parameters.inputVolume)
    ready.rest()
    assert not ready.ui.positiveButton.enabled
    ready.click_red()
    ready.rest()
    assert len(clicked(ready)) == 1, "no more points are placed"
    other = add_volume(np.zeros((30, 30, 30)), np.diag([2.0, 2.0, 2.0, 1.0]), "Other")
    ready.parameters.inputVolume = other
    slicer.util.setSliceViewerLayers(background=other, fit=True)
    click(ready, [30.0, 30.0, 30.0])
    np.testing.assert_allclose(centre(ready), clicked(ready)[0], atol=1.0)
    assert len(nodes("vtkMRMLSegmentationNode")) == 2


def test_a_refinement_follows_the_clicks_and_can_be_taken_back(ready: User) -> None:
    click(ready, BALL_CENTRE_RAS)
    click(ready, beside(-12.0, 0, 0), "Green")
    before, volume = ready.mask(), ready.parameters.inputVolume
    ready.ui.jointButton.click()
    ready.wait(lambda: ready.widget.segmentation.joint.job is None)
    ready.rest()
    refined = ready.mask()
    assert ready.parameters.inputVolume is not volume
    click(ready, beside(0, 0, 22.0), "Yellow")
    assert (ready.mask()[refined > 0] == 1).all()
    assert ready.mask().sum() > refined.sum()
    ready.press("Ctrl+Z")
    ready.press("Ctrl+Z")
    assert ready.parameters.inputVolume is volume
    np.testing.assert_array_equal(ready.mask(), before)
