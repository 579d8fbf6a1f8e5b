"""The two-way transformer of the mask decoder: prompts look at the image, and it at them."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from NASAM3DLib.segment.sam_med3d.config import SamMed3DConfig
from NASAM3DLib.segment.sam_med3d.layers import TwoLayers

CROSS_REDUCTION = 2
"""Between prompts and image, attention has this part of the width."""


class CrossAttention(nn.Module):
    """Multi-head attention with separate projections.

    Parameters
    ----------
    width : int
        Width of queries, keys and values.
    inner : int
        Width inside.
    n_heads : int
        Number of heads.
    """

    def __init__(self, width: int, inner: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.q_proj = nn.Linear(width, inner)
        self.k_proj = nn.Linear(width, inner)
        self.v_proj = nn.Linear(width, inner)
        self.out_proj = nn.Linear(inner, width)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend.

        Parameters
        ----------
        query : Tensor, shape (b, n, width)
            Who asks.
        key, value : Tensor, shape (b, m, width)
            Who answers.

        Returns
        -------
        Tensor, shape (b, n, width)
        """
        parts = (self.q_proj(query), self.k_proj(key), self.v_proj(value))
        heads = (part.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for part in parts)
        attended = functional.scaled_dot_product_attention(*heads)
        result: Tensor = self.out_proj(attended.transpose(1, 2).flatten(2))
        return result


class TwoWayLayer(nn.Module):
    """One layer: tokens among themselves, tokens at the image, image at the tokens.

    Parameters
    ----------
    config : SamMed3DConfig
        Sizes.
    is_first : bool
        The first layer's self-attention has neither positions nor a shortcut beside it.
    """

    def __init__(self, config: SamMed3DConfig, *, is_first: bool) -> None:
        super().__init__()
        self.is_first = is_first
        width, n_heads = config.prompt_width, config.decoder_heads
        inner = width // CROSS_REDUCTION
        # Normalisations here have the default eps of 1e-5, unlike those of the image encoder.
        self.self_attn = CrossAttention(width, width, n_heads)
        self.norm1 = nn.LayerNorm(width)
        self.cross_attn_token_to_image = CrossAttention(width, inner, n_heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = TwoLayers(width, config.decoder_hidden, nn.ReLU())
        self.norm3 = nn.LayerNorm(width)
        self.norm4 = nn.LayerNorm(width)
        self.cross_attn_image_to_token = CrossAttention(width, inner, n_heads)

    def forward(
        self, tokens: Tensor, image: Tensor, token_code: Tensor, image_code: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Apply the layer.

        Parameters
        ----------
        tokens, token_code : Tensor, shape (b, n, width)
            Tokens, and what they were at the start, which codes their positions.
        image, image_code : Tensor, shape (b, g^3, width)
            Cells of the image, and the codes of their positions.

        Returns
        -------
        tokens, image : Tensor
            Of the same shapes.
        """
        if self.is_first:
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            placed = tokens + token_code
            tokens = tokens + self.self_attn(placed, placed, tokens)
        tokens = self.norm1(tokens)
        seen = self.cross_attn_token_to_image(tokens + token_code, image + image_code, image)
        tokens = self.norm2(tokens + seen)
        tokens = self.norm3(tokens + self.mlp(tokens))
        told = self.cross_attn_image_to_token(image + image_code, tokens + token_code, tokens)
        return tokens, self.norm4(image + told)


class TwoWayTransformer(nn.Module):
    """The layers and a last look of the tokens at the image.

    Parameters
    ----------
    config : SamMed3DConfig
        Sizes.
    """

    def __init__(self, config: SamMed3DConfig) -> None:
        super().__init__()
        width = config.prompt_width
        self.layers = nn.ModuleList(
            TwoWayLayer(config, is_first=index == 0) for index in range(config.decoder_depth)
        )
        self.final_attn_token_to_image = CrossAttention(
            width, width // CROSS_REDUCTION, config.decoder_heads
        )
        self.norm_final_attn = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, image: Tensor, image_code: Tensor) -> tuple[Tensor, Tensor]:
        """Let tokens and image exchange what they know.

        Parameters
        ----------
        tokens : Tensor, shape (b, n, width)
            Output tokens and prompts; they also code their own positions.
        image, image_code : Tensor, shape (b, g^3, width)
            Cells of the image, and the codes of their positions.

        Returns
        -------
        tokens, image : Tensor
            Of the same shapes.
        """
        token_code = tokens
        for layer in self.layers:
            tokens, image = layer(tokens, image, token_code, image_code)
        seen = self.final_attn_token_to_image(tokens + token_code, image + image_code, image)
        return self.norm_final_attn(tokens + seen), image
