"""Previews of a running reconstruction: a first look on coarse voxels, then what is there so far.

Starting the iteration from the coarse volume was tried and is not done: at the same time spent, the
volume is worse from the fourth sweep on.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from NASAM3DLib.progress import ProgressCallback, no_progress
from NASAM3DLib.reconstruct.iterative import TotalVariationProblem
from NASAM3DLib.reconstruct.settings import Phase
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.projections import ProjectionSet

PreviewCallback = Callable[[Volume, str], None]
"""Called as ``on_preview(volume, stage)``; the volume is the callback's own, attenuation."""

FIRST_LOOK = "first look"
FIRST_LOOK_SIDE = 64
FIRST_LOOK_PHASES = (Phase(5, 4),)
FIRST_LOOK_STRENGTH = 5e-4

PREVIEW_SIDE = 128
"""Voxels along the longest side of a preview, at most: 8 MB, which a viewer takes at once."""


def first_look(
    projection_set: ProjectionSet,
    grid: VolumeGrid,
    *,
    progress: ProgressCallback = no_progress,
) -> Volume:
    """Reconstruct on coarse voxels, which takes less than a second.

    Parameters
    ----------
    projection_set : ProjectionSet
        Line integrals and geometry.
    grid : VolumeGrid
        Voxels that are wanted in the end.
    progress : callable
        Receives stage and fraction.

    Returns
    -------
    Volume
        Attenuation on at most 64 voxels along each side of the same box.
    """
    factor = max(1, -(-max(grid.shape_kji) // FIRST_LOOK_SIDE))
    pixels = min(projection_set.geometry.detector_shape) // FIRST_LOOK_SIDE
    progress(FIRST_LOOK, 0.0)
    coarse_set = projection_set.binned(max(1, min(factor, pixels)))
    coarse_grid = grid.resampled(tuple(-(-n // factor) for n in grid.shape_kji))
    problem = TotalVariationProblem(coarse_set, coarse_grid)

    def report(_: str, fraction: float) -> None:
        """Name the stage."""
        progress(FIRST_LOOK, fraction)

    array = problem.solve(FIRST_LOOK_STRENGTH, FIRST_LOOK_PHASES, progress=report)
    return Volume(np.ascontiguousarray(array), coarse_grid)


def thinned(array: npt.NDArray[np.float32], grid: VolumeGrid) -> Volume:
    """Copy a volume onto voxels few enough to show at once.

    Parameters
    ----------
    array : ndarray, shape (k, j, i), float32
        Attenuation, 1/mm.
    grid : VolumeGrid
        Its voxels.

    Returns
    -------
    Volume
        Means over cubes of voxels, with at most 128 voxels along each side; voxels behind the last
        whole cube are left out.
    """
    factor = max(1, -(-max(grid.shape_kji) // PREVIEW_SIDE))
    n_k, n_j, n_i = (n // factor for n in grid.shape_kji)
    if factor == 1 or min(n_k, n_j, n_i) < 1:
        return Volume(np.array(array, order="C"), grid)
    from NASAM3DLib.reconstruct import kernels_tv

    means = np.empty((n_k, n_j, n_i), dtype=np.float32)
    kernels_tv.block_means(np.ascontiguousarray(array.transpose(2, 1, 0)), factor, means)
    affine = np.array(grid.ijk_to_ras)
    affine[:3, 3] = grid.to_ras(((factor - 1) / 2,) * 3)
    affine[:3, :3] *= factor
    return Volume(means, VolumeGrid((n_k, n_j, n_i), affine))
