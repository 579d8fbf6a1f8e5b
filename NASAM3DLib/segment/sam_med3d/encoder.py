"""The image encoder: a vision transformer over patches of 16^3 voxels."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from NASAM3DLib.segment.sam_med3d.attention import AttentionPath, WindowAttention
from NASAM3DLib.segment.sam_med3d.config import SamMed3DConfig
from NASAM3DLib.segment.sam_med3d.layers import CHANNEL_NORM_EPS, LayerNorm3d, TwoLayers

EXPANSION = 4
"""Hidden width of a block's feed-forward part, in widths of a token."""


class PatchEmbedding(nn.Module):
    """Cut the image into patches and make a token of each.

    Parameters
    ----------
    patch_size, width : int
        Voxels along each edge of a patch, and width of a token.
    """

    def __init__(self, patch_size: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv3d(1, width, kernel_size=patch_size, stride=patch_size)

    def forward(self, image: Tensor) -> Tensor:
        """Make the tokens.

        Parameters
        ----------
        image : Tensor, shape (b, 1, n, n, n)
            Normalised image.

        Returns
        -------
        Tensor, shape (b, g, g, g, width)
        """
        tokens: Tensor = self.proj(image)
        return tokens.movedim(1, -1)


class EncoderBlock(nn.Module):
    """Attention and feed-forward part, each behind a normalisation and beside a shortcut.

    Parameters
    ----------
    width, n_heads, window_size : int
        Sizes of the attention.
    """

    def __init__(self, width: int, n_heads: int, window_size: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=CHANNEL_NORM_EPS)
        self.attn = WindowAttention(width, n_heads, window_size)
        self.norm2 = nn.LayerNorm(width, eps=CHANNEL_NORM_EPS)
        self.mlp = TwoLayers(width, EXPANSION * width, nn.GELU())

    def forward(self, tokens: Tensor) -> Tensor:
        """Apply the block.

        Parameters
        ----------
        tokens : Tensor, shape (b, g, g, g, width)
            Tokens.

        Returns
        -------
        Tensor, same shape
        """
        tokens = tokens + self.attn(self.norm1(tokens))
        result: Tensor = tokens + self.mlp(self.norm2(tokens))
        return result


class ImageEncoder(nn.Module):
    """Turn a region of a volume into its embedding.

    Parameters
    ----------
    config : SamMed3DConfig
        Sizes.

    Attributes
    ----------
    recompute : bool
        Whether training computes each block anew in the backward pass instead of keeping its
        activations (gradient checkpointing).
    """

    def __init__(self, config: SamMed3DConfig) -> None:
        super().__init__()
        self.config = config
        self.recompute = False
        grid, width = config.grid_size, config.encoder_width
        self.patch_embed = PatchEmbedding(config.patch_size, width)
        self.pos_embed = nn.Parameter(torch.zeros(1, grid, grid, grid, width))
        self.blocks = nn.ModuleList(
            EncoderBlock(
                width,
                config.encoder_heads,
                grid if index in config.global_blocks else config.window_size,
            )
            for index in range(config.encoder_depth)
        )
        out = config.prompt_width
        self.neck = nn.Sequential(
            nn.Conv3d(width, out, kernel_size=1, bias=False),
            LayerNorm3d(out),
            nn.Conv3d(out, out, kernel_size=3, padding=1, bias=False),
            LayerNorm3d(out),
        )

    def choose_path(self, path: AttentionPath) -> None:
        """Choose how attention in padded windows is computed; both ways give the same.

        Parameters
        ----------
        path : {"shortcut", "plain"}
            See :mod:`~NASAM3DLib.segment.sam_med3d.attention`.
        """
        for module in self.modules():
            if isinstance(module, WindowAttention):
                module.path = path

    def forward(self, image: Tensor) -> Tensor:
        """Embed a region.

        Parameters
        ----------
        image : Tensor, shape (b, 1, n, n, n)
            Normalised image, axes i, j, k (right, anterior, superior); n is the network's
            ``image_size``.

        Returns
        -------
        Tensor, shape (b, prompt_width, g, g, g)

        Raises
        ------
        ValueError
            If the image has another shape: positions are not interpolated.
        """
        expected = (1,) + (self.config.image_size,) * 3
        if tuple(image.shape[1:]) != expected:
            raise ValueError(
                f"The image must have shape (b, {', '.join(map(str, expected))}), got "
                f"{tuple(image.shape)}: cut out and pad a region first."
            )
        tokens = self.patch_embed(image) + self.pos_embed
        for block in self.blocks:
            if self.recompute and torch.is_grad_enabled():
                tokens = checkpoint(block, tokens, use_reentrant=False)
            else:
                tokens = block(tokens)
        result: Tensor = self.neck(tokens.movedim(-1, 1))
        return result
