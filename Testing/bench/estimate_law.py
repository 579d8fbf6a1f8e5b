"""Fit the laws by which the time of a reconstruction is foretold.

python Testing/bench/estimate_law.py    print measured runs, the laws and their errors; ten minutes

The constants that it prints are those of ``NASAM3DLib/reconstruct/estimate.py``. Every run is a
process of its own with one thread, and its CPU time counts.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from NASAM3DLib.reconstruct.settings import ReconstructionSettings  # noqa: E402

FIELD_OF_VIEW_MM, DETECTOR_MM = 246.0, 512.0
PHOTONS = 1e5

SIZES = (
    (48, 50, 128),
    (64, 50, 128),
    (96, 50, 256),
    (64, 100, 128),
    (64, 50, 256),
    (128, 50, 256),
    (96, 20, 512),
    (96, 25, 128),
)
"""Voxels along each side, views, pixels along each side."""

KINDS = (("fdk", "standard"), ("tv", "preview"), ("tv", "standard"), ("tv", "best"))
ONE_THREAD = dict.fromkeys(
    ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"
)


def measure(voxels: int, views: int, pixels: int, method: str, quality: str) -> float:
    """Reconstruct two balls with noise in this process; give the CPU time, s."""
    from NASAM3DLib.pipeline import reconstruct
    from NASAM3DLib.reconstruct.projector import Projector
    from NASAM3DLib.scan.geometry import ConeBeamGeometry
    from NASAM3DLib.scan.grid import VolumeGrid
    from NASAM3DLib.scan.orbit import CircularOrbit
    from NASAM3DLib.scan.projections import ProjectionSet

    angles = np.arange(views) * 2 * np.pi / views
    orbit = CircularOrbit(angles, (DETECTOR_MM / pixels,) * 2, 1000.0, 1500.0)
    geometry = ConeBeamGeometry.circular(orbit, (pixels, pixels))
    grid = VolumeGrid.centred((voxels,) * 3, FIELD_OF_VIEW_MM / voxels)
    axis = (np.arange(voxels) - (voxels - 1) / 2) * FIELD_OF_VIEW_MM / voxels
    squared = (axis**2).astype(np.float32)
    distance = squared[:, None, None] + squared[:, None] + squared
    body = np.where(distance < 90.0**2, np.float32(0.02), np.float32(0))
    body[distance < 40.0**2] = 0.024
    expected = PHOTONS * np.exp(-Projector(grid, geometry).forward(np.asfortranarray(body)))
    counts = np.random.default_rng(0).poisson(expected)
    values = -np.log(np.maximum(counts, 0.5) / PHOTONS).astype(np.float32)
    settings = ReconstructionSettings(method, quality)  # type: ignore[arg-type]
    begin = time.process_time()
    reconstruct(ProjectionSet(values, geometry), grid, settings)
    return time.process_time() - begin


def measure_apart(size: tuple[int, int, int], kind: tuple[str, str]) -> float:
    """Measure in a process of its own."""
    command = [sys.executable, __file__, "--one", json.dumps([*size, *kind])]
    environment = {**os.environ, **ONE_THREAD}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return float(done.stdout.splitlines()[-1])


def fitted(seconds: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], float]:
    """Fit start, ns per passage and ns per visit to relative errors; give the largest as well."""
    from scipy.optimize import nnls

    voxels, views, pixels = np.array(SIZES, dtype=float).T
    terms = np.stack([np.ones_like(views), views * pixels**2 * voxels, views * voxels**3])
    terms *= np.array([1.0, 1e-9, 1e-9])[:, None]
    law, _ = nnls((terms / seconds).T, np.ones(len(SIZES)))
    return law, float(np.abs(law @ terms / seconds - 1).max())


def main() -> None:
    """Measure all sizes and print the laws."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(measure(*json.loads(options.one)))
        return
    for kind in KINDS:
        # Kernels that are compiled on the way would count.
        measure_apart((24, 20, 48), kind)
        seconds = np.array([measure_apart(size, kind) for size in SIZES])
        for (voxels, views, pixels), value in zip(SIZES, seconds, strict=True):
            size = f"{voxels:4}^3 {views:4} views {pixels:4}^2"
            print(f"{kind[0]} {kind[1]:9} {size} {value:8.2f} s")
        law, error = fitted(seconds)
        print(f"{kind}: ({law[0]:.3g}, {law[1]:.3g}, {law[2]:.3g}), within {error:.0%}\n")


if __name__ == "__main__":
    main()
