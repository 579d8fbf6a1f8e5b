"""The whole road in the Slicer host with the real worker: a scan file in, a clicked lesion out."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from module_user import part_of_module

from NASAM3DLib.reconstruct.simulate import simulate
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.io import save_projections
from NASAM3DLib.scan.presets import default_scan

pytestmark = pytest.mark.slicer

MODULE = Path(__file__).resolve().parents[1] / "NASAM3D" / "NASAM3D.py"
LESION_RAS, LESION_RADIUS_MM = np.array([30.0, 12.0, 6.0]), 17.0
TIMEOUT_S = 60.0


def a_body() -> Volume:
    """An elliptic trunk of water with a dense lesion, a fatty ball and a spine, in HU."""
    grid = VolumeGrid.centred((36, 64, 64), 3.5)
    k, j, i = np.indices(grid.shape_kji)
    ras = grid.to_ras(np.stack([i, j, k], axis=-1))
    array = np.full(grid.shape_kji, -1000.0, dtype=np.float32)
    array[(ras[..., 0] / 95) ** 2 + (ras[..., 1] / 75) ** 2 < 1] = 0.0
    for centre, radius, value in (
        (LESION_RAS, LESION_RADIUS_MM, 90.0),
        ((-40.0, 0.0, 0.0), 18.0, -90.0),
        ((0.0, -45.0, 0.0), 12.0, 600.0),
    ):
        array[np.linalg.norm(ras - centre, axis=-1) < radius] = value
    return Volume(array, grid, "HU")


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty noiseless views of the body in a file."""
    body = a_body()
    geometry = default_scan(body.grid, n_views=40, detector_shape=(48, 96))
    path = tmp_path_factory.mktemp("scan") / "trunk.npz"
    save_projections(simulate(body, geometry), path)
    return path


@pytest.fixture
def module(load_module: Callable[[Path], Any]) -> Any:
    """The module, with its real worker."""
    import qt
    import slicer

    qt.QCoreApplication.sendPostedEvents(None, qt.QEvent.DeferredDelete)
    loaded = load_module(MODULE)
    loaded.panel.resize(400, 760)
    slicer.app.layoutManager().setRenderPaused(False)
    return loaded


def wait(condition: Callable[[], object], timeout_s: float = TIMEOUT_S) -> None:
    """Let Qt run until a condition holds."""
    from slicerhost import screenshots

    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "nothing happened in time"
        screenshots.process_events(0.02)


def click_in_red(point_ras: np.ndarray) -> None:
    """Show a point in the red slice view and click on it with the mouse."""
    import qt
    import slicer
    import vtk
    from PySide6.QtTest import QTest
    from slicerhost import screenshots

    widget = slicer.app.layoutManager().sliceWidget("Red")
    widget.mrmlSliceNode().JumpSliceByOffsetting(*(float(x) for x in point_ras))
    screenshots.process_events(0.1)
    to_xy = vtk.vtkMatrix4x4()
    vtk.vtkMatrix4x4.Invert(widget.mrmlSliceNode().GetXYToRAS(), to_xy)
    x, y = to_xy.MultiplyPoint([*point_ras, 1.0])[:2]
    view = widget.sliceView()
    place = qt.QPoint(round(x), round(view.height - 1 - y))
    QTest.mouseMove(view, place)
    screenshots.process_events(0.05)
    QTest.mouseClick(view, qt.Qt.LeftButton, qt.Qt.NoModifier, place)
    screenshots.process_events(0.05)
    QTest.mouseMove(view, qt.QPoint(10, 10))


def dice(mask: np.ndarray, grid: VolumeGrid) -> float:
    """Overlap of a mask with the lesion that was simulated."""
    k, j, i = np.indices(grid.shape_kji)
    ras = grid.to_ras(np.stack([i, j, k], axis=-1))
    truth = np.linalg.norm(ras - LESION_RAS, axis=-1) < LESION_RADIUS_MM
    return float(2 * (truth & (mask > 0)).sum() / (truth.sum() + (mask > 0).sum()))


