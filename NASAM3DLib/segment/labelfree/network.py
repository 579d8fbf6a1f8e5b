"""The density-guided residual U-Net: from a volume and clicks to the logits of a mask."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from NASAM3DLib.segment.labelfree.features import WALK

N_INPUTS = 11
"""Channels of :mod:`~NASAM3DLib.segment.labelfree.features` that the convolutions see."""

N_DIRECT = 7
"""The last of them, which tell what clicks and the mask before say, are shown to the head too."""

GROUP_SIZE = 8
"""Channels that are normalised together."""

FIRST_WEIGHTS = (2.0, 1.0)
"""Weights of density attention and random walker at the logits before any training."""

SURE = 0.998
"""What the walker's channel is limited to before it becomes a logit, at most 6.9 then."""

_SLOPE = 0.01


@dataclass(frozen=True)
class NetworkConfig:
    """Size of the network.

    Parameters
    ----------
    channels : tuple of int
        Channels at each resolution, the finest first; each level halves the resolution.

    Raises
    ------
    ValueError
        If there are fewer than two levels or a number is not a multiple of eight.
    """

    channels: tuple[int, ...] = (16, 32, 64, 128, 160)

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(int(n) for n in self.channels))
        if len(self.channels) < 2 or any(n < 1 or n % GROUP_SIZE for n in self.channels):
            raise ValueError(
                f"NetworkConfig.channels must be at least two positive multiples of {GROUP_SIZE}, "
                f"got {self.channels}."
            )

    @property
    def multiple(self) -> int:
        """Whole number by which the edges of an input must be divisible."""
        return int(2 ** (len(self.channels) - 1))


