"""Real CT and real measured projections, where they are at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from NASAM3DLib.evaluate.clicks import click_session
from NASAM3DLib.evaluate.metrics import psnr
from NASAM3DLib.evaluate.resample import resample_mask, resample_volume
from NASAM3DLib.pipeline import reconstruct
from NASAM3DLib.reconstruct.margin import find_surroundings
from NASAM3DLib.reconstruct.projector import Projector
from NASAM3DLib.reconstruct.settings import ReconstructionSettings
from NASAM3DLib.reconstruct.simulate import SimulationSettings, simulate
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.reconstruct.volume_io import load_volume
from NASAM3DLib.scan.alignment import rotation_centre_column, with_rotation_centre
from NASAM3DLib.scan.corrections import CorrectionSettings, correct
from NASAM3DLib.scan.geometry import ConeBeamGeometry
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.orbit import CircularOrbit
from NASAM3DLib.scan.presets import default_scan
from NASAM3DLib.scan.projections import ProjectionSet, line_integrals
from NASAM3DLib.segment.mask_io import load_mask
from NASAM3DLib.segment.segmenter import SegmentationSettings, make_segmenter

CT_RANGE_HU = 3000.0


@pytest.fixture(scope="module")
def abdomen(data_dir: Path) -> tuple[Path, Volume, ProjectionSet, VolumeGrid]:
    """The abdomen CT seen by 50 sparse views, and a grid of 4 mm to reconstruct on."""
    folder = data_dir / "totalseg-example"
    ct = load_volume(folder / "example_ct.nii.gz")
    centre = tuple(float(c) for c in ct.grid.centre_ras)
    grid = VolumeGrid.centred((84, 76, 92), 4.0, centre_ras=centre)
    scan = default_scan(ct.grid, n_views=50, detector_shape=(128, 160))
    settings = SimulationSettings(photons=1e5, reconstruction_spacing_mm=4.0)
    measured = simulate(ct, scan, settings=settings, rng=np.random.default_rng(0))
    return folder, ct, measured, grid


@pytest.fixture(scope="module")
def reconstructed(abdomen) -> Volume:
    _, _, measured, grid = abdomen
    return reconstruct(measured, grid).volume.to_hu()


def test_sparse_views_of_a_real_abdomen_come_out_well(abdomen, reconstructed):
    _, ct, measured, grid = abdomen
    clipped = Volume(np.clip(ct.array, -1000, 2000), ct.grid, "HU")
    truth = resample_volume(clipped, grid).array
    analytic = reconstruct(measured, grid, ReconstructionSettings(method="fdk")).volume.to_hu()
    ours = psnr(reconstructed.array, truth, data_range=CT_RANGE_HU)
    assert ours > psnr(analytic.array, truth, data_range=CT_RANGE_HU) + 4.0
    assert ours > 34.0


@pytest.mark.parametrize(("organ", "floor"), [("liver", 0.75), ("spleen", 0.75)])
def test_five_clicks_find_an_organ_on_the_reconstruction(abdomen, reconstructed, organ, floor):
    folder, _, _, grid = abdomen
    target = resample_mask(load_mask(folder / "example_seg" / f"{organ}.nii.gz"), grid)
    segmenter = make_segmenter("density-guided", SegmentationSettings())
    session = click_session(segmenter, reconstructed, target=target, n_clicks=5)
    assert session.records[-1].dice > floor
    assert session.masks[-1].disagreements(session.prompts) == []


def test_a_measured_scan_predicts_its_unseen_views(data_dir):
    folder = data_dir / "proj-diamond-24737"
    counts = np.stack([tifffile.imread(file) for file in sorted(folder.glob("raw_*.tiff"))])
    integrals = line_integrals(
        counts,
        tifffile.imread(folder / "flat_00001.tiff"),
        dark_field=tifffile.imread(folder / "dark_00001.tiff"),
    )[:, ::-1]
    assert np.isfinite(integrals).all()
    angles = np.deg2rad(-88.2 + 2.0 * np.arange(91))
    geometry = ConeBeamGeometry.circular(CircularOrbit(angles, (1.0, 1.0)), integrals.shape[1:])
    scan = ProjectionSet(integrals, geometry)
    column = rotation_centre_column(scan)
    assert column == pytest.approx(86.0, abs=0.5)
    # The stone alone, to keep the test short.
    rows = slice(25, 75)
    orbit = with_rotation_centre(scan, column).geometry.orbit
    cut = ProjectionSet(integrals[:, rows], ConeBeamGeometry.circular(orbit, (50, 160)))
    # Flat field and scan differ by a level that all views share, see docs/corrections.md.
    cut, _ = correct(cut, CorrectionSettings(air_level=0.32))
    kept = np.arange(0, 91, 4)
    unseen = cut.select(np.setdiff1d(np.arange(90), kept))
    grid = VolumeGrid.centred((50, 160, 160), 1.0)
    surroundings = find_surroundings(cut.select(kept), grid)
    errors = {}
    for method in ("fdk", "tv"):
        volume = reconstruct(cut.select(kept), grid, ReconstructionSettings(method=method)).volume
        predicted = Projector(grid, unseen.geometry).forward(volume.array)
        if method == "tv" and surroundings is not None:
            predicted = predicted + surroundings.line_integrals(unseen.geometry, outside=grid)
        errors[method] = float(np.sqrt(np.mean((predicted - unseen.projections) ** 2)))
    signal = float(np.sqrt(np.mean(unseen.projections**2)))
    assert errors["tv"] < 0.5 * errors["fdk"]
    assert errors["tv"] < 0.1 * signal
