"""Ordered-subset FISTA with total variation on a torch device, step for step as on the CPU."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from NASAM3DLib.progress import Cancelled, ProgressCallback, no_progress
from NASAM3DLib.reconstruct.device import RepeatedStep
from NASAM3DLib.reconstruct.footprint_torch import TorchFootprintProjector
from NASAM3DLib.reconstruct.iterative import (
    GOLDEN,
    ITERATING,
    IterationState,
    StepCallback,
    ignore_step,
)
from NASAM3DLib.reconstruct.operator_scale import (
    OperatorScale,
    require_crossing,
    require_object,
)
from NASAM3DLib.reconstruct.projector_torch import TorchProjector
from NASAM3DLib.reconstruct.settings import Phase
from NASAM3DLib.reconstruct.total_variation import INNER_ITERATIONS
from NASAM3DLib.reconstruct.total_variation_torch import TorchTotalVariationProx
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.projections import ProjectionSet

Float32Array = npt.NDArray[np.float32]

DUAL_UNIT = 32767
"""What :class:`~NASAM3DLib.reconstruct.iterative.IterationState` multiplies the dual by."""

HAND_OVER_S = 1.0
"""Time between two copies of the state from the device, if anybody wants to see it."""

AnyProjector = TorchProjector | TorchFootprintProjector
Subset = tuple[AnyProjector, Tensor, Tensor | None]


@torch.no_grad()
def torch_operator_scale(
    projection_set: ProjectionSet, grid: VolumeGrid, device: str
) -> OperatorScale:
    """Measure a scan and grid, as :func:`~NASAM3DLib.reconstruct.operator_scale.operator_scale`.

    Parameters
    ----------
    projection_set : ProjectionSet
        Line integrals p with their geometry.
    grid : VolumeGrid
        Voxels.
    device : str
        Torch device.

    Returns
    -------
    OperatorScale
        ``L = max(A^T W A 1)`` and ``<A 1, p> / <A 1, A 1>``, with the weights W if there are any.

    Raises
    ------
    ValueError
        If no ray crosses the grid or the projections hold no object.
    """
    projector = TorchProjector(grid, projection_set.geometry, device)
    paths = projector.forward(torch.ones(grid.shape_kji, device=device))
    require_crossing(float(paths.max()))
    measured = torch.from_numpy(np.array(projection_set.projections)).to(device)
    across = float((paths * measured).sum(dtype=torch.float64))
    require_object(across, projection_set)
    mean_attenuation = across / float(paths.square().sum(dtype=torch.float64))
    if projection_set.weights is not None:
        paths *= torch.from_numpy(np.array(projection_set.weights)).to(device)
    return OperatorScale(float(projector.adjoint(paths).max()), mean_attenuation)


class TorchTotalVariationProblem:
    """The problem ``min over x >= 0 of 1/2 ||A x - p||_W^2 + w L TV(x)``, on a torch device.

    Parameters
    ----------
    projection_set : ProjectionSet
        Line integrals p with their geometry.
    grid : VolumeGrid
        Voxels x.
    device : str
        Torch device.
    scale : OperatorScale, optional
        As :func:`torch_operator_scale` gives it, which is called if it is not given.
    n_rays : int
        Rays in each pixel; more than one integrate over its width.

    Attributes
    ----------
    lipschitz : float
        L, mm^2.
    mean_attenuation : float
        The constant that explains the projections best, 1/mm.

    Raises
    ------
    ValueError
        If no ray crosses the grid or the projections hold no object.

    Notes
    -----
    The steps are those of :class:`~NASAM3DLib.reconstruct.iterative.TotalVariationProblem`; volumes
    agree with its to the rounding of single precision and of the CPU's 16-bit dual.
    """

    def __init__(
        self,
        projection_set: ProjectionSet,
        grid: VolumeGrid,
        device: str,
        *,
        scale: OperatorScale | None = None,
        n_rays: int = 1,
    ) -> None:
        self.projection_set, self.grid, self.device = projection_set, grid, device
        self.n_rays = n_rays
        scale = scale or torch_operator_scale(projection_set, grid, device)
        self.lipschitz, self.mean_attenuation = scale.lipschitz, scale.mean_attenuation
        self._measured = torch.from_numpy(np.array(projection_set.projections)).to(device)
        weights = projection_set.weights
        self._weights = None if weights is None else torch.from_numpy(weights.copy()).to(device)

    @torch.no_grad()
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
            Relative strength of total variation.
        phases : sequence of Phase
            Subset sizes and sweeps, one after the other without losing momentum.
        state : IterationState, optional
            Where to go on, also of a run on the CPU; changed when steps are handed over. By default
            a volume of zeros.
        on_step : callable
            Called with the state about once in a second and at the end.
        progress : callable
            Called before every step, on a GPU before every sweep.

        Returns
        -------
        ndarray, shape (k, j, i), float32
            Attenuation, 1/mm; Fortran order, as from the CPU.

        Notes
        -----
        On a GPU the first sweep of a phase is launched kernel by kernel and the second one recorded
        as a CUDA graph, which the others replay; within a sweep the host waits for nothing. The
        momentum therefore lives on the GPU as well.
        """
        state = state or IterationState.starting(self.grid)
        descent = _Descent(state, strength * self.mean_attenuation, self.device)
        n_views = self.projection_set.n_views
        sizes = [max(1, round(n_views / phase.views_per_subset)) for phase in phases]
        stops = np.cumsum(
            [n * phase.sweeps(n_views) for n, phase in zip(sizes, phases, strict=True)]
        )
        total, first = int(stops[-1]), 0
        told = time.monotonic()
        for n_subsets, stop in zip(sizes, stops, strict=True):
            sweep = _Sweep(descent, self._subsets(n_subsets), n_subsets / self.lipschitz)
            while first <= descent.n_steps < stop:
                try:
                    progress(ITERATING, descent.n_steps / total)
                except Cancelled:
                    descent.hand_over(state)
                    raise
                sweep.go_on((descent.n_steps - first) % n_subsets)
                if on_step is not ignore_step and time.monotonic() - told > HAND_OVER_S:
                    descent.hand_over(state)
                    on_step(state)
                    told = time.monotonic()
            first = int(stop)
        descent.hand_over(state)
        on_step(state)
        progress(ITERATING, 1.0)
        return state.volume.T

    def _subsets(self, n_subsets: int) -> list[Subset]:
        """Deal the views into interleaved subsets, in the CPU solver's order."""
        order = np.argsort(np.mod(np.arange(n_subsets) * GOLDEN, 1.0))
        indices = np.arange(self.projection_set.n_views)
        subsets = []
        for first in order:
            geometry = self.projection_set.geometry.select(indices[first::n_subsets])
            # Kept in the projector's own memory order.
            views = slice(int(first), None, n_subsets)
            measured = self._measured[views].mT.contiguous()
            weights = None if self._weights is None else self._weights[views].mT.contiguous()
            projector: AnyProjector = TorchProjector(self.grid, geometry, self.device)
            if self.n_rays > 1:
                projector = TorchFootprintProjector(self.grid, geometry, self.device, self.n_rays)
            subsets.append((projector, measured, weights))
        return subsets