def test_projections_become_a_clicked_lesion(
    module: Any, scan: Path, screenshot: Callable[[Any, Path], Path], tmp_path: Path
) -> None:
    import slicer

    widget, ui = module.widget, module.widget.ui
    ui.pathLineEdit.currentPath = str(scan)
    wait(lambda: widget.projections.job is None)
    assert "40 cone-beam views over 360.0 degrees" in ui.summaryLabel.text
    ui.qualityComboBox.currentText = "Preview"
    ui.applyButton.click()
    formats = set()
    wait(lambda: formats.add(ui.progressBar.format) or widget.reconstruction.job is None)
    assert any(text.startswith("Iterating") for text in formats)
    volume = widget.parameters.inputVolume
    assert volume.GetName() == "trunk"
    assert abs(slicer.util.arrayFromVolume(volume)[20, 40:50, 40:50].mean()) < 40
    ui.positiveButton.click()
    click_in_red(LESION_RAS)
    wait(lambda: not widget.logic.client.is_busy)
    parameters = widget.parameters
    assert "ml, mean" in ui.resultLabel.text, ui.statusLabel.text
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(
        parameters.segmentation, parameters.segmentId, volume
    )
    assert dice(mask, part_of_module("volumes").gridOf(volume)) > 0.8
    ui.negativeButton.click()
    click_in_red(np.add(LESION_RAS, (0.0, 25.0, 0.0)))
    wait(lambda: not widget.logic.client.is_busy)
    assert part_of_module("points").placedIndices(parameters.points) == [0, 1]
    role = parameters.segmentation.GetReferenceImageGeometryReferenceRole()
    assert parameters.segmentation.GetNodeReference(role) is volume
    slicer.app.layoutManager().resetThreeDViews()
    picture = screenshot([module.panel, slicer.app.layoutManager()], tmp_path / "module.png")
    assert picture.stat().st_size > 10_000


def test_a_damaged_file_gives_the_readers_message(module: Any, scan: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.npz"
    damaged.write_bytes(scan.read_bytes()[:1000])
    ui = module.widget.ui
    ui.pathLineEdit.currentPath = str(damaged)
    wait(lambda: module.widget.projections.job is None)
    assert ui.summaryLabel.text == "The file cannot be used."
    assert str(damaged) in ui.statusLabel.text
    assert "Traceback" not in ui.statusLabel.text


@pytest.mark.slow
def test_cancelling_the_real_reconstruction_takes_a_second_or_two(module: Any, scan: Path) -> None:
    widget, ui = module.widget, module.widget.ui
    ui.pathLineEdit.currentPath = str(scan)
    wait(lambda: widget.projections.job is None)
    ui.qualityComboBox.currentText = "Best"
    ui.applyButton.click()
    wait(lambda: ui.progressBar.value > 0)
    begin = time.monotonic()
    ui.cancelButton.click()
    wait(lambda: widget.reconstruction.job is None)
    assert time.monotonic() - begin < 2.5
    assert widget.parameters.outputVolume is None


@pytest.mark.slow
def test_joint_refinement_is_refereed_and_told(module: Any, scan: Path) -> None:
    import slicer

    widget, ui = module.widget, module.widget.ui
    ui.pathLineEdit.currentPath = str(scan)
    wait(lambda: widget.projections.job is None)
    ui.qualityComboBox.currentText = "Preview"
    ui.applyButton.click()
    wait(lambda: widget.reconstruction.job is None)
    ui.positiveButton.click()
    click_in_red(LESION_RAS)
    wait(lambda: not widget.logic.client.is_busy)
    parameters = widget.parameters
    volume, points = parameters.inputVolume, parameters.points
    ui.jointButton.click()
    wait(lambda: widget.segmentation.joint.job is None, 10 * TIMEOUT_S)
    told, is_joint = ui.statusLabel.text, parameters.inputVolume is not volume
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(
        parameters.segmentation, parameters.segmentId, parameters.inputVolume
    )
    assert dice(mask, part_of_module("volumes").gridOf(parameters.inputVolume)) > 0.8
    # Whichever way the referee decides, the scene and the sentence agree with it.
    assert told.startswith("The volume was refined: " if is_joint else "Nothing was changed: ")
    assert (parameters.points is points) is not is_joint
    if is_joint:
        assert parameters.inputVolume.GetName() == "trunk joint"
        ui.undoButton.click()
    assert parameters.inputVolume is volume
    assert parameters.points is points


@pytest.mark.slow
def test_the_modules_own_test_passes(module: Any) -> None:
    sys.modules["NASAM3D"].NASAM3DTest().test_road()
