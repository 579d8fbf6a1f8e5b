"""The module in the Slicer host with a known worker: what is shown before, meanwhile and after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from module_user import BALL_CENTRE_RAS, User, add_volume, beside, nodes, part_of_module
from test_dicom_seg import LIVER

from NASAM3DLib.reconstruct.dicom_ct import save_ct_series
from NASAM3DLib.segment.mask_io import load_mask

pytestmark = pytest.mark.slicer


def background() -> Any:
    """The volume in the red slice view."""
    import slicer

    composite = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    identifier = composite.GetBackgroundVolumeID()
    return identifier and slicer.mrmlScene.GetNodeByID(identifier)


def test_time_and_memory_are_told_before_the_start(user: User, scan_file: Path) -> None:
    assert user.ui.expectedLabel.text == "–"
    user.choose(scan_file)
    user.rest()
    assert user.ui.expectedLabel.text == "about 1 min 40 s, 4.9 GiB of memory"
    assert user.ui.deviceInfoLabel.text == "Everything runs on the CPU."
    user.ui.viewsSpinBox.value = 10
    user.rest()
    assert user.ui.expectedLabel.text == "about 20 s, 1000 MiB of memory"
    user.ui.viewsSpinBox.value = 0
    user.ui.qualityComboBox.currentText = "Best"
    user.rest()
    assert "Only 8.0 GiB are free" in user.ui.expectedLabel.text
    user.ui.deviceComboBox.currentText = "GPU (CUDA)"
    assert user.ui.deviceInfoLabel.text.startswith("No GPU that can be used")


def test_the_start_does_not_wait_for_the_estimate(user: User, scan_file: Path) -> None:
    user.choose(scan_file)
    user.ui.qualityComboBox.currentText = "Preview"
    user.ui.qualityComboBox.currentText = "Standard"
    assert user.reconstruct() is not None
    assert user.ui.expectedLabel.text.startswith("about ")


def test_the_volume_is_seen_while_it_comes_about(user: User, scan_file: Path) -> None:
    user.choose(scan_file)
    user.ui.qualityComboBox.currentText = "Best"
    user.ui.applyButton.click()
    user.wait(lambda: background() is not None)
    preview = background()
    assert (preview.GetName(), preview.GetHideFromEditors()) == ("Preview", 1)
    assert user.ui.inputVolumeSelector.currentNode() is None
    user.wait(lambda: user.widget.reconstruction.job is None)
    assert background() is user.parameters.outputVolume
    assert [node.GetName() for node in nodes("vtkMRMLScalarVolumeNode")] == ["patient"]


def test_cancelling_shows_again_what_was_shown_before(user: User, scan_file: Path) -> None:
    import slicer

    before = add_volume(np.zeros((8, 8, 8)), np.eye(4), "Before")
    slicer.util.setSliceViewerLayers(background=before)
    user.choose(scan_file)
    user.ui.qualityComboBox.currentText = "Best"
    user.ui.applyButton.click()
    user.wait(lambda: background().GetName() == "Preview")
    user.ui.cancelButton.click()
    user.wait(lambda: user.widget.reconstruction.job is None)
    assert background() is before
    assert nodes("vtkMRMLScalarVolumeNode") == [before]


def test_previews_can_be_switched_off(user: User, scan_file: Path) -> None:
    user.ui.previewCheckBox.checked = False
    user.choose(scan_file)
    user.ui.applyButton.click()
    shown = []
    user.wait(lambda: shown.append(background()) or user.widget.reconstruction.job is None)
    assert {node.GetName() for node in shown if node} <= {"patient"}


def test_an_unsure_boundary_is_told(user: User, scan_file: Path) -> None:
    user.choose(scan_file)
    user.ui.uncertaintyCheckBox.checked = True
    volume = user.reconstruct()
    map_node = volume.GetNodeReference("NASAM3D.Uncertainty")
    assert map_node.GetName() == "patient uncertainty"
    user.place(BALL_CENTRE_RAS)
    assert user.ui.warningLabel.text.startswith("100 % of the boundary lies where")
    assert not user.ui.warningLabel.isHidden()
    user.ui.uncertaintyCheckBox.checked = False
    user.reconstruct()
    assert volume.GetNodeReference("NASAM3D.Uncertainty") is None
    user.ui.newSegmentButton.click()
    user.place(BALL_CENTRE_RAS)
    assert user.ui.warningLabel.isHidden()
    user.ui.qualityComboBox.currentText = "Preview"
    assert not user.ui.uncertaintyCheckBox.enabled


def test_an_ambiguous_density_is_told_with_what_helps(user: User, scan_file: Path) -> None:
    user.choose(scan_file)
    user.reconstruct()
    user.place(BALL_CENTRE_RAS)
    assert user.ui.warningLabel.isHidden()
    user.place(beside(0, 12.0, 0))
    assert user.ui.warningLabel.text.startswith("Several structures of the same density touch")
    assert "add an outside point" in user.ui.warningLabel.text
    user.place(beside(0, 0, 6.0), positive=False)
    assert user.ui.warningLabel.isHidden()


@pytest.fixture
def save_as(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The answers that the user will give when asked where to save."""
    import qt

    answers: list[str] = []
    monkeypatch.setattr(qt.QFileDialog, "getSaveFileName", lambda *_: answers.pop(0))
    return answers


