"""DICOM segmentations and derived CT series: what is written lies where the voxels do."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")

from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid  # noqa: E402

from NASAM3DLib.reconstruct.dicom_ct import SeriesInfo, save_ct_series  # noqa: E402
from NASAM3DLib.reconstruct.volume import Volume  # noqa: E402
from NASAM3DLib.scan.grid import VolumeGrid  # noqa: E402
from NASAM3DLib.segment import dicom_seg  # noqa: E402
from NASAM3DLib.segment.dicom_seg import NamedSegment, codes_of, save_dicom_seg  # noqa: E402
from NASAM3DLib.segment.dicom_series import read_series  # noqa: E402
from NASAM3DLib.segment.mask import Mask  # noqa: E402

needs_highdicom = pytest.mark.skipif(
    importlib.util.find_spec("highdicom") is None, reason="highdicom is not installed"
)

LIVER = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical "
    "Structure~SCT^10200004^Liver~^^~Anatomic codes - DICOM master list~SCT^818983003^Abdomen~^^|"
)
SHAPE_KJI = (6, 9, 11)
TO_LPS = np.diag([-1.0, -1.0, 1.0])


def oblique(spacing_ijk: tuple[float, float, float]) -> np.ndarray:
    """Unequal spacing, turned about two axes."""
    a, b = np.radians([25.0, -40.0])
    about_s = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_r = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = about_s @ about_r @ np.diag(spacing_ijk)
    affine[:3, 3] = (-40.0, 60.0, 12.0)
    return affine


AFFINES = {
    "axial as Slicer has it": np.diag([-1.5, -2.0, 3.0, 1.0]),
    "RAS": np.diag([1.0, 1.0, 2.5, 1.0]),
    "slices against the normal": oblique((1.5, 2.0, -3.0)),
    "oblique": oblique((1.5, -2.0, 3.0)),
}


@pytest.fixture(params=sorted(AFFINES), ids=lambda name: name.replace(" ", "-"))
def grid(request: pytest.FixtureRequest) -> VolumeGrid:
    """Anisotropic, oblique and mirrored grids."""
    return VolumeGrid(SHAPE_KJI, AFFINES[request.param])


def scanner_series(grid: VolumeGrid, folder: Path, **changes: Any) -> list[Path]:
    """Write a CT as a scanner would, in an order of no meaning, without what may be left out."""
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    axes = grid.ijk_to_ras[:3, :3].T @ TO_LPS
    spacing = np.linalg.norm(axes, axis=1)
    directions = axes / spacing[:, None]
    paths = []
    for k in range(grid.shape_kji[0]):
        image = Dataset()
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, generate_uid()
        image.file_meta.MediaStorageSOPClassUID = CTImageStorage
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        image.StudyInstanceUID, image.SeriesInstanceUID = study, series
        image.FrameOfReferenceUID, image.Modality = frame, "CT"
        image.PatientName, image.PatientID = "Test^Patient", "4711"
        image.PatientBirthDate, image.PatientSex = "19500101", "F"
        image.StudyID, image.StudyDate, image.StudyTime = "1", "20260101", "120000"
        image.InstanceNumber = k + 1
        image.ImagePositionPatient = [float(x) for x in TO_LPS @ grid.to_ras((0, 0, k))]
        image.ImageOrientationPatient = [float(x) for x in directions[:2].ravel()]
        image.PixelSpacing = [float(spacing[1]), float(spacing[0])]
        image.Rows, image.Columns = grid.shape_kji[1:]
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated = image.BitsStored = 16
        image.HighBit, image.PixelRepresentation = 15, 1
        image.PixelData = np.zeros(grid.shape_kji[1:], "<i2").tobytes()
        for name, value in changes.items():
            if value is None:
                delattr(image, name)
            else:
                setattr(image, name, value)
        path = folder / f"{(k * 7) % 23:02d}.dcm"
        image.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths[::2] + paths[1::2]


def lesion(grid: VolumeGrid) -> Mask:
    """An object without symmetry, so that a mirrored or shifted one is noticed."""
    array = np.zeros(grid.shape_kji, dtype=bool)
    array[1:4, 2:7, 3:9] = True
    array[1, 2:4, 3] = False
    array[4, 5, 5] = True
    return Mask(array, grid)


def points_of(path: Path, number: int = 1) -> np.ndarray:
    """Centres of all pixels of a segment, RAS mm, read with nothing but pydicom."""
    read = pydicom.dcmread(path)
    shared = read.SharedFunctionalGroupsSequence[0]
    frames = read.pixel_array.reshape(-1, read.Rows, read.Columns)
    row_mm, column_mm = (float(x) for x in shared.PixelMeasuresSequence[0].PixelSpacing)
    direction = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    found = []
    for frame, groups in zip(frames, read.PerFrameFunctionalGroupsSequence, strict=True):
        # What all frames have in common may stand in one place for all.
        owner = groups if "SegmentIdentificationSequence" in groups else shared
        if owner.SegmentIdentificationSequence[0].ReferencedSegmentNumber != number:
            continue
        origin = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        for row, column in np.argwhere(frame):
            found.append(origin + column * column_mm * direction[:3] + row * row_mm * direction[3:])
    return np.array(found) @ TO_LPS


def sorted_points(points: np.ndarray) -> np.ndarray:
    """The points in an order that does not depend on how they were found."""
    rounded = np.round(points, 3)
    return rounded[np.lexsort(rounded.T)]


def centres(mask: Mask) -> np.ndarray:
    """Centres of the voxels of a mask, RAS mm."""
    return mask.grid.to_ras(np.argwhere(mask.array)[:, ::-1].astype(float))


@needs_highdicom
def test_every_pixel_lies_where_its_voxel_does(grid: VolumeGrid, tmp_path: Path) -> None:
    source = scanner_series(grid, tmp_path)
    save_dicom_seg([NamedSegment(lesion(grid), "Lesion")], source, tmp_path / "seg.dcm")
    found, wanted = (
        sorted_points(points_of(tmp_path / "seg.dcm")),
        sorted_points(centres(lesion(grid))),
    )
    np.testing.assert_allclose(found, wanted, atol=2e-3)


@needs_highdicom
def test_labels_codes_colours_and_references_are_told(tmp_path: Path) -> None:
    grid = VolumeGrid(SHAPE_KJI, AFFINES["oblique"])
    source = scanner_series(grid, tmp_path)
    other = np.zeros(SHAPE_KJI, dtype=bool)
    other[2:4, 1:4, 1:4] = True
    segments = [
        NamedSegment(lesion(grid), "Liver", (0.9, 0.25, 0.2), LIVER),
        NamedSegment(Mask(other, grid), "Überlappung " + "x" * 80, (0.2, 0.6, 0.9)),
    ]
    save_dicom_seg(segments, source, tmp_path / "seg.dcm")
    read = pydicom.dcmread(tmp_path / "seg.dcm")
    first, second = read.SegmentSequence
    assert (first.SegmentLabel, first.SegmentNumber) == ("Liver", 1)
    assert second.SegmentLabel == ("Überlappung " + "x" * 80)[:64]
    category = first.SegmentedPropertyCategoryCodeSequence[0]
    kind = first.SegmentedPropertyTypeCodeSequence[0]
    assert (category.CodeValue, category.CodeMeaning) == ("123037004", "Anatomical Structure")
    assert (kind.CodeValue, kind.CodingSchemeDesignator) == ("10200004", "SCT")
    assert first.AnatomicRegionSequence[0].CodeValue == "818983003"
    assert second.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Tissue"
    assert first.SegmentAlgorithmType == "SEMIAUTOMATIC"
    assert first.RecommendedDisplayCIELabValue != second.RecommendedDisplayCIELabValue
    header = pydicom.dcmread(source[0])
    for name in ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert read[name].value == header[name].value
    assert read.SeriesInstanceUID != header.SeriesInstanceUID
    assert (read.Modality, read.SegmentationType) == ("SEG", "BINARY")
    series = read.ReferencedSeriesSequence[0]
    known = {pydicom.dcmread(path).SOPInstanceUID for path in source}
    referred = {item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence}
    assert series.SeriesInstanceUID == header.SeriesInstanceUID
    assert referred <= known
    np.testing.assert_allclose(
        sorted_points(points_of(tmp_path / "seg.dcm", 2)),
        sorted_points(centres(segments[1].mask)),
        atol=2e-3,
    )


@needs_highdicom
def test_highdicom_reads_the_same_volume_back(grid: VolumeGrid, tmp_path: Path) -> None:
    import highdicom as hd

    source = scanner_series(grid, tmp_path)
    save_dicom_seg([NamedSegment(lesion(grid), "Lesion")], source, tmp_path / "seg.dcm")
    volume = hd.seg.segread(tmp_path / "seg.dcm").get_volume(combine_segments=True)
    indices = np.argwhere(volume.array > 0)
    lps = (np.column_stack([indices, np.ones(len(indices))]) @ volume.affine.T)[:, :3]
    np.testing.assert_allclose(
        sorted_points(lps @ TO_LPS), sorted_points(centres(lesion(grid))), atol=2e-3
    )


@needs_highdicom
def test_a_mask_on_other_voxels_is_brought_to_the_series(tmp_path: Path) -> None:
    series_grid = VolumeGrid((20, 24, 26), AFFINES["axial as Slicer has it"])
    fine = VolumeGrid.centred((60, 60, 60), 0.7, centre_ras=tuple(series_grid.to_ras((13, 12, 10))))
    k, j, i = np.indices(fine.shape_kji)
    away = np.linalg.norm(
        fine.to_ras(np.stack([i, j, k], axis=-1).astype(float)) - series_grid.to_ras((13, 12, 10)),
        axis=-1,
    )
    ball = Mask(away < 12.0, fine)
    source = scanner_series(series_grid, tmp_path)
    save_dicom_seg([NamedSegment(ball, "Ball")], source, tmp_path / "seg.dcm")
    found = points_of(tmp_path / "seg.dcm")
    voxel_ml = series_grid.voxel_volume_mm3 / 1000
    assert len(found) * voxel_ml == pytest.approx(ball.volume_ml, rel=0.05)
    np.testing.assert_allclose(found.mean(axis=0), series_grid.to_ras((13, 12, 10)), atol=0.2)
    assert np.linalg.norm(found - series_grid.to_ras((13, 12, 10)), axis=1).max() < 13.0


def test_a_derived_series_is_read_where_the_volume_was(grid: VolumeGrid, tmp_path: Path) -> None:
    import SimpleITK

    values = np.random.default_rng(0).uniform(-1000, 2000, grid.shape_kji).astype(np.float32)
    volume = Volume(values, grid, "HU")
    paths = save_ct_series(volume, tmp_path / "ct", info=SeriesInfo("Pelvis", "Doe^Jane", "7"))
    assert len(paths) == grid.shape_kji[0]
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "ct")))
    image = reader.Execute()
    array = SimpleITK.GetArrayFromImage(image)
    for kji in ((0, 0, 0), (2, 3, 4), (5, 8, 10)):
        lps = image.TransformIndexToPhysicalPoint(tuple(int(n) for n in kji[::-1]))
        ijk = grid.to_ijk((TO_LPS @ np.array(lps))[None])[0]
        np.testing.assert_allclose(ijk, np.rint(ijk), atol=1e-3)
        i, j, k = np.rint(ijk).astype(int)
        assert array[kji] == pytest.approx(values[k, j, i], abs=0.51)
    header = pydicom.dcmread(paths[0])
    assert tuple(header.ImageType) == ("DERIVED", "PRIMARY", "AXIAL")
    assert (str(header.PatientName), header.PatientID) == ("Doe^Jane", "7")
    assert header.SeriesDescription == "Pelvis"


@needs_highdicom
def test_a_reconstruction_gets_a_series_and_a_segmentation(
    grid: VolumeGrid, tmp_path: Path
) -> None:
    volume = Volume(np.full(grid.shape_kji, 0.02, np.float32), grid)
    paths = save_ct_series(volume, tmp_path / "ct")
    assert pydicom.dcmread(paths[0]).PatientID.startswith("NASAM3D-")
    save_dicom_seg([NamedSegment(lesion(grid), "Lesion")], paths, tmp_path / "seg.dcm")
    np.testing.assert_allclose(
        sorted_points(points_of(tmp_path / "seg.dcm")),
        sorted_points(centres(lesion(grid))),
        atol=2e-3,
    )


def test_a_slanted_volume_cannot_become_images(tmp_path: Path) -> None:
    slanted = np.diag([1.0, 1.0, 2.0, 1.0])
    slanted[0, 2] = 0.5
    volume = Volume(np.zeros(SHAPE_KJI, np.float32), VolumeGrid(SHAPE_KJI, slanted), "HU")
    with pytest.raises(ValueError, match="at right angles"):
        save_ct_series(volume, tmp_path / "ct")


def test_a_series_is_not_mixed_with_other_files(tmp_path: Path) -> None:
    grid = VolumeGrid(SHAPE_KJI, AFFINES["RAS"])
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="is not empty"):
        save_ct_series(Volume(np.zeros(SHAPE_KJI, np.float32), grid, "HU"), tmp_path)


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"ImagePositionPatient": None}, "lacks ImagePositionPatient"),
        ({"NumberOfFrames": 3}, "holds several frames"),
        ({"ImagePositionPatient": [0.0, 0.0, 0.0]}, "lie at one place"),
    ],
)
def test_what_is_no_series_of_slices_is_named(
    tmp_path: Path, changes: dict[str, Any], wanted: str
) -> None:
    source = scanner_series(VolumeGrid(SHAPE_KJI, AFFINES["RAS"]), tmp_path, **changes)
    with pytest.raises(ValueError, match=wanted):
        read_series(source)


def test_two_series_and_other_files_are_refused(tmp_path: Path) -> None:
    grid = VolumeGrid(SHAPE_KJI, AFFINES["RAS"])
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = (scanner_series(grid, tmp_path / name) for name in "ab")
    with pytest.raises(ValueError, match="of one series, got 2"):
        read_series([first[0], second[1]])
    text = tmp_path / "note.txt"
    text.write_text("no image")
    with pytest.raises(ValueError, match=r"note\.txt is no DICOM file"):
        read_series([text])
    with pytest.raises(ValueError, match="there is no source series"):
        read_series([])


@needs_highdicom
def test_a_series_that_does_not_show_the_object_is_refused(tmp_path: Path) -> None:
    grid = VolumeGrid(SHAPE_KJI, AFFINES["RAS"])
    source = scanner_series(grid, tmp_path)
    far = np.array(AFFINES["RAS"])
    far[:3, 3] = (4.0, 0.0, 0.0)
    moved = NamedSegment(lesion(VolumeGrid(SHAPE_KJI, far)), "Moved")
    with pytest.raises(ValueError, match="Moved reaches beyond the images"):
        save_dicom_seg([moved], source, tmp_path / "seg.dcm")
    assert not (tmp_path / "seg.dcm").exists()


def test_what_cannot_be_written_is_said_beforehand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = VolumeGrid(SHAPE_KJI, AFFINES["RAS"])
    empty = Mask(np.zeros(SHAPE_KJI, dtype=bool), grid)
    with pytest.raises(ValueError, match="Nothing is empty"):
        NamedSegment(empty, "Nothing")
    with pytest.raises(ValueError, match="needs a name"):
        NamedSegment(lesion(grid), " ")
    monkeypatch.setattr(dicom_seg.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ModuleNotFoundError, match="pip install highdicom"):
        save_dicom_seg([NamedSegment(lesion(grid), "A")], [], tmp_path / "seg.dcm")


@needs_highdicom
def test_files_are_not_replaced_unasked(tmp_path: Path) -> None:
    grid = VolumeGrid(SHAPE_KJI, AFFINES["RAS"])
    source = scanner_series(grid, tmp_path)
    path = tmp_path / "seg.dcm"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="exists already"):
        save_dicom_seg([NamedSegment(lesion(grid), "A")], source, path)
    with pytest.raises(ValueError, match="at least one segment"):
        save_dicom_seg([], source, path, force=True)
    save_dicom_seg([NamedSegment(lesion(grid), "A")], source, path, force=True)
    assert pydicom.dcmread(path).Modality == "SEG"


def test_codes_are_read_from_slicers_entry() -> None:
    category, kind, anatomy = codes_of(LIVER)
    assert category == ("123037004", "SCT", "Anatomical Structure")
    assert kind == ("10200004", "SCT", "Liver")
    assert anatomy == ("818983003", "SCT", "Abdomen")
    assert codes_of("")[2] is None
    with pytest.raises(ValueError, match=r"scheme\^value\^meaning"):
        codes_of("list~^^~SCT^10200004^Liver~^^")
