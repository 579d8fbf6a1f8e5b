"""The uncertainty map: its laws, its honesty on a known object, and its file."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from analytic_objects import Ellipsoid, circular_scan, draw, project
from scipy.stats import spearmanr

from NASAM3DLib.progress import Cancelled
from NASAM3DLib.reconstruct.iterative import TotalVariationProblem
from NASAM3DLib.reconstruct.settings import PHASES
from NASAM3DLib.reconstruct.uncertainty import estimate_uncertainty, view_coverage
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.reconstruct.volume_io import load_volume, save_volume, uncertainty_path
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.projections import ProjectionSet

STRENGTH = 2e-3
BODY = 0.007
BODIES = [
    Ellipsoid(0.02, (48.0, 38.0, 40.0), (0.0, 0.0, 0.0)),
    Ellipsoid(0.004, (18.0, 14.0, 20.0), (-20.0, 5.0, 0.0), 0.4),
    Ellipsoid(0.02, (7.0, 9.0, 60.0), (8.0, -22.0, 0.0)),
    Ellipsoid(-0.019, (9.0, 7.0, 12.0), (22.0, 12.0, 5.0)),
]
GRID = VolumeGrid.centred((30, 40, 40), 3.2)


def scan(n_views: int = 40, noise: float = 0.0, **options: object) -> ProjectionSet:
    geometry = circular_scan(n_views, **options)  # type: ignore[arg-type]
    projections = project(BODIES, geometry)
    noisy = projections + np.random.default_rng(5).normal(0, noise, projections.shape)
    return ProjectionSet(noisy.astype(np.float32), geometry)


def reconstructed(measured: ProjectionSet) -> Volume:
    problem = TotalVariationProblem(measured, GRID)
    return Volume(problem.solve(STRENGTH, PHASES["standard"]), GRID)


def map_of(measured: ProjectionSet, seed: int = 0) -> np.ndarray:
    return estimate_uncertainty(measured, reconstructed(measured), STRENGTH, seed=seed)


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    return draw(BODIES, GRID, 3)


@pytest.fixture(scope="module")
def noisy() -> tuple[ProjectionSet, Volume, np.ndarray]:
    measured = scan(noise=0.03)
    volume = reconstructed(measured)
    return measured, volume, estimate_uncertainty(measured, volume, STRENGTH)


def test_the_map_ranks_and_covers_the_true_errors(noisy, truth):
    _, volume, spread = noisy
    body = truth > BODY
    error = np.abs(volume.array - truth)[body]
    assert spread.dtype == np.float32
    assert spread.shape == GRID.shape_kji
    # Ideal normal errors with these standard deviations would give 0.5 to 0.6.
    assert spearmanr(spread[body], error)[0] > 0.4
    # Ideal shares are 0.68 and 0.95.
    assert 0.55 < (error < spread[body]).mean() < 0.85
    assert 0.85 < (error < 2 * spread[body]).mean() < 0.99


def test_noise_and_missing_views_widen_the_map(noisy, truth):
    body = truth > BODY
    usual = np.median(noisy[2][body])
    assert np.median(map_of(scan(noise=0.06))[body]) > 1.3 * usual
    assert np.median(map_of(scan(noise=0.0))[body]) < 0.85 * usual
    assert np.median(map_of(scan(20, noise=0.03))[body]) > 1.15 * usual


def test_air_far_away_is_surer_than_the_body(noisy, truth):
    far = np.zeros(GRID.shape_kji, dtype=bool)
    far[:, :4, :4] = far[:, -4:, -4:] = True
    assert not truth[far].any()
    assert np.median(noisy[2][far]) < 0.4 * np.median(noisy[2][truth > 0])


def test_the_map_has_the_unit_of_the_volume(noisy):
    measured, volume, spread = noisy
    other = ProjectionSet(measured.projections * 0.25, measured.geometry)
    got = estimate_uncertainty(other, replace(volume, array=volume.array * 0.25), STRENGTH)
    np.testing.assert_allclose(got, 0.25 * spread, rtol=1e-3)


def test_a_seed_gives_one_map_and_another_seed_a_similar_one(noisy):
    measured, volume, spread = noisy
    again = estimate_uncertainty(measured, volume, STRENGTH, seed=0)
    assert again.tobytes() == spread.tobytes()
    other = estimate_uncertainty(measured, volume, STRENGTH, seed=1)
    assert np.abs(other - spread).max() > 0
    assert np.median(other) == pytest.approx(np.median(spread), rel=0.1)


def test_voxels_that_no_view_sees_are_as_uncertain_as_the_scan_is_dense():
    measured = scan(detector=(12, 64))
    share = view_coverage(measured.geometry, GRID)
    assert (share[14:16, 4:-4, 4:-4] == 1).all()
    hidden = share == 0
    assert hidden[[0, -1]].all()
    spread = map_of(measured)
    mean = TotalVariationProblem(measured, GRID).mean_attenuation
    assert spread[hidden].min() > 0.8 * mean
    assert np.median(spread[hidden]) > 3 * np.median(spread[14:16])


def test_every_voxel_is_seen_by_a_large_detector():
    assert (view_coverage(circular_scan(8, detector=(200, 200)), GRID) == 1).all()


def test_refused_and_cancelled(noisy):
    measured, volume, _ = noisy
    with pytest.raises(ValueError, match=r"got a volume in HU: give the reconstruction before"):
        estimate_uncertainty(measured, volume.to_hu(), STRENGTH)
    with pytest.raises(ValueError, match=r"must be 0 or more, got -1"):
        estimate_uncertainty(measured, volume, -1.0)
    seen: list[float] = []

    def cancel(stage: str, fraction: float) -> None:
        seen.append(fraction)
        if fraction > 0.3:
            raise Cancelled

    with pytest.raises(Cancelled):
        estimate_uncertainty(measured, volume, STRENGTH, progress=cancel)
    assert seen == sorted(seen)


def small(value: float = 1e-3) -> Volume:
    grid = VolumeGrid.centred((4, 5, 6), 1.5)
    rng = np.random.default_rng(0)
    array = rng.uniform(0, 0.05, grid.shape_kji).astype(np.float32)
    return Volume(array, grid, uncertainty=np.full(grid.shape_kji, value, dtype=np.float32))


@pytest.mark.parametrize("name", ["v.nrrd", "v.nii.gz", "v.mha"])
@pytest.mark.parametrize("unit", ["attenuation", "HU"])
def test_the_map_is_saved_beside_the_volume(tmp_path: Path, name: str, unit: str) -> None:
    made = small() if unit == "attenuation" else small().to_hu()
    path = tmp_path / "deep" / name
    save_volume(made, path)
    beside = uncertainty_path(path)
    assert beside.name == name.replace("v.", "v_uncertainty.")
    loaded = load_volume(path)
    assert loaded.quantity == unit
    np.testing.assert_array_equal(loaded.uncertainty, made.uncertainty)
    assert sorted(p.name for p in path.parent.iterdir()) == sorted([name, beside.name])
    with pytest.raises(ValueError, match=r"holds the uncertainty of a volume.*load the volume"):
        load_volume(beside)


def test_hu_scales_the_map_without_an_offset() -> None:
    got = small().to_hu(water=0.02, air=0.0)
    np.testing.assert_allclose(got.uncertainty, 1e-3 * 1000 / 0.02, rtol=1e-5)
    np.testing.assert_allclose(got.to_attenuation(water=0.02, air=0.0).uncertainty, 1e-3, rtol=1e-5)


def test_a_map_is_never_taken_for_another_volumes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "v.nii.gz"
    save_volume(small(), path)
    beside = uncertainty_path(path).read_bytes()
    changed = replace(small(), array=small().array * 2, uncertainty=None)
    save_volume(changed, path, force=True)
    assert not uncertainty_path(path).exists()
    uncertainty_path(path).write_bytes(beside)
    with caplog.at_level(logging.WARNING):
        assert load_volume(path).uncertainty is None
    assert "does not belong to the volume beside it" in caplog.text


def test_an_existing_map_stays_without_force(tmp_path: Path) -> None:
    path = tmp_path / "v.nrrd"
    save_volume(small(), path)
    path.unlink()
    with pytest.raises(FileExistsError, match=r"v_uncertainty\.nrrd exists already"):
        save_volume(small(2e-3), path)
    assert [p.name for p in tmp_path.iterdir()] == ["v_uncertainty.nrrd"]
    save_volume(small(2e-3), path, force=True)
    np.testing.assert_array_equal(load_volume(path).uncertainty, np.float32(2e-3))
