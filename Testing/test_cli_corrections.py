"""Corrections and calibration on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from analytic_objects import Ellipsoid, circular_scan, project
from typer.testing import CliRunner, Result

from NASAM3DLib.cli.app import app
from NASAM3DLib.reconstruct.volume_io import load_volume
from NASAM3DLib.scan.io import save_projections
from NASAM3DLib.scan.projections import ProjectionSet

BODY = Ellipsoid(0.0206, (60.0, 50.0, 60.0), (0.0, 0.0, 0.0))


@pytest.fixture(scope="module")
def scan_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scan with a dead column and a source that fades by a tenth."""
    geometry = circular_scan(40, detector=(56, 80), pixel_mm=4.0)
    counts = 1e5 * np.exp(-project([BODY], geometry)) * np.linspace(1, 0.9, 40)[:, None, None]
    counts = np.random.default_rng(0).poisson(counts)
    projections = -np.log(np.maximum(counts, 0.5) / 1e5)
    projections[:, :, 30] = 5.0
    path = tmp_path_factory.mktemp("corrections") / "scan.npz"
    save_projections(ProjectionSet(projections, geometry), path)
    return path


def reconstruct(scan_file: Path, output: Path, *options: str) -> Result:
    line = ["reconstruct", str(scan_file), "-o", str(output), "--method", "fdk", "--spacing", "4"]
    return CliRunner().invoke(app, [*line, *options])


def water_hu(path: Path) -> float:
    array = load_volume(path).array
    k, j, i = (n // 2 for n in array.shape)
    return float(array[k - 2 : k + 3, j - 5 : j + 6, i - 5 : i + 6].mean())


def test_corrections_are_made_and_told(scan_file: Path, tmp_path: Path) -> None:
    done = reconstruct(scan_file, tmp_path / "v.nrrd", "--report", str(tmp_path / "r.json"))
    assert done.exit_code == 0, done.output
    told = " ".join(done.stdout.split())
    assert "Repaired 0 rows, 1 columns and 0 single pixels" in told
    assert "Corrected the source's intensity, which was -10 to" in told
    report = json.loads((tmp_path / "r.json").read_text("utf-8"))
    assert report["corrections"]["dead_columns"] == [30]
    assert water_hu(tmp_path / "v.nrrd") == pytest.approx(0.0, abs=15.0)


def test_corrections_can_be_left_out(scan_file: Path, tmp_path: Path) -> None:
    done = reconstruct(scan_file, tmp_path / "v.nrrd", "--correct", "none")
    assert done.exit_code == 0, done.output
    assert "Repaired" not in done.stdout
    assert abs(water_hu(tmp_path / "v.nrrd")) > 30


def test_units_follow_what_air_and_water_read(scan_file: Path, tmp_path: Path) -> None:
    options = ("--hu-air", "0", "--hu-water", "0.0103")
    done = reconstruct(scan_file, tmp_path / "v.nrrd", *options)
    assert done.exit_code == 0, done.output
    assert water_hu(tmp_path / "v.nrrd") == pytest.approx(1000.0, abs=30.0)
    done = reconstruct(scan_file, tmp_path / "w.nrrd", "--hu-air", "auto", "--hu-water", "auto")
    assert done.exit_code == 0, done.output
    # The only tissue is taken for soft tissue of 30 HU.
    assert water_hu(tmp_path / "w.nrrd") == pytest.approx(30.0, abs=15.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--correct", "metal"), "Unknown correction metal"),
        (("--tube-kv", "100"), "belong to --correct hardening"),
        (("--hu-air", "thin"), "--hu-air must be auto or a number"),
        (("--hu-air", "0.02", "--hu-water", "0.01"), "are the two exchanged"),
    ],
)
def test_what_cannot_be_is_refused(
    scan_file: Path, tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    done = reconstruct(scan_file, tmp_path / "v.nrrd", *options)
    assert done.exit_code != 0
    assert words in " ".join(done.stderr.replace("│", " ").split())
