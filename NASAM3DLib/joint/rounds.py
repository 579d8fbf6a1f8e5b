"""Rounds of reconstruction, guided by the mask, and segmentation, with the same clicks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from NASAM3DLib.joint.cutting import cut_at_edges
from NASAM3DLib.joint.directional import Course, GuidedProblem, Int8Array, no_guide
from NASAM3DLib.joint.guide import guide_of
from NASAM3DLib.joint.settings import JointSettings
from NASAM3DLib.progress import ProgressCallback, no_progress, sub_progress
from NASAM3DLib.reconstruct.iterative import IterationState
from NASAM3DLib.reconstruct.refine import RefinementPlan, cell_means, fine_grid
from NASAM3DLib.reconstruct.settings import Phase
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.projections import ProjectionSet
from NASAM3DLib.segment.mask import Mask
from NASAM3DLib.segment.prompts import Prompts
from NASAM3DLib.segment.segmenter import make_segmenter

Float32Array = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

FINE_WEIGHT = 0.85
"""Weight of the fine volume in the mean with the volume from before, between the rounds."""

SWEEPS_SHARE = 0.5
"""Sweeps of a round, relative to those of the plan: momentum is kept, and there are several."""


@dataclass(frozen=True, eq=False)
class Clicks:
    """What the user wants: an object, shown by points.

    Parameters
    ----------
    prompts : Prompts
        The same in every round.
    settings : JointSettings
        Engine, its choices, rounds and tolerance.
    """

    prompts: Prompts
    settings: JointSettings = field(default_factory=JointSettings)

    def segment(self, volume: Volume) -> tuple[Mask, Float32Array]:
        """Segment a volume.

        Parameters
        ----------
        volume : Volume
            Attenuation.

        Returns
        -------
        mask : Mask
            The object.
        soft_mask : ndarray, shape (k, j, i), float32
            Its probability.
        """
        segmenter = make_segmenter(self.settings.engine, self.settings.segmentation)
        segmenter.set_volume(volume)
        mask = segmenter.predict(self.prompts)
        soft = segmenter.last_probability()
        return mask, np.asarray(mask.array if soft is None else soft, dtype=np.float32)


@dataclass(eq=False)
class Position:
    """Where the rounds are.

    Parameters
    ----------
    state : IterationState
        State of the iteration on the fine lattice.
    guide : ndarray, shape (3, 2 i, 2 j, 2 k), int8
        Guide of the round that comes or runs.
    mask : ndarray, shape (k, j, i), bool
        The mask before it.
    n_rounds : int
        Rounds done.
    """

    state: IterationState
    guide: Int8Array
    mask: BoolArray
    n_rounds: int = 0


class Rounds:
    """The alternation on one scan.

    Parameters
    ----------
    projection_set : ProjectionSet
        Views to reconstruct from.
    start : Volume
        Attenuation on the wanted voxels, from before.
    plan : RefinementPlan
        How far the noise lets one go.
    clicks : Clicks
        The object.
    strength : float
        Strength of total variation of the volume from before.
    """

    def __init__(
        self,
        projection_set: ProjectionSet,
        start: Volume,
        plan: RefinementPlan,
        *,
        clicks: Clicks,
        strength: float,
    ) -> None:
        self.start, self.clicks, self.plan = start, clicks, plan
        grid = fine_grid(start.grid)
        self.problem = GuidedProblem(projection_set, grid, n_rays=plan.n_rays)
        phases = tuple(
            Phase(phase.views_per_subset, max(1, round(phase.n_sweeps * SWEEPS_SHARE)))
            for phase in plan.phases
        )
        self.course = Course(strength * plan.strength_factor, phases)

    def begin(self, mask: BoolArray) -> Position:
        """Give the position before the first round.

        Parameters
        ----------
        mask : ndarray, shape (k, j, i), bool
            The object in the volume from before.

        Returns
        -------
        Position
        """
        state = IterationState.starting(self.problem.grid)
        state.volume[...] = cut_at_edges(self.start.array)
        state.ahead[...] = state.volume
        return Position(state, no_guide(state.volume.shape), mask)

    def volume(self, position: Position) -> Volume:
        """Give the volume on the wanted voxels that is segmented and judged.

        Parameters
        ----------
        position : Position
            Where the rounds are.

        Returns
        -------
        Volume
            ``0.85 mean(fine) + 0.15 before``, 1/mm.
        """
        return self._mixed(position, FINE_WEIGHT)

    def result(self, position: Position) -> Volume:
        """Give the volume on the wanted voxels that is returned.

        Parameters
        ----------
        position : Position
            Where the rounds are.

        Returns
        -------
        Volume
            ``w mean(fine) + (1 - w) before``, 1/mm, with w the weight of the plan.

        Notes
        -----
        w is 0.85 without noise and 0.45 where all is noise, as in the quality "best"
        (:class:`~NASAM3DLib.reconstruct.refine.RefinementPlan`): the errors of both volumes differ,
        so that their mean is better than either, and loses less where the rounds have lost. The
        segmentation gains more from the surfaces of the fine volume than it loses by its noise.
        """
        return self._mixed(position, self.plan.weight)

    def _mixed(self, position: Position, weight: float) -> Volume:
        """Average the fine volume with the one from before."""
        share = np.float32(weight)
        means = cell_means(position.state.volume.T)
        array = share * means + (1 - share) * self.start.array
        return Volume(np.ascontiguousarray(array, dtype=np.float32), self.start.grid)

    def run(
        self,
        position: Position,
        *,
        on_step: Callable[[], None] = lambda: None,
        progress: ProgressCallback = no_progress,
    ) -> tuple[Volume, Mask]:
        """Do the round that is next, or what is left of it.

        Parameters
        ----------
        position : Position
            Changed in place.
        on_step : callable
            Called after every step of the reconstruction.
        progress : callable
            Called before every fraction of a second of work.

        Returns
        -------
        volume : Volume
            After the round.
        mask : Mask
            The object in it.
        """
        state = position.state
        self.problem.solve(
            self.course,
            position.guide,
            state=state,
            on_step=on_step,
            progress=sub_progress(progress, 0.0, 0.95),
        )
        volume = self.volume(position)
        progress("segmenting again", 0.95)
        mask, soft_mask = self.clicks.segment(volume)
        uncertainty = self.start.uncertainty
        position.guide = guide_of(state.volume, soft_mask, uncertainty=uncertainty)
        position.mask, position.n_rounds = mask.array, position.n_rounds + 1
        state.n_steps = 0
        return volume, mask


def mask_change(mask: BoolArray, before: BoolArray) -> float:
    """Measure how much a mask has changed.

    Parameters
    ----------
    mask, before : ndarray, bool
        Two masks.

    Returns
    -------
    float
        One minus their Dice overlap; 0 if both are empty.
    """
    total = np.count_nonzero(mask) + np.count_nonzero(before)
    return 1 - 2 * np.count_nonzero(mask & before) / total if total else 0.0


def guarded(volume: Volume, grid: VolumeGrid) -> Volume:
    """Put a volume on a grid with some voxels more around it.

    Parameters
    ----------
    volume : Volume
        Wanted voxels.
    grid : VolumeGrid
        The same voxels and some more on each side.

    Returns
    -------
    Volume
        The outermost values continued; itself if nothing is around it.
    """
    first = np.rint(grid.to_ijk(volume.grid.to_ras((0.0, 0.0, 0.0)))).astype(int)[::-1]
    after = np.array(grid.shape_kji) - volume.grid.shape_kji - first
    widths = [(int(a), int(b)) for a, b in zip(first, after, strict=True)]
    spread = volume.uncertainty
    return Volume(
        np.pad(volume.array, widths, mode="edge"),
        grid,
        volume.quantity,
        None if spread is None else np.pad(spread, widths, mode="edge"),
    )
