"""The module in the Slicer host: scenes that close, workers that die, reloads."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from module_user import BALL_CENTRE_RAS, KNOWN_WORKER, MODULE, User, beside, nodes, part_of_module

from NASAM3DLib.worker.client import WorkerClient

pytestmark = pytest.mark.slicer


def test_closing_the_scene_during_a_run_leaves_nothing_running(user: User, scan_file: Path) -> None:
    import slicer

    user.choose(scan_file)
    user.ui.qualityComboBox.currentText = "Best"
    user.ui.applyButton.click()
    user.wait(lambda: user.ui.progressBar.value > 10)
    slicer.mrmlScene.Clear(0)
    user.wait(lambda: not user.client.is_busy, 3.0)
    assert nodes("vtkMRMLScalarVolumeNode") == []
    assert user.parameters.projectionsPath == ""
    assert user.ui.pathLineEdit.currentPath == ""
    user.choose(scan_file)
    user.reconstruct()
    user.place(BALL_CENTRE_RAS)
    assert user.mask().any()
    slicer.mrmlScene.Clear(0)
    assert user.ui.resultLabel.text == "No segment yet."


def test_an_error_of_the_worker_is_shown_and_the_click_may_be_repeated(
    user: User, scan_file: Path
) -> None:
    user.choose(scan_file)
    user.reconstruct()
    user.ui.densityCheckBox.checked = False
    user.place(BALL_CENTRE_RAS)
    assert "cannot be switched off" in user.ui.statusLabel.text
    assert nodes("vtkMRMLSegmentationNode") == []
    user.ui.densityCheckBox.checked = True
    user.rest()
    assert user.mask().any()
    assert user.ui.statusLabel.text == ""


def test_a_worker_that_dies_is_told_and_replaced(user: User, scan_file: Path) -> None:
    user.choose(scan_file)
    user.ui.qualityComboBox.currentText = "Best"
    user.ui.applyButton.click()
    user.wait(lambda: user.ui.progressBar.value > 10)
    user.client._connection.process.kill()
    user.wait(lambda: user.widget.reconstruction.job is None)
    assert "The background process ended unexpectedly" in user.ui.statusLabel.text
    assert user.reconstruct() is not None


def test_leaving_and_entering_the_module_keeps_the_choices(user: User, scan_file: Path) -> None:
    user.choose(scan_file)
    user.ui.methodComboBox.currentText = "Filtered back-projection"
    user.ui.applyButton.click()
    user.widget.exit()
    user.wait(lambda: user.widget.reconstruction.job is None)
    user.widget.enter()
    assert user.parameters.method == user.choices.Method.FDK
    assert user.ui.pathLineEdit.currentPath == str(scan_file)
    assert user.parameters.inputVolume.GetName() == "patient"


def test_the_module_works_without_views(user: User, scan_file: Path, slicer_app: Any) -> None:
    slicer_app.setLayoutAvailable(False)
    user.choose(scan_file)
    user.reconstruct()
    user.place(BALL_CENTRE_RAS)
    assert user.mask().any()


def test_unloading_ends_the_process(
    load_module: Callable[[Path], Any], scan_file: Path, slicer_app: Any
) -> None:
    user = User(load_module(MODULE), WorkerClient(KNOWN_WORKER))
    user.choose(scan_file)
    process = user.client._connection.process
    user.widget.cleanup()
    assert process.poll() is not None


def test_reloading_ends_the_process_and_reads_the_library_again(
    load_module: Callable[[Path], Any], scan_file: Path
) -> None:
    import slicer

    user = User(load_module(MODULE), WorkerClient(KNOWN_WORKER))
    user.choose(scan_file)
    process = user.client._connection.process
    own = ("NASAM3DLib", "NASAM3DModule")
    packages = {name: module for name, module in sys.modules.items() if name.startswith(own)}
    user.widget.onReload()
    try:
        assert process.poll() is not None
        assert sys.modules["NASAM3DLib.worker.client"].WorkerClient is not WorkerClient
        assert type(slicer.modules.NASAM3DWidget) is not type(user.widget)
        assert slicer.modules.NASAM3DWidget.ui.pathLineEdit.currentPath == str(scan_file)
    finally:
        slicer.modules.NASAM3DWidget.cleanup()
        # The other tests hold the packages as they were.
        for name in [name for name in sys.modules if name.startswith(own)]:
            del sys.modules[name]
        sys.modules.update(packages)


def test_missing_packages_are_asked_for_on_apply(
    user: User, scan_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import slicer

    user.choose(scan_file)
    packages = part_of_module("packages")
    monkeypatch.setattr(packages, "missing_requirements", lambda _: ["no-such-package"])
    user.reconstruct()
    (call,) = slicer.packaging.calls
    assert (call.function, call.requirements) == ("pip_ensure", ("no-such-package",))


def test_a_saved_scene_brings_the_session_back(user: User, scan_file: Path, tmp_path: Path) -> None:
    import slicer

    user.choose(scan_file)
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
