"""Real measured projections: a parallel-beam scan with flat and dark fields."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile

from NASAM3DLib.evaluate.metrics import relative_held_out_error, rmse
from NASAM3DLib.evaluate.tables import Column, Table
from NASAM3DLib.pipeline import reconstruct
from NASAM3DLib.reconstruct.margin import find_surroundings
from NASAM3DLib.reconstruct.projector import Projector
from NASAM3DLib.reconstruct.settings import ReconstructionSettings
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.alignment import rotation_centre_column, with_rotation_centre
from NASAM3DLib.scan.corrections import CorrectionSettings, correct
from NASAM3DLib.scan.geometry import ConeBeamGeometry
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.orbit import CircularOrbit
from NASAM3DLib.scan.projections import ProjectionSet, line_integrals

FIRST_ANGLE_DEG, STEP_DEG = -88.2, 2.0

AIR_LEVEL = 0.32
"""By which flat field and scan differ in all views, see docs/corrections.md."""


def diamond_scan(data: Path) -> ProjectionSet:
    """Load all 91 views; pixels have no stated size and count as 1 mm."""
    folder = data / "proj-diamond-24737"
    files = sorted(folder.glob("raw_*.tiff"))
    counts = np.stack([tifffile.imread(file) for file in files])
    flat = tifffile.imread(folder / "flat_00001.tiff")
    dark = tifffile.imread(folder / "dark_00001.tiff")
    integrals = line_integrals(counts, flat, dark_field=dark)
    # TIFF rows run downwards; ours run up.
    integrals = integrals[:, ::-1]
    angles = np.deg2rad(FIRST_ANGLE_DEG + STEP_DEG * np.arange(len(files)))
    orbit = CircularOrbit(angles, (1.0, 1.0))
    scan = ProjectionSet(integrals, ConeBeamGeometry.circular(orbit, integrals.shape[1:]))
    return with_rotation_centre(scan, rotation_centre_column(scan))


def measured_table(data: Path) -> tuple[Table, dict[str, Volume]]:
    """Reconstruct from every fourth view and predict the views between."""
    scan, _ = correct(diamond_scan(data), CorrectionSettings(air_level=AIR_LEVEL))
    kept = np.arange(0, scan.n_views, 4)
    # The last view repeats the first one from behind; it is left out on both sides.
    unseen = np.setdiff1d(np.arange(scan.n_views - 1), kept)
    held_out = scan.select(unseen)
    grid = VolumeGrid.centred((135, 160, 160), 1.0)
    projector = Projector(grid, held_out.geometry)
    surroundings = find_surroundings(scan.select(kept), grid)
    rows, volumes = [], {}
    for name, settings in (
        ("FBP", ReconstructionSettings(method="fdk")),
        ("total variation, best", ReconstructionSettings(quality="best")),
        ("attenuation field on best", ReconstructionSettings(method="field", quality="best")),
    ):
        result = reconstruct(scan.select(kept), grid, settings)
        predicted = projector.forward(result.volume.array)
        # Filtered back-projection leaves what is outside in the volume, the others take it out.
        if settings.method != "fdk" and surroundings is not None:
            predicted = predicted + surroundings.line_integrals(held_out.geometry, outside=grid)
        rms = rmse(predicted, held_out.projections)
        share = relative_held_out_error(predicted, held_out.projections)
        rows.append((name, rms, 100 * share, result.report["returned"]))
        volumes[name] = result.volume
    columns = (
        Column("method"),
        Column("held-out rms", 4),
        Column("of the signal's rms [%]", 2),
        Column("returned"),
    )
    caption = f"Measured scan: {len(kept)} of {scan.n_views} views, {len(unseen)} held out"
    return Table(columns, tuple(rows), caption), volumes
