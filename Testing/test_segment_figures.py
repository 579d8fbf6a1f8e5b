"""Figures of segments against bodies whose figures are known."""

from __future__ import annotations

import numpy as np
import pytest

from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.figures import SegmentFigures, measure
from NASAM3DLib.segment.mask import Mask

RADIUS_MM = 15.0


def oblique(spacing_mm: tuple[float, float, float]) -> VolumeGrid:
    """A grid turned about two axes."""
    a, b = np.radians([25.0, -40.0])
    about_s = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_r = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    shape_ijk = np.ceil(48.0 / np.array(spacing_mm)).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = about_s @ about_r @ np.diag(spacing_mm)
    affine[:3, 3] = -affine[:3, :3] @ (shape_ijk - 1) / 2
    return VolumeGrid(tuple(int(n) for n in shape_ijk[::-1]), affine)


def distance_mm(grid: VolumeGrid, point_ras: tuple[float, float, float]) -> np.ndarray:
    """Distance of every voxel from a point."""
    k, j, i = np.indices(grid.shape_kji)
    return np.linalg.norm(grid.to_ras(np.stack([i, j, k], axis=-1)) - point_ras, axis=-1)


GRIDS = {
    "fine": VolumeGrid.centred((48, 48, 48), 1.0),
    "coarse": VolumeGrid.centred((24, 24, 24), 2.0),
    "unequal": VolumeGrid.centred((16, 48, 48), (1.0, 1.0, 3.0)),
    "oblique": oblique((1.5, 2.0, 1.0)),
}


@pytest.mark.parametrize("name", GRIDS)
def test_figures_of_a_ball(name: str) -> None:
    grid = GRIDS[name]
    inside = distance_mm(grid, (0.3, -0.2, 0.1)) < RADIUS_MM
    values = np.where(inside, 60.0, 0.0).astype(np.float32)
    figures = measure(Mask(inside, grid), Volume(values, grid, "HU"))
    assert figures.mean == pytest.approx(60.0)
    assert figures.spread == pytest.approx(0.0, abs=1e-5)
    assert figures.volume_ml == pytest.approx(4 / 3 * np.pi * RADIUS_MM**3 / 1000, rel=0.02)
    longest_voxel_mm = np.linalg.norm(grid.ijk_to_ras[:3, :3], axis=0).max()
    assert figures.longest_diameter_mm == pytest.approx(2 * RADIUS_MM, abs=longest_voxel_mm)
    assert figures.surface_cm2 == pytest.approx(4 * np.pi * RADIUS_MM**2 / 100, rel=0.06)
    assert figures.unsure_part is None


def test_the_diameter_of_a_rod_runs_along_it() -> None:
    grid = VolumeGrid.centred((10, 10, 40), (2.0, 1.0, 3.0))
    array = np.zeros(grid.shape_kji, dtype=bool)
    array[4, 5, 3:33] = True
    figures = measure(Mask(array, grid), Volume(np.zeros(grid.shape_kji), grid, "HU"))
    assert figures.longest_diameter_mm == pytest.approx(30 * 2.0)
    assert figures.n_voxels == 30


def test_a_mask_at_the_border_has_its_whole_surface() -> None:
    grid = VolumeGrid.centred((20, 20, 20), 1.0)
    array = np.zeros(grid.shape_kji, dtype=bool)
    array[:10] = True
    inner = np.zeros((40, 40, 40), dtype=bool)
    inner[10:20, 10:30, 10:30] = True
    volume = Volume(np.zeros(grid.shape_kji), grid, "HU")
    there = measure(Mask(array, grid), volume)
    wide = VolumeGrid.centred(inner.shape, 1.0)
    free = measure(Mask(inner, wide), Volume(np.zeros(inner.shape), wide, "HU"))
    assert there.surface_cm2 == pytest.approx(free.surface_cm2, rel=1e-9)
    # Smoothing rounds the edges, so a box has less than its 16 cm2.
    assert 0.85 * 16.0 < free.surface_cm2 < 16.0


def test_the_boundary_is_unsure_where_the_contrast_drowns() -> None:
    grid = GRIDS["fine"]
    inside = distance_mm(grid, (0.0, 0.0, 0.0)) < RADIUS_MM
    values = np.where(inside, 50.0, 0.0).astype(np.float32)
    right = np.indices(grid.shape_kji)[2] >= 24
    parts = []
    for sigma_hu in (5.0, 100.0, np.where(right, 100.0, 5.0)):
        sigma = np.broadcast_to(np.float32(sigma_hu), grid.shape_kji)
        parts.append(measure(Mask(inside, grid), Volume(values, grid, "HU", sigma)).unsure_part)
    assert parts[:2] == [0.0, 1.0]
    assert parts[2] == pytest.approx(0.5, abs=0.1)


def test_an_empty_mask_has_no_figures() -> None:
    grid = GRIDS["coarse"]
    empty = Mask(np.zeros(grid.shape_kji, dtype=bool), grid)
    assert measure(empty, Volume(np.zeros(grid.shape_kji), grid, "HU")) == SegmentFigures(0, 0.0)


def test_a_mask_of_another_volume_is_refused() -> None:
    grid, other = GRIDS["coarse"], GRIDS["fine"]
    mask = Mask(np.ones(other.shape_kji, dtype=bool), other)
    with pytest.raises(ValueError, match=r"shape \(48, 48, 48\) does not fit a volume of shape"):
        measure(mask, Volume(np.zeros(grid.shape_kji), grid, "HU"))
