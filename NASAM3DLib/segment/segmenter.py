"""What every click-driven segmentation engine offers, its settings, and the list of engines."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from NASAM3DLib.progress import ProgressCallback, no_progress
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.segment.mask import Mask
from NASAM3DLib.segment.prompts import Prompts

FloatArray = npt.NDArray[np.float32]

DEFAULT_ENGINE = "built-in"

AMBIGUOUS = 0.5
"""Ambiguity from which on a user should be told."""

_ENGINES = {
    "built-in": ("NASAM3DLib.segment.built_in", "BuiltInSegmenter"),
    "density-guided": ("NASAM3DLib.segment.density_guided", "DensityGuidedSegmenter"),
    "sam-med3d": ("NASAM3DLib.segment.sam_med3d.engine", "SamMed3DSegmenter"),
    "label-free": ("NASAM3DLib.segment.labelfree.engine", "LabelFreeSegmenter"),
}


@dataclass(frozen=True)
class SegmentationSettings:
    """Choices that hold for a whole session of clicks.

    Parameters
    ----------
    density_guidance : bool
        Whether the attenuation at the clicks guides the mask. Without it an engine shows what it
        can do alone.
    guidance_strength : float
        Weight of the guidance in the fusion with mask logits, positive.
    refine_boundary : bool
        Whether the boundary is sought again among the volume's own voxels where the engine works
        on larger ones.

    Raises
    ------
    ValueError
        If the strength is not positive and finite.
    """

    density_guidance: bool = True
    guidance_strength: float = 1.0
    refine_boundary: bool = True

    def __post_init__(self) -> None:
        if not (np.isfinite(self.guidance_strength) and self.guidance_strength > 0):
            raise ValueError(
                f"guidance_strength must be positive, got {self.guidance_strength}: to switch the "
                "guidance off, set density_guidance to False."
            )


class PromptableSegmenter(Protocol):
    """An engine that turns clicks on a volume into a mask.

    Every engine is used in the same order: :meth:`set_volume` once, then :meth:`predict` with all
    clicks so far after each new click.
    """

    @property
    def name(self) -> str:
        """Name by which :func:`make_segmenter` makes the engine."""

    def set_volume(self, volume: Volume) -> None:
        """Take the volume to be segmented and forget the one before.

        Parameters
        ----------
        volume : Volume
            In 1/mm or HU.
        """

    def predict(self, prompts: Prompts, *, progress: ProgressCallback = no_progress) -> Mask:
        """Segment the object that the prompts point at.

        Parameters
        ----------
        prompts : Prompts
            All points so far, in the order of the clicks; at least one positive.
        progress : callable
            Called with stage and fraction; may raise to cancel, which leaves no trace.

        Returns
        -------
        Mask
            On the volume's grid; agrees with every point.

        Raises
        ------
        RuntimeError
            If there is no volume yet.
        ValueError
            If no point is positive, or a point lies outside the volume.
        """

    def undo(self) -> Mask | None:
        """Go back to the prediction before the last one.

        Returns
        -------
        Mask or None
            The former mask, exactly; None if there was none.
        """

    def reset(self) -> None:
        """Forget all predictions and keep the volume."""

    def last_attention(self) -> FloatArray | None:
        """Give the density-aware attention behind the current mask.

        Returns
        -------
        ndarray, shape (k, j, i), float32, or None
            Attention in [0, 1] on the volume's grid, 0 where it was not computed; None if there is
            no mask or it came about without density guidance.
        """

    def last_probability(self) -> FloatArray | None:
        """Give the probability behind the current mask.

        Returns
        -------
        ndarray, shape (k, j, i), float32, or None
            Probability in [0, 1] on the volume's grid, 0 where it was not computed; None if there
            is no mask.
        """

    def last_ambiguity(self) -> float | None:
        """Tell how ambiguous the density of the object is behind the current mask.

        Returns
        -------
        float or None
            In [0, 1]; None if there is no mask, or the engine does not tell. What to say to a user,
            :func:`ambiguity_hint` knows.
        """


def ambiguity_hint(ambiguity: float | None) -> str | None:
    """Say what a user can do where the density of an object is ambiguous.

    Parameters
    ----------
    ambiguity : float or None
        Of :meth:`PromptableSegmenter.last_ambiguity`.

    Returns
    -------
    str or None
        One sentence; None if there is nothing to be said.
    """
    if ambiguity is None or ambiguity < AMBIGUOUS:
        return None
    return (
        "Several structures of the same density touch here: add a negative point where the mask "
        "goes too far, or a box."
    )


def available_engines() -> tuple[str, ...]:
    """List the engines that :func:`make_segmenter` can make.

    Returns
    -------
    tuple of str
        Names, the default first; "label-free" only where its weights are installed.
    """
    from NASAM3DLib.segment.labelfree.location import default_path

    installed = default_path().is_file()
    return tuple(name for name in _ENGINES if name != "label-free" or installed)


def make_segmenter(
    name: str = DEFAULT_ENGINE, settings: SegmentationSettings | None = None
) -> PromptableSegmenter:
    """Make an engine by name.

    Parameters
    ----------
    name : str
        One of :func:`available_engines`.
    settings : SegmentationSettings, optional
        Defaults if not given.

    Returns
    -------
    PromptableSegmenter

    Raises
    ------
    ValueError
        If there is no engine of that name.
    FileNotFoundError
        If the engine needs weights that are not installed.

    Examples
    --------
    >>> make_segmenter("density-guided").name
    'density-guided'
    """
    if name not in _ENGINES:
        names = ", ".join(available_engines())
        raise ValueError(f"There is no segmentation engine {name!r}: choose one of {names}.")
    module, class_name = _ENGINES[name]
    engine = getattr(importlib.import_module(module), class_name)
    segmenter: PromptableSegmenter = engine(settings or SegmentationSettings())
    return segmenter
