"""Total variation on a lattice finer than the wanted voxels.

A voxel that an edge runs through is a mixture, and the projections know the mixture better than a
volume of wanted voxels can say: neither can such a volume explain the projections, nor does total
variation know that the mixture is an edge. On voxels half as large both get better. The wanted
voxels are the means of the fine ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from NASAM3DLib.progress import ProgressCallback, no_progress, sub_progress
from NASAM3DLib.reconstruct.iterative import IterationState, StepCallback, ignore_step
from NASAM3DLib.reconstruct.projector import Projector
from NASAM3DLib.reconstruct.settings import Phase
from NASAM3DLib.reconstruct.solvers import Solver, make_problem
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.noise import noise_variance

if TYPE_CHECKING:
    from NASAM3DLib.reconstruct.solvers import Problem

Float32Array = npt.NDArray[np.float32]

FACTOR = 2
"""Fine voxels along the side of a wanted one."""

MOST_FINE_VOXELS = 1.4e8
"""Larger lattices (a little above 512 along each side) take more than 3 GB and many minutes."""

NOISE_LEADS = 0.5
"""Noise share from which on a finer model of the detector is not worth its time."""

VIEWS_PER_SUBSET = 5
STAGE = "refining"


@dataclass(frozen=True)
class RefinementPlan:
    """How far to go on the fine lattice.

    Parameters
    ----------
    noise_share : float
        Share of the noise in the variance of what the base leaves unexplained, 0 to 1.

    Notes
    -----
    Without noise the base's residual is its discretisation, which the fine lattice does not have:
    less total variation, more sweeps and nearly all of the result are right. Where all of the
    residual is noise, the finer lattice has more freedom to fit it: it needs more total variation,
    and the mean of base and fine volume, whose errors differ, is better than either. The numbers
    between are linear; measurements in docs/benchmarks.md.
    """

    noise_share: float

    @property
    def strength_factor(self) -> float:
        """Strength of total variation on the fine lattice, relative to the base."""
        return 0.5 + self.noise_share

    @property
    def weight(self) -> float:
        """Weight of the fine volume in the mean with the base."""
        return 0.85 - 0.4 * self.noise_share

    @property
    def n_rays(self) -> int:
        """Rays in each pixel: two gain up to 1.2 dB without noise and nothing with it."""
        return 2 if self.noise_share < NOISE_LEADS else 1

    @property
    def phases(self) -> tuple[Phase, ...]:
        """Iterations on the fine lattice."""
        phases = (
            Phase(VIEWS_PER_SUBSET, round(14 - 8 * self.noise_share)),
            # With noise, small subsets pull the volume to and fro; larger ones settle it.
            Phase(2 * VIEWS_PER_SUBSET, round(4 * self.noise_share)),
        )
        return tuple(phase for phase in phases if phase.n_sweeps)


@dataclass(frozen=True, eq=False)
class Base:
    """A solution of total variation on the wanted voxels.

    Parameters
    ----------
    problem : TotalVariationProblem
        The problem.
    strength : float
        Strength of total variation.
    array : ndarray, shape (k, j, i), float32
        The solution, 1/mm.
    device : str
        Where to go on, see :class:`~NASAM3DLib.reconstruct.solvers.Solver`.
    """

    problem: Problem
    strength: float
    array: Float32Array
    device: str = "cpu"


def fine_grid(grid: VolumeGrid) -> VolumeGrid:
    """Halve the voxels of a grid.

    Parameters
    ----------
    grid : VolumeGrid
        Wanted voxels.

    Returns
    -------
    VolumeGrid
        The same box in voxels half as large.
    """
    k, j, i = grid.shape_kji
    return grid.resampled((k * FACTOR, j * FACTOR, i * FACTOR))


def can_be_refined(grid: VolumeGrid) -> bool:
    """Tell whether the fine lattice of a grid is of bearable size.

    Parameters
    ----------
    grid : VolumeGrid
        Wanted voxels.

    Returns
    -------
    bool
    """
    return int(np.prod(grid.shape_kji, dtype=np.int64)) * FACTOR**3 <= MOST_FINE_VOXELS


def plan_refinement(base: Base, *, progress: ProgressCallback = no_progress) -> RefinementPlan:
    """Compare what the base leaves unexplained with the noise.

    Parameters
    ----------
    base : Base
        Solution on the wanted voxels.
    progress : callable
        Called before every fraction of a second of work.

    Returns
    -------
    RefinementPlan
    """
    projection_set, grid = base.problem.projection_set, base.problem.grid
    part = sub_progress(progress, 0.0, 1.0, stage=STAGE)
    residual = Projector(grid, projection_set.geometry).forward(base.array, progress=part)
    residual -= projection_set.projections
    unexplained = projection_set.mean_square(residual)
    noise = noise_variance(projection_set)
    return RefinementPlan(min(1.0, noise / unexplained) if unexplained > 0 else 0.0)


def starting_state(base: Base) -> IterationState:
    """Begin on the fine lattice with the base, each voxel cut into equal ones.

    Parameters
    ----------
    base : Base
        Solution on the wanted voxels.

    Returns
    -------
    IterationState

    Notes
    -----
    Interpolating the base instead blurs flat ends of the body along the axis, which a circular
    orbit hardly measures and the iteration sharpens only slowly.
    """
    state = IterationState.starting(fine_grid(base.problem.grid))
    for first in np.ndindex(FACTOR, FACTOR, FACTOR):
        places = tuple(slice(n, None, FACTOR) for n in first)
        state.volume[places] = base.array.T
    state.ahead[...] = state.volume
    return state


def cell_means(fine: Float32Array) -> Float32Array:
    """Average fine voxels over the wanted ones.

    Parameters
    ----------
    fine : ndarray, shape (2 k, 2 j, 2 i), float32
        Values on the fine lattice.

    Returns
    -------
    ndarray, shape (k, j, i), float32
    """
    means = np.zeros(tuple(n // FACTOR for n in fine.shape), dtype=np.float32)
    for k, j, i in np.ndindex(FACTOR, FACTOR, FACTOR):
        means += fine[k::FACTOR, j::FACTOR, i::FACTOR]
    means /= np.float32(FACTOR**3)
    return means


def refine(
    base: Base,
    plan: RefinementPlan,
    *,
    state: IterationState | None = None,
    on_step: StepCallback = ignore_step,
    progress: ProgressCallback = no_progress,
) -> Float32Array:
    """Go on from a volume of total variation on voxels half as large.

    Parameters
    ----------
    base : Base
        Solution on the wanted voxels.
    plan : RefinementPlan
        As :func:`plan_refinement` gives it.
    state : IterationState, optional
        Where to go on, changed in place; by default :func:`starting_state`.
    on_step : callable
        Called with the state after every step.
    progress : callable
        Called before every fraction of a second of work.

    Returns
    -------
    ndarray, shape (k, j, i), float32
        ``(1 - weight) base + weight mean(fine)`` on the wanted voxels, 1/mm.
    """
    projection_set, grid = base.problem.projection_set, fine_grid(base.problem.grid)
    part = sub_progress(progress, 0.0, 0.05, stage=STAGE)
    solver = Solver(base.device, plan.n_rays)
    fine_problem = make_problem(projection_set, grid, solver, progress=part)
    state = state or starting_state(base)
    fine = fine_problem.solve(
        base.strength * plan.strength_factor,
        plan.phases,
        state=state,
        on_step=on_step,
        progress=sub_progress(progress, 0.05, 1.0, stage=STAGE),
    )
    weight = np.float32(plan.weight)
    return np.asarray(weight * cell_means(fine) + (1 - weight) * base.array, dtype=np.float32)
