"""Neural attenuation fields as published (NAF): the method of the paper, for comparison.

A network maps a position to attenuation and is trained along rays from nothing but the projections
[1]_. The settings are those of the authors' program, its encoding included: sixteen levels that
double their resolution, of which most are finer than any voxel.

References
----------
.. [1] R. Zha, Y. Zhang, H. Li, "NAF: neural attenuation fields for sparse-view CBCT
   reconstruction", MICCAI 2022. https://github.com/Ruyi-Zha/naf_cbct
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from NASAM3DLib.reconstruct.encoding import CORNERS, INITIAL_RANGE, corner_weights, interpolate
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid

Body = Literal["chest", "abdomen", "foot", "jaw"]

SAMPLES: dict[Body, int] = {"chest": 192, "abdomen": 576, "foot": 320, "jaw": 320}
"""Samples per ray in the authors' configurations, which differ in nothing else."""

PRIMES = (1, 19349663, 83492791)
"""Factors of the authors' spatial hash; it is computed modulo 2^32."""

LOW_32_BITS = 2**32 - 1

PER_METRE = 1e-3
"""1/mm that an output of 1 stands for in the authors' data: lengths in m, densities from 0 to 1."""

POINTS_PER_CHUNK = 2**16

SLOPE = 0.01


@dataclass(frozen=True)
class NafSettings:
    """How to build and train the network.

    Parameters
    ----------
    n_levels, n_features, base_resolution, log2_table_size : int
        Encoding: levels, features of each, cells of the coarsest along an axis, and binary
        logarithm of the most entries per level.
    n_layers, hidden_width : int
        Linear layers, the output's included, and their width.
    skips : tuple of int
        Layers that get the encoding once more.
    n_epochs : int
        Passes over all views, one step per view.
    rays_per_step, n_samples : int
        Rays of a view that a step draws, and samples on each.
    learning_rate : float
        Adam's rate at the start.
    decay_epochs : int
        Epochs after which the rate is multiplied by ``decay``, again and again.
    decay : float
        See above.
    bound_mm : float
        Half the side of the cube that the network covers, centred on the isocenter, mm. It is
        enlarged where the grid needs it.
    peak_attenuation : float, optional
        Attenuation that the output 1 stands for, 1/mm: no voxel can have more. By default four
        times the mean attenuation along the densest long ray.
    seed : int
        Seed of weights, rays and sample positions.
    device : str
        Torch device.

    Raises
    ------
    ValueError
        If a number is not positive.
    """

    n_levels: int = 16
    n_features: int = 2
    base_resolution: int = 16
    log2_table_size: int = 19
    n_layers: int = 4
    hidden_width: int = 32
    skips: tuple[int, ...] = (2,)
    n_epochs: int = 3000
    rays_per_step: int = 1024
    n_samples: int = 192
    learning_rate: float = 1e-3
    decay_epochs: int = 1500
    decay: float = 0.1
    bound_mm: float = 300.0
    peak_attenuation: float | None = None
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name in ("skips", "seed", "device") or value is None:
                continue
            if not value > 0:
                raise ValueError(f"NafSettings.{name} must be positive, got {value}.")
        if self.n_samples < 2 or self.n_layers < 2:
            raise ValueError(
                "NafSettings.n_samples and n_layers must be at least 2, got "
                f"{self.n_samples} and {self.n_layers}."
            )

    @classmethod
    def published(cls, body: Body = "chest", *, device: str = "cpu", seed: int = 0) -> NafSettings:
        """Give the authors' settings.

        Parameters
        ----------
        body : {"chest", "abdomen", "foot", "jaw"}
            Which of their four configurations; they differ in the samples per ray.
        device : str
            Torch device. On a CPU the training takes days.
        seed : int
            Seed.

        Returns
        -------
        NafSettings
        """
        return cls(n_samples=SAMPLES[body], device=device, seed=seed)

    def shortened(self, n_epochs: int) -> NafSettings:
        """Train shorter, with the decay at the same fraction of the training.

        Parameters
        ----------
        n_epochs : int
            Passes over all views.

        Returns
        -------
        NafSettings
        """
        decay_epochs = max(1, round(self.decay_epochs * n_epochs / self.n_epochs))
        return replace(self, n_epochs=n_epochs, decay_epochs=decay_epochs)


