"""Noise, spectrum, presets and simulated scans."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest

from NASAM3DLib.progress import Cancelled
from NASAM3DLib.reconstruct import simulate as simulate_module
from NASAM3DLib.reconstruct.simulate import (
    SimulationSettings,
    fine_lattice,
    scanned_means,
    simulate,
    with_subpixels,
)
from NASAM3DLib.reconstruct.volume import WATER_ATTENUATION, Volume
from NASAM3DLib.scan.geometry import ConeBeamGeometry
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.physics import (
    add_noise,
    attenuation,
    correct_for_water,
    harden,
    split_materials,
    tube_spectrum,
)
from NASAM3DLib.scan.presets import default_scan


def ball(n: int = 32, radius_mm: float = 40.0, value: float = WATER_ATTENUATION) -> Volume:
    grid = VolumeGrid.centred((n,) * 3, 120.0 / n, centre_ras=(5, -10, 20))
    fine = grid.refined(3)
    points = fine.to_ras(np.stack(np.indices(fine.shape_kji)[::-1], axis=-1))
    inside = np.linalg.norm(points - grid.centre_ras, axis=-1) < radius_mm
    array = inside.reshape(n, 3, n, 3, n, 3).mean(axis=(1, 3, 5)) * value
    return Volume(array.astype(np.float32), grid)


def small_scan(volume: Volume) -> ConeBeamGeometry:
    return default_scan(volume.grid, n_views=5, detector_shape=(24, 32))


def test_noise_has_the_stated_mean_and_deviation() -> None:
    p = np.full((4, 100, 100), 2.0, np.float32)
    noisy = add_noise(p, 1e5, electronic_noise=50.0, rng=np.random.default_rng(0))
    counts = 1e5 * np.exp(-2)
    assert noisy.mean() == pytest.approx(2.0, abs=5e-4)
    assert noisy.std() == pytest.approx(np.sqrt(counts + 2500) / counts, rel=0.03)


def test_noise_stays_finite_behind_metal_and_repeats_by_seed() -> None:
    p = np.full((1, 50, 50), 20.0, np.float32)
    first, second = (
        add_noise(p, 1e4, electronic_noise=5.0, rng=np.random.default_rng(3)) for _ in range(2)
    )
    assert np.isfinite(first).all()
    assert first.max() <= np.log(1e4 / 0.5) + 1e-5
    assert first.tobytes() == second.tobytes()


def test_noise_refuses_impossible_numbers() -> None:
    rng, p = np.random.default_rng(0), np.zeros((1, 2, 2))
    with pytest.raises(ValueError, match=r"photons must be positive, got 0"):
        add_noise(p, 0, rng=rng)
    with pytest.raises(ValueError, match=r"electronic_noise must not be negative, got -1"):
        add_noise(p, 10, electronic_noise=-1, rng=rng)


def test_attenuation_agrees_with_the_table_and_the_volume() -> None:
    assert float(attenuation("water", 60.0)) == pytest.approx(0.02059, rel=1e-6)
    assert float(attenuation("water", 60.0)) == pytest.approx(WATER_ATTENUATION, rel=1e-3)
    assert float(attenuation("bone", 60.0)) == pytest.approx(0.3148 * 0.192, rel=1e-6)
    energies = np.linspace(10, 150, 60)
    for material in ("water", "bone", "aluminium"):
        assert (np.diff(attenuation(material, energies)) < 0).all()


def test_spectrum_is_that_of_a_filtered_tube() -> None:
    spectrum = tube_spectrum()
    assert spectrum.weights.sum() == pytest.approx(1.0)
    assert spectrum.weights.min() >= 0
    mean = float(spectrum.weights @ spectrum.energies_kev)
    assert 55 < mean < 75
    harder = tube_spectrum(aluminium_mm=20.0)
    assert float(harder.weights @ harder.energies_kev) > mean
    with pytest.raises(ValueError, match=r"tube_kv must be between 20 and 150 kV, got 500"):
        tube_spectrum(tube_kv=500)


def test_hardening_bends_the_line_downwards() -> None:
    spectrum = tube_spectrum()
    path = np.linspace(0, 8, 50)
    measured = harden(path, np.zeros_like(path), spectrum).astype(np.float64)
    slope = np.diff(measured) / np.diff(path)
    assert measured[0] == pytest.approx(0, abs=1e-6)
    assert (np.diff(slope) < 1e-6).all()
    assert slope[-1] < 0.97 * slope[0]


def test_one_energy_does_not_harden() -> None:
    spectrum = replace(tube_spectrum(), energies_kev=np.array([60.0]), weights=np.array([1.0]))
    water, bone = np.array([1.0, 3.0]), np.array([0.5, 2.0])
    np.testing.assert_allclose(harden(water, bone, spectrum), water + bone, rtol=1e-6)


def test_water_correction_undoes_water_and_leaves_bone() -> None:
    spectrum = tube_spectrum()
    path = np.linspace(0, 10, 40)
    nothing = np.zeros_like(path)
    water = correct_for_water(harden(path, nothing, spectrum), spectrum)
    np.testing.assert_allclose(water, path, atol=2e-3)
    bone = correct_for_water(harden(nothing, path, spectrum), spectrum)
    assert np.abs(bone - path)[20:].min() > 0.1
    negative = correct_for_water(np.array([-0.01]), spectrum)
    assert -0.02 < negative[0] < 0


def test_materials_add_up() -> None:
    array = np.linspace(0, 4, 200, dtype=np.float32) * WATER_ATTENUATION
    water, bone = split_materials(array, water=WATER_ATTENUATION)
    np.testing.assert_allclose(water + bone, array, atol=1e-8)
    assert (bone[array < 1.14 * WATER_ATTENUATION] == 0).all()
    assert (water[array > 1.61 * WATER_ATTENUATION] == 0).all()


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.5, 0.7, 3.0)])
def test_default_scan_sees_every_corner(spacing: tuple[float, float, float]) -> None:
    grid = VolumeGrid.centred((60, 80, 70), spacing, centre_ras=(10, 20, 30))
    geometry = default_scan(grid, n_views=16, detector_shape=(40, 50))
    assert geometry.orbit is not None
    seen = np.array([geometry.project_points(n, grid.corners_ras) for n in range(16)])
    assert seen.min() >= -0.5
    assert (seen.max(axis=(0, 1)) <= np.array([39.5, 49.5])).all()
    # Not wastefully large either: some corner is near an edge.
    assert min(seen[..., 0].min() / 40, seen[..., 1].min() / 50) < 0.1


def test_default_scan_spreads_views_and_refuses_giants() -> None:
    grid = VolumeGrid.centred((10, 10, 10), 1.0)
    half = default_scan(grid, n_views=4, arc_rad=np.pi)
    assert half.orbit is not None
    np.testing.assert_allclose(np.degrees(half.orbit.angles_rad), (0, 45, 90, 135))
    with pytest.raises(ValueError, match=r"crop the volume, or give a geometry"):
        default_scan(VolumeGrid.centred((10, 100, 100), 10.0))
    with pytest.raises(ValueError, match=r"at least one view, got n_views = 0"):
        default_scan(grid, n_views=0)


def test_refined_lattice_keeps_box_mean_and_ramps() -> None:
    volume = ball()
    array, grid = fine_lattice(volume, 1.0)
    assert grid.spacing_mm.max() <= 0.5
    np.testing.assert_allclose(grid.corners_ras, volume.grid.corners_ras, atol=1e-9)
    assert array.mean() == pytest.approx(volume.array.mean(), rel=1e-3)
    k = np.arange(6, dtype=np.float32)[:, None, None] * np.ones((6, 3, 3), np.float32)
    ramp, _ = fine_lattice(Volume(k, VolumeGrid.centred((6, 3, 3), 1.0)), None)
    np.testing.assert_allclose(ramp[1:-1, 0, 0], (np.arange(1, 11) + 0.5) / 2 - 0.5, atol=1e-6)


def test_what_was_scanned_is_smoother_than_the_voxels_and_as_heavy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    volume = ball()
    means = scanned_means(volume)
    assert means.grid.same_as(volume.grid)
    assert means.quantity == volume.quantity
    assert means.array.sum() == pytest.approx(volume.array.sum(), rel=1e-6)
    v = np.pad(volume.array.astype(np.float64), 1, mode="edge")
    for axis in range(3):
        v = (np.roll(v, 1, axis) + 6 * v + np.roll(v, -1, axis)) / 8
    np.testing.assert_allclose(means.array, v[1:-1, 1:-1, 1:-1], atol=1e-6 * WATER_ATTENUATION)
    # Without a finer lattice the voxels themselves are scanned.
    monkeypatch.setattr(simulate_module, "LARGEST_LATTICE", volume.array.size)
    np.testing.assert_array_equal(scanned_means(volume).array, volume.array)


def test_huge_lattices_are_held_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(simulate_module, "LARGEST_LATTICE", 1e5)
    with caplog.at_level(logging.WARNING):
        array, _ = fine_lattice(ball(), None)
    assert array.size <= 1e5
    assert "would not fit" in caplog.text


def test_subpixels_share_the_pixel() -> None:
    geometry = small_scan(ball())
    fine = with_subpixels(geometry, 2)
    assert fine.projections_shape == (5, 48, 64)
    pixel = geometry.pixel_centres_ras(1, 3, 4)
    parts = fine.pixel_centres_ras(1, [[6], [7]], [[8, 9]])
    np.testing.assert_allclose(parts.mean(axis=(0, 1)), pixel, atol=1e-9)


def test_ball_has_the_chord_of_a_sphere() -> None:
    volume = ball(48)
    geometry = small_scan(volume)
    made = simulate(volume, geometry).projections
    rows, columns = np.indices(geometry.detector_shape)
    origins, directions = geometry.rays(2, rows, columns)
    offset = origins - volume.grid.centre_ras
    nearest = offset - np.sum(offset * directions, axis=-1, keepdims=True) * directions
    distance2 = np.sum(nearest**2, axis=-1)
    chord = 2 * np.sqrt(np.maximum(40.0**2 - distance2, 0)) * WATER_ATTENUATION
    core = distance2 < 30**2
    np.testing.assert_allclose(made[2][core], chord[core], rtol=0.02)
    assert np.abs(made[2] - chord).mean() < 0.02 * chord.max()


def test_hu_and_attenuation_give_the_same_scan() -> None:
    volume = ball()
    geometry = small_scan(volume)
    from_hu = simulate(volume.to_hu(), geometry).projections
    np.testing.assert_allclose(from_hu, simulate(volume, geometry).projections, atol=1e-4)


def test_intensity_average_is_never_above_the_linear_one() -> None:
    volume = ball(value=5 * WATER_ATTENUATION)
    geometry = small_scan(volume)
    linear = SimulationSettings(average="line_integrals", subpixels=3)
    intensity = simulate(volume, geometry, settings=replace(linear, average="intensity"))
    average = simulate(volume, geometry, settings=linear)
    difference = average.projections - intensity.projections
    assert difference.min() > -1e-5
    assert difference.max() > 0.01


def test_polychromatic_water_is_corrected_and_bone_is_not() -> None:
    settings = SimulationSettings(polychromatic=True, average="line_integrals")
    for value, largest in ((WATER_ATTENUATION, 0.01), (2.9 * WATER_ATTENUATION, 1.0)):
        volume = ball(value=value)
        geometry = small_scan(volume)
        real = simulate(volume, geometry, settings=settings).projections
        ideal = simulate(
            volume, geometry, settings=replace(settings, polychromatic=False)
        ).projections
        error = float(np.abs(real - ideal).max())
        assert error < largest
    assert error > 0.05


def test_noisy_scan_repeats_by_seed_and_wants_a_generator() -> None:
    volume = ball()
    geometry = small_scan(volume)
    settings = SimulationSettings(photons=1e4, electronic_noise=5)
    one, two, other = (
        simulate(volume, geometry, settings=settings, rng=np.random.default_rng(seed)).projections
        for seed in (1, 1, 2)
    )
    assert one.tobytes() == two.tobytes()
    assert not np.array_equal(one, other)
    with pytest.raises(ValueError, match=r"Noise needs a random number generator"):
        simulate(volume, geometry, settings=settings)


def test_progress_rises_and_may_cancel() -> None:
    volume = ball()
    geometry = default_scan(volume.grid, n_views=20, detector_shape=(8, 8))
    told: list[float] = []
    simulate(volume, geometry, progress=lambda stage, fraction: told.append(fraction))
    assert told[0] == 0
    assert told[-1] == 1
    assert told == sorted(told)
    assert len(told) >= 4

    def stop(stage: str, fraction: float) -> None:
        if fraction > 0.3:
            raise Cancelled

    with pytest.raises(Cancelled):
        simulate(volume, geometry, progress=stop)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"photons": -1.0}, r"photons must be positive, or None for no noise, got -1"),
        ({"electronic_noise": -1.0}, r"electronic_noise must be a number of photons"),
        ({"subpixels": 0}, r"subpixels must be 1 or more, got 0"),
        ({"reconstruction_spacing_mm": 0.0}, r"reconstruction_spacing_mm must be positive"),
        ({"average": "median"}, r'average must be "intensity" or "line_integrals", got .median'),
    ],
)
def test_wrong_settings_are_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SimulationSettings(**change)  # type: ignore[arg-type]
