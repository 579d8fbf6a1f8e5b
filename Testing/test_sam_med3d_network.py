"""SAM-Med3D against a second implementation in NumPy, against itself, and against mistakes."""

from __future__ import annotations

import hashlib
import time

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sam_med3d_mistakes import DECODER_MISTAKES, ENCODER_MISTAKES  # noqa: E402
from sam_med3d_numpy import TINY, NumpySamMed3D, relative_l2  # noqa: E402

from NASAM3DLib.segment.sam_med3d.config import SamMed3DConfig  # noqa: E402
from NASAM3DLib.segment.sam_med3d.model import (  # noqa: E402
    build_sam_med3d,
    empty_sam_med3d,
    fill_parameters,
    named_values,
)

LISTING_SHA256 = "b2273a2cc8c36b001508943ce4e347da4f9a0bb2a84366f5c1e2af55af4b3457"
"""Digest of the names and shapes of the public checkpoint's entries, a line each, sorted."""

EXACT = 1e-12
SINGLE = 3e-6

VOXELS = np.array([[16.0, 9.0, 21.0], [3.0, 30.0, 12.0], [20.0, 11.0, 5.0]])
LABELS = np.array([1, 0, 1])


@pytest.fixture(autouse=True)
def two_threads():
    torch.set_num_threads(2)


@pytest.fixture(scope="module")
def model():
    return fill_parameters(build_sam_med3d(TINY)).double().requires_grad_(False)


@pytest.fixture(scope="module")
def numpy_model(model):
    return NumpySamMed3D({n: v.numpy() for n, v in model.state_dict().items()}, TINY)


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(1).normal(size=(32, 32, 32))


@pytest.fixture(scope="module")
def embedding(numpy_model, image):
    return numpy_model.encode(image)


@pytest.fixture(scope="module")
def previous():
    return np.random.default_rng(2).normal(0, 3, size=(16, 16, 16))


def as_points(*sets):
    """Sets of (voxels, labels) as the network takes them."""
    voxels, labels = zip(*sets, strict=True)
    return torch.tensor(np.array(voxels)), torch.tensor(np.array(labels))


def test_entries_are_those_of_the_public_checkpoint():
    state = empty_sam_med3d().state_dict()
    lines = sorted(f"{name} {list(value.shape)}" for name, value in state.items())
    assert len(lines) == 324
    assert sum(p.numel() for p in empty_sam_med3d().parameters()) == 100_509_232
    assert sum(value.numel() for value in state.values()) == 100_509_616
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == LISTING_SHA256


@pytest.mark.parametrize("path", ["plain", "shortcut"])
def test_encoder_agrees_with_numpy(model, image, embedding, path):
    model.image_encoder.choose_path(path)
    got = model.image_encoder(torch.tensor(image)[None, None])[0]
    model.image_encoder.choose_path("shortcut")
    assert relative_l2(got, embedding) < EXACT


def test_a_batch_is_its_images_one_by_one(model):
    images = torch.tensor(np.random.default_rng(3).normal(size=(2, 1, 32, 32, 32)))
    together = model.image_encoder(images)
    for one, got in zip(images, together, strict=True):
        assert relative_l2(got, model.image_encoder(one[None])[0]) < EXACT


def test_points_agree_with_numpy(model, numpy_model):
    sparse, dense = model.prompt_encoder(as_points((VOXELS, [1, 0, -1])))
    assert relative_l2(sparse[0], numpy_model.sparse(VOXELS, [1, 0, -1])) < EXACT
    assert sparse.shape == (1, 4, 48)
    assert relative_l2(dense[0], numpy_model.dense(None)) < EXACT
    assert model.prompt_encoder()[0].shape == (1, 0, 48)


def test_masks_and_positions_agree_with_numpy(model, numpy_model, previous):
    _, dense = model.prompt_encoder(mask=torch.tensor(previous)[None, None])
    assert relative_l2(dense[0], numpy_model.dense(previous)) < EXACT
    got = model.prompt_encoder.dense_position()[0]
    assert relative_l2(got, numpy_model.dense_position()) < EXACT


