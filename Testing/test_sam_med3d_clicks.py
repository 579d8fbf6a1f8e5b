"""The click loop, embeddings and their files, precision, and clicks in place of a user."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sam_med3d_numpy import TINY, relative_l2  # noqa: E402
from sam_med3d_scene import MIDDLE, VOLUME, tiny_predictor  # noqa: E402

from NASAM3DLib.segment.sam_med3d.canonical import canonical_volume  # noqa: E402
from NASAM3DLib.segment.sam_med3d.click_loop import (  # noqa: E402
    ClickLoop,
    error_click,
    simulated_clicks,
)
from NASAM3DLib.segment.sam_med3d.embedding import Embedding  # noqa: E402
from NASAM3DLib.segment.sam_med3d.inference import ClickedVoxels, Predictor  # noqa: E402
from NASAM3DLib.segment.sam_med3d.model import build_sam_med3d  # noqa: E402
from NASAM3DLib.segment.sam_med3d.region_cut import (  # noqa: E402
    begin_around_voxel,
    cut_region,
)


@pytest.fixture(scope="module")
def predictor():
    return tiny_predictor()


@pytest.fixture(scope="module")
def region():
    canonical = canonical_volume(VOLUME)
    return cut_region(canonical, begin_around_voxel(canonical.voxel_at(MIDDLE), 32), 32)


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
    double = tiny_predictor(precision="float64")
    exact = double.embed(region)
    assert exact.features.dtype == double.decode(exact, CLICKS).dtype == np.float64
    assert relative_l2(embedding.features, exact.features) < 3e-6


@pytest.mark.parametrize("precision", ["bfloat16"])
def test_reduced_precision_is_off_by_a_percent_or_two(region, embedding, precision):
    reduced = tiny_predictor(precision=precision)
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
    gpu = tiny_predictor(device="cuda", precision=precision)
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
