"""Band-limited random fields that are fixed in the phantom, whatever the grid."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from NASAM3DLib.phantom.lattice import Float32, Lattice

PERIOD = 40
"""Number of lattice points after which the field repeats."""


class BandNoise:
    """A smooth random field of zero mean and unit standard deviation.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of the random numbers.
    scale_mm : float
        Size of the blobs (full width of the correlation at half height), mm.

    Notes
    -----
    White noise on a periodic lattice, low-passed by a Gaussian of one lattice step so that linear
    interpolation between lattice points is accurate. The correlation of a Gaussian filter of
    standard deviation s is a Gaussian of sqrt(2) s, whose half width is 1.665 s, full width 3.33 s.
    """

    def __init__(self, rng: np.random.Generator, scale_mm: float) -> None:
        from scipy.ndimage import gaussian_filter

        values = rng.standard_normal((PERIOD,) * 3, dtype=np.float32)
        values = gaussian_filter(values, 1.0, mode="wrap")
        self._values: Float32 = np.asarray(values / values.std(), dtype=np.float32)
        self._step_mm = scale_mm / 3.33
        self._shift: npt.NDArray[np.float64] = rng.uniform(0, PERIOD, 3)

    def sample(self, at: Lattice) -> Float32:
        """Evaluate the field.

        Parameters
        ----------
        at : Lattice
            Points.

        Returns
        -------
        ndarray, shape of the lattice, float32
        """
        from scipy.ndimage import map_coordinates

        step = np.float32(1 / self._step_mm)
        points = np.stack(
            [
                c * step + np.float32(shift)
                for c, shift in zip((at.z, at.y, at.x), self._shift, strict=True)
            ]
        )
        return np.asarray(
            map_coordinates(self._values, points, order=1, mode="grid-wrap", prefilter=False),
            dtype=np.float32,
        )
