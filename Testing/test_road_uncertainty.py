"""Uncertainty, refinement and the published field on the road and on the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from analytic_objects import Ellipsoid, circular_scan, draw, project
from typer.testing import CliRunner, Result

from NASAM3DLib.cli.app import app
from NASAM3DLib.pipeline import Reconstruction, reconstruct
from NASAM3DLib.reconstruct.settings import NAF_EPOCHS, ReconstructionSettings
from NASAM3DLib.reconstruct.volume_io import load_volume, uncertainty_path
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.io import save_projections
from NASAM3DLib.scan.projections import ProjectionSet

BODIES = [
    Ellipsoid(0.02, (50.0, 40.0, 45.0), (0.0, 0.0, 0.0)),
    Ellipsoid(0.015, (12.0, 12.0, 12.0), (20.0, 12.0, -10.0)),
]
LONG_BODY = [
    Ellipsoid(0.02, (70.0, 55.0, 200.0), (0.0, 0.0, 0.0)),
    Ellipsoid(0.015, (14.0, 12.0, 60.0), (0.0, 30.0, 0.0)),
    Ellipsoid(-0.01, (15.0, 15.0, 30.0), (-30.0, -10.0, 0.0)),
]
GRID = VolumeGrid.centred((15, 18, 18), 7.0)
SETTINGS = ReconstructionSettings(tv_strength=1e-3, uncertainty=True)


def scanned(
    bodies: list[Ellipsoid], *, detector: tuple[int, int], pixel_mm: float
) -> ProjectionSet:
    geometry = circular_scan(24, detector=detector, pixel_mm=pixel_mm)
    return ProjectionSet(project(bodies, geometry), geometry)


@pytest.fixture(scope="module")
def scan() -> ProjectionSet:
    return scanned(BODIES, detector=(32, 40), pixel_mm=8.0)


@pytest.fixture(scope="module")
def standard(scan: ProjectionSet) -> Reconstruction:
    return reconstruct(scan, GRID, SETTINGS)


@pytest.fixture(scope="module")
def scan_file(scan: ProjectionSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("uncertainty") / "scan.npz"
    save_projections(scan, path)
    return path


def test_the_map_does_not_change_the_volume(scan: ProjectionSet, standard: Reconstruction) -> None:
    plain = reconstruct(scan, GRID, replace(SETTINGS, uncertainty=False)).volume
    assert plain.uncertainty is None
    assert plain.array.tobytes() == standard.volume.array.tobytes()
    spread = standard.volume.uncertainty
    assert spread is not None
    assert spread.shape == GRID.shape_kji
    assert spread.min() > 0
    assert standard.report["uncertainty_median"] == pytest.approx(float(np.median(spread)))
    assert standard.report["seconds"]["uncertainty"] > 0
    json.dumps(standard.report, allow_nan=False)


def test_the_map_covers_the_errors_of_a_refined_volume(scan: ProjectionSet) -> None:
    done = reconstruct(scan, GRID, replace(SETTINGS, quality="best"))
    assert done.report["refined"] is True
    spread = done.volume.uncertainty
    assert spread is not None
    error = np.abs(done.volume.array - draw(BODIES, GRID, 3))
    assert 0.68 < np.mean(error <= spread) <= 1.0
    assert np.mean(error <= 2 * spread) > 0.9


def test_progress_goes_on_from_the_volume_to_the_map(scan: ProjectionSet) -> None:
    seen: list[tuple[str, float]] = []
    reconstruct(
        scan, GRID, SETTINGS, progress=lambda stage, fraction: seen.append((stage, fraction))
    )
    fractions = [fraction for _, fraction in seen]
    assert fractions == sorted(fractions)
    mapped = [fraction for stage, fraction in seen if stage == "estimating the uncertainty"]
    assert mapped[0] == pytest.approx(0.65)
    assert mapped[-1] == 1.0


@pytest.mark.parametrize("quality", ["standard", "best"])
def test_a_cut_off_scan_gets_map_and_volume_on_the_wanted_voxels(quality: str) -> None:
    cut_off = scanned(LONG_BODY, detector=(24, 52), pixel_mm=8.0)
    wanted = VolumeGrid.centred((12, 24, 24), 7.0)
    settings = replace(SETTINGS, quality=quality)  # type: ignore[arg-type]
    done = reconstruct(cut_off, wanted, settings)
    assert done.report["surroundings"]
    assert done.report["refined"] is (quality == "best")
    assert done.volume.grid.same_as(wanted)
    spread = done.volume.uncertainty
    assert spread is not None
    assert spread.shape == wanted.shape_kji
    truth = draw(LONG_BODY, wanted, 3)
    error = done.volume.array - truth
    assert np.sqrt(np.mean(error**2)) < 0.1 * truth.max()
    caps = error[[0, -1]] / LONG_BODY[0].value
    assert abs(caps.mean()) < 0.05
    assert np.mean(np.abs(error) <= 2 * spread) > 0.8


def test_the_refinement_helps_a_cut_off_scan() -> None:
    # Pixels that measure the mean over their area, as the best quality expects of them.
    fine = scanned(LONG_BODY, detector=(96, 208), pixel_mm=2.0).projections
    means = fine.reshape(len(fine), 24, 4, 52, 4).mean(axis=(2, 4))
    cut_off = replace(scanned(LONG_BODY, detector=(24, 52), pixel_mm=8.0), projections=means)
    wanted = VolumeGrid.centred((12, 24, 24), 7.0)
    truth = draw(LONG_BODY, wanted, 3)

    def rms(quality: str) -> float:
        """Error of a quality, 1/mm."""
        settings = ReconstructionSettings(quality=quality)  # type: ignore[arg-type]
        error = reconstruct(cut_off, wanted, settings).volume.array - truth
        return float(np.sqrt(np.mean(error**2)))

    assert rms("best") < 0.95 * rms("standard")


@pytest.mark.parametrize(
    ("method", "quality"), [("fdk", "standard"), ("naf", "best"), ("tv", "preview")]
)
def test_maps_that_cannot_be_are_refused(method: str, quality: str) -> None:
    words = f"got {method} at {quality}: choose one of them or leave it out"
    with pytest.raises(ValueError, match=words):
        ReconstructionSettings(method, quality, uncertainty=True)  # type: ignore[arg-type]


def command(scan_file: Path, output: Path, *options: str) -> Result:
    line = ["reconstruct", str(scan_file), "-o", str(output), "--correct", "none"]
    return CliRunner().invoke(app, [*line, "--spacing", "9", *options])


def told(done: Result) -> str:
    """What went to standard error, without the frame and line ends."""
    return " ".join(done.stderr.replace("│", " ").split())


def test_the_command_line_writes_the_map_beside_the_volume(scan_file: Path, tmp_path: Path) -> None:
    output = tmp_path / "v.nrrd"
    options = ("--uncertainty", "--tv-strength", "1e-3", "--report", str(tmp_path / "r.json"))
    done = command(scan_file, output, *options)
    assert done.exit_code == 0, done.output
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r.json", "v.nrrd", "v_uncertainty.nrrd"]
    volume = load_volume(output)
    spread = volume.uncertainty
    assert spread is not None
    assert volume.quantity == "HU"
    story = json.loads((tmp_path / "r.json").read_text("utf-8"))
    assert story["settings"]["uncertainty"] is True
    # In HU as the volume, while the report tells 1/mm; water is 0.0206 above air's 0.0000226.
    per_hu = (0.0206 - 2.26e-5) / 1000
    assert np.median(spread) * per_hu == pytest.approx(story["uncertainty_median"], rel=0.01)


def test_an_existing_map_is_noticed_before_the_work(scan_file: Path, tmp_path: Path) -> None:
    beside = uncertainty_path(tmp_path / "v.nrrd")
    beside.write_bytes(b"mine")
    done = command(scan_file, tmp_path / "v.nrrd", "--uncertainty")
    assert done.exit_code != 0
    assert "exists already: choose another name" in told(done)
    assert beside.read_bytes() == b"mine"
    assert not (tmp_path / "v.nrrd").exists()


@pytest.mark.parametrize(
    "options", [("--quality", "preview"), ("--method", "fdk"), ("--method", "naf")]
)
def test_the_command_line_refuses_maps_that_cannot_be(
    scan_file: Path, tmp_path: Path, options: tuple[str, str]
) -> None:
    done = command(scan_file, tmp_path / "v.nrrd", "--uncertainty", *options)
    assert done.exit_code != 0
    assert "choose one of them or leave it out" in told(done)
    assert list(tmp_path.iterdir()) == []


def test_the_published_field_runs_with_the_epochs_of_the_quality(
    scan_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from NASAM3DLib.reconstruct import naf_fit
    from NASAM3DLib.reconstruct.naf import NafSettings
    from NASAM3DLib.reconstruct.volume import Volume

    given: list[NafSettings] = []

    def quick(
        projection_set: ProjectionSet, grid: VolumeGrid, settings: NafSettings, **_: object
    ) -> naf_fit.NafFit:
        """Note the settings instead of training for hours."""
        given.append(settings)
        volume = Volume(np.full(grid.shape_kji, 0.02), grid)
        return naf_fit.NafFit(volume, None, (2.0, 1.0))  # type: ignore[arg-type]

    monkeypatch.setattr(naf_fit, "fit_naf", quick)
    options = ("--method", "naf", "--quality", "preview", "--report", str(tmp_path / "r.json"))
    done = command(scan_file, tmp_path / "v.nrrd", *options)
    assert done.exit_code == 0, done.output
    assert given[0].n_epochs == NAF_EPOCHS["preview"]
    story = json.loads((tmp_path / "r.json").read_text("utf-8"))
    assert (story["returned"], story["surroundings"]) == ("naf", "")
    assert story["naf_losses"] == [2.0, 1.0]
    assert load_volume(tmp_path / "v.nrrd").array.mean() == pytest.approx(-29.2, abs=1.0)


def test_the_seed_decides_about_the_map(scan: ProjectionSet, standard: Reconstruction) -> None:
    again = reconstruct(scan, GRID, SETTINGS).volume.uncertainty
    other = reconstruct(scan, GRID, replace(SETTINGS, seed=1)).volume.uncertainty
    assert again is not None
    assert other is not None
    assert standard.volume.uncertainty is not None
    assert again.tobytes() == standard.volume.uncertainty.tobytes()
    assert other.tobytes() != again.tobytes()
