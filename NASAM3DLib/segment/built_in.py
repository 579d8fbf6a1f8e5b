"""The engine that needs nothing installed: for each click the one of its two that serves it best.

Measured on 47 targets in five CTs (docs/clicks.md), the density-guided random walker is the better
of the two at the first click, and the network from the second one on, most of all in volumes from
few views. So the first click or scribble, or a box alone, is answered by the former, and everything
after it by the latter. The network corrects its own first answer better than the walker's, so that
the network alone is ahead at three clicks; it can be chosen as ``label-free``. Where its weights or
PyTorch are missing, the random walker answers all clicks.
"""

from __future__ import annotations

import importlib.util
import logging

from NASAM3DLib.progress import ProgressCallback
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.segment.density_guided import DensityGuidedSegmenter
from NASAM3DLib.segment.engine_base import ClickEngine, Prediction
from NASAM3DLib.segment.labelfree.location import default_path
from NASAM3DLib.segment.prompt_voxels import ResolvedPrompts
from NASAM3DLib.segment.segmenter import SegmentationSettings

logger = logging.getLogger(__name__)

GUIDED_PARTS = 1
"""Clicks and scribbles up to which the random walker answers."""


def network_is_there() -> bool:
    """Tell whether the network can be used.

    Returns
    -------
    bool
        Whether its weights and PyTorch are installed.
    """
    return default_path().is_file() and importlib.util.find_spec("torch") is not None


class BuiltInSegmenter(ClickEngine):
    """Segment with the random walker at first and with the network from the second click on.

    Parameters
    ----------
    settings : SegmentationSettings
        Choices for a whole session; both engines get them.

    Notes
    -----
    The rule uses only the number of clicks, so that a mask depends on the volume and the prompts
    alone. The network is loaded with the volume if it is there.
    """

    def __init__(self, settings: SegmentationSettings) -> None:
        super().__init__(settings)
        self._first: ClickEngine = DensityGuidedSegmenter(settings)
        self._later: ClickEngine = self._first
        if network_is_there():
            from NASAM3DLib.segment.labelfree.engine import LabelFreeSegmenter

            self._later = LabelFreeSegmenter(settings)
        else:
            logger.info("Without PyTorch or the network's weights all clicks are the walker's.")

    @property
    def name(self) -> str:
        """Name of the engine: "built-in"."""
        return "built-in"

    def _prepared(self, volume_hu: Volume) -> Volume:
        """Give the volume to both engines."""
        self._first.set_volume(volume_hu)
        if self._later is not self._first:
            self._later.set_volume(volume_hu)
        return volume_hu

    def _answer(
        self, volume: Volume, prompts: ResolvedPrompts, progress: ProgressCallback
    ) -> Prediction:
        """Let the engine answer whose turn it is."""
        engine = self._first if len(prompts.parts) <= GUIDED_PARTS else self._later
        return engine.answer(prompts, progress=progress)
