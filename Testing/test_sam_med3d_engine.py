"""The engine sam-med3d: agreement, undo, large structures, guidance, misuse."""

from __future__ import annotations

import time

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from clicked_objects import clicks, dice, distance_from, volume_of  # noqa: E402
from sam_med3d_numpy import TINY  # noqa: E402
from sam_med3d_scene import BALL, GRID, THREE, VOLUME, tiny_predictor  # noqa: E402

from NASAM3DLib.progress import Cancelled  # noqa: E402
from NASAM3DLib.reconstruct.volume import Volume  # noqa: E402
from NASAM3DLib.scan.grid import VolumeGrid  # noqa: E402
from NASAM3DLib.segment.mask import Mask  # noqa: E402
from NASAM3DLib.segment.prompts import Prompts  # noqa: E402
from NASAM3DLib.segment.sam_med3d.checkpoint import save_checkpoint  # noqa: E402
from NASAM3DLib.segment.sam_med3d.embedding import Embedding  # noqa: E402
from NASAM3DLib.segment.sam_med3d.engine import (  # noqa: E402
    SamMed3DOptions,
    SamMed3DSegmenter,
)
from NASAM3DLib.segment.sam_med3d.inference import Predictor  # noqa: E402
from NASAM3DLib.segment.sam_med3d.model import (  # noqa: E402
    build_sam_med3d,
    empty_sam_med3d,
    fill_parameters,
)
from NASAM3DLib.segment.sam_med3d.reference import (  # noqa: E402
    ReferenceProtocol,
    centre_click,
    evaluated_masks,
)
from NASAM3DLib.segment.sam_med3d.session import VolumeSession  # noqa: E402
from NASAM3DLib.segment.segmenter import (  # noqa: E402
    SegmentationSettings,
    available_engines,
    make_segmenter,
)

ALONE = SegmentationSettings(density_guidance=False)


@pytest.fixture(scope="module")
def predictor():
    return tiny_predictor()


def engine(predictor, settings=ALONE, **options) -> SamMed3DSegmenter:
    segmenter = SamMed3DSegmenter(settings, SamMed3DOptions(**options), predictor=predictor)
    segmenter.set_volume(VOLUME)
    return segmenter


@pytest.mark.parametrize("settings", [ALONE, SegmentationSettings()], ids=["alone", "guided"])
@pytest.mark.parametrize("extent", ["automatic", "region"])
def test_masks_agree_with_every_point(predictor, settings, extent):
    segmenter = engine(predictor, settings, extent=extent)
    mask = segmenter.predict(THREE)
    assert mask.grid is GRID
    assert mask.disagreements(THREE) == []
    probability = segmenter.last_probability()
    assert probability.shape == GRID.shape_kji
    assert probability.min() >= 0
    assert probability.max() <= 1
    attention = segmenter.last_attention()
    assert (attention is None) == (settings is ALONE)


def test_a_mask_does_not_depend_on_what_was_asked_before(predictor):
    segmenter = engine(predictor)
    first = segmenter.predict(THREE)
    segmenter.predict(clicks(((10, -2, 5), True)))
    again = segmenter.predict(THREE)
    np.testing.assert_array_equal(first.array, again.array)
    np.testing.assert_array_equal(engine(predictor).predict(THREE).array, first.array)


def test_undo_gives_the_former_mask_exactly(predictor):
    segmenter = engine(predictor, SegmentationSettings())
    one = segmenter.predict(Prompts(THREE.points_ras[:1], THREE.labels[:1]))
    segmenter.predict(THREE)
    np.testing.assert_array_equal(segmenter.undo().array, one.array)
    assert segmenter.undo() is None
    assert segmenter.undo() is None
    assert segmenter.last_probability() is None
    assert segmenter.last_attention() is None
    segmenter.predict(THREE)
    segmenter.reset()
    assert segmenter.undo() is None


class Ignorant(Predictor):
    """Knows nothing: all logits are zero."""

    def decode(self, embedding, clicks, *, low=None):
        return np.zeros((16, 16, 16), dtype=np.float32)


def test_where_the_network_knows_nothing_the_density_decides():
    segmenter = engine(Ignorant(build_sam_med3d(TINY), device="cpu"), SegmentationSettings())
    mask = segmenter.predict(clicks(((3, -2, 5), True)))
    assert dice(mask.array, BALL) > 0.75
    # sigmoid(0 + logit(A)) is A where the region was seen; beyond it nothing is believed.
    probability, attention = segmenter.last_probability(), segmenter.last_attention()
    seen = probability > 1e-6
    np.testing.assert_allclose(probability[seen], attention[seen], atol=1e-5)
    assert seen.sum() > 15_000
    assert attention.max() > 0.9


