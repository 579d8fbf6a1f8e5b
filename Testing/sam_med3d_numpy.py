"""The network once more in plain NumPy and float64, written for clearness: what tests compare with.

It shares no code with the library. Relative positions are summed key by key, convolutions with
stride are sums over patches, and nothing is folded or cached.
"""

from __future__ import annotations

import numpy as np
from scipy.special import erf

from NASAM3DLib.segment.sam_med3d.config import SamMed3DConfig

TINY = SamMed3DConfig(
    image_size=32,
    patch_size=8,
    encoder_width=24,
    encoder_depth=3,
    encoder_heads=2,
    window_size=6,
    global_blocks=(1,),
    prompt_width=48,
    decoder_depth=2,
    decoder_heads=2,
    decoder_hidden=32,
    mask_hidden=8,
    iou_hidden=16,
)


class NumpySamMed3D:
    """Forward pass from a dict of float64 arrays."""

    def __init__(self, state: dict[str, np.ndarray], config: SamMed3DConfig) -> None:
        self.state = {name: np.asarray(value, dtype=np.float64) for name, value in state.items()}
        self.config = config

    def p(self, name: str) -> np.ndarray:
        return self.state[name]

    def linear(self, name: str, x: np.ndarray) -> np.ndarray:
        return x @ self.p(f"{name}.weight").T + self.p(f"{name}.bias")

    def norm(self, name: str, x: np.ndarray, eps: float) -> np.ndarray:
        """Over the last axis, biased variance."""
        centred = x - x.mean(axis=-1, keepdims=True)
        scale = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + eps)
        return centred / scale * self.p(f"{name}.weight") + self.p(f"{name}.bias")

    # Image encoder.

    def encode(self, image: np.ndarray) -> np.ndarray:
        """(n, n, n) to (width, g, g, g)."""
        c = self.config
        g, s = c.grid_size, c.patch_size
        patches = image.reshape(g, s, g, s, g, s).transpose(0, 2, 4, 1, 3, 5).reshape(g, g, g, -1)
        kernel = self.p("image_encoder.patch_embed.proj.weight").reshape(c.encoder_width, -1)
        x = patches @ kernel.T + self.p("image_encoder.patch_embed.proj.bias")
        x = x + self.p("image_encoder.pos_embed")[0]
        for index in range(c.encoder_depth):
            window = g if index in c.global_blocks else c.window_size
            x = self.block(f"image_encoder.blocks.{index}", x, window)
        return self.neck(x)

    def block(self, name: str, x: np.ndarray, window: int) -> np.ndarray:
        g = len(x)
        padded = np.zeros((window, window, window, x.shape[-1]))
        padded[:g, :g, :g] = self.norm(f"{name}.norm1", x, 1e-6)
        x = x + self.window_attention(f"{name}.attn", padded)[:g, :g, :g]
        hidden = gelu(self.linear(f"{name}.mlp.lin1", self.norm(f"{name}.norm2", x, 1e-6)))
        return x + self.linear(f"{name}.mlp.lin2", hidden)

    def window_attention(self, name: str, x: np.ndarray) -> np.ndarray:
        n = len(x)
        width = x.shape[-1]
        n_heads = self.config.encoder_heads
        size = width // n_heads
        qkv = self.linear(f"{name}.qkv", x)
        i, j, k = (axis.reshape(-1, 1) for axis in np.indices((n, n, n)))
        i2, j2, k2 = (axis.reshape(1, -1) for axis in np.indices((n, n, n)))
        tables = [self.p(f"{name}.rel_pos_{axis}") for axis in "dhw"]
        out = np.zeros((n**3, width))
        for head in range(n_heads):
            part = slice(head * size, (head + 1) * size)
            q, key, v = (qkv[..., m * width : (m + 1) * width][..., part] for m in range(3))
            flat_q, flat_k, flat_v = (a.reshape(-1, size) for a in (q, key, v))
            logits = flat_q @ flat_k.T / np.sqrt(size)
            logits += (q[i, j, k] * tables[0][i - k2 + n - 1]).sum(-1)
            logits += (q[i, j, i2] * tables[1][j - k2 + n - 1]).sum(-1)
            logits += (q[i, j, j2] * tables[2][j2 - k2 + n - 1]).sum(-1)
            out[:, part] = softmax(logits) @ flat_v
        return self.linear(f"{name}.proj", out.reshape(n, n, n, width))

    def neck(self, x: np.ndarray) -> np.ndarray:
        x = x @ self.p("image_encoder.neck.0.weight")[:, :, 0, 0, 0].T
        x = self.norm("image_encoder.neck.1", x, 1e-6)
        kernel = self.p("image_encoder.neck.2.weight")
        padded = np.pad(x, ((1, 1), (1, 1), (1, 1), (0, 0)))
        g = len(x)
        y = np.zeros_like(x)
        for a, b, c in np.ndindex(3, 3, 3):
            y += padded[a : a + g, b : b + g, c : c + g] @ kernel[:, :, a, b, c].T
        return self.norm("image_encoder.neck.3", y, 1e-6).transpose(3, 0, 1, 2)

    # Prompt encoder.

    def code(self, u: np.ndarray) -> np.ndarray:
        angle = (
            2
            * np.pi
            * ((2 * u - 1) @ self.p("prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"))
        )
        return np.concatenate([np.sin(angle), np.cos(angle), np.sin(angle)], axis=-1)

    def sparse(self, voxels: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """One set of points: (n, 3), (n,) to (n + 1, width)."""
        rows = []
        for voxel, label in zip(voxels, labels, strict=True):
            code = self.code((np.asarray(voxel) + 0.5) / self.config.image_size)
            if label == -1:
                rows.append(self.p("prompt_encoder.not_a_point_embed.weight")[0])
            else:
                rows.append(code + self.p(f"prompt_encoder.point_embeddings.{label}.weight")[0])
        rows.append(self.p("prompt_encoder.not_a_point_embed.weight")[0])
        return np.array(rows)

    def dense_position(self) -> np.ndarray:
        g = self.config.grid_size
        out = np.zeros((self.config.prompt_width, g, g, g))
        for i, j, k in np.ndindex(g, g, g):
            out[:, i, j, k] = self.code((np.array([j, i, k]) + 0.5) / g)
        return out

    def dense(self, mask: np.ndarray | None) -> np.ndarray:
        g = self.config.grid_size
        if mask is None:
            none = self.p("prompt_encoder.no_mask_embed.weight")[0]
            return np.broadcast_to(none[:, None, None, None], (len(none), g, g, g))
        name = "prompt_encoder.mask_downscaling"
        x = self.halved(f"{name}.0", mask[..., None])
        x = gelu(self.norm(f"{name}.1", x, 1e-6))
        x = self.halved(f"{name}.3", x)
        x = gelu(self.norm(f"{name}.4", x, 1e-6))
        kernel = self.p(f"{name}.6.weight")[:, :, 0, 0, 0]
        return (x @ kernel.T + self.p(f"{name}.6.bias")).transpose(3, 0, 1, 2)

    def halved(self, name: str, x: np.ndarray) -> np.ndarray:
        """Convolve with a kernel and a stride of 2; channels last."""
        kernel = self.p(f"{name}.weight")
        out = self.p(f"{name}.bias")
        for a, b, c in np.ndindex(2, 2, 2):
            out = out + x[a::2, b::2, c::2] @ kernel[:, :, a, b, c].T
        return out

    # Mask decoder.

    def attend(self, name: str, q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
        q, k, v = (
            self.linear(f"{name}.{p}_proj", x) for p, x in zip("qkv", (q, k, v), strict=True)
        )
        size = q.shape[-1] // self.config.decoder_heads
        parts = []
        for head in range(self.config.decoder_heads):
            part = slice(head * size, (head + 1) * size)
            parts.append(softmax(q[:, part] @ k[:, part].T / np.sqrt(size)) @ v[:, part])
        return self.linear(f"{name}.out_proj", np.concatenate(parts, axis=-1))

    def decode(
        self, embedding: np.ndarray, sparse: np.ndarray, dense: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """One image and one set of prompts: all four masks and qualities."""
        width, g = self.config.prompt_width, self.config.grid_size
        pe = self.dense_position().reshape(width, -1).T
        x = (embedding + dense).reshape(width, -1).T
        own = [self.p("mask_decoder.iou_token.weight"), self.p("mask_decoder.mask_tokens.weight")]
        t = t0 = np.concatenate([*own, sparse.reshape(-1, width)])
        for index in range(self.config.decoder_depth):
            name = f"mask_decoder.transformer.layers.{index}"
            if index == 0:
                t = self.attend(f"{name}.self_attn", t, t, t)
            else:
                t = t + self.attend(f"{name}.self_attn", t + t0, t + t0, t)
            t = self.norm(f"{name}.norm1", t, 1e-5)
            t = t + self.attend(f"{name}.cross_attn_token_to_image", t + t0, x + pe, x)
            t = self.norm(f"{name}.norm2", t, 1e-5)
            hidden = np.maximum(self.linear(f"{name}.mlp.lin1", t), 0)
            t = self.norm(f"{name}.norm3", t + self.linear(f"{name}.mlp.lin2", hidden), 1e-5)
            x = x + self.attend(f"{name}.cross_attn_image_to_token", x + pe, t + t0, t)
            x = self.norm(f"{name}.norm4", x, 1e-5)
        name = "mask_decoder.transformer.final_attn_token_to_image"
        t = t + self.attend(name, t + t0, x + pe, x)
        t = self.norm("mask_decoder.transformer.norm_final_attn", t, 1e-5)
        name = "mask_decoder.output_upscaling"
        y = self.doubled(f"{name}.0", x.reshape(g, g, g, width))
        y = gelu(self.norm(f"{name}.1", y, 1e-6))
        y = gelu(self.doubled(f"{name}.3", y))
        heads = [f"mask_decoder.output_hypernetworks_mlps.{m}" for m in range(4)]
        masks = np.array([y @ self.mlp(head, t[1 + m]) for m, head in enumerate(heads)])
        return masks, self.mlp("mask_decoder.iou_prediction_head", t[0])

    def mlp(self, name: str, x: np.ndarray) -> np.ndarray:
        for layer in range(2):
            x = np.maximum(self.linear(f"{name}.layers.{layer}", x), 0)
        return self.linear(f"{name}.layers.2", x)

    def doubled(self, name: str, x: np.ndarray) -> np.ndarray:
        """Transposed convolution with a kernel and a stride of 2; channels last."""
        kernel = self.p(f"{name}.weight")
        g = len(x)
        out = np.zeros((2 * g, 2 * g, 2 * g, kernel.shape[1]))
        for a, b, c in np.ndindex(2, 2, 2):
            out[a::2, b::2, c::2] = x @ kernel[:, :, a, b, c]
        return out + self.p(f"{name}.bias")


def gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1 + erf(x / np.sqrt(2)))


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def relative_l2(got: np.ndarray, wanted: np.ndarray) -> float:
    got, wanted = np.asarray(got, dtype=np.float64), np.asarray(wanted, dtype=np.float64)
    assert got.shape == wanted.shape
    return float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted))
