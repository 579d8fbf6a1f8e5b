"""One volume under the network: regions around clicks, embeddings kept, logits where wanted."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.components import keep_components
from NASAM3DLib.segment.prompts import POSITIVE, Prompts
from NASAM3DLib.segment.sam_med3d.canonical import (
    CanonicalVolume,
    Triple,
    canonical_volume,
    held_by,
    voxels_in,
)
from NASAM3DLib.segment.sam_med3d.click_loop import ClickLoop, ClickMemory
from NASAM3DLib.segment.sam_med3d.inference import ClickedVoxels, Predictor
from NASAM3DLib.segment.sam_med3d.region_cut import begin_around_voxel, cut_region

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

MAX_EMBEDDINGS = 64
"""Regions whose embeddings are kept, 0.8 MB each."""


@dataclass(frozen=True, eq=False)
class LogitField:
    """Logits of an object on a part of a volume.

    Parameters
    ----------
    values : ndarray, shape (k, j, i), float32
        Logits.
    grid : VolumeGrid
        Where they lie; not the volume's own voxels.
    """

    values: FloatArray
    grid: VolumeGrid

    def object_of(self, prompts: Prompts) -> BoolArray:
        """Mark the parts of the object that hold a positive point.

        Parameters
        ----------
        prompts : Prompts
            Points anywhere.

        Returns
        -------
        ndarray, shape (k, j, i), bool
        """
        points = prompts.positive_ras[held_by(self.grid, prompts.positive_ras)]
        voxels = voxels_in(self.grid, points)[:, ::-1].astype(np.intp)
        return keep_components(self.values > 0, voxels)


@dataclass(frozen=True, eq=False)
class PlacedRegion:
    """A region with its embedding, ready for clicks.

    Parameters
    ----------
    factor : int
        Its voxels, in those of 1.5 mm.
    begin_ijk : tuple of int
        Its first voxel in the canonical volume of that spacing.
    loop : ClickLoop
        The embedding and what was clicked on it.
    """

    factor: int
    begin_ijk: Triple
    loop: ClickLoop

    @property
    def grid(self) -> VolumeGrid:
        """Grid of the region."""
        return self.loop.embedding.grid

    def shown(self, prompts: Prompts) -> ClickedVoxels:
        """Give the clicks that lie in the region.

        Parameters
        ----------
        prompts : Prompts
            All clicks, in their order.

        Returns
        -------
        ClickedVoxels
        """
        held = held_by(self.grid, prompts.points_ras)
        voxels = voxels_in(self.grid, prompts.points_ras[held])
        return ClickedVoxels(voxels, prompts.labels[held])


class VolumeSession:
    """A volume and what the network has seen of it.

    Parameters
    ----------
    predictor : Predictor
        The network.
    volume : Volume
        In 1/mm or HU.
    memory : {"all", "latest"}
        What a step of the click loop is shown.
    """

    def __init__(
        self, predictor: Predictor, volume: Volume, *, memory: ClickMemory = "all"
    ) -> None:
        self.predictor = predictor
        self.memory = memory
        self._canonical: dict[int, CanonicalVolume] = {1: canonical_volume(volume)}
        self._placed: OrderedDict[tuple[int, Triple], PlacedRegion] = OrderedDict()

    def canonical(self, factor: int = 1) -> CanonicalVolume:
        """Give the volume in isotropic voxels.

        Parameters
        ----------
        factor : int
            Their edge, in units of 1.5 mm.

        Returns
        -------
        CanonicalVolume
        """
        if factor not in self._canonical:
            self._canonical[factor] = self._canonical[1].coarsened(factor)
        return self._canonical[factor]

    def place_around(self, point_ras: npt.ArrayLike, *, factor: int = 1) -> PlacedRegion:
        """Place a region with a point in its middle.

        Parameters
        ----------
        point_ras : array_like, shape (3,)
            The point, mm.
        factor : int
            Edge of its voxels, in units of 1.5 mm.

        Returns
        -------
        PlacedRegion
        """
        voxel = self.canonical(factor).voxel_at(point_ras)
        return self.place(begin_around_voxel(voxel, self.predictor.region_size), factor=factor)

    def place(self, begin_ijk: Triple, *, factor: int = 1) -> PlacedRegion:
        """Place a region; its embedding is computed unless it is kept from before.

        Parameters
        ----------
        begin_ijk : tuple of int
            First voxel.
        factor : int
            Edge of its voxels, in units of 1.5 mm.

        Returns
        -------
        PlacedRegion

        Raises
        ------
        ValueError
            If nothing in the region is above 0 HU.
        """
        key = (factor, begin_ijk)
        if key not in self._placed:
            region = cut_region(self.canonical(factor), begin_ijk, self.predictor.region_size)
            loop = ClickLoop(self.predictor, self.predictor.embed(region), memory=self.memory)
            while len(self._placed) >= MAX_EMBEDDINGS:
                self._placed.popitem(last=False)
            self._placed[key] = PlacedRegion(factor, begin_ijk, loop)
        self._placed.move_to_end(key)
        return self._placed[key]

    def clicked(self, region: PlacedRegion, prompts: Prompts) -> LogitField:
        """Run the clicks in a region through the network.

        Parameters
        ----------
        region : PlacedRegion
            Holds at least one of the clicks.
        prompts : Prompts
            All clicks.

        Returns
        -------
        LogitField
            On the region's voxels.
        """
        low = region.loop.logits(region.shown(prompts))
        return LogitField(self.predictor.upsampled(low), region.grid)

    def is_whole(self, region: PlacedRegion, field: LogitField, prompts: Prompts) -> bool:
        """Tell whether a region holds all clicks and, as it seems, all of the object.

        Parameters
        ----------
        region : PlacedRegion
            The region.
        field : LogitField
            Logits on it.
        prompts : Prompts
            All clicks.

        Returns
        -------
        bool
            False if a click lies outside, or the object reaches a face behind which the volume
            goes on.
        """
        if not held_by(region.grid, prompts.points_ras).all():
            return False
        found = field.object_of(prompts)
        counts = self.canonical(region.factor).array_hu.shape
        for axis, (begin, count) in enumerate(zip(region.begin_ijk[::-1], counts, strict=True)):
            faces = np.moveaxis(found, axis, 0)
            if (begin > 0 and faces[0].any()) or (begin + len(faces) < count and faces[-1].any()):
                return False
        return True


def anchor_of(prompts: Prompts) -> npt.NDArray[np.float64]:
    """Give the point around which the first region lies: the first positive one.

    Parameters
    ----------
    prompts : Prompts
        At least one point is positive.

    Returns
    -------
    ndarray, shape (3,), float64
        RAS, mm.
    """
    return np.asarray(prompts.points_ras[int(np.argmax(prompts.labels == POSITIVE))])
