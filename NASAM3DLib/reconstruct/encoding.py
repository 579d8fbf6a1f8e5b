"""Multiresolution hash encoding of positions.

References
----------
.. [1] T. Mueller, A. Evans, C. Schied, A. Keller, "Instant neural graphics primitives with a
   multiresolution hash encoding", ACM Trans. Graph. 41(4), 2022, eq. 2-4.
"""

from __future__ import annotations

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
    generator : torch.Generator, optional
        Source of the initial values.

    Notes
    -----
    Within a cell the features of its eight corners are interpolated linearly. The hash of corner c
    is ``(c_0 pi_0 xor c_1 pi_1 xor c_2 pi_2) mod T`` with the primes of [1]_.
    """

    def __init__(
        self,
        resolutions: tuple[int, ...],
        *,
        n_features: int = 2,
        log2_table_size: int = 18,
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
        largest = 2**log2_table_size
        self.sizes = tuple(min((n + 1) ** 3, largest) for n in self.resolutions)
        values = torch.rand((sum(self.sizes), n_features), generator=generator)
        self.table = nn.Parameter((2 * values - 1) * INITIAL_RANGE)

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
        levels, offset = [], 0
        for resolution, size in zip(self.resolutions, self.sizes, strict=True):
            table = self.table[offset : offset + size]
            levels.append(self._level(clamped, resolution, table))
            offset += size
        return torch.cat(levels, dim=1)

    def _level(self, positions: Tensor, resolution: int, table: Tensor) -> Tensor:
        """Interpolate one level's features."""
        scaled = positions * resolution
        cell = scaled.floor().clamp(max=resolution - 1)
        fraction = scaled - cell
        base = cell.long()
        features = torch.zeros((len(positions), self.n_features), device=positions.device)
        for corner in CORNERS:
            shift = torch.tensor(corner, device=positions.device)
            weight = torch.where(shift.bool(), fraction, 1 - fraction).prod(dim=1, keepdim=True)
            index = self._index(base + shift, resolution, len(table))
            features = features + weight * nn.functional.embedding(index, table)
        return features

    @staticmethod
    def _index(corner: Tensor, resolution: int, size: int) -> Tensor:
        """Find the table entry of lattice corners."""
        side = resolution + 1
        if side**3 <= size:
            return (corner[:, 0] * side + corner[:, 1]) * side + corner[:, 2]
        hashed = corner * torch.tensor(PRIMES, device=corner.device)
        return (hashed[:, 0] ^ hashed[:, 1] ^ hashed[:, 2]) % size
