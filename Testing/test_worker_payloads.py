"""Scans, volumes, points and masks come out of a message as they went in."""

from __future__ import annotations

import io

import numpy as np
import pytest

from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.geometry import ConeBeamGeometry
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.orbit import CircularOrbit
from NASAM3DLib.scan.projections import ProjectionSet
from NASAM3DLib.segment.mask import Mask
from NASAM3DLib.segment.prompts import Prompts
from NASAM3DLib.worker.jobs import Session
from NASAM3DLib.worker.mask_parts import (
    occupied_part,
    pack_attention,
    unpack_base,
    with_base,
)
from NASAM3DLib.worker.payloads import (
    content_id,
    pack_mask,
    pack_projections,
    pack_prompts,
    pack_volume,
    receive_volume,
    unpack_mask,
    unpack_projections,
    unpack_prompts,
    unpack_volume,
)
from NASAM3DLib.worker.protocol import Message, read_message, write_message
from NASAM3DLib.worker.requested import display_window

OBLIQUE = np.array(
    [[0.0, -2.0, 0.0, 5.0], [1.0, 0.0, 0.0, -3.0], [0.0, 0.0, 3.0, 7.0], [0, 0, 0, 1]]
)
GRID = VolumeGrid((4, 5, 6), OBLIQUE)


def travelled(message: Message) -> Message:
    """The message as it arrives."""
    stream = io.BytesIO()
    write_message(stream, message)
    stream.seek(0)
    arrived = read_message(stream)
    assert arrived is not None
    return arrived


def a_scan() -> ProjectionSet:
    """A tilted scan with a shifted detector."""
    orbit = CircularOrbit(
        np.linspace(0, 3, 7),
        (0.8, 0.4),
        source_to_isocenter_mm=500.0,
        source_to_detector_mm=900.0,
        detector_offset_mm=(1.0, -2.0),
        detector_tilt_rad=(0.01, 0.02, 0.03),
        isocenter_ras=(1.0, 2.0, 3.0),
    )
    geometry = ConeBeamGeometry.circular(orbit, (3, 5))
    values = np.random.default_rng(2).random(geometry.projections_shape, dtype=np.float32)
    return ProjectionSet(values, geometry)


def a_volume(quantity: str = "HU") -> Volume:
    """A small oblique volume."""
    values = np.random.default_rng(4).normal(size=GRID.shape_kji).astype(np.float32)
    return Volume(values, GRID, quantity, np.abs(values))  # type: ignore[arg-type]


@pytest.mark.parametrize("with_orbit", [True, False])
def test_a_scan_travels_with_its_poses_and_its_orbit(with_orbit: bool) -> None:
    scan = a_scan()
    geometry = scan.geometry
    if not with_orbit:
        geometry = ConeBeamGeometry(
            geometry.sources_ras,
            geometry.detector_centres_ras,
            geometry.detector_u_ras,
            geometry.detector_v_ras,
            geometry.detector_shape,
        )
        scan = ProjectionSet(scan.projections, geometry)
    got = unpack_projections(travelled(pack_projections(scan)))
    np.testing.assert_array_equal(got.projections, scan.projections)
    np.testing.assert_array_equal(got.geometry.detector_u_ras, geometry.detector_u_ras)
    assert (got.geometry.orbit is not None) == with_orbit
    if got.geometry.orbit is not None:
        again = ConeBeamGeometry.circular(got.geometry.orbit, (3, 5))
        np.testing.assert_allclose(again.detector_v_ras, geometry.detector_v_ras, atol=1e-12)
        np.testing.assert_allclose(
            again.detector_centres_ras, geometry.detector_centres_ras, atol=1e-9
        )


def test_a_volume_travels_with_grid_quantity_and_uncertainty() -> None:
    volume = a_volume("attenuation")
    message = travelled(pack_volume("result", volume, report={"method": "tv"}))
    got = unpack_volume(message)
    np.testing.assert_array_equal(got.array, volume.array)
    assert volume.uncertainty is not None
    assert got.uncertainty is not None
    np.testing.assert_array_equal(got.uncertainty, volume.uncertainty)
    assert got.grid.same_as(GRID)
    assert (got.quantity, message.fields["report"]) == ("attenuation", {"method": "tv"})


