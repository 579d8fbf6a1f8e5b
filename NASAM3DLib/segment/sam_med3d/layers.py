"""Small layers that several parts of the network share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

CHANNEL_NORM_EPS = 1e-6
"""Added to the variance in the image encoder and in :class:`LayerNorm3d`; elsewhere it is 1e-5."""


class LayerNorm3d(nn.Module):
    """Normalise the channels of each voxel.

    Parameters
    ----------
    channels : int
        Number of channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, volume: Tensor) -> Tensor:
        """Normalise.

        Parameters
        ----------
        volume : Tensor, shape (b, channels, i, j, k)
            Any values.

        Returns
        -------
        Tensor, same shape
            Mean 0 and variance 1 over the channels (biased), times gain, plus bias.
        """
        last = volume.movedim(1, -1)
        normal = functional.layer_norm(
            last, last.shape[-1:], self.weight, self.bias, CHANNEL_NORM_EPS
        )
        return normal.movedim(-1, 1)


class TwoLayers(nn.Module):
    """The feed-forward part of a transformer block.

    Parameters
    ----------
    width, hidden : int
        Widths outside and inside.
    activation : nn.Module
        What stands between the layers.
    """

    def __init__(self, width: int, hidden: int, activation: nn.Module) -> None:
        super().__init__()
        self.lin1 = nn.Linear(width, hidden)
        self.lin2 = nn.Linear(hidden, width)
        self.activation = activation

    def forward(self, tokens: Tensor) -> Tensor:
        """Apply both layers.

        Parameters
        ----------
        tokens : Tensor, shape (..., width)
            Tokens.

        Returns
        -------
        Tensor, same shape
        """
        result: Tensor = self.lin2(self.activation(self.lin1(tokens)))
        return result


class Perceptron(nn.Module):
    """Linear layers with ReLU between them.

    Parameters
    ----------
    widths : sequence of int
        Width of the input and of each layer's output.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(self, values: Tensor) -> Tensor:
        """Apply the layers.

        Parameters
        ----------
        values : Tensor, shape (..., widths[0])
            Input.

        Returns
        -------
        Tensor, shape (..., widths[-1])
        """
        for layer in self.layers[:-1]:
            values = functional.relu(layer(values))
        result: Tensor = self.layers[-1](values)
        return result
