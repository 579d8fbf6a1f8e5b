"""The verbs ``weights`` and ``train`` of the command line."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
from file_server import Behaviour, serving
from typer.testing import CliRunner, Result

from NASAM3DLib.cli import train as train_verb
from NASAM3DLib.cli import weights as weights_verb
from NASAM3DLib.cli.app import app
from NASAM3DLib.cli.options import PROGRAM
from NASAM3DLib.weights.catalogue import SAM_MED3D_TURBO

CONTENT = np.random.default_rng(0).bytes(200_000)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("NASAM3D_WEIGHTS", str(tmp_path / "store"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "store"


@pytest.fixture
def small(monkeypatch):
    """A catalogue whose only file is small."""
    entry = dataclasses.replace(
        SAM_MED3D_TURBO, size_bytes=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest()
    )
    for module in ("catalogue", "store"):
        monkeypatch.setattr(f"NASAM3DLib.weights.{module}.CATALOGUE", {entry.name: entry})
    return entry


def run(*arguments: str, answer: str = "") -> Result:
    return CliRunner().invoke(app, list(arguments), input=answer)


def message(result: Result) -> str:
    return " ".join(result.stderr.split()).replace("│ ", "").replace(" │", "")


@pytest.mark.parametrize("module", [weights_verb, train_verb])
def test_help_has_examples_that_fit_a_terminal(module):
    shown = run(module.NAME, "--help")
    assert shown.exit_code == 0
    examples = re.findall(rf"^  {re.escape(PROGRAM)} .+$", module.HELP, flags=re.MULTILINE)
    assert examples
    for example in examples:
        assert len(example) <= 78
        assert example.strip() in shown.stdout


def test_the_list_shows_what_is_missing_and_where(folder):
    shown = run("weights")
    assert shown.exit_code == 0
    assert "sam-med3d-turbo" in shown.stdout
    assert "not installed" in shown.stdout
    assert str(folder) in shown.stdout
    assert not folder.exists()


def test_the_licence_comes_before_the_download(folder, small):
    behaviour = Behaviour(CONTENT)
    with serving(behaviour) as address:
        refused = run("weights", "download", small.name, "--mirror", address, answer="n\n")
        assert refused.exit_code == 1
        assert behaviour.requests == []
        assert "Apache License 2.0" in refused.stdout
        assert small.sha256 in refused.stdout
        agreed = run("weights", "download", small.name, "--mirror", address, answer="y\n")
        assert agreed.exit_code == 0, agreed.output
        assert agreed.stdout.index("Apache") < agreed.stdout.index("digest as expected")
        again = run("weights", "download", small.name, "--mirror", address, "--yes")
        assert "installed already" in again.stdout
        assert len(behaviour.requests) == 1
    assert "installed, in use" in run("weights", "list").stdout
    assert "as when it was stored" in run("weights", "verify", small.name).stdout
    assert "0.2 MB freed" in run("weights", "remove", small.name).stdout
    assert list(folder.iterdir()) == []


def test_a_wrong_file_is_refused(folder, small):
    with serving(Behaviour(CONTENT[:-5])) as address:
        result = run("weights", "download", small.name, "--mirror", address, "--yes")
    assert result.exit_code == 3
    assert "Nothing was installed" in message(result)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("weights download sam", 3, "no public weights 'sam'"),
        ("weights download", 2, "needs a name or a file after it"),
        ("weights install nowhere.pth", 3, "There is no file nowhere.pth"),
        ("weights verify sam-med3d-turbo", 3, "not installed"),
        ("weights remove sam-med3d-turbo", 3, "There is nothing called"),
        ("weights use mine", 3, "'mine' are not installed"),
        ("weights fly", 2, "'fly' is not one of"),
        ("weights download sam-med3d-turbo --mirror ftp://a.org", 3, "must be a web address"),
        ("train sam-med3d -o x.txt", 3, "cannot be written as 'x.txt'"),
        ("train sam-med3d -o x.pth --scratch --weights w.pth", 2, "either --weights or --scratch"),
        ("train sam-med3d -o x.pth", 3, "are not installed"),
        ("train other -o x.pth", 2, "'other' is not"),
    ],
)
def test_errors_are_one_paragraph(line, code, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if line.startswith("train"):
        pytest.importorskip("torch")
    result = run(*line.split())
    assert result.exit_code == code, result.output
    assert words in message(result)
    assert "Traceback" not in result.output
    assert not list(tmp_path.glob("x.*"))


@pytest.fixture
def tiny(monkeypatch):
    """The network of the tests in place of the large one, wherever files are loaded."""
    pytest.importorskip("torch")
    from sam_med3d_numpy import TINY

    monkeypatch.setattr("NASAM3DLib.segment.sam_med3d.model.SamMed3DConfig", lambda: TINY)
    monkeypatch.setattr(
        "NASAM3DLib.segment.sam_med3d.training_data.PhantomSource.__init__.__defaults__",
        (32, 64, 8, 200),
    )


def test_a_file_of_ones_own_is_checked_named_and_used(folder, tmp_path, tiny):
    from NASAM3DLib.segment.sam_med3d.checkpoint import save_checkpoint
    from NASAM3DLib.segment.sam_med3d.model import build_sam_med3d

    file = tmp_path / "own.pth"
    save_checkpoint(build_sam_med3d(), file)
    assert "--name" in message(run("weights", "install", str(file)))
    installed = run("weights", "install", str(file), "--name", "own")
    assert installed.exit_code == 0, installed.output
    assert run("weights", "use", "own").exit_code == 0
    assert re.search(r"own +│ installed, in use", run("weights").stdout)
    file.write_bytes(file.read_bytes()[:-100])
    damaged = run("weights", "install", str(file), "--name", "damaged")
    assert damaged.exit_code == 3
    assert "cannot be loaded" in message(damaged)
    assert sorted(p.name for p in folder.iterdir()) == ["own.json", "own.pth", "preferred.txt"]


def test_training_starts_stops_and_goes_on(tmp_path, tiny):
    output = tmp_path / "tuned.pth"
    small = ("--batch", "1", "--accumulation", "1", "--save-every", "1", "--device", "cpu")
    first = run("train", "sam-med3d", "-o", str(output), "--scratch", "--updates", "1", *small)
    assert first.exit_code == 0, first.output
    assert "1 updates, loss" in first.stdout
    assert "exists already" in message(run("train", "sam-med3d", "-o", str(output), *small))
    more = run("train", "sam-med3d", "-o", str(output), "--resume", "--updates", "2", *small)
    assert more.exit_code == 0, more.output
    assert "2 updates, loss" in more.stdout
    tuned = run("weights", "install", str(output), "--name", "tuned")
    assert tuned.exit_code == 0, tuned.output
