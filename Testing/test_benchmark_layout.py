"""Which files a benchmark takes for cases."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from benchmark_folder import GRID, ball, make_folder

from NASAM3DLib.benchmark.discovery import KNOWN, find_cases
from NASAM3DLib.benchmark.layout import group_of, read_layout
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.reconstruct.volume_io import save_volume
from NASAM3DLib.scan.images import image_on, write_image
from NASAM3DLib.segment.mask import Mask
from NASAM3DLib.segment.mask_io import save_mask


def image_at(path: Path) -> None:
    save_volume(Volume(np.zeros(GRID.shape_kji, dtype=np.float32), GRID, "HU"), path)


def mask_at(path: Path) -> None:
    save_mask(Mask(ball((12, 12, 12), 5), GRID), path)


def labels_at(path: Path, *labels: int) -> None:
    array = np.zeros(GRID.shape_kji, dtype=np.uint8)
    for number, label in enumerate(labels):
        array[number] = label
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(image_on(array, GRID), path)


def described(folder: Path) -> dict[str, list[tuple[str, str]]]:
    return {case.name: [(t.name, t.group) for t in case.targets] for case in find_cases(folder)}


def test_a_declared_folder_is_taken_at_its_word(tmp_path: Path):
    found = described(make_folder(tmp_path))
    targets = [("tumour", "lesion"), ("liver", "organ")]
    assert found == {"patient 1": targets, "patient 2": targets}
    assert {case.data_set for case in find_cases(tmp_path)} == {tmp_path.name}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no JSON file"),
        ('{"case": []}', 'must hold an object with a list "cases"'),
        ('{"cases": [{"image": "ct.nii.gz"}]}', 'lacks the text "name"'),
        ('{"cases": [{"name": "a", "image": "ct.nii.gz"}]}', 'needs a list "targets"'),
        (
            '{"cases": [{"name": "a", "image": "ct.nii.gz", "targets": '
            '[{"name": "b", "mask": "no.nii.gz"}]}]}',
            "which does not exist",
        ),
        (
            '{"cases": [{"name": "a", "image": "ct.nii.gz", "targets": '
            '[{"name": "b", "mask": "ct.nii.gz", "group": "bone"}]}]}',
            "must be one of lesion, organ, generated, got 'bone'",
        ),
        (
            '{"cases": [{"name": "a", "image": "ct.nii.gz", "targets": '
            '[{"name": "b", "mask": "ct.nii.gz", "labels": "1"}]}]}',
            '"labels" must be a list of whole numbers',
        ),
    ],
)
def test_a_wrong_declaration_is_refused_by_its_place(tmp_path: Path, content: str, message: str):
    image_at(tmp_path / "ct.nii.gz")
    path = tmp_path / "benchmark.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        read_layout(path)
    assert str(path) in str(caught.value)


def test_two_cases_of_one_name_are_refused(tmp_path: Path):
    make_folder(tmp_path)
    path = tmp_path / "benchmark.json"
    path.write_text(path.read_text("utf-8").replace("patient 2", "patient 1"), "utf-8")
    with pytest.raises(ValueError, match="several cases 'patient 1'"):
        find_cases(tmp_path)


def test_one_unnamed_mask_beside_an_image_is_a_lesion(tmp_path: Path):
    for number in (0, 1):
        image_at(tmp_path / f"volume-{number}.nii.gz")
        mask_at(tmp_path / f"segmentation-{number}.nii.gz")
    assert described(tmp_path) == {
        "volume-0": [("lesion", "lesion")],
        "volume-1": [("lesion", "lesion")],
    }


def test_names_beside_a_label_map_are_used_and_planned_volumes_left_out(tmp_path: Path):
    image_at(tmp_path / "neck" / "ct.nii.gz")
    labels_at(tmp_path / "neck" / "labels.nii.gz", 1, 2, 3)
    names = {"Brainstem": 1, "PTV70": 2, "GTV": 3}
    (tmp_path / "neck" / "labels.json").write_text(json.dumps(names), "utf-8")
    assert described(tmp_path) == {"neck": [("Brainstem", "organ"), ("GTV", "lesion")]}


def test_a_folder_of_masks_names_the_organs(tmp_path: Path):
    image_at(tmp_path / "s0001" / "ct.nii.gz")
    for organ in ("spleen", "kidney_left"):
        mask_at(tmp_path / "s0001" / "segmentations" / f"{organ}.nii.gz")
    assert described(tmp_path) == {"s0001": [("kidney_left", "organ"), ("spleen", "organ")]}


def test_images_and_masks_of_the_decathlon_lie_in_two_folders(tmp_path: Path):
    image_at(tmp_path / "imagesTr" / "liver_0.nii.gz")
    labels_at(tmp_path / "labelsTr" / "liver_0.nii.gz", 1, 2)
    (tmp_path / "dataset.json").write_text(
        json.dumps({"labels": {"0": "background", "1": "liver", "2": "cancer"}}), "utf-8"
    )
    assert described(tmp_path) == {"imagesTr": [("liver", "organ"), ("cancer", "lesion")]}


def test_labels_without_names_keep_their_numbers(tmp_path: Path):
    image_at(tmp_path / "chest_ct.nii.gz")
    labels_at(tmp_path / "chest_seg.nii.gz", 4, 9)
    assert described(tmp_path) == {"chest_ct": [("label 4", "organ"), ("label 9", "organ")]}


def test_an_image_without_its_mask_is_no_case(tmp_path: Path):
    image_at(tmp_path / "a_ct.nii.gz")
    mask_at(tmp_path / "b_mask.nii.gz")
    with pytest.raises(ValueError, match=r"No image with a mask.*benchmark\.json"):
        find_cases(tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        find_cases(tmp_path / "nowhere")


def test_every_known_layout_is_complete():
    files = sorted(KNOWN.glob("*.json"))
    assert files
    for path in files:
        for case in json.loads(path.read_text("utf-8"))["cases"]:
            assert case["name"]
            assert case["data_set"]
            assert case["image"]
            assert all(target["name"] and target["mask"] for target in case["targets"])


def test_the_public_scans_are_found(data_dir: Path):
    cases = {case.name: case for case in find_cases(data_dir)}
    names = {"cip-lung64", "openkbp-200", "sts-005", "sts-022", "totalseg-example"}
    if not names <= cases.keys():
        pytest.skip("not all public scans are there")
    assert [t.group for t in cases["sts-005"].targets] == ["lesion"]
    assert not cases["openkbp-200"].pictures
    assert not [t.name for t in cases["openkbp-200"].targets if "PTV" in t.name]
    assert len(cases["totalseg-example"].targets) == 18


@pytest.mark.parametrize("name", ["Tumor", "liver_tumour", "GTV-1", "lung nodule", "Metastasis"])
def test_lesions_are_known_by_their_words(name: str):
    assert group_of(name) == "lesion"
