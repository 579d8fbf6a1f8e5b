"""Fine-tuning on a tiny network: losses by formula, the loop, determinism, continuation."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sam_med3d_numpy import TINY  # noqa: E402

from NASAM3DLib.progress import Cancelled  # noqa: E402
from NASAM3DLib.segment.sam_med3d import training_loss  # noqa: E402
from NASAM3DLib.segment.sam_med3d.checkpoint import (  # noqa: E402
    load_checkpoint,
    save_checkpoint,
)
from NASAM3DLib.segment.sam_med3d.model import (  # noqa: E402
    SamMed3D,
    build_sam_med3d,
    fill_parameters,
)
from NASAM3DLib.segment.sam_med3d.training import (  # noqa: E402
    Trainer,
    TrainingSettings,
)
from NASAM3DLib.segment.sam_med3d.training_data import (  # noqa: E402
    PhantomSource,
    TrainingSample,
)
from NASAM3DLib.segment.sam_med3d.training_loss import (  # noqa: E402
    dice_and_entropy,
    interactive_loss,
)

QUICK = TrainingSettings(
    n_updates=3, batch_size=1, accumulation=1, learning_rate=1e-3, save_every=2, seed=3
)


class Balls:
    """A ball of random place in noise: quicker than a patient."""

    def sample(self, index: int, rng: np.random.Generator) -> TrainingSample:
        centre = rng.uniform(10, 22, size=3)
        away = np.linalg.norm(np.moveaxis(np.indices((32,) * 3), 0, -1) - centre, axis=-1)
        truth = away < rng.uniform(5, 9)
        image = 2.0 * truth + rng.normal(0, 0.3, truth.shape)
        return TrainingSample(image.astype(np.float32), truth)


def trainer(settings=QUICK, *, seed=0) -> Trainer:
    torch.set_num_threads(1)
    return Trainer(build_sam_med3d(TINY, seed=seed), Balls(), settings, device="cpu")


def same(first: SamMed3D, second: SamMed3D) -> bool:
    ours, theirs = first.state_dict(), second.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_loss_follows_its_formula():
    rng = np.random.default_rng(0)
    logits, truth = rng.normal(size=(2, 1, 3, 4, 5)), rng.random((2, 1, 3, 4, 5)) < 0.4
    p, y = 1 / (1 + np.exp(-logits)), truth.astype(float)
    axes = (1, 2, 3, 4)
    overlap = (2 * (p * y).sum(axes) + 1e-5) / ((p**2).sum(axes) + (y**2).sum(axes) + 1e-5)
    entropy = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
    wanted = (1 - overlap).mean() + entropy
    got = dice_and_entropy(torch.tensor(logits), torch.tensor(truth))
    assert float(got) == pytest.approx(wanted, rel=1e-5)
    perfect = dice_and_entropy(torch.tensor(100.0 * (2 * y - 1)), torch.tensor(truth))
    assert float(perfect) == pytest.approx(0, abs=1e-5)


class Recorder(SamMed3D):
    """Notes what each step is shown."""

    def forward(self, embedding, points=None, *, mask=None, multimask=False):
        self.steps.append((points, mask.detach().clone()))
        return super().forward(embedding, points, mask=mask, multimask=multimask)


@pytest.fixture
def recorder():
    model = fill_parameters(Recorder(TINY))
    model.steps = []
    return model


@pytest.mark.parametrize("memory", ["latest", "all"])
def test_the_loop_is_that_of_the_public_training(recorder, memory):
    batch = [Balls().sample(n, np.random.default_rng(n)) for n in range(2)]
    image = torch.from_numpy(np.stack([s.image_ijk for s in batch]))[:, None]
    truth = np.stack([s.truth_ijk for s in batch])
    rng = np.random.default_rng(5)
    interactive_loss(recorder, image, truth, rng=rng, memory=memory)
    points, masks = zip(*recorder.steps, strict=True)
    assert len(points) == 11
    assert (masks[0] == 0).all()
    assert all((mask != 0).any() for mask in masks[1:])
    without = [n for n, p in enumerate(points) if p is None]
    assert len(without) == 2
    assert without[1] == 10
    assert 2 <= without[0] <= 8
    counts = [p[0].shape[1] for p in points if p is not None]
    assert counts == ([1] * 9 if memory == "latest" else list(range(1, 10)))
    # The first click lies on the object; all labels say what is there.
    for voxels, labels in (p for p in points if p is not None):
        for sample in range(2):
            i, j, k = voxels[sample, -1].long().tolist()
            assert truth[sample, i, j, k] == labels[sample, -1]
    assert (points[0][1] == 1).all()


def test_the_gradient_runs_through_the_whole_chain(monkeypatch):
    sample = Balls().sample(0, np.random.default_rng(0))
    image = torch.from_numpy(sample.image_ijk)[None, None]
    model, calls = fill_parameters(build_sam_med3d(TINY)), []
    right = training_loss.dice_and_entropy

    def last_only(logits, truth):
        calls.append(1)
        return right(logits, truth) if len(calls) == 11 else logits.new_zeros(())

    monkeypatch.setattr(training_loss, "dice_and_entropy", last_only)
    truth = sample.truth_ijk[None]
    interactive_loss(model, image, truth, rng=np.random.default_rng(1)).backward()
    # The last step is shown no click: the clicks reach it through the logits alone.
    for embedding in model.prompt_encoder.point_embeddings:
        assert embedding.weight.grad.abs().max() > 0


def test_recomputing_changes_no_update(tmp_path):
    kept, anew = trainer(), trainer(TrainingSettings(**{**QUICK.__dict__, "recompute": True}))
    assert anew.model.image_encoder.recompute
    assert kept.run(tmp_path / "a.pth") == pytest.approx(anew.run(tmp_path / "b.pth"), rel=1e-5)


def test_the_same_seed_gives_the_same_weights(tmp_path):
    settings = TrainingSettings(**{**QUICK.__dict__, "accumulation": 2})
    first, second = trainer(settings), trainer(settings)
    assert first.run(tmp_path / "a.pth") == second.run(tmp_path / "b.pth")
    assert same(first.model, second.model)
    assert not same(first.model, build_sam_med3d(TINY, seed=0))
    other = trainer(TrainingSettings(**{**QUICK.__dict__, "seed": 4}))
    assert other.run(tmp_path / "c.pth") != first.losses


def test_continued_training_is_uninterrupted_training(tmp_path):
    whole = trainer()
    whole.run(tmp_path / "whole.pth")

    def interrupt(stage: str, fraction: float) -> None:
        if fraction > 0.6:
            raise Cancelled

    path = tmp_path / "parts.pth"
    with pytest.raises(Cancelled):
        trainer().resume(path, progress=interrupt)
    # Other random weights, to be replaced by those of the checkpoint.
    second = trainer(seed=9)
    losses = second.resume(path)
    assert losses == whole.losses
    assert same(second.model, whole.model)
    assert same(load_checkpoint(path, config=TINY), whole.model)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["parts.pth", "whole.pth"]


def test_what_does_not_continue_a_training_is_refused(tmp_path):
    path = tmp_path / "w.pth"
    save_checkpoint(build_sam_med3d(TINY), path)
    with pytest.raises(ValueError, match="no state of training: start from it as weights"):
        trainer().restore(path)
    trainer().save(path, force=True)
    other = trainer(TrainingSettings(**{**QUICK.__dict__, "batch_size": 2}))
    with pytest.raises(ValueError, match="batch_size was 1 and is 2"):
        other.restore(path)
    longer = trainer(TrainingSettings(**{**QUICK.__dict__, "n_updates": 9}))
    longer.restore(path)
    with pytest.raises(FileExistsError, match="exists already"):
        trainer().run(path)


def test_rates_differ_by_part_and_fall_twice(tmp_path):
    rates = []
    run = trainer(TrainingSettings(**{**QUICK.__dict__, "n_updates": 10, "accumulation": 1}))
    run._batch_loss = lambda number: run.model.image_encoder.pos_embed.sum()
    run.run(
        tmp_path / "w.pth",
        progress=lambda stage, f: rates.append([g["lr"] for g in run.optimiser.param_groups]),
    )
    encoder, rest = np.array(rates[1:]).T
    np.testing.assert_allclose(encoder, [1e-3] * 6 + [1e-4] * 3 + [1e-5])
    np.testing.assert_allclose(rest, encoder / 10)


def test_a_loss_that_is_not_finite_ends_the_training(tmp_path):
    run = trainer()
    run._batch_loss = lambda number: torch.tensor(float("nan"), requires_grad=True)
    with pytest.raises(RuntimeError, match="loss of update 1 is not finite"):
        run.run(tmp_path / "w.pth")
    assert list(tmp_path.iterdir()) == []


def test_mixed_precision_trains(tmp_path):
    settings = TrainingSettings(**{**QUICK.__dict__, "precision": "bfloat16", "n_updates": 1})
    run = trainer(settings)
    exact = trainer(TrainingSettings(**{**QUICK.__dict__, "n_updates": 1}))
    assert run.run(tmp_path / "a.pth")[0] == pytest.approx(
        exact.run(tmp_path / "b.pth")[0], rel=0.1
    )
    assert {p.dtype for p in run.model.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("change", "words"),
    [({"n_updates": 0}, "n_updates must be positive, got 0"), ({"precision": "x"}, "Unknown")],
)
def test_settings_that_make_no_sense_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        TrainingSettings(**change)


@pytest.mark.slow
def test_training_learns(tmp_path):
    settings = TrainingSettings(
        n_updates=60, batch_size=2, accumulation=1, learning_rate=1e-2, save_every=100
    )
    losses = trainer(settings).run(tmp_path / "w.pth")
    assert np.mean(losses[-10:]) < 0.85 * np.mean(losses[:5])


@pytest.fixture(scope="module")
def source():
    return PhantomSource(region_size=32, phantom_voxels=64, min_voxels=200)


def test_samples_come_from_generated_patients(source):
    rng = np.random.default_rng(0)
    samples = [source.sample(0, rng) for _ in range(3)]
    for sample in samples:
        assert sample.image_ijk.shape == sample.truth_ijk.shape == (32, 32, 32)
        assert sample.image_ijk.dtype == np.float32
        assert sample.truth_ijk.any()
        assert not sample.truth_ijk.all()
        assert abs(sample.image_ijk.mean()) < 20
    again = source.sample(0, np.random.default_rng(0))
    np.testing.assert_array_equal(again.image_ijk, samples[0].image_ijk)
    np.testing.assert_array_equal(again.truth_ijk, samples[0].truth_ijk)


def test_too_small_objects_are_not_taken(source):
    huge = PhantomSource(region_size=32, phantom_voxels=64, min_voxels=10**9)
    with pytest.raises(RuntimeError, match="no object of 1000000000 voxels"):
        huge.sample(0, np.random.default_rng(0))
