"""Settings of the joint refinement and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.segment.mask import Mask
from NASAM3DLib.segment.segmenter import SegmentationSettings

MOST_ROUNDS = 3


@dataclass(frozen=True)
class JointSettings:
    """How to refine a volume and the mask of an object together.

    Parameters
    ----------
    engine : str
        Name of the segmentation engine.
    segmentation : SegmentationSettings
        Its choices.
    most_rounds : int
        Rounds of reconstruction and segmentation, at most; the first is without guidance.
    tolerance : float
        Rise of the error of all held-out rays, relative, that is still accepted, and difference of
        their errors near the surface up to which the later of two rounds is taken.

    Raises
    ------
    ValueError
        If there is no round or the tolerance is negative.
    """

    engine: str = "density-guided"
    segmentation: SegmentationSettings = field(default_factory=SegmentationSettings)
    most_rounds: int = MOST_ROUNDS
    tolerance: float = 0.01

    def __post_init__(self) -> None:
        if self.most_rounds < 1:
            raise ValueError(
                f"JointSettings.most_rounds must be 1 or more, got {self.most_rounds}."
            )
        if not 0 <= self.tolerance < float("inf"):
            raise ValueError(
                f"JointSettings.tolerance must be zero or positive, got {self.tolerance}."
            )


@dataclass(frozen=True, eq=False)
class JointResult:
    """A volume and a mask that were refined together, or those from before.

    Parameters
    ----------
    volume : Volume
        Attenuation, 1/mm.
    mask : Mask
        The object, on the volume's grid; the one from before, changed where the later one is
        surer and the refined volume agrees.
    mask_before : Mask
        The object as the same clicks give it on the volume from before.
    is_joint : bool
        Whether the volume is the refined one.
    report : dict
        Plain JSON values: what was returned and why, held-out errors, changes of the mask.
    guided : Volume, optional
        The volume that the last round gave, on which the mask was made: sharper and, where the
        projections are noisy, noisier than the one that is returned. None if that is from before.
    """

    volume: Volume
    mask: Mask
    mask_before: Mask
    is_joint: bool
    report: dict[str, Any] = field(default_factory=dict)
    guided: Volume | None = None
