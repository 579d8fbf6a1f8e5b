from __future__ import annotations

import numpy as np
import pytest

from NASAM3DLib.evaluate.compare import compare_masks, compare_volumes
from NASAM3DLib.evaluate.evaluate import evaluate
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.mask import Mask
from NASAM3DLib.segment.prompts import Prompts

GRID = VolumeGrid.centred((12, 12, 12), 2.0)


@pytest.fixture
def truth() -> Volume:
    rng = np.random.default_rng(4)
    return Volume(rng.uniform(-100, 100, GRID.shape_kji).astype(np.float32), GRID, "HU")


def cube(start: int, size: int = 4) -> Mask:
    array = np.zeros(GRID.shape_kji, dtype=bool)
    array[4:8, 4:8, start : start + size] = True
    return Mask(array, GRID)


def test_volume_table_has_the_known_figures(truth: Volume) -> None:
    brighter = Volume(truth.array + 30.0, GRID, "HU")
    table = compare_volumes({"brighter": brighter, "same": truth}, truth)
    name, quality, similarity, error, bias = table.rows[0]
    assert name == "brighter"
    # 20 log10(3000 / 30) = 40 dB
    assert (quality, error, bias) == pytest.approx((40.0, 30.0, 30.0), rel=1e-4)
    assert isinstance(similarity, float)
    assert 0.5 < similarity < 1.0
    assert table.rows[1][1:] == (float("inf"), 1.0, 0.0, 0.0)
    assert "3000 HU" in table.caption


def test_attenuation_is_compared_in_hu(truth: Volume) -> None:
    table = compare_volumes({"mu": truth.to_attenuation()}, truth)
    error = table.rows[0][3]
    assert isinstance(error, float)
    assert error < 0.01


def test_reference_of_finer_and_smaller_grid_is_compared_where_both_exist(truth: Volume) -> None:
    small = VolumeGrid.centred((20, 20, 20), 1.0)
    # A constant, so that interpolation changes nothing.
    reference = Volume(np.full(small.shape_kji, 50.0, np.float32), small, "HU")
    volume = Volume(np.full(GRID.shape_kji, 60.0, np.float32), GRID, "HU")
    table = compare_volumes({"volume": volume}, reference)
    assert table.rows[0][3:] == pytest.approx((10.0, 10.0))


def test_volumes_of_different_places_are_refused(truth: Volume) -> None:
    far = VolumeGrid.centred(GRID.shape_kji, 2.0, centre_ras=(500.0, 0.0, 0.0))
    with pytest.raises(ValueError, match=r"'far' and the reference do not overlap in space"):
        compare_volumes({"far": Volume(truth.array, far, "HU")}, truth)


def test_mask_table_has_the_known_figures() -> None:
    table = compare_masks(
        {"shifted": cube(5), "missed": Mask(~cube(4).array & False, GRID)}, cube(4)
    )
    name, overlap, jaccard, distance, _, volume_ml = table.rows[0]
    assert name == "shifted"
    # 4 of 5 columns overlap; shifted by one voxel of 2 mm; 64 voxels of 8 mm3.
    assert overlap == pytest.approx(0.75)
    assert jaccard == pytest.approx(0.6)
    assert distance == pytest.approx(2.0)
    assert volume_ml == pytest.approx(0.512)
    assert table.rows[1] == ("missed", 0.0, 0.0, None, None, 0.0)
    assert "0.5 ml" in table.caption


def test_one_call_gives_tables_and_pictures(truth: Volume) -> None:
    blurred = Volume(truth.array * 0.5, GRID, "HU")
    case = evaluate(
        {"blurred": blurred},
        truth,
        masks={"result": cube(5)},
        reference_mask=cube(4),
        prompts=Prompts(np.zeros((1, 3)), np.array([1])),
    )
    assert set(case.tables) == {"volumes", "masks"}
    assert [picture.name for picture in case.pictures] == ["comparison", "masks"]
    assert all(picture.png.startswith(b"\x89PNG") for picture in case.pictures)


def test_masks_alone_are_enough() -> None:
    case = evaluate({}, masks={"result": cube(5)}, reference_mask=cube(4))
    assert set(case.tables) == {"masks"}
    assert case.pictures == ()


def test_nothing_to_compare_is_said(truth: Volume) -> None:
    with pytest.raises(ValueError, match="nothing to compare: give volumes and a reference"):
        evaluate({"alone": truth}, masks={"result": cube(5)})
