"""What the network is shown: densities, what clicks say of them, a random walk, the mask before."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import special

from NASAM3DLib.segment.density import DECAY, smoothed
from NASAM3DLib.segment.fronts import DensityFronts
from NASAM3DLib.segment.region_box import IndexArray, to_triple
from NASAM3DLib.segment.walk import WorkingClicks, guided_walk

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

CHANNELS = (
    "soft_window",
    "wide_window",
    "relative_density",
    "positive_likelihood",
    "positive_attention",
    "negative_likelihood",
    "negative_attention",
    "positive_clicks",
    "negative_clicks",
    "previous_probability",
    "walk",
    "attention_logit",
)
"""Names of the channels, in order."""

GUIDED = (2, 3, 4, 5, 6, 10, 11)
"""Channels that are zero without density guidance."""

PREVIOUS = 9
"""Channel of the probability before."""

WALK = 10
"""Channel of the random walker's answer to the same clicks, which is added at the logits too."""

ATTENTION = 11
"""Channel of the density attention, which the convolutions do not see."""

CLICK_SIGMA = 2.0
"""Standard deviation of the Gaussian that marks a click, voxels."""

SOFT_CENTRE_HU, SOFT_WIDTH_HU, WIDE_HU, RELATIVE_HU = 40.0, 200.0, 1000.0, 100.0


def network_input(
    fronts: DensityFronts,
    clicks: WorkingClicks,
    previous: FloatArray,
    *,
    guided: bool = True,
    outside: BoolArray | None = None,
) -> FloatArray:
    """Assemble the channels for one region and its clicks.

    Parameters
    ----------
    fronts : DensityFronts
        Of the region.
    clicks : WorkingClicks
        All clicks so far, at least one positive.
    previous : ndarray, shape (k, j, i), float32
        Probability after the click before; zeros at first.
    guided : bool
        Whether the channels of the density guidance are filled.
    outside : ndarray, shape (k, j, i), bool, optional
        Voxels known to be background; the random walker is told.

    Returns
    -------
    ndarray, shape (12, k, j, i), float32
        See ``CHANNELS``. Windowed densities lie in [-1, 1.5], all else but the last in [-1, 1].

    Notes
    -----
    Soft window ``clip((v - 40) / 200, -1, 1)``, wide window ``clip(v / 1000, -1, 1.5)``, relative
    density ``tanh((v - m) / 100)`` with m the mean of the positive clicks' medians, likelihoods
    the largest over the clicks of a sign, attention ``exp(-d / tau)`` of either sign, clicks as
    Gaussians of two voxels, ``2 W - 1`` with W the probability of the density-guided random walker
    on the same voxels, and last ``logit(A)`` of the competing fronts.
    """
    volume = fronts.region.array_hu
    result = np.zeros((len(CHANNELS), *volume.shape), dtype=np.float32)
    result[0] = np.clip((volume - SOFT_CENTRE_HU) / SOFT_WIDTH_HU, -1, 1)
    result[1] = np.clip(volume / WIDE_HU, -1, 1.5)
    result[7] = click_map(volume.shape, clicks.positive_kji)
    result[8] = click_map(volume.shape, clicks.negative_kji)
    result[PREVIOUS] = previous
    if guided:
        _fill_guidance(result, fronts, clicks)
        walk, attention = guided_walk(fronts, clicks, strength=1.0, outside=outside)
        result[WALK] = 2 * walk - 1
        result[ATTENTION] = special.logit(attention)
    return result


def click_map(shape_kji: tuple[int, ...], voxels_kji: IndexArray) -> FloatArray:
    """Mark clicks with Gaussians.

    Parameters
    ----------
    shape_kji : tuple of int
        Shape of the map.
    voxels_kji : ndarray, shape (n, 3), intp
        Clicked voxels.

    Returns
    -------
    ndarray, shape (k, j, i), float32
        The largest Gaussian at each voxel, 1 at a click.
    """
    result = np.zeros(shape_kji, dtype=np.float32)
    for voxel in voxels_kji:
        steps = [(np.arange(n) - c) / CLICK_SIGMA for n, c in zip(shape_kji, voxel, strict=True)]
        k, j, i = (np.exp(-0.5 * step**2).astype(np.float32) for step in steps)
        np.maximum(result, k[:, None, None] * j[:, None] * i, out=result)
    return result


def _fill_guidance(result: FloatArray, fronts: DensityFronts, clicks: WorkingClicks) -> None:
    """Fill the channels that compare the volume with the densities at the clicks."""
    volume = fronts.region.array_hu
    medians = [fronts.model(to_triple(voxel)).median_hu for voxel in clicks.positive_kji]
    result[2] = np.tanh((volume - np.float32(np.mean(medians))) / RELATIVE_HU)
    positive = fronts.positive(clicks.positive_kji)
    negative = fronts.negative(clicks.negative_kji, positive)
    result[3] = _likelihood(fronts, clicks.positive_kji)
    result[4] = np.exp(-positive / np.float32(DECAY))
    if negative is not None:
        result[5] = _likelihood(fronts, clicks.negative_kji)
        result[6] = np.exp(-negative / np.float32(DECAY))


def _likelihood(fronts: DensityFronts, voxels_kji: Sequence[IndexArray] | IndexArray) -> FloatArray:
    """Give the largest likelihood over the clicks of one sign."""
    region = fronts.region
    values = smoothed(region.array_hu)
    nearest = np.zeros_like(values)
    for voxel in voxels_kji:
        model = fronts.model(to_triple(voxel))
        likelihood = model.likelihood(values, uncertainty_hu=region.uncertainty_hu)
        np.maximum(nearest, likelihood, out=nearest)
    return nearest
