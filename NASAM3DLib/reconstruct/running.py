"""What happens beside a running reconstruction: previews are shown, checkpoints are saved."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from NASAM3DLib.files import check_writable
from NASAM3DLib.progress import ProgressCallback
from NASAM3DLib.reconstruct.checkpoint import (
    Checkpoint,
    fingerprint,
    load_checkpoint,
    save_checkpoint,
)
from NASAM3DLib.reconstruct.iterative import ITERATING, IterationState
from NASAM3DLib.reconstruct.operator_scale import OperatorScale
from NASAM3DLib.reconstruct.previews import FIRST_LOOK, PreviewCallback, first_look, thinned
from NASAM3DLib.reconstruct.settings import ReconstructionSettings
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.projections import ProjectionSet

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunOptions:
    """What to do while a reconstruction runs.

    Parameters
    ----------
    on_preview : callable, optional
        Called as ``on_preview(volume, stage)`` with a first look and then with what is there so
        far, on at most 128 voxels a side.
    preview_interval_s : float
        Shortest time between two previews, s.
    checkpoint : Path, optional
        File that the state is saved in. If it exists, the run goes on from it; it is removed when
        the volume is complete.
    checkpoint_interval_s : float
        Time between two saves, s. A cancelled run saves once more.

    Raises
    ------
    ValueError
        If a time is negative.
    """

    on_preview: PreviewCallback | None = None
    preview_interval_s: float = 2.0
    checkpoint: Path | None = None
    checkpoint_interval_s: float = 30.0

    def __post_init__(self) -> None:
        for name in ("preview_interval_s", "checkpoint_interval_s"):
            if not getattr(self, name) >= 0:
                raise ValueError(
                    f"RunOptions.{name} must not be negative, got {getattr(self, name)}."
                )


class Watch:
    """Keeps the previews and the checkpoint of one run up to date.

    Parameters
    ----------
    options : RunOptions
        What is wanted.
    projection_set : ProjectionSet
        Line integrals and geometry.
    grid : VolumeGrid
        Voxels.
    settings : ReconstructionSettings
        Method and quality.
    clock : callable
        Gives the time in s.

    Attributes
    ----------
    checkpoint : Checkpoint
        What is known so far; what was saved, where the run goes on.

    Raises
    ------
    ValueError
        If the checkpoint file is damaged or belongs to another reconstruction.
    OSError
        If the checkpoint cannot be written.
    """

    def __init__(
        self,
        options: RunOptions,
        projection_set: ProjectionSet,
        grid: VolumeGrid,
        settings: ReconstructionSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options, self._grid, self._clock = options, grid, clock
        self.checkpoint = Checkpoint({})
        path = options.checkpoint
        if path is not None:
            check_writable(path, force=True)
            mark = fingerprint(projection_set, grid, settings)
            self.checkpoint = load_checkpoint(path, mark) if path.exists() else Checkpoint(mark)
        self._shown_at = -float("inf")
        self._saved_at = clock()

    def show_first_look(self, projection_set: ProjectionSet, progress: ProgressCallback) -> None:
        """Reconstruct a coarse volume and show it, if previews are wanted.

        Parameters
        ----------
        projection_set : ProjectionSet
            Line integrals and geometry.
        progress : callable
            Receives stage and fraction.
        """
        if self._options.on_preview is not None and self.checkpoint.state is None:
            volume = first_look(projection_set, self._grid, progress=progress)
            self._options.on_preview(volume, FIRST_LOOK)
            self._shown_at = self._clock()

    def keep(
        self,
        *,
        choice: Mapping[str, Any] | None = None,
        scale: OperatorScale | None = None,
        state: IterationState | None = None,
        base: npt.NDArray[np.float32] | None = None,
    ) -> None:
        """Remember for the next save; what is not given stays.

        Parameters
        ----------
        choice : mapping of str to object, optional
            Strength of total variation and how it was chosen.
        scale : OperatorScale, optional
            Scale of the problem.
        state : IterationState, optional
            State of the iteration, which changes under the way.
        base : ndarray, shape (k, j, i), float32, optional
            Finished volume that the iteration refines, 1/mm.
        """
        known = self.checkpoint
        self.checkpoint = replace(
            known,
            choice=known.choice if choice is None else choice,
            scale=scale or known.scale,
            state=state or known.state,
            base=known.base if base is None else base,
        )

    def __call__(self, state: IterationState) -> None:
        """Show and save if it is time; called after every step.

        Parameters
        ----------
        state : IterationState
            State of the iteration.
        """
        show = self._options.on_preview
        if show is not None and self._clock() - self._shown_at >= self._options.preview_interval_s:
            shape = state.volume.shape[::-1]
            # The refinement works on smaller voxels of the same box.
            grid = self._grid if shape == self._grid.shape_kji else self._grid.resampled(shape)
            show(thinned(state.volume.T, grid), ITERATING)
            self._shown_at = self._clock()
        if self._clock() - self._saved_at >= self._options.checkpoint_interval_s:
            self.save()

    def save(self) -> None:
        """Save what is known, if that is wanted; not while a step is half done."""
        path, state = self._options.checkpoint, self.checkpoint.state
        if path is None or (state is not None and not state.is_whole):
            return
        save_checkpoint(self.checkpoint, path)
        self._saved_at = self._clock()
        logger.info("Checkpoint saved in %s.", path)

    def finish(self) -> None:
        """Remove the checkpoint, which nobody needs when the volume is there."""
        if self._options.checkpoint is not None:
            self._options.checkpoint.unlink(missing_ok=True)
