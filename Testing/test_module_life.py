"""The module in the Slicer host: scenes that close, workers that die, reloads."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
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


def test_nothing_is_left_of_a_scene_that_is_closed_in_the_middle(
    user: User, scan_file: Path
) -> None:
    import slicer

    user.panel.enter()
    user.choose(scan_file)
    user.reconstruct()
    user.ui.attentionCheckBox.checked = True
    user.place(BALL_CENTRE_RAS)
    user.ui.qualityComboBox.currentText = "Best"
    user.ui.applyButton.click()
    user.wait(lambda: user.widget.reconstruction.preview.node is not None)
    user.parameters.points.AddControlPoint(*beside(10.0, 0, 0))
    slicer.mrmlScene.Clear(0)
    user.rest()
    assert nodes("vtkMRMLVolumeNode") == []
    assert nodes("vtkMRMLMarkupsNode") == []
    assert not user.ui.undoButton.enabled
    user.press("Ctrl+Z")
    user.choose(scan_file)
    user.reconstruct()
    user.place(BALL_CENTRE_RAS)
    assert user.mask().any()


def test_a_worker_that_dies_under_a_click_is_replaced_by_the_next(
    user: User, scan_file: Path
) -> None:
    user.choose(scan_file)
    user.reconstruct()
    user.place(BALL_CENTRE_RAS)
    before = user.mask()
    user.parameters.points.AddControlPoint(*beside(12.0, 0, 0))
    user.wait(lambda: user.client.is_busy or user.ui.statusLabel.text == "Segmenting…")
    user.client._connection.process.kill()
    user.rest()
    assert "ended unexpectedly" in user.ui.statusLabel.text
    np.testing.assert_array_equal(user.mask(), before)
    user.place(beside(0, 12.0, 0))
    assert user.ui.statusLabel.text == ""
    assert user.mask().sum() > before.sum()


def test_two_panels_agree(user: User, scan_file: Path) -> None:
    import slicer

    user.choose(scan_file)
    user.reconstruct()
    second = slicer.modules.nasam3d.createNewWidgetRepresentation()
    other = second.self()
    other.logic.client.close()
    other.logic = type(other.logic)(WorkerClient(KNOWN_WORKER))
    try:
        other.initializeParameterNode()
        assert other.ui.inputVolumeSelector.currentNode() is user.parameters.inputVolume
        user.place(BALL_CENTRE_RAS)
        before = user.mask()
        user.place(beside(6.0, 0, 0), positive=False)
        assert other.ui.negativeButton.checked, "both show what the next click will be"
        user.wait(lambda: not other.logic.client.is_busy)
        points = user.parameters.points
        assert [points.GetNthControlPointSelected(n) for n in range(2)] == [True, False]
        assert user.parameters.segmentation.GetSegmentation().GetNumberOfSegments() == 1
        assert 0 < user.mask().sum() < before.sum()
        assert other.ui.resultLabel.text == user.ui.resultLabel.text
    finally:
        process = other.logic.client._connection.process
        other.cleanup()
        second.deleteLater()
        slicer.modules.NASAM3DWidget = user.widget
    assert process.poll() is not None


def test_reloading_during_a_run_leaves_no_preview(
    load_module: Callable[[Path], Any], scan_file: Path
) -> None:
    user = User(load_module(MODULE), WorkerClient(KNOWN_WORKER))
    user.choose(scan_file)
    user.ui.qualityComboBox.currentText = "Best"
    user.ui.applyButton.click()
    user.wait(lambda: user.widget.reconstruction.preview.node is not None)
    process = user.client._connection.process
    user.widget.cleanup()
    assert process.poll() is not None
    assert nodes("vtkMRMLVolumeNode") == []


def test_points_stay_in_sight_when_another_module_is_chosen(user: User, scan_file: Path) -> None:
    user.choose(scan_file)
    user.reconstruct()
    user.place(BALL_CENTRE_RAS)
    points = user.parameters.points
    user.panel.exit()
    assert points.GetDisplayVisibility()
    user.panel.enter()
    assert user.parameters.points is points


def test_missing_packages_are_asked_for_on_apply(
    user: User, scan_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import slicer
    from slicerhost import slot_errors

    user.choose(scan_file)
    packages = part_of_module("packages")
    monkeypatch.setattr(packages, "missing_requirements", lambda _: ["numba>=0.61", "unheard-of"])
    monkeypatch.setattr(packages, "hasTorch", lambda: False)
    asked: list[str] = []
    answers = [False, True]

    def answer(text: str, title: str) -> bool:
        asked.append(text)
        return answers.pop(0)

    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", answer)
    user.ui.applyButton.click()
    assert "Nothing was installed" in "".join(slot_errors.take())
    assert slicer.packaging.calls == []
    assert user.ui.applyButton.enabled
    user.reconstruct()
    (call,) = slicer.packaging.calls
    assert call.function == "pip_install"
    assert call.requirements == ("numba>=0.61", "unheard-of")
    assert asked[0] == asked[1]
    assert "numba>=0.61, about 215 MB\nunheard-of\n" in asked[0]
    assert "Together about 215 MB on disk" in asked[0]


def test_one_question_covers_pytorch_too(
    user: User, scan_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import slicer
    from slicerhost import slot_errors

    user.choose(scan_file)
    user.reconstruct()
    packages = part_of_module("packages")
    asked: list[str] = []
    installed: list[bool] = []

    class Logic:
        def installTorch(self, askConfirmation: bool) -> None:
            installed.append(askConfirmation)

    def answer(text: str, title: str) -> bool:
        asked.append(text)
        return True

    monkeypatch.setattr(packages, "missing_requirements", lambda _: ["numba>=0.61"])
    monkeypatch.setattr(packages, "hasTorch", lambda: False)
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", answer)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    user.ui.engineComboBox.currentText = "SAM-Med3D"
    user.ui.positiveButton.click()
    assert "Install the extension PyTorch" in "".join(slot_errors.take())
    user.widget.updateGui()
    assert not user.ui.positiveButton.checked
    monkeypatch.setitem(sys.modules, "PyTorchUtils", SimpleNamespace(PyTorchUtilsLogic=Logic))
    user.ui.positiveButton.click()
    assert installed == [False], "it was asked for already"
    assert len(asked) == 2
    assert "PyTorch, about 850 MB" in asked[0]
    assert "Together about 1065 MB" in asked[0]
    assert user.ui.positiveButton.checked


def test_a_worker_elsewhere_needs_no_packages_here(
    user: User, scan_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import slicer

    user.choose(scan_file)
    packages = part_of_module("packages")
    monkeypatch.setattr(packages, "missing_requirements", lambda _: ["numba>=0.61"])
    monkeypatch.setenv("NASAM3D_WORKER", "ssh somewhere python -m NASAM3DLib.worker")
    user.reconstruct()
    assert slicer.packaging.calls == []


def test_packages_that_cannot_be_fetched_come_with_advice(
    user: User, scan_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import slicer
    from slicerhost import slot_errors

    def fail(*arguments: Any, **keywords: Any) -> None:
        raise subprocess.CalledProcessError(1, "pip")

    user.choose(scan_file)
    packages = part_of_module("packages")
    monkeypatch.setattr(packages, "missing_requirements", lambda _: ["numba>=0.61"])
    monkeypatch.setattr(slicer.util, "pip_install", fail)
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda *_: True)
    user.ui.applyButton.click()
    (shown,) = slot_errors.take()
    assert "https_proxy" in shown
    assert "--find-links FOLDER numba>=0.61" in shown
    assert user.widget.reconstruction.job is None
    assert user.ui.applyButton.enabled, "the module stays usable"
    monkeypatch.setattr(packages, "missing_requirements", lambda _: [])
    assert user.reconstruct() is not None


def test_a_saved_scene_brings_the_session_back(user: User, scan_file: Path, tmp_path: Path) -> None:

    user.choose(scan_file)
    user.reconstruct()
    user.place(BALL_CENTRE_RAS)
    user.place(beside(6.0, 0, 0), positive=False)
    before = user.mask()
    user.reopen(tmp_path / "session.mrb")
    np.testing.assert_array_equal(user.mask(), before)
    user.place(beside(-14.0, 0, 0))
    assert user.mask().sum() > before.sum()
    assert user.parameters.segmentation.GetSegmentation().GetNumberOfSegments() == 1
