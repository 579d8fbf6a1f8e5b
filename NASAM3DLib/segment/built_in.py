"""The engine that needs nothing installed: the network where it can run, else the random walker.

The network adds the density-guided random walker to its logits, so that its answers start from the
walker's and differ where training on generated volumes has taught it better. Measured on real CTs
(docs/clicks.md) it is in the mean the better of the two after any number of clicks. Where its
weights or PyTorch are missing, the random walker answers.
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


def network_is_there() -> bool:
    """Tell whether the network can be used.

    Returns
    -------
    bool
        Whether its weights and PyTorch are installed.
    """
    return default_path().is_file() and importlib.util.find_spec("torch") is not None


class BuiltInSegmenter(ClickEngine):
    """Segment with the network, or with the random walker where there is no network.

    Parameters
    ----------
    settings : SegmentationSettings
        Choices for a whole session.

    Notes
    -----
    What is installed decides, not the prompts, so that a mask depends on the volume and the prompts
    alone.
    """

    def __init__(self, settings: SegmentationSettings) -> None:
        super().__init__(settings)
        self._engine: ClickEngine
        if network_is_there():
            from NASAM3DLib.segment.labelfree.engine import LabelFreeSegmenter

            self._engine = LabelFreeSegmenter(settings)
        else:
            logger.info("Without PyTorch or the network's weights all clicks are the walker's.")
            self._engine = DensityGuidedSegmenter(settings)

    @property
    def name(self) -> str:
        """Name of the engine: "built-in"."""
        return "built-in"

    def _prepared(self, volume_hu: Volume) -> Volume:
        """Give the volume to the engine that answers."""
        self._engine.set_volume(volume_hu)
        return volume_hu

    def _answer(
        self, volume: Volume, prompts: ResolvedPrompts, progress: ProgressCallback
    ) -> Prediction:
        """Let that engine answer."""
        return self._engine.answer(prompts, progress=progress)
