"""The module in the Slicer host with a known worker: boxes, guidance and engines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from module_user import BALL_CENTRE_RAS, User, add_volume, beside, nodes

pytestmark = pytest.mark.slicer


@pytest.fixture
def ready(user: User, scan_file: Path) -> User:
    """A user in front of a reconstructed volume."""
    user.choose(scan_file)
    user.reconstruct()
    return user


def draw_box(user: User, centre_ras: Any, size_mm: Any) -> Any:
    """Draw a box as its handles would."""
    user.ui.boxButton.click()
    assert user.ui.boxButton.checked
    box = user.parameters.points.GetNodeReference("NASAM3D.Box")
    box.SetCenter([float(x) for x in centre_ras])
    box.SetSize([float(x) for x in size_mm])
    box.InvokeEvent(box.PointPositionDefinedEvent)
    user.ui.boxButton.click()
    user.rest()
    return box


def extent_ras(user: User) -> np.ndarray:
    """Least and greatest corner of the mask's voxel centres, mm."""
    grid = user.volumes.gridOf(user.parameters.inputVolume)
    k, j, i = np.argwhere(user.mask()).T
    positions = grid.to_ras(np.stack([i, j, k], axis=-1))
    return np.array([positions.min(axis=0), positions.max(axis=0)])


def test_a_box_alone_makes_a_segment_and_follows_its_handles(ready: User) -> None:
    box = draw_box(ready, BALL_CENTRE_RAS, (20.0, 16.0, 30.0))
    low, high = extent_ras(ready)
    np.testing.assert_allclose((low + high) / 2, BALL_CENTRE_RAS, atol=1.5)
    np.testing.assert_allclose(high - low, (20.0, 16.0, 30.0), atol=3.0)
    box.SetSize([10.0, 16.0, 30.0])
    box.InvokeEvent(box.PointEndInteractionEvent)
    ready.rest()
    low, high = extent_ras(ready)
    np.testing.assert_allclose(high - low, (10.0, 16.0, 30.0), atol=3.0)
    ready.ui.removeBoxButton.click()
    ready.rest()
    assert nodes("vtkMRMLMarkupsROINode") == []
    assert ready.parameters.segmentation.GetSegmentation().GetNumberOfSegments() == 0


def test_a_box_limits_what_the_points_show(ready: User) -> None:
    ready.place(BALL_CENTRE_RAS)
    before = ready.mask()
    draw_box(ready, beside(-10.0, 0, 0), (20.0, 40.0, 40.0))
    after = ready.mask()
    assert 0 < after.sum() < before.sum()
    assert extent_ras(ready)[1][0] <= BALL_CENTRE_RAS[0]
    ready.ui.removeBoxButton.click()
    ready.rest()
    np.testing.assert_array_equal(ready.mask(), before)


def test_a_box_that_leaves_a_point_out_is_told(ready: User) -> None:
    ready.place(BALL_CENTRE_RAS)
    before = ready.mask()
    draw_box(ready, beside(40.0, 0, 0), (10.0, 10.0, 10.0))
    assert "lies outside the box" in ready.ui.statusLabel.text
    np.testing.assert_array_equal(ready.mask(), before)


def test_a_box_lies_where_it_was_drawn_under_a_transform(ready: User) -> None:
    import slicer

    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    to_world = np.eye(4)
    to_world[:3, :3] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    to_world[:3, 3] = (50.0, -20.0, 5.0)
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(to_world))
    ready.parameters.inputVolume.SetAndObserveTransformNodeID(transform.GetID())
    world = (to_world @ [*BALL_CENTRE_RAS, 1.0])[:3]
    draw_box(ready, world, (16.0, 20.0, 30.0))
    prompts = ready.points.promptsOf(ready.parameters.points, ready.parameters.inputVolume)
    low, high = prompts.box_ras
    np.testing.assert_allclose((low + high) / 2, BALL_CENTRE_RAS, atol=1e-6)
    np.testing.assert_allclose(high - low, (20.0, 16.0, 30.0), atol=1e-6)


