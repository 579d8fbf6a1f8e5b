"""A scan to try things out on: generated, not downloaded, the same on every machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from NASAM3DLib.phantom.anatomy import Phantom, make_phantom
from NASAM3DLib.progress import ProgressCallback, no_progress, sub_progress
from NASAM3DLib.reconstruct.simulate import SimulationSettings, simulate
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.io import save_projections
from NASAM3DLib.scan.presets import default_scan
from NASAM3DLib.segment.prompts import Prompts
from NASAM3DLib.segment.prompts_io import load_prompts, save_prompts

SCAN_NAME, POINTS_NAME = "NASAM3D-sample.npz", "NASAM3D-sample-lesion.mrk.json"

SEED = 1
FIELD_MM, N_VOXELS, FINER = 350.0, 96, 2
N_VIEWS, DETECTOR_SHAPE, PHOTONS = 50, (160, 160), 1e5
GENERATING_PART = 0.8


def sample_patient() -> Phantom:
    """Generate the patient of the sample scan.

    Returns
    -------
    Phantom
        A pelvis with a lesion of the rectal wall, on voxels finer than those of a reconstruction.
    """
    grid = VolumeGrid.centred((N_VOXELS,) * 3, FIELD_MM / N_VOXELS).refined(FINER)
    return make_phantom(SEED, grid, region="pelvis")


def make_sample(folder: Path, *, progress: ProgressCallback = no_progress) -> tuple[Path, Prompts]:
    """Make the sample scan, or find it where it was made before.

    Parameters
    ----------
    folder : Path
        Where the files go; it is made if need be.
    progress : callable
        Receives stage and fraction; may raise to cancel, which leaves no file.

    Returns
    -------
    path : Path
        Fifty noisy views of a generated pelvis, in a file.
    lesion : Prompts
        A point in the lesion of the rectal wall.

    Raises
    ------
    OSError
        If the files cannot be written.
    """
    scan_path, points_path = folder / SCAN_NAME, folder / POINTS_NAME
    if scan_path.is_file() and points_path.is_file():
        return scan_path, load_prompts(points_path)
    progress("generating a patient", 0.0)
    phantom = sample_patient()
    geometry = default_scan(phantom.volume.grid, n_views=N_VIEWS, detector_shape=DETECTOR_SHAPE)
    physics = SimulationSettings(photons=PHOTONS, reconstruction_spacing_mm=FIELD_MM / N_VOXELS)
    part = sub_progress(progress, GENERATING_PART, 1.0, stage="measuring")
    rng = np.random.default_rng(SEED)
    scan = simulate(phantom.volume, geometry, settings=physics, rng=rng, progress=part)
    lesion = Prompts().with_point(phantom.lesion_point_ras)
    folder.mkdir(parents=True, exist_ok=True)
    save_prompts(lesion, points_path, force=True)
    # The scan comes last: where it is, the points are.
    save_projections(scan, scan_path, force=True)
    return scan_path, lesion
