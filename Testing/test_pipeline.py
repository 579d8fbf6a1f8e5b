"""The road in two functions, and what it reports."""

from __future__ import annotations

import json

import numpy as np
import pytest
from analytic_objects import Ellipsoid, circular_scan, draw, project

from NASAM3DLib.pipeline import reconstruct, segment
from NASAM3DLib.progress import Cancelled
from NASAM3DLib.reconstruct.settings import ReconstructionSettings
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.projections import ProjectionSet
from NASAM3DLib.segment.prompts import Prompts

BODY = Ellipsoid(0.0206, (60.0, 50.0, 60.0), (0.0, 0.0, 0.0))
LESION = Ellipsoid(0.006, (14.0, 12.0, 12.0), (12.0, -10.0, 4.0))
GRID = VolumeGrid.centred((40, 48, 48), 3.0)


@pytest.fixture(scope="module")
def scan():
    geometry = circular_scan(30, detector=(64, 80), pixel_mm=4.0)
    return ProjectionSet(project([BODY, LESION], geometry), geometry)


@pytest.mark.parametrize("method", ["fdk", "tv", "field"])
def test_every_method_gives_water_its_attenuation(scan, method):
    if method == "field":
        pytest.importorskip("torch", reason="PyTorch is not installed")
    result = reconstruct(scan, GRID, ReconstructionSettings(method=method, quality="standard"))
    k, j, i = (int(n) for n in np.rint(GRID.to_ijk((-25.0, 15.0, 0.0)))[::-1])
    water = result.volume.array[k - 1 : k + 2, j - 1 : j + 2, i - 1 : i + 2]
    assert water.mean() == pytest.approx(0.0206, rel=0.03)
    assert result.volume.array.min() >= 0
    assert result.report["returned"] in ("fdk", "tv", "field")
    assert result.report["why"]
    json.dumps(result.report, allow_nan=False)


def test_a_preview_and_a_given_strength_hold_no_views_out(scan):
    preview = reconstruct(scan, GRID, ReconstructionSettings(quality="preview"))
    assert preview.report["tv_strength_reason"] == "default of the preview"
    given = reconstruct(scan, GRID, ReconstructionSettings(quality="preview", tv_strength=0.002))
    assert given.report["tv_strength"] == 0.002
    assert given.report["held_out_views"] == []


def test_the_same_seed_gives_the_same_bytes(scan):
    settings = ReconstructionSettings(quality="preview")
    first, second = (reconstruct(scan, GRID, settings).volume.array for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_progress_is_monotonous_and_cancel_passes_through(scan):
    seen: list[float] = []
    reconstruct(
        scan,
        GRID,
        ReconstructionSettings(quality="preview"),
        progress=lambda stage, fraction: seen.append(fraction),
    )
    assert seen == sorted(seen)
    assert seen[-1] == 1.0

    def cancel(stage: str, fraction: float) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        reconstruct(scan, GRID, progress=cancel)


def test_one_click_on_the_reconstruction_finds_the_lesion(scan):
    volume = reconstruct(scan, GRID).volume
    truth = draw([LESION], GRID, 3) > LESION.value / 2
    clicks = Prompts().with_point(LESION.centre_ras)
    mask = segment(volume, clicks)
    overlap = 2 * (mask.array & truth).sum() / (mask.n_voxels + truth.sum())
    assert overlap > 0.85
    assert mask.disagreements(clicks) == []


def test_clicks_outside_or_contradictory_are_refused(scan):
    volume = Volume(np.full(GRID.shape_kji, 0.02), GRID)
    with pytest.raises(ValueError, match="lies outside the volume"):
        segment(volume, Prompts().with_point((500.0, 0.0, 0.0)))
    both = Prompts().with_point((0.0, 0.0, 0.0)).with_point((0.1, 0.0, 0.0), positive=False)
    with pytest.raises(ValueError, match="same voxel as a positive point"):
        segment(volume, both)


def test_hounsfield_units_of_water_and_air():
    grid = VolumeGrid.centred((1, 1, 2), 1.0)
    volume = Volume(np.array([[[0.0206, 2.26e-5]]]), grid)
    np.testing.assert_allclose(volume.to_hu().array.ravel(), [0.0, -1000.0], atol=1e-3)
    back = volume.to_hu().to_attenuation()
    np.testing.assert_allclose(back.array, volume.array, rtol=1e-4)
    with pytest.raises(ValueError, match="Water must attenuate more than air"):
        volume.to_hu(water=0.01, air=0.02)


def test_volumes_refuse_nan_and_wrong_shapes():
    with pytest.raises(ValueError, match="1 values that are NaN"):
        Volume(np.array([[[np.nan, 0.0]]]), VolumeGrid.centred((1, 1, 2), 1.0))
    with pytest.raises(ValueError, match=r"\(k, j, i\) = \(1, 1, 2\)"):
        Volume(np.zeros((2, 1, 1)), VolumeGrid.centred((1, 1, 2), 1.0))
