"""Fronts of density-guided clicks in a working region, each computed once."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

from NASAM3DLib.segment.density import (
    BRIDGE_SIGMA,
    DensityModel,
    bridge_penalised,
    correction_model,
    density_attention,
    density_model,
    path_cost,
    smoothed,
)
from NASAM3DLib.segment.region import WorkingRegion
from NASAM3DLib.segment.region_box import IndexArray, to_triple

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

FIRST_BUDGET, CORRECTION_BUDGET = 2.0, 1.2
"""Path cost after which the front of the first positive and of a later click is half spent."""

REACH = 4.0
"""Fronts stop at this many budgets, where attention is below 0.07; farther is no object."""

LOCALITY, MIN_DEPTH = 4.0, 2.0
"""How many times its depth a negative click reaches; the least depth in reference lengths."""


MIN_CORRECTION_DEPTH = 4.0
"""The least depth of a correcting positive click, in reference lengths."""

SHELL, ALIKE = 1.3, 0.6
"""Where ambiguity looks, in budgets, and the likelihood above which density is the click's."""

_Voxel = tuple[int, int, int]
_FrontKey = tuple[_Voxel, float, _Voxel | None]


class DensityFronts:
    """How far the clicks of an object reach, in budgets.

    Parameters
    ----------
    region : WorkingRegion
        Where the fronts travel.
    widen_homogeneous : bool
        See :func:`~NASAM3DLib.segment.density.density_model`. Off where a network was trained
        without.

    Notes
    -----
    The first positive click describes the object and has the larger budget; the positive clicks
    after it repair their surroundings. A negative click competes on the terms of the first, but it
    speaks for a part only: where object and neighbour have one density, its front would take the
    object with it. So its distance is at least ``|x - x_i| / (4 r_i)`` budgets, with r_i the
    depth of the click below the surface d+ = 1, at least two reference lengths. On 34 targets with
    three click sequences each this gained 0.07, 0.05 and 0.01 Dice at 3, 5 and 10 clicks (standard
    errors 0.02, 0.02, 0.01) over a competition without limit and of twice the slope kappa.

    A correcting positive click has a model of its own
    (:func:`~NASAM3DLib.segment.density.correction_model`), and a distance of at least
    ``|x - x_i| / (4 r_i)`` with r_i its depth on its side of the first click's surface, at least
    four reference lengths: it repairs its surroundings and takes no neighbour along. On 18 targets
    in reconstructions of 50 views both together measured +0.023, +0.044, +0.043 and +0.010 Dice at
    2 to 5 clicks, and 1 instead of 6 drops by more than 0.1.

    The front of a click depends on no later click, so each is kept, and a new click costs its own
    only.
    """

    def __init__(self, region: WorkingRegion, *, widen_homogeneous: bool = False) -> None:
        self.region = region
        self.widen_homogeneous = widen_homogeneous
        self._distances: dict[_FrontKey, FloatArray] = {}

    @cached_property
    def _smoothed_hu(self) -> FloatArray:
        """Volume that is compared with the density models."""
        return smoothed(self.region.array_hu)

    def model(
        self,
        voxel_kji: tuple[int, int, int],
        *,
        described_by: tuple[int, int, int] | None = None,
    ) -> DensityModel:
        """Give the density model of a click.

        Parameters
        ----------
        voxel_kji : tuple of int
            Clicked working voxel.
        described_by : tuple of int, optional
            Working voxel of the first click, if this one corrects its object.

        Returns
        -------
        DensityModel
        """
        volume, uncertainty = self.region.array_hu, self.region.uncertainty_hu
        if described_by is None:
            return density_model(
                volume,
                voxel_kji,
                uncertainty_hu=uncertainty,
                widen_homogeneous=self.widen_homogeneous,
            )
        return correction_model(
            volume,
            voxel_kji,
            first=self.model(described_by),
            uncertainty_hu=uncertainty,
            widen_homogeneous=self.widen_homogeneous,
        )

    def positive(self, voxels_kji: IndexArray) -> FloatArray:
        """Measure the distance to the nearest positive click.

        Parameters
        ----------
        voxels_kji : ndarray, shape (n, 3), intp
            Positive working voxels, the first click first.

        Returns
        -------
        ndarray, shape (k, j, i), float32
            Distance d+ in budgets, at most 4.
        """
        first = to_triple(voxels_kji[0])
        own = self._distance(first, FIRST_BUDGET)
        nearest = own
        for voxel in voxels_kji[1:]:
            correction = self._distance(to_triple(voxel), CORRECTION_BUDGET, described_by=first)
            floor = self._correction_floor(voxel, own)
            nearest = np.minimum(nearest, np.maximum(correction, floor))
        return nearest

    def negative(self, voxels_kji: IndexArray, positive: FloatArray) -> FloatArray | None:
        """Measure the distance to the nearest negative click.

        Parameters
        ----------
        voxels_kji : ndarray, shape (n, 3), intp
            Negative working voxels.
        positive : ndarray, shape (k, j, i), float32
            Distance d+ of the positive clicks, in budgets.

        Returns
        -------
        ndarray, shape (k, j, i), float32, or None
            Distance d- in budgets; None if there is no negative click.
        """
        if not len(voxels_kji):
            return None
        nearest = np.full(positive.shape, np.inf, dtype=np.float32)
        for voxel in voxels_kji:
            front = self._distance(to_triple(voxel), FIRST_BUDGET)
            floor = self._locality(voxel, positive)
            np.minimum(nearest, np.maximum(front, floor), out=nearest)
        return nearest

    def attention(self, positive_kji: IndexArray, negative_kji: IndexArray) -> FloatArray:
        """Compute the density-aware attention of a set of clicks.

        Parameters
        ----------
        positive_kji, negative_kji : ndarray, shape (n, 3), intp
            Clicked working voxels, the first positive click first.

        Returns
        -------
        ndarray, shape (k, j, i), float32
            Attention in (0, 1).
        """
        positive = self.positive(positive_kji)
        return density_attention(positive, self.negative(negative_kji, positive))

    def ambiguity(
        self, positive_kji: IndexArray, negative_kji: IndexArray, *, inside: BoolArray | None = None
    ) -> float:
        """Tell how much of the object's surface was set by the budget and not by its density.

        Parameters
        ----------
        positive_kji, negative_kji : ndarray, shape (n, 3), intp
            Clicked working voxels, the first positive click first.
        inside : ndarray, shape (k, j, i), bool, optional
            Working voxels in the box around the object.

        Returns
        -------
        float
            Share, in [0, 1], of the voxels just beyond the budget (d+ from 1 to 1.3) whose density
            is the first click's (D above 0.6), and which no negative click claims.

        Notes
        -----
        Where an object ends in other tissue, its front slows down and the share is small. Where it
        ends in tissue of its own density, the density model cannot tell the object from what
        touches it. On 76 targets the share ranked masks of which more than half lay outside the
        object above the others with an area under the curve of 0.80; above 0.5 were 11 of the 19
        such masks, and 7 of the other 57.
        """
        positive = self.positive(positive_kji)
        shell = (positive >= 1) & (positive < SHELL)
        alike = self.model(to_triple(positive_kji[0])).likelihood(self._smoothed_hu) > ALIKE
        open_end = shell & alike
        negative = self.negative(negative_kji, positive)
        if negative is not None:
            open_end &= negative > positive
        if inside is not None:
            open_end &= inside
        return float(open_end.sum() / max(int(shell.sum()), 1))

    def _locality(self, voxel_kji: IndexArray, positive: FloatArray) -> FloatArray:
        """Give the least distance d- that a negative click can have, in budgets."""
        return self._floor(voxel_kji, positive >= 1, least_depth=MIN_DEPTH)

    def _correction_floor(self, voxel_kji: IndexArray, first: FloatArray) -> FloatArray:
        """Give the least distance d+ that a correcting click can have, in budgets."""
        held = first < 1
        other_side = ~held if held[to_triple(voxel_kji)] else held
        return self._floor(voxel_kji, other_side, least_depth=MIN_CORRECTION_DEPTH)

    def _floor(
        self, voxel_kji: IndexArray, other_side: npt.NDArray[np.bool_], *, least_depth: float
    ) -> FloatArray:
        """Give ``|x - x_i| / (4 r_i)``: r_i is how deep the click lies on its side of a surface."""
        away_mm = distances_mm(voxel_kji, other_side.shape, self.region.axes_mm)
        depth_mm = float(away_mm[other_side].min()) if other_side.any() else np.inf
        reach_mm = LOCALITY * max(depth_mm, least_depth * self.region.reference_mm)
        return away_mm / np.float32(reach_mm)

    def _distance(
        self,
        voxel_kji: tuple[int, int, int],
        budget: float,
        *,
        described_by: tuple[int, int, int] | None = None,
    ) -> FloatArray:
        """Give the front of one click in its budget, from the cache if it is there."""
        key = (voxel_kji, budget, described_by)
        if key not in self._distances:
            model = self.model(voxel_kji, described_by=described_by)
            self._distances[key] = self._front(voxel_kji, budget, model)
        return self._distances[key]

    def _front(
        self, voxel_kji: tuple[int, int, int], budget: float, model: DensityModel
    ) -> FloatArray:
        """Compute the front of one click."""
        # Compiling takes seconds on the first use, which no other import should pay for.
        from NASAM3DLib.segment.geodesic import geodesic_distance

        region = self.region
        likelihood = model.likelihood(self._smoothed_hu, uncertainty_hu=region.uncertainty_hu)
        penalised = bridge_penalised(
            likelihood, sigma_voxels=BRIDGE_SIGMA / region.relative_spacing_kji
        )
        distance = geodesic_distance(
            path_cost(penalised, reference_mm=region.reference_mm),
            cross(voxel_kji, region.array_hu.shape),
            axes_mm=region.axes_mm,
            budget=REACH * budget,
        )
        return np.asarray(np.minimum(distance / budget, REACH), dtype=np.float32)


