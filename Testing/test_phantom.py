"""The generated patient: reproducible, complete, plausible."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from NASAM3DLib.phantom.anatomy import Phantom, make_phantom, phantom_grid
from NASAM3DLib.phantom.patient import Region
from NASAM3DLib.phantom.tissues import CONTRAST_STATES, LABELS, LESION_CONTRAST_HU, draw_tissues
from NASAM3DLib.scan.grid import VolumeGrid

FEW, MANY = range(5), range(5, 20)

some_and_all = pytest.mark.parametrize(
    "seeds",
    [pytest.param(FEW, id="few"), pytest.param(MANY, id="many", marks=pytest.mark.slow)],
)
both_regions = pytest.mark.parametrize("region", ["pelvis", "abdomen"])

ALWAYS = ("subcutaneous_fat", "deep_fat", "muscle", "spine", "pelvis", "veins", "bowel")
PRESENT: dict[Region, tuple[str, ...]] = {
    "pelvis": (
        *ALWAYS,
        *("femur", "bladder", "rectum", "rectal_gas", "rectal_lesion", "genital_organs"),
        *("aorta", "iliac_arteries"),
    ),
    "abdomen": (
        *ALWAYS,
        *("ribs", "liver", "liver_lesion", "kidneys", "spleen", "stomach", "pancreas"),
        *("gallbladder", "aorta", "lungs"),
    ),
}


@cache
def phantom(seed: int, region: Region) -> Phantom:
    return make_phantom(seed, phantom_grid(64), region=region)


def test_same_seed_same_bytes() -> None:
    first, second = (make_phantom(5, phantom_grid(48)) for _ in range(2))
    assert first.volume.array.tobytes() == second.volume.array.tobytes()
    assert first.labels.tobytes() == second.labels.tobytes()


def test_other_seed_other_patient() -> None:
    one, other = phantom(1, "pelvis"), phantom(2, "pelvis")
    assert np.mean(one.labels != other.labels) > 0.05


def test_contrast_changes_ct_numbers_and_not_anatomy() -> None:
    native, portal = (
        make_phantom(4, phantom_grid(48), region="abdomen", contrast=state)
        for state in ("native", "portal")
    )
    np.testing.assert_array_equal(native.labels, portal.labels)
    liver = native.mask_of("liver")
    gain = (portal.volume.to_hu().array - native.volume.to_hu().array)[liver].mean()
    assert 30 < gain < 80


def test_same_seed_on_a_finer_grid_is_the_same_patient() -> None:
    grid = VolumeGrid.centred((40, 40, 40), 5.0)
    coarse, fine = make_phantom(6, grid), make_phantom(6, grid.refined(2))
    binned = fine.volume.array.reshape(40, 2, 40, 2, 40, 2).mean(axis=(1, 3, 5))
    difference = binned - coarse.volume.array
    assert np.abs(difference.mean()) < 0.01 * binned.mean()
    assert np.corrcoef(binned.ravel(), coarse.volume.array.ravel())[0, 1] > 0.98


def test_oblique_mirrored_grid_shows_the_same_patient() -> None:
    grid = phantom_grid(48)
    affine = np.array(grid.ijk_to_ras)
    affine[:, 0] *= -1
    affine[:3, 3] += grid.ijk_to_ras[:3, 0] * 47
    mirrored = make_phantom(7, VolumeGrid(grid.shape_kji, affine))
    plain = make_phantom(7, grid)
    assert np.mean(mirrored.labels[:, :, ::-1] != plain.labels) < 1e-3


@some_and_all
@both_regions
def test_twenty_patients_are_complete(region: Region, seeds: range) -> None:
    for seed in seeds:
        made = phantom(seed, region)
        counts = np.bincount(made.labels.ravel(), minlength=len(LABELS))
        missing = [name for name in PRESENT[region] if counts[LABELS[name]] == 0]
        assert not missing, f"seed {seed} lacks {missing}"
        assert made.labels.max() < len(LABELS)


@some_and_all
@both_regions
def test_attenuation_is_that_of_a_patient(region: Region, seeds: range) -> None:
    for seed in seeds:
        made = phantom(seed, region)
        hu = made.volume.to_hu().array
        assert made.volume.quantity == "attenuation"
        assert -1000.5 <= hu.min() <= hu.max() < 2200
        assert hu[made.labels == 0].mean() < -985
        thick_muscle = ndimage.binary_erosion(made.mask_of("muscle"))
        assert 30 < np.median(hu[thick_muscle]) < 80
        assert -125 < np.median(hu[made.mask_of("subcutaneous_fat")]) < -85


@some_and_all
@both_regions
def test_nothing_lies_outside_the_body(region: Region, seeds: range) -> None:
    for seed in seeds:
        made = phantom(seed, region)
        body = ndimage.binary_fill_holes(made.labels > 0)
        parts, _ = ndimage.label(body)
        sizes = np.bincount(parts.ravel())[1:]
        assert sizes.max() > 0.999 * sizes.sum(), f"seed {seed} has loose parts"
        edge = made.labels.copy()
        edge[:, 1:-1, 1:-1] = 0
        assert not edge.any(), f"seed {seed} does not fit into the field"


@some_and_all
def test_rectal_lesion_is_one_piece_on_the_rectal_wall(seeds: range) -> None:
    for seed in seeds:
        made = make_phantom(seed, VolumeGrid.centred((60, 64, 64), 2.4))
        lesion = made.mask_of("rectal_lesion")
        _, n_parts = ndimage.label(lesion, structure=np.ones((3, 3, 3)))
        assert n_parts == 1, f"seed {seed}: {n_parts} parts"
        volume_ml = lesion.sum() * 2.4**3 / 1000
        assert 0.4 < volume_ml < 40, f"seed {seed}: {volume_ml:.1f} ml"
        touching = ndimage.binary_dilation(lesion, iterations=2)
        assert (touching & made.mask_of("rectum")).sum() > 10, f"seed {seed} is not on the wall"


@some_and_all
def test_rectal_lesion_is_brighter_than_wall_and_muscle(seeds: range) -> None:
    for seed in seeds:
        hu = phantom(seed, "pelvis").patient.hu
        contrast = hu["rectal_lesion"] - max(hu["rectal_wall"], hu["muscle"])
        assert LESION_CONTRAST_HU[0] <= contrast <= LESION_CONTRAST_HU[1]


def test_painted_lesion_has_the_drawn_ct_number() -> None:
    fine = make_phantom(1, VolumeGrid.centred((110, 110, 110), 1.3))
    core = ndimage.binary_erosion(fine.mask_of("rectal_lesion"), iterations=2)
    painted = float(np.median(fine.volume.to_hu().array[core]))
    assert core.sum() > 50
    assert painted == pytest.approx(fine.patient.hu["rectal_lesion"], abs=6)


@some_and_all
@both_regions
def test_lesion_point_is_in_the_lesion(region: Region, seeds: range) -> None:
    for seed in seeds:
        made = phantom(seed, region)
        i, j, k = np.rint(made.volume.grid.to_ijk(made.lesion_point_ras)).astype(int)
        assert made.labels[k, j, i] == made.lesion_label


@some_and_all
def test_bladder_lies_in_front_of_the_rectum_and_liver_on_the_right(seeds: range) -> None:
    for seed in seeds:
        made = phantom(seed, "pelvis")
        bladder, rectum = (
            made.volume.grid.to_ras(np.argwhere(made.mask_of(name))[:, ::-1]).mean(axis=0)
            for name in ("bladder", "rectum")
        )
        assert bladder[1] > rectum[1] + 25
        upper = phantom(seed, "abdomen")
        liver = upper.volume.grid.to_ras(np.argwhere(upper.mask_of("liver"))[:, ::-1])
        assert liver[:, 0].mean() > 25


def test_patients_differ_in_size_sex_and_contrast() -> None:
    patients = [phantom(seed, "pelvis").patient for seed in (*FEW, *range(5, 8))]
    assert {p.sex for p in patients} == {"female", "male"}
    assert {p.contrast for p in patients} == set(CONTRAST_STATES)
    assert np.std([p.fat_mm[0] for p in patients]) > 2
    volumes = [
        (phantom(seed, "pelvis").labels == LABELS["rectal_lesion"]).sum()
        for seed in (*FEW, *range(5, 8))
    ]
    assert max(volumes) > 2 * min(volumes)


def test_wrong_words_are_refused_with_the_right_ones() -> None:
    with pytest.raises(
        ValueError, match=r"region must be one of \('pelvis', 'abdomen'\), got 'leg'"
    ):
        make_phantom(0, phantom_grid(32), region="leg")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"contrast must be one of .* got 'late'"):
        draw_tissues(np.random.default_rng(0), "late")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Unknown structure 'tail': choose one of background"):
        phantom(0, "pelvis").mask_of("tail")


def test_grid_beside_the_lesion_is_refused() -> None:
    small = VolumeGrid.centred((4, 4, 4), 2.0)
    with pytest.raises(
        ValueError, match="does not hold a voxel of the lesion: take one that spans"
    ):
        make_phantom(0, small, region="abdomen")