class NafEncoding(nn.Module):
    """The authors' hash encoding.

    Parameters
    ----------
    settings : NafSettings
        Levels, features, resolution and table size.
    generator : torch.Generator
        Source of the initial values.

    Notes
    -----
    A position u in [0, 1] lies at ``u (N - 1) + 1/2`` on the level with N cells. Dense levels count
    x fastest; a level is hashed if its ``(N + 1)^3`` corners exceed the table. On a GPU the table
    is read in half precision.
    """

    corners: Tensor
    primes: Tensor

    def __init__(self, settings: NafSettings, generator: torch.Generator) -> None:
        super().__init__()
        self.resolutions = tuple(settings.base_resolution << n for n in range(settings.n_levels))
        largest = 2**settings.log2_table_size
        self.sizes = tuple(min((n + 1) ** 3, largest) for n in self.resolutions)
        self.n_features = settings.n_features
        values = torch.rand((sum(self.sizes), self.n_features), generator=generator)
        self.embeddings = nn.Parameter((2 * values - 1) * INITIAL_RANGE)
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
            In the unit cube.

        Returns
        -------
        Tensor, shape (n, n_levels * n_features), float32
        """
        indices, weights, offset = [], [], 0
        for resolution, size in zip(self.resolutions, self.sizes, strict=True):
            scaled = positions * (resolution - 1) + 0.5
            base = scaled.floor()
            corner = base.long()[:, None] + self.corners
            indices.append(offset + self._index(corner, resolution + 1, size))
            weights.append(corner_weights(scaled - base, self.corners))
            offset += size
        # All levels at once: the gradient of each would be as large as the whole table.
        index, weight = torch.stack(indices, dim=1), torch.stack(weights, dim=1)
        half = positions.is_cuda
        summed = interpolate(self.embeddings, index.flatten(0, 1), weight.flatten(0, 1), half=half)
        return summed.reshape(len(positions), self.n_outputs)

    def _index(self, corner: Tensor, side: int, size: int) -> Tensor:
        """Find the table entry of lattice corners."""
        if side**3 <= size:
            return (corner[..., 2] * side + corner[..., 1]) * side + corner[..., 0]
        hashed = corner * self.primes
        return ((hashed[..., 0] ^ hashed[..., 1] ^ hashed[..., 2]) & LOW_32_BITS) % size


class NafField(nn.Module):
    """The published network: encoding, four linear layers with a skip, sigmoid.

    Parameters
    ----------
    settings : NafSettings
        Its shape and seed.
    isocenter_ras : tuple of float
        Centre of the cube that it covers, mm.
    bound_mm : float
        Half the cube's side, mm.
    peak_attenuation : float
        Attenuation that the output 1 stands for, 1/mm.
    """

    def __init__(
        self,
        settings: NafSettings,
        *,
        isocenter_ras: tuple[float, float, float] = (0.0, 0.0, 0.0),
        bound_mm: float | None = None,
        peak_attenuation: float = PER_METRE,
    ) -> None:
        super().__init__()
        self.bound_mm = settings.bound_mm if bound_mm is None else bound_mm
        self.peak_attenuation = peak_attenuation
        self.skips = settings.skips
        generator = torch.Generator().manual_seed(settings.seed)
        self.encoder = NafEncoding(settings, generator)
        self.layers = nn.ModuleList()
        for number in range(settings.n_layers):
            first, last = number == 0, number == settings.n_layers - 1
            inputs = self.encoder.n_outputs if first else settings.hidden_width
            if number in self.skips:
                inputs += self.encoder.n_outputs
            layer = nn.Linear(inputs, 1 if last else settings.hidden_width)
            _initialise(layer, generator)
            self.layers.append(layer)
        centre = torch.tensor(isocenter_ras, dtype=torch.float32)
        self.register_buffer("isocenter_ras", centre, persistent=False)

    def forward(self, offsets_mm: Tensor) -> Tensor:
        """Evaluate the field.

        Parameters
        ----------
        offsets_mm : Tensor, shape (n, 3), float32
            Positions from the isocenter, mm; those outside the cube are moved to its faces.

        Returns
        -------
        Tensor, shape (n,), float32
            Attenuation, 1/mm.
        """
        unit = (offsets_mm / self.bound_mm).clamp(-1.0, 1.0)
        encoded = self.encoder((unit + 1) / 2)
        hidden = encoded
        for number, layer in enumerate(self.layers):
            if number in self.skips:
                hidden = torch.cat([encoded, hidden], dim=1)
            hidden = layer(hidden)
            if number < len(self.layers) - 1:
                hidden = nn.functional.leaky_relu(hidden, SLOPE)
        return self.peak_attenuation * torch.sigmoid(hidden[:, 0])

    @torch.no_grad()
    def sample(self, grid: VolumeGrid) -> Volume:
        """Evaluate the field at all voxel centres of a grid.

        Parameters
        ----------
        grid : VolumeGrid
            Any grid.

        Returns
        -------
        Volume
            Attenuation, 1/mm.
        """
        centre: Tensor = self.isocenter_ras  # type: ignore[assignment]
        affine = torch.from_numpy(grid.ijk_to_ras.copy()).to(centre.device)
        shift = affine[:3, 3] - centre.double()
        k, j, i = grid.shape_kji
        values = np.empty(k * j * i, dtype=np.float32)
        for begin in range(0, values.size, POINTS_PER_CHUNK):
            flat = torch.arange(
                begin, min(begin + POINTS_PER_CHUNK, values.size), device=centre.device
            )
            index = torch.stack([flat % i, flat // i % j, flat // (i * j)], dim=1).double()
            offsets = (index @ affine[:3, :3].T + shift).float()
            values[begin : begin + POINTS_PER_CHUNK] = self(offsets).cpu().numpy()
        return Volume(values.reshape(grid.shape_kji), grid, "attenuation")


def _initialise(layer: nn.Linear, generator: torch.Generator) -> None:
    """Draw weights as torch does by default, from a generator of our own."""
    bound = layer.in_features**-0.5
    with torch.no_grad():
        for values in (layer.weight, layer.bias):
            values.copy_((2 * torch.rand(values.shape, generator=generator) - 1) * bound)
