from __future__ import annotations

import numpy as np
import pytest

from NASAM3DLib.evaluate.metrics import (
    CT_RANGE_HU,
    NAF_DATA_RANGE,
    dice,
    iou,
    psnr,
    relative_held_out_error,
    rmse,
    ssim,
)
from NASAM3DLib.evaluate.resample import resample_mask, resample_volume
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.mask import Mask


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def ball(grid: VolumeGrid, radius_mm: float, centre_ras: tuple[float, ...] = (0, 0, 0)) -> Mask:
    kji = np.indices(grid.shape_kji)
    points = grid.to_ras(np.moveaxis(kji[::-1], 0, -1))
    return Mask(np.linalg.norm(points - np.asarray(centre_ras), axis=-1) <= radius_mm, grid)


def box(n_voxels: int, start: tuple[int, int, int], size: tuple[int, int, int]) -> Mask:
    array = np.zeros((n_voxels,) * 3, dtype=bool)
    array[tuple(slice(a, a + b) for a, b in zip(start, size, strict=True))] = True
    return Mask(array, VolumeGrid.centred((n_voxels,) * 3, 2.0))


def test_psnr_of_a_constant_offset_is_known() -> None:
    reference = np.zeros((8, 8, 8))
    # 20 log10(3000 / 30) = 40 dB
    assert psnr(reference + 30.0, reference, data_range=CT_RANGE_HU) == pytest.approx(40.0)
    assert rmse(reference + 30.0, reference) == pytest.approx(30.0)


def test_psnr_takes_its_peak_from_the_reference() -> None:
    reference = np.linspace(-10.0, 90.0, 50)
    # max - min = 100, RMSE = 1
    assert psnr(reference - 1.0, reference) == pytest.approx(40.0)
    assert psnr(reference, reference) == float("inf")


def test_psnr_does_not_depend_on_the_unit(rng: np.random.Generator) -> None:
    reference = rng.uniform(-1000, 2000, (9, 10, 11))
    noisy = reference + rng.normal(0, 25, reference.shape)
    in_hu = psnr(noisy, reference, data_range=CT_RANGE_HU)
    scaled = psnr((noisy + 1000) / CT_RANGE_HU, (reference + 1000) / CT_RANGE_HU, data_range=1.0)
    assert in_hu == pytest.approx(scaled, abs=1e-9)


def test_ssim_is_one_for_equals_and_falls_with_noise(rng: np.random.Generator) -> None:
    reference = rng.uniform(0, 1, (12, 13, 14))
    noise = rng.normal(0, 1, reference.shape)
    scores = [ssim(reference + level * noise, reference) for level in (0.0, 0.05, 0.2, 0.8)]
    assert scores[0] == pytest.approx(1.0)
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] < 0.7


def test_ssim_of_a_constant_offset_follows_the_formula() -> None:
    reference, offset = np.full((8, 8, 8), 0.5), 0.1
    constant = (0.01 * 1.0) ** 2
    # Without contrast only the luminance term is left.
    expected = (2 * 0.5 * 0.6 + constant) / (0.5**2 + 0.6**2 + constant)
    assert ssim(reference + offset, reference, data_range=1.0) == pytest.approx(expected, rel=1e-9)


def test_naf_range_gives_the_more_lenient_ssim(rng: np.random.Generator) -> None:
    reference = rng.uniform(0, 1, (10, 10, 10))
    noisy = reference + rng.normal(0, 0.1, reference.shape)
    assert ssim(noisy, reference, data_range=NAF_DATA_RANGE) > ssim(
        noisy, reference, data_range=1.0
    )


def test_images_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one shape.*got \(2, 2, 2\) and \(2, 2, 3\)"):
        psnr(np.zeros((2, 2, 2)), np.zeros((2, 2, 3)), data_range=1.0)


def test_images_that_are_not_finite_are_refused() -> None:
    bad = np.zeros((8, 8, 8))
    bad[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="must be finite, got NaN"):
        rmse(bad, np.zeros((8, 8, 8)))


def test_constant_reference_has_no_range() -> None:
    with pytest.raises(ValueError, match="data_range must be positive and finite, got 0"):
        psnr(np.ones((8, 8, 8)), np.zeros((8, 8, 8)))


def test_small_or_flat_images_have_no_ssim() -> None:
    with pytest.raises(ValueError, match=r"at least 7 voxels .* got shape \(6, 9, 9\)"):
        ssim(np.zeros((6, 9, 9)), np.zeros((6, 9, 9)), data_range=1.0)


