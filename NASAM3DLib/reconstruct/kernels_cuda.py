"""Triton kernels of Joseph's projector, its exact adjoint and the total-variation dual.

Arrays are laid out as in the CPU kernels: volumes (i, j, k), projections (view, column, row), both
C-contiguous, so that neighbouring threads read neighbouring addresses. All sums are kept in
float32. Every output element is written by one program only: no atomics, and the same bits in
every run. The tables of a scan come from :mod:`NASAM3DLib.reconstruct.ray_tables`.

With ``TRITON_INTERPRET=1`` in the environment before the first import the kernels run on CPU
tensors, which is how their logic is tested without a GPU.
"""

# mypy: disable-error-code="no-untyped-def"
# Triton's compiler reads annotations, of which it understands its own only.
from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from NASAM3DLib.reconstruct.device import is_interpreted

INTERPRETED = is_interpreted()
"""Whether the kernels run in Triton's interpreter, on CPU tensors."""

# The interpreter pays per program and not per element, so it gets few large tiles.
SHEETS, ROWS = (64, 64) if INTERPRETED else (4, 64)
PAIRS, LINE = (64, 64) if INTERPRETED else (4, 64)
VOXELS = 16384 if INTERPRETED else 512

MARGIN = 0.01
"""Columns by which the searched range is widened; the weights there are zero but for rounding."""


@triton.jit
def _forward(
    volume,
    sheets,
    spans,
    lengths,
    out,
    n_i,
    n_j,
    n_k,
    n_sheets,
    n_rows,
    block_sheets: tl.constexpr,
    block_rows: tl.constexpr,
):
    """Project a tile of detector columns and rows, plane by plane."""
    sheet = tl.program_id(0) * block_sheets + tl.arange(0, block_sheets)
    row = tl.program_id(1) * block_rows + tl.arange(0, block_rows)
    known = sheet < n_sheets
    first = tl.load(spans + sheet * 3, mask=known, other=1 << 30)
    stop = tl.load(spans + sheet * 3 + 1, mask=known, other=0)
    along_i = tl.load(spans + sheet * 3 + 2, mask=known, other=1) != 0
    side_0 = tl.load(sheets + sheet * 6, mask=known, other=0.0)
    side_1 = tl.load(sheets + sheet * 6 + 1, mask=known, other=0.0)
    k_0 = tl.load(sheets + sheet * 6 + 2, mask=known, other=0.0)
    k_1 = tl.load(sheets + sheet * 6 + 3, mask=known, other=0.0)
    rise_0 = tl.load(sheets + sheet * 6 + 4, mask=known, other=0.0)
    rise_1 = tl.load(sheets + sheet * 6 + 5, mask=known, other=0.0)
    n_side = tl.where(along_i, n_j, n_i)
    middle = (tl.where(along_i, n_i, n_j) - 1) * 0.5
    stride_main = tl.where(along_i, n_j * n_k, n_k)
    stride_side = tl.where(along_i, n_k, n_j * n_k)
    from_middle = row - (n_rows - 1) * 0.5
    total = tl.zeros((block_sheets, block_rows), dtype=tl.float32)
    for plane in range(tl.min(first, axis=0), tl.max(stop, axis=0)):
        t = plane - middle
        position = side_0 + side_1 * t
        below = tl.floor(position)
        upper = (position - below)[:, None]
        side = below.to(tl.int32)
        active = (plane >= first) & (plane < stop)
        low = (active & (side >= 0) & (side < n_side))[:, None]
        high = (active & (side >= -1) & (side < n_side - 1))[:, None]
        z = (k_0 + k_1 * t)[:, None] + (rise_0 + rise_1 * t)[:, None] * from_middle[None, :]
        floor_z = tl.floor(z)
        fraction = z - floor_z
        k = floor_z.to(tl.int32)
        here = (k >= 0) & (k < n_k)
        above = (k >= -1) & (k < n_k - 1)
        address = volume + (plane * stride_main + side * stride_side)[:, None] + k
        beside = address + stride_side[:, None]
        value_0 = tl.load(address, mask=low & here, other=0.0) * (1.0 - upper)
        value_0 += tl.load(beside, mask=high & here, other=0.0) * upper
        value_1 = tl.load(address + 1, mask=low & above, other=0.0) * (1.0 - upper)
        value_1 += tl.load(beside + 1, mask=high & above, other=0.0) * upper
        total += value_0 + fraction * (value_1 - value_0)
    pixel = sheet.to(tl.int64)[:, None] * n_rows + row[None, :]
    written = known[:, None] & (row < n_rows)[None, :]
    square_0 = tl.load(lengths + sheet * 3, mask=known, other=0.0)[:, None]
    square_1 = tl.load(lengths + sheet * 3 + 1, mask=known, other=0.0)[:, None]
    square_2 = tl.load(lengths + sheet * 3 + 2, mask=known, other=0.0)[:, None]
    r = from_middle[None, :]
    length = tl.sqrt(tl.maximum(square_0 + (square_1 + square_2 * r) * r, 0.0))
    tl.store(out + pixel, total * length, mask=written)


