"""Held-out views that judge a volume where it matters: along rays past the object's surface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from NASAM3DLib.joint.cutting import cut_at_edges
from NASAM3DLib.reconstruct.footprint import FootprintProjector
from NASAM3DLib.reconstruct.projector import Projector
from NASAM3DLib.reconstruct.refine import fine_grid
from NASAM3DLib.reconstruct.tuning import held_out_views
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.projections import ProjectionSet

Float32Array = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

BAND_MM = 10.0
"""Distance from the surface up to which a voxel belongs to its band."""

N_RAYS = 2
"""Rays in each pixel that is predicted."""

SURE = 2.0
"""Standard errors by which the surface must be predicted better.

They take rays for independent, but neighbouring ones err alike: between tiles of 16 pixels the
spread is twice as large, in the median of 14 scans of generated bodies. Ten of these gain up to 2.9
dB of PSNR in the band and have 2.9 to 7.1 standard errors in their best round. Of the four with
less, three would gain 0.0 to 1.3 dB and one, with less than none, would lose 0.6.
"""

FIRST_GUIDED = 2
"""The first round whose volume the mask has guided; the one before is total variation on its way.
"""


@dataclass(frozen=True)
class Verdict:
    """How well a volume predicts views that it was not made from.

    Parameters
    ----------
    error : float
        Root mean square error over all rays, with their weights if they have any.
    surface_error : float
        The same, each ray also weighted by its length near the surface.
    gain : float
        Fall of the square of ``surface_error`` since the volume from before, relative to it.
    spread : float
        Standard error of ``gain``.
    """

    error: float
    surface_error: float
    gain: float = 0.0
    spread: float = 0.0

    @property
    def is_better(self) -> bool:
        """Whether the surface is predicted better than before by more than chance would have it."""
        return self.gain > SURE * self.spread


def judging_views(n_views: int) -> npt.NDArray[np.intp]:
    """Choose the views that judge: one in eight, at most four.

    Parameters
    ----------
    n_views : int
        Number of measured views.

    Returns
    -------
    ndarray, shape (n,), intp
        Ascending indices; empty if there are too few views to hold any out.

    Notes
    -----
    Twice as many as for the choice of a strength: a surface is seen by few rays of a view, and one
    view does not see it from the side.
    """
    if not held_out_views(n_views).size:
        return np.zeros(0, dtype=np.intp)
    return np.unique(held_out_views(2 * n_views) // 2)


def surface_band(
    mask: BoolArray, spacing_kji_mm: npt.ArrayLike, *, width_mm: float = BAND_MM
) -> BoolArray:
    """Find the voxels near the surface of an object.

    Parameters
    ----------
    mask : ndarray, shape (k, j, i), bool
        The object.
    spacing_kji_mm : array_like, shape (3,)
        Sides of a voxel, mm.
    width_mm : float
        Distance from the surface; at least one voxel is taken.

    Returns
    -------
    ndarray, shape (k, j, i), bool
        All voxels if the object is empty or fills everything, because it has no surface then.
    """
    if mask.all() or not mask.any():
        return np.ones_like(mask)
    spacing = np.asarray(spacing_kji_mm, dtype=np.float64)
    inside, outside = (
        ndimage.distance_transform_edt(part, sampling=spacing) for part in (mask, ~mask)
    )
    near = np.where(mask, inside, outside) <= max(width_mm, spacing.max())
    return np.asarray(near, dtype=np.bool_)


class Referee:
    """Compare volumes by how they predict held-out views, everywhere and near a surface.

    Parameters
    ----------
    held_out : ProjectionSet
        Views that none of the volumes was made from.
    before : Volume
        The volume that others are compared with, 1/mm.
    mask : ndarray, shape (k, j, i), bool
        The object on the volume's voxels.

    Notes
    -----
    A volume is projected on voxels half as large, each cut at its edges (``cutting``), with two
    rays in each pixel. Projected as it is, with one ray, an edge inside a voxel is predicted
    wrongly however right the voxel's mean is: 25 exact views of a limb speak against the true means
    of its voxels and for a volume whose errors happen to make up for that.

    With r the residuals of the held-out rays, v their weights in the scan and b the projection of
    the band's indicator, that is each ray's length within 10 mm of the surface, a volume is
    compared with the one from before ray by ray::

        d = v b (r_before^2 - r^2),    gain = sum d / sum v b r_before^2,
        spread = sqrt(sum d^2) / sum v b r_before^2.

    Both squares hold the same noise, so that it cancels from d but for its product with the
    difference of the two predictions, and small differences show that are far below the noise of
    the sum of squares itself.
    """

    def __init__(self, held_out: ProjectionSet, before: Volume, mask: BoolArray) -> None:
        self._held_out = held_out
        grid, geometry = before.grid, held_out.geometry
        self._projector = FootprintProjector(fine_grid(grid), geometry, N_RAYS)
        band = surface_band(mask, grid.spacing_mm[::-1])
        lengths = Projector(grid, geometry).forward(band.astype(np.float32))
        weights = held_out.weights
        self._weights = lengths if weights is None else np.asarray(lengths * weights)
        self._squares = np.square(self._residual(before.array))

    def judge(self, array: npt.ArrayLike) -> Verdict:
        """Judge a volume.

        Parameters
        ----------
        array : array_like, shape (k, j, i)
            Attenuation on the voxels of the volume from before, 1/mm.

        Returns
        -------
        Verdict
        """
        residual = self._residual(array)
        error = float(np.sqrt(self._held_out.mean_square(residual)))
        squares = np.square(residual)
        total = float(np.sum(self._weights, dtype=np.float64))
        before = float(np.sum(self._weights * self._squares, dtype=np.float64))
        here = float(np.sum(self._weights * squares, dtype=np.float64))
        surface_error = float(np.sqrt(here / total)) if total else 0.0
        if not before:
            return Verdict(error, surface_error)
        differences = self._weights * (self._squares - squares)
        spread = float(np.sqrt(np.sum(np.square(differences), dtype=np.float64))) / before
        gain = float(np.sum(differences, dtype=np.float64)) / before
        return Verdict(error, surface_error, gain, spread)

    def _residual(self, array: npt.ArrayLike) -> Float32Array:
        """Subtract the held-out views from what a volume predicts."""
        residual = self._projector.forward(cut_at_edges(array).T)
        residual -= self._held_out.projections
        return residual


def approved_rounds(verdicts: Sequence[Verdict], tolerance: float) -> int:
    """Find the round to end with.

    Parameters
    ----------
    verdicts : sequence of Verdict
        Of the volume from before, then of each round.
    tolerance : float
        Relative rise of an error that is accepted.

    Returns
    -------
    int
        The last round whose error near the surface is within the tolerance of the least, among
        guided ones that predict the surface better than before and all rays no worse than the
        tolerance allows. 0 if there is none.
    """
    before, *later = verdicts
    allowed = before.error * (1 + tolerance)
    good = [
        n
        for n, verdict in enumerate(later, 1)
        if n >= FIRST_GUIDED and verdict.is_better and verdict.error <= allowed
    ]
    if not good:
        return 0
    least = min(later[n - 1].surface_error for n in good)
    return max(n for n in good if later[n - 1].surface_error <= least * (1 + tolerance))
