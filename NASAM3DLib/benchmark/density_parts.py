"""Parts of the density-guided module that an ablation exchanges or switches off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import special

from NASAM3DLib.evaluate.clicks import Segmenter
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.segment.density import DECAY, DensityModel, fuse
from NASAM3DLib.segment.density_guided import DensityGuidedSegmenter
from NASAM3DLib.segment.fronts import REACH, DensityFronts
from NASAM3DLib.segment.prompt_voxels import ResolvedPrompts
from NASAM3DLib.segment.segmenter import SegmentationSettings
from NASAM3DLib.segment.walk import WorkingClicks, plain_walk

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
Answer = tuple[FloatArray, FloatArray | None]

CLEAR = 1e-4
"""Probabilities are held so far from 0 and 1 before their logits are taken."""


@dataclass(frozen=True, eq=False)
class Asked:
    """What a formulation makes a probability of.

    Parameters
    ----------
    fronts : DensityFronts
        Of the working region.
    clicks : WorkingClicks
        All clicks.
    strength : float
        Weight w of the attention.
    outside : ndarray, shape (k, j, i), bool, optional
        Working voxels known to be background.
    """

    fronts: DensityFronts
    clicks: WorkingClicks
    strength: float = 1.0
    outside: BoolArray | None = None


Formulation = Callable[[Asked], Answer]


class LikelihoodFronts(DensityFronts):
    """Fronts that do not travel: a voxel's distance says how unlike the clicked density it is.

    Parameters
    ----------
    region : WorkingRegion
        Where clicks are answered.
    widen_homogeneous : bool
        As in :class:`~NASAM3DLib.segment.fronts.DensityFronts`.

    Notes
    -----
    The distance is ``-tau ln D``, at most 4, so that the attention of a single click, which is
    ``exp(-d / tau)``, is the likelihood D itself.
    """

    def _front(
        self, voxel_kji: tuple[int, int, int], budget: float, model: DensityModel
    ) -> FloatArray:
        """Compare every voxel with the density of one click."""
        region = self.region
        alike = model.likelihood(self._smoothed_hu, uncertainty_hu=region.uncertainty_hu)
        least = float(np.exp(-REACH / DECAY))
        return np.asarray(-DECAY * np.log(np.maximum(alike, least)), dtype=np.float32)


@dataclass(frozen=True)
class WalkerVariant:
    """How a walker differs from the engine of the product.

    Parameters
    ----------
    formulation : callable, optional
        How attention and random walk make a probability; by default as in the product.
    strength : float
        Weight of the attention.
    paths : bool
        Whether distances run along paths, or compare densities only.
    uncertainty : bool
        Whether the volume's uncertainty widens the density models.
    """

    formulation: Formulation | None = None
    strength: float = 1.0
    paths: bool = True
    uncertainty: bool = False


class VariantWalker(DensityGuidedSegmenter):
    """The engine without training, with parts exchanged.

    Parameters
    ----------
    variant : WalkerVariant
        Which.
    """

    def __init__(self, variant: WalkerVariant) -> None:
        settings = SegmentationSettings(guidance_strength=variant.strength)
        super().__init__(settings, widen_by_uncertainty=variant.uncertainty)
        self.variant = variant

    def _fronts_of(self, volume: Volume, prompts: ResolvedPrompts) -> DensityFronts:
        """Work in the region of the product, whatever the fronts are."""
        fronts = super()._fronts_of(volume, prompts)
        if self.variant.paths:
            return fronts
        return LikelihoodFronts(fronts.region, widen_homogeneous=fronts.widen_homogeneous)

    def _walk(
        self, fronts: DensityFronts, clicks: WorkingClicks, prompts: ResolvedPrompts
    ) -> Answer:
        """Compute the probability by the formulation."""
        if self.variant.formulation is None:
            return super()._walk(fronts, clicks, prompts)
        outside = None
        if prompts.clicks.box_ras is not None:
            outside = ~prompts.clicks.inside_box(fronts.region.grid)
        return self.variant.formulation(Asked(fronts, clicks, self.variant.strength, outside))


def added_to_output(asked: Asked) -> Answer:
    """Add the attention's logit to that of a finished mask, the plain random walker's.

    Parameters
    ----------
    asked : Asked
        Fronts, clicks, strength.

    Returns
    -------
    probability, attention : ndarray, shape (k, j, i), float32
        ``sigmoid(logit(p) + w logit(A))``.
    """
    plain, attention = _plain_and_attention(asked)
    logits = special.logit(np.clip(plain, CLEAR, 1 - CLEAR)).astype(np.float32)
    fused = special.expit(fuse(logits, attention, asked.strength))
    return np.asarray(fused, dtype=np.float32), attention


def gated_output(asked: Asked) -> Answer:
    """Multiply a finished mask by the attention, which can take away but not add.

    Parameters
    ----------
    asked : Asked
        Fronts, clicks, strength.

    Returns
    -------
    probability, attention : ndarray, shape (k, j, i), float32
        ``p min(1, 2 A)^w``.
    """
    plain, attention = _plain_and_attention(asked)
    gate = np.minimum(1, 2 * attention) ** np.float32(asked.strength)
    return np.asarray(plain * gate, dtype=np.float32), attention


def attention_alone(asked: Asked) -> Answer:
    """Take the attention for the probability, without a random walker.

    Parameters
    ----------
    asked : Asked
        Fronts and clicks; a strength moves no boundary.

    Returns
    -------
    probability, attention : ndarray, shape (k, j, i), float32
    """
    attention = _attention(asked)
    probability = attention if asked.outside is None else np.where(asked.outside, 0, attention)
    return np.asarray(probability, dtype=np.float32), attention


def _plain_and_attention(asked: Asked) -> tuple[FloatArray, FloatArray]:
    """Answer without density guidance, and give the attention apart."""
    return plain_walk(asked.fronts, asked.clicks, outside=asked.outside), _attention(asked)


def _attention(asked: Asked) -> FloatArray:
    """Give the attention of the clicks."""
    return asked.fronts.attention(asked.clicks.positive_kji, asked.clicks.negative_kji)


LIKELIHOODS = ("relative_density", "positive_likelihood", "negative_likelihood")
PATHS = ("positive_attention", "negative_attention")
AT_LOGITS = ("walk", "attention_logit")
"""Channels of the network that density guidance fills: by densities, along paths, and those that
are added to its logits."""


def without_channels(segmenter: Segmenter, names: tuple[str, ...]) -> Segmenter:
    """Let the network see some of its channels empty.

    Parameters
    ----------
    segmenter : Segmenter
        The engine ``label-free``.
    names : tuple of str
        Names of channels, those that the network has not are passed over.

    Returns
    -------
    Segmenter
        The same engine.

    Raises
    ------
    TypeError
        If it is another engine.
    """
    from NASAM3DLib.segment.labelfree.engine import LabelFreeSegmenter
    from NASAM3DLib.segment.labelfree.features import CHANNELS

    if not isinstance(segmenter, LabelFreeSegmenter):
        raise TypeError(f"Only the network has channels, got {type(segmenter).__name__}.")
    emptied = [CHANNELS.index(name) for name in names if name in CHANNELS]
    answer = segmenter._logits

    def logits(shown: FloatArray) -> FloatArray:
        seen = shown.copy()
        seen[emptied] = 0
        return answer(seen)

    segmenter._logits = logits  # type: ignore[method-assign]
    return segmenter


class WithoutUncertainty:
    """An engine that is not told how uncertain a volume is.

    Parameters
    ----------
    segmenter : Segmenter
        The engine.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        self.segmenter = segmenter
        self.predict = segmenter.predict

    def set_volume(self, volume: Volume) -> None:
        """Take the volume without its uncertainty.

        Parameters
        ----------
        volume : Volume
            What the user sees.
        """
        self.segmenter.set_volume(replace(volume, uncertainty=None))
