"""The strip of small views."""

from __future__ import annotations

import numpy as np
import pytest

from NASAM3DLib.worker.thumbnails import GAP, HEIGHT, N_PICTURES, WIDEST, thumbnail_strip


def test_the_strip_shows_views_from_the_first_to_the_last_on_one_scale() -> None:
    projections = np.zeros((41, 112, 112), dtype=np.float32)
    projections += np.linspace(0.0, 4.0, 41, dtype=np.float32)[:, None, None]
    strip = thumbnail_strip(projections)
    assert strip.shape == (HEIGHT, N_PICTURES * HEIGHT + (N_PICTURES - 1) * GAP)
    middle = strip[HEIGHT // 2, HEIGHT // 2 :: HEIGHT + GAP].astype(int)
    np.testing.assert_allclose(middle, [0, 64, 128, 191, 255], atol=3)


def test_the_lowest_row_of_the_detector_is_at_the_foot() -> None:
    projections = np.zeros((1, 60, 30), dtype=np.float32)
    projections[:, :30] = 1.0
    strip = thumbnail_strip(projections)
    assert strip[-1].min() == 255
    assert strip[0].max() == 0


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 400, 10), (9, 10, 4000)])
def test_any_shape_fits_into_the_strip(shape: tuple[int, int, int]) -> None:
    projections = np.random.default_rng(0).random(shape, dtype=np.float32)
    projections.flat[0] = np.nan
    height, width = thumbnail_strip(projections).shape
    assert height <= HEIGHT
    assert width <= N_PICTURES * WIDEST + (N_PICTURES - 1) * GAP
