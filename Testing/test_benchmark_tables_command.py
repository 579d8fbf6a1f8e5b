"""``benchmark --data``: its options, a user's own method, and what its documentation shows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmark_folder import make_folder, sources_of
from typer.testing import CliRunner

from NASAM3DLib.benchmark import tables_document
from NASAM3DLib.benchmark.discovery import find_cases
from NASAM3DLib.benchmark.methods.registry import all_methods
from NASAM3DLib.cli.app import app
from NASAM3DLib.cli.benchmark_tables import numbers_of, recipes_of
from NASAM3DLib.evaluate.clicks import click_session


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("data"))


def invoke(*arguments: str):
    return CliRunner().invoke(app, ["benchmark", *arguments])


USER_FILE = '''
from NASAM3DLib.benchmark.methods.protocol import Method
from NASAM3DLib.segment.mask import Mask
from dataclasses import dataclass


@dataclass(frozen=True)
class Ball:
    """Data classes need the module to be known by its name."""

    radius_mm: float = 15.0


class Balls:
    """A ball of 15 mm around each positive click."""

    def set_volume(self, volume):
        self.grid = volume.grid

    def predict(self, prompts):
        import numpy as np

        voxels = np.indices(self.grid.shape_kji)[::-1]
        points = self.grid.to_ras(np.moveaxis(voxels, 0, -1))
        near = [
            np.linalg.norm(points - point, axis=-1) < Ball().radius_mm
            for point in prompts.positive_ras
        ]
        return Mask(np.any(near, axis=0), self.grid).tidied(prompts)


METHODS = (Method("balls", "peer", "a ball of 15 mm around each click", Balls),)
'''


@pytest.mark.parametrize("word", [(), ("tables",)])
def test_the_command_takes_a_users_file_with_or_without_the_word(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: tuple[str, ...]
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tables_document, "picture_examples", lambda *_, **__: ())
    (tmp_path / "mine.py").write_text("from __future__ import annotations\n" + USER_FILE, "utf-8")
    result = invoke(
        *word,
        *("--data", str(folder), "--recipes", "fdk", "--views", "12", "--clicks", "1"),
        *("--methods", "mine.py", "--method", "balls", "--write"),
    )
    assert result.exit_code == 0, result.output
    assert "8 sessions, 0 of them failed." in result.output
    text = (tmp_path / "docs" / "tables.md").read_text("utf-8")
    assert "balls (peer; 0.1.0): a ball of 15 mm around each click." in text
    assert (tmp_path / "bench-output" / "tables" / "tables.html").is_file()
    assert "built-in: not run" in text


def test_help_of_the_group_names_all_benchmarks():
    result = invoke("--help")
    assert result.exit_code == 0
    for word in ("clicks", "density", "tables"):
        assert word in result.output


def test_options_that_cannot_be_meant_are_refused(folder: Path):
    assert recipes_of("fdk, tv,fdk") == ("fdk", "tv")
    assert numbers_of("50, 25,50") == (50, 25)
    for words, message in (
        (("--recipes", "magic"), "--recipes knows fdk, os, tv"),
        (("--views", "1"), "--views wants numbers from 2 on"),
    ):
        result = invoke("--data", str(folder), *words)
        assert result.exit_code == 2
        assert message in " ".join(result.output.replace("│", " ").split())


def test_the_method_in_the_documentation_runs(folder: Path, tmp_path: Path):
    text = (Path(__file__).parents[1] / "docs" / "comparators.md").read_text("utf-8")
    file = tmp_path / "band.py"
    file.write_text(text.split("```python\n")[1].split("```")[0], "utf-8")
    method = all_methods((file,))["band"]
    case = sources_of(folder)[0].load(3.0)

    session = click_session(method.make(), case.volume, target=case.targets[0].mask, n_clicks=2)
    assert session.records[-1].dice > 0.8
    assert session.masks[-1].disagreements(session.prompts) == []


def test_the_layout_in_the_documentation_is_read(folder: Path, tmp_path: Path):

    text = (Path(__file__).parents[1] / "docs" / "comparators.md").read_text("utf-8")
    entry = json.loads(text.split("```json\n")[1].split("```")[0])
    (tmp_path / "1").mkdir()
    for name in ("ct.nii.gz", "seg.nii.gz"):
        (tmp_path / "1" / name).write_bytes(b"")
    (tmp_path / "benchmark.json").write_text(json.dumps(entry), "utf-8")
    (case,) = find_cases(tmp_path)
    assert (case.name, case.data_set, case.targets[0].labels) == ("patient 1", "my hospital", (2,))


def test_without_torch_the_tables_find_their_comparators(tmp_path: Path):
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path\n"
        "from NASAM3DLib.benchmark.swin_plan import SwinSettings\n"
        "from NASAM3DLib.benchmark.tables_run import comparator_files\n"
        "print(sorted(path.stem for path in comparator_files(Path(sys.argv[1]))))\n"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=root, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['sa3d', 'swin_unetr']"
