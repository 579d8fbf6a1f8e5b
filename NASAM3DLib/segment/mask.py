"""A binary mask that knows its grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.components import tidied
from NASAM3DLib.segment.prompts import NEGATIVE, POSITIVE, Prompts

MM3_PER_ML = 1000.0


@dataclass(frozen=True, eq=False)
class Mask:
    """Voxels that belong to an object.

    Parameters
    ----------
    array : ndarray, shape (k, j, i), bool
        True inside the object.
    grid : VolumeGrid
        Where the voxels lie.

    Raises
    ------
    ValueError
        If the shapes disagree or the array holds anything but 0 and 1.
    """

    array: npt.NDArray[np.bool_]
    grid: VolumeGrid

    def __post_init__(self) -> None:
        array = np.asarray(self.array)
        if array.shape != self.grid.shape_kji:
            raise ValueError(
                f"Mask.array must have shape (k, j, i) = {self.grid.shape_kji} as its grid, got "
                f"{array.shape}."
            )
        if array.dtype != np.bool_:
            if not np.isin(array, (0, 1)).all():
                raise ValueError(
                    "Mask.array must hold only 0 and 1: pick one label of a label map first."
                )
            array = array.astype(np.bool_)
        object.__setattr__(self, "array", array)

    @property
    def n_voxels(self) -> int:
        """Number of voxels inside."""
        return int(np.count_nonzero(self.array))

    @property
    def volume_ml(self) -> float:
        """Volume of the object in millilitres."""
        return self.n_voxels * self.grid.voxel_volume_mm3 / MM3_PER_ML

    def disagreements(self, prompts: Prompts) -> list[int]:
        """List the points that the mask contradicts.

        Parameters
        ----------
        prompts : Prompts
            Points inside the grid.

        Returns
        -------
        list of int
            Indices of positive points outside the mask and of negative points inside it.
        """
        if not len(prompts):
            return []
        inside = self.array[tuple(prompts.voxels(self.grid).T)]
        expected = prompts.labels == POSITIVE
        return [int(n) for n in np.flatnonzero(inside != expected)]

    def tidied(self, prompts: Prompts) -> Mask:
        """Force the clicks, keep the parts that hold a positive one and fill the holes.

        Parameters
        ----------
        prompts : Prompts
            Points inside the grid.

        Returns
        -------
        Mask
            Agrees with every point. Each of its components holds a positive point, and each of its
            holes a negative one.
        """
        voxels = prompts.voxels(self.grid)
        positive, negative = (voxels[prompts.labels == label] for label in (POSITIVE, NEGATIVE))
        return Mask(tidied(self.array, positive, negative), self.grid)
