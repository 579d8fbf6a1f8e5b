"""The tool that averages two sets of weights: the mean itself, both records, refusals."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "Tools"))

from average_weights import average, main  # noqa: E402

from NASAM3DLib.segment.labelfree.network import NetworkConfig, build_network  # noqa: E402
from NASAM3DLib.segment.labelfree.weights import load_weights, save_weights  # noqa: E402


@pytest.fixture
def pair(tmp_path):
    """Two tiny networks in files, whose records tell them apart."""
    paths = []
    for seed in (0, 1):
        path = tmp_path / f"{seed}.safetensors"
        save_weights(build_network(NetworkConfig((8, 16)), seed=seed), path, record={"seed": seed})
        paths.append(path)
    return paths


def state(path):
    return load_weights(path).network.state_dict()


def test_every_weight_is_the_mean(pair, tmp_path):
    output = tmp_path / "mean.safetensors"
    average(*pair, output, share=0.25)
    first, second, mean = state(pair[0]), state(pair[1]), state(output)
    for name, value in mean.items():
        wanted = 0.75 * first[name] + 0.25 * second[name]
        # Weights are kept in half precision.
        torch.testing.assert_close(value, wanted, rtol=2e-3, atol=1e-4)


def test_the_ends_are_the_files_themselves(pair, tmp_path):
    for share, path in zip((0.0, 1.0), pair, strict=True):
        output = tmp_path / f"end{share}.safetensors"
        average(*pair, output, share=share)
        for name, value in state(output).items():
            assert torch.equal(value, state(path)[name])


def test_the_record_holds_both_records(pair, tmp_path, capsys):
    output = tmp_path / "mean.safetensors"
    assert main([str(pair[0]), str(pair[1]), "-o", str(output)]) == 0
    record = json.loads(output.with_suffix(".json").read_text())
    parts = record["training"]["mean_of"]
    assert [part["training"] for part in parts] == [{"seed": 0}, {"seed": 1}]
    assert [part["sha256"] for part in parts] == [load_weights(path).sha256 for path in pair]
    assert record["sha256"] in capsys.readouterr().out


def test_what_has_no_mean_is_refused(pair, tmp_path):
    other = tmp_path / "other.safetensors"
    save_weights(build_network(NetworkConfig((8, 24))), other, record={})
    with pytest.raises(ValueError, match="same channels"):
        average(pair[0], other, tmp_path / "mean.safetensors", share=0.5)
    with pytest.raises(ValueError, match="share"):
        average(*pair, tmp_path / "mean.safetensors", share=1.5)
    average(*pair, tmp_path / "mean.safetensors", share=0.5)
    with pytest.raises(FileExistsError):
        average(*pair, tmp_path / "mean.safetensors", share=0.5)
