"""The reference's own evaluation of one object: region around it, simulated clicks, pasted back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.segment.mask import Mask
from NASAM3DLib.segment.sam_med3d.canonical import canonical_mask, canonical_volume
from NASAM3DLib.segment.sam_med3d.click_loop import ClickLoop, ClickMemory, simulated_clicks
from NASAM3DLib.segment.sam_med3d.inference import ClickedVoxels, Predictor
from NASAM3DLib.segment.sam_med3d.paste import paste_mask
from NASAM3DLib.segment.sam_med3d.region_cut import begin_around_mask, cut_cube, cut_region


@dataclass(frozen=True)
class ReferenceProtocol:
    """How the reference evaluates.

    Parameters
    ----------
    n_clicks : int
        Clicks on each object.
    memory : {"all", "latest"}
        What a step is shown.

    Raises
    ------
    ValueError
        If there is no click.
    """

    n_clicks: int = 1
    memory: ClickMemory = "all"

    def __post_init__(self) -> None:
        if self.n_clicks < 1:
            raise ValueError(f"n_clicks must be at least 1, got {self.n_clicks}.")


def evaluated_masks(
    predictor: Predictor,
    volume: Volume,
    target: Mask,
    *,
    draw: Callable[[int], int],
    protocol: ReferenceProtocol | None = None,
) -> list[Mask]:
    """Segment an object whose truth is known, as the reference's evaluation does.

    Parameters
    ----------
    predictor : Predictor
        The network.
    volume : Volume
        In 1/mm or HU.
    target : Mask
        The object, on the volume's grid.
    draw : callable
        Draws clicks: gives a whole number from 0 to n - 1 for n, such as ``rng.integers``.
    protocol : ReferenceProtocol, optional
        Number of clicks, and what a step is shown.

    Returns
    -------
    list of Mask
        After each click, on the volume's grid; empty for an empty object. Neither guided by
        density nor made to agree with the clicks.

    Raises
    ------
    ValueError
        If the target is not on the volume's grid, or nothing in the region is above 0 HU.

    Notes
    -----
    The region lies around the middle of the object's bounding box, not around a click. Pasting back
    is by nearest neighbour.
    """
    if not volume.grid.same_as(target.grid):
        raise ValueError(
            f"The target must lie on the volume's grid ({volume.grid}), got {target.grid}."
        )
    protocol = protocol or ReferenceProtocol()
    size = predictor.region_size
    found = canonical_mask(target)
    begin = begin_around_mask(found, size)
    region = cut_region(canonical_volume(volume), begin, size)
    truth = cut_cube(found.array, begin, size).transpose(2, 1, 0)
    loop = ClickLoop(predictor, predictor.embed(region), memory=protocol.memory)
    masks = simulated_clicks(loop, truth, draw, n_clicks=protocol.n_clicks)
    return [
        paste_mask(Mask(np.ascontiguousarray(mask.transpose(2, 1, 0)), region.grid), volume.grid)
        for mask in masks
    ]


def centre_click(size: int) -> ClickedVoxels:
    """Give the click that the reference makes where no truth is known.

    Parameters
    ----------
    size : int
        Voxels along each edge of the region.

    Returns
    -------
    ClickedVoxels
        One positive click in the middle, at index ``size // 2`` along each axis.
    """
    return ClickedVoxels(np.full((1, 3), size // 2, dtype=np.float64), np.ones(1, dtype=np.int8))
