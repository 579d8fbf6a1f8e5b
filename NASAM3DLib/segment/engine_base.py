"""What all engines have in common: the volume, the history of answers, undo."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from NASAM3DLib.progress import ProgressCallback, no_progress
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.segment.mask import Mask
from NASAM3DLib.segment.prompt_voxels import ResolvedPrompts, resolve
from NASAM3DLib.segment.prompts import Prompts
from NASAM3DLib.segment.refine import Patch
from NASAM3DLib.segment.segmenter import SegmentationSettings

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Prediction:
    """One answer of an engine, kept for undo as boxes of the volume.

    Parameters
    ----------
    mask : Patch
        The object, where it exceeds 1/2.
    probability : Patch
        Probability in [0, 1].
    attention : callable, optional
        Makes the attention on the volume's voxels, a Patch; None without density guidance.
    ambiguity : float, optional
        How ambiguous the density of the object is, in [0, 1]; None where the engine does not tell.
    """

    mask: Patch
    probability: Patch
    attention: Callable[[], Patch] | None
    ambiguity: float | None = None


class ClickEngine(ABC):
    """An engine but for its answer: see :class:`~NASAM3DLib.segment.segmenter.PromptableSegmenter`.

    Parameters
    ----------
    settings : SegmentationSettings
        Choices for a whole session.

    Notes
    -----
    An engine adds :meth:`_prepared`, which takes in a volume, and :meth:`_answer`, which predicts.
    """

    def __init__(self, settings: SegmentationSettings) -> None:
        self.settings = settings
        self._volume_hu: Volume | None = None
        self._history: list[Prediction] = []

    @property
    @abstractmethod
    def name(self) -> str:
        """Name by which the engine is made."""

    def set_volume(self, volume: Volume) -> None:
        """Take the volume to be segmented and forget the one before.

        Parameters
        ----------
        volume : Volume
            In 1/mm or HU.
        """
        self._volume_hu = self._prepared(volume.to_hu())
        self.reset()

    def reset(self) -> None:
        """Forget all predictions and keep the volume."""
        self._history.clear()

    def predict(self, prompts: Prompts, *, progress: ProgressCallback = no_progress) -> Mask:
        """Segment the object that the prompts point at.

        Parameters
        ----------
        prompts : Prompts
            All clicks and scribbles so far, in their order, and the box; something positive, or a
            box.
        progress : callable
            Called with stage and fraction; may raise to cancel, which leaves no trace.

        Returns
        -------
        Mask
            On the volume's grid. Agrees with every click and with every voxel of every scribble;
            but for these it lies inside the box.

        Raises
        ------
        RuntimeError
            If there is no volume yet.
        ValueError
            If there is neither anything positive nor a box, something lies outside the volume, a
            positive point outside the box, or one voxel is marked on the object and beside it.
        """
        volume = self._required_volume()
        started = time.perf_counter()
        self._history.append(self.answer(resolve(prompts, volume), progress=progress))
        logger.info("%d points took %.2f s", len(prompts), time.perf_counter() - started)
        return self._current_mask(volume)

    def answer(
        self, prompts: ResolvedPrompts, *, progress: ProgressCallback = no_progress
    ) -> Prediction:
        """Predict and remember nothing, for an engine that is made of several.

        Parameters
        ----------
        prompts : ResolvedPrompts
            Clicks as voxels of the volume.
        progress : callable
            Called with stage and fraction; may raise to cancel, which leaves no trace.

        Returns
        -------
        Prediction

        Raises
        ------
        RuntimeError
            If there is no volume yet.
        """
        return self._answer(self._required_volume(), prompts, progress)

    def undo(self) -> Mask | None:
        """Go back to the prediction before the last one.

        Returns
        -------
        Mask or None
            The former mask, exactly; None if there was none.

        Raises
        ------
        RuntimeError
            If there is no volume yet.
        """
        volume = self._required_volume()
        if self._history:
            self._history.pop()
        return self._current_mask(volume) if self._history else None

    def last_attention(self) -> FloatArray | None:
        """Give the density-aware attention behind the current mask.

        Returns
        -------
        ndarray, shape (k, j, i), float32, or None
            Attention in [0, 1] on the volume's grid, 0 where it was not computed; None if there is
            no mask or it came about without density guidance.
        """
        attention = self._history[-1].attention if self._history else None
        return None if attention is None else attention().on(self._required_volume().grid.shape_kji)

    def last_probability(self) -> FloatArray | None:
        """Give the probability behind the current mask.

        Returns
        -------
        ndarray, shape (k, j, i), float32, or None
            Probability in [0, 1] on the volume's grid, 0 where it was not computed; None if there
            is no mask.
        """
        if not self._history:
            return None
        return self._history[-1].probability.on(self._required_volume().grid.shape_kji)

    def last_ambiguity(self) -> float | None:
        """Tell how ambiguous the density of the object is behind the current mask.

        Returns
        -------
        float or None
            In [0, 1]; None if there is no mask, or the engine does not tell. What to say to a user,
            :func:`~NASAM3DLib.segment.segmenter.ambiguity_hint` knows.
        """
        return self._history[-1].ambiguity if self._history else None

    @abstractmethod
    def _prepared(self, volume_hu: Volume) -> Volume:
        """Take in a volume in HU; give it back as the engine wants to keep it."""

    @abstractmethod
    def _answer(
        self, volume: Volume, prompts: ResolvedPrompts, progress: ProgressCallback
    ) -> Prediction:
        """Predict, without a trace if ``progress`` raises."""

    def _required_volume(self) -> Volume:
        """Give the volume, or say what is to be done first."""
        if self._volume_hu is None:
            raise RuntimeError("There is no volume to segment yet: call set_volume first.")
        return self._volume_hu

    def _current_mask(self, volume: Volume) -> Mask:
        """Put the newest mask on the volume's grid."""
        return Mask(self._history[-1].mask.on(volume.grid.shape_kji) > 0.5, volume.grid)
