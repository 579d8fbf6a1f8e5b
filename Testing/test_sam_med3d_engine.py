"""The click loop, embeddings, large structures, guidance, and the engine as a whole."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from clicked_objects import clicks, dice, distance_from, sphere, volume_of  # noqa: E402
from sam_med3d_numpy import TINY, relative_l2  # noqa: E402

from NASAM3DLib.progress import Cancelled  # noqa: E402
from NASAM3DLib.reconstruct.volume import Volume  # noqa: E402
from NASAM3DLib.scan.grid import VolumeGrid  # noqa: E402
from NASAM3DLib.segment.prompts import Prompts  # noqa: E402
from NASAM3DLib.segment.sam_med3d.canonical import canonical_volume  # noqa: E402
from NASAM3DLib.segment.sam_med3d.checkpoint import save_checkpoint  # noqa: E402
from NASAM3DLib.segment.sam_med3d.click_loop import (  # noqa: E402
    ClickLoop,
    error_click,
    simulated_clicks,
)
from NASAM3DLib.segment.sam_med3d.embedding import Embedding  # noqa: E402
from NASAM3DLib.segment.sam_med3d.engine import (  # noqa: E402
    SamMed3DOptions,
    SamMed3DSegmenter,
)
from NASAM3DLib.segment.sam_med3d.inference import ClickedVoxels, Predictor  # noqa: E402
from NASAM3DLib.segment.sam_med3d.model import build_sam_med3d, fill_parameters  # noqa: E402
from NASAM3DLib.segment.sam_med3d.region_cut import (  # noqa: E402
    begin_around_voxel,
    cut_region,
)
from NASAM3DLib.segment.sam_med3d.session import VolumeSession  # noqa: E402
from NASAM3DLib.segment.segmenter import (  # noqa: E402
    SegmentationSettings,
    available_engines,
    make_segmenter,
)

ALONE = SegmentationSettings(density_guidance=False)
GRID = VolumeGrid.centred((40, 44, 48), (2.0, 1.6, 1.8), centre_ras=(3.0, -2.0, 5.0))
BALL = sphere(GRID, (3, -2, 5), 16.0)
VOLUME = volume_of((BALL, 60.0), grid=GRID)
THREE = clicks(((3, -2, 5), True), ((3, 20, 5), False), ((14, -2, 5), True))


@pytest.fixture(scope="module")
def predictor():
    return Predictor(fill_parameters(build_sam_med3d(TINY)), device="cpu")


@pytest.fixture(scope="module")
def region():
    canonical = canonical_volume(VOLUME)
    return cut_region(canonical, begin_around_voxel(canonical.voxel_at((3, -2, 5)), 32), 32)


@pytest.fixture(scope="module")
def embedding(predictor, region):
    return predictor.embed(region)


def clicked(*voxels, labels) -> ClickedVoxels:
    return ClickedVoxels(np.array(voxels, dtype=np.float64), np.array(labels, dtype=np.int8))


CLICKS = clicked((16, 16, 16), (4, 20, 11), (18, 9, 30), labels=(1, 0, 1))


def by_hand(predictor, embedding, clicks, *, memory):
    """The loop written out with the network itself."""
    low = torch.zeros(1, 1, 16, 16, 16)
    image = torch.from_numpy(embedding.features)[None]
    with torch.inference_mode():
        for n in range(1, len(clicks) + 1):
            first = n - 1 if memory == "latest" else 0
            points = torch.tensor(clicks.voxels_ijk[None, first:n], dtype=torch.float32)
            labels = torch.tensor(clicks.labels[None, first:n].astype(np.int64))
            low, _ = predictor.model(image, (points, labels), mask=low)
    return low[0, 0].numpy()


@pytest.mark.parametrize("memory", ["all", "latest"])
def test_the_loop_starts_from_zeros_and_feeds_logits_back(predictor, embedding, memory):
    loop = ClickLoop(predictor, embedding, memory=memory)
    for n in (1, 2, 3):
        wanted = by_hand(predictor, embedding, CLICKS.first(n), memory=memory)
        np.testing.assert_array_equal(loop.logits(CLICKS.first(n)), wanted)


def test_all_clicks_and_the_latest_differ_from_the_second_on(predictor, embedding):
    every, latest = (ClickLoop(predictor, embedding, memory=m) for m in ("all", "latest"))
    np.testing.assert_array_equal(every.logits(CLICKS.first(1)), latest.logits(CLICKS.first(1)))
    assert relative_l2(every.logits(CLICKS), latest.logits(CLICKS)) > 1e-3


def test_clicks_taken_back_or_changed_leave_no_trace(predictor, embedding):
    loop = ClickLoop(predictor, embedding)
    three, two = loop.logits(CLICKS), loop.logits(CLICKS.first(2))
    np.testing.assert_array_equal(loop.logits(CLICKS), three)
    other = clicked((16, 16, 16), (9, 9, 9), labels=(1, 1))
    np.testing.assert_array_equal(loop.logits(other), ClickLoop(predictor, embedding).logits(other))
    np.testing.assert_array_equal(loop.logits(CLICKS.first(2)), two)
    with pytest.raises(ValueError, match="no click to predict from"):
        loop.logits(CLICKS.first(0))


def test_steps_are_kept(predictor, embedding, monkeypatch):
    loop, calls = ClickLoop(predictor, embedding), []
    right = Predictor.decode
    monkeypatch.setattr(Predictor, "decode", lambda *a, **k: calls.append(1) or right(*a, **k))
    for n in (1, 2, 3, 2, 3):
        loop.logits(CLICKS.first(n))
    assert len(calls) == 3


def test_an_unknown_memory_is_refused(predictor, embedding):
    with pytest.raises(ValueError, match=r'must be "all" or "latest", got \'some\''):
        ClickLoop(predictor, embedding, memory="some")


def test_upsampling_is_trilinear_between_cell_centres(predictor):
    i, j, k = np.indices((16, 16, 16), dtype=np.float32)
    full = predictor.upsampled(i + 10 * j + 100 * k)
    assert full.shape == (32, 32, 32)
    # Voxel n of 32 lies at cell (n + 1/2) / 2 - 1/2; axes come back as (k, j, i).
    assert full[10, 20, 7] == pytest.approx(3.25 + 10 * 9.75 + 100 * 4.75)


def test_double_precision_is_close_to_single(region, embedding):
    double = Predictor(fill_parameters(build_sam_med3d(TINY)), device="cpu", precision="float64")
    assert relative_l2(embedding.features, double.embed(region).features) < 3e-6


@pytest.mark.parametrize("precision", ["bfloat16"])
def test_reduced_precision_is_off_by_a_percent_or_two(region, embedding, precision):
    reduced = Predictor(fill_parameters(build_sam_med3d(TINY)), device="cpu", precision=precision)
    error = relative_l2(reduced.embed(region).features, embedding.features)
    assert 1e-4 < error < 0.03
    low = reduced.decode(embedding, CLICKS)
    assert np.isfinite(low).all()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_named():
    with pytest.raises(RuntimeError, match="torch finds no CUDA device"):
        Predictor(build_sam_med3d(TINY), device="cuda")


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_the_gpu_agrees_with_the_cpu(region, embedding, precision):
    gpu = Predictor(fill_parameters(build_sam_med3d(TINY)), device="cuda", precision=precision)
    limit = 1e-3 if precision == "float32" else 0.03
    assert relative_l2(gpu.embed(region).features, embedding.features) < limit


def test_embeddings_come_back_from_their_file(embedding, tmp_path, predictor):
    path = tmp_path / "region.npz"
    embedding.save(path)
    loaded = Embedding.load(path, weights_id=predictor.weights_id)
    np.testing.assert_array_equal(loaded.features, embedding.features)
    assert loaded.grid.same_as(embedding.grid)
    np.testing.assert_array_equal(
        ClickLoop(predictor, loaded).logits(CLICKS), ClickLoop(predictor, embedding).logits(CLICKS)
    )
    with pytest.raises(FileExistsError, match="exists already"):
        embedding.save(path)


def test_embeddings_of_other_weights_and_damaged_ones_are_refused(embedding, tmp_path):
    path = tmp_path / "region.npz"
    embedding.save(path)
    with pytest.raises(ValueError, match="was made by the weights"):
        Embedding.load(path, weights_id="0" * 16)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match="no complete embedding"):
        Embedding.load(path)
    np.savez(path, features=np.array([object()], dtype=object))
    with pytest.raises(ValueError, match="no complete embedding"):
        Embedding.load(path)
    with pytest.raises(FileNotFoundError, match="There is no file"):
        Embedding.load(tmp_path / "nothing.npz")
    with pytest.raises(ValueError, match=r"written as \.npz"):
        embedding.save(tmp_path / "region.pt")


def test_other_weights_have_another_name(predictor):
    other = build_sam_med3d(TINY)
    assert Predictor(other, device="cpu").weights_id != predictor.weights_id


def test_simulated_clicks_fall_on_errors():
    truth = np.zeros((6, 6, 6), dtype=bool)
    truth[1:4, 2:5, 2:4] = True
    prediction = np.zeros_like(truth)
    prediction[1:4, 2:5, 3:6] = True
    rng = np.random.default_rng(0)
    for _ in range(50):
        voxel, label = error_click(prediction, truth, rng.integers)
        assert prediction[voxel] != truth[voxel]
        assert label == int(truth[voxel])
    voxel, label = error_click(truth, truth, rng.integers)
    assert truth[voxel]
    assert label == 1
    # Voxels are counted in C order of (i, j, k).
    assert error_click(prediction, truth, lambda n: 0)[0] == (1, 2, 2)
    assert error_click(prediction, truth, lambda n: n - 1)[0] == (3, 4, 5)
    with pytest.raises(ValueError, match="no object and no error"):
        error_click(np.zeros_like(truth), np.zeros_like(truth), rng.integers)


def test_a_benchmark_clicks_as_often_as_asked(predictor, embedding):
    truth = np.zeros((32, 32, 32), dtype=bool)
    loop = ClickLoop(predictor, embedding)
    assert [m.any() for m in simulated_clicks(loop, truth, lambda n: 0, n_clicks=2)] == [0, 0]
    truth[10:20, 10:20, 10:20] = True
    seeds = [np.random.default_rng(233).integers for _ in range(2)]
    first, second = (simulated_clicks(loop, truth, draw, n_clicks=3) for draw in seeds)
    assert len(first) == 3
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


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
