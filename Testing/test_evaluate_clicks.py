from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from NASAM3DLib.evaluate.clicks import centre_click, click_session, random_click
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.mask import Mask
from NASAM3DLib.segment.prompts import Prompts

GRID = VolumeGrid.centred((16, 16, 16), (1.0, 1.0, 2.0))


def mask_of(*boxes: tuple[slice, slice, slice]) -> Mask:
    array = np.zeros(GRID.shape_kji, dtype=bool)
    for box in boxes:
        array[box] = True
    return Mask(array, GRID)


TARGET = mask_of((slice(4, 11), slice(3, 10), slice(2, 9)))


class Brush:
    """Paints a cube round each positive click and wipes one round each negative click."""

    def __init__(self, half_size: int) -> None:
        self.half_size = half_size
        self.volume: Volume | None = None

    def set_volume(self, volume: Volume) -> None:
        self.volume = volume

    def predict(self, prompts: Prompts) -> Mask:
        array = np.zeros(GRID.shape_kji, dtype=bool)
        for voxel, label in zip(prompts.voxels(GRID), prompts.labels, strict=True):
            low = np.maximum(voxel - self.half_size, 0)
            array[
                tuple(slice(a, b + self.half_size + 1) for a, b in zip(low, voxel, strict=True))
            ] = label
        return Mask(array, GRID)


def kji(point_ras: np.ndarray) -> tuple[int, ...]:
    return tuple(np.rint(GRID.to_ijk(point_ras)).astype(int)[::-1].tolist())


def test_first_centre_click_is_the_middle_of_the_target() -> None:
    click = centre_click(None, TARGET)
    assert click is not None
    assert click.positive
    # The target spans k 4-10 (14 mm), j 3-9, i 2-8 (7 mm each); depth is bound by j and i, and
    # of the equally deep voxels the first along k is taken: 4 voxels below the middle plane.
    assert kji(click.point_ras) == (5, 6, 5)


def test_depth_is_in_millimetres() -> None:
    flat = mask_of((slice(6, 9), slice(2, 14), slice(2, 5)))
    click = centre_click(None, flat)
    assert click is not None
    # 3 slices of 2 mm are thicker than 3 columns of 1 mm, so any of the 3 slices is as deep.
    assert kji(click.point_ras)[2] == 3


def test_centre_click_answers_the_largest_error() -> None:
    too_little = mask_of((slice(4, 11), slice(3, 10), slice(2, 4)))
    click = centre_click(too_little, TARGET)
    assert click is not None
    assert click.positive
    assert TARGET.array[kji(click.point_ras)]
    assert not too_little.array[kji(click.point_ras)]
    too_much = mask_of((slice(4, 11), slice(3, 10), slice(2, 16)))
    click = centre_click(too_much, TARGET)
    assert click is not None
    assert not click.positive
    assert too_much.array[kji(click.point_ras)]
    assert not TARGET.array[kji(click.point_ras)]


def test_largest_component_counts_not_the_sum() -> None:
    # 3 voxels missed in one piece against 4 exceeding ones that touch through corners only.
    prediction = TARGET.array.copy()
    prediction[4, 3, 2:5] = False
    for n in range(4):
        prediction[12 + n % 2, 12, 10 + n] = True
    click = centre_click(Mask(prediction, GRID), TARGET)
    assert click is not None
    assert click.positive
    assert kji(click.point_ras) in {(4, 3, 2), (4, 3, 3), (4, 3, 4)}


def test_nothing_wrong_needs_no_centre_click() -> None:
    assert centre_click(TARGET, TARGET) is None


def test_random_clicks_fall_evenly_on_errors_with_the_right_sign() -> None:
    prediction = mask_of((slice(4, 11), slice(3, 10), slice(4, 12)))
    wrong = prediction.array ^ TARGET.array
    rng = np.random.default_rng(1)
    positives = 0
    for _ in range(400):
        click = random_click(prediction, TARGET, rng=rng)
        assert click is not None
        assert wrong[kji(click.point_ras)]
        assert click.positive == TARGET.array[kji(click.point_ras)]
        positives += click.positive
    # 2 of the 5 wrong columns are missed: 160 of 400 expected, standard deviation 9.8.
    assert abs(positives - 160) < 45


def test_random_clicks_are_repeatable_and_stay_on_the_object() -> None:
    points = [
        [random_click(previous, TARGET, rng=rng).point_ras for previous in (None, TARGET)]  # type: ignore[union-attr]
        for rng in (np.random.default_rng(5), np.random.default_rng(5))
    ]
    np.testing.assert_array_equal(points[0], points[1])
    assert all(TARGET.array[kji(point)] for point in points[0])


@pytest.mark.parametrize(
    "strategy", [centre_click, partial(random_click, rng=np.random.default_rng(2))]
)
def test_session_reports_every_click(strategy) -> None:  # type: ignore[no-untyped-def]
    volume = Volume(np.zeros(GRID.shape_kji, np.float32), GRID, "HU")
    brush = Brush(half_size=2)
    session = click_session(brush, volume, target=TARGET, n_clicks=4, strategy=strategy)
    assert brush.volume is volume
    assert [record.n_clicks for record in session.records] == [1, 2, 3, 4]
    assert len(session.masks) == len(session.prompts) == 4
    assert session.records[0].positive
    assert all(record.seconds >= 0 for record in session.records)
    assert session.records[-1].dice > session.records[0].dice


def test_session_ends_when_the_user_is_content() -> None:
    single = mask_of((slice(6, 7), slice(6, 7), slice(6, 7)))
    volume = Volume(np.zeros(GRID.shape_kji, np.float32), GRID, "HU")
    session = click_session(Brush(half_size=0), volume, target=single, n_clicks=5)
    assert [record.dice for record in session.records] == [1.0]
    assert session.records[0].hd95_mm == 0.0


def test_empty_prediction_counts_as_missed() -> None:
    class Silent(Brush):
        def predict(self, prompts: Prompts) -> Mask:
            return Mask(np.zeros(GRID.shape_kji, dtype=bool), GRID)

    volume = Volume(np.zeros(GRID.shape_kji, np.float32), GRID, "HU")
    record = click_session(Silent(1), volume, target=TARGET, n_clicks=1).records[0]
    assert record.dice == 0.0
    assert np.isnan(record.hd95_mm)


def test_impossible_sessions_are_refused() -> None:
    volume = Volume(np.zeros(GRID.shape_kji, np.float32), GRID, "HU")
    with pytest.raises(ValueError, match="target mask is empty, so there is nothing to click"):
        click_session(Brush(1), volume, target=mask_of())
    with pytest.raises(ValueError, match="at least one click, got n_clicks = 0"):
        click_session(Brush(1), volume, target=TARGET, n_clicks=0)
    other = VolumeGrid.centred(GRID.shape_kji, 1.0)
    with pytest.raises(ValueError, match=r"target must lie on the volume's grid.*resample_mask"):
        click_session(Brush(1), volume, target=Mask(TARGET.array, other))
