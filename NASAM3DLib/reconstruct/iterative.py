"""Ordered-subset FISTA with a total-variation proximal step.

References
----------
.. [1] A. Beck, M. Teboulle, "A fast iterative shrinkage-thresholding algorithm for linear inverse
   problems", SIAM J. Imaging Sci. 2(1), 2009, eq. 4.1-4.3.
.. [2] D. Kim, S. Ramani, J. A. Fessler, "Combining ordered subsets and momentum for accelerated
   X-ray CT image reconstruction", IEEE Trans. Med. Imaging 34(1), 2015.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from NASAM3DLib.progress import ProgressCallback, no_progress, sub_progress
from NASAM3DLib.reconstruct.footprint import FootprintProjector
from NASAM3DLib.reconstruct.operator_scale import OperatorScale, operator_scale
from NASAM3DLib.reconstruct.projector import Projector
from NASAM3DLib.reconstruct.settings import Phase
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.projections import ProjectionSet

Float32Array = npt.NDArray[np.float32]
Int16Array = npt.NDArray[np.int16]
AnyProjector = Projector | FootprintProjector

GOLDEN = (math.sqrt(5) - 1) / 2

ITERATING = "iterating"

PIECE_VALUES = 2**25
"""Values that are written to fresh memory in a fraction of a second."""


@dataclass(eq=False)
class IterationState:
    """All that the iteration knows after a number of steps: what it needs to go on.

    Parameters
    ----------
    volume : ndarray, shape (i, j, k), float32
        The volume, 1/mm. The memory order is the one that the projector takes without a copy.
    ahead : ndarray, shape (i, j, k), float32
        The volume extrapolated by Nesterov's rule, where the next gradient is taken.
    dual : ndarray, shape (3, i, j, k), int16
        Dual of total variation, times 32767.
    momentum : float
        Nesterov's t.
    n_steps : int
        Steps done, one for each subset of each sweep of each phase.
    is_whole : bool
        False while a step changes the arrays: a state that a step was torn out of is useless.
    """

    volume: Float32Array
    ahead: Float32Array
    dual: Int16Array
    momentum: float = 1.0
    n_steps: int = 0
    is_whole: bool = True

    @classmethod
    def starting(cls, grid: VolumeGrid, array: npt.ArrayLike | None = None) -> IterationState:
        """Begin.

        Parameters
        ----------
        grid : VolumeGrid
            Voxels.
        array : array_like, shape (k, j, i), optional
            First guess, 1/mm; zero if not given.

        Returns
        -------
        IterationState
        """
        shape = grid.shape_kji[::-1]
        volume = np.zeros(shape, dtype=np.float32)
        if array is not None:
            volume[...] = np.asarray(array).transpose(2, 1, 0)
        return cls(volume, volume.copy(), np.zeros((3, *shape), dtype=np.int16))


StepCallback = Callable[[IterationState], None]
"""Called after every step; must not change the state."""


def ignore_step(state: IterationState) -> None:
    """Do nothing: the default of what is called after every step.

    Parameters
    ----------
    state : IterationState
        Ignored.
    """


@dataclass(frozen=True, eq=False)
class Subset:
    """Some of the views.

    Parameters
    ----------
    projector : Projector or FootprintProjector
        A_s.
    measured : ndarray, shape (n_views, n_rows, n_cols), float32
        p_s.
    weights : ndarray, same shape, float32, or None
        Diagonal of W_s; the identity if None.
    """

    projector: AnyProjector
    measured: Float32Array
    weights: Float32Array | None

    def gradient(
        self, array: Float32Array, *, out: Float32Array, progress: ProgressCallback
    ) -> None:
        """Compute ``A_s^T W_s (A_s y - p_s)``.

        Parameters
        ----------
        array : ndarray, shape (k, j, i), float32
            y, 1/mm.
        out : ndarray, shape (k, j, i), float32
            Is given the result.
        progress : callable
            Called before every fraction of a second of work.
        """
        residual = self.projector.forward(array, progress=sub_progress(progress, 0.0, 0.5))
        residual -= self.measured
        if self.weights is not None:
            residual *= self.weights
        self.projector.adjoint(residual, out=out, progress=sub_progress(progress, 0.5, 1.0))


class SubsetStep:
    """One step of the iteration: gradient on a subset, proximal step, extrapolation.

    Parameters
    ----------
    state : IterationState
        What the steps change.
    weight : float
        Weight of the proximal step, 1/mm.

    Notes
    -----
    With M subsets, ::

        b = y - M A_s^T W_s (A_s y - p_s) / L,    x' = prox(b),    y' = x' + (t - 1) / t' (x' - x)

    as in [2]_ and [1]_, where y is ``state.ahead`` and ``t' = (1 + sqrt(1 + 4 t^2)) / 2``.
    """

    def __init__(self, state: IterationState, weight: float) -> None:
        from NASAM3DLib.reconstruct.total_variation import TotalVariationProx

        self.state = state
        self._weight = weight
        self._prox = TotalVariationProx(state.volume.shape, state.dual)
        self._gradient = np.empty_like(state.volume)

    def touch(self, progress: Callable[[], None]) -> None:
        """Write to large memory piece by piece: the system hands fresh memory out slowly.

        Parameters
        ----------
        progress : callable
            Called after every piece.
        """
        for array in (self.state.volume, self.state.dual):
            for piece in _pieces(array):
                piece *= 1
                progress()
        for array in (self._gradient, self._prox.reserved()):
            for piece in _pieces(array):
                piece.fill(0)
                progress()

    def do(self, subset: Subset, step: float, *, progress: ProgressCallback = no_progress) -> None:
        """Do the step; the state is as before if the progress callback raises.

        Parameters
        ----------
        subset : Subset
            A_s, p_s and W_s.
        step : float
            M / L, 1/mm^2.
        progress : callable
            Called before every fraction of a second of work.
        """
        from NASAM3DLib.reconstruct import kernels_tv

        state = self.state
        subset.gradient(state.ahead.T, out=self._gradient.T, progress=progress)
        progress(ITERATING, 1.0)
        state.is_whole = False
        kernels_tv.descend(self._gradient, np.float32(step), state.ahead)
        larger = (1 + math.sqrt(1 + 4 * state.momentum * state.momentum)) / 2
        self._prox.advance(
            self._gradient,
            self._weight,
            state.volume,
            ahead=state.ahead,
            extrapolation=(state.momentum - 1) / larger,
        )
        state.momentum = larger
        state.n_steps += 1
        state.is_whole = True


def _pieces(array: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    """Cut large memory into pieces; memory that is not large has none."""
    n_pieces = array.size // PIECE_VALUES
    return np.array_split(array.reshape(-1), n_pieces) if n_pieces else []


class TotalVariationProblem:
    """The problem ``min over x >= 0 of 1/2 ||A x - p||_W^2 + w L TV(x)`` for one scan and grid.

    Parameters
    ----------
    projection_set : ProjectionSet
        Line integrals p with their geometry and weights, the diagonal of W.
    grid : VolumeGrid
        Voxels x.
    scale : OperatorScale, optional
        As :func:`~NASAM3DLib.reconstruct.operator_scale.operator_scale` gives it, which is called
        if it is not given.
    n_rays : int
        Rays in each pixel; more than one integrate over its width.

    Attributes
    ----------
    lipschitz : float
        L, mm^2.
    mean_attenuation : float
        The constant that explains the projections best, ``<A 1, p> / <A 1, A 1>``, 1/mm.

    Raises
    ------
    ValueError
        If no ray crosses the grid or the projections hold no object.

    Notes
    -----
    ``L = max(A^T W A 1)`` bounds the largest eigenvalue of ``A^T W A`` because no entry is negative
    (Gershgorin). The weight w of the proximal step is given as ``strength * mean_attenuation``, so
    that a strength means the same for any unit and object.
    """

    def __init__(
        self,
        projection_set: ProjectionSet,
        grid: VolumeGrid,
        scale: OperatorScale | None = None,
        *,
        n_rays: int = 1,
    ) -> None:
        self.projection_set = projection_set
        self.grid = grid
        self.n_rays = n_rays
        scale = scale or operator_scale(projection_set, grid)
        self.lipschitz, self.mean_attenuation = scale.lipschitz, scale.mean_attenuation

    def solve(
        self,
        strength: float,
        phases: Sequence[Phase],
        *,
        state: IterationState | None = None,
        on_step: StepCallback = ignore_step,
        progress: ProgressCallback = no_progress,
    ) -> Float32Array:
        """Iterate.

        Parameters
        ----------
        strength : float
            Relative strength of total variation, see above.
        phases : sequence of Phase
            Subset sizes and sweeps, one after the other without losing momentum.
        state : IterationState, optional
            Where to go on, changed in place; steps that it has done are not done again. By default
            a volume of zeros.
        on_step : callable
            Called with the state after every step.
        progress : callable
            Called before every fraction of a second of work.

        Returns
        -------
        ndarray, shape (k, j, i), float32
            Attenuation, 1/mm; Fortran order, ready for the projector.
        """
        state = state or IterationState.starting(self.grid)
        step = SubsetStep(state, strength * self.mean_attenuation)
        n_views = self.projection_set.n_views
        counts = [(self._n_subsets(phase), phase.sweeps(n_views)) for phase in phases]
        total = sum(n_subsets * n_sweeps for n_subsets, n_sweeps in counts)
        step.touch(lambda: progress(ITERATING, min(state.n_steps / max(total, 1), 1.0)))
        first = 0
        for n_subsets, n_sweeps in counts:
            subsets = self._subsets(n_subsets)
            last = first + n_subsets * n_sweeps
            while first <= state.n_steps < last:
                done = state.n_steps
                part = sub_progress(progress, done / total, (done + 1) / total, stage=ITERATING)
                subset = subsets[(done - first) % n_subsets]
                step.do(subset, n_subsets / self.lipschitz, progress=part)
                on_step(state)
            first = last
        progress(ITERATING, 1.0)
        return state.volume.T

    def _n_subsets(self, phase: Phase) -> int:
        """Give the number of subsets that a phase deals the views into."""
        return max(1, round(self.projection_set.n_views / phase.views_per_subset))

    def _subsets(self, n_subsets: int) -> list[Subset]:
        """Deal the views into interleaved subsets, in an order that jumps around the circle."""
        order = np.argsort(np.mod(np.arange(n_subsets) * GOLDEN, 1.0))
        scan, subsets = self.projection_set, []
        for first in order:
            views = slice(int(first), None, n_subsets)
            geometry = scan.geometry.select(np.arange(scan.n_views)[views])
            projector: AnyProjector = Projector(self.grid, geometry)
            if self.n_rays > 1:
                projector = FootprintProjector(self.grid, geometry, self.n_rays)
            weights = None if scan.weights is None else scan.weights[views]
            subsets.append(Subset(projector, scan.projections[views], weights))
        return subsets
