"""Clicks on masks that were made otherwise change what they point at and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from NASAM3DLib.progress import no_progress
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.continued import continued
from NASAM3DLib.segment.mask import Mask
from NASAM3DLib.segment.prompts import Prompts
from NASAM3DLib.segment.segmenter import make_segmenter
from NASAM3DLib.worker.jobs import Session
from NASAM3DLib.worker.mask_parts import occupied_part, with_base
from NASAM3DLib.worker.payloads import pack_prompts, pack_volume, unpack_mask

GRID = VolumeGrid.centred((40, 40, 40), 2.0)
FIRST_RAS, SECOND_RAS = (-18.0, 0.0, 0.0), (18.0, 0.0, 0.0)
RADIUS_MM = 11.0


def ball(centre_ras: tuple[float, float, float]) -> np.ndarray:
    """Voxels of a ball."""
    k, j, i = np.indices(GRID.shape_kji)
    offset = GRID.to_ras(np.stack([i, j, k], axis=-1)) - centre_ras
    return np.asarray(np.linalg.norm(offset, axis=-1) < RADIUS_MM)


def predict(prompts: Prompts) -> Mask:
    """An engine that knows two balls and gives those with more clicks on them than beside."""
    array = np.zeros(GRID.shape_kji, dtype=bool)
    for centre in (FIRST_RAS, SECOND_RAS):
        body = ball(centre)
        k, j, i = prompts.voxels(GRID).T
        votes = np.where(prompts.labels == 1, 1, -1)[body[k, j, i]].sum()
        array |= body & bool(votes > 0)
    return Mask(array, GRID)


def test_without_clicks_the_mask_stays() -> None:
    base = Mask(ball(FIRST_RAS), GRID)
    np.testing.assert_array_equal(continued(base, Prompts(), predict).array, base.array)


def test_a_positive_click_adds_what_it_shows() -> None:
    base = Mask(ball(FIRST_RAS), GRID)
    after = continued(base, Prompts().with_point(SECOND_RAS), predict)
    np.testing.assert_array_equal(after.array, ball(FIRST_RAS) | ball(SECOND_RAS))


def test_a_negative_click_takes_away_what_it_shows_and_no_more() -> None:
    by_hand = np.zeros(GRID.shape_kji, dtype=bool)
    by_hand[5, 5, 5] = True
    base = Mask(ball(FIRST_RAS) | ball(SECOND_RAS) | by_hand, GRID)
    after = continued(base, Prompts().with_point(SECOND_RAS, positive=False), predict)
    np.testing.assert_array_equal(after.array, ball(FIRST_RAS) | by_hand)


def test_clicks_that_agree_with_the_mask_change_nothing() -> None:
    base = Mask(ball(FIRST_RAS), GRID)
    prompts = Prompts().with_point(FIRST_RAS).with_point(SECOND_RAS, positive=False)
    np.testing.assert_array_equal(continued(base, prompts, predict).array, base.array)


def test_nothing_changes_outside_the_box() -> None:
    base = Mask(ball(FIRST_RAS), GRID)
    box = np.array([[10.0, -30.0, -30.0], [20.0, 30.0, 30.0]])
    prompts = Prompts([SECOND_RAS], [1], box)
    after = continued(base, prompts, predict).array
    inside = prompts.inside_box(GRID)
    np.testing.assert_array_equal(after[~inside], base.array[~inside])
    np.testing.assert_array_equal(after[inside], ball(SECOND_RAS)[inside])


def test_every_click_is_agreed_with_even_if_the_engine_does_not() -> None:
    base = Mask(ball(FIRST_RAS), GRID)
    prompts = Prompts().with_point(SECOND_RAS).with_point(FIRST_RAS, positive=False)
    nothing = Mask(np.zeros(GRID.shape_kji, dtype=bool), GRID)
    after = continued(base, prompts, lambda _: nothing)
    k, j, i = prompts.voxels(GRID).T
    assert after.array[k, j, i].tolist() == [True, False]
    assert (after.array != base.array).sum() == 2


def test_a_click_outside_the_volume_is_refused() -> None:
    base = Mask(ball(FIRST_RAS), GRID)
    with pytest.raises(ValueError, match="lies outside the volume"):
        continued(base, Prompts().with_point((500.0, 0.0, 0.0)), predict)


def test_the_built_in_engine_takes_a_leak_away() -> None:
    lesion, leak = ball(FIRST_RAS), ball(SECOND_RAS)
    array = np.where(lesion | leak, 90.0, 0.0).astype(np.float32)
    array += np.random.default_rng(1).normal(0.0, 5.0, array.shape).astype(np.float32)
    engine = make_segmenter()
    engine.set_volume(Volume(array, GRID, "HU"))
    base = Mask(lesion | leak, GRID)
    after = continued(base, Prompts().with_point(SECOND_RAS, positive=False), engine.predict)
    assert (after.array & lesion).sum() == lesion.sum(), "the lesion is not touched"
    assert (after.array & leak).sum() < 0.1 * leak.sum()


def test_the_worker_corrects_the_mask_that_comes_with_the_clicks() -> None:
    lesion, leak = ball(FIRST_RAS), ball(SECOND_RAS)
    volume = Volume(np.where(lesion | leak, 90.0, 0.0).astype(np.float32), GRID, "HU")
    session = Session()
    held = session.set_volume(pack_volume("set_volume", volume), no_progress).fields["volume_id"]
    prompts = Prompts().with_point(SECOND_RAS, positive=False)
    request = pack_prompts("predict", prompts, volume_id=held)
    answer = session.predict(with_base(request, occupied_part(lesion | leak)), no_progress)
    after = unpack_mask(answer) > 0
    assert (after & lesion).sum() == lesion.sum()
    assert (after & leak).sum() < 0.1 * leak.sum()
    assert answer.fields["n_voxels"] == after.sum()
