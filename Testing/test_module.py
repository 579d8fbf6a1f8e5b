"""The module in the Slicer host with a known worker: a scan becomes a volume."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from module_user import BALL_CENTRE_RAS, MODULE, User, add_volume, centroid_ras, nodes

pytestmark = pytest.mark.slicer


def test_the_module_obeys_the_rules_of_pythonqt() -> None:
    from slicerhost.lint import check_source

    sources = [MODULE, *sorted(MODULE.parent.rglob("NASAM3DModule/*.py"))]
    assert len(sources) > 10
    found = {path.name: check_source(path) for path in sources}
    assert {name: findings for name, findings in found.items() if findings} == {}


def test_the_module_says_what_it_is(user: User, slicer_app: Any) -> None:
    import slicer

    module = slicer.modules.nasam3d
    assert module.title == "NASAM3D"
    assert tuple(module.categories) == ("Segmentation",)
    assert not module.icon.isNull()
    assert "not for clinical use" in module.helpText
    keys = user.widget.segmentation.keys()
    assert [key for key in keys if key not in module.helpText] == [], "Slicer's help lists them"


def test_opening_the_module_starts_no_process_and_adds_no_data(
    load_module: Callable[[Path], Any],
) -> None:
    user = User(load_module(MODULE))
    assert user.client.process_id is None
    assert nodes("vtkMRMLVolumeNode") == []
    assert not user.ui.applyButton.enabled
    assert not user.ui.positiveButton.enabled
    assert user.ui.progressBar.isHidden()


def test_a_chosen_file_is_summed_up(user: User, scan_file: Path) -> None:
    user.choose(scan_file)
    assert user.ui.summaryLabel.text.startswith("a scan")
    assert user.ui.viewsSpinBox.maximum == 50
    assert user.ui.applyButton.enabled
    assert user.parameters.projectionsPath == str(scan_file)
    picture = user.ui.stripLabel.pixmap.toImage()
    assert (picture.width(), picture.height()) == (120, 30)
    assert [picture.pixelColor(n, 3).red() for n in (0, 50, 119)] == [0, 100, 238]
    user.ui.pathLineEdit.currentPath = ""
    assert user.ui.stripLabel.isHidden()


def test_a_folder_of_images_is_chosen_by_its_own_button(
    user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import qt

    answers = ["", str(tmp_path)]
    monkeypatch.setattr(qt.QFileDialog, "getExistingDirectory", lambda *_: answers.pop(0))
    user.ui.folderButton.click()
    assert user.parameters.projectionsPath == ""
    (tmp_path / "views.txt").write_text("36")
    user.ui.folderButton.click()
    user.rest()
    assert user.parameters.projectionsPath == str(tmp_path)
    assert user.ui.viewsSpinBox.maximum == 36
    assert user.ui.applyButton.enabled


def drop(target: Any, *paths: Path) -> bool:
    """Drag files over a widget and let them go, as a file manager does; tell if it took them."""
    from PySide6.QtCore import QMimeData, QPointF, Qt, QUrl
    from PySide6.QtGui import QDragEnterEvent, QDragMoveEvent, QDropEvent
    from PySide6.QtWidgets import QApplication

    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    rest = (Qt.DropAction.CopyAction, mime, Qt.MouseButton.LeftButton, Qt.KeyboardModifier(0))
    enter = QDragEnterEvent(QPointF(5, 5), *rest)
    QApplication.sendEvent(target, enter)
    move = QDragMoveEvent(QPointF(6, 6), *rest)
    QApplication.sendEvent(target, move)
    let_go = QDropEvent(QPointF(6, 6), *rest)
    QApplication.sendEvent(target, let_go)
    return enter.isAccepted() and move.isAccepted() and let_go.isAccepted()


def test_a_file_dropped_anywhere_on_the_section_is_chosen(user: User, scan_file: Path) -> None:
    import slicer

    lines = slicer.util.findChildren(user.ui.pathLineEdit, className="QLineEdit")
    assert lines
    other = scan_file.with_name("other.npz")
    other.write_text("36")
    for target, path in ((user.ui.summaryLabel, scan_file), (lines[0], other)):
        assert drop(target, path)
        user.rest()
        assert user.parameters.projectionsPath == str(path)
        assert user.ui.pathLineEdit.currentPath == str(path)
    assert user.ui.viewsSpinBox.maximum == 36
    assert user.ui.applyButton.enabled


def test_a_folder_its_images_or_a_file_with_its_geometry_are_one_scan(
    user: User, tmp_path: Path
) -> None:
    folder = tmp_path / "scan"
    folder.mkdir()
    section = user.ui.projectionsCollapsibleButton
    views = [folder / f"view{n}.tif" for n in range(3)]
    described = [folder / "views.json", tmp_path / "stack.mha.json", tmp_path / "stack.mha"]
    for path in (*views, *described):
        path.write_text("36")
    for dropped, chosen in (
        ([folder], folder),
        ([*views, described[0]], folder),
        (described[1:], tmp_path / "stack.mha"),
        ([described[0]], described[0]),
    ):
        assert drop(section, *dropped)
        assert user.parameters.projectionsPath == str(chosen)


def test_what_is_no_scan_is_not_taken(user: User, scan_file: Path, tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    assert drop(user.ui.summaryLabel, *folders)
    assert user.ui.statusLabel.text.startswith("Drop one scan: a file, a folder, or the images")
    assert user.parameters.projectionsPath == ""
    assert not drop(user.ui.summaryLabel), "nothing, or text, is left to Slicer"
    assert not drop(user.ui.methodLabel, scan_file), "other sections take no files"


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
    assert not user.ui.applyButton.enabled
    assert user.ui.expectedLabel.text == "–"
    user.choose(tmp_path / "absent.npz")
    assert user.ui.summaryLabel.text == "There is no such file."


def test_reconstruction_ends_in_a_volume_in_the_scene(user: User, scan_file: Path) -> None:
    import slicer

    user.choose(scan_file)
    user.ui.qualityComboBox.currentText = "Best"
    stages, fractions = set(), []
    user.ui.applyButton.click()
    while user.widget.reconstruction.job is not None:
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
    middle = centroid_ras(array > 0, user.volumes.gridOf(node).ijk_to_ras)
    np.testing.assert_allclose(middle, BALL_CENTRE_RAS, atol=0.1)
    display = node.GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (-160, 240)
    shown = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    assert shown.GetBackgroundVolumeID() == node.GetID()
    assert user.ui.statusLabel.text == "patient is ready."
    assert user.ui.progressBar.isHidden()


def test_a_second_reconstruction_fills_the_same_volume(user: User, scan_file: Path) -> None:
    import slicer

    user.choose(scan_file)
    first = user.reconstruct()
    user.ui.quantityComboBox.currentText = "Attenuation (1/mm)"
    assert user.reconstruct() is first
    assert slicer.util.arrayFromVolume(first).max() == pytest.approx(0.0206 * 1.04, rel=1e-3)
    assert first.GetAttribute("NASAM3D.Quantity") == "attenuation"
    assert len(nodes("vtkMRMLScalarVolumeNode")) == 1


def test_cancel_stops_within_a_second_or_two_and_leaves_the_scene(
    user: User, scan_file: Path
) -> None:
    user.choose(scan_file)
    user.ui.qualityComboBox.currentText = "Best"
    user.ui.applyButton.click()
    user.wait(lambda: user.ui.progressBar.value > 10)
    assert not user.ui.applyButton.enabled
    user.ui.cancelButton.click()
    assert user.ui.progressBar.format == "Cancelling…"
    user.wait(lambda: user.widget.reconstruction.job is None, 2.0)
    assert nodes("vtkMRMLScalarVolumeNode") == []
    assert user.ui.statusLabel.text == "The reconstruction was cancelled."
    assert user.ui.applyButton.enabled
    assert user.reconstruct() is not None


def test_a_volume_deleted_during_its_reconstruction_is_made_anew(
    user: User, scan_file: Path
) -> None:
    import slicer

    user.choose(scan_file)
    slicer.mrmlScene.RemoveNode(user.reconstruct())
    user.ui.qualityComboBox.currentText = "Best"
    user.ui.applyButton.click()
    user.wait(lambda: user.ui.progressBar.value > 10)
    assert user.parameters.outputVolume is None
    user.wait(lambda: user.widget.reconstruction.job is None)
    assert len(nodes("vtkMRMLScalarVolumeNode")) == 1


def test_the_sample_scan_is_registered_and_opens_in_the_module(user: User, slicer_app: Any) -> None:
    import SampleData
    import slicer

    slicer_app.completeStartup()
    (source,) = [
        item
        for item in SampleData.SampleDataLogic.registered
        if item["sampleName"] == "NASAM3DPelvis"
    ]
    assert Path(source["thumbnailFileName"]).is_file()
    source["customDownloader"](source)
    user.rest()
    assert user.parameters.projectionsPath.endswith("NASAM3D-sample.npz")
    assert user.ui.summaryLabel.text.startswith("a scan")
    mark = slicer.util.getNode("Sample lesion")
    np.testing.assert_allclose(mark.GetNthControlPointPosition(0), BALL_CENTRE_RAS)
    user.ui.sampleButton.click()
    user.rest()
    assert len(nodes("vtkMRMLMarkupsFiducialNode")) == 1
    user.reconstruct()
    user.place(mark.GetNthControlPointPosition(0))
    assert user.mask().any()
    assert mark.GetDisplayVisibility()


def test_views_of_a_ct_are_simulated_into_a_named_file(
    user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import qt
    import slicer

    assert not user.ui.simulateButton.enabled
    source = add_volume(np.ones((8, 8, 8)), np.eye(4))
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "Study")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(source), study)
    user.parameters.inputVolume = source
    assert user.ui.simulateButton.enabled
    answers = ["", str(tmp_path / "views")]
    monkeypatch.setattr(qt.QFileDialog, "getSaveFileName", lambda *_: answers.pop(0))
    user.ui.simulateButton.click()
    assert user.parameters.projectionsPath == ""
    user.ui.viewsSpinBox.value = 25
    user.ui.simulateButton.click()
    assert not user.ui.simulateButton.enabled
    user.rest()
    assert user.parameters.projectionsPath == str(tmp_path / "views.npz")
    assert user.ui.viewsSpinBox.maximum == 25
    assert user.ui.simulateButton.enabled
    assert nodes("vtkMRMLMarkupsFiducialNode") == []
    made = user.reconstruct()
    assert made is not source
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(made)) == study
