"""Held-out views: choosing the strength of total variation, and refereeing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from NASAM3DLib.progress import ProgressCallback, no_progress, sub_progress
from NASAM3DLib.reconstruct.projector import Projector
from NASAM3DLib.reconstruct.settings import Phase
from NASAM3DLib.reconstruct.solvers import Solver, make_problem
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.noise import noise_variance
from NASAM3DLib.scan.projections import ProjectionSet

logger = logging.getLogger(__name__)

DEFAULT_STRENGTH = 1e-3
"""Used where there are too few views to hold any out, and for previews."""

STRENGTHS = tuple(float(s) for s in 0.128 * 0.5 ** np.arange(14))
"""Candidates on the coarse grid, strongest first: 0.128 down to 1.6e-5."""

FIRST_TRY = 8
"""Index of 5e-4, which suits a scan of 50 views with 1e4 to 1e5 photons."""

STAGE = "choosing the strength of total variation"

TUNING_PHASES = (Phase(5, 8),)

PREFER_SMOOTH = 0.016
"""Held-out error by which a stronger candidate may be worse and still win if all of it is noise.

On noisy scans the held-out error is nearly flat below the best strength while the volume gets worse
quickly, so the stronger of two nearly equal candidates is the safer one. Without noise the error
is to be believed.
"""

NOISE_SHARES = (0.2, 0.4)
"""Share of the noise in the square of the held-out error where the preference begins and is full.