ONE, THREE = (VOXELS[:1], LABELS[:1]), (VOXELS, LABELS)
CASES = {
    "one click": (ONE, "zero"),
    "three clicks": (THREE, "zero"),
    "mask fed back": (THREE, "previous"),
    "no mask": (ONE, None),
    "no points": (None, "previous"),
    "explicit -1": ((VOXELS, np.array([1, -1, 0])), "zero"),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("multimask", [False, True])
def test_decoder_agrees_with_numpy(model, numpy_model, embedding, previous, case, multimask):
    points, kind = CASES[case]
    mask = {"zero": np.zeros((16,) * 3), "previous": previous, None: None}[kind]
    sparse = np.zeros((0, 48)) if points is None else numpy_model.sparse(*points)
    logits, quality = numpy_model.decode(embedding, sparse, numpy_model.dense(mask))
    chosen = slice(1, None) if multimask else slice(0, 1)
    got, got_quality = model(
        torch.tensor(embedding)[None],
        None if points is None else as_points(points),
        mask=None if mask is None else torch.tensor(mask)[None, None],
        multimask=multimask,
    )
    assert relative_l2(got[0], logits[chosen]) < EXACT
    assert relative_l2(got_quality[0], quality[chosen]) < EXACT


def test_two_prompts_on_one_image_are_the_two_one_by_one(model, embedding, previous):
    image = torch.tensor(embedding)[None]
    masks = torch.tensor(np.stack([previous, -previous]))[:, None]
    points = as_points((VOXELS[:2], [1, 0]), (VOXELS[1:], [1, 1]))
    both, _ = model(image, points, mask=masks)
    for n in range(2):
        one, _ = model(image, (points[0][n : n + 1], points[1][n : n + 1]), mask=masks[n : n + 1])
        assert relative_l2(both[n], one[0]) < EXACT
    shared, _ = model(image, points, mask=masks[:1])
    assert relative_l2(shared[0], both[0]) < EXACT


def test_single_precision_is_close_to_double(model, numpy_model, image, embedding):
    single = fill_parameters(build_sam_med3d(TINY)).requires_grad_(False)
    got = single.image_encoder(torch.tensor(image, dtype=torch.float32)[None, None])
    assert relative_l2(got[0], embedding) < SINGLE
    zero = np.zeros((16,) * 3)
    wanted, _ = numpy_model.decode(embedding, numpy_model.sparse(*THREE), numpy_model.dense(zero))
    logits, _ = single(got, as_points(THREE), mask=torch.zeros(1, 1, 16, 16, 16))
    assert relative_l2(logits[0, 0], wanted[0]) < 2 * SINGLE


# What a mistake must at least change, relatively; the eps are seen in double precision only.
LEAST_CHANGE = {"eps 1e-5 in the encoder": 1e-7, "eps 1e-6 in the decoder": 1e-8}


@pytest.mark.parametrize("mistake", ENCODER_MISTAKES)
def test_a_mistake_in_the_encoder_would_be_noticed(model, image, embedding, mistake):
    with ENCODER_MISTAKES[mistake](model):
        got = model.image_encoder(torch.tensor(image)[None, None])[0]
    assert relative_l2(got, embedding) > LEAST_CHANGE.get(mistake, 1e-5)
    again = model.image_encoder(torch.tensor(image)[None, None])[0]
    assert relative_l2(again, embedding) < EXACT


@pytest.mark.parametrize("mistake", DECODER_MISTAKES)
def test_a_mistake_in_the_decoder_would_be_noticed(model, embedding, mistake):
    image, mask = torch.tensor(embedding)[None], torch.zeros(1, 1, 16, 16, 16).double()
    right, _ = model(image, as_points(THREE), mask=mask)
    with DECODER_MISTAKES[mistake](model):
        wrong, _ = model(image, as_points(THREE), mask=mask)
    assert relative_l2(wrong, right) > LEAST_CHANGE.get(mistake, 1e-3)
    again, _ = model(image, as_points(THREE), mask=mask)
    assert relative_l2(again, right) == 0


def test_no_mask_is_not_a_mask_of_zeros(model, embedding):
    image = torch.tensor(embedding)[None]
    zero, _ = model(image, as_points(ONE), mask=torch.zeros(1, 1, 16, 16, 16).double())
    none, _ = model(image, as_points(ONE))
    assert relative_l2(none, zero) > 0.1


def test_gradients_of_both_paths_agree(image):
    gradients = {}
    for path in ("plain", "shortcut"):
        model = fill_parameters(build_sam_med3d(TINY)).double()
        model.image_encoder.choose_path(path)
        model.image_encoder(torch.tensor(image)[None, None]).square().sum().backward()
        gradients[path] = [p.grad for p in model.image_encoder.parameters()]
    for plain, shortcut in zip(*gradients.values(), strict=True):
        assert relative_l2(shortcut, plain) < 1e-9


def test_recomputing_blocks_changes_no_gradient(image):
    gradients = []
    for recompute in (False, True):
        model = fill_parameters(build_sam_med3d(TINY)).double()
        model.image_encoder.recompute = recompute
        model.image_encoder(torch.tensor(image)[None, None]).square().sum().backward()
        gradients.append([p.grad for p in model.image_encoder.parameters()])
    for kept, anew in zip(*gradients, strict=True):
        assert torch.equal(kept, anew)


def test_values_by_name_depend_on_nothing_else():
    first, second = (fill_parameters(build_sam_med3d(TINY, seed=s)).state_dict() for s in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not np.array_equal(named_values("a.weight", (3, 3)), named_values("b.weight", (3, 3)))
    ones = fill_parameters(build_sam_med3d(TINY), lambda name, shape: np.ones(shape))
    assert all((value == 1).all() for value in ones.state_dict().values())
    with pytest.raises(ValueError, match=r"must have shape \(.*got values of shape \(1,\)"):
        fill_parameters(build_sam_med3d(TINY), lambda name, shape: np.ones(1))


def test_the_same_seed_gives_the_same_network():
    state = torch.random.get_rng_state()
    first, second = (build_sam_med3d(TINY, seed=4).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_wrong_shapes_are_refused_with_what_was_wanted(model, embedding):
    with pytest.raises(ValueError, match=r"must have shape \(b, 1, 32, 32, 32\), got \(1, 1, 16"):
        model.image_encoder(torch.zeros(1, 1, 16, 16, 16).double())
    with pytest.raises(ValueError, match=r"\(b, n, 3\) for voxels"):
        model.prompt_encoder((torch.zeros(1, 2, 2), torch.ones(1, 2)))
    with pytest.raises(ValueError, match=r"Labels must be 1, 0 or -1, got \[2\]"):
        model.prompt_encoder((torch.zeros(1, 1, 3), torch.full((1, 1), 2)))
    with pytest.raises(ValueError, match="low-resolution logits"):
        model.prompt_encoder(mask=torch.zeros(1, 1, 8, 8, 8).double())
    with pytest.raises(ValueError, match="2 sets of points but 3 masks"):
        model.prompt_encoder(as_points(ONE, ONE), mask=torch.zeros(3, 1, 16, 16, 16).double())
    with pytest.raises(ValueError, match="2 image embeddings"):
        model(torch.tensor(np.stack([embedding] * 2)), as_points(ONE, ONE, ONE))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"window_size": 3}, "must hold the 4 tokens"),
        ({"image_size": 33}, "image_size must be a positive multiple of 8, got 33"),
        ({"prompt_width": 50}, "prompt_width must be a positive multiple of 24"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        SamMed3DConfig(**{**TINY.__dict__, **change})


@pytest.mark.slow
def test_full_size_shortcut_equals_the_plain_path_and_costs_a_fraction():
    model = fill_parameters(empty_sam_med3d().to_empty(device="cpu")).requires_grad_(False)
    image = torch.tensor(np.random.default_rng(0).normal(size=(1, 1, 128, 128, 128))).float()
    results, seconds = [], []
    model.image_encoder(image)
    for path in ("shortcut", "plain"):
        model.image_encoder.choose_path(path)
        begin = time.process_time()
        results.append(model.image_encoder(image))
        seconds.append(time.process_time() - begin)
    assert relative_l2(*results) < SINGLE
    assert seconds[0] < 0.25 * seconds[1]
