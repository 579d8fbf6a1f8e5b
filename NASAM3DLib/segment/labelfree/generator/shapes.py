"""Shapes as implicit functions: power diagrams, ellipsoids, tubes along curves, sheets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from NASAM3DLib.segment.labelfree.generator.draws import Draws

VOXELS_PER_CHUNK = 2**17
"""Voxels compared with all cells or points at a time."""

CURVE_POINTS = 40
"""Points of a tube's centre line."""


@dataclass(frozen=True, eq=False)
class Shape:
    """A shape in a box of the volume.

    Parameters
    ----------
    box : tuple of slice
        Where it lies.
    level : Tensor, shape of the box
        Below 1 inside, growing towards the surface; 0 at the middle.
    """

    box: tuple[slice, slice, slice]
    level: Tensor


def power_diagram(
    draws: Draws, coordinates: Tensor, *, n_cells: int, extent: float
) -> tuple[Tensor, Tensor]:
    """Part the volume into cells around random centres.

    Parameters
    ----------
    draws : Draws
        Random numbers.
    coordinates : Tensor, shape (3, k, j, i)
        Warped coordinates.
    n_cells : int
        Number of cells; some may stay empty.
    extent : float
        Centres are drawn evenly in a cube of twice this edge.

    Returns
    -------
    cells : Tensor, shape (k, j, i), int64
        Number of the cell.
    gap : Tensor, shape (k, j, i)
        Distance to the boundary between two cells, approximately, in coordinates.

    Notes
    -----
    Cell k has the least ``(x - c)' M (x - c) - r^2`` with a metric M of its own, so that its walls
    are quadrics. As polynomials in the nine monomials of x all cells are one matrix product. The
    difference between the least two values, by twice the root of the mean distance, estimates the
    distance to the wall.
    """
    polynomials = np.empty((10, n_cells))
    for cell in range(n_cells):
        root = draws.rotation() * np.exp(draws.rng.normal(0, 0.35, 3))[:, None]
        centre = draws.rng.uniform(-extent, extent, 3)
        offset = -(draws.uniform(0, 0.35) ** 2)
        polynomials[:, cell] = _polynomial(root.T @ root, centre, offset)
    table = draws.tensor(polynomials)
    flat = coordinates.reshape(3, -1)
    cells = torch.empty(flat.shape[1], dtype=torch.int64, device=flat.device)
    gap = torch.empty(flat.shape[1], device=flat.device)
    for begin in range(0, flat.shape[1], VOXELS_PER_CHUNK):
        part = slice(begin, begin + VOXELS_PER_CHUNK)
        values = _monomials(flat[:, part]).T @ table
        least, numbers = values.topk(2, dim=1, largest=False)
        cells[part] = numbers[:, 0]
        # The walls move by half a difference of squares over the distance of the centres.
        scale = 4 * (least.mean(dim=1).clamp_min(0) + 0.05).sqrt()
        gap[part] = (least[:, 1] - least[:, 0]) / scale
    shape = coordinates.shape[1:]
    return cells.view(shape), gap.view(shape)


def ellipsoid(
    draws: Draws, coordinates: Tensor, *, centre: np.ndarray, radius: float, spread: float = 0.3
) -> Shape | None:
    """Make an ellipsoid of random axes.

    Parameters
    ----------
    draws : Draws
        Random numbers.
    coordinates : Tensor, shape (3, k, j, i)
        Warped coordinates.
    centre : ndarray, shape (3,), float64
        Centre, coordinates.
    radius : float
        Typical half axis.
    spread : float
        Standard deviation of the logarithms of the half axes.

    Returns
    -------
    Shape or None
        None if it lies outside.
    """
    axes = radius * np.exp(draws.rng.normal(0, spread, 3))
    root = draws.rotation() / axes[:, None]
    box = _box(draws.edge, centre - axes.max() - 0.4, centre + axes.max() + 0.4)
    if box is None:
        return None
    inside = coordinates[(slice(None), *box)]
    away = inside.reshape(3, -1) - draws.tensor(centre)[:, None]
    level = (draws.tensor(root) @ away).square().sum(dim=0).sqrt()
    return Shape(box, level.view(inside.shape[1:]))