def test_a_result_is_received_without_looking_at_its_voxels() -> None:
    volume = a_volume("attenuation")
    message = travelled(pack_volume("result", volume))
    message.arrays["volume"][0, 0, 0] = np.nan
    got = receive_volume(message)
    assert got.array is message.arrays["volume"]
    assert got.uncertainty is message.arrays["uncertainty"]
    assert (got.quantity, got.grid.same_as(GRID)) == ("attenuation", True)
    message.fields["grid"]["shape_kji"] = [4, 5, 7]
    with pytest.raises(ValueError, match=r"the shape \(4, 5, 7\), got \(4, 5, 6\)"):
        receive_volume(message)


@pytest.mark.parametrize("box", [None, np.array([[0.0, 0, 0], [1, 2, 3]])])
def test_prompts_travel_in_order(box: np.ndarray | None) -> None:
    prompts = Prompts(np.arange(9.0).reshape(3, 3), np.array([1, 0, 1]), box)
    prompts = prompts.with_scribble([[1, 2, 3], [4, 5, 6]], positive=False)
    message = travelled(pack_prompts("predict", prompts, volume_id="x"))
    got = unpack_prompts(message)
    np.testing.assert_array_equal(got.points_ras, prompts.points_ras)
    np.testing.assert_array_equal(got.scribbles, [-1, -1, -1, 0, 0])
    assert got.labels.tolist() == [1, 0, 1, 0, 0]
    assert (got.box_ras is None) == (box is None)
    assert message.fields["volume_id"] == "x"


@pytest.mark.parametrize(
    "inside", [(), ((0, 0, 0),), ((3, 4, 5),), ((1, 2, 3), (2, 2, 4), (0, 3, 1))]
)
def test_a_mask_travels_as_its_occupied_box(inside: tuple[tuple[int, int, int], ...]) -> None:
    array = np.zeros(GRID.shape_kji, dtype=bool)
    for voxel in inside:
        array[voxel] = True
    message = travelled(pack_mask("result", Mask(array, GRID)))
    np.testing.assert_array_equal(unpack_mask(message), array)
    assert message.arrays["mask"].size <= array.size // 2 or len(inside) > 1


def test_a_mask_that_does_not_fit_is_refused() -> None:
    fields = {"shape_kji": [2, 2, 2], "offset_kji": [1, 0, 0]}
    with pytest.raises(ValueError, match="does not fit into a volume of shape"):
        unpack_mask(Message("result", fields, {"mask": np.ones((2, 1, 1), bool)}))


@pytest.mark.parametrize(
    ("message", "missing"),
    [
        (Message("set_volume", {"grid": GRID.to_dict()}), "array 'volume'"),
        (Message("set_volume"), "field 'grid'"),
        (Message("predict", {}, {"labels": np.zeros(0)}), "array 'points_ras'"),
        (Message("reconstruct"), "array 'projections'"),
        (Message("reconstruct", {}, {"projections": np.zeros((1, 1, 1))}), "field 'geometry'"),
    ],
)
def test_what_is_missing_is_named(message: Message, missing: str) -> None:
    unpack = {
        "set_volume": unpack_volume,
        "predict": unpack_prompts,
        "reconstruct": unpack_projections,
    }[message.kind]
    with pytest.raises(ValueError, match=f"needs an {missing}|needs a {missing}"):
        unpack(message)


def test_projections_of_a_wrong_shape_are_refused() -> None:
    message = pack_projections(a_scan())
    flat = {**message.arrays, "projections": np.zeros((3, 5), np.float32)}
    with pytest.raises(ValueError, match=r"\(n_views, n_rows, n_cols\), got \(3, 5\)"):
        unpack_projections(Message("reconstruct", message.fields, flat))


