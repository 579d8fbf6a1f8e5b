"""The proximal step of total variation on torch tensors: a Triton kernel, or plain torch."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from NASAM3DLib.reconstruct.device import has_triton
from NASAM3DLib.reconstruct.total_variation import DUAL_STEP


class TorchTotalVariationProx:
    """Warm-started solver of the total-variation denoising problem, on a torch device.

    Parameters
    ----------
    shape : tuple of int
        Shape of the arrays, in memory order.
    device : str
        Torch device.

    Attributes
    ----------
    dual : Tensor, shape (3, *shape), float32
        The dual. All that is remembered from one call to the next.

    Notes
    -----
    The algorithm is that of :class:`~NASAM3DLib.reconstruct.total_variation.TotalVariationProx`.
    On a GPU one kernel does a whole dual step: it computes the primal image at a voxel and at its
    three successors from the dual in reach, so that per voxel 7 numbers are read from memory and 6
    written, the neighbours' coming from the cache. Nothing waits for the GPU.
    """

    def __init__(self, shape: tuple[int, ...], device: str) -> None:
        self.dual = torch.zeros((3, *shape), dtype=torch.float32, device=device)
        self._ahead = torch.zeros_like(self.dual)
        self._following = torch.zeros_like(self.dual)
        self._triton = has_triton(device)

    def apply(self, image: Tensor, weight: float, *, n_iterations: int = 6) -> Tensor:
        """Denoise an image.

        Parameters
        ----------
        image : Tensor, float32
            The image b, contiguous.
        weight : float
            The weight w, in the unit of the image.
        n_iterations : int
            Inner iterations.

        Returns
        -------
        Tensor, float32
            The non-negative minimiser, up to the inner iterations' accuracy.

        Raises
        ------
        ValueError
            If the weight is negative.
        """
        if weight < 0:
            raise ValueError(f"The weight of total variation must not be negative, got {weight:g}.")
        if weight == 0:
            return image.clamp(min=0)
        ahead, spare, momentum = self._ahead, self._following, 1.0
        ahead.copy_(self.dual)
        for _ in range(n_iterations):
            larger = (1 + math.sqrt(1 + 4 * momentum * momentum)) / 2
            settings = (weight, DUAL_STEP / weight, (momentum - 1) / larger)
            if self._triton:
                from NASAM3DLib.reconstruct import kernels_cuda

                kernels_cuda.dual_step(image, settings, dual=self.dual, ahead=ahead, out=spare)
                ahead, spare = spare, ahead
            else:
                _dual_step(image, settings, self.dual, ahead)
            momentum = larger
        return self._primal(image, weight)

    def _primal(self, image: Tensor, weight: float) -> Tensor:
        """Compute the primal image of the final dual."""
        if not self._triton:
            return _primal(image, weight, self.dual)
        from NASAM3DLib.reconstruct import kernels_cuda

        out = torch.empty_like(image)
        kernels_cuda.primal(image, weight, dual=self.dual, out=out)
        return out


def _primal(b: Tensor, weight: float, dual: Tensor) -> Tensor:
    """Compute ``max(b - w D^T dual, 0)``; a dual that points out of the grid is zero itself."""
    total = dual.sum(dim=0)
    for axis in range(3):
        count = b.shape[axis]
        total.narrow(axis, 1, count - 1).sub_(dual[axis].narrow(axis, 0, count - 1))
    return torch.clamp(b - weight * total, min=0)


def _dual_step(
    b: Tensor, settings: tuple[float, float, float], dual: Tensor, ahead: Tensor
) -> None:
    """Step along the primal's differences, project on the unit ball, extrapolate in place."""
    weight, step, beta = settings
    x = _primal(b, weight, ahead)
    for axis in range(3):
        count = b.shape[axis]
        difference = x.narrow(axis, 0, count - 1) - x.narrow(axis, 1, count - 1)
        ahead[axis].narrow(axis, 0, count - 1).add_(difference, alpha=step)
    ahead /= ahead.norm(dim=0).clamp(min=1.0)
    # ahead holds the new dual; what is extrapolated is its change.
    change = ahead - dual
    dual.copy_(ahead)
    ahead.add_(change, alpha=beta)
