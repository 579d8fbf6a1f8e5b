"""Total variation that lets values change across a given surface, and the problem it makes.

References
----------
.. [1] M. J. Ehrhardt, M. M. Betcke, "Multicontrast MRI reconstruction with structure-guided total
   variation", SIAM J. Imaging Sci. 9(3), 2016, section 3.
.. [2] A. Beck, M. Teboulle, "Fast gradient-based algorithms for constrained total variation image
   denoising and deblurring problems", IEEE Trans. Image Process. 18(11), 2009.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from NASAM3DLib.joint import kernels
from NASAM3DLib.progress import ProgressCallback, no_progress, sub_progress
from NASAM3DLib.reconstruct.footprint import FootprintProjector
from NASAM3DLib.reconstruct.iterative import GOLDEN, IterationState, TotalVariationProblem
from NASAM3DLib.reconstruct.projector import Projector
from NASAM3DLib.reconstruct.settings import Phase
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.projections import ProjectionSet

Float32Array = npt.NDArray[np.float32]
Int8Array = npt.NDArray[np.int8]
Int16Array = npt.NDArray[np.int16]

INNER_ITERATIONS = 3
DUAL_STEP = 1.0 / 12.0
"""1 / ||D D^T||; the guide's projection does not lengthen."""

ITERATING = "refining with the mask"


def as_guide(vectors: npt.ArrayLike) -> Int8Array:
    """Store a guide in the form that the kernels take.

    Parameters
    ----------
    vectors : array_like, shape (3, i, j, k)
        xi, at most one long.

    Returns
    -------
    ndarray, shape (3, i, j, k), int8
        In steps of 1/127, rounded towards zero.

    Raises
    ------
    ValueError
        If a vector is longer than one.
    """
    xi = np.asarray(vectors, dtype=np.float32)
    longest = float(np.sqrt(np.square(xi).sum(axis=0).max(initial=0.0)))
    if not longest <= 1 + 1e-6:
        raise ValueError(f"The vectors of a guide must be at most one long, got {longest:.3g}.")
    return np.asarray(np.trunc(xi * kernels.GUIDE_UNIT), dtype=np.int8)


def no_guide(shape: tuple[int, ...]) -> Int8Array:
    """Give the guide with which directional total variation is the usual one.

    Parameters
    ----------
    shape : tuple of int
        Voxels (i, j, k).

    Returns
    -------
    ndarray, shape (3, i, j, k), int8
    """
    return np.zeros((3, *shape), dtype=np.int8)


def directional_variation(array: npt.ArrayLike, guide: Int8Array) -> float:
    """Measure how much an image changes along the guide's surfaces.

    Parameters
    ----------
    array : array_like, shape (i, j, k)
        Image.
    guide : ndarray, shape (3, i, j, k), int8
        As :func:`as_guide` gives it.

    Returns
    -------
    float
        ``sum over voxels of |P D x|`` with ``P = 1 - xi xi^T``.
    """
    x = np.asarray(array, dtype=np.float64)
    steps = np.stack([-np.diff(x, axis=a, append=np.take(x, [-1], axis=a)) for a in range(3)])
    xi = guide / np.float64(kernels.GUIDE_UNIT)
    steps -= xi * (xi * steps).sum(axis=0)
    return float(np.sqrt(np.square(steps).sum(axis=0)).sum())


class DirectionalProx:
    """Warm-started solver of ``1/2 ||x - b||^2 + w sum |P D x|`` over ``x >= 0``.

    Parameters
    ----------
    dual : ndarray, shape (3, i, j, k), int16
        The dual q, times 32767, changed in place.
    guide : ndarray, shape (3, i, j, k), int8
        xi, as :func:`as_guide` gives it.

    Notes
    -----
    D takes forward differences and ``P = 1 - xi xi^T`` at each voxel removes of a difference what
    follows xi ([1]_). The dual problem is that of total variation with ``P D`` in place of D and
    is solved by the same fast gradient projection ([2]_)::

        x = max(b - w D^T P q, 0),    q' = q + P D x / (12 w), cut to |q'| <= 1.

    With xi = 0 it is the isotropic total variation.
    """

    def __init__(self, dual: Int16Array, guide: Int8Array) -> None:
        self.dual, self._guide = dual, guide
        self._ahead = np.empty_like(dual)
        self._image = np.empty(dual.shape[1:], dtype=np.float32)

    def apply(
        self, image: Float32Array, weight: float, *, n_iterations: int = INNER_ITERATIONS
    ) -> Float32Array:
        """Denoise an image.

        Parameters
        ----------
        image : ndarray, shape (i, j, k), float32
            The image b, C-contiguous.
        weight : float
            The weight w, in the unit of the image.
        n_iterations : int
            Inner iterations.

        Returns
        -------
        ndarray, shape (i, j, k), float32
            The minimiser up to the inner iterations; overwritten by the next call.

        Raises
        ------
        ValueError
            If the weight is negative.
        """
        if not weight >= 0:
            raise ValueError(f"The weight of total variation must not be negative, got {weight:g}.")
        if weight == 0:
            np.maximum(image, 0, out=self._image)
            return self._image
        momentum = 1.0
        kernels.restart(self.dual, self._ahead)
        for _ in range(n_iterations):
            following = (1 + math.sqrt(1 + 4 * momentum * momentum)) / 2
            per_step = np.float32(weight) / kernels.AHEAD_UNIT
            kernels.primal(image, per_step, self._guide, self._ahead, self._image)
            settings = np.array([DUAL_STEP / weight, (momentum - 1) / following], dtype=np.float32)
            kernels.dual_step(self._image, settings, self._guide, self.dual, self._ahead)
            momentum = following
        per_step = np.float32(weight) / kernels.DUAL_UNIT
        kernels.primal(image, per_step, self._guide, self.dual, self._image)
        return self._image


