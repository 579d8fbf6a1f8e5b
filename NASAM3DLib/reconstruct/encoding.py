"""Multiresolution hash encoding of positions.

References
----------
.. [1] T. Mueller, A. Evans, C. Schied, A. Keller, "Instant neural graphics primitives with a
   multiresolution hash encoding", ACM Trans. Graph. 41(4), 2022, eq. 2-4.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

PRIMES = (1, 2654435761, 805459861)
"""Factors of the spatial hash ([1]_, eq. 4)."""

CORNERS = tuple((a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1))

INITIAL_RANGE = 1e-4


class HashEncoding(nn.Module):
    """Trainable features on lattices of growing resolution.

    Parameters
    ----------
    resolutions : sequence of int
        Cells along each axis, one number per level.
    n_features : int
        Features per level.
    log2_table_size : int
        Binary logarithm of the largest number of entries of a level. Lattices with no more corners
        are stored densely, larger ones share entries through a hash.
    half_tables : bool
        Read the features from a copy in half precision, which halves the memory traffic of a GPU
        and keeps more of it in its cache. Sums and gradients stay in single precision, and so does
        the parameter that is trained.
    generator : torch.Generator, optional
        Source of the initial values.

    Notes
    -----
    Within a cell the features of its eight corners are interpolated linearly. The hash of corner c
    is ``(c_0 pi_0 xor c_1 pi_1 xor c_2 pi_2) mod T`` with the primes of [1]_.
    """

    corners: Tensor
    primes: Tensor

    def __init__(
        self,
        resolutions: tuple[int, ...],
        *,
        n_features: int = 2,
        log2_table_size: int = 18,
        half_tables: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if not resolutions or min(resolutions) < 1:
            raise ValueError(
                "HashEncoding.resolutions must hold at least one positive number, got "
                f"{resolutions}."
            )
        self.resolutions = tuple(int(n) for n in resolutions)
        self.n_features = n_features
        self.half_tables = half_tables
        largest = 2**log2_table_size
        self.sizes = tuple(min((n + 1) ** 3, largest) for n in self.resolutions)
        values = torch.rand((sum(self.sizes), n_features), generator=generator)
        self.table = nn.Parameter((2 * values - 1) * INITIAL_RANGE)
        # On the module's device: a recorded CUDA graph may copy nothing from the host.
        self.register_buffer("corners", torch.tensor(CORNERS), persistent=False)
        self.register_buffer("primes", torch.tensor(PRIMES), persistent=False)

    @property
    def n_outputs(self) -> int:
        """Number of features of a position."""
        return len(self.resolutions) * self.n_features

    def forward(self, positions: Tensor) -> Tensor:
        """Encode positions.

        Parameters
        ----------
        positions : Tensor, shape (n, 3), float32
            Positions in the unit cube; outside they are clamped to it.

        Returns
        -------
        Tensor, shape (n, n_levels * n_features), float32
            Features, differentiable with respect to the table.
        """
        clamped = positions.clamp(0.0, 1.0)
        at_once = self.half_tables or positions.is_cuda
        level_of = self._level_at_once if at_once else self._level
        levels, offset = [], 0
        for resolution, size in zip(self.resolutions, self.sizes, strict=True):
            table = self.table[offset : offset + size]
            levels.append(level_of(clamped, resolution, table))
            offset += size
        return torch.cat(levels, dim=1)

    def _level(self, positions: Tensor, resolution: int, table: Tensor) -> Tensor:
        """Interpolate one level's features, corner by corner: least memory traffic on a CPU."""
        fraction, base = self._cell(positions, resolution)
        features = torch.zeros((len(positions), self.n_features), device=positions.device)
        for shift in self.corners:
            weight = torch.where(shift.bool(), fraction, 1 - fraction).prod(dim=1, keepdim=True)
            index = self._index(base + shift, resolution, len(table))
            features = features + weight * nn.functional.embedding(index, table)
        return features

    def _level_at_once(self, positions: Tensor, resolution: int, table: Tensor) -> Tensor:
        """Interpolate one level's features from all corners in one step."""
        fraction, base = self._cell(positions, resolution)
        index = self._index(base[:, None] + self.corners, resolution, len(table))
        return interpolate(
            table, index, corner_weights(fraction, self.corners), half=self.half_tables
        )

    @staticmethod
    def _cell(positions: Tensor, resolution: int) -> tuple[Tensor, Tensor]:
        """Find the place within the cell and the cell's first corner."""
        scaled = positions * resolution
        cell = scaled.floor().clamp(max=resolution - 1)
        return scaled - cell, cell.long()

    def _index(self, corner: Tensor, resolution: int, size: int) -> Tensor:
        """Find the table entry of lattice corners."""
        side = resolution + 1
        if side**3 <= size:
            return (corner[..., 0] * side + corner[..., 1]) * side + corner[..., 2]
        hashed = corner * self.primes
        return (hashed[..., 0] ^ hashed[..., 1] ^ hashed[..., 2]) % size


def corner_weights(fraction: Tensor, corners: Tensor) -> Tensor:
    """Give the weights of trilinear interpolation.

    Parameters
    ----------
    fraction : Tensor, shape (n, 3)
        Place within the cell.
    corners : Tensor, shape (8, 3), int64
        Corners of the unit cube.

    Returns
    -------
    Tensor, shape (n, 8)
    """
    chosen = torch.where(corners.bool(), fraction[:, None], 1 - fraction[:, None])
    return chosen.prod(dim=2)


def interpolate(table: Tensor, index: Tensor, weights: Tensor, *, half: bool) -> Tensor:
    """Sum weighted rows of a table.

    Parameters
    ----------
    table : Tensor, shape (n_entries, n_features)
        Features; the only input that gets a gradient.
    index : Tensor, shape (n, 8), int64
        Rows to sum.
    weights : Tensor, shape (n, 8)
        Their weights.
    half : bool
        Read the table in half precision.

    Returns
    -------
    Tensor, shape (n, n_features)
        Sums in the precision of the weights.
    """
    result: Tensor = _Interpolation.apply(table, index, weights, half)  # type: ignore[no-untyped-call]
    return result


class _Interpolation(torch.autograd.Function):
    """Weighted sums of rows whose gradient is summed in the table's own precision."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, index: Tensor, weights: Tensor, half: bool) -> Tensor:
        """Gather and sum."""
        ctx.save_for_backward(index, weights)
        ctx.shape, ctx.dtype = table.shape, table.dtype
        source = table.half() if half else table
        return (source[index].to(weights.dtype) * weights[..., None]).sum(dim=1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        """Scatter the weighted gradient."""
        index, weights = ctx.saved_tensors
        scattered = torch.zeros(ctx.shape, dtype=ctx.dtype, device=index.device)
        products = (gradients[0][:, None] * weights[..., None]).to(ctx.dtype)
        scattered.index_add_(0, index.reshape(-1), products.reshape(-1, ctx.shape[1]))
        return scattered, None, None, None
