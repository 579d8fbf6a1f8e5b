"""The whole network: image encoder, prompt encoder and mask decoder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from NASAM3DLib.segment.sam_med3d.config import SamMed3DConfig
from NASAM3DLib.segment.sam_med3d.encoder import ImageEncoder
from NASAM3DLib.segment.sam_med3d.mask_decoder import DecoderInput, MaskDecoder
from NASAM3DLib.segment.sam_med3d.prompt_encoder import Points, PromptEncoder

ValueOf = Callable[[str, tuple[int, ...]], npt.ArrayLike]
"""Gives the values of a parameter from its name and shape."""

EMBEDDING_ENDINGS = ("pos_embed", "embed.weight", "iou_token.weight", "mask_tokens.weight")


class SamMed3D(nn.Module):
    """SAM-Med3D, with the parameter names of its public checkpoint.

    Parameters
    ----------
    config : SamMed3DConfig
        Sizes.
    """

    def __init__(self, config: SamMed3DConfig) -> None:
        super().__init__()
        self.config = config
        self.image_encoder = ImageEncoder(config)
        self.prompt_encoder = PromptEncoder(config)
        self.mask_decoder = MaskDecoder(config)

    def forward(
        self,
        embedding: Tensor,
        points: Points | None = None,
        *,
        mask: Tensor | None = None,
        multimask: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Predict masks from an embedding and prompts.

        Parameters
        ----------
        embedding : Tensor, shape (1 or b, prompt_width, g, g, g)
            What the image encoder gave.
        points : tuple of Tensor, optional
            See :meth:`PromptEncoder.forward`.
        mask : Tensor, shape (1 or b, 1, m, m, m), optional
            Logits of the previous mask; zeros before the first. Without it the network uses an
            embedding that the public training never taught.
        multimask : bool
            See :meth:`MaskDecoder.forward`.

        Returns
        -------
        logits : Tensor, shape (b, 1 or 3, m, m, m)
        quality : Tensor, shape (b, 1 or 3)
        """
        sparse, dense = self.prompt_encoder(points, mask=mask)
        position = self.prompt_encoder.dense_position()
        result: tuple[Tensor, Tensor] = self.mask_decoder(
            DecoderInput(embedding, position, sparse, dense), multimask=multimask
        )
        return result


def build_sam_med3d(config: SamMed3DConfig | None = None, *, seed: int = 0) -> SamMed3D:
    """Make the network with random weights.

    Parameters
    ----------
    config : SamMed3DConfig, optional
        Sizes; those of the public checkpoint if not given.
    seed : int
        Seed of the weights.

    Returns
    -------
    SamMed3D
        In evaluation mode, float32, on the CPU. Positions start at zero, as torch's layers do
        otherwise.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SamMed3D(config or SamMed3DConfig()).eval()


def empty_sam_med3d(config: SamMed3DConfig | None = None) -> SamMed3D:
    """Make the network without memory for its weights, to be loaded with ``assign=True``.

    Parameters
    ----------
    config : SamMed3DConfig, optional
        Sizes; those of the public checkpoint if not given.

    Returns
    -------
    SamMed3D
        In evaluation mode, on torch's meta device.
    """
    with torch.device("meta"):
        return SamMed3D(config or SamMed3DConfig()).eval()


def fill_parameters(model: SamMed3D, value_of: ValueOf | None = None) -> SamMed3D:
    """Give every parameter, and the frequencies of the position code, values by its name.

    Parameters
    ----------
    model : SamMed3D
        Changed in place; its precision and device stay.
    value_of : callable, optional
        Gives the values from name and shape; :func:`named_values` if not given.

    Returns
    -------
    SamMed3D
        The same network.

    Raises
    ------
    ValueError
        If the values of an entry have another shape.
    """
    for name, tensor in model.state_dict().items():
        shape = tuple(tensor.shape)
        values = np.asarray((value_of or named_values)(name, shape))
        if values.shape != shape:
            raise ValueError(f"{name} must have shape {shape}, got values of shape {values.shape}.")
        tensor.copy_(torch.from_numpy(np.ascontiguousarray(values)))
    return model


def named_values(name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Draw values that depend on a parameter's name only, of a size that suits its part.

    Parameters
    ----------
    name : str
        Name of the state entry.
    shape : tuple of int
        Its shape.

    Returns
    -------
    ndarray, shape as asked, float32

    Notes
    -----
    The seed is the first eight bytes of the name's SHA-256. Weights have variance 1 / fan-in, gains
    are 1 +- 0.1, biases and relative positions +- 0.1, position and prompt embeddings +- 0.5.
    """
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    values = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    if name.endswith("gaussian_matrix"):
        return values
    if len(shape) == 1:
        return np.float32(name.endswith(".weight")) + np.float32(0.1) * values
    if "rel_pos" in name:
        return np.float32(0.1) * values
    if "point_embeddings" in name or name.endswith(EMBEDDING_ENDINGS):
        return np.float32(0.5) * values
    fan_in = shape[0] if "output_upscaling" in name else int(np.prod(shape[1:]))
    return values / np.float32(fan_in**0.5)