def test_uncertainty_does_not_widen_the_guidance():
    ignorant = Ignorant(build_sam_med3d(TINY), device="cpu")
    certain = engine(ignorant, SegmentationSettings())
    uncertain = SamMed3DSegmenter(SegmentationSettings(), predictor=ignorant)
    spread = np.full(GRID.shape_kji, 50, dtype=np.float32)
    uncertain.set_volume(Volume(VOLUME.array, GRID, "HU", spread))
    masks = [segmenter.predict(THREE).array for segmenter in (certain, uncertain)]
    np.testing.assert_array_equal(*masks)


class Thresholding(Predictor):
    """Sees what is bright: a stand-in for a network that works."""

    def embed(self, region):
        cells = region.image_ijk[0, 0].reshape(16, 2, 16, 2, 16, 2).mean(axis=(1, 3, 5))
        return Embedding(cells[None], region.grid, "thresholding")

    def decode(self, embedding, clicks, *, low=None):
        cells = embedding.features[0]
        return np.where(cells > 0.5 * (cells.max() + cells.min()), 8, -8).astype(np.float32)


ROD_GRID = VolumeGrid.centred((130, 60, 60), 1.5)
POINTS = ROD_GRID.to_ras(np.moveaxis(np.indices(ROD_GRID.shape_kji)[::-1], 0, -1))
ROD = (np.linalg.norm(POINTS[..., :2], axis=-1) < 12) & (np.abs(POINTS[..., 2]) < 85)
ROD_VOLUME = Volume(np.where(ROD, 300, 10).astype(np.float32), ROD_GRID, "HU")


@pytest.fixture(scope="module")
def thresholding():
    return Thresholding(build_sam_med3d(TINY), device="cpu")


@pytest.mark.parametrize(
    ("extent", "least", "most"), [("automatic", 0.95, 1), ("region", 0.3, 0.5)]
)
def test_an_object_larger_than_a_region_is_followed(thresholding, extent, least, most):
    # A region of this small network spans 48 mm, the rod 170 mm.
    segmenter = SamMed3DSegmenter(ALONE, SamMed3DOptions(extent=extent), predictor=thresholding)
    segmenter.set_volume(ROD_VOLUME)
    mask = segmenter.predict(clicks(((0, 0, 0), True)))
    assert least <= dice(mask.array, ROD) <= most


def test_a_click_far_away_is_shown_to_the_network(thresholding):
    segmenter = SamMed3DSegmenter(ALONE, predictor=thresholding)
    segmenter.set_volume(ROD_VOLUME)
    mask = segmenter.predict(clicks(((0, 0, -70), True), ((0, 0, 70), True)))
    assert dice(mask.array, ROD) > 0.95


def test_a_small_object_costs_one_embedding(thresholding):
    session = VolumeSession(thresholding, VOLUME)
    segmenter = SamMed3DSegmenter(ALONE, predictor=thresholding)
    segmenter.set_volume(volume_of((distance_from(GRID, (3, -2, 5)) < 9, 600.0), grid=GRID))
    mask = segmenter.predict(clicks(((3, -2, 5), True)))
    assert dice(mask.array, distance_from(GRID, (3, -2, 5)) < 9) > 0.85
    assert len(segmenter._session._placed) == 1
    place = session.place_around((3, -2, 5))
    assert session.place_around((3, -2, 5)) is place


def test_cancelling_leaves_no_trace(predictor):
    segmenter = engine(predictor)
    first = segmenter.predict(THREE)

    def cancel(stage: str, fraction: float) -> None:
        if fraction > 0.5:
            raise Cancelled

    other = clicks(((10, -2, 5), True))
    with pytest.raises(Cancelled):
        segmenter.predict(other, progress=cancel)
    np.testing.assert_array_equal(segmenter.predict(THREE).array, first.array)


def test_progress_never_goes_back(thresholding):
    segmenter = SamMed3DSegmenter(SegmentationSettings(), predictor=thresholding)
    segmenter.set_volume(ROD_VOLUME)
    fractions = []
    segmenter.predict(clicks(((0, 0, 0), True)), progress=lambda stage, f: fractions.append(f))
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1


def test_a_box_cuts_the_mask(predictor):
    box = np.array([[-4.0, -10.0, -2.0], [11.0, 6.0, 12.0]])
    prompts = Prompts(THREE.points_ras[:1], THREE.labels[:1], box)
    mask = engine(predictor).predict(prompts)
    k, j, i = np.nonzero(mask.array)
    points = GRID.to_ras(np.stack([i, j, k], axis=-1))
    assert ((points >= box[0]) & (points <= box[1])).all()


def test_the_references_choices_are_one_region_and_all_clicks():
    options = SamMed3DOptions.reference()
    assert (options.extent, options.memory, options.precision) == ("region", "all", "float32")


