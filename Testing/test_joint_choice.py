"""The mask that joint refinement returns: what must agree before a voxel changes."""

from __future__ import annotations

import numpy as np
import pytest

from NASAM3DLib.joint.choice import LATER_SHARE, LEAST_SURE, LOCAL_MM, joint_mask
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.mask import Mask
from NASAM3DLib.segment.prompts import Prompts

SHAPE = (10, 6, 6)
GRID = VolumeGrid.centred(SHAPE, 2.0)
CLICK = Prompts().with_point(tuple(GRID.to_ras((2.5, 2.5, 0.0))))
Soft = tuple[Mask, np.ndarray]


def planes(n: int, sureness: float, grid: VolumeGrid = GRID) -> Soft:
    """Give the first planes as a mask, and its probability."""
    array = np.zeros(SHAPE, dtype=bool)
    array[:n] = True
    soft = np.where(array, 0.5 + sureness, 0.5 - sureness).astype(np.float32)
    return Mask(array, grid), soft


def body(n: int, grid: VolumeGrid = GRID) -> Volume:
    """Give a volume that is dense in the first planes."""
    array = np.full(SHAPE, 0.018, dtype=np.float32)
    array[:n] = 0.02
    return Volume(array, grid)


def test_a_mask_grows_and_shrinks_to_a_surer_later_one() -> None:
    for n_before, n_later in ((4, 6), (6, 4)):
        mask = joint_mask(planes(n_before, 0.1), planes(n_later, 0.4), body(n_later), CLICK)
        np.testing.assert_array_equal(mask.array, planes(n_later, 0.4)[0].array)


def test_the_later_must_be_as_much_surer_as_it_weighs_less() -> None:
    before = planes(4, 0.2)
    even = 0.2 * (1 - LATER_SHARE) / LATER_SHARE
    assert joint_mask(before, planes(6, 0.99 * even), body(6), CLICK) is before[0]
    assert joint_mask(before, planes(6, 1.01 * even), body(6), CLICK) is not before[0]


def test_an_unsure_later_mask_changes_nothing() -> None:
    before = planes(4, 0.01)
    assert joint_mask(before, planes(6, 0.99 * LEAST_SURE), body(6), CLICK) is before[0]
    assert joint_mask(before, planes(6, 1.01 * LEAST_SURE), body(6), CLICK) is not before[0]


def test_the_volume_must_agree() -> None:
    before, later = planes(4, 0.1), planes(7, 0.4)
    assert joint_mask(before, later, body(4), CLICK) is before[0]
    # One plane of three.
    mask = joint_mask(before, later, body(5), CLICK)
    np.testing.assert_array_equal(mask.array, planes(5, 0.4)[0].array)
    assert joint_mask(planes(7, 0.1), planes(4, 0.4), body(7), CLICK).n_voxels == 7 * 36


def test_what_the_volume_says_is_local() -> None:
    # Density drifts along the object more than it changes at the surface.
    grid = VolumeGrid.centred(SHAPE, LOCAL_MM)
    volume = body(6, grid)
    drift = np.linspace(0, 0.02, SHAPE[2], dtype=np.float32)
    click = Prompts().with_point(tuple(grid.to_ras((2.5, 2.5, 0.0))))
    drifting = Volume(volume.array + drift, grid)
    mask = joint_mask(planes(5, 0.1, grid), planes(6, 0.4, grid), drifting, click)
    assert mask.n_voxels > 5.5 * 36


@pytest.mark.parametrize("factor", [-3.0, 0.1])
def test_scale_offset_and_sign_of_the_volume_do_not_matter(factor: float) -> None:
    volume = body(5)
    other = Volume(volume.array * np.float32(factor) + np.float32(0.1), GRID)
    before, later = planes(4, 0.1), planes(7, 0.4)
    np.testing.assert_array_equal(
        joint_mask(before, later, other, CLICK).array,
        joint_mask(before, later, volume, CLICK).array,
    )


def test_agreeing_masks_and_engines_without_probabilities_change_nothing() -> None:
    before = planes(4, 0.2)
    assert joint_mask(before, planes(4, 0.4), body(6), CLICK) is before[0]
    plain = before[0], before[0].array.astype(np.float32)
    assert joint_mask(plain, planes(6, 0.5), body(6), CLICK) is before[0]


def test_without_a_common_inside_there_is_no_evidence() -> None:
    before = planes(0, 0.1)
    assert joint_mask(before, planes(6, 0.4), body(6), CLICK) is before[0]


def test_the_changed_mask_agrees_with_every_click() -> None:
    against = CLICK.with_point(tuple(GRID.to_ras((3.0, 3.0, 5.0))), positive=False)
    mask = joint_mask(planes(4, 0.1), planes(6, 0.4), body(6), against)
    assert mask.n_voxels == 6 * 36 - 1
    assert mask.disagreements(against) == []
    # A part without a positive click is not kept.
    array = planes(4, 0.4)[0].array.copy()
    array[8] = True
    later = Mask(array, GRID), np.where(array, 0.9, 0.1).astype(np.float32)
    dense = Volume(np.where(array, 0.02, 0.018).astype(np.float32), GRID)
    assert not joint_mask(planes(4, 0.1), later, dense, CLICK).array[8].any()
