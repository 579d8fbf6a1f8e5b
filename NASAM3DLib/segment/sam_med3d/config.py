"""The sizes of the network."""

from __future__ import annotations

from dataclasses import dataclass

UPSCALING = 4
"""Cells of the low-resolution mask per cell of the embedding, along each axis."""

N_MASKS = 4
"""Masks that the decoder makes: the one for clear prompts and three for ambiguous ones."""


@dataclass(frozen=True)
class SamMed3DConfig:
    """Sizes of SAM-Med3D; the defaults are those of the public checkpoint.

    Parameters
    ----------
    image_size : int
        Voxels along each edge of the region that is looked at.
    patch_size : int
        Voxels along each edge of a token.
    encoder_width, encoder_depth, encoder_heads : int
        Width of a token, number of blocks and of attention heads of the image encoder.
    window_size : int
        Tokens along each edge of the window of the blocks that are not global, at least the
        number of tokens along the image.
    global_blocks : tuple of int
        Blocks without a window.
    prompt_width : int
        Width of prompts and image embedding; divisible by 24 and by twice ``decoder_heads``.
    decoder_depth, decoder_heads, decoder_hidden : int
        Layers, heads and hidden width of the two-way transformer.
    mask_hidden, iou_hidden : int
        Channels of the mask prompt's convolutions, and hidden width of the quality head.

    Raises
    ------
    ValueError
        If sizes do not divide, or the window is smaller than the image.
    """

    image_size: int = 128
    patch_size: int = 16
    encoder_width: int = 768
    encoder_depth: int = 12
    encoder_heads: int = 12
    window_size: int = 14
    global_blocks: tuple[int, ...] = (2, 5, 8, 11)
    prompt_width: int = 384
    decoder_depth: int = 2
    decoder_heads: int = 8
    decoder_hidden: int = 2048
    mask_hidden: int = 16
    iou_hidden: int = 256

    def __post_init__(self) -> None:
        _check_divides("image_size", self.image_size, self.patch_size)
        _check_divides("encoder_width", self.encoder_width, self.encoder_heads)
        _check_divides("prompt_width", self.prompt_width, 24)
        _check_divides("prompt_width", self.prompt_width, 2 * self.decoder_heads)
        _check_divides("mask_hidden", self.mask_hidden, 4)
        if self.window_size < self.grid_size:
            raise ValueError(
                f"The window of {self.window_size} tokens must hold the {self.grid_size} tokens "
                "along the image: this network has one window only, larger than the image."
            )

    @property
    def grid_size(self) -> int:
        """Tokens along each edge of the image."""
        return self.image_size // self.patch_size

    @property
    def mask_size(self) -> int:
        """Voxels along each edge of the low-resolution mask."""
        return UPSCALING * self.grid_size


def _check_divides(name: str, value: int, divisor: int) -> None:
    """Refuse a size that does not divide."""
    if value < 1 or divisor < 1 or value % divisor:
        raise ValueError(f"{name} must be a positive multiple of {divisor}, got {value}.")
