"""The module in the Slicer host: projections in, a clicked segment out, whatever happens between.

Most tests run a worker whose results are known (``worker_with_module_jobs.py``), so that they test
the panel and nothing else; the last ones run the real worker.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from NASAM3DLib.worker.client import WorkerClient

pytestmark = pytest.mark.slicer

ROOT = Path(__file__).resolve().parents[1]
MODULE = ROOT / "NASAM3D" / "NASAM3D.py"
KNOWN_WORKER = [sys.executable, str(Path(__file__).with_name("worker_with_module_jobs.py"))]
BALL_CENTRE_RAS = np.array([10.0, -5.0, 20.0])
RADIUS_MM = 9.0
BALL_ML = 4 / 3 * np.pi * RADIUS_MM**3 / 1000
TIMEOUT_S = 30.0


class LastingClient(WorkerClient):
    """A client whose process serves one test after the other, which saves its start."""

    def close(self, timeout_s: float = 1.0) -> None:
        self.cancel_all()
        end = time.monotonic() + TIMEOUT_S
        while self.is_busy and time.monotonic() < end:
            self.poll()
            time.sleep(0.01)

    def end(self) -> None:
        """End the process after all."""
        super().close()


class User:
    """Somebody who works with the panel."""

    def __init__(self, loaded: Any, client: WorkerClient | None = None) -> None:
        self.panel, self.widget = loaded.panel, loaded.widget
        self.ui = loaded.widget.ui
        self.python = sys.modules["NASAM3D"]
        if client is not None:
            self.widget.logic.client.close()
            self.widget.logic = self.python.NASAM3DLogic(client)

    @property
    def parameters(self) -> Any:
        return self.widget._parameterNode

    @property
    def client(self) -> Any:
        return self.widget.logic.client

    def wait(self, condition: Callable[[], object], timeout_s: float = TIMEOUT_S) -> None:
        """Let Qt run until a condition holds."""
        from slicerhost import screenshots

        end = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end, f"not in time; status: {self.ui.statusLabel.text!r}"
            screenshots.process_events(0.01)

    def rest(self) -> None:
        """Wait until nothing runs any more."""
        from slicerhost import screenshots

        screenshots.process_events(0.05)
        self.wait(lambda: not self.client.is_busy)
        screenshots.process_events(0.05)

    def choose(self, path: Path) -> None:
        """Choose a projections file and wait for its summary."""
        self.ui.pathLineEdit.currentPath = str(path)
        self.wait(lambda: not self.client.is_busy and self.widget._inspectJob is None)

    def reconstruct(self) -> Any:
        """Press Apply and wait for the volume."""
        self.ui.applyButton.click()
        self.wait(lambda: self.widget._reconstructJob is None)
        return self.parameters.inputVolume

    def place(self, *points: Any, positive: bool = True) -> None:
        """Place points as the views do, and wait for the mask."""
        button = self.ui.positiveButton if positive else self.ui.negativeButton
        if not button.checked:
            button.click()
        for point in points:
            self.parameters.points.AddControlPoint(*(float(x) for x in point))
        self.rest()

    def mask(self) -> np.ndarray:
        """The current segment on the grid of the chosen volume."""
        import slicer

        return slicer.util.arrayFromSegmentBinaryLabelmap(
            self.parameters.segmentation, self.parameters.segmentId, self.parameters.inputVolume
        )

    def click_red(self, dx: int = 0, dy: int = 0) -> None:
        """Click with the mouse near the middle of the red slice view."""
        import qt
        import slicer
        from PySide6.QtTest import QTest
        from slicerhost import screenshots

        view = slicer.app.layoutManager().sliceWidget("Red").sliceView()
        place = qt.QPoint(view.width // 2 + dx, view.height // 2 + dy)
        QTest.mouseMove(view, place)
        screenshots.process_events(0.02)
        QTest.mouseClick(view, qt.Qt.LeftButton, qt.Qt.NoModifier, place)
        screenshots.process_events(0.02)


@pytest.fixture(scope="module")
def known_worker() -> Iterator[LastingClient]:
    """The client of the known worker."""
    client = LastingClient(KNOWN_WORKER)
    yield client
    client.end()


@pytest.fixture
def user(load_module: Callable[[Path], Any], known_worker: LastingClient) -> Iterator[User]:
    """A user of the module with the known worker; the views are not drawn, which saves time."""
    import qt
    import slicer

    # The panel of the test before is deleted in earnest, or it would follow this test's scene.
    qt.QCoreApplication.sendPostedEvents(None, qt.QEvent.DeferredDelete)
    slicer.app.layoutManager().setRenderPaused(True)
    yield User(load_module(MODULE), known_worker)
    slicer.app.setLayoutAvailable(True)
    slicer.app.layoutManager().setRenderPaused(False)


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """A projections file that the known worker understands."""
    path = tmp_path / "patient.npz"
    path.write_text("50")
    return path


def add_volume(array: np.ndarray, ijk_to_ras: np.ndarray, name: str = "CT") -> Any:
    """A volume in the scene."""
    import slicer

    return slicer.util.addVolumeFromArray(array.astype(np.float32), ijkToRAS=ijk_to_ras, name=name)


def centroid_ras(mask: np.ndarray, ijk_to_ras: np.ndarray) -> np.ndarray:
    """Centre of a mask's voxels, mm."""
    k, j, i = np.argwhere(mask).mean(axis=0)
    return (ijk_to_ras @ [i, j, k, 1.0])[:3]