class ConvNorm(nn.Sequential):
    """A convolution of 3x3x3, group normalisation and a leaky rectifier.

    Parameters
    ----------
    n_in, n_out : int
        Channels.
    stride : int
        2 halves the resolution.
    active : bool
        Whether the rectifier follows.
    """

    def __init__(self, n_in: int, n_out: int, *, stride: int = 1, active: bool = True) -> None:
        layers: list[nn.Module] = [
            nn.Conv3d(n_in, n_out, 3, stride=stride, padding=1, bias=False),
            nn.GroupNorm(n_out // GROUP_SIZE, n_out),
        ]
        if active:
            layers.append(nn.LeakyReLU(_SLOPE, inplace=True))
        super().__init__(*layers)


class Residual(nn.Module):
    """Two convolutions beside a way around them.

    Parameters
    ----------
    channels : int
        Channels in and out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvNorm(channels, channels)
        self.second = ConvNorm(channels, channels, active=False)

    def forward(self, x: Tensor) -> Tensor:
        """Refine features.

        Parameters
        ----------
        x : Tensor, shape (b, c, k, j, i)
            Features.

        Returns
        -------
        Tensor, same shape
        """
        return functional.leaky_relu(x + self.second(self.first(x)), _SLOPE)


class LabelFreeNetwork(nn.Module):
    """Residual U-Net with the density attention fused at its logits.

    Parameters
    ----------
    config : NetworkConfig
        Size.

    Notes
    -----
    The last channel of the input is ``logit(A)`` of the density-aware attention; the convolutions
    do not see it. The output is ``logit = U(x) + softplus(w) logit(A) + softplus(v) logit(W)``, the
    fusion of :mod:`~NASAM3DLib.segment.density` with learned weights, of the attention A and of the
    random walker's probability W, which the channel before the last tells as ``2 W - 1``. The sum
    is computed in float32, whatever the precision of the convolutions.
    """

    def __init__(self, config: NetworkConfig | None = None) -> None:
        super().__init__()
        self.config = config or NetworkConfig()
        channels = self.config.channels
        self.stem = ConvNorm(N_INPUTS, channels[0])
        self.down = nn.ModuleList(
            nn.Sequential(ConvNorm(a, b, stride=2), Residual(b))
            for a, b in itertools.pairwise(channels)
        )
        pairs = list(itertools.pairwise(channels[::-1]))
        self.lift = nn.ModuleList(nn.Conv3d(a, b, 1) for a, b in pairs)
        self.up = nn.ModuleList(ConvNorm(2 * b, b) for _, b in pairs)
        self.head = nn.Conv3d(channels[0] + N_DIRECT, 1, 1)
        start = torch.log(torch.expm1(torch.tensor(FIRST_WEIGHTS)))
        self.raw_weight = nn.Parameter(start[0].clone())
        self.raw_walk_weight = nn.Parameter(start[1].clone())

    @property
    def guidance_weight(self) -> Tensor:
        """Weight w of the density attention at the logits, positive."""
        return functional.softplus(self.raw_weight)

    @property
    def walk_weight(self) -> Tensor:
        """Weight v of the random walker at the logits, positive."""
        return functional.softplus(self.raw_walk_weight)

    def forward(self, x: Tensor, *, strength: float = 1.0) -> Tensor:
        """Compute the logits of the object.

        Parameters
        ----------
        x : Tensor, shape (b, 12, k, j, i), float32
            Channels of :func:`~NASAM3DLib.segment.labelfree.features.network_input`; the edges are
            multiples of ``config.multiple``.
        strength : float
            Factor on the learned weights of density attention and random walker.

        Returns
        -------
        Tensor, shape (b, 1, k, j, i), float32

        Raises
        ------
        ValueError
            If the number of channels or the edges do not fit.
        """
        multiple = self.config.multiple
        if x.ndim != 5 or x.shape[1] != N_INPUTS + 1 or any(n % multiple for n in x.shape[2:]):
            raise ValueError(
                f"The network takes (batch, {N_INPUTS + 1}, k, j, i) with edges that are multiples "
                f"of {multiple}, got {tuple(x.shape)}: pad the volume."
            )
        seen, attention = x[:, :N_INPUTS], x[:, N_INPUTS:]
        seen = seen.contiguous(memory_format=torch.channels_last_3d)
        features = [self.stem(seen)]
        for down in self.down:
            features.append(down(features[-1]))
        y = features.pop()
        for lift, up in zip(self.lift, self.up, strict=True):
            beside = features.pop()
            y = functional.interpolate(lift(y), size=beside.shape[2:], mode="trilinear")
            y = up(torch.cat([y, beside], dim=1))
        logits: Tensor = self.head(torch.cat([y, seen[:, -N_DIRECT:].to(y.dtype)], dim=1))
        walk = 2 * torch.atanh(seen[:, WALK : WALK + 1].float().clamp(-SURE, SURE))
        guidance = self.guidance_weight.float() * attention.float() + self.walk_weight * walk
        return logits.float() + strength * guidance


def build_network(config: NetworkConfig | None = None, *, seed: int = 0) -> LabelFreeNetwork:
    """Make a network of random weights.

    Parameters
    ----------
    config : NetworkConfig, optional
        Size.
    seed : int
        Decides the weights.

    Returns
    -------
    LabelFreeNetwork
        In channels-last order. The head starts small, so that the attention decides at first.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = LabelFreeNetwork(config)
    with torch.no_grad():
        network.head.weight.mul_(0.3)
        nn.init.zeros_(network.head.get_parameter("bias"))
    return channels_last(network)


def channels_last(network: LabelFreeNetwork) -> LabelFreeNetwork:
    """Bring the weights into the order in which convolutions on a CPU are fastest.

    Parameters
    ----------
    network : LabelFreeNetwork
        Changed in place.

    Returns
    -------
    LabelFreeNetwork
        The same network.
    """
    for parameter in network.parameters():
        if parameter.ndim == 5:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)
    return network


def n_parameters(network: nn.Module) -> int:
    """Count the weights of a network.

    Parameters
    ----------
    network : Module
        Any network.

    Returns
    -------
    int
    """
    return sum(parameter.numel() for parameter in network.parameters())
