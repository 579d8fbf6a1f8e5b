"""Training volumes as the own reconstruction shows them: few noisy views, total variation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from NASAM3DLib.reconstruct.projector import forward_project
from NASAM3DLib.reconstruct.settings import PHASES
from NASAM3DLib.reconstruct.solvers import Solver, make_problem
from NASAM3DLib.reconstruct.stages import smoothed
from NASAM3DLib.reconstruct.tuning import choose_strength
from NASAM3DLib.reconstruct.volume import WATER_ATTENUATION, Volume
from NASAM3DLib.scan.geometry import ConeBeamGeometry
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.noise import noise_weights
from NASAM3DLib.scan.orbit import CircularOrbit
from NASAM3DLib.scan.physics import add_noise
from NASAM3DLib.scan.projections import ProjectionSet

FloatArray = npt.NDArray[np.float32]

VIEWS = (15, 90)
"""Fewest and most views of a turn."""

DARKEST = (50.0, 1e4)
"""Photons that are left in the darkest ray."""

SPACING_MM = (0.8, 3.5)
"""Voxel spacings at which attenuation along rays is computed, mm."""

LIMITS_HU = (-1000.0, 2000.0)
AIR = np.float32(1000.0)


def rescanned_hu(true_hu: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Scan a volume with few noisy views and reconstruct it by total variation.

    Parameters
    ----------
    true_hu : ndarray, shape (k, j, i), float32
        What is scanned, HU.
    rng : numpy.random.Generator
        Decides views, noise, spacing and phase.

    Returns
    -------
    ndarray, shape (k, j, i), float32
        HU. The volume is scanned as a box in air, and the strength of total variation is the one
        that held-out views choose.
    """
    spacing = float(rng.uniform(*SPACING_MM))
    k, j, i = true_hu.shape
    grid = VolumeGrid.centred((k, j, i), spacing)
    attenuation = (np.clip(true_hu, *LIMITS_HU) + AIR) * np.float32(WATER_ATTENUATION / AIR)
    geometry = _orbit(grid, rng)
    integrals = forward_project(attenuation, grid, geometry)
    left = float(np.exp(rng.uniform(*np.log(DARKEST))))
    noisy = add_noise(integrals, left * float(np.exp(integrals.max())), rng=rng)
    found = _total_variation(ProjectionSet(noisy, geometry), grid)
    return np.asarray(found * np.float32(AIR / WATER_ATTENUATION) - AIR, dtype=np.float32)


def _total_variation(projections: ProjectionSet, grid: VolumeGrid) -> FloatArray:
    """Reconstruct as the quality "standard" does, 1/mm."""
    weights = noise_weights(projections)
    weighted = ProjectionSet(projections.projections, projections.geometry, weights)
    strength = choose_strength(weighted, grid).strength
    array = make_problem(weighted, grid, Solver("cpu")).solve(strength, PHASES["standard"])
    return smoothed(Volume(np.ascontiguousarray(array), grid)).array


def _orbit(grid: VolumeGrid, rng: np.random.Generator) -> ConeBeamGeometry:
    """Draw a full turn of a cone beam that holds the grid; fewer views are likelier than more."""
    edge = float(grid.spacing_mm[0]) * grid.shape_kji[0]
    n_views = round(float(np.exp(rng.uniform(*np.log(VIEWS)))))
    angles = rng.uniform(0, 2 * np.pi) + np.arange(n_views) * 2 * np.pi / n_views
    pixel = float(grid.spacing_mm[0]) * 1.5
    n_pixels = int(grid.shape_kji[0] * 1.6)
    orbit = CircularOrbit(angles, (pixel, pixel), 3.0 * edge, 4.5 * edge)
    return ConeBeamGeometry.circular(orbit, (n_pixels, n_pixels))
