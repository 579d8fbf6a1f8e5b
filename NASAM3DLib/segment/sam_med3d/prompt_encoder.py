"""The prompt encoder: clicks and the previous mask become vectors."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from NASAM3DLib.segment.sam_med3d.config import SamMed3DConfig
from NASAM3DLib.segment.sam_med3d.layers import LayerNorm3d

NO_POINT = -1
"""Label of a point that stands for no click."""

Points = tuple[Tensor, Tensor]
"""Voxel indices (b, n, 3), axes i, j, k of the region, and labels (b, n): 1, 0 or -1."""


class FourierCode(nn.Module):
    """Code positions by sines and cosines of random frequencies.

    Parameters
    ----------
    width : int
        Length of a code, a multiple of 3.

    Notes
    -----
    ``a = 2 pi (2 u - 1) G`` for a position u in [0, 1]^3; the code is [sin a, cos a, sin a]: the
    block of sines stands twice.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.positional_encoding_gaussian_matrix: Tensor
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(3, width // 3))

    def forward(self, positions: Tensor) -> Tensor:
        """Code positions.

        Parameters
        ----------
        positions : Tensor, shape (..., 3)
            In [0, 1].

        Returns
        -------
        Tensor, shape (..., width)
            In the precision of the frequencies, whatever autocast says: phases reach many turns.
        """
        frequencies = self.positional_encoding_gaussian_matrix
        with torch.autocast(frequencies.device.type, enabled=False):
            centred = 2 * positions.to(frequencies.dtype) - 1
            angles = 2 * math.pi * (centred @ frequencies)
            sines = angles.sin()
            return torch.cat([sines, angles.cos(), sines], dim=-1)


class PromptEncoder(nn.Module):
    """Encode points, and a mask of low resolution.

    Parameters
    ----------
    config : SamMed3DConfig
        Sizes.
    """

    def __init__(self, config: SamMed3DConfig) -> None:
        super().__init__()
        self.config = config
        width, hidden = config.prompt_width, config.mask_hidden
        self.pe_layer = FourierCode(width)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, width) for _ in range(2))
        self.not_a_point_embed = nn.Embedding(1, width)
        self.mask_downscaling = nn.Sequential(
            nn.Conv3d(1, hidden // 4, kernel_size=2, stride=2),
            LayerNorm3d(hidden // 4),
            nn.GELU(),
            nn.Conv3d(hidden // 4, hidden, kernel_size=2, stride=2),
            LayerNorm3d(hidden),
            nn.GELU(),
            nn.Conv3d(hidden, width, kernel_size=1),
        )
        self.no_mask_embed = nn.Embedding(1, width)

    def dense_position(self) -> Tensor:
        """Code the position of each cell of the image embedding.

        Returns
        -------
        Tensor, shape (1, prompt_width, g, g, g)
            The cell (i, j, k) has the code of the position (j, i, k): the first two axes are
            exchanged against the points', as when the public weights were trained.
        """
        grid = self.config.grid_size
        frequencies = self.pe_layer.positional_encoding_gaussian_matrix
        along = (
            torch.arange(grid, device=frequencies.device, dtype=frequencies.dtype) + 0.5
        ) / grid
        i, j, k = torch.meshgrid(along, along, along, indexing="ij")
        code: Tensor = self.pe_layer(torch.stack([j, i, k], dim=-1))
        return code.movedim(-1, 0)[None]

    def forward(
        self, points: Points | None = None, *, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Encode prompts.

        Parameters
        ----------
        points : tuple of Tensor, optional
            Voxel indices, shape (b, n, 3), and labels, shape (b, n): 1 on the object, 0 beside
            it, -1 for no point.
        mask : Tensor, shape (b or 1, 1, m, m, m), optional
            Logits of a mask of low resolution, m = 4 g.

        Returns
        -------
        sparse : Tensor, shape (b, n + 1, prompt_width)
            The points and one padding point behind them; (b, 0, prompt_width) without points.
        dense : Tensor, shape (b, prompt_width, g, g, g)

        Raises
        ------
        ValueError
            If shapes or labels are wrong.
        """
        if mask is not None:
            self._check_mask(mask)
        n_prompts = len(points[0]) if points is not None else 1 if mask is None else len(mask)
        if mask is not None and len(mask) not in (1, n_prompts):
            raise ValueError(
                f"Got {n_prompts} sets of points but {len(mask)} masks: give one each."
            )
        sparse = self.no_mask_embed.weight.new_empty(n_prompts, 0, self.config.prompt_width)
        if points is not None:
            sparse = self._sparse(*points)
        return sparse, self._dense(mask).expand(n_prompts, -1, -1, -1, -1)

    def _sparse(self, voxels: Tensor, labels: Tensor) -> Tensor:
        """Encode points and append the padding point."""
        if voxels.ndim != 3 or voxels.shape[-1] != 3 or labels.shape != voxels.shape[:2]:
            raise ValueError(
                "Points must have the shapes (b, n, 3) for voxels and (b, n) for labels, got "
                f"{tuple(voxels.shape)} and {tuple(labels.shape)}."
            )
        if not bool(((labels == 1) | (labels == 0) | (labels == NO_POINT)).all()):
            raise ValueError(
                f"Labels must be 1, 0 or -1, got {sorted(set(labels.flatten().tolist()))}."
            )
        precision = self.pe_layer.positional_encoding_gaussian_matrix.dtype
        code = self.pe_layer((voxels.to(precision) + 0.5) / self.config.image_size)
        label = labels[..., None]
        beside, on = (embedding.weight for embedding in self.point_embeddings)
        nothing = self.not_a_point_embed.weight
        code = torch.where(label == 1, code + on, torch.where(label == 0, code + beside, nothing))
        padding = nothing.to(code.dtype).expand(len(code), 1, -1)
        return torch.cat([code, padding], dim=1)

    def _dense(self, mask: Tensor | None) -> Tensor:
        """Encode the mask, or its absence."""
        if mask is None:
            grid = self.config.grid_size
            return self.no_mask_embed.weight[..., None, None, None].expand(-1, -1, grid, grid, grid)
        dense: Tensor = self.mask_downscaling(mask)
        return dense

    def _check_mask(self, mask: Tensor) -> None:
        """Refuse a mask of another size."""
        expected = (1,) + (self.config.mask_size,) * 3
        if mask.ndim != 5 or tuple(mask.shape[1:]) != expected:
            raise ValueError(
                f"A mask prompt must have shape (b, {', '.join(map(str, expected))}), got "
                f"{tuple(mask.shape)}: give the low-resolution logits of the previous step."
            )
