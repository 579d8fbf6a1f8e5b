"""The solver of total variation for a device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from NASAM3DLib.progress import ProgressCallback, no_progress
from NASAM3DLib.reconstruct.iterative import (
    OperatorScale,
    TotalVariationProblem,
    operator_scale,
)
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.projections import ProjectionSet

if TYPE_CHECKING:
    from NASAM3DLib.reconstruct.iterative_torch import TorchTotalVariationProblem

    Problem = TotalVariationProblem | TorchTotalVariationProblem


def make_problem(
    projection_set: ProjectionSet,
    grid: VolumeGrid,
    *,
    device: str = "cpu",
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
    device : str
        "cpu" or "cuda", as :func:`~NASAM3DLib.reconstruct.device.choose_solver_device` gives it.
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
    if device == "cpu":
        scale = scale or operator_scale(projection_set, grid, progress=progress)
        return TotalVariationProblem(projection_set, grid, scale)
    from NASAM3DLib.reconstruct.iterative_torch import (
        TorchTotalVariationProblem,
        torch_operator_scale,
    )

    scale = scale or torch_operator_scale(projection_set, grid, device)
    return TorchTotalVariationProblem(projection_set, grid, device, scale=scale)