@dataclass(frozen=True)
class Course:
    """How to iterate.

    Parameters
    ----------
    strength : float
        Relative strength of total variation, as
        :class:`~NASAM3DLib.reconstruct.iterative.TotalVariationProblem` understands it.
    phases : sequence of Phase
        Subset sizes and sweeps.
    """

    strength: float
    phases: Sequence[Phase]


class GuidedProblem:
    """The problem ``min over x >= 0 of 1/2 ||A x - p||_W^2 + w L sum |P D x|``.

    Parameters
    ----------
    projection_set : ProjectionSet
        Line integrals p with their geometry and weights, the diagonal of W.
    grid : VolumeGrid
        Voxels x.
    n_rays : int
        Rays in each pixel; more than one integrate over its width.

    Notes
    -----
    Solved by ordered subsets with Nesterov's momentum, as the total variation of
    :mod:`NASAM3DLib.reconstruct.iterative`, whose scale and state it shares. The momentum may be
    kept when the guide changes: starting it anew half-way cost a decibel on the scan measured.
    """

    def __init__(
        self,
        projection_set: ProjectionSet,
        grid: VolumeGrid,
        *,
        n_rays: int = 1,
    ) -> None:
        self.projection_set, self.grid, self.n_rays = projection_set, grid, n_rays
        usual = TotalVariationProblem(projection_set, grid)
        self.lipschitz, self.mean_attenuation = usual.lipschitz, usual.mean_attenuation

    def energy(self, array: npt.ArrayLike, guide: Int8Array, *, strength: float) -> float:
        """Evaluate what is minimised.

        Parameters
        ----------
        array : array_like, shape (k, j, i)
            Attenuation, 1/mm.
        guide : ndarray, shape (3, i, j, k), int8
            xi.
        strength : float
            Relative strength of total variation.

        Returns
        -------
        float
        """
        volume = np.asarray(array, dtype=np.float32)
        residual = self._projector(np.arange(self.projection_set.n_views)).forward(volume)
        residual -= self.projection_set.projections
        misfit = 0.5 * float(np.sum(self._weighted(residual) * residual, dtype=np.float64))
        weight = strength * self.mean_attenuation * self.lipschitz
        return misfit + weight * directional_variation(volume.transpose(2, 1, 0), guide)

    def solve(
        self,
        course: Course,
        guide: Int8Array,
        *,
        state: IterationState,
        on_step: Callable[[], None] = lambda: None,
        progress: ProgressCallback = no_progress,
    ) -> None:
        """Iterate until the state has done the steps of the course.

        Parameters
        ----------
        course : Course
            Strength and phases.
        guide : ndarray, shape (3, i, j, k), int8
            xi.
        state : IterationState
            Where to go on, changed in place; steps that it has done are not done again.
        on_step : callable
            Called after every step.
        progress : callable
            Called before every fraction of a second of work; may raise, which leaves the state as
            it was before the step.
        """
        weight = course.strength * self.mean_attenuation
        prox = DirectionalProx(state.dual, guide)
        steps = [
            (first, n_subsets)
            for phase in course.phases
            for n_subsets in [max(1, round(self.projection_set.n_views / phase.views_per_subset))]
            for _ in range(phase.sweeps(self.projection_set.n_views))
            for first in np.argsort(np.mod(np.arange(n_subsets) * GOLDEN, 1.0))
        ]
        while state.n_steps < len(steps):
            done = state.n_steps
            part = sub_progress(progress, done / len(steps), (done + 1) / len(steps))
            first, n_subsets = steps[done]
            views = np.arange(first, self.projection_set.n_views, n_subsets)
            self._step(state, prox, weight, views=views, progress=part)
            on_step()
        progress(ITERATING, 1.0)

    def _step(
        self,
        state: IterationState,
        prox: DirectionalProx,
        weight: float,
        *,
        views: npt.NDArray[np.intp],
        progress: ProgressCallback,
    ) -> None:
        """Gradient on a subset, proximal step, extrapolation."""
        projector = self._projector(views)
        part = sub_progress(progress, 0.0, 0.5, stage=ITERATING)
        residual = projector.forward(state.ahead.T, progress=part)
        residual -= self.projection_set.projections[views]
        part = sub_progress(progress, 0.5, 1.0, stage=ITERATING)
        image = projector.adjoint(self._weighted(residual, views), progress=part).T
        image *= np.float32(-self.projection_set.n_views / len(views) / self.lipschitz)
        image += state.ahead
        progress(ITERATING, 1.0)
        state.is_whole = False
        larger = (1 + math.sqrt(1 + 4 * state.momentum * state.momentum)) / 2
        result = prox.apply(image, weight)
        factor = np.float32((state.momentum - 1) / larger)
        kernels.take_over(result, factor, state.volume, state.ahead)
        state.momentum, state.n_steps, state.is_whole = larger, state.n_steps + 1, True

    def _projector(self, views: npt.NDArray[np.intp]) -> Projector | FootprintProjector:
        """Give the projector of some views."""
        geometry = self.projection_set.geometry.select(views)
        if self.n_rays > 1:
            return FootprintProjector(self.grid, geometry, self.n_rays)
        return Projector(self.grid, geometry)

    def _weighted(
        self, residual: Float32Array, views: npt.NDArray[np.intp] | None = None
    ) -> Float32Array:
        """Weigh a residual as the scan says, if it does."""
        weights = self.projection_set.weights
        if weights is None:
            return residual
        return np.asarray(residual * (weights if views is None else weights[views]))
