"""Volumes to files and back, DICOM, and bad files with what is said about them."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from scipy.spatial.transform import Rotation

from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.reconstruct.volume_io import load_volume, save_volume
from NASAM3DLib.scan.grid import VolumeGrid


def oblique_grid(mirror: float = 1.0) -> VolumeGrid:
    affine = np.eye(4)
    turn = Rotation.from_euler("xyz", (20, -10, 35), degrees=True).as_matrix()
    affine[:3, :3] = turn * (mirror * 0.8, 1.1, 2.5)
    affine[:3, 3] = (10, -20, 30)
    return VolumeGrid((4, 5, 6), affine)


def volume(grid: VolumeGrid | None = None) -> Volume:
    grid = grid or oblique_grid()
    array = np.random.default_rng(0).uniform(0, 0.05, grid.shape_kji).astype(np.float32)
    return Volume(array, grid)


@pytest.mark.parametrize("name", ["v.nrrd", "v.nii.gz", "v.mha"])
@pytest.mark.parametrize("mirror", [1.0, -1.0])
def test_round_trip_keeps_everything(tmp_path: Path, name: str, mirror: float) -> None:
    path = tmp_path / "deep" / name
    made = volume(oblique_grid(mirror))
    save_volume(made, path)
    loaded = load_volume(path)
    np.testing.assert_array_equal(loaded.array, made.array)
    assert loaded.grid.same_as(made.grid, tolerance_mm=1e-3)
    assert loaded.quantity == "attenuation"
    save_volume(made.to_hu(), path, force=True)
    assert load_volume(path).quantity == "HU"


def test_lps_files_become_ras(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(np.zeros((2, 3, 4), np.int16) - 1000)
    image.SetOrigin((5, 6, 7))
    image.SetSpacing((1, 2, 3))
    sitk.WriteImage(image, str(tmp_path / "v.nrrd"))
    loaded = load_volume(tmp_path / "v.nrrd")
    np.testing.assert_allclose(loaded.grid.to_ras((0, 0, 0)), (-5, -6, 7))
    np.testing.assert_allclose(loaded.grid.to_ras((1, 1, 1)), (-6, -8, 10))
    assert loaded.quantity == "HU"


def test_unnamed_attenuation_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "v.nrrd"
    sitk.WriteImage(sitk.GetImageFromArray(volume().array), str(path))
    with pytest.raises(ValueError, match=r'which is no CT in HU.*give quantity="attenuation"'):
        load_volume(path)
    assert load_volume(path, quantity="attenuation").quantity == "attenuation"


def test_existing_file_stays_without_force(tmp_path: Path) -> None:
    path = tmp_path / "v.nrrd"
    save_volume(volume(), path)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match=r"exists already.*force=True"):
        save_volume(volume(), path)
    assert path.read_bytes() == before


def test_failed_write_leaves_nothing(tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[0, 1] = 0.4
    with pytest.raises(ValueError, match=r"not at right angles, which image files cannot say"):
        save_volume(volume(VolumeGrid((4, 5, 6), affine)), tmp_path / "v.nrrd")
    message = r"cannot be written as v\.xyz: end the name with one of \.nrrd"
    with pytest.raises(ValueError, match=message):
        save_volume(volume(), tmp_path / "v.xyz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["v.nrrd", "v.nii.gz", "v.mha"])
def test_truncated_file_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    save_volume(volume(VolumeGrid.centred((20, 20, 20), 1.0)), path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"cannot be read as an image.*is it complete"):
        load_volume(path)


def test_nan_colour_and_slices_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "v.nrrd"
    array = np.full((3, 4, 5), -1000, np.float32)
    array[1, 1, 1] = np.nan
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
    with pytest.raises(ValueError, match=r"has 1 values that are NaN or infinite"):
        load_volume(path)
    sitk.WriteImage(
        sitk.GetImageFromArray(np.zeros((3, 4, 5, 3), np.uint8), isVector=True), str(path)
    )
    with pytest.raises(ValueError, match=r"must hold one value per voxel, got 3"):
        load_volume(path)
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 5), np.int16)), str(path))
    with pytest.raises(ValueError, match=r"must hold a three-dimensional image, got 2 dimensions"):
        load_volume(path)


@pytest.mark.parametrize("spacing", ["0 1 1", "-1 1 1"])
def test_spacing_that_is_not_positive_is_refused(tmp_path: Path, spacing: str) -> None:
    path = tmp_path / "v.mha"
    header = (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
        f"DimSize = 2 2 2\nElementSpacing = {spacing}\nElementType = MET_SHORT\n"
        "ElementDataFile = LOCAL\n"
    )
    path.write_bytes(header.encode() + np.full(8, -1000, np.int16).tobytes())
    with pytest.raises(ValueError, match=r"v\.mha .*(must be positive|cannot be read as an image)"):
        load_volume(path)


def test_missing_file_and_folder_without_dicom(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"There is no file"):
        load_volume(tmp_path / "absent.nrrd")
    with pytest.raises(FileNotFoundError, match=r"There is no DICOM series in"):
        load_volume(tmp_path)


def write_dicom(folder: Path, n_slices: int, series: str, value: int) -> None:
    """CT slices with rescale slope 1 and intercept -1024, as scanners write."""
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for number in range(n_slices):
        pixels = np.full((4, 5), value + number, np.int16)
        image = sitk.GetImageFromArray(pixels)
        image.SetSpacing((0.7, 0.9))
        entries = {
            "0008|0060": "CT",
            "0020|000e": f"1.2.826.0.1.3680043.2.1125.{series}",
            "0020|000d": "1.2.826.0.1.3680043.2.1125.1",
            "0008|0018": f"1.2.826.0.1.3680043.2.1125.{series}.{number + 1}",
            "0020|0032": f"10\\20\\{2.5 * number}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0020|0013": str(number + 1),
            "0028|1052": "-1024",
            "0028|1053": "1",
        }
        for key, text in entries.items():
            image.SetMetaData(key, text)
        writer.SetFileName(str(folder / f"s{series}-{number}.dcm"))
        writer.Execute(image)


def test_dicom_folder_gives_the_longest_series_in_hu(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_dicom(tmp_path, 4, "77", 0)
    write_dicom(tmp_path, 2, "88", 50)
    with caplog.at_level(logging.WARNING):
        loaded = load_volume(tmp_path)
    assert "holds 2 DICOM series; the one with the most slices (4) is read" in caplog.text
    assert loaded.quantity == "HU"
    assert loaded.array.shape == (4, 4, 5)
    np.testing.assert_allclose(loaded.grid.spacing_mm, (0.7, 0.9, 2.5), atol=1e-5)
    np.testing.assert_allclose(loaded.grid.to_ras((0, 0, 0)), (-10, -20, 0), atol=1e-5)
    np.testing.assert_allclose(loaded.array[:, 0, 0], [0, 1, 2, 3])


def test_real_ct_is_read(data_dir: Path) -> None:
    path = data_dir / "totalseg-example" / "example_ct.nii.gz"
    if not path.is_file():
        pytest.skip(f"no CT at {path}")
    loaded = load_volume(path)
    assert loaded.array.shape == (112, 101, 122)
    assert loaded.quantity == "HU"
    np.testing.assert_allclose(loaded.grid.spacing_mm, 3, atol=1e-4)