def test_each_segment_has_its_own_box(ready: User) -> None:
    first = draw_box(ready, BALL_CENTRE_RAS, (20.0, 20.0, 20.0))
    segment_id = ready.parameters.segmentId
    ready.ui.newSegmentButton.click()
    assert not first.GetDisplayVisibility()
    assert not ready.ui.removeBoxButton.enabled
    ready.place(beside(0, 15.0, 0))
    assert len(nodes("vtkMRMLMarkupsROINode")) == 1
    ready.ui.segmentsTable.setSelectedSegmentIDs([segment_id])
    assert first.GetDisplayVisibility()
    assert ready.ui.removeBoxButton.enabled


def test_the_volume_is_sent_before_the_first_click(ready: User) -> None:
    asked: list[str] = []
    submit = ready.client.submit

    def spy(message: Any, **callbacks: Any) -> Any:
        asked.append(message.kind)
        return submit(message, **callbacks)

    ready.client.submit = spy
    try:
        ready.parameters.inputVolume = add_volume(np.ones((9, 9, 9)), np.eye(4), "Chosen")
        ready.rest()
        assert asked == ["set_volume"], "as soon as it is chosen"
        ready.place([4.0, 4.0, 4.0])
        assert asked == ["set_volume", "predict"]
        ready.client._drop_connection()
        ready.ui.newSegmentButton.click()
        ready.ui.positiveButton.click()
        ready.ui.positiveButton.click()
        ready.rest()
        assert asked[2:] == ["set_volume"], "to a new process when points are to be placed"
        ready.place([5.0, 4.0, 4.0])
    finally:
        del ready.client.submit
    assert asked[2:] == ["set_volume", "predict"]


def test_the_strength_of_the_guidance_asks_for_a_new_mask(ready: User) -> None:
    ready.place(BALL_CENTRE_RAS)
    asked: list[dict[str, Any]] = []
    submit = ready.client.submit

    def spy(message: Any, **callbacks: Any) -> Any:
        asked.append({"verb": message.kind, **message.fields})
        return submit(message, **callbacks)

    ready.client.submit = spy
    try:
        ready.ui.strengthSlider.value = 2.5
        ready.rest()
    finally:
        del ready.client.submit
    predictions = [fields for fields in asked if fields["verb"] == "predict"]
    assert [fields["settings"]["guidance_strength"] for fields in predictions] == [2.5]
    ready.ui.densityCheckBox.checked = False
    assert not ready.ui.strengthSlider.enabled


def overlay() -> Any:
    """The volume that lies over the red slice."""
    import slicer

    composite = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    return slicer.mrmlScene.GetNodeByID(composite.GetForegroundVolumeID() or "")


def test_attention_is_laid_over_the_slices_on_request(ready: User) -> None:
    import slicer

    ready.place(BALL_CENTRE_RAS)
    assert overlay() is None
    ready.ui.attentionCheckBox.checked = True
    ready.rest()
    node = overlay()
    assert (node.GetName(), node.GetHideFromEditors(), node.GetSaveWithScene()) == (
        "Attention",
        1,
        0,
    )
    array = slicer.util.arrayFromVolume(node)
    assert array.size < 40 * 48 * 56, "only the part that is not zero"
    assert (array > 0).sum() == ready.mask().sum()
    place = ready.volumes.gridOf(node).ijk_to_ras
    k, j, i = np.argwhere(array).mean(axis=0)
    np.testing.assert_allclose((place @ [i, j, k, 1.0])[:3], BALL_CENTRE_RAS, atol=1.0)
    ready.place(beside(14.0, 0, 0))
    assert (slicer.util.arrayFromVolume(overlay()) > 0).sum() == ready.mask().sum()
    ready.ui.newSegmentButton.click()
    assert overlay() is None
    ready.place(beside(0, 14.0, 0))
    assert overlay() is not None
    ready.ui.attentionCheckBox.checked = False
    assert overlay() is None
    assert len(nodes("vtkMRMLScalarVolumeNode")) == 1


