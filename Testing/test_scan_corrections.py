"""Drift, hardening and the corrections of a whole scan."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from analytic_objects import Ellipsoid, circular_scan, project

from NASAM3DLib.reconstruct.analytic import reconstruct_fdk
from NASAM3DLib.reconstruct.iterative import TotalVariationProblem
from NASAM3DLib.reconstruct.margin import with_margin
from NASAM3DLib.reconstruct.projector import forward_project
from NASAM3DLib.reconstruct.settings import Phase
from NASAM3DLib.scan.air import find_air
from NASAM3DLib.scan.beam_hardening import Linearisation, water_correction, water_linearisation
from NASAM3DLib.scan.corrections import CorrectionSettings, correct
from NASAM3DLib.scan.drift import (
    Drift,
    drift_from_air,
    drift_from_mass,
    drift_from_prediction,
    smooth_over_views,
)
from NASAM3DLib.scan.field_of_view import default_grid
from NASAM3DLib.scan.geometry import ConeBeamGeometry
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.orbit import CircularOrbit
from NASAM3DLib.scan.physics import attenuation, harden, tube_spectrum
from NASAM3DLib.scan.projections import ProjectionSet, line_integrals

BODY = [
    Ellipsoid(0.02, (70.0, 55.0, 60.0), (5.0, 0.0, 0.0)),
    Ellipsoid(0.01, (15.0, 12.0, 20.0), (30.0, -20.0, 0.0)),
]
CONE = circular_scan(60, detector=(64, 96), pixel_mm=4.0)
PARALLEL = circular_scan(60, detector=(64, 96), pixel_mm=2.5, parallel=True)
WAVE = 0.08 * np.sin(np.linspace(0.5, 4.0, 60)) + np.linspace(0.0, 0.05, 60)


def counted(geometry: ConeBeamGeometry, photons: float, drift: np.ndarray) -> ProjectionSet:
    """The body as a detector counts it while the source's intensity drifts."""
    expected = photons * np.exp(-project(BODY, geometry) - drift[:, None, None])
    counts = np.random.default_rng(0).poisson(expected)
    return ProjectionSet(-np.log(np.maximum(counts, 0.5) / photons), geometry)


@pytest.mark.parametrize("geometry", [CONE, PARALLEL], ids=["cone", "parallel"])
def test_drift_is_read_from_air(geometry):
    drift = drift_from_air(counted(geometry, 1e4, WAVE))
    assert drift is not None
    assert drift.is_significant
    assert np.abs(drift.offsets - WAVE).max() < 0.002


def test_correcting_drift_brings_the_right_volume_back():
    grid = VolumeGrid.centred((8, 60, 60), 3.0)
    still, drifting = (counted(CONE, 1e9, shape * WAVE) for shape in (0.0, 1.0))
    truth = reconstruct_fdk(still, grid)
    before = np.sqrt(np.mean((reconstruct_fdk(drifting, grid) - truth) ** 2))
    corrected, report = correct(drifting)
    after = np.sqrt(np.mean((reconstruct_fdk(corrected, grid) - truth) ** 2))
    assert after < 0.05 * before
    assert "Corrected the source's intensity, which was -9.2 to +1.1 %" in report.done[0]


def test_a_flickering_source_is_not_smoothed_away():
    flicker = np.random.default_rng(3).normal(0.0, 0.03, 60)
    drift = drift_from_air(counted(CONE, 1e4, flicker))
    assert drift is not None
    assert np.abs(drift.offsets - flicker).max() < 0.003


def test_noise_of_the_estimate_is_smoothed_away():
    noise = np.random.default_rng(4).normal(0.0, 0.01, 60)
    smooth = smooth_over_views(WAVE + noise, 0.01)
    assert np.sqrt(np.mean((smooth - WAVE) ** 2)) < 0.007
    np.testing.assert_array_equal(smooth_over_views(WAVE[:4], 0.01), WAVE[:4])


