"""First-order correction of beam hardening: what a polychromatic beam makes of water is undone.

References
----------
.. [1] G. T. Herman, "Correction for beam hardening in computed tomography", Phys. Med. Biol. 24(1),
   1979.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from NASAM3DLib.scan.physics import REFERENCE_KEV, Spectrum, attenuation, harden, tube_spectrum
from NASAM3DLib.scan.projections import ProjectionSet

Float32Array = npt.NDArray[np.float32]

DEFAULT_DEGREE = 4
LONGEST_WATER_MM = 450.0
N_PATHS = 256


@dataclass(frozen=True)
class Linearisation:
    """A polynomial that turns measured logarithmic attenuation into line integrals.

    Parameters
    ----------
    coefficients : tuple of float
        c_1, c_2, ... of ``p = c_1 q + c_2 q^2 + ...``: air stays 0.
    largest : float
        Measured attenuation up to which the polynomial is valid; beyond, it goes on as a straight
        line.

    Raises
    ------
    ValueError
        If there is no coefficient or the polynomial does not rise everywhere up to ``largest``.
    """

    coefficients: tuple[float, ...]
    largest: float = 10.0

    def __post_init__(self) -> None:
        if not self.coefficients or not np.isfinite([*self.coefficients, self.largest]).all():
            raise ValueError(
                "Linearisation.coefficients must be one or more finite numbers c_1, c_2, ..., and "
                f"largest a number, got {self.coefficients} and {self.largest}."
            )
        if self.largest <= 0:
            raise ValueError(f"Linearisation.largest must be positive, got {self.largest}.")
        slopes = self._polynomial.deriv()(np.linspace(0.0, self.largest, N_PATHS))
        if slopes.min() <= 0:
            raise ValueError(
                f"The polynomial with the coefficients {self.coefficients} falls somewhere below "
                f"{self.largest:g}, but more attenuation must mean a longer path: check the order "
                "of the coefficients, c_1 comes first."
            )

    @property
    def _polynomial(self) -> np.polynomial.Polynomial:
        """The polynomial with its constant 0."""
        return np.polynomial.Polynomial([0.0, *self.coefficients])

    def apply(self, measured: npt.ArrayLike) -> Float32Array:
        """Linearise.

        Parameters
        ----------
        measured : array_like
            Logarithmic attenuation.

        Returns
        -------
        ndarray, float32
            Line integrals. Below zero, where only noise gets, the slope at zero goes on.
        """
        q = np.asarray(measured, dtype=np.float64)
        inside = np.clip(q, 0.0, self.largest)
        end_slope = float(self._polynomial.deriv()(self.largest))
        beyond = np.where(q < 0, self.coefficients[0], end_slope) * (q - inside)
        return np.asarray(self._polynomial(inside) + beyond, dtype=np.float32)


def water_linearisation(
    spectrum: Spectrum | None = None,
    *,
    degree: int = DEFAULT_DEGREE,
    longest_mm: float = LONGEST_WATER_MM,
) -> Linearisation:
    """Fit the polynomial that makes water linear.

    Parameters
    ----------
    spectrum : Spectrum, optional
        By default 120 kV behind 8 mm of aluminium.
    degree : int
        Degree of the polynomial.
    longest_mm : float
        Longest path through water, mm.

    Returns
    -------
    Linearisation
        Its line integrals are those at 60 keV.

    Raises
    ------
    ValueError
        If the degree is not between 1 and 8 or the length not positive.

    Notes
    -----
    For water of thickness t a polychromatic beam measures ``q(t) = -ln sum_E w(E) exp(-mu(E) t)``
    instead of ``mu(60 keV) t``. The polynomial is the least-squares fit of the second by the first,
    relative to the path, over 256 thicknesses ([1]_).
    """
    if not 1 <= degree <= 8:
        raise ValueError(f"The degree of the polynomial must be 1 to 8, got {degree}.")
    if not 0 < longest_mm < np.inf:
        raise ValueError(f"longest_mm must be positive, got {longest_mm}.")
    spectrum = spectrum or tube_spectrum()
    reference = float(attenuation("water", REFERENCE_KEV))
    path = np.linspace(0.0, longest_mm * reference, N_PATHS + 1)[1:]
    measured = harden(path, np.zeros_like(path), spectrum).astype(np.float64)
    powers = measured[:, None] ** np.arange(1, degree + 1)
    fitted, *_ = np.linalg.lstsq(powers / path[:, None], np.ones_like(path), rcond=None)
    return Linearisation(tuple(float(c) for c in fitted), float(measured[-1]))


def water_correction(
    projection_set: ProjectionSet, *, linearisation: Linearisation | None = None
) -> ProjectionSet:
    """Undo the hardening of water.

    Parameters
    ----------
    projection_set : ProjectionSet
        Logarithmic attenuation as a polychromatic beam gives it.
    linearisation : Linearisation, optional
        Polynomial, from :func:`water_linearisation` or measured with a wedge of water. By default
        that of 120 kV behind 8 mm of aluminium.

    Returns
    -------
    ProjectionSet
        Line integrals; those of bone remain too small.
    """
    linearisation = linearisation or water_linearisation()
    return ProjectionSet(linearisation.apply(projection_set.projections), projection_set.geometry)
