"""The attenuation field: a continuous function from position to attenuation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from NASAM3DLib.reconstruct.encoding import HashEncoding
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid

HIDDEN_WIDTH = 32
POINTS_PER_CHUNK = 2**18


class AttenuationField(nn.Module):
    """A base volume plus a neural residual.

    Parameters
    ----------
    base : Volume
        Attenuation, 1/mm, that the field starts from.
    scale : float
        Attenuation that an output of 1 of the network stands for, 1/mm.
    seed : int
        Seed of the initial weights.
    half_tables : bool
        Read the encoding's features in half precision, see
        :class:`~NASAM3DLib.reconstruct.encoding.HashEncoding`.

    Raises
    ------
    ValueError
        If the base is not attenuation.

    Notes
    -----
    ``mu(x) = max(base(x) + scale * mlp(encoding(x)), 0)`` with trilinear interpolation of the base.
    The last layer starts at zero, so the field starts as the base exactly. The finest level has one
    cell per voxel and each coarser one half as many: an attenuation lattice finer than the voxel is
    not determined by sparse projections.
    """

    def __init__(
        self, base: Volume, *, scale: float, seed: int = 0, half_tables: bool = False
    ) -> None:
        super().__init__()
        if base.quantity != "attenuation":
            raise ValueError(
                "AttenuationField.base must be attenuation in 1/mm, got HU: use to_attenuation()."
            )
        self.grid = base.grid
        self.scale = scale
        generator = torch.Generator().manual_seed(seed)
        finest = max(max(base.grid.shape_kji) - 1, 1)
        resolutions = tuple(max(finest >> level, 1) for level in (3, 2, 1, 0))
        self.encoding = HashEncoding(resolutions, half_tables=half_tables, generator=generator)
        self.hidden = nn.Linear(self.encoding.n_outputs, HIDDEN_WIDTH)
        self.output = nn.Linear(HIDDEN_WIDTH, 1)
        bound = self.encoding.n_outputs**-0.5
        with torch.no_grad():
            weights = torch.rand(self.hidden.weight.shape, generator=generator)
            self.hidden.weight.copy_((2 * weights - 1) * bound)
            self.hidden.bias.zero_()
            self.output.weight.zero_()
            self.output.bias.zero_()
        self.register_buffer("base", torch.from_numpy(np.ascontiguousarray(base.array)))
        self.register_buffer("ras_to_ijk", torch.from_numpy(base.grid.ras_to_ijk.copy()).float())
        upper = torch.tensor(base.grid.shape_kji[::-1], dtype=torch.float32) - 1
        self.register_buffer("upper_ijk", upper.clamp(min=1))

    def residual(self, points_ijk: Tensor) -> Tensor:
        """Evaluate the neural part.

        Parameters
        ----------
        points_ijk : Tensor, shape (n, 3), float32
            Continuous voxel indices of the base's grid.

        Returns
        -------
        Tensor, shape (n,), float32
            Correction of the attenuation, 1/mm.
        """
        upper: Tensor = self.upper_ijk  # type: ignore[assignment]
        encoded = self.encoding(points_ijk / upper)
        hidden = nn.functional.leaky_relu(self.hidden(encoded), 0.01)
        correction: Tensor = self.scale * self.output(hidden)[:, 0]
        return correction

    def attenuation(self, points_ras: Tensor) -> Tensor:
        """Evaluate the field.

        Parameters
        ----------
        points_ras : Tensor, shape (n, 3), float32
            Points, mm.

        Returns
        -------
        Tensor, shape (n,), float32
            Attenuation, 1/mm; zero outside the grid.
        """
        matrix: Tensor = self.ras_to_ijk  # type: ignore[assignment]
        return self._at(points_ras @ matrix[:3, :3].T + matrix[:3, 3])

    def _at(self, points_ijk: Tensor) -> Tensor:
        """Evaluate the field at continuous voxel indices."""
        upper: Tensor = self.upper_ijk  # type: ignore[assignment]
        base: Tensor = self.base  # type: ignore[assignment]
        unit = (points_ijk / upper) * 2 - 1
        sampled = nn.functional.grid_sample(
            base[None, None], unit[None, None, None], mode="bilinear", align_corners=True
        ).reshape(-1)
        inside = ((points_ijk >= -0.5) & (points_ijk <= upper + 0.5)).all(dim=1)
        return torch.clamp(sampled + inside * self.residual(points_ijk), min=0.0)

    @torch.no_grad()
    def sample(self, grid: VolumeGrid) -> Volume:
        """Evaluate the field at all voxel centres of a grid.

        Parameters
        ----------
        grid : VolumeGrid
            Any grid, also a finer one than the base's.

        Returns
        -------
        Volume
            Attenuation, 1/mm.
        """
        device = self.output.weight.device
        k, j, i = np.indices(grid.shape_kji, dtype=np.float32).reshape(3, -1)
        to_base = self.grid.ras_to_ijk @ grid.ijk_to_ras
        points = np.stack([i, j, k], axis=1) @ to_base[:3, :3].T + to_base[:3, 3]
        values = np.empty(len(points), dtype=np.float32)
        for begin in range(0, len(points), POINTS_PER_CHUNK):
            chunk = points[begin : begin + POINTS_PER_CHUNK].astype(np.float32)
            result = self._at(torch.from_numpy(chunk).to(device))
            values[begin : begin + POINTS_PER_CHUNK] = result.cpu().numpy()
        return Volume(_shaped(values, grid), grid, "attenuation")


def _shaped(values: npt.NDArray[np.float32], grid: VolumeGrid) -> npt.NDArray[np.float32]:
    """Give a flat array the grid's shape."""
    return values.reshape(grid.shape_kji)