def cross(voxel_kji: npt.ArrayLike, shape_kji: tuple[int, ...]) -> IndexArray:
    """List a voxel and its six neighbours.

    Parameters
    ----------
    voxel_kji : array_like, shape (3,), int
        A voxel.
    shape_kji : tuple of int
        Shape of the array; neighbours outside it are left out.

    Returns
    -------
    ndarray, shape (n, 3), intp
    """
    steps = np.concatenate([np.zeros((1, 3), np.intp), np.eye(3, dtype=np.intp)])
    voxels = np.asarray(voxel_kji) + np.concatenate([steps, -steps[1:]])
    inside = ((voxels >= 0) & (voxels < shape_kji)).all(axis=1)
    return np.asarray(voxels[inside], dtype=np.intp)


def distances_mm(
    voxel_kji: npt.ArrayLike, shape_kji: tuple[int, ...], axes_mm: npt.NDArray[np.float64]
) -> FloatArray:
    """Measure the straight distance of every voxel from one voxel.

    Parameters
    ----------
    voxel_kji : array_like, shape (3,), int
        The voxel.
    shape_kji : tuple of int
        Shape of the array.
    axes_mm : ndarray, shape (3, 3), float64
        Row a: displacement of one step along array axis a, mm.

    Returns
    -------
    ndarray, shape (k, j, i), float32
        Distance, mm.
    """
    steps = [np.arange(n) - c for n, c in zip(shape_kji, np.asarray(voxel_kji), strict=True)]
    offsets = np.ix_(*(step.astype(np.float32) for step in steps))
    squared = np.zeros(shape_kji, dtype=np.float32)
    for column in axes_mm.T.astype(np.float32):
        squared += sum(a * offset for a, offset in zip(column, offsets, strict=True)) ** 2
    return np.sqrt(squared)
