"""How far each voxel of a reconstruction may be from the truth: one standard deviation, 1/mm.

References
----------
.. [1] C. F. J. Wu, "Jackknife, bootstrap and other resampling methods in regression analysis", Ann.
   Statist. 14(4), 1986, section 7: residuals with random factors of variance one.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from NASAM3DLib.progress import ProgressCallback, no_progress, sub_progress
from NASAM3DLib.reconstruct.iterative import TotalVariationProblem
from NASAM3DLib.reconstruct.projector import Projector
from NASAM3DLib.reconstruct.settings import PHASES
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.geometry import ConeBeamGeometry
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.projections import ProjectionSet

Float32Array = npt.NDArray[np.float32]

STAGE = "estimating the uncertainty"

REPEAT_WEIGHT, EDGE_WEIGHT, NOISE_WEIGHT, FLOOR_WEIGHT = 0.98, 0.093, 0.167, 0.018
"""Factors a, b, c, f of the four terms, fitted on generated patients: docs/uncertainty.md."""

SMOOTHING_VOXELS = 1.0
"""Width of the Gaussian that averages the squared difference of a single repetition."""

FEWEST_RAYS = 1e-3
"""Voxels with less than this share of the largest ray length count as having this share."""

MOST_SAMPLES = 24
"""Coverage is computed at no more than this many places along an axis and interpolated."""


def estimate_uncertainty(
    projection_set: ProjectionSet,
    volume: Volume,
    strength: float,
    *,
    seed: int = 0,
    progress: ProgressCallback = no_progress,
) -> Float32Array:
    """Estimate the standard deviation of every voxel of a total-variation reconstruction.

    Parameters
    ----------
    projection_set : ProjectionSet
        The views that the volume was made from.
    volume : Volume
        The reconstruction, 1/mm.
    strength : float
        Strength of total variation that it was made with.
    seed : int
        Seed of the random signs.
    progress : callable
        Receives stage and fraction.

    Returns
    -------
    ndarray, shape (k, j, i), float32
        One standard deviation, 1/mm, for :class:`~NASAM3DLib.reconstruct.volume.Volume`.

    Raises
    ------
    ValueError
        If the volume is in HU or the strength is negative.

    Notes
    -----
    With ``r = A x - p``, the residual of the volume x, four independent variances are added and a
    fifth where rays are missing::

        u^2 = (a B)^2 + (b G)^2 + (c N)^2 + (f m)^2 + (h m)^2

    * B: the scan is repeated on the volume itself, whose truth is known. Projections ``A x + e r``
      with random signs e = -1 or 1 for every pixel (the wild bootstrap, [1]_) are reconstructed in
      the same way, and the squared difference from x is averaged by a Gaussian of one voxel. It
      holds what noise, missing views, total variation and unfinished iterations do to a volume
      like this.
    * G: length of the central difference per voxel. An edge lies somewhere within its voxel, which
      no repetition on the same voxels can show.
    * N: what the noise of the rays through a voxel means for it, a diagonal of least squares:
      ``N^2 = (A^T r^2) / (s (A^T 1)^2)`` with voxels of edge s.
    * m: the mean attenuation of the scan, for texture below the resolution.
    * h: 1 where no view sees a voxel, 0 where at least half of the views do (the other half of a
      full turn with a shifted detector adds nothing), linear between.

    The factors are the maximum of the normal likelihood over generated patients; a came out near 1
    by itself. The cost is one reconstruction at the standard quality without choosing the strength.
    """
    if volume.quantity != "attenuation":
        raise ValueError(
            "The uncertainty is estimated in 1/mm, got a volume in HU: give the reconstruction "
            "before its conversion; to_hu() takes the uncertainty along."
        )
    if not 0 <= strength < float("inf"):
        raise ValueError(f"The strength of total variation must be 0 or more, got {strength}.")
    terms = uncertainty_terms(projection_set, volume, strength, seed=seed, progress=progress)
    weights = (REPEAT_WEIGHT, EDGE_WEIGHT, NOISE_WEIGHT, FLOOR_WEIGHT, 1.0)
    variance = np.zeros(volume.grid.shape_kji, dtype=np.float32)
    for weight, term in zip(weights, terms, strict=True):
        variance += np.square(np.float32(weight) * term)
    progress(STAGE, 1.0)
    return np.sqrt(variance)


def uncertainty_terms(
    projection_set: ProjectionSet,
    volume: Volume,
    strength: float,
    *,
    seed: int,
    progress: ProgressCallback = no_progress,
) -> tuple[Float32Array, ...]:
    """Compute the terms of the uncertainty before they are weighed.

    Parameters
    ----------
    projection_set : ProjectionSet
        The views that the volume was made from.
    volume : Volume
        The reconstruction, 1/mm.
    strength : float
        Strength of total variation that it was made with.
    seed : int
        Seed of the random signs.
    progress : callable
        Receives stage and fraction.

    Returns
    -------
    tuple of ndarray, shape (k, j, i), float32
        B, G, N, m and h m of :func:`estimate_uncertainty`, 1/mm; m has shape (1, 1, 1).
    """
    progress(STAGE, 0.0)
    geometry = projection_set.geometry
    projector = Projector(volume.grid, geometry)
    predicted = projector.forward(volume.array)
    residual = predicted - projection_set.projections
    noise = _noise(projector, residual)
    # int8 signs: as many bytes as pixels, whatever the generator's own integers take.
    signs = np.random.default_rng(seed).integers(0, 2, residual.shape, dtype=np.int8) * 2 - 1
    residual *= signs
    residual += predicted
    del predicted, projector
    repeat_set = replace(projection_set, projections=residual)
    problem = TotalVariationProblem(repeat_set, volume.grid)
    part = sub_progress(progress, 0.05, 0.95, stage=STAGE)
    repeated = problem.solve(strength, PHASES["standard"], progress=part)
    difference = np.square(repeated - volume.array)
    repeat = np.sqrt(ndimage.gaussian_filter(difference, SMOOTHING_VOXELS, mode="nearest"))
    mean = np.float32(problem.mean_attenuation)
    hidden = np.clip(1 - 2 * view_coverage(geometry, volume.grid), 0, 1)
    return repeat, _differences(volume.array), noise, np.full((1, 1, 1), mean), hidden * mean


def view_coverage(geometry: ConeBeamGeometry, grid: VolumeGrid) -> Float32Array:
    """Give the share of the views whose detector sees a voxel.

    Parameters
    ----------
    geometry : ConeBeamGeometry
        Views.
    grid : VolumeGrid
        Voxels.

    Returns
    -------
    ndarray, shape (k, j, i), float32
        Share in [0, 1], interpolated from at most 24 places along each axis.
    """
    coarse = grid.resampled(tuple(min(n, MOST_SAMPLES) for n in grid.shape_kji))
    index = np.indices(coarse.shape_kji[::-1]).reshape(3, -1).T
    points = coarse.to_ras(index)
    last = np.array(geometry.detector_shape) - 0.5
    seen = np.zeros(len(points), dtype=np.float32)
    for view in range(geometry.n_views):
        pixels = geometry.project_points(view, points)
        seen += ((pixels > -0.5) & (pixels < last)).all(axis=1)
    share = (seen / geometry.n_views).reshape(coarse.shape_kji[::-1]).transpose()
    zoom = np.array(grid.shape_kji) / coarse.shape_kji
    fine = ndimage.zoom(share, zoom, order=1, mode="nearest", grid_mode=True)
    return np.ascontiguousarray(fine, dtype=np.float32)


def _noise(projector: Projector, residual: Float32Array) -> Float32Array:
    """Give what the residuals of the rays through a voxel mean for it, 1/mm."""
    rays = projector.adjoint(np.ones_like(residual))
    np.maximum(rays, np.float32(FEWEST_RAYS) * rays.max(), out=rays)
    # Running sums of the projector leave values just below zero beside what rays cross.
    energy = np.maximum(projector.adjoint(np.square(residual)), 0)
    side_mm = float(np.prod(projector.grid.spacing_mm)) ** (1 / 3)
    return np.ascontiguousarray(np.sqrt(energy / np.float32(side_mm)) / rays)


def _differences(array: Float32Array) -> Float32Array:
    """Give the length of the central differences, per voxel."""
    squared = np.zeros_like(array)
    for axis, n_voxels in enumerate(array.shape):
        if n_voxels > 1:
            squared += np.square(np.gradient(array, axis=axis))
    return np.sqrt(squared)
