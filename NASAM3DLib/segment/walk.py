"""From clicks in a working region to the probability of the object: prior, seeds, random walker."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy import special

from NASAM3DLib.segment.density import density_attention, fuse
from NASAM3DLib.segment.fronts import REACH, DensityFronts, cross
from NASAM3DLib.segment.prompt_voxels import ResolvedPrompts
from NASAM3DLib.segment.prompts import NEGATIVE, POSITIVE
from NASAM3DLib.segment.random_walker import (
    FREE,
    Conductances,
    edge_conductances,
    random_walker,
)
from NASAM3DLib.segment.region import WorkingRegion
from NASAM3DLib.segment.region_box import IndexArray, to_triple

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
SeedArray = npt.NDArray[np.int8]

PRIOR_WEIGHT, PRIOR_DECAY = 0.02, 1.2
"""Weight of the prior after one click, and the power of the number of clicks that divides it."""

PLAIN_PRIOR_WEIGHT = 1e-6
"""Weight of "background" where the plain random walker has no other opinion."""

EDGE_BETA, EDGE_SCALE_HU = 200.0, 150.0
"""Edge weights are exp(-beta du^2) of u = tanh((mu - m) / scale)."""

MIN_SHELL_AXIS = 8
"""An axis with fewer voxels is a stack of slices, whose ends are not background."""


def _no_voxels() -> IndexArray:
    return np.zeros((0, 3), dtype=np.intp)


@dataclass(frozen=True, eq=False)
class WorkingClicks:
    """Clicks as voxels of a working region.

    Parameters
    ----------
    positive_kji, negative_kji : ndarray, shape (n, 3), intp
        Clicked working voxels, the first positive click first.
    positive_marks_kji, negative_marks_kji : ndarray, shape (m, 3), intp
        Working voxels that scribbles pass, clicks or not.
    """

    positive_kji: IndexArray
    negative_kji: IndexArray
    positive_marks_kji: IndexArray = field(default_factory=_no_voxels)
    negative_marks_kji: IndexArray = field(default_factory=_no_voxels)

    def __len__(self) -> int:
        return len(self.positive_kji) + len(self.negative_kji)

    @property
    def all_positive_kji(self) -> IndexArray:
        """Working voxels that are clicked or marked on the object, shape (n, 3)."""
        return np.concatenate([self.positive_kji, self.positive_marks_kji])

    @property
    def all_negative_kji(self) -> IndexArray:
        """Working voxels that are clicked or marked beside the object, shape (n, 3)."""
        return np.concatenate([self.negative_kji, self.negative_marks_kji])


def working_clicks(region: WorkingRegion, prompts: ResolvedPrompts) -> WorkingClicks:
    """Bring clicks and marks to the voxels of a region.

    Parameters
    ----------
    region : WorkingRegion
        Holds them all.
    prompts : ResolvedPrompts
        Clicks and marks as voxels of the volume.

    Returns
    -------
    WorkingClicks
    """
    voxels = (
        prompts.positive_kji,
        prompts.negative_kji,
        prompts.marked(POSITIVE),
        prompts.marked(NEGATIVE),
    )
    return WorkingClicks(*(region.to_working(v) for v in voxels))


def guided_walk(
    fronts: DensityFronts,
    clicks: WorkingClicks,
    *,
    strength: float,
    outside: BoolArray | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Solve with density attention as the prior.

    Parameters
    ----------
    fronts : DensityFronts
        Of the working region.
    clicks : WorkingClicks
        At least one positive.
    strength : float
        Weight w of the attention in the fusion, positive.
    outside : ndarray, shape (k, j, i), bool, optional
        Working voxels known to be background.

    Returns
    -------
    probability, attention : ndarray, shape (k, j, i), float32

    Notes
    -----
    The preliminary logits are 0, so the prior is ``a = sigmoid(fuse(0, A, w))``. Its weight falls
    with the number of clicks n as ``0.02 / n^1.2``: after few clicks the density says how far the
    object goes, many clicks say it themselves. Voxels that no front reaches are background.
    """
    positive = fronts.positive(clicks.positive_kji)
    attention = density_attention(positive, fronts.negative(clicks.negative_kji, positive))
    prior = special.expit(fuse(np.zeros_like(attention), attention, strength))
    seeds = _seeds(clicks, positive >= REACH, outside)
    weight = PRIOR_WEIGHT / len(clicks) ** PRIOR_DECAY
    conductances = _conductances(fronts, clicks, outside)
    return random_walker(conductances, seeds, prior=prior, prior_weight=weight), attention


def plain_walk(
    fronts: DensityFronts, clicks: WorkingClicks, *, outside: BoolArray | None = None
) -> FloatArray:
    """Solve on intensities alone, with the border of the region as background.

    Parameters
    ----------
    fronts : DensityFronts
        Of the working region; only the region and the medians at the clicks are used.
    clicks : WorkingClicks
        At least one positive.
    outside : ndarray, shape (k, j, i), bool, optional
        Working voxels known to be background.

    Returns
    -------
    ndarray, shape (k, j, i), float32
        Probability.
    """
    shape = fronts.region.array_hu.shape
    background = np.zeros(shape, dtype=np.bool_)
    for axis, n_voxels in enumerate(shape):
        if n_voxels >= MIN_SHELL_AXIS:
            faces = np.moveaxis(background, axis, 0)
            faces[[0, -1]] = True
    return random_walker(
        _conductances(fronts, clicks, outside),
        _seeds(clicks, background, outside),
        prior=np.zeros(shape, dtype=np.float32),
        prior_weight=PLAIN_PRIOR_WEIGHT,
    )


def _conductances(
    fronts: DensityFronts, clicks: WorkingClicks, outside: BoolArray | None
) -> Conductances:
    """Weigh the edges by densities relative to the positive clicks."""
    region = fronts.region
    medians = [fronts.model(to_triple(voxel)).median_hu for voxel in clicks.positive_kji]
    feature = np.tanh((region.array_hu - np.float32(np.mean(medians))) / np.float32(EDGE_SCALE_HU))
    weights = edge_conductances(
        feature, beta=EDGE_BETA, relative_spacing=region.relative_spacing_kji
    )
    if outside is not None:
        # The walls of a box cut the tissue: they must not pull on what they enclose.
        for axis, weight in enumerate(weights):
            weight *= outside == np.roll(outside, -1, axis)
    return weights


def _seeds(clicks: WorkingClicks, background: BoolArray, outside: BoolArray | None) -> SeedArray:
    """Fix the background, the clicks and their six neighbours."""
    seeds = np.where(background, 0, FREE).astype(np.int8)
    if outside is not None:
        seeds[outside] = 0
    # Clicks last: one lies beside another's neighbours, or outside the reach of the fronts.
    for voxels, label in ((clicks.negative_kji, 0), (clicks.positive_kji, 1)):
        for voxel in voxels:
            seeds[tuple(cross(voxel, seeds.shape).T)] = label
    for voxels, label in ((clicks.all_negative_kji, 0), (clicks.all_positive_kji, 1)):
        seeds[tuple(voxels.T)] = label
    return seeds
