"""Hounsfield units from what air and water read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from NASAM3DLib.reconstruct.calibration import Calibration, calibrate
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.reconstruct.volume_io import load_volume
from NASAM3DLib.scan.grid import VolumeGrid

GRID = VolumeGrid.centred((20, 60, 60), 3.0)


def patient(scale: float, shift: float, noise: float) -> Volume:
    """Air, fat, muscle and bone, each a ring, read on a scale of its own."""
    points = GRID.to_ras(np.moveaxis(np.indices(GRID.shape_kji)[::-1], 0, -1))
    distance = np.hypot(points[..., 0], points[..., 1])
    array = np.full(GRID.shape_kji, 0.0)
    for radius, value in ((80, 0.9 * 0.0206), (70, 1.03 * 0.0206), (12, 2 * 0.0206)):
        array[distance < radius] = value
    array = array * scale + shift + np.random.default_rng(0).normal(0, noise, array.shape)
    return Volume(array.astype(np.float32), GRID)


@pytest.mark.parametrize("scale", [0.7, 1.0, 1.4])
@pytest.mark.parametrize("shift", [0.0, 0.001])
@pytest.mark.parametrize("noise", [0.0, 0.0003])
def test_air_and_water_are_found_on_any_scale(scale, shift, noise):
    found = calibrate(patient(scale, shift, noise))
    assert found.air == pytest.approx(shift, abs=0.0002)
    assert found.water == pytest.approx(0.0206 * scale + shift, rel=0.02)


def test_calibrated_units_are_0_for_water_and_minus_1000_for_air():
    volume = patient(0.8, 0.0005, 0.0)
    known = Calibration(air=0.0005, water=0.8 * 0.0206 + 0.0005)
    hu = known.to_hu(volume).array
    assert hu[10, 0, 0] == pytest.approx(-1000.0, abs=0.1)
    assert hu[10, 30, 30] == pytest.approx(1000.0, abs=1.0)
    assert hu[10, 30, 10] == pytest.approx(30.0, abs=1.0)


def test_uncertainty_is_scaled_along():
    volume = replace(patient(1.0, 0.0, 0.0), uncertainty=np.full(GRID.shape_kji, 0.00206))
    spread = Calibration(air=0.0, water=0.0206).to_hu(volume).uncertainty
    np.testing.assert_allclose(spread, 100.0, rtol=1e-5)


def test_usual_values_give_the_usual_units():
    volume = patient(1.0, 0.0, 0.0)
    np.testing.assert_allclose(Calibration().to_hu(volume).array, volume.to_hu().array, atol=1e-2)
    hu = volume.to_hu()
    assert Calibration().to_hu(hu) is hu


def test_given_values_are_kept():
    assert calibrate(patient(1.0, 0.0, 0.0), air=0.001, water=0.02) == Calibration(0.001, 0.02)


def test_implausible_values_are_refused():
    for air, water, message in (
        (0.02, 0.01, "are the two exchanged"),
        (0.01, 0.02, "that is not air"),
        (float("nan"), 0.02, "finite values"),
    ):
        with pytest.raises(ValueError, match=message):
            Calibration(air, water)
    with pytest.raises(ValueError, match="Hounsfield units already"):
        calibrate(patient(1.0, 0.0, 0.0).to_hu())
    with pytest.raises(ValueError, match="one value only"):
        calibrate(Volume(np.zeros(GRID.shape_kji), GRID))
    with pytest.raises(ValueError, match="No soft tissue between"):
        calibrate(patient(0.01, 0.0, 0.0))
    inside = Volume(np.random.default_rng(0).normal(0.02, 1e-4, GRID.shape_kji), GRID)
    with pytest.raises(ValueError, match="not known to be air"):
        calibrate(inside)


def test_a_real_abdomen_calibrates_itself(data_dir: Path):
    ct = load_volume(data_dir / "totalseg-example" / "example_ct.nii.gz")
    clipped = Volume(np.maximum(ct.array, -1000), ct.grid, "HU").to_attenuation()
    again = calibrate(replace(clipped, array=clipped.array * 0.85)).to_hu(
        replace(clipped, array=clipped.array * 0.85)
    )
    soft = (ct.array > -200) & (ct.array < 200)
    assert np.abs((again.array - ct.array)[soft].mean()) < 20
