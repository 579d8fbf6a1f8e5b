"""From working voxels back to the volume's own, with the boundary sought among them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage, special

from NASAM3DLib.segment.components import bounding_box
from NASAM3DLib.segment.region import WorkingRegion
from NASAM3DLib.segment.region_box import IndexArray

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

EVIDENCE_WEIGHT = 0.5
"""Weight of the local density evidence."""

EVIDENCE_LIMIT = 3.0
"""Largest evidence of one voxel, in logits before weighting."""

WINDOW = 1.5
"""Standard deviation of the window of local means, working voxels."""

SMOOTHING = 0.7
"""Standard deviation of the Gaussian that takes noise from the compared voxels, voxels."""

MODEL_SPREAD, MIN_NOISE_HU = 0.25, 5.0
"""Spread granted to a voxel: a part of the local contrast, and HU."""

_MARGIN = 5
_CUBE = np.ones((3, 3, 3), dtype=np.bool_)


@dataclass(frozen=True, eq=False)
class Patch:
    """A box of voxels of a volume that is zero elsewhere.

    Parameters
    ----------
    values : ndarray, shape (k, j, i), float32
        Voxels of the box.
    lower_kji : ndarray, shape (3,), intp
        First voxel of the box in the volume.
    """

    values: FloatArray
    lower_kji: IndexArray

    @property
    def box(self) -> tuple[slice, ...]:
        """Where the patch lies in the volume."""
        upper = self.lower_kji + self.values.shape
        return tuple(slice(a, b) for a, b in zip(self.lower_kji, upper, strict=True))

    def on(self, shape_kji: tuple[int, int, int]) -> FloatArray:
        """Put the patch on an otherwise empty volume.

        Parameters
        ----------
        shape_kji : tuple of int
            Shape of the volume.

        Returns
        -------
        ndarray, shape (k, j, i), float32
        """
        full = np.zeros(shape_kji, dtype=np.float32)
        full[self.box] = self.values
        return full


def resampled(region: WorkingRegion, values: FloatArray, shape_kji: tuple[int, int, int]) -> Patch:
    """Interpolate working voxels at the volume's voxels.

    Parameters
    ----------
    region : WorkingRegion
        Where the working voxels lie.
    values : ndarray, shape (k, j, i), float32
        Working voxels.
    shape_kji : tuple of int
        Shape of the volume.

    Returns
    -------
    Patch
        All voxels of the volume that are nearer to the region than one working voxel.
    """
    factors, first = np.array(region.factors_kji), np.array(region.first_kji)
    lower = np.maximum(first - factors + 1, 0)
    upper = np.minimum(first + values.shape * factors - 1, np.array(shape_kji) - 1)
    return Patch(region.upsample(values, lower, upper), lower)


def refined(
    array_hu: FloatArray, region: WorkingRegion, probability: FloatArray, *, sharpen: bool = True
) -> Patch:
    """Bring the probability of an object to the volume's voxels.

    Parameters
    ----------
    array_hu : ndarray, shape (k, j, i), float32
        The whole volume, HU.
    region : WorkingRegion
        Where the working voxels lie.
    probability : ndarray, shape (k, j, i), float32
        Probability of each working voxel; the object is where it exceeds 1/2.
    sharpen : bool
        Whether the volume's own voxels say where the boundary lies.

    Returns
    -------
    Patch
        Probability on a box around the object.

    Notes
    -----
    The probability p is interpolated trilinearly, which gives a boundary without the stairs of the
    working voxels. Where the volume's voxels are finer, each voxel v within one working voxel of
    the boundary adds evidence: ``logit p' = logit p + lambda rho^2 z`` with the log-likelihood
    ratio of two Gaussians ``z = c (v - (m_i + m_o) / 2) / s^2`` held within +-3. Here m_i and m_o
    are local means inside and outside, ``c = m_i - m_o``, ``s^2`` is their pooled local variance
    (at least that of noise) plus ``(c / 4)^2``, and ``rho = c^2 / (c^2 + s^2)`` silences contrast
    that drowns in noise. Against interpolation alone it measured +0.011 +- 0.006 Dice on 30
    targets of real CT worked on at half resolution, and -0.006 on two sarcomas at their own.
    Solving anew on the volume's voxels within the region found measured worse on 12 generated
    objects (-0.05, -0.05 and 0.00 Dice at 1 to 3 clicks: averages over fewer millimetres let fronts
    out), and a random walk in a band around this boundary the same (0.00, 0.00, +0.01) at twice the
    time.
    """
    inside = probability > 0.5
    lower, upper = bounding_box(inside)
    lower, upper = np.maximum(lower - _MARGIN, 0), np.minimum(upper + _MARGIN + 1, inside.shape)
    part = region.cut(lower, upper)
    box = tuple(slice(a, b) for a, b in zip(lower, upper, strict=True))
    patch = resampled(part, probability[box], array_hu.shape)
    if not sharpen or max(region.factors_kji) == 1:
        return patch
    core, beyond = ndimage.binary_erosion(inside[box]), ~ndimage.binary_dilation(inside[box])
    if not (core.any() and beyond.any()):
        return patch
    evidence = _evidence(array_hu, part, patch, (core, beyond))
    logits = special.logit(np.clip(patch.values, 0.02, 0.98)) + EVIDENCE_WEIGHT * evidence
    band = _band(part, inside[box], array_hu.shape)
    return Patch(np.where(band, special.expit(logits), patch.values), patch.lower_kji)


def _evidence(
    array_hu: FloatArray,
    region: WorkingRegion,
    patch: Patch,
    sides: tuple[BoolArray, BoolArray],
) -> FloatArray:
    """Compute the evidence of each voxel for inside against outside."""
    (mean_in, variance_in), (mean_out, variance_out) = (_local(region, side) for side in sides)
    inner, outer, variance = (
        resampled(region, field, array_hu.shape).values
        for field in (mean_in, mean_out, 0.5 * (variance_in + variance_out))
    )
    values = ndimage.gaussian_filter(array_hu[patch.box], SMOOTHING, mode="nearest")
    contrast = inner - outer
    noise = 1.4826 * np.median(np.abs(values - inner)[patch.values > 0.5])
    spread = np.maximum(variance, noise**2) + MIN_NOISE_HU**2 + (MODEL_SPREAD * contrast) ** 2
    ratio = (values - 0.5 * (inner + outer)) * contrast / spread
    clear = contrast**2 / (contrast**2 + spread)
    evidence = np.clip(ratio, -EVIDENCE_LIMIT, EVIDENCE_LIMIT) * clear**2
    return np.asarray(evidence, dtype=np.float32)


def _local(region: WorkingRegion, side: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Give mean and variance of one side of the boundary in a Gaussian window."""
    # Squares of small numbers: float32 would lose the variance beside the square of 1000 HU.
    centre = np.float32(np.median(region.array_hu[side]))
    values = np.where(side, region.array_hu - centre, 0)
    weight = ndimage.gaussian_filter(side.astype(np.float32), WINDOW) + np.float32(1e-4)
    mean = ndimage.gaussian_filter(values, WINDOW) / weight
    square = ndimage.gaussian_filter(values * values, WINDOW) / weight
    return mean + centre, np.maximum(square - mean * mean, 0)


def _band(region: WorkingRegion, inside: BoolArray, shape_kji: tuple[int, int, int]) -> BoolArray:
    """Mark the voxels within one working voxel of the boundary."""
    certain = ndimage.binary_erosion(inside, _CUBE, border_value=1)
    certain |= ~ndimage.binary_dilation(inside, _CUBE)
    return resampled(region, (~certain).astype(np.float32), shape_kji).values > 0.5
