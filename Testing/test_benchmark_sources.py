"""Cases on the benchmark's grid: read, generated, with inserted lesions, kept and reconstructed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benchmark_folder import GRID, ball, make_folder
from hypothesis import given
from hypothesis import strategies as st

from NASAM3DLib.benchmark.case import (
    Case,
    Target,
    checksum,
    load_case,
    read_case,
    save_case,
    unsuitable,
    working_grid,
)
from NASAM3DLib.benchmark.discovery import find_cases
from NASAM3DLib.benchmark.insertion import insertions, with_lesions
from NASAM3DLib.benchmark.sources import CaseStore, FileSource, GeneratedSource
from NASAM3DLib.benchmark.views import ScanSettings, scan_of, shown_volume, view_name
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.mask import Mask

SCAN = ScanSettings()


def a_case(folder: Path) -> Case:
    return load_case(find_cases(make_folder(folder))[0])


@given(
    st.tuples(*[st.integers(8, 60)] * 3),
    st.tuples(*[st.floats(0.5, 5.0)] * 3),
)
def test_the_grid_keeps_the_box_and_refines_nothing(shape, spacing):
    grid = VolumeGrid.centred(shape, spacing)
    found = working_grid(grid)
    np.testing.assert_allclose(
        np.sort(found.corners_ras, axis=0), np.sort(grid.corners_ras, axis=0), atol=1e-6
    )
    finer = grid.spacing_mm < 3
    assert (found.spacing_mm >= grid.spacing_mm - 1e-9).all()
    np.testing.assert_allclose(found.spacing_mm[~finer], grid.spacing_mm[~finer])


def test_a_case_keeps_its_objects_and_leaves_out_what_is_too_small(tmp_path: Path):
    files = find_cases(make_folder(tmp_path))[0]
    case = load_case(files)
    assert [target.name for target in case.targets] == ["tumour", "liver"]
    assert case.targets[1].mask.n_voxels == np.count_nonzero(ball((17, 15, 14), 5.5))
    coarse = load_case(files, 12.0)
    assert coarse.targets == ()
    assert [reason.split(":")[0] for reason in coarse.left_out] == [
        "patient 1, tumour",
        "patient 1, liver",
    ]
    assert "fewer than 30" in coarse.left_out[0]
    assert "fills 100 %" in unsuitable(np.ones((9, 9, 9), dtype=bool))


def test_a_kept_case_comes_back_as_it_was(tmp_path: Path):
    case = replace(a_case(tmp_path / "data"), left_out=("why",), pictures=False)
    case = replace(case, scanned=Volume(case.volume.array + 1, case.volume.grid, "HU"))
    save_case(case, tmp_path / "case.npz")
    found = read_case(tmp_path / "case.npz")
    assert np.array_equal(found.volume.array, case.volume.array)
    assert found.scanned is not None
    assert np.array_equal(found.scanned.array, case.volume.array + 1)
    assert found.volume.grid.same_as(case.volume.grid)
    assert (found.name, found.data_set) == (case.name, case.data_set)
    assert (found.left_out, found.pictures) == (("why",), False)
    for one, other in zip(found.targets, case.targets, strict=True):
        assert (one.name, one.group) == (other.name, other.group)
        assert np.array_equal(one.mask.array, other.mask.array)
        assert checksum(found.volume, one.mask) == checksum(case.volume, other.mask)


def test_the_checksum_knows_voxels_truth_and_place(tmp_path: Path):
    case = a_case(tmp_path)
    volume, mask = case.volume, case.targets[0].mask
    moved = VolumeGrid.centred(GRID.shape_kji, 3.0, centre_ras=(0, 0, 9))
    codes = {
        checksum(volume, mask),
        checksum(replace(volume, array=volume.array + 1), mask),
        checksum(volume, case.targets[1].mask),
        checksum(Volume(volume.array, moved, "HU"), Mask(mask.array, moved)),
    }
    assert len(codes) == 4


def test_the_store_reads_a_case_once_until_its_files_change(tmp_path: Path):
    files = find_cases(make_folder(tmp_path / "data"))[0]
    store = CaseStore(tmp_path / "kept", 3.0)
    source = FileSource(files)
    store.case(source)
    path = store.path_of(source)
    written = path.stat().st_mtime_ns
    store.case(source)
    assert path.stat().st_mtime_ns == written
    assert CaseStore(tmp_path / "kept", 4.0).path_of(source) != path
    files.image.touch()
    assert store.path_of(source) == path
    elsewhere = FileSource(find_cases(make_folder(tmp_path / "copy" / "data"))[0])
    assert store.path_of(elsewhere) == path
    content = bytearray(files.image.read_bytes())
    content[len(content) // 2] ^= 1
    files.image.write_bytes(content)
    assert store.path_of(source) != path


def test_a_change_of_an_object_makes_another_case(tmp_path: Path):
    files = find_cases(make_folder(tmp_path))[0]
    key = FileSource(files).key()
    one, *others = files.targets
    for changed in (replace(one, labels=(7,)), replace(one, group="organ")):
        assert changed != one
        assert FileSource(replace(files, targets=(changed, *others))).key() != key
    assert FileSource(replace(files, pictures=not files.pictures)).key() != key


def test_held_out_volumes_come_from_seeds_that_no_training_draws():
    drawn = {tuple(np.random.SeedSequence([2023, n]).generate_state(4)) for n in range(2000)}
    drawn |= {tuple(np.random.SeedSequence([2026, n]).generate_state(4)) for n in range(2000)}
    held = {
        tuple(np.random.SeedSequence(GeneratedSource(n).seed()).generate_state(4))
        for n in range(40)
    }
    assert len(held) == 40
    assert not held & drawn
    # The third number is what a training would have to count up to.
    assert {GeneratedSource(n).seed()[2] > 10**9 for n in range(40)} == {True}


def test_a_generated_case_is_one_object_and_repeats_itself():
    source = GeneratedSource(1, edge=24)
    case, again = source.load(3.0), source.load(3.0)
    assert [target.group for target in case.targets] == ["generated"]
    assert np.array_equal(case.volume.array, again.volume.array)
    assert case.scanned is not None
    assert not np.array_equal(case.scanned.array, case.volume.array)
    assert not np.array_equal(case.volume.array, GeneratedSource(2, edge=24).load(3.0).volume.array)


def organ_case() -> Case:
    grid = VolumeGrid.centred((32, 32, 32), 3.0)
    k, j, i = np.ogrid[:32, :32, :32]
    organ = (k - 16) ** 2 + (j - 16) ** 2 + (i - 16) ** 2 < 14**2
    array = np.where(organ, 60.0, -80.0) + np.random.default_rng(0).normal(0, 5, organ.shape)
    targets = (
        Target("liver", "organ", Mask(organ, grid)),
        Target("aorta", "organ", Mask(organ, grid)),
    )
    return Case("body", "tests", Volume(array.astype(np.float32), grid, "HU"), targets)


def test_inserted_lesions_lie_apart_within_their_organ_and_differ_from_it():
    case = organ_case()
    found = with_lesions(case, 3, rng=np.random.default_rng(4))
    organ = case.targets[0].mask.array
    assert [t.name for t in found.targets] == [f"lesion {n} in liver" for n in (1, 2, 3)]
    together = np.sum([target.mask.array for target in found.targets], axis=0)
    assert together.max() == 1
    changed = found.volume.array != case.volume.array
    assert not (changed & ~organ).any()
    for target in found.targets:
        inside = target.mask.array
        assert inside.sum() >= 30
        assert changed[inside].all()
        difference = (found.volume.array - case.volume.array)[inside].mean()
        assert 0.6 * 20 < abs(difference) < 70
        assert target.group == "lesion"


def test_inserted_lesions_repeat_themselves_by_their_seed():
    first, second, other = (
        with_lesions(organ_case(), 2, rng=np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert np.array_equal(first.volume.array, second.volume.array)
    assert not np.array_equal(first.volume.array, other.volume.array)


def test_only_cases_with_a_solid_organ_get_lesions(tmp_path: Path):
    files = find_cases(make_folder(tmp_path))
    assert [source.name for source in insertions(files, 1)] == [
        "patient 1 with lesions",
        "patient 2 with lesions",
    ]
    assert insertions(files, 0) == []
    without = [replace(case, targets=case.targets[:1]) for case in files]
    assert insertions(without, 2) == []


def test_a_scan_of_a_grid_has_pixels_of_about_a_voxel_and_sees_all_of_it():
    grid = VolumeGrid.centred((20, 40, 30), (3.0, 3.0, 4.0))
    scan = scan_of(grid, 10)
    assert scan.n_views == 10
    middle = np.array(scan.pixel_spacing_mm) / 1.5
    np.testing.assert_allclose(middle, 3.0, rtol=0.1)


def test_fewer_views_are_reconstructed_once_and_resemble_the_case(tmp_path: Path):
    source = FileSource(find_cases(make_folder(tmp_path / "data"))[0])
    store = CaseStore(tmp_path / "kept", 3.0)
    volume = shown_volume(store, source, 40, SCAN)
    files = sorted(store.folder.glob("*.npz"))
    again = shown_volume(store, source, 40, SCAN)
    assert np.array_equal(volume.array, again.array)
    assert sorted(store.folder.glob("*.npz")) == files
    case = store.case(source)
    assert volume.quantity == "HU"
    assert volume.grid.same_as(case.volume.grid)
    # The box ends in air, where few views blur it; the middle is what counts.
    inner = (slice(4, -4),) * 3
    likeness = np.corrcoef(volume.array[inner].ravel(), case.volume.array[inner].ravel())
    assert likeness[0, 1] > 0.9
    liver = case.targets[1].mask.array
    contrast = volume.array[liver].mean() - volume.array[ball((12, 4, 20), 3)].mean()
    assert contrast == pytest.approx(120, abs=15)
    assert np.array_equal(shown_volume(store, source, None, SCAN).array, case.volume.array)
    assert (view_name(None), view_name(12)) == ("full", "12 views")
