"""Fronts of clicks: lengths in mm on any grid, budgets, and how far a negative click speaks."""

from __future__ import annotations

import numpy as np
import pytest

from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.density import PATH_FLOOR
from NASAM3DLib.segment.fronts import (
    CORRECTION_BUDGET,
    FIRST_BUDGET,
    LOCALITY,
    REACH,
    DensityFronts,
    cross,
    distances_mm,
)
from NASAM3DLib.segment.region import WorkingRegion, make_region
from NASAM3DLib.segment.region_box import RegionBox

CENTRE = np.array([[12, 14, 16]])


def region_of(array: np.ndarray, spacing_mm: tuple[float, float, float]) -> WorkingRegion:
    """The whole array as a working region, at 3 mm of reference length."""
    grid = VolumeGrid.centred(array.shape, spacing_mm)
    last = tuple(n - 1 for n in array.shape)
    volume = Volume(array.astype(np.float32), grid, "HU")
    return make_region(volume, RegionBox((0, 0, 0), last), anchor_kji=(0, 0, 0))


UNIFORM = np.full((25, 29, 48), 40.0)
ANISOTROPIC = region_of(UNIFORM, (2.6, 3.0, 4.5))


@pytest.mark.parametrize(("axis", "spacing_mm"), [(0, 4.5), (1, 3.0), (2, 2.6)])
def test_in_uniform_tissue_a_front_costs_the_floor_per_reference_length(axis, spacing_mm):
    assert ANISOTROPIC.factors_kji == (1, 1, 1)
    distance = DensityFronts(ANISOTROPIC).positive(CENTRE)
    line = np.moveaxis(distance, axis, 0)[:, *np.delete(CENTRE[0], axis)]
    # The click's own neighbours are part of it, so the way is one step shorter.
    steps = np.maximum(np.abs(np.arange(line.size) - CENTRE[0, axis]) - 1, 0)
    np.testing.assert_allclose(
        line, PATH_FLOOR * steps * spacing_mm / 3.0 / FIRST_BUDGET, rtol=1e-4, atol=1e-6
    )


def test_a_correction_has_the_smaller_budget():
    first = DensityFronts(ANISOTROPIC).positive(CENTRE)
    far = np.array([[24, 28, 47]])
    both = DensityFronts(ANISOTROPIC).positive(np.concatenate([far, CENTRE]))
    near = tuple(CENTRE[0] + (0, 0, 4))
    assert both[near] == pytest.approx(first[near] * FIRST_BUDGET / CORRECTION_BUDGET, rel=1e-4)


def test_a_front_ends_at_its_reach():
    array = UNIFORM.copy()
    array[:, :, 20:] = 400.0
    distance = DensityFronts(region_of(array, (3.0, 3.0, 3.0))).positive(CENTRE)
    assert distance.max() == REACH
    assert distance[tuple(CENTRE[0])] == 0.0
    assert (distance[:, :, 30:] == REACH).all()


def test_a_negative_click_speaks_for_its_surroundings_only():
    array = UNIFORM.copy()
    array[:, :, 30:] = 400.0
    fronts = DensityFronts(region_of(array, (3.0, 3.0, 3.0)))
    positive = fronts.positive(CENTRE)
    click = np.array([12, 14, 24])
    away_mm = distances_mm(click, array.shape, 3.0 * np.eye(3))
    depth_mm = away_mm[positive >= 1].min()
    assert 15.0 < depth_mm < 24.0
    negative = fronts.negative(click[None], positive)
    assert (negative >= away_mm / (LOCALITY * depth_mm) * 0.9999).all()
    # Without that limit the click would take all that is nearer to it in this uniform tissue.
    alone = fronts._distance(tuple(click), FIRST_BUDGET)
    assert alone[12, 14, 4] < 0.3
    assert negative[12, 14, 4] > 0.6


def test_without_negative_clicks_there_is_no_rival():
    fronts = DensityFronts(ANISOTROPIC)
    assert fronts.negative(np.zeros((0, 3), np.intp), fronts.positive(CENTRE)) is None


def test_a_cross_stays_inside_the_array():
    assert len(cross((1, 1, 1), (3, 3, 3))) == 7
    assert sorted(map(tuple, cross((0, 0, 2), (1, 3, 3)))) == [(0, 0, 1), (0, 0, 2), (0, 1, 2)]
