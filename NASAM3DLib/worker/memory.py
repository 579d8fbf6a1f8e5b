"""What the worker keeps between two jobs: volumes, and engines that have prepared them."""

from __future__ import annotations

import gc
import logging
import sys
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from NASAM3DLib.progress import ProgressCallback
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.worker.payloads import content_id
from NASAM3DLib.worker.reporting import GoneError

if TYPE_CHECKING:
    from NASAM3DLib.segment.segmenter import PromptableSegmenter, SegmentationSettings

logger = logging.getLogger(__name__)

MAX_BYTES = 2**30
"""Voxels of all volumes that are kept; the newest is kept whatever its size."""

MAX_ENGINES = 2
"""Engines, or settings of one, that are kept prepared for each volume."""


@dataclass(eq=False)
class HeldVolume:
    """A volume and the engines that have prepared it.

    Parameters
    ----------
    volume : Volume
        The volume.
    name : str
        Its content's name.
    engines : dict
        Engines by name and settings, the one that was used last behind the others.
    """

    volume: Volume
    name: str
    engines: OrderedDict[tuple[str, SegmentationSettings], PromptableSegmenter] = field(
        default_factory=OrderedDict
    )

    @property
    def last_engine(self) -> PromptableSegmenter | None:
        """The engine that was used last, if any was."""
        return next(reversed(self.engines.values()), None)

    def engine(
        self, name: str, settings: SegmentationSettings, progress: ProgressCallback
    ) -> PromptableSegmenter:
        """Give an engine that has prepared the volume.

        Parameters
        ----------
        name : str
            Name of the engine.
        settings : SegmentationSettings
            Its settings.
        progress : callable
            Progress callback; told only if the volume has to be prepared.

        Returns
        -------
        PromptableSegmenter
        """
        from NASAM3DLib.segment.segmenter import make_segmenter

        key = (name, settings)
        if key not in self.engines:
            progress("Preparing the volume", 0.0)
            engine = make_segmenter(name, settings)
            engine.set_volume(self.volume)
            self.engines[key] = engine
            while len(self.engines) > MAX_ENGINES:
                self.engines.popitem(last=False)
        self.engines.move_to_end(key)
        return self.engines[key]


class VolumeMemory:
    """Volumes by the hash of their content, the oldest forgotten first.

    Parameters
    ----------
    max_bytes : int
        Size of all voxels that may be kept.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._held: OrderedDict[str, HeldVolume] = OrderedDict()

    def put(self, volume: Volume) -> str:
        """Keep a volume.

        Parameters
        ----------
        volume : Volume
            The volume. If one of the same content is kept, that one stays with its engines.

        Returns
        -------
        str
            Name of its content.
        """
        name = content_id(volume)
        self._held.setdefault(name, HeldVolume(volume, name))
        self._held.move_to_end(name)
        while len(self._held) > 1 and self._bytes() > self._max_bytes:
            self._held.popitem(last=False)
        return name

    def get(self, name: object) -> HeldVolume:
        """Give a volume.

        Parameters
        ----------
        name : str
            Name of its content.

        Returns
        -------
        HeldVolume

        Raises
        ------
        GoneError
            If it is not kept.
        """
        if not isinstance(name, str) or name not in self._held:
            raise GoneError(
                "The worker does not hold the volume that was clicked on: send it with set_volume."
            )
        self._held.move_to_end(name)
        return self._held[name]

    def release(self) -> None:
        """Forget everything, networks too, and give memory back to the system and the GPU."""
        if not self._held:
            return
        logger.info("Nothing was asked for a while: %d volumes are let go", len(self._held))
        self._held.clear()
        # Only where it is loaded: its import would load torch.
        engine = sys.modules.get("NASAM3DLib.segment.sam_med3d.engine")
        if engine is not None:
            engine.forget_networks()
        gc.collect()
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def _bytes(self) -> int:
        """Count the bytes of all voxels."""
        return sum(held.volume.array.nbytes for held in self._held.values())
