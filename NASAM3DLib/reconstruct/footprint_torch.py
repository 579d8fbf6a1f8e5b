"""The projector over the width of a pixel, on a torch device."""

from __future__ import annotations

import torch
from torch import Tensor

from NASAM3DLib.reconstruct.footprint import split_columns
from NASAM3DLib.reconstruct.projector_torch import TorchProjector
from NASAM3DLib.scan.geometry import ConeBeamGeometry
from NASAM3DLib.scan.grid import VolumeGrid


class TorchFootprintProjector:
    """As :class:`~NASAM3DLib.reconstruct.footprint.FootprintProjector`, on tensors.

    Parameters
    ----------
    grid : VolumeGrid
        Voxels.
    geometry : ConeBeamGeometry
        Views.
    device : str
        Torch device.
    n_rays : int
        Rays in each pixel, spread evenly over its width.
    """

    def __init__(
        self, grid: VolumeGrid, geometry: ConeBeamGeometry, device: str, n_rays: int
    ) -> None:
        self.n_rays = n_rays
        self._projector = TorchProjector(grid, split_columns(geometry, n_rays), device)
        self.device, self.kernels = self._projector.device, self._projector.kernels

    def forward(self, volume: Tensor) -> Tensor:
        """Compute line integrals.

        Parameters
        ----------
        volume : Tensor, shape (k, j, i)
            Attenuation, 1/mm.

        Returns
        -------
        Tensor, shape (n_views, n_rows, n_cols)
        """
        fine = self._projector.forward(volume)
        n_views, n_rows, n_fine = fine.shape
        return fine.reshape(n_views, n_rows, n_fine // self.n_rays, self.n_rays).mean(dim=3)

    def adjoint(self, projections: Tensor) -> Tensor:
        """Apply the exact transpose of :meth:`forward`.

        Parameters
        ----------
        projections : Tensor, shape (n_views, n_rows, n_cols)
            Values on the detector.

        Returns
        -------
        Tensor, shape (k, j, i)
        """
        spread = torch.repeat_interleave(projections, self.n_rays, dim=2) / self.n_rays
        return self._projector.adjoint(spread)
