"""The mask decoder: image embedding and prompts become masks of low resolution."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from NASAM3DLib.segment.sam_med3d.config import N_MASKS, SamMed3DConfig
from NASAM3DLib.segment.sam_med3d.layers import LayerNorm3d, Perceptron
from NASAM3DLib.segment.sam_med3d.transformer import TwoWayTransformer


@dataclass(frozen=True, eq=False)
class DecoderInput:
    """What the decoder looks at.

    Parameters
    ----------
    image : Tensor, shape (1 or b, prompt_width, g, g, g)
        Embedding of the region; one image may serve several sets of prompts.
    position : Tensor, shape (1, prompt_width, g, g, g)
        Codes of the positions of its cells.
    sparse : Tensor, shape (b, n, prompt_width)
        Encoded points.
    dense : Tensor, shape (b, prompt_width, g, g, g)
        Encoded mask.
    """

    image: Tensor
    position: Tensor
    sparse: Tensor
    dense: Tensor


class MaskDecoder(nn.Module):
    """Predict masks and their quality.

    Parameters
    ----------
    config : SamMed3DConfig
        Sizes.
    """

    def __init__(self, config: SamMed3DConfig) -> None:
        super().__init__()
        width = config.prompt_width
        half, quarter = width // 4, width // 8
        self.transformer = TwoWayTransformer(config)
        self.iou_token = nn.Embedding(1, width)
        self.mask_tokens = nn.Embedding(N_MASKS, width)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose3d(width, half, kernel_size=2, stride=2),
            LayerNorm3d(half),
            nn.GELU(),
            nn.ConvTranspose3d(half, quarter, kernel_size=2, stride=2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            Perceptron((width, width, width, quarter)) for _ in range(N_MASKS)
        )
        hidden = config.iou_hidden
        self.iou_prediction_head = Perceptron((width, hidden, hidden, N_MASKS))

    def forward(self, given: DecoderInput, *, multimask: bool = False) -> tuple[Tensor, Tensor]:
        """Predict masks.

        Parameters
        ----------
        given : DecoderInput
            Image and prompts.
        multimask : bool
            Whether to give the three masks for ambiguous prompts instead of the one for clear
            ones. The public weights were trained on the one only.

        Returns
        -------
        logits : Tensor, shape (b, 1 or 3, m, m, m)
            m = 4 g.
        quality : Tensor, shape (b, 1 or 3)
            Predicted overlap with the object; nothing in the public training taught it.

        Raises
        ------
        ValueError
            If the numbers of images and prompts do not fit.
        """
        n_prompts = len(given.sparse)
        if len(given.image) not in (1, n_prompts) or len(given.dense) != n_prompts:
            raise ValueError(
                f"{len(given.image)} image embeddings and {len(given.dense)} dense prompts do not "
                f"fit {n_prompts} sets of points: give one embedding, or one for each set."
            )
        tokens, image = self._exchanged(given)
        upscaled = self.output_upscaling(image)
        weights = torch.stack(
            [
                network(tokens[:, 1 + index])
                for index, network in enumerate(self.output_hypernetworks_mlps)
            ],
            dim=1,
        )
        logits = (weights @ upscaled.flatten(2)).unflatten(2, upscaled.shape[2:])
        quality = self.iou_prediction_head(tokens[:, 0])
        chosen = slice(1, None) if multimask else slice(0, 1)
        return logits[:, chosen], quality[:, chosen]

    def _exchanged(self, given: DecoderInput) -> tuple[Tensor, Tensor]:
        """Run the transformer; give tokens and the image as (b, width, g, g, g)."""
        n_prompts = len(given.sparse)
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        own = own.to(given.sparse.dtype).expand(n_prompts, -1, -1)
        tokens = torch.cat([own, given.sparse], dim=1)
        image = given.image.expand(n_prompts, -1, -1, -1, -1) + given.dense
        position = given.position.expand(n_prompts, -1, -1, -1, -1)
        cells = image.shape[2:]
        tokens, flat = self.transformer(
            tokens, image.flatten(2).transpose(1, 2), position.flatten(2).transpose(1, 2)
        )
        return tokens, flat.transpose(1, 2).unflatten(2, cells)
