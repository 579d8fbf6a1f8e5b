"""A binary mask that knows its grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.components import tidied
from NASAM3DLib.segment.prompt_voxels import marked_voxels
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
        """List the clicks and scribbles that the mask contradicts.

        Parameters
        ----------
        prompts : Prompts
            Points inside the grid.

        Returns
        -------
        list of int
            Indices of positive points outside the mask and of negative points inside it; all points
            of a scribble if the mask contradicts any voxel of it.
        """
        wrong: list[int] = []
        for part, mark in zip(prompts.parts, marked_voxels(prompts, self.grid), strict=True):
            positive = bool(prompts.labels[part.start] == POSITIVE)
            if (self.array[tuple(mark.T)] != positive).any():
                wrong.extend(range(part.start, part.stop))
        return wrong

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
        sides: list[list[npt.NDArray[np.intp]]] = [[np.zeros((0, 3), dtype=np.intp)] for _ in "-+"]
        for part, mark in zip(prompts.parts, marked_voxels(prompts, self.grid), strict=True):
            sides[int(prompts.labels[part.start])].append(mark)
        positive, negative = (np.concatenate(sides[label]) for label in (POSITIVE, NEGATIVE))
        return Mask(tidied(self.array, positive, negative), self.grid)