def tube(draws: Draws, coordinates: Tensor, *, centre: np.ndarray, radius: float) -> Shape | None:
    """Make a tube along a winding curve; its radius varies.

    Parameters
    ----------
    draws : Draws
        Random numbers.
    coordinates : Tensor, shape (3, k, j, i)
        Warped coordinates.
    centre : ndarray, shape (3,), float64
        A point of the curve, coordinates.
    radius : float
        Typical radius.

    Returns
    -------
    Shape or None
        None if it lies outside.
    """
    turns = draws.rng.normal(0, draws.uniform(0.1, 0.35), (CURVE_POINTS, 3)).cumsum(axis=0)
    directions = turns + draws.rng.normal(0, 1.2, 3)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    # Points closer than the radius leave no beads.
    curve = (directions * min(draws.uniform(0.02, 0.07), 0.8 * radius)).cumsum(axis=0)
    curve += centre - curve[CURVE_POINTS // 2]
    radii = radius * np.exp(0.25 * np.sin(np.linspace(0, draws.uniform(0, 12), CURVE_POINTS)))
    margin = 1.3 * radius + 0.4
    box = _box(draws.edge, curve.min(axis=0) - margin, curve.max(axis=0) + margin)
    if box is None:
        return None
    inside = coordinates[(slice(None), *box)]
    flat = inside.reshape(3, -1)
    table = draws.tensor(
        np.stack([_polynomial(np.eye(3) / r**2, c) for r, c in zip(radii, curve, strict=True)], 1)
    )
    level = torch.empty(flat.shape[1], device=flat.device)
    for begin in range(0, flat.shape[1], VOXELS_PER_CHUNK):
        part = slice(begin, begin + VOXELS_PER_CHUNK)
        squared = (_monomials(flat[:, part]).T @ table).amin(dim=1)
        level[part] = squared.clamp_min(0).sqrt()
    return Shape(box, level.view(inside.shape[1:]))


def sheet(draws: Draws, coordinates: Tensor, *, centre: np.ndarray, thickness: float) -> Shape:
    """Make a curved sheet, such as a muscle or a wall.

    Parameters
    ----------
    draws : Draws
        Random numbers.
    coordinates : Tensor, shape (3, k, j, i)
        Warped coordinates.
    centre : ndarray, shape (3,), float64
        A point of the sheet, coordinates.
    thickness : float
        Half thickness.

    Returns
    -------
    Shape
    """
    normal = draws.rotation()[0]
    away = coordinates - draws.tensor(centre)[:, None, None, None]
    across = torch.einsum("a,akji->kji", draws.tensor(normal), away).abs() / thickness
    along = away.square().sum(dim=0).sqrt() / draws.uniform(0.4, 1.2)
    whole = slice(0, draws.edge)
    return Shape((whole, whole, whole), torch.maximum(across, along))


def _polynomial(metric: np.ndarray, centre: np.ndarray, offset: float = 0.0) -> np.ndarray:
    """Write ``(x - c)' M (x - c) + offset`` in the monomials of :func:`_monomials`."""
    linear = -2 * metric @ centre
    return np.array(
        [
            *np.diag(metric),
            2 * metric[0, 1],
            2 * metric[0, 2],
            2 * metric[1, 2],
            *linear,
            centre @ metric @ centre + offset,
        ]
    )


def _monomials(flat: Tensor) -> Tensor:
    """List the squares, products, coordinates and 1, shape (10, n)."""
    x, y, z = flat
    return torch.stack([x * x, y * y, z * z, x * y, x * z, y * z, x, y, z, torch.ones_like(x)])


def _box(edge: int, lower: np.ndarray, upper: np.ndarray) -> tuple[slice, slice, slice] | None:
    """Find the voxels between two corners in coordinates from -1 to 1."""
    first = np.clip(np.floor((lower + 1) / 2 * (edge - 1)), 0, edge).astype(int)
    last = np.clip(np.ceil((upper + 1) / 2 * (edge - 1)) + 1, 0, edge).astype(int)
    if (last <= first).any():
        return None
    k, j, i = (slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
    return k, j, i
