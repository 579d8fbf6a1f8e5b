"""Two numbers that tie total variation to one scan and grid, and scans that have none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from NASAM3DLib.progress import ProgressCallback, no_progress, sub_progress
from NASAM3DLib.reconstruct.projector import Projector
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.projections import ProjectionSet

SMALLEST_PATH_MM = 1e-6


@dataclass(frozen=True)
class OperatorScale:
    """Two numbers that tie a strength of total variation to one scan and grid.

    Parameters
    ----------
    lipschitz : float
        L, mm^2, see :class:`~NASAM3DLib.reconstruct.iterative.TotalVariationProblem`.
    mean_attenuation : float
        The constant that explains the projections best, 1/mm.
    """

    lipschitz: float
    mean_attenuation: float


def operator_scale(
    projection_set: ProjectionSet,
    grid: VolumeGrid,
    *,
    progress: ProgressCallback = no_progress,
) -> OperatorScale:
    """Measure a scan and grid with one projection and one back-projection.

    Parameters
    ----------
    projection_set : ProjectionSet
        Line integrals p with their geometry.
    grid : VolumeGrid
        Voxels x.
    progress : callable
        Called before every fraction of a second of work.

    Returns
    -------
    OperatorScale
        ``L = max(A^T W A 1)`` and ``<A 1, p> / <A 1, A 1>``, with the weights W if there are any.

    Raises
    ------
    ValueError
        If no ray crosses the grid or the projections hold no object.
    """
    projector = Projector(grid, projection_set.geometry)
    ones = np.ones(grid.shape_kji[::-1], dtype=np.float32).T
    paths = projector.forward(ones, progress=sub_progress(progress, 0.0, 0.5))
    require_crossing(float(paths.max()))
    across = sum(
        float(np.vdot(path, view))
        for path, view in zip(paths, projection_set.projections, strict=True)
    )
    along = sum(float(np.vdot(path, path)) for path in paths)
    require_object(across, projection_set)
    if projection_set.weights is not None:
        paths *= projection_set.weights
    # The ones are not needed any more; their memory takes the back-projection.
    back = projector.adjoint(paths, out=ones, progress=sub_progress(progress, 0.5, 1.0))
    return OperatorScale(float(back.max()), across / along)


def require_crossing(longest_path_mm: float) -> None:
    """Refuse a grid that lies beside the beam.

    Parameters
    ----------
    longest_path_mm : float
        Longest path of a ray through the grid.

    Raises
    ------
    ValueError
        If it is zero.
    """
    if longest_path_mm <= SMALLEST_PATH_MM:
        raise ValueError(
            "No ray crosses the volume: its grid and the scanner geometry do not belong "
            "together. Check the grid's centre and the isocenter."
        )


def require_object(attenuation: float, projection_set: ProjectionSet) -> None:
    """Refuse projections in which there is nothing.

    Parameters
    ----------
    attenuation : float
        ``<A 1, p>``.
    projection_set : ProjectionSet
        Line integrals p.

    Raises
    ------
    ValueError
        If it is not positive.
    """
    if attenuation <= 0:
        raise ValueError(
            "The projections hold no attenuating object (their mean is "
            f"{float(projection_set.projections.mean()):.3g}): are they line integrals? Raw counts "
            "must be converted first."
        )
