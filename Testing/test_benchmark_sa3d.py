"""The mask grid fitted to masks of single views: its minimum, its hull, its answers to clicks."""

from __future__ import annotations

import numpy as np
import pytest

from NASAM3DLib.benchmark.comparators.sa3d import METHODS
from NASAM3DLib.benchmark.inverse_rendering import (
    InverseRenderingSegmenter,
    RenderingSettings,
    agreeing_views,
    mask_grid,
    mask_in_view,
)
from NASAM3DLib.benchmark.views import scan_of
from NASAM3DLib.evaluate.clicks import click_session
from NASAM3DLib.evaluate.metrics import dice
from NASAM3DLib.reconstruct.projector import Projector
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.mask import Mask
from NASAM3DLib.segment.prompts import Prompts

GRID = VolumeGrid.centred((24, 24, 24), 3.0)


def ball(radius: float, centre: tuple[float, float, float] = (11.5, 11.5, 11.5)) -> np.ndarray:
    k, j, i = np.ogrid[:24, :24, :24]
    return (k - centre[0]) ** 2 + (j - centre[1]) ** 2 + (i - centre[2]) ** 2 < radius**2


@pytest.fixture(scope="module")
def projector() -> Projector:
    turn = scan_of(GRID, 24)
    return Projector(GRID, turn.select(np.arange(12)))


def loss(projector: Projector, grid: np.ndarray, masks: np.ndarray, weights: np.ndarray) -> float:
    """SA3D's loss as written, with lambda = 2."""
    rendered = projector.forward(weights * grid).astype(np.float64)
    return float(-(masks * rendered).sum() + 2 * ((1 - masks) * rendered).sum())


def test_the_grid_is_the_minimum_of_the_loss(projector: Projector):
    rng = np.random.default_rng(0)
    masks = rng.random(projector.geometry.projections_shape) < 0.6
    weights = rng.random(GRID.shape_kji).astype(np.float32)
    found = mask_grid(projector, masks, weights, outside_weight=2.0)
    least = loss(projector, found, masks, weights)
    for _ in range(10):
        other = np.clip(found + rng.normal(0, 0.5, found.shape), 0, 1)
        assert loss(projector, other, masks, weights) > least
    single = found.copy()
    k, j, i = np.argwhere(found)[3]
    single[k, j, i] = False
    assert loss(projector, single, masks, weights) > least


def test_descent_through_the_projector_ends_where_the_closed_form_says(projector: Projector):
    shadow = projector.forward(ball(6).astype(np.float32)) > 1.0
    weights = np.ones(GRID.shape_kji, dtype=np.float32)
    found = mask_grid(projector, shadow, weights, outside_weight=2.0)
    grid = np.full(GRID.shape_kji, 0.5, dtype=np.float32)
    for _ in range(200):
        gradient = projector.adjoint(2.0 * (1 - shadow) - shadow)
        grid = np.clip(grid - 0.01 * gradient, 0, 1)
    decided = (grid == 0) | (grid == 1)
    assert decided.mean() > 0.99
    np.testing.assert_array_equal(grid[decided] > 0.5, found[decided])


def test_true_shadows_of_a_ball_give_the_ball(projector: Projector):
    truth = ball(6)
    # Rays that run half a voxel (3 mm) or more through the ball.
    shadow = projector.forward(truth.astype(np.float32)) > 1.5
    weights = np.ones(GRID.shape_kji, dtype=np.float32)
    found = mask_grid(projector, shadow, weights, outside_weight=5.0)
    # One voxel of the radius more would be 0.77; half a turn leaves the poles open.
    assert dice(Mask(found, GRID), Mask(truth, GRID)) > 0.8
    # What is of another density gets no mask, whatever the views say.
    weights[:12] = 0
    assert not mask_grid(projector, shadow, weights, outside_weight=5.0)[:12].any()


def test_heavier_outsides_shrink_the_mask(projector: Projector):
    shadow = projector.forward(ball(6).astype(np.float32)) > 1.0
    weights = np.ones(GRID.shape_kji, dtype=np.float32)
    grids = [mask_grid(projector, shadow, weights, outside_weight=w) for w in (0.5, 2.0, 8.0)]
    assert not (grids[1] & ~grids[0]).any()
    assert not (grids[2] & ~grids[1]).any()
    assert grids[0].sum() > grids[2].sum()


def test_views_that_disagree_are_found():
    rendered = np.zeros((2, 6, 6), dtype=np.float32)
    rendered[:, 1:4, 1:4] = 1.0
    masks = np.zeros((2, 6, 6), dtype=bool)
    masks[0, 1:4, 1:4] = True
    masks[1, 3:6, 3:6] = True
    assert agreeing_views(rendered, masks).tolist() == [True, False]


def test_the_mask_of_a_view_holds_the_click_and_stays_off_the_border():
    image = np.zeros((20, 20), dtype=np.float32)
    image[6:14, 6:14] = 1.0
    inside = np.array([[9, 9]])
    found = mask_in_view(image, inside, np.zeros((0, 2), dtype=np.intp), beta=300.0)
    assert found[9, 9]
    assert found[6:14, 6:14].mean() > 0.9
    assert found[image == 0].mean() < 0.1
    less = mask_in_view(image, inside, np.array([[9, 12]]), beta=300.0)
    assert not less[9, 12]
    assert less.sum() < found.sum()


def test_clicks_on_a_ball_find_it_and_are_obeyed():
    truth = ball(6, (12, 11, 11))
    rng = np.random.default_rng(0)
    array = np.where(truth, 300.0, 0.0) + rng.normal(0, 5, truth.shape)
    volume = Volume(array.astype(np.float32), GRID, "HU")
    segmenter = METHODS[0].make()
    session = click_session(segmenter, volume, target=Mask(truth, GRID), n_clicks=3)
    dices = [record.dice for record in session.records]
    assert dices[0] > 0.5
    assert dices[-1] > max(dices[0], 0.65)
    for n, mask in enumerate(session.masks, 1):
        clicks = Prompts(session.prompts.points_ras[:n], session.prompts.labels[:n])
        assert mask.disagreements(clicks) == []


def test_there_must_be_a_volume():
    with pytest.raises(RuntimeError, match="call set_volume first"):
        InverseRenderingSegmenter(RenderingSettings(n_views=4)).predict(Prompts())
