"""Working region: where its voxels lie, and the way back to the volume's own."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.fronts import distances_mm
from NASAM3DLib.segment.refine import Patch, refined, resampled
from NASAM3DLib.segment.region import make_region
from NASAM3DLib.segment.region_box import (
    RegionBox,
    grown_box,
    initial_box,
    reference_length_mm,
    working_factors,
)

# A rotation about an axis that is none of the grid's, unequal spacings, one axis mirrored.
ANGLE = np.deg2rad(25)
TURN = np.array(
    [[np.cos(ANGLE), -np.sin(ANGLE), 0], [np.sin(ANGLE), np.cos(ANGLE), 0], [0, 0, 1]]
) @ np.array([[1, 0, 0], [0, np.cos(0.4), -np.sin(0.4)], [0, np.sin(0.4), np.cos(0.4)]])


def oblique_grid(shape_kji=(40, 90, 100), spacing_ijk=(1.0, -1.5, 4.0)) -> VolumeGrid:
    affine = np.eye(4)
    affine[:3, :3] = TURN * np.array(spacing_ijk)
    affine[:3, 3] = (-30.0, 55.0, 12.0)
    return VolumeGrid(shape_kji, affine)


def ramp(grid: VolumeGrid) -> Volume:
    """A volume whose value is a linear function of the place in RAS."""
    k, j, i = np.meshgrid(*(np.arange(n) for n in grid.shape_kji), indexing="ij")
    points = grid.to_ras(np.stack([i, j, k], axis=-1))
    return Volume((points @ (1.0, -2.0, 0.5)).astype(np.float32), grid, "HU")


@pytest.mark.parametrize(
    ("spacing_mm", "shape", "reference", "factors"),
    [
        (3.0, 128, 3.0, 1),
        (1.0, 256, 3.0, 3),
        (1.75, 200, 3.0, 2),
        (1.8, 200, 3.0, 1),
        (6.0, 64, 3.0, 1),
        (0.1, 640, 1.6, 18),
        (0.02, 64, 0.032, 1),
    ],
)
def test_the_working_voxel_follows_its_rule(spacing_mm, shape, reference, factors):
    grid = VolumeGrid.centred((shape,) * 3, spacing_mm)
    assert reference_length_mm(grid) == pytest.approx(reference)
    assert working_factors(grid) == (factors,) * 3


def test_anisotropic_voxels_are_joined_only_where_they_are_small():
    assert working_factors(VolumeGrid.centred((80, 200, 200), (0.977, 0.977, 3.27))) == (1, 3, 3)


def test_working_voxels_lie_on_voxels_and_one_of_them_on_the_click():
    volume = ramp(oblique_grid())
    click = np.array([17, 40, 50])
    region = make_region(volume, initial_box(volume.grid, click[None]), anchor_kji=click)
    assert region.factors_kji == (1, 2, 3)
    working = region.to_working(click)
    np.testing.assert_allclose(
        region.grid.to_ras(working[::-1]), volume.grid.to_ras(click[::-1]), atol=1e-9
    )
    # Averages of a linear function, centred on a voxel, are its value there.
    inner = tuple(slice(1, -1) for _ in range(3))
    np.testing.assert_allclose(region.array_hu[inner], ramp(region.grid).array[inner], atol=1e-3)
    assert region.array_hu[tuple(working)] == pytest.approx(volume.array[tuple(click)], abs=1e-3)


def test_a_linear_function_survives_the_way_there_and_back():
    volume = ramp(oblique_grid())
    click = np.array([17, 40, 50])
    region = make_region(volume, initial_box(volume.grid, click[None]), anchor_kji=click)
    patch = resampled(region, ramp(region.grid).array, volume.grid.shape_kji)
    on_lattice = [
        range(first, first + n * f, f)
        for first, n, f in zip(
            region.first_kji, region.grid.shape_kji, region.factors_kji, strict=True
        )
    ]
    inside = tuple(slice(axis[0], axis[-1] + 1) for axis in on_lattice)
    back = patch.on(volume.grid.shape_kji)
    np.testing.assert_allclose(back[inside], volume.array[inside], atol=1e-3)


def test_noise_is_averaged_not_sampled():
    rng = np.random.default_rng(0)
    grid = VolumeGrid.centred((120, 120, 120), 1.0)
    spread = np.full(grid.shape_kji, 7.0, dtype=np.float32)
    values = rng.normal(0, 27, grid.shape_kji).astype(np.float32)
    volume = Volume(values, VolumeGrid.centred(grid.shape_kji, 1.6), "HU", spread)
    region = make_region(volume, RegionBox((0, 0, 0), (119, 119, 119)), anchor_kji=(60, 60, 60))
    # Weights 1/4, 1/2, 1/4 along each axis keep (3/8)^(3/2) of the standard deviation.
    assert region.factors_kji == (2, 2, 2)
    assert region.array_hu.std() == pytest.approx(27 * 0.375**1.5, rel=0.05)
    np.testing.assert_allclose(region.uncertainty_hu, 7.0, rtol=1e-5)


def test_a_region_grows_only_on_the_side_that_was_reached():
    grid = VolumeGrid.centred((200, 200, 200), 3.0)
    box = initial_box(grid, np.array([[100, 100, 100]]))
    assert box == RegionBox((68, 68, 68), (132, 132, 132))
    reached = np.zeros((65, 65, 65), dtype=bool)
    reached[30:35, 30:35, 30:] = True
    assert grown_box(grid, box, reached) == RegionBox((68, 68, 68), (132, 132, 164))
    assert grown_box(grid, box, np.zeros_like(reached)) == box


def test_a_region_ends_with_the_volume_and_at_its_largest_size():
    grid = VolumeGrid.centred((40, 300, 300), 3.0)
    box = initial_box(grid, np.array([[2, 150, 150], [39, 10, 150]]))
    assert box == RegionBox((0, 0, 118), (39, 182, 182))
    everything = np.ones((40, 183, 65), dtype=bool)
    assert grown_box(grid, box, everything) == RegionBox((0, 0, 86), (39, 214, 214))
    huge = RegionBox((0, 0, 0), (39, 240, 210))
    assert grown_box(grid, huge, np.ones((40, 241, 211), dtype=bool)) == huge


def test_straight_distances_on_an_oblique_grid_are_those_of_ras():
    grid = oblique_grid((6, 7, 8))
    axes = grid.ijk_to_ras[:3, :3].T[::-1]
    k, j, i = np.meshgrid(*(np.arange(n) for n in grid.shape_kji), indexing="ij")
    points = grid.to_ras(np.stack([i, j, k], axis=-1))
    expected = np.linalg.norm(points - grid.to_ras((4, 3, 2)), axis=-1)
    np.testing.assert_allclose(distances_mm((2, 3, 4), (6, 7, 8), axes), expected, rtol=1e-5)


def ball(grid: VolumeGrid, radius_mm: float) -> np.ndarray:
    k, j, i = np.meshgrid(*(np.arange(n) for n in grid.shape_kji), indexing="ij")
    return np.linalg.norm(grid.to_ras(np.stack([i, j, k], axis=-1)), axis=-1) - radius_mm


def surface_radii(mask: np.ndarray, grid: VolumeGrid, radius_mm: float) -> np.ndarray:
    return ball(grid, radius_mm)[mask & ~ndimage.binary_erosion(mask)]


def test_the_boundary_has_no_stairs_of_working_voxels():
    grid = VolumeGrid.centred((120, 120, 120), 1.0, centre_ras=(0.3, -0.2, 0.1))
    truth = ball(grid, 25.0) < 0
    blurred = ndimage.gaussian_filter(np.where(truth, 60.0, 0.0), 1.0)
    noise = np.random.default_rng(0).normal(0, 10, truth.shape)
    volume = Volume((blurred + noise).astype(np.float32), grid, "HU")
    everything = RegionBox((0, 0, 0), (119, 119, 119))
    region = make_region(volume, everything, anchor_kji=(60, 60, 60))
    assert region.factors_kji == (3, 3, 3)
    coarse = ball(region.grid, 25.0) < 0
    blocks = np.roll(np.kron(coarse, np.ones((3, 3, 3), dtype=bool)), -1, axis=(0, 1, 2))
    # How unevenly the outermost voxels lie below the sphere.
    spread = surface_radii(truth, grid, 25.0).std()
    stairs = surface_radii(blocks, grid, 25.0).std()
    spreads = []
    for sharpen in (False, True):
        patch = refined(volume.array, region, coarse.astype(np.float32), sharpen=sharpen)
        mask = patch.on(grid.shape_kji) > 0.5
        spreads.append(surface_radii(mask, grid, 25.0).std())
    assert spread < spreads[1] < 1.5 * spread
    assert spreads[1] < spreads[0] < 0.75 * stairs


def test_a_patch_lies_where_it_says():
    patch = Patch(np.ones((2, 1, 3), np.float32), np.array([1, 2, 0]))
    full = patch.on((4, 4, 4))
    assert full.sum() == 6
    assert full[1:3, 2:3, 0:3].all()