def test_one_side_with_air_is_enough():
    shifted = circular_scan(60, detector=(64, 60), pixel_mm=4.0, detector_offset_mm=(0.0, 90.0))
    air = find_air(counted(shifted, 1e5, WAVE))
    assert air is not None
    assert air.columns[0] == 0
    assert air.columns[1] > 0


def test_a_container_beyond_the_field_of_view_is_not_taken_for_drift():
    # An off-centre tube turns with the object: one side rises while the other falls.
    geometry = circular_scan(60, arc_deg=180.0, detector=(64, 96), pixel_mm=2.5, parallel=True)
    tube = [
        Ellipsoid(0.0012, (170.0, 170.0, 1e4), (40.0, 30.0, 0.0)),
        Ellipsoid(-0.0012, (140.0, 140.0, 1e4), (40.0, 30.0, 0.0)),
    ]
    scan = ProjectionSet(project([*BODY, *tube], geometry), geometry)
    assert drift_from_air(scan) is None
    same, _ = correct(scan)
    assert same is scan


def test_a_body_that_fills_the_detector_shows_no_air():
    narrow = circular_scan(60, detector=(20, 30), pixel_mm=4.0)
    scan = counted(narrow, 1e5, WAVE)
    assert drift_from_air(scan) is None
    with pytest.raises(ValueError, match="No side of the detector sees only air"):
        correct(scan, CorrectionSettings(drift="always"))


def test_total_attenuation_shows_drift_of_a_parallel_beam():
    drift = drift_from_mass(counted(PARALLEL, 1e6, WAVE))
    assert np.abs(drift.offsets - (WAVE - WAVE.mean())).max() < 0.003
    with pytest.raises(ValueError, match="of a parallel beam only"):
        drift_from_mass(counted(CONE, 1e6, WAVE))


def test_a_reconstruction_shows_drift_where_no_air_is_seen():
    narrow = circular_scan(60, detector=(64, 50), pixel_mm=4.0)
    scan = counted(narrow, 1e6, WAVE)
    assert drift_from_air(scan) is None
    grid = with_margin(scan, default_grid(narrow, spacing_mm=6.0)).grid
    found = np.zeros(60)
    for _ in range(2):
        volume = TotalVariationProblem(scan, grid).solve(1e-3, (Phase(10, 6),))
        drift = drift_from_prediction(scan, forward_project(volume, grid, narrow))
        scan = drift.remove(scan)
        found += drift.offsets
    wanted = WAVE - WAVE.mean()
    assert np.sqrt(np.mean((found - wanted) ** 2)) < 0.15 * np.sqrt(np.mean(wanted**2))


def test_drift_of_another_scan_is_refused():
    scan = counted(CONE, 1e6, WAVE)
    with pytest.raises(ValueError, match="estimated for 3 views, the scan has 60"):
        Drift(np.zeros(3), "air").remove(scan)
    with pytest.raises(ValueError, match="must have the scan's shape"):
        drift_from_prediction(scan, np.zeros((1, 2, 3)))


@pytest.mark.parametrize("photons", [None, 1e4])
def test_a_clean_scan_comes_back_as_the_same_object(photons):
    if photons is None:
        scan = ProjectionSet(project(BODY, CONE), CONE)
    else:
        scan = counted(CONE, photons, np.zeros(60))
    corrected, report = correct(scan)
    assert corrected is scan
    assert report.done == ()


def cupping(scan: ProjectionSet) -> float:
    """How much lower the middle of a water cylinder is than its rim, in percent."""
    grid = VolumeGrid.centred((2, 80, 80), 2.5)
    array = reconstruct_fdk(scan, grid)[0]
    points = grid.to_ras(np.moveaxis(np.indices(grid.shape_kji)[::-1], 0, -1))[0]
    distance = np.hypot(points[..., 0], points[..., 1])
    middle, rim = array[distance < 15].mean(), array[(distance > 70) & (distance < 82)].mean()
    return float(100 * (1 - middle / rim))


