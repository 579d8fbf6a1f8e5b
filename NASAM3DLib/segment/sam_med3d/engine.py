"""The engine ``sam-med3d``: the network's logits, guided by density, as a mask of the volume."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scipy import special

from NASAM3DLib.progress import ProgressCallback, sub_progress
from NASAM3DLib.reconstruct.settings import Device
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.segment.engine_base import ClickEngine, Prediction
from NASAM3DLib.segment.mask_patch import mask_patch
from NASAM3DLib.segment.prompt_voxels import ResolvedPrompts
from NASAM3DLib.segment.prompts import Prompts
from NASAM3DLib.segment.refine import Patch
from NASAM3DLib.segment.sam_med3d.checkpoint import load_checkpoint
from NASAM3DLib.segment.sam_med3d.click_loop import ClickMemory
from NASAM3DLib.segment.sam_med3d.guidance import DensityGuide
from NASAM3DLib.segment.sam_med3d.inference import Precision, Predictor
from NASAM3DLib.segment.sam_med3d.paste import paste_logits
from NASAM3DLib.segment.sam_med3d.session import LogitField, VolumeSession, anchor_of
from NASAM3DLib.segment.sam_med3d.tiles import whole_object
from NASAM3DLib.segment.segmenter import SegmentationSettings
from NASAM3DLib.weights.store import WeightStore

logger = logging.getLogger(__name__)

Extent = Literal["automatic", "region"]


@dataclass(frozen=True)
class SamMed3DOptions:
    """Choices that concern this engine only.

    Parameters
    ----------
    weights : Path, optional
        Checkpoint; the preferred one of the store if not given.
    device : {"auto", "cpu", "cuda"}
        Where to compute.
    precision : {"auto", "float32", "bfloat16", "float16", "float64"}
        See :class:`~NASAM3DLib.segment.sam_med3d.inference.Predictor`.
    memory : {"all", "latest"}
        Whether a step of the click loop is shown all clicks so far, or the latest with the logits
        before it. The public weights were trained on the latter and are released with the former.
    extent : {"automatic", "region"}
        Whether structures larger than one region of 192 mm are followed, or one region around the
        first positive point is all that is looked at, as in the reference.

    Raises
    ------
    ValueError
        If a choice is none of these.
    """

    weights: Path | None = None
    device: Device = "auto"
    precision: Precision = "auto"
    memory: ClickMemory = "all"
    extent: Extent = "automatic"

    def __post_init__(self) -> None:
        if self.extent not in ("automatic", "region"):
            raise ValueError(f'The extent must be "automatic" or "region", got {self.extent!r}.')
        if self.memory not in ("all", "latest"):
            raise ValueError(
                f'The memory of clicks must be "all" or "latest", got {self.memory!r}.'
            )

    @classmethod
    def reference(cls, weights: Path | None = None) -> SamMed3DOptions:
        """Give the choices under which results compare with the reference's.

        Parameters
        ----------
        weights : Path, optional
            Checkpoint; the preferred one of the store if not given.

        Returns
        -------
        SamMed3DOptions
            One region, all clicks, float32. For a comparison of the network alone, density
            guidance is to be switched off in the settings too.
        """
        return cls(weights, precision="float32", memory="all", extent="region")


class SamMed3DSegmenter(ClickEngine):
    """Segment with SAM-Med3D, and with the density-guided module at its output.

    Parameters
    ----------
    settings : SegmentationSettings
        ``refine_boundary`` does nothing here: logits are interpolated at the volume's voxels.
    options : SamMed3DOptions, optional
        Weights, device, memory of clicks, extent.
    predictor : Predictor, optional
        A network to use instead of one made from the options.

    Notes
    -----
    The weights are loaded with the first volume. A mask depends on the volume and the prompts, not
    on what was asked before: clicks go through the network in their order, and steps that are kept
    only save time. Points outside the region, where there is one only, are not shown to the
    network; the mask agrees with them all the same. Scribbles are shown as a few clicks on them, a
    box without a positive point as one click in it
    (:mod:`~NASAM3DLib.segment.prompt_voxels`); the box cuts the mask.
    """

    def __init__(
        self,
        settings: SegmentationSettings,
        options: SamMed3DOptions | None = None,
        *,
        predictor: Predictor | None = None,
    ) -> None:
        super().__init__(settings)
        self.options = options or SamMed3DOptions()
        self._predictor = predictor
        self._session: VolumeSession | None = None
        self._guide: DensityGuide | None = None

    @property
    def name(self) -> str:
        """Name of the engine: "sam-med3d"."""
        return "sam-med3d"

    def _prepared(self, volume_hu: Volume) -> Volume:
        """Load the weights if need be, and lay out the volume for the network."""
        if self._predictor is None:
            self._predictor = _loaded(self.options)
        self._session = VolumeSession(self._predictor, volume_hu, memory=self.options.memory)
        self._guide = DensityGuide(volume_hu)
        return volume_hu

    def _answer(
        self, volume: Volume, prompts: ResolvedPrompts, progress: ProgressCallback
    ) -> Prediction:
        """Run the clicks through the network and add the density guidance to its logits."""
        session, guide = self._ready()
        field = self._field(session, prompts.clicks, sub_progress(progress, 0.0, 0.8))
        logits = paste_logits(field.values, field.grid, volume.grid)
        shown = None
        if self.settings.density_guidance:
            progress("density", 0.8)
            strength = self.settings.guidance_strength
            logits, attention = guide.guided(logits, prompts.clicks, strength=strength)
            shown = _constant(attention)
        progress("boundary", 0.9)
        probability = Patch(special.expit(logits.values), logits.lower_kji)
        mask = mask_patch(probability, prompts, volume.grid)
        progress("boundary", 1.0)
        return Prediction(mask, probability, shown)

    def _ready(self) -> tuple[VolumeSession, DensityGuide]:
        """Give what was made of the volume, or say what is to be done first."""
        if self._session is None or self._guide is None:
            raise RuntimeError("There is no volume to segment yet: call set_volume first.")
        return self._session, self._guide

    def _field(
        self, session: VolumeSession, prompts: Prompts, progress: ProgressCallback
    ) -> LogitField:
        """Compute the network's logits."""
        if self.options.extent == "automatic":
            return whole_object(session, prompts, progress=progress)
        progress("looking", 0.0)
        region = session.place_around(anchor_of(prompts))
        n_hidden = len(prompts) - len(region.shown(prompts))
        if n_hidden:
            logger.warning("%d points lie outside the region and are not shown.", n_hidden)
        return session.clicked(region, prompts)


def forget_networks() -> None:
    """Let go of the network that is kept for further engines; the next one loads it anew."""
    _shared.cache_clear()


def _constant(patch: Patch) -> Callable[[], Patch]:
    """Make a function that gives a patch."""
    return lambda: patch


def _loaded(options: SamMed3DOptions) -> Predictor:
    """Load the weights that the options name, or take the network that has them already."""
    path = options.weights or WeightStore().find()
    if not path.is_file():
        raise FileNotFoundError(f"There is no file of weights {path}.")
    return _shared(path.resolve(), path.stat().st_mtime_ns, options.device, options.precision)


@functools.lru_cache(maxsize=1)
def _shared(path: Path, changed_ns: int, device: Device, precision: Precision) -> Predictor:
    """Keep one network of 400 MB for all engines of the process."""
    logger.info("Loading %s, changed at %d.", path, changed_ns)
    return Predictor(load_checkpoint(path), device=device, precision=precision)