Clean scans at half resolution reach 0.19, because their edges look like noise; scans with 1e4
photons have 0.40 to 0.79.
"""

FEWEST_VIEWS = 8
SMALLEST_COARSE_SIDE = 24


@dataclass(frozen=True)
class StrengthChoice:
    """What held-out views said about the strength of total variation.

    Parameters
    ----------
    strength : float
        The choice, for the grid that was asked about.
    candidates : tuple of float
        Strengths tried, for the same grid, strongest first.
    held_out_errors : tuple of float
        Root mean square error of held-out line integrals for each candidate, on the coarse grid.
    held_out_views : tuple of int
        Indices of the views that were held out; empty if nothing could be tried.
    """

    strength: float
    candidates: tuple[float, ...] = ()
    held_out_errors: tuple[float, ...] = ()
    held_out_views: tuple[int, ...] = ()


def held_out_views(n_views: int) -> npt.NDArray[np.intp]:
    """Choose the views to hold out: one in sixteen, at most four, spread unevenly.

    Parameters
    ----------
    n_views : int
        Number of measured views.

    Returns
    -------
    ndarray, shape (n,), intp
        Ascending indices; empty if there are fewer than 8 views.
    """
    if n_views < FEWEST_VIEWS:
        return np.zeros(0, dtype=np.intp)
    n_held_out = int(np.clip(round(n_views / 16), 1, 4))
    # Thirds or quarters of a turn would all be mirror views of each other in a full scan.
    position = (np.arange(n_held_out) + 0.5 + 0.1 * (-1.0) ** np.arange(n_held_out)) / n_held_out
    return np.unique((position * n_views).astype(np.intp))


def held_out_error(array: npt.ArrayLike, grid: VolumeGrid, held_out: ProjectionSet) -> float:
    """Measure how well a volume predicts views that it was not made from.

    Parameters
    ----------
    array : array_like, shape (k, j, i)
        Attenuation, 1/mm.
    grid : VolumeGrid
        Its voxels.
    held_out : ProjectionSet
        The views.

    Returns
    -------
    float
        Root mean square error of the line integrals, with their weights if they have any.
    """
    residual = Projector(grid, held_out.geometry).forward(array)
    residual -= held_out.projections
    return float(np.sqrt(held_out.mean_square(residual)))


def choose_strength(
    projection_set: ProjectionSet,
    grid: VolumeGrid,
    *,
    device: str = "cpu",
    progress: ProgressCallback = no_progress,
) -> StrengthChoice:
    """Choose the strength of total variation from the data.

    Parameters
    ----------
    projection_set : ProjectionSet
        All measured views.
    grid : VolumeGrid
        Grid that the strength is wanted for.
    device : str
        Where to iterate, see :class:`~NASAM3DLib.reconstruct.solvers.Solver`.
    progress : callable
        Receives stage and fraction.

    Returns
    -------
    StrengthChoice

    Notes
    -----
    The candidates are tried at half resolution (voxels and pixels twice as large, an eighth of the
    work or less), walking downhill from a middling one. The functional
    ``1/2 ||A x - p||^2 + W TV(x)`` keeps its balance under that change of resolution when W stays
    the same: pixels get four times fewer and less noisy, differences four times fewer and, per
    edge, as large. With ``W = strength * mean_attenuation * L`` the strength is rescaled by the
    ratio of the two L, which is close to 2.
    """
    views = held_out_views(projection_set.n_views)
    if not views.size:
        logger.info("Fewer than %d views: total variation at its default strength.", FEWEST_VIEWS)
        return StrengthChoice(DEFAULT_STRENGTH)
    coarse_set, coarse_grid = _halved(projection_set, grid)
    training = np.setdiff1d(np.arange(projection_set.n_views), views)
    problem = make_problem(coarse_set.select(training), coarse_grid, Solver(device))
    held_out = coarse_set.select(views)
    errors: dict[int, float] = {}

    def error(number: int) -> float:
        """Try a candidate, once."""
        if number not in errors:
            part = sub_progress(progress, *_share(len(errors)), stage=STAGE)
            volume = problem.solve(STRENGTHS[number], TUNING_PHASES, progress=part)
            errors[number] = held_out_error(volume, coarse_grid, held_out)
        return errors[number]

    noise = noise_variance(coarse_set)
    best = _descend(error, FIRST_TRY, len(STRENGTHS), noise)
    part = sub_progress(progress, 0.9, 1.0, stage=STAGE)
    full = make_problem(projection_set.select(training), grid, Solver(device), progress=part)
    progress(STAGE, 1.0)
    scale = problem.lipschitz * problem.mean_attenuation / (full.lipschitz * full.mean_attenuation)
    logger.info("Total variation strength %.3g from views %s.", STRENGTHS[best] * scale, views)
    tried = sorted(errors)
    return StrengthChoice(
        STRENGTHS[best] * scale,
        tuple(STRENGTHS[n] * scale for n in tried),
        tuple(errors[n] for n in tried),
        tuple(int(v) for v in views),
    )


def _descend(error: Callable[[int], float], first: int, count: int, noise: float) -> int:
    """Walk downhill from the first try; with noise the strongest nearly best candidate wins."""
    lowest, number = error(first), first
    while number + 1 < count and error(number + 1) < lowest:
        number += 1
        lowest = error(number)
    share = noise / lowest**2 if lowest > 0 else 0.0
    preference = PREFER_SMOOTH * float(np.interp(share, NOISE_SHARES, (0.0, 1.0)))
    while number > 0 and error(number - 1) <= lowest * (1 + preference):
        number -= 1
        lowest = min(lowest, error(number))
    return number


def _share(n_tried: int) -> tuple[float, float]:
    """Give the part of the bar of the next candidate; how many there will be is not known."""
    return 0.9 * (1 - 0.8**n_tried), 0.9 * (1 - 0.8 ** (n_tried + 1))


def _halved(projection_set: ProjectionSet, grid: VolumeGrid) -> tuple[ProjectionSet, VolumeGrid]:
    """Give the same scan with pixels and voxels twice as large, unless that gets too coarse."""
    rows, columns = projection_set.geometry.detector_shape
    shape = tuple((n + 1) // 2 for n in grid.shape_kji)
    if min(max(shape), rows // 2, columns // 2) < SMALLEST_COARSE_SIDE:
        return projection_set, grid
    return projection_set.binned(2), grid.resampled(shape)
