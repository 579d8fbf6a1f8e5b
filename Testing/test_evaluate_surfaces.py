from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
from scipy.integrate import quad

from NASAM3DLib.evaluate import surfaces
from NASAM3DLib.evaluate.surfaces import asd_mm, hd95_mm, surface_distances_mm, surface_ras
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.mask import Mask

needs_monai = pytest.mark.skipif(find_spec("monai") is None, reason="MONAI is not installed")
own_and_monai = pytest.mark.parametrize(
    "library", ["own", pytest.param("MONAI", marks=needs_monai)]
)


@pytest.fixture
def use_library(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surfaces, "_monai_serves", lambda mask: library == "MONAI")


def ball(grid: VolumeGrid, radius_mm: float, centre_ras: tuple[float, ...] = (0, 0, 0)) -> Mask:
    points = grid.to_ras(np.moveaxis(np.indices(grid.shape_kji)[::-1], 0, -1))
    return Mask(np.linalg.norm(points - np.asarray(centre_ras), axis=-1) <= radius_mm, grid)


def rotated(grid: VolumeGrid) -> VolumeGrid:
    first, second = np.deg2rad(25.0), np.deg2rad(-40.0)
    about_s = [[np.cos(first), -np.sin(first), 0], [np.sin(first), np.cos(first), 0], [0, 0, 1]]
    about_r = [[1, 0, 0], [0, np.cos(second), -np.sin(second)], [0, np.sin(second), np.cos(second)]]
    affine = np.eye(4)
    affine[:3, :3] = np.array(about_s) @ np.array(about_r)
    return VolumeGrid(grid.shape_kji, affine @ grid.ijk_to_ras)


@own_and_monai
@pytest.mark.usefixtures("use_library")
def test_concentric_spheres_lie_their_radii_apart() -> None:
    grid = VolumeGrid.centred((48, 48, 48), 1.0)
    inner, outer = ball(grid, 12.0), ball(grid, 18.0)
    # Every point of either surface is 6 mm from the other; voxels blur that by half a diagonal.
    assert asd_mm(inner, outer) == pytest.approx(6.0, abs=0.35)
    assert hd95_mm(inner, outer) == pytest.approx(6.0, abs=0.75)


@own_and_monai
@pytest.mark.usefixtures("use_library")
def test_shifted_spheres_follow_the_integral() -> None:
    radius, shift = 20.0, 6.0
    grid = VolumeGrid.centred((56, 56, 56), 1.0)

    def distance(cosine: float) -> float:
        return abs(np.sqrt(radius**2 + shift**2 - 2 * radius * shift * cosine) - radius)

    mean = quad(distance, -1, 1, limit=200)[0] / 2
    # cos is evenly spread over [-1, 1] on a sphere, which gives the percentile.
    largest_twentieth = np.percentile([distance(c) for c in np.linspace(-1, 1, 20001)], 95)
    pair = ball(grid, radius, (-3.0, 0.0, 0.0)), ball(grid, radius, (3.0, 0.0, 0.0))
    assert asd_mm(*pair) == pytest.approx(mean, abs=0.15)
    assert hd95_mm(*pair) == pytest.approx(largest_twentieth, abs=0.35)
    assert hd95_mm(*pair, percentile=100.0) == pytest.approx(shift, abs=0.35)


@own_and_monai
@pytest.mark.usefixtures("use_library")
def test_shifted_slabs_are_exact_on_anisotropic_voxels() -> None:
    grid = VolumeGrid.centred((12, 20, 20), (0.5, 0.5, 3.0))
    slabs = np.zeros((2, *grid.shape_kji), dtype=bool)
    slabs[0, 3:5] = slabs[1, 5:7] = True
    first, second = (Mask(slab, grid) for slab in slabs)
    # Layers 3 and 4 against 5 and 6, 3 mm apart: 6 and 3 mm, from both sides.
    assert hd95_mm(first, second) == pytest.approx(6.0)
    assert asd_mm(first, second) == pytest.approx(4.5)


@needs_monai
@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (0.7, 1.3, 3.0)])
def test_monai_and_own_figures_agree(
    spacing_mm: tuple[float, float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(3)
    grid = rotated(VolumeGrid.centred((14, 15, 16), spacing_mm))
    pair = [Mask(rng.random(grid.shape_kji) < 0.2, grid) for _ in range(2)]
    with_monai = hd95_mm(*pair), asd_mm(*pair)
    monkeypatch.setattr(surfaces, "_monai_serves", lambda mask: False)
    own = hd95_mm(*pair), asd_mm(*pair)
    assert own == pytest.approx(with_monai, rel=1e-5)


def test_turning_the_patient_changes_nothing() -> None:
    grid = VolumeGrid.centred((24, 24, 24), (1.0, 1.2, 2.0))
    first, second = ball(grid, 8.0), ball(grid, 9.5, (2.0, 0.0, 1.0))
    turned = [Mask(mask.array, rotated(grid)) for mask in (first, second)]
    assert hd95_mm(*turned) == pytest.approx(hd95_mm(first, second), rel=1e-5)
    assert asd_mm(*turned) == pytest.approx(asd_mm(first, second), rel=1e-5)


def test_sheared_grid_is_measured_in_patient_space() -> None:
    upright = VolumeGrid.centred((40, 40, 60), 1.0)
    affine = np.array(upright.ijk_to_ras)
    # Each slice moves one voxel along R, as with a tilted gantry.
    affine[0, 2], affine[0, 3] = 1.0, affine[0, 3] - 20.0
    sheared = VolumeGrid(upright.shape_kji, affine)
    figures = [
        (asd_mm(*pair), hd95_mm(*pair))
        for grid in (upright, sheared)
        for pair in [(ball(grid, 8.0), ball(grid, 11.0, (1.0, 0.0, 0.0)))]
    ]
    # Which voxels touch the outside depends on the neighbours that the shear gives them.
    assert figures[1] == pytest.approx(figures[0], abs=0.5)


def test_surface_touches_the_outside_through_faces() -> None:
    grid = VolumeGrid.centred((7, 7, 7), 1.0)
    array = np.zeros(grid.shape_kji, dtype=bool)
    array[1:6, 1:6, 1:6] = True
    # 5^3 voxels with an inner core of 3^3.
    assert len(surface_ras(Mask(array, grid))) == 125 - 27
    whole = Mask(np.ones(grid.shape_kji, dtype=bool), grid)
    assert len(surface_ras(whole)) == 343 - 125


def test_distances_of_a_mask_to_itself_are_zero() -> None:
    mask = ball(VolumeGrid.centred((12, 12, 12), 1.0), 4.0)
    for distances in surface_distances_mm(mask, mask):
        assert not distances.any()
    assert asd_mm(mask, mask) == 0.0


@pytest.mark.parametrize("measure", [hd95_mm, asd_mm, surface_distances_mm])
def test_the_empty_mask_is_named(measure) -> None:  # type: ignore[no-untyped-def]
    full = ball(VolumeGrid.centred((12, 12, 12), 1.0), 4.0)
    empty = Mask(np.zeros_like(full.array), full.grid)
    with pytest.raises(ValueError, match=r"^The mask is empty.*report it as missed"):
        measure(empty, full)
    with pytest.raises(ValueError, match=r"^The reference mask is empty"):
        measure(full, empty)