def test_cupping_of_a_water_cylinder_goes():
    water = float(attenuation("water", 60.0))
    geometry = circular_scan(120, detector=(4, 160), pixel_mm=2.2)
    paths = project([Ellipsoid(water, (90.0, 90.0, 1e4), (0.0, 0.0, 0.0))], geometry)
    spectrum = tube_spectrum(tube_kv=80.0, aluminium_mm=3.0)
    measured = harden(paths, np.zeros_like(paths), spectrum)
    scan = ProjectionSet(measured, geometry)
    straight = abs(cupping(ProjectionSet(paths, geometry)))
    assert cupping(scan) > 4.5
    corrected = water_correction(scan, linearisation=water_linearisation(spectrum))
    assert abs(cupping(corrected)) < 0.4 + straight
    np.testing.assert_allclose(corrected.projections, paths, atol=0.004 * paths.max())


def test_the_polynomial_follows_the_spectrum():
    soft, hard = (water_linearisation(tube_spectrum(tube_kv=kv)) for kv in (70.0, 140.0))
    assert soft.coefficients != hard.coefficients
    thick = np.array([0.0, 2.0, 4.0])
    for kv, line in ((70.0, soft), (140.0, hard)):
        measured = harden(thick, np.zeros(3), tube_spectrum(tube_kv=kv))
        np.testing.assert_allclose(line.apply(measured), thick, atol=0.006)


def test_a_given_polynomial_is_applied_and_continued_straight():
    line = Linearisation((1.0, 0.1), largest=5.0)
    np.testing.assert_allclose(
        line.apply([-1.0, 0.0, 2.0, 5.0, 6.0]), [-1.0, 0.0, 2.4, 7.5, 9.5], rtol=1e-6
    )
    for coefficients, message in (((), "one or more finite"), ((1.0, -0.5), "falls somewhere")):
        with pytest.raises(ValueError, match=message):
            Linearisation(coefficients)
    with pytest.raises(ValueError, match="must be 1 to 8, got 9"):
        water_linearisation(degree=9)


def test_everything_at_once_is_told_in_plain_words():
    scan = counted(CONE, 1e5, WAVE)
    broken = scan.projections.copy()
    broken[:, :, 40] = 0.3
    wanted = CorrectionSettings.named("dead,drift,hardening", air_level=0.01)
    corrected, report = correct(ProjectionSet(broken, CONE), wanted)
    assert [line.split()[0] for line in report.done] == [
        "Repaired", "Subtracted", "Corrected", "Undid",
    ]  # fmt: skip
    assert report.figures["dead_columns"] == [40]
    assert corrected.projections[:, :, 40].max() > 1.0
    json.dumps(report.to_dict(), allow_nan=False)


def test_names_of_corrections():
    assert CorrectionSettings.named("auto") == CorrectionSettings()
    none = CorrectionSettings.named("none")
    assert (none.dead, none.drift, none.hardening) == (False, "never", False)
    assert CorrectionSettings.named(" drift ").drift == "always"
    with pytest.raises(ValueError, match="Unknown correction metal: choose auto, none"):
        CorrectionSettings.named("dead,metal")
    with pytest.raises(ValueError, match="must be one of auto, always, never"):
        CorrectionSettings(drift="sometimes")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="air_level must be a finite number"):
        CorrectionSettings(air_level=float("nan"))


def test_the_measured_background_of_a_container_is_left_alone_and_told(data_dir: Path):
    folder = data_dir / "proj-diamond-24737"
    counts = np.stack([tifffile.imread(file) for file in sorted(folder.glob("raw_*.tiff"))])
    integrals = line_integrals(
        counts,
        tifffile.imread(folder / "flat_00001.tiff"),
        dark_field=tifffile.imread(folder / "dark_00001.tiff"),
    )
    orbit = CircularOrbit(np.deg2rad(-88.2 + 2.0 * np.arange(91)), (1.0, 1.0))
    scan = ProjectionSet(integrals, ConeBeamGeometry.circular(orbit, integrals.shape[1:]))
    same, report = correct(scan)
    assert same is scan
    assert "No view falls below a line integral of 0.312" in report.remarks[-1]
