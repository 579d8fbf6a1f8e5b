"""A volume: voxels, their place in patient space, and what their numbers mean."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from NASAM3DLib.scan.grid import VolumeGrid

Quantity = Literal["attenuation", "HU"]

WATER_ATTENUATION = 0.0206
"""Linear attenuation coefficient of water at 60 keV, 1/mm (NIST XCOM: 0.2059 cm2/g at 1 g/cm3)."""

AIR_ATTENUATION = 2.26e-5
"""Linear attenuation coefficient of air at 60 keV, 1/mm (0.1875 cm2/g at 1.205e-3 g/cm3)."""


@dataclass(frozen=True, eq=False)
class Volume:
    """Scalar voxels on a grid.

    Parameters
    ----------
    array : ndarray, shape (k, j, i), float32
        Voxel values: linear attenuation coefficients in 1/mm or Hounsfield units.
    grid : VolumeGrid
        Where the voxels lie.
    quantity : {"attenuation", "HU"}
        What the values are.
    uncertainty : ndarray, shape (k, j, i), float32, optional
        One standard deviation of each voxel, in the unit of ``array``.

    Raises
    ------
    ValueError
        If shapes disagree, a value is not finite, or the quantity is unknown.
    """

    array: npt.NDArray[np.float32]
    grid: VolumeGrid
    quantity: Quantity = "attenuation"
    uncertainty: npt.NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        if self.quantity not in ("attenuation", "HU"):
            raise ValueError(
                f'Volume.quantity must be "attenuation" or "HU", got {self.quantity!r}.'
            )
        object.__setattr__(self, "array", self._checked(self.array, "array"))
        if self.uncertainty is not None:
            object.__setattr__(self, "uncertainty", self._checked(self.uncertainty, "uncertainty"))

    def _checked(self, values: npt.ArrayLike, name: str) -> npt.NDArray[np.float32]:
        """Give the values as float32 after checking shape and finiteness."""
        array = np.asarray(values, dtype=np.float32)
        if array.shape != self.grid.shape_kji:
            raise ValueError(
                f"Volume.{name} must have shape (k, j, i) = {self.grid.shape_kji} as its grid, "
                f"got {array.shape}."
            )
        n_bad = int(array.size - np.count_nonzero(np.isfinite(array)))
        if n_bad:
            raise ValueError(
                f"Volume.{name} has {n_bad} values that are NaN or infinite: repair or mask them "
                "before making a volume."
            )
        return array

    def to_hu(self, *, water: float = WATER_ATTENUATION, air: float = AIR_ATTENUATION) -> Volume:
        """Convert to Hounsfield units.

        Parameters
        ----------
        water, air : float
            Attenuation of water and air in the same scale as the volume, 1/mm.

        Returns
        -------
        Volume
            The same volume if it is in HU already.

        Raises
        ------
        ValueError
            If water does not attenuate more than air.

        Notes
        -----
        ``HU = 1000 (mu - mu_water) / (mu_water - mu_air)``: water is 0 and air is -1000.
        """
        if self.quantity == "HU":
            return self
        scale = 1000.0 / _contrast(water, air)
        array = (self.array - np.float32(water)) * np.float32(scale)
        spread = None if self.uncertainty is None else self.uncertainty * np.float32(scale)
        return replace(self, array=array, quantity="HU", uncertainty=spread)

    def to_attenuation(
        self, *, water: float = WATER_ATTENUATION, air: float = AIR_ATTENUATION
    ) -> Volume:
        """Convert to linear attenuation coefficients, the inverse of :meth:`to_hu`.

        Parameters
        ----------
        water, air : float
            Attenuation of water and air, 1/mm.

        Returns
        -------
        Volume
            Values in 1/mm, not below zero; the same volume if it is attenuation already.

        Raises
        ------
        ValueError
            If water does not attenuate more than air.
        """
        if self.quantity == "attenuation":
            return self
        scale = _contrast(water, air) / 1000.0
        array = np.maximum(self.array * np.float32(scale) + np.float32(water), 0)
        spread = None if self.uncertainty is None else self.uncertainty * np.float32(scale)
        return replace(self, array=array, quantity="attenuation", uncertainty=spread)

    @property
    def unit(self) -> str:
        """Unit of the values: "1/mm" or "HU"."""
        return "HU" if self.quantity == "HU" else "1/mm"


def _contrast(water: float, air: float) -> float:
    """Give the attenuation difference between water and air, 1/mm."""
    if not water > air >= 0:
        raise ValueError(
            "Water must attenuate more than air and neither may be negative, got water = "
            f"{water:g}/mm and air = {air:g}/mm: measure both in the volume or leave the defaults."
        )
    return water - air