def test_the_segmentation_is_saved(
    user: User, scan_file: Path, tmp_path: Path, save_as: list[str]
) -> None:
    assert not user.ui.saveButton.enabled
    user.choose(scan_file)
    user.reconstruct()
    user.place(BALL_CENTRE_RAS)
    save_as += ["", str(tmp_path / "lesions")]
    user.ui.saveButton.click()
    assert list(tmp_path.glob("*.seg.nrrd")) == []
    user.ui.saveButton.click()
    assert user.ui.statusLabel.text == f"Saved {tmp_path / 'lesions.seg.nrrd'}"
    saved = load_mask(tmp_path / "lesions.seg.nrrd")
    assert saved.n_voxels == user.mask().sum()


def test_the_report_has_figures_and_pictures(
    user: User, scan_file: Path, tmp_path: Path, save_as: list[str]
) -> None:
    import slicer

    user.choose(scan_file)
    user.reconstruct()
    user.place(BALL_CENTRE_RAS)
    slicer.app.layoutManager().setRenderPaused(False)
    save_as.append(str(tmp_path / "report.html"))
    user.ui.reportButton.click()
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "patient segmentation" in page
    volume_ml = user.ui.resultLabel.text.split()[2]
    assert f">{volume_ml}<" in page
    assert page.count("data:image/png;base64,") == 4
    assert "http" not in page
    assert user.ui.statusLabel.text.startswith("Wrote ")


@pytest.fixture
def segmented(user: User, scan_file: Path) -> Any:
    """A user with a segment in a reconstruction; DICOM is written by a worker on this computer."""
    user.choose(scan_file)
    user.reconstruct()
    user.place(BALL_CENTRE_RAS)
    yield user
    user.widget.logic.close()


def write_dicom(user: User) -> str:
    """Press the button and wait for what is said."""
    user.ui.dicomButton.click()
    user.wait(lambda: user.widget.results.job is None)
    return user.ui.statusLabel.text


def test_a_reconstruction_becomes_dicom_with_images(
    segmented: User, tmp_path: Path, save_as: list[str]
) -> None:
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("highdicom")
    segment = segmented.parameters.segmentation.GetSegmentation().GetNthSegment(0)
    segment.SetTag("TerminologyEntry", LIVER)
    save_as += ["", str(tmp_path / "lesions")]
    segmented.ui.dicomButton.click()
    assert segmented.widget.results.job is None, "the user has changed his mind"
    status = write_dicom(segmented)
    folder = tmp_path / "lesions_images"
    assert status == (
        f"Wrote {tmp_path / 'lesions.dcm'}, and the CT images that it refers to into {folder}"
    )
    read = pydicom.dcmread(tmp_path / "lesions.dcm")
    assert read.pixel_array.sum() == segmented.mask().sum()
    described = read.SegmentSequence[0]
    assert described.SegmentLabel == "Segment 1"
    assert described.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Liver"
    assert len(list(folder.iterdir())) == 40
    assert segmented.ui.dicomButton.enabled


class Database:
    """Slicer's DICOM database, as far as a volume asks for its files."""

    def __init__(self, files: dict[str, str]) -> None:
        self.files = files

    def fileForInstance(self, uid: str) -> str:
        return self.files.get(uid, "")


def test_a_volume_from_dicom_refers_to_its_series(
    segmented: User, tmp_path: Path, save_as: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import slicer

    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("highdicom")
    volume = segmented.parameters.inputVolume
    paths = save_ct_series(segmented.volumes.volumeReader(volume)(), tmp_path / "ct")
    headers = [pydicom.dcmread(path) for path in paths]
    files = {str(h.SOPInstanceUID): str(path) for h, path in zip(headers, paths, strict=True)}
    volume.SetAttribute("DICOM.instanceUIDs", " ".join(files))
    monkeypatch.setattr(slicer, "dicomDatabase", Database({}), raising=False)
    save_as += [str(tmp_path / "seg.dcm")] * 2
    segmented.ui.dicomButton.click()
    assert "is not in Slicer's DICOM database any more" in "".join(slot_errors_taken())
    monkeypatch.setattr(slicer, "dicomDatabase", Database(files), raising=False)
    assert write_dicom(segmented) == f"Wrote {tmp_path / 'seg.dcm'}"
    read = pydicom.dcmread(tmp_path / "seg.dcm")
    assert read.FrameOfReferenceUID == headers[0].FrameOfReferenceUID
    assert read.pixel_array.sum() == segmented.mask().sum()
    assert not (tmp_path / "seg_images").exists()


def test_highdicom_is_asked_for_when_it_is_needed(
    segmented: User, tmp_path: Path, save_as: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import slicer

    packages = part_of_module("packages")
    asked: list[str] = []

    def decline(text: str, title: str) -> bool:
        asked.append(text)
        return False

    monkeypatch.setattr(packages, "is_satisfied", lambda name: not name.startswith("highdicom"))
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", decline)
    save_as.append(str(tmp_path / "seg.dcm"))
    segmented.ui.dicomButton.click()
    assert "highdicom>=0.24, about 35 MB" in asked[0]
    assert "Nothing was installed" in "".join(slot_errors_taken())
    assert segmented.widget.results.job is None
    assert list(tmp_path.glob("*.dcm")) == []


def slot_errors_taken() -> list[str]:
    """What was raised in slots, which testing mode does instead of showing a message."""
    from slicerhost import slot_errors

    return slot_errors.take()


def test_a_report_that_cannot_be_written_says_so(
    user: User,
    scan_file: Path,
    tmp_path: Path,
    save_as: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    user.choose(scan_file)
    user.reconstruct()
    user.place(BALL_CENTRE_RAS)
    save_as.append(str(tmp_path / "absent" / "report.html"))
    user.ui.reportButton.click()
    assert "The report cannot be written: [Errno 2] No such file or directory" in caplog.text
