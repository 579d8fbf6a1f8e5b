"""Ordered-subset FISTA with total variation on a torch device, step for step as on the CPU."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from NASAM3DLib.progress import ProgressCallback, no_progress, sub_progress
from NASAM3DLib.reconstruct.device import RepeatedStep
from NASAM3DLib.reconstruct.projector_torch import TorchProjector
from NASAM3DLib.reconstruct.settings import Phase
from NASAM3DLib.reconstruct.total_variation_torch import TorchTotalVariationProx
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.projections import ProjectionSet

Float32Array = npt.NDArray[np.float32]

INNER_ITERATIONS = 3
"""Dual steps per proximal step, as on the CPU."""

GOLDEN = (math.sqrt(5) - 1) / 2

SMALLEST_PATH_MM = 1e-6

STAGE = "iterating"


class TorchTotalVariationProblem:
    """The problem ``min over x >= 0 of 1/2 ||A x - p||^2 + w L TV(x)``, on a torch device.

    Parameters
    ----------
    projection_set : ProjectionSet
        Line integrals p with their geometry.
    grid : VolumeGrid
        Voxels x.
    device : str
        Torch device.

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
    The quantities are those of :class:`~NASAM3DLib.reconstruct.iterative.TotalVariationProblem`;
    volumes agree with its to the rounding of single precision and of the CPU's 16-bit dual.
    """

    def __init__(self, projection_set: ProjectionSet, grid: VolumeGrid, device: str) -> None:
        self.projection_set, self.grid, self.device = projection_set, grid, device
        projector = TorchProjector(grid, projection_set.geometry, device)
        paths = projector.forward(torch.ones(grid.shape_kji, device=device))
        if float(paths.max()) <= SMALLEST_PATH_MM:
            raise ValueError(
                "No ray crosses the volume: its grid and the scanner geometry do not belong "
                "together. Check the grid's centre and the isocenter."
            )
        self.lipschitz = float(projector.adjoint(paths).max())
        self._measured = torch.from_numpy(np.array(projection_set.projections)).to(device)
        explained = (paths * self._measured).sum(dtype=torch.float64)
        self.mean_attenuation = float(explained / paths.square().sum(dtype=torch.float64))
        if self.mean_attenuation <= 0:
            raise ValueError(
                "The projections hold no attenuating object (their mean is "
                f"{float(projection_set.projections.mean()):.3g}): are they line integrals? Raw "
                "counts must be converted first."
            )

    @torch.no_grad()
    def solve(
        self,
        strength: float,
        phases: Sequence[Phase],
        *,
        progress: ProgressCallback = no_progress,
    ) -> Float32Array:
        """Iterate from zero.

        Parameters
        ----------
        strength : float
            Relative strength of total variation.
        phases : sequence of Phase
            Subset sizes and sweeps, one after the other without losing momentum.
        progress : callable
            Called before every subset on a CPU and before every sweep on a GPU.

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
        descent = _Descent(self.grid, strength * self.mean_attenuation, self.device)
        total = sum(phase.n_sweeps for phase in phases)
        done = 0
        for phase in phases:
            subsets = self._subsets(phase.views_per_subset)
            sweep = descent.sweep(subsets, len(subsets) / self.lipschitz)
            # Plain torch asks the GPU for sizes, which a recording cannot hold.
            on_gpu = all(projector.kernels == "triton" for projector, _ in subsets)
            recorded = RepeatedStep(sweep, self.device) if on_gpu else None
            for number in range(done, done + phase.n_sweeps):
                part = sub_progress(progress, number / total, (number + 1) / total)
                if recorded is None or not self.device.startswith("cuda"):
                    sweep(part)
                    continue
                part(STAGE, 0.0)
                recorded()
                # Without this the host would be done, and could not be cancelled, at once.
                torch.cuda.synchronize()
            done += phase.n_sweeps
        progress(STAGE, 1.0)
        return descent.volume.cpu().numpy().T

    def _subsets(self, views_per_subset: int) -> list[tuple[TorchProjector, Tensor]]:
        """Deal the views into interleaved subsets, in the CPU solver's order."""
        n_views = self.projection_set.n_views
        n_subsets = max(1, round(n_views / views_per_subset))
        order = np.argsort(np.mod(np.arange(n_subsets) * GOLDEN, 1.0))
        subsets = []
        for first in order:
            views = np.arange(first, n_views, n_subsets)
            geometry = self.projection_set.geometry.select(views)
            # Kept in the projector's own memory order.
            measured = self._measured[first::n_subsets].permute(0, 2, 1).contiguous()
            subsets.append((TorchProjector(self.grid, geometry, self.device), measured))
        return subsets


class _Descent:
    """The iterate, changed in place so that a recorded sweep finds it again."""

    def __init__(self, grid: VolumeGrid, weight: float, device: str) -> None:
        shape = (grid.shape_kji[2], grid.shape_kji[1], grid.shape_kji[0])
        self.volume = torch.zeros(shape, device=device)
        self._ahead = torch.zeros(shape, device=device)
        self._momentum = torch.ones((), dtype=torch.float64, device=device)
        self._prox = TorchTotalVariationProx(shape, device)
        self._weight = weight

    def sweep(
        self, subsets: list[tuple[TorchProjector, Tensor]], step: float
    ) -> Callable[..., None]:
        """Make a function that goes once through the subsets and reports before each."""

        def once(progress: ProgressCallback = no_progress) -> None:
            for number, (projector, measured) in enumerate(subsets):
                progress(STAGE, number / len(subsets))
                self._advance(projector, measured, step)

        return once

    def _advance(self, projector: TorchProjector, measured: Tensor, step: float) -> None:
        """Do a gradient step, a proximal step and an extrapolation."""
        residual = projector.forward(self._ahead.permute(2, 1, 0)).permute(0, 2, 1) - measured
        gradient = projector.adjoint(residual.permute(0, 2, 1)).permute(2, 1, 0)
        target = torch.add(self._ahead, gradient, alpha=-step)
        following = self._prox.apply(target, self._weight, n_iterations=INNER_ITERATIONS)
        larger = (1 + torch.sqrt(1 + 4 * self._momentum * self._momentum)) / 2
        factor = ((self._momentum - 1) / larger).float()
        torch.sub(following, self.volume, out=self._ahead)
        self._ahead.mul_(factor).add_(following)
        self.volume.copy_(following)
        self._momentum.copy_(larger)
