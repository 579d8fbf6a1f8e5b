"""What the README tells readers to type works."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from NASAM3DLib.cli.app import app
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.reconstruct.volume_io import save_volume
from NASAM3DLib.scan.grid import VolumeGrid

LESION_RAS, LESION_RADIUS_MM = (12.0, -45.0, 30.0), 22.0


@pytest.fixture(scope="module")
def readme(repository_root: Path) -> str:
    return (repository_root / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a CT that holds a lesion where the README clicks."""
    folder = tmp_path_factory.mktemp("readme")
    grid = VolumeGrid.centred((36, 44, 44), 5.0)
    k, j, i = np.indices(grid.shape_kji)
    ras = grid.to_ras(np.stack([i, j, k], axis=-1))
    array = np.full(grid.shape_kji, -1000.0, dtype=np.float32)
    array[np.linalg.norm(ras[..., :2], axis=-1) < 95] = -90.0
    array[np.linalg.norm(ras - LESION_RAS, axis=-1) < LESION_RADIUS_MM] = 60.0
    save_volume(Volume(array, grid, "HU"), folder / "ct.nii.gz")
    return folder


def test_commands_then_python(readme: str, workplace: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(workplace)
    commands = re.findall(r"^python -m NASAM3DLib (.+)$", readme, flags=re.MULTILINE)
    assert {shlex.split(command)[0] for command in commands} >= {
        "simulate",
        "reconstruct",
        "segment",
        "evaluate",
        "info",
    }
    for command in commands:
        words = shlex.split(command)
        if words[0] == "simulate":
            # A small detector, and so a small default grid: everything else is as printed.
            words += ["--detector", "72,96"]
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, f"{command}: {result.stderr}"
    assert (workplace / "lesion.seg.nrrd").is_file()
    (code,) = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    volume_ml = float(capsys.readouterr().out.split()[0])
    expected_ml = 4 / 3 * np.pi * LESION_RADIUS_MM**3 / 1000
    assert volume_ml == pytest.approx(expected_ml, rel=0.25)


def test_files_that_the_readme_names_exist(readme: str, repository_root: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", readme)
    missing = [link for link in links if not (repository_root / link).exists()]
    assert missing == []
    for name in re.findall(r"`((?:scan|reconstruct|segment)/\w+\.py)`", readme):
        assert (repository_root / "NASAM3DLib" / name).is_file(), name
