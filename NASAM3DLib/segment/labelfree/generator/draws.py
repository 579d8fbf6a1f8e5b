"""Random numbers, smooth random fields and voxel coordinates on a torch device."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Draws:
    """Source of everything random in one volume.

    Parameters
    ----------
    rng : numpy.random.Generator
        Decides all numbers but the noise of single voxels, which it seeds.
    edge : int
        Voxels along each edge of the volume.
    device : str
        Torch device.

    Notes
    -----
    The shapes are the same on every device; the noise of voxels is the device's own.
    """

    rng: np.random.Generator
    edge: int
    device: str = "cpu"

    @cached_property
    def coordinates(self) -> Tensor:
        """Coordinates of the voxels from -1 to 1 along k, j, i, shape (3, k, j, i)."""
        axis = torch.linspace(-1, 1, self.edge, device=self.device)
        return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"))

    def chance(self, probability: float) -> bool:
        """Say yes with a probability.

        Parameters
        ----------
        probability : float
            Between 0 and 1.

        Returns
        -------
        bool
        """
        return bool(self.rng.random() < probability)

    def uniform(self, low: float, high: float) -> float:
        """Draw a number evenly.

        Parameters
        ----------
        low, high : float
            Bounds.

        Returns
        -------
        float
        """
        return float(self.rng.uniform(low, high))

    def sign(self) -> float:
        """Draw -1 or 1.

        Returns
        -------
        float
        """
        return 1.0 if self.chance(0.5) else -1.0

    def rotation(self) -> FloatArray:
        """Draw a rotation or reflection, evenly.

        Returns
        -------
        ndarray, shape (3, 3), float64
        """
        q, r = np.linalg.qr(self.rng.standard_normal((3, 3)))
        return np.asarray(q * np.sign(np.diag(r)))

    def field(self, nodes: int, *, channels: int = 1) -> Tensor:
        """Draw a smooth field: Gaussian numbers on a coarse lattice, interpolated trilinearly.

        Parameters
        ----------
        nodes : int
            Lattice nodes along each edge.
        channels : int
            Number of fields.

        Returns
        -------
        Tensor, shape (channels, k, j, i)
            Of unit variance at the nodes.
        """
        coarse = self.rng.standard_normal((1, channels, nodes, nodes, nodes), dtype=np.float32)
        on_device = torch.from_numpy(coarse).to(self.device)
        size = (self.edge,) * 3
        return functional.interpolate(on_device, size=size, mode="trilinear", align_corners=True)[0]

    def noise(self) -> Tensor:
        """Draw independent Gaussian numbers for all voxels.

        Returns
        -------
        Tensor, shape (k, j, i)
        """
        generator = torch.Generator(device=self.device)
        generator.manual_seed(int(self.rng.integers(2**62)))
        return torch.randn((self.edge,) * 3, generator=generator, device=self.device)

    def tensor(self, values: npt.ArrayLike) -> Tensor:
        """Bring numbers to the device in single precision.

        Parameters
        ----------
        values : array_like
            Numbers.

        Returns
        -------
        Tensor, float32
        """
        return torch.from_numpy(np.asarray(values, dtype=np.float32)).to(self.device)


def gaussian_blur(volume: Tensor, sigmas: tuple[float, float, float]) -> Tensor:
    """Blur a volume with a Gaussian; the border is repeated.

    Parameters
    ----------
    volume : Tensor, shape (k, j, i)
        Volume.
    sigmas : tuple of float
        Standard deviations along k, j, i, voxels; 0 leaves an axis alone.

    Returns
    -------
    Tensor, same shape
    """
    result = volume[None, None]
    for axis, sigma in enumerate(sigmas):
        if sigma <= 0:
            continue
        radius = max(1, int(3 * sigma + 0.5))
        steps = torch.arange(-radius, radius + 1, device=volume.device, dtype=volume.dtype)
        kernel = torch.exp(-0.5 * (steps / sigma) ** 2)
        shape = [1, 1, 1, 1, 1]
        shape[2 + axis] = len(steps)
        padding = [0] * 6
        padding[2 * (2 - axis)] = padding[2 * (2 - axis) + 1] = radius
        padded = functional.pad(result, padding, mode="replicate")
        result = functional.conv3d(padded, (kernel / kernel.sum()).view(shape))
    return result[0, 0]
