"""Attention of the image encoder over one window, with its padding and relative positions.

The tokens of an image form a cube of g^3; a window is a cube of S^3 with S >= g. Where S > g, the
network was trained with a window padded by zero tokens **that take part in attention**: their
query, key and value are the biases of the projection. Two ways compute the same:

* *plain*: pad, project, attend among all S^3 tokens, crop. It is kept for checking.
* *shortcut*: the queries of the padding are never used, so only the g^3 real ones attend. All
  padding keys are one vector and all padding values another; they differ in the relative position
  R alone. Together they act like one key with the logit ``s q.b_k + log sum exp R``, sum over the
  padding, and the value ``b_v``. R is a sum of three terms, each of two coordinates, so the sum of
  exponentials factorises and costs next to nothing. Attention is then g^3 x (g^3 + 1).

Relative position, with ``T_a[x, y] = table_a[x - y + S - 1]``, for the query at (i, j, k) and the
key at (i', j', k')::

    R = q(i, j, k).T_d[i, k'] + q(i, j, i').T_h[j, k'] + q(i, j, j').T_w[j', k']

All three tables are read at the key's last coordinate, and the second and third term take the query
of another token of the row (i, j). An axis-wise form looks more natural, but the public weights
were trained with this one.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

AttentionPath = Literal["shortcut", "plain"]


class WindowAttention(nn.Module):
    """Multi-head attention among the tokens of one window.

    Parameters
    ----------
    width, n_heads : int
        Width of a token and number of heads.
    window_size : int
        Tokens along each edge of the window.
    """

    def __init__(self, width: int, n_heads: int, window_size: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.window_size = window_size
        self.path: AttentionPath = "shortcut"
        rows, head_width = 2 * window_size - 1, width // n_heads
        self.rel_pos_d = nn.Parameter(torch.zeros(rows, head_width))
        self.rel_pos_h = nn.Parameter(torch.zeros(rows, head_width))
        self.rel_pos_w = nn.Parameter(torch.zeros(rows, head_width))
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Attend.

        Parameters
        ----------
        tokens : Tensor, shape (b, g, g, g, width)
            Normalised tokens, ``g <= window_size``.

        Returns
        -------
        Tensor, same shape
        """
        attended = self._plain(tokens) if self.path == "plain" else self._shortcut(tokens)
        result: Tensor = self.proj(attended)
        return result

    def _plain(self, tokens: Tensor) -> Tensor:
        """Attend among all tokens of the padded window, step by step."""
        grid, window = tokens.shape[1], self.window_size
        high = window - grid
        padded = functional.pad(tokens, (0, 0, 0, high, 0, high, 0, high))
        query, key, value = self._projected(padded)
        terms = self._relative_terms(query)
        position = _expanded(*terms).flatten(5, 7).flatten(2, 4)
        query, key, value = (part.flatten(2, 4) for part in (query, key, value))
        logits = (query @ key.transpose(-1, -2)) * query.shape[-1] ** -0.5 + position
        attended = torch.softmax(logits, dim=-1) @ value
        return _merged(attended, window)[:, :grid, :grid, :grid]

    def _shortcut(self, tokens: Tensor) -> Tensor:
        """Attend from the real tokens to the real tokens and to the padding as a whole."""
        grid, high = tokens.shape[1], self.window_size - tokens.shape[1]
        query, key, value = self._projected(tokens)
        shape = query.shape
        bias_query, bias_key, bias_value = (
            part.to(query.dtype).view(1, self.n_heads, 1, -1) for part in self.qkv.bias.chunk(3)
        )
        padding = bias_query[:, :, None, None].expand(*shape[:4], high, -1)
        near, second, third = self._relative_terms(torch.cat([query, padding], dim=4), grid)
        inside = slice(0, grid)
        position = _expanded(
            near[..., inside], second[..., inside, inside], third[..., inside, inside]
        )
        position = position.flatten(5, 7).flatten(2, 4)
        query, key, value = (part.flatten(2, 4) for part in (query, key, value))
        if high:
            mass = _log_padding_mass(near, second, third).flatten(2, 4)[..., None]
            position = torch.cat([position, mass], dim=-1)
            key = torch.cat([key, bias_key.expand(shape[0], -1, -1, -1)], dim=2)
            value = torch.cat([value, bias_value.expand(shape[0], -1, -1, -1)], dim=2)
        attended = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=position.to(query.dtype)
        )
        return _merged(attended, grid)

    def _projected(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Give query, key and value, each of shape (b, heads, i, j, k, head width)."""
        parts = self.qkv(tokens).unflatten(-1, (3, self.n_heads, -1))
        query, key, value = parts.movedim((4, 5), (0, 2))
        return query, key, value

    def _relative_terms(
        self, query: Tensor, n_last: int | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Give the terms of R for the queries of whole rows.

        ``query`` has shape (b, heads, i, j, S, c). The terms have the shapes (b, heads, i, j, k,
        k'), (..., i', k') and (..., j', k'); only the first ``n_last`` k are computed.
        """
        with torch.autocast(query.device.type, enabled=False):
            exact = query.to(self.rel_pos_d.dtype)
            depth, height, width = (
                self._table(rows) for rows in (self.rel_pos_d, self.rel_pos_h, self.rel_pos_w)
            )
            n_i, n_j = exact.shape[2:4]
            near = torch.einsum("bhijkc,iyc->bhijky", exact[..., :n_last, :], depth[:n_i])
            second = torch.einsum("bhijxc,jyc->bhijxy", exact, height[:n_j])
            third = torch.einsum("bhijxc,xyc->bhijxy", exact, width)
        return near, second, third

    def _table(self, rows: Tensor) -> Tensor:
        """Spread a table of differences out: (2 S - 1, c) to (S, S, c) for query and key."""
        place = torch.arange(self.window_size, device=rows.device)
        return rows[place[:, None] - place[None, :] + self.window_size - 1]


def _merged(attended: Tensor, size: int) -> Tensor:
    """Put the heads side by side: (b, heads, size^3, c) to (b, size, size, size, width)."""
    n_images = len(attended)
    return attended.transpose(1, 2).reshape(n_images, size, size, size, -1)


def _expanded(near: Tensor, second: Tensor, third: Tensor) -> Tensor:
    """Sum the terms of R: (b, heads, i, j, k, i', j', k')."""
    return (
        near[:, :, :, :, :, None, None, :]
        + second[:, :, :, :, None, :, None, :]
        + third[:, :, :, :, None, None, :, :]
    )


def _log_padding_mass(near: Tensor, second: Tensor, third: Tensor) -> Tensor:
    """Give log sum exp R over the padding keys, shape (b, heads, i, j, k).

    Padding is where i', j' or k' is at least g. For k' >= g all (i', j') count; for k' < g those
    with i' >= g, and those with i' < g and j' >= g.
    """
    grid = near.shape[4]
    second_real, second_pad = (
        part.logsumexp(dim=4) for part in (second[..., :grid, :], second[..., grid:, :])
    )
    third_real, third_pad = (
        part.logsumexp(dim=4) for part in (third[..., :grid, :], third[..., grid:, :])
    )
    second_all = torch.logaddexp(second_real, second_pad)
    third_all = torch.logaddexp(third_real, third_pad)
    beside = torch.logaddexp(second_pad + third_all, second_real + third_pad)
    behind = second_all + third_all
    planes = torch.cat([beside[..., :grid], behind[..., grid:]], dim=-1)
    return (near + planes[:, :, :, :, None, :]).logsumexp(dim=-1)
