"""SwinUNETR-v2 as a comparator: automatic, supervised, trained on the folder's own labels."""

from __future__ import annotations

import hashlib
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from NASAM3DLib.benchmark.methods.protocol import (
    Method,
    NotMeantError,
    Occasion,
    library_version,
    package_missing,
    package_version,
)
from NASAM3DLib.evaluate.clicks import Segmenter
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.segment.mask import Mask
from NASAM3DLib.segment.prompts import Prompts

FloatArray = npt.NDArray[np.float32]

NAME = "swin-unetr-v2"
NOTE = (
    "MONAI's SwinUNETR, version 2, trained on the folder's own labels in folds, so that no case is "
    "segmented by a network that has seen it; it segments by itself and makes nothing of the clicks"
)
NOT_TRAINED = "it is not trained on this folder; give --train-swin-unetr, which takes hours"


class SwinUnetrSegmenter:
    """Segment one object by the network that has not seen its case.

    Parameters
    ----------
    folder : Path
        Networks and plan.
    occasion : Occasion
        Case and object.

    Raises
    ------
    NotMeantError
        If the case took no part in the folds, or no other case has a label of the object.
    """

    _newest: tuple[str, FloatArray] | None = None

    def __init__(self, folder: Path, occasion: Occasion) -> None:
        from NASAM3DLib.benchmark.swin_plan import Plan

        self.folder = folder
        self.plan = Plan.read(folder)
        fold = self.plan.folds.get(occasion.case)
        if fold is None or occasion.target not in self.plan.learnt[fold]:
            raise NotMeantError("no other case has the object to learn from")
        self.fold = fold
        self.number = self.plan.classes.index(occasion.target)
        self._mask: Mask | None = None

    def set_volume(self, volume: Volume) -> None:
        """Segment the volume.

        Parameters
        ----------
        volume : Volume
            In 1/mm or HU.
        """
        shown = volume.to_hu()
        probability = self._probability(shown.array)[self.number]
        self._mask = Mask(probability > 0.5, shown.grid)

    def predict(self, prompts: Prompts) -> Mask:
        """Give the mask, whatever is clicked.

        Parameters
        ----------
        prompts : Prompts
            Not used.

        Returns
        -------
        Mask

        Raises
        ------
        RuntimeError
            If there is no volume yet.
        """
        if self._mask is None:
            raise RuntimeError("There is no volume to segment yet: call set_volume first.")
        return self._mask

    def _probability(self, array_hu: FloatArray) -> FloatArray:
        """Run the network, or take what it gave for the same volume just before."""
        key = f"{self.folder} {self.fold} {zlib.crc32(np.ascontiguousarray(array_hu).tobytes())}"
        newest = SwinUnetrSegmenter._newest
        if newest is None or newest[0] != key:
            newest = (key, self._run(array_hu))
            SwinUnetrSegmenter._newest = newest
        return newest[1]

    def _run(self, array_hu: FloatArray) -> FloatArray:
        """Run the network over the whole volume, patch by patch."""
        import torch
        from monai.inferers.utils import sliding_window_inference

        from NASAM3DLib.benchmark.swin_unetr import build, network_input, read_weights, weights_of

        network = build(self.plan).eval()
        network.load_state_dict(read_weights(weights_of(self.folder, self.fold)))
        shown = torch.from_numpy(network_input(array_hu))[None, None]
        with torch.inference_mode():
            logits = sliding_window_inference(
                shown, (self.plan.settings.patch,) * 3, 1, network, overlap=0.25, mode="gaussian"
            )
        result: FloatArray = torch.sigmoid(logits)[0].numpy()  # type: ignore[arg-type]
        return result


def trained(folder: Path) -> Method:
    """Make the comparator of trained networks.

    Parameters
    ----------
    folder : Path
        Where :func:`~NASAM3DLib.benchmark.swin_unetr.train` left them.

    Returns
    -------
    Method
    """
    from NASAM3DLib.benchmark.swin_plan import Plan

    note = f"{NOTE}; {Plan.read(folder).told()}"
    return Method(
        NAME, "peer", note, _unnamed, _missing, partial(_identity, folder), partial(_make, folder)
    )


def _make(folder: Path, occasion: Occasion) -> Segmenter:
    """Make the segmenter for an occasion."""
    return SwinUnetrSegmenter(folder, occasion)


def _unnamed() -> Segmenter:
    """Refuse to segment an object that has no name."""
    raise RuntimeError("SwinUNETR must know which object of which case is meant: use made_for.")


def _missing() -> str:
    """Tell what is not installed."""
    return package_missing("monai") or package_missing("einops")


def _identity(folder: Path) -> str:
    """Name version and weights."""
    code = hashlib.sha256()
    for path in sorted(folder.glob("fold*")):
        code.update(path.read_bytes())
    version = package_version("monai")
    return f"{library_version()}, {version}, weights {code.hexdigest()[:8]}"


METHODS = (Method(NAME, "peer", NOTE, _unnamed, lambda: _missing() or NOT_TRAINED),)
