"""A simulated user of the module in the Slicer host, and what the tests give to them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from NASAM3DLib.worker.client import WorkerClient

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
        self.choices, self.points, self.volumes = (
            part_of_module(name) for name in ("parameters", "points", "volumes")
        )
        if client is not None:
            self.widget.logic.client.close()
            self.widget.logic = sys.modules["NASAM3D"].NASAM3DLogic(client)

    @property
    def parameters(self) -> Any:
        return self.widget.parameters

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
        self.wait(lambda: not self.client.is_busy and self.widget.projections.job is None)

    def reconstruct(self) -> Any:
        """Press Apply and wait for the volume."""
        self.ui.applyButton.click()
        self.wait(lambda: self.widget.reconstruction.job is None)
        self.rest()
        return self.parameters.inputVolume

    def place(self, *points: Any, positive: bool = True) -> None:
        """Place points as the views do, and wait for the mask."""
        button = self.ui.positiveButton if positive else self.ui.negativeButton
        if not button.checked:
            button.click()
        for point in points:
            self.parameters.points.AddControlPoint(*(float(x) for x in point))
        self.rest()

    def press(self, key: str) -> None:
        """Press a key such as "Ctrl+Z" in the panel, and wait for what comes of it."""
        import qt
        from PySide6.QtTest import QTest

        self.panel.activateWindow()
        combination = qt.QKeySequence(key)[0]
        QTest.keyClick(self.panel, combination.key(), combination.keyboardModifiers())
        self.rest()

    def mask(self) -> np.ndarray:
        """The current segment on the grid of the chosen volume."""
        import slicer

        return slicer.util.arrayFromSegmentBinaryLabelmap(
            self.parameters.segmentation, self.parameters.segmentId, self.parameters.inputVolume
        )

    def reopen(self, path: Path) -> None:
        """Save the scene, close it, and open it again."""
        import slicer

        assert slicer.util.saveScene(str(path))
        slicer.mrmlScene.Clear(0)
        slicer.util.loadScene(str(path))
        self.widget.initializeParameterNode()
        self.rest()

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
def scan_file(tmp_path: Path) -> Path:
    """A projections file that the known worker understands."""
    path = tmp_path / "patient.npz"
    path.write_text("50")
    return path


def part_of_module(name: str) -> Any:
    """A file of the module's package, once the module is loaded."""
    return sys.modules[f"NASAM3DModule.{name}"]


def add_volume(array: np.ndarray, ijk_to_ras: np.ndarray, name: str = "CT") -> Any:
    """A volume in the scene."""
    import slicer

    return slicer.util.addVolumeFromArray(array.astype(np.float32), ijkToRAS=ijk_to_ras, name=name)


def turned(volume: Any) -> np.ndarray:
    """Put a volume under a transform that turns and shifts it; give the matrix to world."""
    import slicer

    turn, to_world = np.radians(70.0), np.eye(4)
    to_world[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    to_world[:3, 3] = (100.0, -30.0, 7.0)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(to_world))
    volume.SetAndObserveTransformNodeID(transform.GetID())
    return to_world


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