def test_held_out_error_is_relative(rng: np.random.Generator) -> None:
    measured = rng.uniform(0.5, 3.0, (3, 4, 5))
    assert relative_held_out_error(1.02 * measured, measured) == pytest.approx(0.02)
    assert relative_held_out_error(10.2 * measured, 10 * measured) == pytest.approx(0.02)
    with pytest.raises(ValueError, match="held-out projections are all zero"):
        relative_held_out_error(measured, 0 * measured)


def test_overlap_of_known_boxes() -> None:
    # Two bars of 4 voxels that share 2: Dice 2*2/8, IoU 2/6.
    first, second = box(8, (1, 1, 1), (1, 1, 4)), box(8, (1, 1, 3), (1, 1, 4))
    assert dice(first, second) == pytest.approx(0.5)
    assert iou(first, second) == pytest.approx(1 / 3)
    assert dice(first, first) == 1.0
    assert dice(first, box(8, (5, 5, 1), (1, 1, 4))) == 0.0


def test_dice_and_iou_agree(rng: np.random.Generator) -> None:
    grid = VolumeGrid.centred((6, 6, 6), 1.0)
    first, second = (Mask(rng.random(grid.shape_kji) < 0.4, grid) for _ in range(2))
    score = dice(first, second)
    assert iou(first, second) == pytest.approx(score / (2 - score))


def test_empty_masks() -> None:
    full = box(8, (1, 1, 1), (2, 2, 2))
    empty = Mask(np.zeros(full.grid.shape_kji, dtype=bool), full.grid)
    assert dice(empty, full) == 0.0
    assert iou(empty, full) == 0.0
    with pytest.raises(ValueError, match=r"The reference mask is empty.*right label"):
        dice(full, empty)


def test_masks_on_different_grids_are_refused() -> None:
    first = box(8, (1, 1, 1), (2, 2, 2))
    moved = VolumeGrid.centred(first.grid.shape_kji, 2.0, centre_ras=(1.0, 0.0, 0.0))
    with pytest.raises(ValueError, match=r"must lie on one grid.*resample_mask"):
        dice(first, Mask(first.array, moved))


def test_resampling_to_half_resolution_is_the_mean_of_eight(rng: np.random.Generator) -> None:
    coarse = VolumeGrid.centred((4, 5, 6), (1.0, 2.0, 3.0), centre_ras=(5.0, -3.0, 1.0))
    fine = coarse.refined(2)
    array = rng.normal(0, 100, fine.shape_kji).astype(np.float32)
    halved = resample_volume(Volume(array, fine, "HU"), coarse)
    expected = array.reshape(4, 2, 5, 2, 6, 2).mean(axis=(1, 3, 5))
    np.testing.assert_allclose(halved.array, expected, atol=1e-3)


def test_resampling_keeps_a_linear_field_on_an_oblique_grid() -> None:
    source = VolumeGrid.centred((20, 20, 20), 2.0)
    angle = 0.4
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine[:3, :3] *= 1.5
    affine[:3, 3] = -6.0
    target = VolumeGrid((8, 8, 8), affine)

    def field(grid: VolumeGrid) -> np.ndarray:
        points = grid.to_ras(np.moveaxis(np.indices(grid.shape_kji)[::-1], 0, -1))
        return (points @ [1.0, -2.0, 0.5] + 3.0).astype(np.float32)

    sampled = resample_volume(Volume(field(source), source, "HU"), target)
    np.testing.assert_allclose(sampled.array, field(target), atol=1e-3)


def test_beyond_the_volume_is_air() -> None:
    small = VolumeGrid.centred((4, 4, 4), 1.0)
    large = VolumeGrid.centred((8, 8, 8), 1.0)
    hu = resample_volume(Volume(np.zeros(small.shape_kji, np.float32), small, "HU"), large)
    assert hu.array[0, 0, 0] == -1000.0
    assert hu.array[4, 4, 4] == 0.0


def test_mask_survives_a_finer_grid_and_back() -> None:
    grid = VolumeGrid.centred((16, 16, 16), (1.0, 1.5, 2.0))
    mask = ball(grid, 7.0)
    fine = resample_mask(mask, grid.refined(2))
    assert fine.volume_ml == pytest.approx(mask.volume_ml, rel=0.05)
    np.testing.assert_array_equal(resample_mask(fine, grid).array, mask.array)