@triton.jit
def _adjoint(
    weighted,
    sheets,
    spans,
    inverse,
    out,
    n_i,
    n_j,
    n_k,
    n_views,
    n_columns,
    n_rows,
    margin: tl.constexpr,
    block_pairs: tl.constexpr,
    block_k: tl.constexpr,
):
    """Gather a tile of voxels: lines along k over some (i, j), from all rays that touch them."""
    pair = tl.program_id(0) * block_pairs + tl.arange(0, block_pairs)
    k = tl.program_id(1) * block_k + tl.arange(0, block_k)
    exists = pair < n_i * n_j
    i = pair // n_j
    j = pair % n_j
    x = i - (n_i - 1) * 0.5
    y = j - (n_j - 1) * 0.5
    middle_row = (n_rows - 1) * 0.5
    total = tl.zeros((block_pairs, block_k), dtype=tl.float32)
    for view in range(n_views):
        a_0 = tl.load(inverse + view * 6)
        a_x = tl.load(inverse + view * 6 + 1)
        a_y = tl.load(inverse + view * 6 + 2)
        b_0 = tl.load(inverse + view * 6 + 3)
        b_x = tl.load(inverse + view * 6 + 4)
        b_y = tl.load(inverse + view * 6 + 5)
        # A ray that follows i touches the voxel between j - 1 and j + 1, one along j likewise.
        upper = a_0 + a_x * x + a_y * y
        lower = b_0 + b_x * x + b_y * y
        c_1 = (upper - a_x) / (lower - b_x)
        c_2 = (upper + a_x) / (lower + b_x)
        c_3 = (upper - a_y) / (lower - b_y)
        c_4 = (upper + a_y) / (lower + b_y)
        least = tl.minimum(tl.minimum(c_1, c_2), tl.minimum(c_3, c_4))
        most = tl.maximum(tl.maximum(c_1, c_2), tl.maximum(c_3, c_4))
        middle_column = (n_columns - 1) * 0.5
        least = tl.minimum(tl.maximum(tl.ceil(least + middle_column - margin), 0.0), n_columns)
        most = tl.minimum(tl.maximum(tl.floor(most + middle_column + margin), -1.0), n_columns - 1)
        begin = least.to(tl.int32)
        count = tl.where(exists, most.to(tl.int32) - begin + 1, 0)
        for number in range(tl.max(count, axis=0)):
            column = begin + number
            inside = number < count
            sheet = view * n_columns + column
            along_i = tl.load(spans + sheet * 3 + 2, mask=inside, other=1) != 0
            plane = tl.where(along_i, i, j)
            across = tl.where(along_i, j, i)
            t = tl.where(along_i, x, y)
            side_0 = tl.load(sheets + sheet * 6, mask=inside, other=0.0)
            side_1 = tl.load(sheets + sheet * 6 + 1, mask=inside, other=0.0)
            share = tl.maximum(1.0 - tl.abs(side_0 + side_1 * t - across), 0.0)
            inside = inside & (share > 0.0)
            inside = inside & (plane >= tl.load(spans + sheet * 3, mask=inside, other=0))
            inside = inside & (plane < tl.load(spans + sheet * 3 + 1, mask=inside, other=0))
            start = tl.load(sheets + sheet * 6 + 2, mask=inside, other=0.0)
            start += tl.load(sheets + sheet * 6 + 3, mask=inside, other=0.0) * t
            rise = tl.load(sheets + sheet * 6 + 4, mask=inside, other=1.0)
            rise += tl.load(sheets + sheet * 6 + 5, mask=inside, other=0.0) * t
            steps = 1.0 / tl.abs(rise)
            centre = (k[None, :] - start[:, None]) / rise[:, None] + middle_row
            lowest = tl.ceil(centre - steps[:, None])
            row_0 = tl.minimum(tl.maximum(lowest, 0.0), n_rows).to(tl.int32)
            reach = tl.minimum(tl.floor(2.0 * steps) + 1.0, n_rows).to(tl.int32)
            pixels = sheet.to(tl.int64)[:, None] * n_rows
            line = tl.zeros((block_pairs, block_k), dtype=tl.float32)
            for ahead in range(tl.max(tl.where(inside, reach, 0), axis=0)):
                row = row_0 + ahead
                z = start[:, None] + rise[:, None] * (row - middle_row)
                hat = tl.maximum(1.0 - tl.abs(z - k[None, :]), 0.0)
                wanted = inside[:, None] & (row < n_rows) & (hat > 0.0)
                line += hat * tl.load(weighted + pixels + row, mask=wanted, other=0.0)
            total += share[:, None] * line
    voxel = pair.to(tl.int64)[:, None] * n_k + k[None, :]
    tl.store(out + voxel, total, mask=exists[:, None] & (k < n_k)[None, :])


