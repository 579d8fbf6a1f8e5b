"""Deliberate mistakes in SAM-Med3D, to see that each of them would be noticed.

Each is a context manager that spoils the library or one network while it is open. They are used by
the tests at a small size and by the benchmark at the full one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from unittest import mock

import torch
from torch import nn

from NASAM3DLib.segment.sam_med3d import attention, layers
from NASAM3DLib.segment.sam_med3d.attention import WindowAttention
from NASAM3DLib.segment.sam_med3d.model import SamMed3D
from NASAM3DLib.segment.sam_med3d.prompt_encoder import PromptEncoder

Mistake = Callable[[SamMed3D], contextlib.AbstractContextManager[None]]


@contextlib.contextmanager
def padding_masked(model: SamMed3D) -> Iterator[None]:
    """The padding of the windows takes no part in attention."""
    with mock.patch.object(
        attention, "_log_padding_mass", lambda near, *_: torch.full_like(near[..., 0], -1e9)
    ):
        yield


@contextlib.contextmanager
def axis_wise_positions(model: SamMed3D) -> Iterator[None]:
    """R = q.T_d[i, i'] + q.T_h[j, j'] + q.T_w[k, k'], as a textbook has it."""

    def terms(self: WindowAttention, query: torch.Tensor, n_last: int | None = None):
        depth, height, width = (
            self._table(rows) for rows in (self.rel_pos_d, self.rel_pos_h, self.rel_pos_w)
        )
        return (
            torch.einsum("bhijkc,ixc->bhijkx", query, depth),
            torch.einsum("bhijkc,jyc->bhijky", query, height),
            torch.einsum("bhijkc,kzc->bhijkz", query, width),
        )

    def expanded(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return a[..., :, None, None] + b[..., None, :, None] + c[..., None, None, :]

    with (
        mock.patch.object(WindowAttention, "_relative_terms", terms),
        mock.patch.object(attention, "_expanded", expanded),
    ):
        model.image_encoder.choose_path("plain")
        yield
        model.image_encoder.choose_path("shortcut")


@contextlib.contextmanager
def encoder_eps(model: SamMed3D) -> Iterator[None]:
    """Normalisations of the encoder with an eps of 1e-5."""
    norms = [m for m in model.image_encoder.modules() if isinstance(m, nn.LayerNorm)]
    with _changed(norms, "eps", 1e-5), mock.patch.object(layers, "CHANNEL_NORM_EPS", 1e-5):
        yield


@contextlib.contextmanager
def tanh_gelu(model: SamMed3D) -> Iterator[None]:
    """The approximation of GELU in the encoder's blocks."""
    with _changed([b.mlp for b in model.image_encoder.blocks], "activation", nn.GELU("tanh")):
        yield


@contextlib.contextmanager
def position_axes_not_exchanged(model: SamMed3D) -> Iterator[None]:
    """The cell (i, j, k) has the code of (i, j, k)."""
    right = PromptEncoder.dense_position
    with mock.patch.object(
        PromptEncoder, "dense_position", lambda self: right(self).transpose(2, 3)
    ):
        yield


@contextlib.contextmanager
def no_padding_point(model: SamMed3D) -> Iterator[None]:
    """Nothing is appended to the points."""
    right = PromptEncoder._sparse
    with mock.patch.object(PromptEncoder, "_sparse", lambda self, *p: right(self, *p)[:, :-1]):
        yield


@contextlib.contextmanager
def points_reversed(model: SamMed3D) -> Iterator[None]:
    """Points are read as (k, j, i)."""
    right = PromptEncoder._sparse
    with mock.patch.object(
        PromptEncoder, "_sparse", lambda self, v, labels: right(self, v.flip(-1), labels)
    ):
        yield


@contextlib.contextmanager
def no_half_voxel(model: SamMed3D) -> Iterator[None]:
    """Points are taken at corners of voxels instead of their centres."""
    right = PromptEncoder._sparse
    with mock.patch.object(
        PromptEncoder, "_sparse", lambda self, v, labels: right(self, v - 0.5, labels)
    ):
        yield


@contextlib.contextmanager
def decoder_eps(model: SamMed3D) -> Iterator[None]:
    """Normalisations of the transformer with an eps of 1e-6."""
    norms = [m for m in model.mask_decoder.modules() if isinstance(m, nn.LayerNorm)]
    with _changed(norms, "eps", 1e-6):
        yield


@contextlib.contextmanager
def first_layer_with_shortcut(model: SamMed3D) -> Iterator[None]:
    """The first self-attention is added to its input."""
    attend = model.mask_decoder.transformer.layers[0].self_attn
    right = attend.forward
    with mock.patch.object(attend, "forward", lambda q, k, v: q + right(q, k, v)):
        yield


@contextlib.contextmanager
def gelu_in_decoder(model: SamMed3D) -> Iterator[None]:
    """GELU instead of ReLU between the layers of the transformer's feed-forward parts."""
    parts = [layer.mlp for layer in model.mask_decoder.transformer.layers]
    with _changed(parts, "activation", nn.GELU()):
        yield


@contextlib.contextmanager
def _changed(owners: list[nn.Module], attribute: str, value: object) -> Iterator[None]:
    """Change an attribute of several modules for a while."""
    former = [getattr(owner, attribute) for owner in owners]
    for owner in owners:
        setattr(owner, attribute, value)
    try:
        yield
    finally:
        for owner, old in zip(owners, former, strict=True):
            setattr(owner, attribute, old)


ENCODER_MISTAKES: dict[str, Mistake] = {
    "padding of the windows masked": padding_masked,
    "axis-wise relative positions": axis_wise_positions,
    "eps 1e-5 in the encoder": encoder_eps,
    "tanh GELU in the encoder": tanh_gelu,
}
DECODER_MISTAKES: dict[str, Mistake] = {
    "position axes not exchanged": position_axes_not_exchanged,
    "no padding point": no_padding_point,
    "points in the order k, j, i": points_reversed,
    "points without half a voxel": no_half_voxel,
    "eps 1e-6 in the decoder": decoder_eps,
    "first layer with a shortcut": first_layer_with_shortcut,
    "GELU in the decoder": gelu_in_decoder,
}
