"""Random walker with a prior: a smooth labelling that bends at edges and keeps to the clicks."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Conductances = tuple[FloatArray, FloatArray, FloatArray]

FREE = -1
"""Seed value of a voxel whose label is sought; 1 and 0 are object and background."""

MIN_CONDUCTANCE = 1e-5


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
    solution = np.where(seeds == FREE, prior, seeds).astype(np.float32)
    # One layer of padding with zero weight, so that every voxel has six neighbours in memory.
    shape = tuple(n + 2 for n in seeds.shape)
    flat = [
        np.pad(a, 1).ravel() for a in (*conductances, solution, prior.astype(np.float32), gamma)
    ]
    free = np.flatnonzero(np.pad(seeds == FREE, 1)).astype(np.int32)
    _solve(
        (flat[0], flat[1], flat[2]),
        (flat[3], flat[4], flat[5]),
        free,
        np.array([shape[1] * shape[2], shape[2], 1], dtype=np.int32),
        tolerance,
    )
    inner = flat[3].reshape(shape)[1:-1, 1:-1, 1:-1]
    return np.ascontiguousarray(np.clip(inner, 0, 1))


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
def _multiply(
    matrix: tuple[FloatArray, FloatArray, FloatArray, FloatArray],
    free: npt.NDArray[np.int32],
    strides: npt.NDArray[np.int32],
    x: FloatArray,
    y: FloatArray,
) -> float:
    """Apply the system matrix to x at the free voxels, write it to y and give <x, y>."""
    total = 0.0
    along_k, along_j, along_i, diagonal = matrix
    s, t = strides[0], strides[1]
    for n in range(free.size):
        v = free[n]
        value = (
            diagonal[n] * x[v]
            - along_k[v] * x[v + s]
            - along_k[v - s] * x[v - s]
            - along_j[v] * x[v + t]
            - along_j[v - t] * x[v - t]
            - along_i[v] * x[v + 1]
            - along_i[v - 1] * x[v - 1]
        )
        y[n] = value
        total += value * x[v]
    return total


@numba.njit(cache=True, fastmath=True)
def _solve(
    weights: Conductances,
    fields: Conductances,
    free: npt.NDArray[np.int32],
    strides: npt.NDArray[np.int32],
    tolerance: float,
) -> int:
    """Run conjugate gradients on the free voxels of the solution in place; give the iterations."""
    x, prior, gamma = fields
    n_free = free.size
    diagonal = np.empty(n_free, dtype=np.float32)
    for n in range(n_free):
        v = free[n]
        degree = gamma[v]
        for axis in range(3):
            w = weights[axis]
            degree += w[v] + w[v - strides[axis]]
        diagonal[n] = max(degree, np.float32(1e-12))
    matrix = (weights[0], weights[1], weights[2], diagonal)
    product = np.empty(n_free, dtype=np.float32)
    residual = np.empty(n_free, dtype=np.float32)
    direction = np.zeros(x.size, dtype=np.float32)
    _multiply(matrix, free, strides, x, product)
    energy = 0.0
    for n in range(n_free):
        v = free[n]
        residual[n] = gamma[v] * prior[v] - product[n]
        direction[v] = residual[n] / diagonal[n]
        energy += residual[n] * direction[v]
    goal = energy * tolerance * tolerance
    for iteration in range(1000):
        if energy <= goal:
            return iteration
        curvature = _multiply(matrix, free, strides, direction, product)
        if curvature <= 0:
            return iteration
        step = np.float32(energy / curvature)
        previous, energy = energy, 0.0
        for n in range(n_free):
            x[free[n]] += step * direction[free[n]]
            residual[n] -= step * product[n]
            energy += residual[n] * residual[n] / diagonal[n]
        ratio = np.float32(energy / previous)
        for n in range(n_free):
            v = free[n]
            direction[v] = residual[n] / diagonal[n] + ratio * direction[v]
    return 1000