def test_the_content_decides_about_the_id() -> None:
    volume = a_volume()
    assert content_id(volume) == content_id(a_volume())
    changed = volume.array.copy()
    changed[0, 0, 0] += 1
    shifted = VolumeGrid(GRID.shape_kji, OBLIQUE + np.eye(4, k=3))
    others = [
        Volume(changed, GRID, "HU"),
        Volume(volume.array, GRID, "attenuation"),
        Volume(volume.array, shifted, "HU"),
        Volume(volume.array, GRID, "HU", np.ones_like(volume.array)),
    ]
    assert len({content_id(v) for v in [volume, *others]}) == 5


def test_an_attention_map_travels_as_the_box_that_it_fills() -> None:
    attention = np.zeros(GRID.shape_kji, dtype=np.float32)
    attention[1, 1:3, 2] = (0.5, 1.0)
    answer = pack_attention(attention, GRID)
    np.testing.assert_array_equal(answer.arrays["attention"], [[[128], [255]]])
    place = np.array(answer.fields["ijk_to_ras"])
    np.testing.assert_allclose(place @ [0, 1, 0, 1], GRID.ijk_to_ras @ [2, 2, 1, 1])
    assert not pack_attention(None, GRID).arrays
    assert not pack_attention(np.zeros(GRID.shape_kji, np.float32), GRID).arrays


def test_the_mask_that_clicks_correct_travels_with_them() -> None:
    array = np.zeros(GRID.shape_kji, dtype=bool)
    array[1:3, 0, 1:] = True
    request = with_base(pack_prompts("predict", Prompts(), volume_id="v"), occupied_part(array))
    assert request.arrays["base"].shape == (2, 1, GRID.shape_kji[2] - 1)
    received = unpack_base(travelled(request), GRID)
    np.testing.assert_array_equal(received.array, array)
    assert received.grid is GRID
    bare = with_base(pack_prompts("predict", Prompts(), volume_id="v"), None)
    assert unpack_base(bare, GRID) is None
    other = array.copy()
    other[1, 0, 1] = False
    assert occupied_part(array).key != occupied_part(other).key == occupied_part(other).key
    with pytest.raises(ValueError, match="does not fit into a volume"):
        unpack_base(request, VolumeGrid.centred((2, 2, 2), 1.0))


def test_a_body_is_shown_in_the_soft_tissue_window_in_either_unit() -> None:
    body = np.full(GRID.shape_kji, -1000.0, dtype=np.float32)
    body[1:3] = 40.0
    in_hu = Volume(body, GRID, "HU")
    assert display_window(in_hu) == (-160.0, 240.0)
    low, high = display_window(in_hu.to_attenuation())
    assert low == pytest.approx(0.0206 * 0.84, rel=1e-2)
    assert high == pytest.approx(0.0206 * 1.24, rel=1e-2)


def test_an_uncalibrated_volume_is_shown_from_percentile_to_percentile() -> None:
    values = np.linspace(5e4, 6e4, 120)
    window = display_window(Volume(values.reshape(GRID.shape_kji), GRID, "HU"))
    assert window == pytest.approx((5.01e4, 5.99e4), rel=1e-3)
    flat = Volume(np.full(GRID.shape_kji, 9e4, np.float32), GRID, "HU")
    assert display_window(flat) == (9e4 - 0.5, 9e4 + 0.5)


def test_a_prediction_on_an_unknown_volume_is_refused() -> None:
    session = Session()
    prompts = Prompts(np.zeros((1, 3)), np.array([1]))
    for known in (False, True):
        if known:
            session.set_volume(pack_volume("set_volume", a_volume()), lambda *_: None)
        request = pack_prompts("predict", prompts, volume_id="another")
        with pytest.raises(RuntimeError, match="does not hold the volume that was clicked on"):
            session.predict(request, lambda *_: None)


def test_there_is_nothing_to_undo_before_a_prediction() -> None:
    session = Session()
    got = session.set_volume(pack_volume("set_volume", a_volume()), lambda *_: None)
    with pytest.raises(RuntimeError, match="nothing to take back"):
        session.undo(Message("undo", got.fields), lambda *_: None)