def test_an_engine_says_what_it_needs_and_gets_it(
    ready: User, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import slicer

    asked: list[str] = []
    monkeypatch.setattr(
        slicer.util, "confirmOkCancelDisplay", lambda text, *_: asked.append(text) or len(asked) > 1
    )
    engines = part_of_engines(monkeypatch)
    assert ready.ui.engineInfoLabel.text == "Needs nothing more."
    ready.ui.engineComboBox.currentText = "Random walker"
    ready.rest()
    assert ready.ui.engineInfoLabel.text == "Needs nothing more."
    assert ready.ui.downloadButton.isHidden()
    ready.place(BALL_CENTRE_RAS)
    before = ready.mask()
    ready.ui.engineComboBox.currentText = "SAM-Med3D"
    ready.rest()
    assert ready.ui.engineInfoLabel.text == "Still needs its weights (383 MiB)."
    assert "has no weights yet" in caplog.text
    np.testing.assert_array_equal(ready.mask(), before)
    ready.ui.downloadButton.click()
    assert "For research." in asked[0]
    assert engines(ready).job is None, "the user has declined"
    ready.ui.downloadButton.click()
    ready.wait(lambda: "Downloading" in ready.ui.engineInfoLabel.text)
    assert ready.ui.downloadButton.text == "Stop"
    ready.ui.downloadButton.click()
    ready.wait(lambda: engines(ready).job is None)
    assert ready.ui.statusLabel.text.startswith("Stopped; the next download")
    ready.ui.downloadButton.click()
    ready.wait(lambda: engines(ready).job is None)
    ready.rest()
    assert ready.ui.downloadButton.isHidden()
    assert ready.ui.engineInfoLabel.text == "Everything that it needs is installed."
    assert ready.ui.resultLabel.text.startswith("Segment 1")


def test_engines_say_that_pytorch_is_missing(ready: User, monkeypatch: pytest.MonkeyPatch) -> None:
    from module_user import part_of_module

    monkeypatch.setattr(part_of_module("engines"), "hasTorch", lambda: False)
    monkeypatch.setattr(ready.client, "shares_files", True)
    ready.widget.updateGui()
    assert "a small network would answer" in ready.ui.engineInfoLabel.text
    ready.ui.engineComboBox.currentText = "Random walker"
    ready.rest()
    assert ready.ui.engineInfoLabel.text == "Needs nothing more."
    ready.ui.engineComboBox.currentText = "SAM-Med3D"
    ready.rest()
    assert ready.ui.engineInfoLabel.text.startswith("Still needs PyTorch, about 850 MB")


def part_of_engines(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give what reaches the choice of engines of a user; PyTorch counts as installed."""
    from module_user import part_of_module

    monkeypatch.setattr(part_of_module("engines"), "hasTorch", lambda: True)
    monkeypatch.setattr(part_of_module("packages"), "hasTorch", lambda: True)
    return lambda user: user.widget.segmentation.engines


def test_two_clicks_in_a_slice_draw_a_box(ready: User, slicer_app: Any) -> None:
    slicer_app.layoutManager().setRenderPaused(False)
    ready.ui.boxButton.click()
    ready.click_red(-60, -50)
    ready.click_red(60, 50)
    ready.rest()
    assert not ready.ui.boxButton.checked, "drawing ends with the second corner"
    box = ready.parameters.points.GetNodeReference("NASAM3D.Box")
    assert min(box.GetSize()) > 0
    assert ready.mask().any()


def test_a_saved_scene_keeps_segments_boxes_and_choices(ready: User, tmp_path: Path) -> None:

    ready.place(BALL_CENTRE_RAS)
    first_id, first = ready.parameters.segmentId, ready.mask()
    ready.ui.newSegmentButton.click()
    draw_box(ready, beside(0, 0, 5.0), (20.0, 20.0, 20.0))
    second_id, second = ready.parameters.segmentId, ready.mask()
    ready.ui.strengthSlider.value = 2.0
    ready.rest()
    ready.reopen(tmp_path / "session.mrb")
    assert ready.parameters.segmentId == second_id
    assert ready.ui.strengthSlider.value == 2.0
    assert ready.ui.resultLabel.text.startswith("Segment 2: ")
    np.testing.assert_array_equal(ready.mask(), second)
    assert ready.ui.removeBoxButton.enabled
    ready.ui.segmentsTable.setSelectedSegmentIDs([first_id])
    np.testing.assert_array_equal(ready.mask(), first)
    assert ready.ui.undoButton.enabled
    ready.place(beside(6.0, 0, 0), positive=False)
    assert ready.mask().sum() < first.sum()
    assert len(nodes("vtkMRMLScalarVolumeNode")) == 1
