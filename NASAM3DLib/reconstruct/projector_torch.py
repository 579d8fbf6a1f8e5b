"""The projector on torch tensors: Triton kernels on a GPU, plain torch anywhere, with gradients.

The numbers are those of :class:`~NASAM3DLib.reconstruct.projector.Projector`, the conventions too:
volumes (k, j, i) in 1/mm, projections (view, row, column).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor

from NASAM3DLib.reconstruct.device import has_triton
from NASAM3DLib.reconstruct.projector import Projector
from NASAM3DLib.reconstruct.ray_tables import IndexPoses, column_tables
from NASAM3DLib.scan.geometry import ConeBeamGeometry
from NASAM3DLib.scan.grid import VolumeGrid

logger = logging.getLogger(__name__)

Kernels = Literal["triton", "torch"]

SAMPLES_ON_CPU, SAMPLES_ON_GPU = 2**18, 2**23
"""Crossings of rays and planes that the plain torch path holds at a time, about 150 bytes each."""


class TorchProjector:
    """The linear operator A from voxels to line integrals, on a torch device.

    Parameters
    ----------
    grid : VolumeGrid
        Voxels.
    geometry : ConeBeamGeometry
        Views.
    device : str
        Torch device.
    kernels : {"triton", "torch"}, optional
        Force one implementation. By default Triton's where it is installed, the device is a GPU,
        detector rows run along the k axis, and the grid lies before the source in every view.

    Attributes
    ----------
    kernels : {"triton", "torch"}
        What is used for float32 tensors; others always take plain torch.

    Raises
    ------
    ValueError
        If Triton's kernels are forced where they do not apply.

    Notes
    -----
    Both directions are differentiable, any number of times: the derivative of A is its adjoint.
    Plain torch sums the adjoint with ``index_add_``, which on a GPU adds in an order that changes
    from run to run; Triton's kernels gather and give the same bits each time.
    """

    def __init__(
        self,
        grid: VolumeGrid,
        geometry: ConeBeamGeometry,
        device: str = "cpu",
        *,
        kernels: Kernels | None = None,
    ) -> None:
        self.grid, self.geometry, self.device = grid, geometry, torch.device(device)
        projector = Projector(grid, geometry)
        poses = IndexPoses.of(projector)
        self._is_cone = poses.is_cone
        self._shape_ijk = (grid.shape_kji[2], grid.shape_kji[1], grid.shape_kji[0])
        self._poses = {
            name: torch.from_numpy(array.copy()).to(self.device)
            for name, array in vars(poses).items()
        }
        self._tables: dict[str, Tensor] = {}
        reason = self._make_tables(poses, projector.separable) if kernels != "torch" else "unwanted"
        if kernels == "triton" and reason:
            raise ValueError(f"Triton's projector cannot be used here: {reason}.")
        if reason and self.device.type == "cuda" and kernels is None:
            logger.info("The projector runs in plain torch: %s.", reason)
        self.kernels: Kernels = "torch" if reason else "triton"

    def _make_tables(self, poses: IndexPoses, separable: bool) -> str:
        """Prepare Triton's kernels; give the reason if they cannot be used."""
        if not has_triton(self.device):
            return "Triton is not installed or the device is no GPU"
        if not separable:
            return "detector rows do not run along the grid's k axis"
        tables = column_tables(poses, self._shape_ijk, detector_shape=self.geometry.detector_shape)
        if not tables.in_front:
            return "part of the grid lies beside or behind the source"
        self._tables = {
            name: torch.from_numpy(getattr(tables, name)).to(self.device)
            for name in ("sheets", "spans", "lengths", "inverse")
        }
        return ""

    def forward(self, volume: Tensor) -> Tensor:
        """Compute line integrals.

        Parameters
        ----------
        volume : Tensor, shape (k, j, i), float32 or float64
            Attenuation, 1/mm, on the projector's device. The transpose of a contiguous (i, j, k)
            tensor is used without a copy.

        Returns
        -------
        Tensor, shape (n_views, n_rows, n_cols)
            Line integrals, dimensionless. The memory order is (view, column, row).

        Raises
        ------
        ValueError
            If the shape is not the grid's.
        """
        if tuple(volume.shape) != self.grid.shape_kji:
            raise ValueError(
                f"The volume must have shape (k, j, i) = {self.grid.shape_kji} as the projector's "
                f"grid, got {tuple(volume.shape)}."
            )
        result: Tensor = _Forward.apply(volume, self)  # type: ignore[no-untyped-call]
        return result

    def adjoint(self, projections: Tensor) -> Tensor:
        """Apply the exact transpose of :meth:`forward`.

        Parameters
        ----------
        projections : Tensor, shape (n_views, n_rows, n_cols), float32 or float64
            Values on the detector, on the projector's device.

        Returns
        -------
        Tensor, shape (k, j, i)
            For every voxel the sum over rays of value times intersection weight, mm. The transpose
            of a contiguous (i, j, k) tensor.

        Raises
        ------
        ValueError
            If the shape is not the geometry's.
        """
        if tuple(projections.shape) != self.geometry.projections_shape:
            raise ValueError(
                "The projections must have shape (n_views, n_rows, n_cols) = "
                f"{self.geometry.projections_shape} as the projector's geometry, got "
                f"{tuple(projections.shape)}."
            )
        result: Tensor = _Adjoint.apply(projections, self)  # type: ignore[no-untyped-call]
        return result

    def _apply_forward(self, volume: Tensor) -> Tensor:
        """Project without recording gradients."""
        values = _floating(volume).permute(2, 1, 0).contiguous()
        rows, columns = self.geometry.detector_shape
        out = values.new_empty((self.geometry.n_views, columns, rows))
        if self._takes_triton(values):
            from NASAM3DLib.reconstruct import kernels_cuda

            tables = {name: self._tables[name] for name in ("sheets", "spans", "lengths")}
            kernels_cuda.forward(values, **tables, out=out)
        else:
            flat, sums = values.reshape(-1), out.reshape(-1)
            for rays, voxels, weights in self._crossings(values.dtype):
                sums[rays] = (flat[voxels] * weights).sum(dim=(1, 2))
        return out.permute(0, 2, 1)

    def _apply_adjoint(self, projections: Tensor) -> Tensor:
        """Back-project without recording gradients."""
        values = _floating(projections).permute(0, 2, 1).contiguous()
        out = values.new_empty(self._shape_ijk)
        if self._takes_triton(values):
            from NASAM3DLib.reconstruct import kernels_cuda

            tables = {name: self._tables[name] for name in ("sheets", "spans", "inverse")}
            kernels_cuda.adjoint(values * self._lengths(), **tables, out=out)
        else:
            flat, sums = values.reshape(-1), out.zero_().reshape(-1)
            for rays, voxels, weights in self._crossings(values.dtype):
                products = flat[rays][:, None, None] * weights
                sums.index_add_(0, voxels.reshape(-1), products.reshape(-1))
        return out.permute(2, 1, 0)

    def _lengths(self) -> Tensor:
        """Give the length of every ray in mm per plane; cheaper to compute than to keep."""
        rows = self.geometry.detector_shape[0]
        r = torch.arange(rows, dtype=torch.float32, device=self.device) - (rows - 1) / 2
        constant, linear, square = self._tables["lengths"][..., None].unbind(dim=2)
        return torch.sqrt(torch.clamp(constant + (linear + square * r) * r, min=0.0))

    def _takes_triton(self, values: Tensor) -> bool:
        """Tell whether a tensor goes through Triton's kernels."""
        return self.kernels == "triton" and values.dtype == torch.float32

    def _crossings(self, dtype: torch.dtype) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Give the matrix of the projector piece by piece.

        Each piece is the flat indices of some rays, shape (n,), and of the voxels that they touch
        with their weights, both of shape (n, n_planes, 4).
        """
        n_views, rows, columns = self.geometry.projections_shape
        n_rays = n_views * rows * columns
        longest = max(self._shape_ijk)
        most = SAMPLES_ON_GPU if self.device.type == "cuda" else SAMPLES_ON_CPU
        size = max(1, most // longest)
        for begin in range(0, n_rays, size):
            rays = torch.arange(begin, min(begin + size, n_rays), device=self.device)
            origins, directions = self._rays(rays)
            # The first of equal components, as the CPU kernels.
            main = directions.abs().argmax(dim=1)
            for axis in range(3):
                mine = torch.nonzero(main == axis)[:, 0]
                if len(mine):
                    voxels, weights = self._cross(origins[mine], directions[mine], axis)
                    yield rays[mine], voxels, weights.to(dtype)

    def _rays(self, rays: Tensor) -> tuple[Tensor, Tensor]:
        """Give origins and directions of rays in index space, double precision."""
        rows, columns = self.geometry.detector_shape
        view, rest = rays // (rows * columns), rays % (rows * columns)
        column, row = rest // rows, rest % rows
        pixels = (
            self._poses["corners"][view]
            + column[:, None] * self._poses["steps_u"][view]
            + row[:, None] * self._poses["steps_v"][view]
        )
        source = self._poses["sources"][view][:, :3]
        return (source, pixels - source) if self._is_cone else (pixels, -source)

    def _cross(self, origins: Tensor, directions: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        """Interpolate in every plane across the main axis: voxels and weights of the crossings."""
        order = [axis, *(n for n in range(3) if n != axis)]
        n_0, n_1, n_2 = (self._shape_ijk[n] for n in order)
        strides = (self._shape_ijk[1] * self._shape_ijk[2], self._shape_ijk[2], 1)
        s_0, s_1, s_2 = (strides[n] for n in order)
        length = (directions @ self._poses["matrix"].T).norm(dim=1) / directions[:, axis].abs()
        origins, directions = origins[:, order, None], directions[:, order, None]
        plane = torch.arange(n_0, device=self.device)
        alpha = (plane - origins[:, 0]) / directions[:, 0]
        active = torch.ones_like(alpha, dtype=torch.bool)
        if self._is_cone:
            active = (alpha > 0) & (alpha <= 1)
        voxels, weights = [], []
        ends = []
        for component, count in ((1, n_1), (2, n_2)):
            position = origins[:, component] + alpha * directions[:, component]
            # Far outside everything is zero alike; cut before the conversion to integers.
            position = position.clamp(-2.0, count + 1.0)
            below = position.floor()
            fraction = position - below
            pair = ((below, 1 - fraction), (below + 1, fraction))
            ends.append([_inside(index, share, count) for index, share in pair])
        for first, share_1 in ends[0]:
            for second, share_2 in ends[1]:
                voxels.append(plane * s_0 + first * s_1 + second * s_2)
                weights.append(share_1 * share_2 * active * length[:, None])
        return torch.stack(voxels, dim=-1), torch.stack(weights, dim=-1)


def _inside(index: Tensor, share: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Give a valid index, and weight zero where it was not."""
    valid = (index >= 0) & (index < count)
    return index.long().clamp(0, count - 1), share * valid


def _floating(values: Tensor) -> Tensor:
    """Compute in double precision what is in double precision, else in single precision."""
    return values if values.dtype == torch.float64 else values.float()


class _Forward(torch.autograd.Function):
    """A, with its adjoint as derivative."""

    @staticmethod
    def forward(ctx: Any, volume: Tensor, projector: TorchProjector) -> Tensor:
        """Project."""
        ctx.projector = projector
        return projector._apply_forward(volume)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Back-project the gradient."""
        return ctx.projector.adjoint(gradients[0]), None


class _Adjoint(torch.autograd.Function):
    """The adjoint of A, with A as derivative."""

    @staticmethod
    def forward(ctx: Any, projections: Tensor, projector: TorchProjector) -> Tensor:
        """Back-project."""
        ctx.projector = projector
        return projector._apply_adjoint(projections)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Project the gradient."""
        return ctx.projector.forward(gradients[0]), None
