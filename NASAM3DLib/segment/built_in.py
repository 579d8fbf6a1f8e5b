"""The engine that comes with the product: the network if PyTorch is there, else the random walker.

Measured on 47 targets in five CTs (docs/clicks.md), the network is the better one from the second
click on, most of all in volumes from few views: Dice .66 against .55 at three clicks. At the first
click it is .02 to .04 behind. Answering the first click with the walker and the others with the
network was measured as well and lost .03 to .08 at three clicks: corrections are placed on the
errors of the mask that is shown, and the network corrects its own better.
"""

from __future__ import annotations

import importlib.util
import logging

from NASAM3DLib.progress import ProgressCallback
from NASAM3DLib.reconstruct.volume import Volume
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
    """Segment with the best engine that needs nothing more than is installed.

    Parameters
    ----------
    settings : SegmentationSettings
        Choices for a whole session.

    Notes
    -----
    ``label-free`` where its weights and PyTorch are installed, else ``density-guided``, with the
    same clicks and the same density guidance. All clicks of a session are answered by one of them.
    """

    def __init__(self, settings: SegmentationSettings) -> None:
        super().__init__(settings)
        self._engine: ClickEngine
        if network_is_there():
            from NASAM3DLib.segment.labelfree.engine import LabelFreeSegmenter

            self._engine = LabelFreeSegmenter(settings)
        else:
            from NASAM3DLib.segment.density_guided import DensityGuidedSegmenter

            logger.info("Without PyTorch or the network's weights the random walker answers.")
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
        """Let it answer."""
        return self._engine.answer(prompts, progress=progress)