def beside(right: float, anterior: float, superior: float) -> np.ndarray:
    """A point beside the centre of the ball, mm."""
    return np.add(BALL_CENTRE_RAS, (right, anterior, superior))


def nodes(class_name: str) -> list[Any]:
    """All nodes of a class."""
    import slicer

    return list(slicer.util.getNodesByClass(class_name))


def test_the_module_obeys_the_rules_of_pythonqt() -> None:
    from slicerhost.lint import check_source

    assert check_source(MODULE) == []


def test_the_module_says_what_it_is(user: User, slicer_app: Any) -> None:
    import slicer

    module = slicer.modules.nasam3d
    assert module.title == "NASAM3D"
    assert tuple(module.categories) == ("Segmentation",)
    assert not module.icon.isNull()
    assert "not for clinical use" in module.helpText


def test_opening_the_module_starts_no_process_and_adds_no_data(
    load_module: Callable[[Path], Any],
) -> None:
    user = User(load_module(MODULE))
    assert user.client.process_id is None
    assert nodes("vtkMRMLVolumeNode") == []
    assert not user.ui.applyButton.enabled
    assert not user.ui.positiveButton.enabled
    assert user.ui.progressBar.isHidden()


def test_a_chosen_file_is_summed_up(user: User, scan: Path) -> None:
    user.choose(scan)
    assert user.ui.summaryLabel.text.startswith("a scan")
    assert user.ui.viewsSpinBox.maximum == 50
    assert user.ui.applyButton.enabled
    assert user.parameters.projectionsPath == str(scan)


