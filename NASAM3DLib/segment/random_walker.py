"""Random walker with a prior: a smooth labelling that bends at edges and keeps to the clicks."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from NASAM3DLib.segment.components import bounding_box

FloatArray = npt.NDArray[np.float32]
Conductances = tuple[FloatArray, FloatArray, FloatArray]
Fields = tuple[FloatArray, FloatArray, FloatArray]

FREE = -1
"""Seed value of a voxel whose label is sought; 1 and 0 are object and background."""

MIN_CONDUCTANCE = 1e-5
MAX_ITERATIONS = 1000


def edge_conductances(
    feature: FloatArray, *, beta: float, relative_spacing: npt.ArrayLike = (1.0, 1.0, 1.0)
) -> Conductances:
    """Weigh the edges between neighbouring voxels.

    Parameters
    ----------
    feature : ndarray, shape (k, j, i), float32
        Image in which object and background differ, dimensionless.
    beta : float
        How much a difference of the feature weakens an edge.
    relative_spacing : array_like, shape (3,), float64
        Voxel spacing along k, j, i in units of the length at which weights are stated.

    Returns
    -------
    tuple of ndarray, shape (k, j, i), float32
        Element a holds, at voxel x, the weight of the edge from x to its next voxel along axis a;
        zero on the last layer.

    Notes
    -----
    ``w = (exp(-beta (u_x - u_y)^2) + 1e-5) / h^2`` with the relative spacing h: the finite
    differences of the integral of the squared gradient, so that a grid's anisotropy does not favour
    an axis.
    """
    weights = []
    for axis, spacing in enumerate(np.asarray(relative_spacing, dtype=np.float64)):
        difference = np.diff(feature, axis=axis)
        weight = (np.exp(-beta * difference * difference) + MIN_CONDUCTANCE) / spacing**2
        padding = [(0, int(a == axis)) for a in range(feature.ndim)]
        weights.append(np.pad(weight.astype(np.float32), padding))
    return weights[0], weights[1], weights[2]


def random_walker(
    conductances: Conductances,
    seeds: npt.NDArray[np.int8],
    *,
    prior: FloatArray,
    prior_weight: float | FloatArray,
    tolerance: float = 2e-3,
) -> FloatArray:
    """Solve for the probability that each voxel belongs to the object.

    Parameters
    ----------
    conductances : tuple of ndarray, shape (k, j, i), float32
        Edge weights of :func:`edge_conductances`.
    seeds : ndarray, shape (k, j, i), int8
        1 where the object is fixed, 0 where the background is, -1 elsewhere.
    prior : ndarray, shape (k, j, i), float32
        Probability expected of each voxel before the edges speak, in [0, 1]; also where the
        iteration starts.
    prior_weight : float or ndarray, shape (k, j, i), float32
        Strength of the prior; 0 gives the plain random walker, which needs seeds of both kinds.
    tolerance : float
        The iteration ends when the preconditioned residual has shrunk by this factor.

    Returns
    -------
    ndarray, shape (k, j, i), float32
        Probabilities; exactly 0 and 1 at the seeds.

    Raises
    ------
    ValueError
        If shapes disagree or, without a prior, a kind of seed is missing.

    Notes
    -----
    ``x = argmin sum_edges w_ij (x_i - x_j)^2 + sum_i gamma_i (x_i - a_i)^2`` with x fixed at the
    seeds, a the prior and gamma its weight. The normal equations are symmetric and positive; they
    are solved by conjugate gradients with the diagonal as preconditioner and without a matrix.

    References
    ----------
    Grady, "Random walks for image segmentation", IEEE TPAMI 28 (2006), and "Multilabel random
    walker image segmentation using prior models", CVPR 2005.
    """
    gamma = np.broadcast_to(np.asarray(prior_weight, dtype=np.float32), seeds.shape)
    _check(conductances, seeds, prior, gamma)
    free = seeds == FREE
    solution = np.where(free, prior, seeds).astype(np.float32)
    if not free.any():
        return solution
    # Only the box of the free voxels takes part, with the fixed ones beside it.
    lower, upper = bounding_box(free)
    box = tuple(slice(max(a - 1, 0), b + 2) for a, b in zip(lower, upper, strict=True))
    fields = (*conductances, solution, prior, gamma, free)
    # One layer of padding with zero weight, so that every voxel has six neighbours in memory.
    padded = [np.pad(field[box].astype(np.float32), 1) for field in fields]
    _solve(
        (padded[0], padded[1], padded[2]), (padded[3], padded[4], padded[5]), padded[6], tolerance
    )
    inner = padded[3][1:-1, 1:-1, 1:-1]
    solution[box] = np.where(free[box], np.clip(inner, 0, 1), solution[box])
    return solution


def _check(
    conductances: Conductances,
    seeds: npt.NDArray[np.int8],
    prior: FloatArray,
    gamma: FloatArray,
) -> None:
    """Refuse arrays of different shapes and problems without a unique solution."""
    shapes = {array.shape for array in (*conductances, seeds, prior)}
    if len(shapes) != 1:
        raise ValueError(f"All arrays of the random walker must have one shape, got {shapes}.")
    if not gamma.any():
        missing = [name for value, name in ((1, "object"), (0, "background")) if value not in seeds]
        if missing:
            raise ValueError(
                f"The random walker without a prior needs seeds of both kinds, missing: {missing}. "
                "Add seeds or give the prior a weight."
            )


@numba.njit(cache=True, fastmath=True)
def _multiply(weights: Conductances, diagonal: FloatArray, x: FloatArray, y: FloatArray) -> float:
    """Apply the system matrix to x inside the padding, write it to y and give <x, y>."""
    along_k, along_j, along_i = weights
    total = 0.0
    for k in range(1, x.shape[0] - 1):
        for j in range(1, x.shape[1] - 1):
            # Views of single rows: the compiler then works on several voxels at a time.
            row, out = x[k, j], y[k, j]
            above, below = x[k + 1, j], x[k - 1, j]
            behind, before = x[k, j + 1], x[k, j - 1]
            w_above, w_below = along_k[k, j], along_k[k - 1, j]
            w_behind, w_before = along_j[k, j], along_j[k, j - 1]
            w_row, d_row = along_i[k, j], diagonal[k, j]
            part = np.float32(0)
            for i in range(1, row.size - 1):
                value = d_row[i] * row[i] - w_row[i] * row[i + 1] - w_row[i - 1] * row[i - 1]
                value -= w_above[i] * above[i] + w_below[i] * below[i]
                value -= w_behind[i] * behind[i] + w_before[i] * before[i]
                out[i] = value
                part += value * row[i]
            total += float(part)
    return total


@numba.njit(cache=True, fastmath=True)
def _diagonal(weights: Conductances, gamma: FloatArray) -> FloatArray:
    """Add up the weights of the edges of each voxel, and its prior."""
    along_k, along_j, along_i = weights
    diagonal = np.ones_like(gamma)
    for k in range(1, gamma.shape[0] - 1):
        for j in range(1, gamma.shape[1] - 1):
            for i in range(1, gamma.shape[2] - 1):
                degree = along_k[k, j, i] + along_j[k, j, i] + along_i[k, j, i]
                degree += along_k[k - 1, j, i] + along_j[k, j - 1, i] + along_i[k, j, i - 1]
                diagonal[k, j, i] = max(degree + gamma[k, j, i], np.float32(1e-12))
    return diagonal


@numba.njit(cache=True, fastmath=True)
def _solve(weights: Conductances, fields: Fields, free: FloatArray, tolerance: float) -> int:
    """Run conjugate gradients on the free voxels of the solution in place; give the iterations."""
    solution, prior, gamma = fields
    diagonal = _diagonal(weights, gamma)
    # Zero at the fixed voxels, which keeps them out of every direction and every sum.
    inverse = (free / diagonal).ravel()
    product = np.zeros_like(solution)
    _multiply(weights, diagonal, solution, product)
    residual = (gamma * prior - product).ravel()
    direction = (inverse * residual).reshape(solution.shape)
    energy = _energy(residual, inverse)
    goal = energy * tolerance * tolerance
    x, p, q = solution.ravel(), direction.ravel(), product.ravel()
    for iteration in range(MAX_ITERATIONS):
        if energy <= goal:
            return iteration
        curvature = _multiply(weights, diagonal, direction, product)
        if curvature <= 0:
            return iteration
        step = np.float32(energy / curvature)
        for n in range(x.size):
            x[n] += step * p[n]
            residual[n] -= step * q[n]
        previous, energy = energy, _energy(residual, inverse)
        ratio = np.float32(energy / previous)
        for n in range(x.size):
            p[n] = inverse[n] * residual[n] + ratio * p[n]
    return MAX_ITERATIONS


@numba.njit(cache=True, fastmath=True)
def _energy(residual: FloatArray, inverse: FloatArray) -> float:
    """Square the preconditioned residual."""
    total = 0.0
    for n in range(residual.size):
        total += residual[n] * residual[n] * inverse[n]
    return total