def test_misuse_is_explained(predictor, tmp_path):
    with pytest.raises(RuntimeError, match="call set_volume first"):
        SamMed3DSegmenter(ALONE, predictor=predictor).predict(THREE)
    segmenter = engine(predictor)
    with pytest.raises(ValueError, match="There is no positive point"):
        segmenter.predict(clicks(((3, -2, 5), False)))
    with pytest.raises(ValueError, match="outside the volume"):
        segmenter.predict(clicks(((500, 0, 0), True)))
    air = Volume(np.full(GRID.shape_kji, -900, np.float32), GRID, "HU")
    segmenter.set_volume(air)
    with pytest.raises(ValueError, match="use the density-guided engine"):
        segmenter.predict(THREE)
    with pytest.raises(ValueError, match='"automatic" or "region"'):
        SamMed3DOptions(extent="all")
    missing = SamMed3DSegmenter(ALONE, SamMed3DOptions(weights=tmp_path / "w.pth"))
    with pytest.raises(FileNotFoundError, match="There is no file of weights"):
        missing.set_volume(VOLUME)


def test_the_engine_is_listed_and_names_what_is_missing(tmp_path, monkeypatch):
    assert "sam-med3d" in available_engines()
    monkeypatch.setenv("NASAM3D_WEIGHTS", str(tmp_path))
    segmenter = make_segmenter("sam-med3d")
    assert segmenter.name == "sam-med3d"
    with pytest.raises(FileNotFoundError, match=r"not installed.*weights download sam-med3d-turbo"):
        segmenter.set_volume(VOLUME)


def test_weights_of_another_size_are_refused(tmp_path):
    path = tmp_path / "tiny.pth"
    save_checkpoint(build_sam_med3d(TINY), path)
    segmenter = SamMed3DSegmenter(ALONE, SamMed3DOptions(weights=path))
    with pytest.raises(ValueError, match="does not fit SAM-Med3D of this size"):
        segmenter.set_volume(VOLUME)


def test_the_references_evaluation_finds_what_a_network_sees(thresholding):
    grid = VolumeGrid.centred((40, 44, 48), (1.8, 1.6, 2.0), centre_ras=(3.0, -2.0, 5.0))
    ball = distance_from(grid, (9, 4, 0)) < 15
    volume = Volume(np.where(ball, 300, 10).astype(np.float32), grid, "HU")
    rng = np.random.default_rng(233)
    protocol = ReferenceProtocol(n_clicks=3)
    target = Mask(ball, grid)
    masks = evaluated_masks(thresholding, volume, target, draw=rng.integers, protocol=protocol)
    assert [dice(mask.array, ball) > 0.9 for mask in masks] == [True] * 3
    assert masks[0].grid is grid
    nothing = Mask(np.zeros_like(ball), grid)
    (empty,) = evaluated_masks(thresholding, volume, nothing, draw=rng.integers)
    assert empty.n_voxels == 0
    with pytest.raises(ValueError, match="must lie on the volume's grid"):
        evaluated_masks(thresholding, volume, Mask(BALL, GRID), draw=rng.integers)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        ReferenceProtocol(n_clicks=0)
    assert centre_click(128).voxels_ijk.tolist() == [[64, 64, 64]]


@pytest.mark.slow
def test_full_size_from_the_file_to_the_mask(tmp_path):
    model = fill_parameters(empty_sam_med3d().to_empty(device="cpu"))
    path = tmp_path / "turbo.pth"
    save_checkpoint(model, path)
    assert path.stat().st_size == pytest.approx(402e6, rel=0.01)
    del model
    options = SamMed3DOptions(weights=path, extent="region")
    segmenter = SamMed3DSegmenter(SegmentationSettings(), options)
    segmenter.set_volume(VOLUME)
    one = Prompts(THREE.points_ras[:1], THREE.labels[:1])
    begin = time.process_time()
    assert segmenter.predict(one).disagreements(one) == []
    middle = time.process_time()
    assert segmenter.predict(THREE).disagreements(THREE) == []
    # Two more clicks are two runs of the decoder, and no run of the encoder.
    assert time.process_time() - middle < middle - begin


@pytest.mark.parametrize("extent", ["automatic", "region"])
def test_scribbles_are_obeyed_and_a_box_alone_is_enough(predictor, extent):
    low, high = GRID.corners_ras.min(axis=0), GRID.corners_ras.max(axis=0)
    at = [low + (high - low) * share for share in (0.4, 0.5, 0.6)]
    prompts = Prompts().with_scribble([at[0], at[2]])
    prompts = prompts.with_scribble([at[0] + [9, 0, 0], at[1] + [9, 0, 0]], positive=False)
    segmenter = engine(predictor, extent=extent)
    assert segmenter.predict(prompts).disagreements(prompts) == []
    boxed = Prompts().with_box([at[0], at[2]])
    mask = segmenter.predict(boxed)
    assert mask.n_voxels
    assert not (mask.array & ~boxed.inside_box(GRID)).any()
