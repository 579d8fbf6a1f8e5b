"""Training the label-free network: the simulated user, merging, determinism, continuation."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import ndimage
from typer.testing import CliRunner

torch = pytest.importorskip("torch")

from NASAM3DLib.cli.app import app  # noqa: E402
from NASAM3DLib.progress import Cancelled  # noqa: E402
from NASAM3DLib.segment.fronts import DensityFronts  # noqa: E402
from NASAM3DLib.segment.labelfree import training_data  # noqa: E402
from NASAM3DLib.segment.labelfree.curve import binned, save_curve  # noqa: E402
from NASAM3DLib.segment.labelfree.interaction import (  # noqa: E402
    Interaction,
    click_inside,
    error_click,
    region_of,
)
from NASAM3DLib.segment.labelfree.merge import component_at, merged  # noqa: E402
from NASAM3DLib.segment.labelfree.network import NetworkConfig, build_network  # noqa: E402
from NASAM3DLib.segment.labelfree.training import Trainer, export  # noqa: E402
from NASAM3DLib.segment.labelfree.training_data import (  # noqa: E402
    GeneratedSource,
    TrainingSettings,
    rate_at,
)
from NASAM3DLib.segment.labelfree.weights import load_weights  # noqa: E402
from NASAM3DLib.segment.walk import WorkingClicks  # noqa: E402

TINY = NetworkConfig((8, 16))
QUICK = TrainingSettings(
    n_updates=4, batch_size=2, edge=16, warm_up=1, precision="float32", n_targets=2, save_every=2
)
torch.set_num_threads(1)


def trainer(settings=QUICK, *, seed=0) -> Trainer:
    return Trainer(build_network(TINY, seed=seed), settings)


def voxels(*places) -> np.ndarray:
    return np.array(places, dtype=np.intp).reshape(-1, 3)


def box(*bounds, edge=20) -> np.ndarray:
    array = np.zeros((edge,) * 3, dtype=bool)
    array[tuple(slice(a, b) for a, b in bounds)] = True
    return array


@pytest.fixture
def blob() -> np.ndarray:
    return box((4, 15), (5, 14), (3, 12)) | box((10, 12), (0, 6), (6, 8))


def test_clicks_lie_inside_and_the_central_one_is_deepest(blob):
    depth = ndimage.distance_transform_edt(np.pad(blob, 1))[1:-1, 1:-1, 1:-1]
    assert depth[tuple(click_inside(blob))] == depth.max()
    rng = np.random.default_rng(0)
    drawn = [tuple(click_inside(blob, rng)) for _ in range(60)]
    assert all(blob[place] for place in drawn)
    assert len(set(drawn)) > 20


def test_the_largest_error_is_clicked_with_its_sign(blob):
    missing = box((4, 6), (5, 14), (3, 12))
    too_much = box((17, 19), (17, 19), (17, 19))
    place, positive = error_click(blob & ~missing | too_much, blob)
    assert positive
    assert missing[tuple(place)]
    place, positive = error_click(blob | box((16, 20), (0, 19), (0, 19)), blob)
    assert not positive
    assert place[0] >= 16
    assert error_click(blob, blob) is None


def probability(array: np.ndarray) -> np.ndarray:
    return np.where(array, 0.9, 0.1).astype(np.float32)


def test_late_clicks_change_only_the_component_at_the_newest(blob):
    before = probability(blob)
    here, there = box((15, 18), (6, 9), (5, 8)), box((0, 2), (0, 2), (0, 2))
    new = probability(blob | here | there)
    newest = np.array([16, 7, 6])
    late = WorkingClicks(voxels((9, 9, 7), newest), voxels((19, 19, 19), (0, 19, 19)))
    result = merged(before, new, late, newest_kji=newest)
    np.testing.assert_array_equal(result > 0.5, blob | here)
    np.testing.assert_array_equal(result[~here], before[~here])
    early = WorkingClicks(voxels((9, 9, 7), newest), voxels((19, 19, 19)))
    whole = merged(before, probability(blob | here), early, newest_kji=newest)
    np.testing.assert_array_equal(whole > 0.5, blob | here)


def test_a_merged_mask_agrees_with_every_click_whatever_the_network_says():
    rng = np.random.default_rng(3)
    for n_clicks in (1, 2, 4, 7):
        places = rng.permutation(1000)[:n_clicks]
        clicked = np.stack(np.unravel_index(places, (10, 10, 10)), 1)
        positive = clicked[: max(1, n_clicks // 2)]
        negative = clicked[max(1, n_clicks // 2) :]
        answer = rng.random((10, 10, 10), dtype=np.float32)
        previous = rng.random((10, 10, 10), dtype=np.float32)
        clicks = WorkingClicks(positive, negative)
        result = merged(previous, answer, clicks, newest_kji=clicked[-1]) > 0.5
        assert result[tuple(positive.T)].all()
        assert not result[tuple(negative.T)].any()


def test_a_change_belongs_to_a_click_beside_it_but_not_to_one_far_away():
    change = box((4, 6), (4, 6), (4, 6))
    np.testing.assert_array_equal(component_at(change, np.array([7, 5, 5])), change)
    assert not component_at(change, np.array([9, 5, 5])).any()


def test_an_interaction_feeds_back_what_was_merged(blob):
    volume = np.where(blob, 80, 0).astype(np.float32)
    one = Interaction(DensityFronts(region_of(volume)), blob)
    assert one.click()
    dice = one.take(probability(blob & ~box((4, 6), (0, 20), (0, 20))))
    assert dice < 1
    assert one.click()
    assert len(one.clicks.positive_kji) == 2
    assert one.shown()[9].max() == np.float32(0.9)
    assert one.take(probability(blob)) == 1
    assert not one.click()


def test_the_rate_rises_and_falls():
    rates = [rate_at(n, TrainingSettings(n_updates=100, warm_up=10)) for n in range(100)]
    assert np.argmax(rates) in range(8, 12)
    assert rates[0] < 0.1
    assert rates[-1] < 0.02
    assert all(rate > 0 for rate in rates)


def test_a_batch_holds_different_volumes_and_each_is_generated_once(monkeypatch):
    numbers = []
    real = training_data.generate

    def counted(seed, settings):
        numbers.append(seed[1])
        return real(seed, settings)

    monkeypatch.setattr(training_data, "generate", counted)
    source = GeneratedSource(QUICK)
    rng = np.random.default_rng(0)
    made = [source.interaction(n, rng) for n in range(8)]
    assert numbers == [0, 1, 2, 3]
    seen = [one.fronts.region.array_hu for one in made]
    assert not np.array_equal(seen[0], seen[1])
    np.testing.assert_array_equal(seen[0], seen[2])
    assert not np.array_equal(seen[0], seen[4])


def test_density_guidance_is_dropped_as_often_as_asked():
    rng = np.random.default_rng(1)
    for share in (0.0, 1.0):
        settings = TrainingSettings(edge=16, batch_size=2, n_targets=2, density_dropout=share)
        source = GeneratedSource(settings)
        assert all(source.interaction(n, rng).guided == (share == 0) for n in range(4))


def test_the_seed_decides_and_continuing_changes_nothing(tmp_path):
    whole = trainer()
    whole.run(tmp_path / "whole.pt")
    halted = trainer()

    def stop(stage, fraction):
        if fraction >= 0.75:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        halted.run(tmp_path / "parts.pt", progress=stop)
    continued = trainer(seed=9)
    continued.restore(tmp_path / "parts.pt")
    assert len(continued.losses) == 2
    continued.run(tmp_path / "parts.pt", force=True)
    assert continued.losses == whole.losses
    assert continued.dices == whole.dices
    for ours, theirs in ((whole.network.state_dict(), continued.network.state_dict()),):
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert all(torch.equal(whole.averaged[n], continued.averaged[n]) for n in whole.averaged)


def test_other_settings_and_other_files_are_refused(tmp_path):
    path = tmp_path / "a.pt"
    trainer().save(path)
    other = TrainingSettings(**{**vars(QUICK), "learning_rate": 1e-4})
    with pytest.raises(ValueError, match=r"learning_rate was 0\.002 and is 0\.0001"):
        trainer(other).restore(path)
    longer = TrainingSettings(**{**vars(QUICK), "n_updates": 9})
    trainer(longer).restore(path)
    larger = Trainer(build_network(NetworkConfig((8, 24))), QUICK)
    with pytest.raises(ValueError, match="channels was"):
        larger.restore(path)
    torch.save({"weights": {}}, path)
    with pytest.raises(ValueError, match="no checkpoint of a training"):
        trainer().restore(path)


@pytest.mark.parametrize(
    "change", [{"n_updates": 0}, {"ema": 1.0}, {"density_dropout": 2}, {"precision": "float16"}]
)
def test_impossible_settings_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        TrainingSettings(**change)


def test_a_little_training_reduces_the_loss():
    settings = TrainingSettings(
        n_updates=40, batch_size=2, edge=16, warm_up=0, n_targets=2, learning_rate=1e-2
    )
    learner = trainer(settings)
    # Without the walker at the logits, which answers well before any training.
    learner.network.raw_walk_weight.data.fill_(-30.0)
    rounds = [learner._interact(0) for _ in range(12)]
    assert np.mean([loss for loss, _ in rounds[-3:]]) < 0.7 * rounds[0][0]
    moved = [not torch.equal(v, learner.averaged[n]) for n, v in trainer().averaged.items()]
    assert all(moved)


def test_the_command_trains_continues_exports_and_draws(tmp_path):
    output = tmp_path / "own.pt"
    line = f"train labelfree -o {output} --channels 8,16 --edge 32 --batch 1 --device cpu"
    first = CliRunner().invoke(app, [*line.split(), "--updates", "1"])
    assert first.exit_code == 0, first.output
    more = CliRunner().invoke(app, [*line.split(), "--updates", "2", "--resume"])
    assert more.exit_code == 0, more.output
    assert "2 updates, loss" in more.stdout
    record = json.loads(output.with_suffix(".json").read_text())
    assert record["training"]["interactions"] == record["training"]["objects"] == 2
    assert load_weights(output.with_suffix(".safetensors")).sha256 == record["sha256"]
    assert output.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    wrong = CliRunner().invoke(app, [*line.split(), "--channels", "8,9", "--force"])
    assert wrong.exit_code == 2


def test_the_exported_weights_are_the_averaged_ones(tmp_path):
    learner = trainer()
    learner.run(tmp_path / "a.pt")
    export(tmp_path / "a.pt", tmp_path / "a.safetensors")
    loaded = load_weights(tmp_path / "a.safetensors").network.state_dict()
    for name, value in learner.averaged.items():
        torch.testing.assert_close(loaded[name], value.half().float())


def test_training_starts_from_the_weights_of_another_and_keeps_its_record(tmp_path):
    learner = trainer()
    learner.run(tmp_path / "a.pt")
    digest = export(tmp_path / "a.pt", tmp_path / "a.safetensors")
    loaded = load_weights(tmp_path / "a.safetensors")
    other = TrainingSettings(**{**vars(QUICK), "seed": 7})
    second = trainer(other, seed=5)
    second.start_from(loaded)
    for name, value in loaded.network.state_dict().items():
        assert torch.equal(second.network.state_dict()[name], value)
        assert torch.equal(second.averaged[name], value)
    second.run(tmp_path / "b.pt")
    third = trainer(other)
    third.restore(tmp_path / "b.pt")
    assert third.start == second.start
    export(tmp_path / "b.pt", tmp_path / "b.safetensors")
    start = load_weights(tmp_path / "b.safetensors").record["start"]
    assert start["sha256"] == digest
    assert start["training"]["interactions"] == QUICK.n_updates
    larger = Trainer(build_network(NetworkConfig((8, 24))), QUICK)
    with pytest.raises(ValueError, match="ask for the same channels"):
        larger.start_from(loaded)


def test_the_command_starts_from_a_file(tmp_path):
    learner = trainer()
    learner.run(tmp_path / "a.pt")
    digest = export(tmp_path / "a.pt", tmp_path / "a.safetensors")
    line = (
        f"train labelfree -o {tmp_path / 'b.pt'} --weights {tmp_path / 'a.safetensors'} "
        "--channels 8,16 --edge 32 --batch 1 --updates 1 --device cpu"
    )
    done = CliRunner().invoke(app, line.split())
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "b.json").read_text())
    assert record["training"]["start"]["sha256"] == digest
    both = CliRunner().invoke(app, [*line.split(), "--scratch", "--force"])
    assert both.exit_code == 2


def test_the_curve_shows_means_of_stretches(tmp_path):
    places, values = binned(np.arange(120), np.arange(120) * 2.0)
    assert len(places) == 60
    np.testing.assert_allclose(values, 2 * places)
    save_curve([1.0, 0.5], [[0.2], [0.3, 0.4, 0.5]], tmp_path / "a.png")
    with pytest.raises(FileExistsError):
        save_curve([1.0], [[0.2]], tmp_path / "a.png")
