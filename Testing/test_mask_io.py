"""Masks to files and back, and into Slicer's own reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.mask import Mask
from NASAM3DLib.segment.mask_io import load_mask, save_mask


def mask() -> Mask:
    affine = np.diag([-0.8, 1.1, 2.5, 1.0])
    affine[:3, 3] = (10, -20, 30)
    array = np.zeros((4, 5, 6), dtype=bool)
    array[1:3, 2:4, 1:5] = True
    return Mask(array, VolumeGrid((4, 5, 6), affine))


@pytest.mark.parametrize("name", ["m.seg.nrrd", "m.nrrd", "m.nii.gz", "m.mha"])
def test_round_trip(tmp_path: Path, name: str) -> None:
    path = tmp_path / "deep" / name
    save_mask(mask(), path)
    loaded = load_mask(path)
    np.testing.assert_array_equal(loaded.array, mask().array)
    assert loaded.grid.same_as(mask().grid)


def test_segmentation_header_has_slicers_fields(tmp_path: Path) -> None:
    path = tmp_path / "m.seg.nrrd"
    save_mask(mask(), path, name="Rectal lesion", colour=(1, 0.5, 0))
    header = path.read_bytes().split(b"\n\n")[0].decode()
    for line in (
        "Segment0_ID:=Segment_1",
        "Segment0_Name:=Rectal lesion",
        "Segment0_Color:=1 0.5 0",
        "Segment0_Extent:=1 4 2 3 1 2",
        "Segment0_LabelValue:=1",
        "Segment0_Layer:=0",
        "Segmentation_MasterRepresentation:=Binary labelmap",
        "Segmentation_ReferenceImageExtentOffset:=0 0 0",
    ):
        assert line in header
    assert load_mask(path, segment="Rectal lesion").n_voxels == mask().n_voxels


def test_empty_mask_is_written(tmp_path: Path) -> None:
    empty = Mask(np.zeros((4, 5, 6), dtype=bool), mask().grid)
    save_mask(empty, tmp_path / "m.seg.nrrd")
    assert load_mask(tmp_path / "m.seg.nrrd").n_voxels == 0
    save_mask(empty, tmp_path / "m.nrrd")
    with pytest.raises(ValueError, match=r"m\.nrrd is empty: it holds no segment"):
        load_mask(tmp_path / "m.nrrd")


def test_one_of_several_labels(tmp_path: Path) -> None:
    path = tmp_path / "m.nii.gz"
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[0], labels[1, 0] = 3, 7
    sitk.WriteImage(sitk.GetImageFromArray(labels), str(path))
    with pytest.raises(ValueError, match=r"holds 2 segments \(3, 7\): choose one by name or label"):
        load_mask(path)
    assert load_mask(path, segment=7).n_voxels == 6
    with pytest.raises(ValueError, match=r"has no segment 5: it holds 3, 7"):
        load_mask(path, segment=5)


def test_bad_masks_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.nrrd"
    sitk.WriteImage(sitk.GetImageFromArray(np.full((3, 4, 5), 0.5, np.float32)), str(path))
    with pytest.raises(ValueError, match=r"not whole numbers: it is an image, not a label map"):
        load_mask(path)
    with pytest.raises(
        ValueError, match=r"cannot be written as m\.txt: end the name with \.seg\.nrrd"
    ):
        save_mask(mask(), tmp_path / "m.txt")
    with pytest.raises(ValueError, match=r"needs a name, got an empty one"):
        save_mask(mask(), tmp_path / "m.seg.nrrd", name=" ")
    with pytest.raises(ValueError, match=r"colour must be red, green and blue in \[0, 1\]"):
        save_mask(mask(), tmp_path / "m.seg.nrrd", colour=(255, 0, 0))
    save_mask(mask(), tmp_path / "n.seg.nrrd")
    with pytest.raises(FileExistsError, match=r"exists already.*force=True"):
        save_mask(mask(), tmp_path / "n.seg.nrrd")


@pytest.mark.slicer
def test_slicer_reads_the_segmentation(tmp_path: Path) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import slicer
        import vtk
    path = tmp_path / "m.seg.nrrd"
    save_mask(mask(), path, name="Rectal lesion", colour=(1, 0.5, 0))
    scene = slicer.vtkMRMLScene()
    for kind in (slicer.vtkMRMLSegmentationNode, slicer.vtkMRMLSegmentationStorageNode):
        scene.RegisterNodeClass(kind())
    node = slicer.vtkMRMLSegmentationNode()
    scene.AddNode(node)
    storage = slicer.vtkMRMLSegmentationStorageNode()
    scene.AddNode(storage)
    storage.SetFileName(str(path))
    assert storage.ReadData(node) == 1
    segmentation = node.GetSegmentation()
    assert segmentation.GetNumberOfSegments() == 1
    segment = segmentation.GetNthSegment(0)
    assert segment.GetName() == "Rectal lesion"
    assert segment.GetColor() == pytest.approx((1, 0.5, 0))
    assert segmentation.GetSourceRepresentationName() == "Binary labelmap"
    labels = segment.GetRepresentation("Binary labelmap")
    to_ras = vtk.vtkMatrix4x4()
    labels.GetImageToWorldMatrix(to_ras)
    found = np.array([[to_ras.GetElement(r, c) for c in range(4)] for r in range(4)])
    np.testing.assert_allclose(found, mask().grid.ijk_to_ras, atol=1e-5)
    count = sum(
        labels.GetScalarComponentAsDouble(i, j, k, 0) == 1
        for i in range(6)
        for j in range(5)
        for k in range(4)
    )
    assert count == mask().n_voxels