def test_a_bad_file_gives_the_workers_message(
    user: User, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad = tmp_path / "bad.npz"
    bad.write_text("garbage")
    user.choose(bad)
    wanted = "A scan must hold projections and geometry, got 'garbage'."
    assert user.ui.summaryLabel.text == "The file cannot be used."
    assert user.ui.statusLabel.text == wanted
    assert wanted in caplog.text
    user.choose(tmp_path / "absent.npz")
    assert user.ui.summaryLabel.text == "There is no such file."


def test_reconstruction_ends_in_a_volume_in_the_scene(user: User, scan: Path) -> None:
    import slicer

    user.choose(scan)
    user.ui.qualityComboBox.currentText = "Best"
    stages, fractions = set(), []
    user.ui.applyButton.click()
    while user.widget._reconstructJob is not None:
        user.wait(lambda: True)
        slicer.app.processEvents()
        stages.add(user.ui.progressBar.format)
        fractions.append(user.ui.progressBar.value)
    assert any(stage.startswith("Iterating, about ") for stage in stages)
    assert len(set(fractions)) > 3
    node = user.parameters.outputVolume
    assert node is user.parameters.inputVolume
    assert node.GetName() == "patient"
    array = slicer.util.arrayFromVolume(node)
    assert array.shape == (40, 48, 56)
    assert (array.min(), array.max()) == (-1000, 40)
    middle = centroid_ras(array > 0, user.python.gridOf(node).ijk_to_ras)
    np.testing.assert_allclose(middle, BALL_CENTRE_RAS, atol=0.1)
    display = node.GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (-160, 240)
    shown = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    assert shown.GetBackgroundVolumeID() == node.GetID()
    assert user.ui.statusLabel.text == "patient is ready."
    assert user.ui.progressBar.isHidden()


def test_a_second_reconstruction_fills_the_same_volume(user: User, scan: Path) -> None:
    import slicer

    user.choose(scan)
    first = user.reconstruct()
    user.ui.quantityComboBox.currentText = "Attenuation (1/mm)"
    assert user.reconstruct() is first
    assert slicer.util.arrayFromVolume(first).max() == pytest.approx(0.0206 * 1.04, rel=1e-3)
    assert first.GetAttribute("NASAM3D.Quantity") == "attenuation"
    assert len(nodes("vtkMRMLScalarVolumeNode")) == 1


def test_cancel_stops_within_a_second_or_two_and_leaves_the_scene(user: User, scan: Path) -> None:
    user.choose(scan)
    user.ui.qualityComboBox.currentText = "Best"
    user.ui.applyButton.click()
    user.wait(lambda: user.ui.progressBar.value > 10)
    assert not user.ui.applyButton.enabled
    user.ui.cancelButton.click()
    assert user.ui.progressBar.format == "Cancelling…"
    user.wait(lambda: user.widget._reconstructJob is None, 2.0)
    assert nodes("vtkMRMLScalarVolumeNode") == []
    assert user.ui.statusLabel.text == "The reconstruction was cancelled."
    assert user.ui.applyButton.enabled
    assert user.reconstruct() is not None


def test_a_volume_deleted_during_its_reconstruction_is_made_anew(user: User, scan: Path) -> None:
    import slicer

    user.choose(scan)
    slicer.mrmlScene.RemoveNode(user.reconstruct())
    user.ui.qualityComboBox.currentText = "Best"
    user.ui.applyButton.click()
    user.wait(lambda: user.ui.progressBar.value > 10)
    assert user.parameters.outputVolume is None
    user.wait(lambda: user.widget._reconstructJob is None)
    assert len(nodes("vtkMRMLScalarVolumeNode")) == 1


def test_a_mouse_click_in_a_slice_gives_a_segment_there(
    user: User, scan: Path, slicer_app: Any
) -> None:
    import slicer

    user.choose(scan)
    volume = user.reconstruct()
    user.ui.positiveButton.click()
    assert user.ui.positiveButton.checked
    user.click_red()
    user.rest()
    points = user.parameters.points
    assert user.widget.logic.pointIndices(points) == [0]
    clicked = slicer.util.arrayFromMarkupsControlPoints(points, world=True)[0]
    np.testing.assert_allclose(clicked[:2], BALL_CENTRE_RAS[:2], atol=2.0)
    mask = user.mask()
    assert mask.shape == (40, 48, 56)
    grid = user.python.gridOf(volume)
    np.testing.assert_allclose(centroid_ras(mask, grid.ijk_to_ras), clicked, atol=1.0)
    assert mask.sum() * grid.voxel_volume_mm3 / 1000 == pytest.approx(BALL_ML, rel=0.05)
    assert user.ui.resultLabel.text.startswith("Segment 1: 3.")
    assert user.ui.resultLabel.text.endswith(" ml, mean 40 HU")


def test_the_segmentation_belongs_to_its_volume(user: User, scan: Path) -> None:
    import slicer
    import vtk

    user.choose(scan)
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
    to_world = np.eye(4)
    if under_transform:
        turn = np.radians(70.0)
        to_world[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
        to_world[:3, 3] = (100.0, -30.0, 7.0)
        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(to_world))
        volume.SetAndObserveTransformNodeID(transform.GetID())
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


def test_a_negative_point_trims_and_has_its_own_look(user: User, scan: Path) -> None:
    import vtk

    user.choose(scan)
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
    assert surface.GetBounds()[1] < BALL_CENTRE_RAS[0] + 2.0, "the surface must follow the mask"
    points = user.parameters.points
    assert [points.GetNthControlPointLabel(n) for n in range(2)] == ["+", "−"]
    assert [points.GetNthControlPointSelected(n) for n in range(2)] == [True, False]


def test_undo_takes_back_marker_and_mask_together(user: User, scan: Path) -> None:
    user.choose(scan)
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


def test_a_moved_point_segments_again(user: User, scan: Path) -> None:
    user.choose(scan)
    volume = user.reconstruct()
    user.place(BALL_CENTRE_RAS)
    target = beside(0, 10.0, 0)
    points = user.parameters.points
    points.SetNthControlPointPosition(0, *target)
    points.InvokeEvent(points.PointEndInteractionEvent)
    user.rest()
    middle = centroid_ras(user.mask(), user.python.gridOf(volume).ijk_to_ras)
    np.testing.assert_allclose(middle, target, atol=1.0)


def test_a_point_outside_the_volume_is_refused_and_taken_away(
    user: User, scan: Path, caplog: pytest.LogCaptureFixture
) -> None:
    user.choose(scan)
    user.reconstruct()
    user.place(BALL_CENTRE_RAS)
    before = user.mask()
    with caplog.at_level(logging.ERROR):
        user.place(beside(500.0, 0, 0))
    assert "Point 2 at RAS (510.0, -5.0, 20.0) mm lies outside the volume" in caplog.text
    assert "lies outside the volume" in user.ui.statusLabel.text
    assert user.widget.logic.pointIndices(user.parameters.points) == [0]
    np.testing.assert_array_equal(user.mask(), before)


def test_the_next_segment_gets_its_own_points_and_colour(user: User, scan: Path) -> None:
    user.choose(scan)
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


def test_clicks_during_a_prediction_end_in_the_newest_state(user: User, scan: Path) -> None:
    user.choose(scan)
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


@pytest.mark.parametrize("fate", ["changed", "deleted", "exchanged"])
def test_a_mask_of_a_volume_that_is_gone_is_dropped(user: User, scan: Path, fate: str) -> None:
    import slicer

    user.choose(scan)
    volume = user.reconstruct()
    user.ui.positiveButton.click()
    user.parameters.points.AddControlPoint(*BALL_CENTRE_RAS)
    user.wait(lambda: user.client.is_busy)
    if fate == "changed":
        slicer.util.updateVolumeFromArray(volume, np.zeros((40, 48, 56), np.float32))
    elif fate == "deleted":
        slicer.mrmlScene.RemoveNode(volume)
    else:
        user.parameters.inputVolume = add_volume(np.zeros((8, 8, 8)), np.eye(4))
    user.rest()
    assert nodes("vtkMRMLSegmentationNode") == []


def test_another_volume_gets_other_points_and_another_segmentation(user: User, scan: Path) -> None:
    user.choose(scan)
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


def test_closing_the_scene_during_a_run_leaves_nothing_running(user: User, scan: Path) -> None:
    import slicer

    user.choose(scan)
    user.ui.qualityComboBox.currentText = "Best"
    user.ui.applyButton.click()
    user.wait(lambda: user.ui.progressBar.value > 10)
    slicer.mrmlScene.Clear(0)
    user.wait(lambda: not user.client.is_busy, 3.0)
    assert nodes("vtkMRMLScalarVolumeNode") == []
    assert user.parameters.projectionsPath == ""
    assert user.ui.pathLineEdit.currentPath == ""
    user.choose(scan)
    user.reconstruct()
    user.place(BALL_CENTRE_RAS)
    assert user.mask().any()
    slicer.mrmlScene.Clear(0)
    assert user.ui.resultLabel.text == "No segment yet."


def test_an_error_of_the_worker_is_shown_and_the_click_may_be_repeated(
    user: User, scan: Path
) -> None:
    user.choose(scan)
    user.reconstruct()
    user.ui.densityCheckBox.checked = False
    user.place(BALL_CENTRE_RAS)
    assert "cannot be switched off" in user.ui.statusLabel.text
    assert nodes("vtkMRMLSegmentationNode") == []
    user.ui.densityCheckBox.checked = True
    user.rest()
    assert user.mask().any()
    assert user.ui.statusLabel.text == ""


def test_a_worker_that_dies_is_told_and_replaced(user: User, scan: Path) -> None:
    user.choose(scan)
    user.ui.qualityComboBox.currentText = "Best"
    user.ui.applyButton.click()
    user.wait(lambda: user.ui.progressBar.value > 10)
    user.client._connection.process.kill()
    user.wait(lambda: user.widget._reconstructJob is None)
    assert "The background process ended unexpectedly" in user.ui.statusLabel.text
    assert user.reconstruct() is not None


def test_leaving_and_entering_the_module_keeps_the_choices(user: User, scan: Path) -> None:
    user.choose(scan)
    user.ui.methodComboBox.currentText = "Filtered back-projection"
    user.ui.applyButton.click()
    user.widget.exit()
    user.wait(lambda: user.widget._reconstructJob is None)
    user.widget.enter()
    assert user.parameters.method == user.python.Method.FDK
    assert user.ui.pathLineEdit.currentPath == str(scan)
    assert user.parameters.inputVolume.GetName() == "patient"


def test_the_module_works_without_views(user: User, scan: Path, slicer_app: Any) -> None:
    slicer_app.setLayoutAvailable(False)
    user.choose(scan)
    user.reconstruct()
    user.place(BALL_CENTRE_RAS)
    assert user.mask().any()


def test_unloading_ends_the_process(
    load_module: Callable[[Path], Any], scan: Path, slicer_app: Any
) -> None:
    user = User(load_module(MODULE), WorkerClient(KNOWN_WORKER))
    user.choose(scan)
    process = user.client._connection.process
    user.widget.cleanup()
    assert process.poll() is not None


def test_reloading_ends_the_process_and_reads_the_library_again(
    load_module: Callable[[Path], Any], scan: Path
) -> None:
    import slicer

    user = User(load_module(MODULE), WorkerClient(KNOWN_WORKER))
    user.choose(scan)
    process = user.client._connection.process
    library = {name: module for name, module in sys.modules.items() if "NASAM3DLib" in name}
    user.widget.onReload()
    try:
        assert process.poll() is not None
        assert sys.modules["NASAM3DLib.worker.client"].WorkerClient is not WorkerClient
        assert slicer.modules.NASAM3DWidget is not user.widget
        assert slicer.modules.NASAM3DWidget.ui.pathLineEdit.currentPath == str(scan)
    finally:
        slicer.modules.NASAM3DWidget.cleanup()
        # The other tests hold the library as it was.
        for name in [name for name in sys.modules if name.startswith("NASAM3DLib")]:
            del sys.modules[name]
        sys.modules.update(library)


def test_missing_packages_are_asked_for_on_apply(
    user: User, scan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import slicer

    user.choose(scan)
    monkeypatch.setattr(user.python, "missing_requirements", lambda _: ["no-such-package"])
    user.reconstruct()
    (call,) = slicer.packaging.calls
    assert (call.function, call.requirements) == ("pip_ensure", ("no-such-package",))


def test_a_saved_scene_brings_the_session_back(user: User, scan: Path, tmp_path: Path) -> None:
    import slicer

    user.choose(scan)
    user.reconstruct()
    user.place(BALL_CENTRE_RAS)
    user.place(beside(6.0, 0, 0), positive=False)
    before = user.mask()
    assert slicer.util.saveScene(str(tmp_path / "session.mrb"))
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "session.mrb"))
    user.widget.initializeParameterNode()
    user.rest()
    np.testing.assert_array_equal(user.mask(), before)
    user.place(beside(-14.0, 0, 0))
    assert user.mask().sum() > before.sum()
    assert user.parameters.segmentation.GetSegmentation().GetNumberOfSegments() == 1