class _Descent:
    """The iterate on the device, changed in place so that a recorded sweep finds it again."""

    def __init__(self, state: IterationState, weight: float, device: str) -> None:
        self.n_steps = state.n_steps
        self._weight = weight
        # Copies also on a CPU, where the arrays would be shared.
        self._volume = torch.from_numpy(state.volume.copy()).to(device)
        self._ahead = torch.from_numpy(state.ahead.copy()).to(device)
        self._momentum = torch.tensor(state.momentum, dtype=torch.float64, device=device)
        self._prox = TorchTotalVariationProx(tuple(self._volume.shape), device)
        self._prox.dual.copy_(torch.from_numpy(state.dual).to(device)).div_(DUAL_UNIT)

    def advance(self, subset: Subset, step: float) -> None:
        """Do a gradient step, a proximal step and an extrapolation."""
        projector, measured, weights = subset
        residual = projector.forward(self._ahead.permute(2, 1, 0)).permute(0, 2, 1) - measured
        if weights is not None:
            residual *= weights
        gradient = projector.adjoint(residual.permute(0, 2, 1)).permute(2, 1, 0)
        target = torch.add(self._ahead, gradient, alpha=-step)
        following = self._prox.apply(target, self._weight, n_iterations=INNER_ITERATIONS)
        larger = (1 + torch.sqrt(1 + 4 * self._momentum * self._momentum)) / 2
        factor = ((self._momentum - 1) / larger).float()
        torch.sub(following, self._volume, out=self._ahead)
        self._ahead.mul_(factor).add_(following)
        self._volume.copy_(following)
        self._momentum.copy_(larger)

    def hand_over(self, state: IterationState) -> None:
        """Copy to the host."""
        state.is_whole = False
        state.volume[...] = self._volume.cpu().numpy()
        state.ahead[...] = self._ahead.cpu().numpy()
        state.dual[...] = (self._prox.dual * DUAL_UNIT).round().short().cpu().numpy()
        state.momentum = float(self._momentum)
        state.n_steps = self.n_steps
        state.is_whole = True


class _Sweep:
    """The steps of one pass over all views: one by one, or recorded as a whole on a GPU."""

    def __init__(self, descent: _Descent, subsets: list[Subset], step: float) -> None:
        self._descent, self._subsets, self._step = descent, subsets, step
        projector = subsets[0][0]
        # Plain torch asks the GPU for sizes, which a recording cannot hold.
        ours = all(projector.kernels == "triton" for projector, *_ in subsets)
        on_gpu = projector.device.type == "cuda" and ours
        self._recorded = RepeatedStep(self._whole, "cuda") if on_gpu else None

    def go_on(self, number: int) -> None:
        """Do the step of a subset, or a whole sweep if that is recorded and at its beginning."""
        if self._recorded is None or number:
            self._descent.advance(self._subsets[number], self._step)
            self._descent.n_steps += 1
            return
        self._recorded()
        # Without this the host would be done, and could not be cancelled, at once.
        torch.cuda.synchronize()
        self._descent.n_steps += len(self._subsets)

    def _whole(self) -> None:
        """Do the steps of all subsets."""
        for subset in self._subsets:
            self._descent.advance(subset, self._step)
