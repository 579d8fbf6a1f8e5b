"""The solver of total variation, for a device and a model of the detector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from NASAM3DLib.progress import ProgressCallback, no_progress
from NASAM3DLib.reconstruct.iterative import TotalVariationProblem
from NASAM3DLib.reconstruct.operator_scale import OperatorScale, operator_scale
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.projections import ProjectionSet

if TYPE_CHECKING:
    from NASAM3DLib.reconstruct.iterative_torch import TorchTotalVariationProblem

    Problem = TotalVariationProblem | TorchTotalVariationProblem


@dataclass(frozen=True)
class Solver:
    """How to solve.

    Parameters
    ----------
    device : str
        "cpu" or "cuda", as :func:`~NASAM3DLib.reconstruct.device.choose_solver_device` gives it.
    n_rays : int
        Rays in each pixel; more than one integrate over its width.
    """

    device: str = "cpu"
    n_rays: int = 1


ON_CPU = Solver()


def make_problem(
    projection_set: ProjectionSet,
    grid: VolumeGrid,
    solver: Solver = ON_CPU,
    *,
    scale: OperatorScale | None = None,
    progress: ProgressCallback = no_progress,
) -> Problem:
    """Set up total variation on a device.

    Parameters
    ----------
    projection_set : ProjectionSet
        Line integrals.
    grid : VolumeGrid
        Voxels.
    solver : Solver
        How to solve.
    scale : OperatorScale, optional
        Scale of the problem, if it is known already.
    progress : callable
        Called before every fraction of a second of work.

    Returns
    -------
    TotalVariationProblem or TorchTotalVariationProblem

    Raises
    ------
    ValueError
        If no ray crosses the grid or the projections hold no object.
    """
    n_rays, device = solver.n_rays, solver.device
    if device == "cpu":
        scale = scale or operator_scale(projection_set, grid, progress=progress)
        return TotalVariationProblem(projection_set, grid, scale, n_rays=n_rays)
    from NASAM3DLib.reconstruct.iterative_torch import (
        TorchTotalVariationProblem,
        torch_operator_scale,
    )

    scale = scale or torch_operator_scale(projection_set, grid, device)
    return TorchTotalVariationProblem(projection_set, grid, device, scale=scale, n_rays=n_rays)