@triton.jit
def _primal_at(b, dual, weight, at, i, j, k, n_1, n_2, n, wanted):
    """Compute ``max(b - w D^T dual, 0)``; a dual that points out of the grid is zero itself."""
    total = tl.load(dual + at, mask=wanted, other=0.0)
    total += tl.load(dual + n + at, mask=wanted, other=0.0)
    total += tl.load(dual + 2 * n + at, mask=wanted, other=0.0)
    total -= tl.load(dual + at - n_1 * n_2, mask=wanted & (i > 0), other=0.0)
    total -= tl.load(dual + n + at - n_2, mask=wanted & (j > 0), other=0.0)
    total -= tl.load(dual + 2 * n + at - 1, mask=wanted & (k > 0), other=0.0)
    return tl.maximum(tl.load(b + at, mask=wanted, other=0.0) - weight * total, 0.0)


@triton.jit
def _dual_step(
    b,
    dual,
    ahead,
    following,
    weight,
    step,
    beta,
    n_0,
    n_1,
    n_2,
    block: tl.constexpr,
):
    """Primal image, gradient, projection on the unit ball and extrapolation in one pass.

    A voxel's number fits 32 bits, whose divisions are fast; its place in the dual may not.
    """
    n = tl.cast(n_0, tl.int64) * n_1 * n_2
    at = tl.program_id(0) * block + tl.arange(0, block)
    known = at < n_0 * n_1 * n_2
    k = at % n_2
    j = (at // n_2) % n_1
    i = at // (n_1 * n_2)
    x = _primal_at(b, ahead, weight, at, i, j, k, n_1, n_2, n, known)
    more_i = known & (i < n_0 - 1)
    more_j = known & (j < n_1 - 1)
    more_k = known & (k < n_2 - 1)
    x_i = _primal_at(b, ahead, weight, at + n_1 * n_2, i + 1, j, k, n_1, n_2, n, more_i)
    x_j = _primal_at(b, ahead, weight, at + n_2, i, j + 1, k, n_1, n_2, n, more_j)
    x_k = _primal_at(b, ahead, weight, at + 1, i, j, k + 1, n_1, n_2, n, more_k)
    q_0 = tl.load(ahead + at, mask=known, other=0.0) + tl.where(more_i, step * (x - x_i), 0.0)
    q_1 = tl.load(ahead + n + at, mask=known, other=0.0) + tl.where(more_j, step * (x - x_j), 0.0)
    q_2 = tl.load(ahead + 2 * n + at, mask=known, other=0.0)
    q_2 += tl.where(more_k, step * (x - x_k), 0.0)
    scale = 1.0 / tl.maximum(tl.sqrt(q_0 * q_0 + q_1 * q_1 + q_2 * q_2), 1.0)
    q_0 *= scale
    q_1 *= scale
    q_2 *= scale
    p_0 = tl.load(dual + at, mask=known, other=0.0)
    p_1 = tl.load(dual + n + at, mask=known, other=0.0)
    p_2 = tl.load(dual + 2 * n + at, mask=known, other=0.0)
    tl.store(following + at, q_0 + beta * (q_0 - p_0), mask=known)
    tl.store(following + n + at, q_1 + beta * (q_1 - p_1), mask=known)
    tl.store(following + 2 * n + at, q_2 + beta * (q_2 - p_2), mask=known)
    tl.store(dual + at, q_0, mask=known)
    tl.store(dual + n + at, q_1, mask=known)
    tl.store(dual + 2 * n + at, q_2, mask=known)


@triton.jit
def _primal(b, dual, out, weight, n_0, n_1, n_2, block: tl.constexpr):
    """Compute the primal image of a dual."""
    n = tl.cast(n_0, tl.int64) * n_1 * n_2
    at = tl.program_id(0) * block + tl.arange(0, block)
    known = at < n_0 * n_1 * n_2
    k = at % n_2
    j = (at // n_2) % n_1
    i = at // (n_1 * n_2)
    x = _primal_at(b, dual, weight, at, i, j, k, n_1, n_2, n, known)
    tl.store(out + at, x, mask=known)


def forward(volume: Tensor, *, sheets: Tensor, spans: Tensor, lengths: Tensor, out: Tensor) -> None:
    """Project a volume where detector rows run along k.

    Parameters
    ----------
    volume : Tensor, shape (i, j, k), float32
        Contiguous.
    sheets, spans, lengths : Tensor
        See :class:`~NASAM3DLib.reconstruct.ray_tables.ColumnTables`.
    out : Tensor, shape (n_views, n_columns, n_rows), float32
        Contiguous; filled.
    """
    n_views, n_columns, n_rows = out.shape
    n_sheets = n_views * n_columns
    grid = (triton.cdiv(n_sheets, SHEETS), triton.cdiv(n_rows, ROWS))
    _forward[grid](
        volume, sheets, spans, lengths, out, *volume.shape, n_sheets, n_rows, SHEETS, ROWS
    )


def adjoint(
    weighted: Tensor, *, sheets: Tensor, spans: Tensor, inverse: Tensor, out: Tensor
) -> None:
    """Apply the exact transpose of :func:`forward`.

    Parameters
    ----------
    weighted : Tensor, shape (n_views, n_columns, n_rows), float32
        Projections times their lengths in mm per plane, contiguous.
    sheets, spans, inverse : Tensor
        See :class:`~NASAM3DLib.reconstruct.ray_tables.ColumnTables`; ``in_front`` must hold.
    out : Tensor, shape (i, j, k), float32
        Contiguous; filled.
    """
    n_i, n_j, n_k = out.shape
    grid = (triton.cdiv(n_i * n_j, PAIRS), triton.cdiv(n_k, LINE))
    _adjoint[grid](
        weighted, sheets, spans, inverse, out, n_i, n_j, n_k, *weighted.shape, MARGIN, PAIRS, LINE
    )


def dual_step(
    b: Tensor, settings: tuple[float, float, float], *, dual: Tensor, ahead: Tensor, out: Tensor
) -> None:
    """Do one projected gradient step on the dual of total-variation denoising.

    Parameters
    ----------
    b : Tensor, shape (n_0, n_1, n_2), float32
        Image.
    settings : tuple of float
        Weight of total variation, dual step over weight, and extrapolation factor.
    dual : Tensor, shape (3, n_0, n_1, n_2), float32
        Changed in place; must not be ``ahead``.
    ahead, out : Tensor, shape (3, n_0, n_1, n_2), float32
        Extrapolated dual before and after; two different tensors.
    """
    _dual_step[(triton.cdiv(b.numel(), VOXELS),)](b, dual, ahead, out, *settings, *b.shape, VOXELS)


def primal(b: Tensor, weight: float, *, dual: Tensor, out: Tensor) -> None:
    """Compute the primal image of a dual.

    Parameters
    ----------
    b : Tensor, shape (n_0, n_1, n_2), float32
        Image.
    weight : float
        Weight of total variation.
    dual : Tensor, shape (3, n_0, n_1, n_2), float32
        Dual.
    out : Tensor, shape (n_0, n_1, n_2), float32
        Filled.
    """
    _primal[(triton.cdiv(b.numel(), VOXELS),)](b, dual, out, weight, *b.shape, VOXELS)
