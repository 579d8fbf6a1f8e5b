"""The label-free network: its inputs, its laws, its files of weights."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from scipy import special

torch = pytest.importorskip("torch")

from NASAM3DLib.segment.fronts import DensityFronts  # noqa: E402
from NASAM3DLib.segment.labelfree import weights as weights_module  # noqa: E402
from NASAM3DLib.segment.labelfree.features import (  # noqa: E402
    ATTENTION,
    CHANNELS,
    GUIDED,
    PREVIOUS,
    WALK,
    click_map,
    network_input,
)
from NASAM3DLib.segment.labelfree.interaction import region_of  # noqa: E402
from NASAM3DLib.segment.labelfree.network import (  # noqa: E402
    N_INPUTS,
    SURE,
    LabelFreeNetwork,
    NetworkConfig,
    build_network,
    n_parameters,
)
from NASAM3DLib.segment.labelfree.tiles import (  # noqa: E402
    EDGE,
    EMPTY_LOGIT,
    tile_starts,
    tiled_logits,
)
from NASAM3DLib.segment.labelfree.weights import (  # noqa: E402
    WeightsError,
    WeightsMissingError,
    load_weights,
    record_path,
    save_weights,
)
from NASAM3DLib.segment.walk import WorkingClicks, guided_walk  # noqa: E402

TINY = NetworkConfig((8, 16, 24))
torch.set_num_threads(1)


def ball(edge: int = 24) -> np.ndarray:
    steps = np.indices((edge,) * 3) - edge / 2
    inside = (steps**2).sum(axis=0) < (edge / 4) ** 2
    noise = np.random.default_rng(0).normal(0, 8, inside.shape)
    return (60.0 * inside + noise).astype(np.float32)


def clicks(positive, negative=()) -> WorkingClicks:
    as_array = [np.array(v, dtype=np.intp).reshape(-1, 3) for v in (positive, negative)]
    return WorkingClicks(*as_array)


def shown(edge: int = 24, **options) -> np.ndarray:
    fronts = DensityFronts(region_of(ball(edge)))
    middle = (edge // 2,) * 3
    previous = np.zeros((edge,) * 3, dtype=np.float32)
    return network_input(fronts, clicks([middle], [(2, 2, 2)]), previous, **options)


def test_the_channels_are_what_they_are_called():
    values = dict(zip(CHANNELS, shown(), strict=True))
    assert len(CHANNELS) == 12
    middle, corner = (12, 12, 12), (2, 2, 2)
    assert values["positive_clicks"][middle] == values["negative_clicks"][corner] == 1
    assert values["positive_attention"][middle] == 1
    assert values["negative_attention"][corner] == 1
    assert values["positive_likelihood"][middle] > 0.5 > values["positive_likelihood"][2, 12, 12]
    assert values["attention_logit"][middle] > 0 > values["attention_logit"][corner]
    for name, channel in values.items():
        if name != "attention_logit":
            assert channel.min() >= -1
            assert channel.max() <= 1.5


def test_the_walk_is_that_of_the_same_clicks_and_knows_what_is_outside():
    fronts, given = DensityFronts(region_of(ball())), clicks([(12, 12, 12)], [(2, 2, 2)])
    previous = np.zeros((24,) * 3, dtype=np.float32)
    outside = np.zeros(previous.shape, dtype=bool)
    outside[:, :, 14:] = True
    free = network_input(fronts, given, previous)
    within = network_input(fronts, given, previous, outside=outside)
    wanted, attention = guided_walk(fronts, given, strength=1.0)
    np.testing.assert_array_equal(free[WALK], 2 * wanted - 1)
    np.testing.assert_array_equal(free[ATTENTION], special.logit(attention))
    assert free[WALK, 12, 12, 16] > 0
    assert (within[WALK][outside] == -1).all()
    changed = (within != free).reshape(len(CHANNELS), -1).any(axis=1)
    assert np.flatnonzero(changed).tolist() == [WALK]


def test_without_guidance_its_channels_are_zero_and_the_others_the_same():
    guided, alone = shown(), shown(guided=False)
    assert not alone[list(GUIDED)].any()
    rest = [n for n in range(len(CHANNELS)) if n not in GUIDED]
    np.testing.assert_array_equal(alone[rest], guided[rest])
    assert PREVIOUS in rest


def test_the_channels_turn_with_the_volume():
    volume, place = ball(), (9, 13, 12)
    fronts = DensityFronts(region_of(volume))
    previous = np.random.default_rng(1).random(volume.shape, dtype=np.float32)
    upright = network_input(fronts, clicks([place]), previous)
    turned_fronts = DensityFronts(region_of(np.ascontiguousarray(volume.transpose(2, 0, 1))))
    turned = network_input(
        turned_fronts, clicks([(place[2], place[0], place[1])]), previous.transpose(2, 0, 1)
    )
    np.testing.assert_allclose(turned, upright.transpose(0, 3, 1, 2), atol=2e-3)


def test_a_click_map_is_a_gaussian_of_two_voxels():
    values = click_map((9, 9, 9), np.array([[4, 4, 4], [0, 0, 0]]))
    assert values[4, 4, 6] == pytest.approx(np.exp(-0.5))
    assert values[0, 0, 0] == 1
    assert not click_map((4, 4, 4), np.zeros((0, 3), dtype=np.intp)).any()


def test_the_default_network_fits_ten_megabytes_in_half_precision():
    assert 2 * n_parameters(LabelFreeNetwork()) < weights_module.MAX_BYTES


def test_the_attention_is_added_at_the_logits_with_the_learned_weight():
    network = build_network(TINY, seed=1).eval()
    x = torch.randn(1, N_INPUTS + 1, 16, 16, 16)
    other = x.clone()
    other[:, -1] += 3.0
    with torch.inference_mode():
        difference = network(other) - network(x)
        silent = network(other, strength=0.0) - network(x, strength=0.0)
    weight = float(network.guidance_weight.detach())
    assert weight == pytest.approx(2.0)
    torch.testing.assert_close(
        difference, torch.full_like(difference, 3 * weight), rtol=1e-4, atol=1e-3
    )
    assert not silent.any()


def test_the_walk_is_added_at_the_logits_with_the_learned_weight():
    network = build_network(TINY, seed=1).eval()
    # Convolutions and head see the walk too: what they make of it is taken out.
    network.stem[0].weight.data[:, WALK] = 0
    network.head.weight.data[:, -1] = 0
    x = torch.randn(1, N_INPUTS + 1, 16, 16, 16)
    probability = torch.rand(16, 16, 16) * 0.998 + 0.001
    outcomes = []
    for walk in (2 * probability - 1, torch.zeros(16, 16, 16), torch.ones(16, 16, 16)):
        x[:, WALK] = walk
        with torch.inference_mode():
            outcomes.append(network(x)[0, 0])
    given, silent, sure = outcomes
    assert float(network.walk_weight.detach()) == pytest.approx(1.0)
    torch.testing.assert_close(given - silent, probability.logit(), rtol=1e-3, atol=1e-2)
    torch.testing.assert_close(sure - silent, torch.full_like(sure, 2 * np.arctanh(SURE)))


def test_the_learned_weights_are_trained_and_stay_positive():
    network = build_network(TINY)
    network(torch.randn(1, N_INPUTS + 1, 16, 16, 16)).sum().backward()
    for weight in (network.raw_weight, network.raw_walk_weight):
        assert float(weight.grad.abs()) > 0
        weight.data.fill_(-30.0)
    assert float(network.guidance_weight.detach()) > 0
    assert float(network.walk_weight.detach()) > 0


def test_half_and_single_precision_agree():
    network = build_network(TINY, seed=2).eval()
    x = torch.from_numpy(shown())[None]
    with torch.inference_mode():
        full = network(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = network(x)
    assert half.dtype == full.dtype == torch.float32
    assert float((half - full).abs().max()) < 0.05 * float(full.abs().max())
    # Where the answer is close to 1/2, rounding may decide.
    clear = full.abs() > 0.1
    assert ((half > 0) == (full > 0))[clear].all()


def test_samples_of_a_batch_do_not_see_each_other_and_memory_order_does_not_matter():
    network = build_network(TINY, seed=3).eval()
    x = torch.randn(2, N_INPUTS + 1, 16, 16, 16)
    with torch.inference_mode():
        both, alone = network(x), network(x[:1])
        last = network(x.to(memory_format=torch.channels_last_3d))
    torch.testing.assert_close(both[:1], alone, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(both, last, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("shape", [(1, 11, 16, 16, 16), (1, 12, 16, 16, 18), (12, 16, 16, 16)])
def test_inputs_that_do_not_fit_are_refused(shape):
    with pytest.raises(ValueError, match="multiples of 4"):
        build_network(TINY)(torch.zeros(shape))


@pytest.mark.parametrize("channels", [(8,), (8, 12), (0, 8), ()])
def test_impossible_sizes_are_refused(channels):
    with pytest.raises(ValueError, match="multiples of 8"):
        NetworkConfig(channels)


def test_the_seed_decides_the_weights_and_leaves_the_global_one_alone():
    torch.manual_seed(5)
    wanted = torch.rand(1)
    torch.manual_seed(5)
    first, second = build_network(TINY, seed=4), build_network(TINY, seed=4)
    assert torch.equal(torch.rand(1), wanted)
    assert all(map(torch.equal, first.state_dict().values(), second.state_dict().values()))
    assert not torch.equal(first.stem[0].weight, build_network(TINY, seed=5).stem[0].weight)


@pytest.mark.parametrize("n", [5, EDGE, EDGE + 1, 128, 200, 331])
def test_tiles_cover_an_axis_and_overlap(n):
    starts = tile_starts(n)
    assert starts[0] == 0
    assert starts[-1] == max(0, n - EDGE)
    assert all(0 < b - a <= EDGE - 24 for a, b in itertools.pairwise(starts))


def test_tiles_of_a_local_function_give_what_the_whole_gives():
    values = np.random.default_rng(2).random((12, 20, 130, 21), dtype=np.float32) + 0.2
    sizes = []

    def compute(part):
        sizes.append(part.shape[1:])
        return part[0] * 3 - part[9]

    result = tiled_logits(compute, values, multiple=16)
    np.testing.assert_allclose(result, values[0] * 3 - values[9], rtol=1e-5)
    assert len(sizes) == 2
    assert all(n % 16 == 0 for size in sizes for n in size)


def test_tiles_that_nothing_reaches_are_not_computed():
    values = np.zeros((12, 8, 170, 8), dtype=np.float32)
    values[7, 4, 3, 4] = 1
    calls = []

    def compute(part):
        calls.append(part)
        return np.ones(part.shape[1:], dtype=np.float32)

    result = tiled_logits(compute, values, multiple=8)
    assert len(calls) == 1
    assert result[4, 3, 4] == 1
    assert result[4, -1, 4] == EMPTY_LOGIT


@pytest.fixture
def stored(tmp_path):
    network = build_network(TINY, seed=6)
    path = tmp_path / "own.safetensors"
    digest = save_weights(network, path, record={"objects": 12})
    return network, path, digest


def test_weights_come_back_in_half_precision_with_their_record(stored):
    network, path, digest = stored
    loaded = load_weights(path)
    assert loaded.sha256 == digest
    assert loaded.record == {"objects": 12}
    assert not loaded.network.training
    for name, value in loaded.network.state_dict().items():
        torch.testing.assert_close(value, network.state_dict()[name].half().float())
    x = torch.from_numpy(shown())[None]
    with torch.inference_mode():
        torch.testing.assert_close(loaded.network(x), network.eval()(x), atol=0.05, rtol=0.02)


def test_the_file_is_safetensors(stored):
    _, path, _ = stored
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__")
    ends = [0]
    for entry in header.values():
        begin, end = entry["data_offsets"]
        assert entry["dtype"] == "F16"
        assert begin == ends[-1]
        assert end - begin == 2 * int(np.prod(entry["shape"]))
        ends.append(end)
    assert 8 + length + ends[-1] == len(content)
    assert (8 + length) % 8 == 0


def test_missing_changed_and_foreign_weights_are_named(stored, tmp_path):
    _, path, _ = stored
    with pytest.raises(WeightsMissingError, match="not installed"):
        load_weights(tmp_path / "nowhere.safetensors")
    entry = json.loads(record_path(path).read_text())
    record_path(path).write_text(json.dumps({**entry, "sha256": "0" * 64}))
    with pytest.raises(WeightsError, match="damaged or was changed"):
        load_weights(path)
    record_path(path).write_text(json.dumps({**entry, "channels": [8, 16, 32]}))
    with pytest.raises(WeightsError, match="does not fit a network of channels"):
        load_weights(path)
    record_path(path).write_text(json.dumps({**entry, "format": "other"}))
    with pytest.raises(WeightsError, match="this version reads"):
        load_weights(path)
    record_path(path).write_text("no record")
    with pytest.raises(WeightsError, match="no training record"):
        load_weights(path)
    record_path(path).unlink()
    with pytest.raises(WeightsMissingError):
        load_weights(path)


def test_weights_that_cannot_be_stored_are_refused(tmp_path, monkeypatch):
    network = build_network(TINY)
    monkeypatch.setattr(weights_module, "MAX_BYTES", 1000)
    with pytest.raises(WeightsError, match="choose a smaller network"):
        save_weights(network, tmp_path / "a.safetensors", record={})
    network.raw_weight.data.fill_(1e6)
    with pytest.raises(WeightsError, match="raw_weight does not fit into half"):
        save_weights(network, tmp_path / "a.safetensors", record={})
    assert not list(tmp_path.iterdir())
