"""The proximal step of total variation, on all cores.

References
----------
.. [1] A. Beck, M. Teboulle, "Fast gradient-based algorithms for constrained total variation image
   denoising and deblurring problems", IEEE Trans. Image Process. 18(11), 2009.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from NASAM3DLib.reconstruct import kernels_tv

Float32Array = npt.NDArray[np.float32]

MOST_SLABS = 64
"""Upper limit of the slabs that threads share; each holds at least 4 planes."""

DUAL_STEP = 1.0 / 12.0
"""1 / ||D D^T||: differences along three axes have squared norm at most 12 ([1]_, lemma 4.2)."""


class TotalVariationProx:
    """Warm-started solver of the total-variation denoising problem.

    Parameters
    ----------
    shape : tuple of int
        Shape of the arrays, in memory order.

    Notes
    -----
    :meth:`apply` minimises ``1/2 ||x - b||^2 + w TV(x)`` over ``x >= 0`` with the isotropic
    ``TV(x) = sum sqrt(dx^2 + dy^2 + dz^2)`` by the fast gradient projection on the dual ([1]_,
    algorithm FGP). The dual is kept between calls: inside an outer iteration, where b changes
    little, a few inner iterations then suffice.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._dual = np.zeros((3, *shape), dtype=np.float32)
        self._extrapolated = np.zeros((3, *shape), dtype=np.float32)
        self._n_slabs = max(1, min(shape[0] // 4, MOST_SLABS))

    def apply(self, image: Float32Array, weight: float, *, n_iterations: int = 6) -> Float32Array:
        """Denoise an image.

        Parameters
        ----------
        image : ndarray, float32
            The image b, C-contiguous.
        weight : float
            The weight w, in the unit of the image.
        n_iterations : int
            Inner iterations.

        Returns
        -------
        ndarray, float32
            The non-negative minimiser, up to the inner iterations' accuracy.

        Raises
        ------
        ValueError
            If the weight is negative.
        """
        if weight < 0:
            raise ValueError(f"The weight of total variation must not be negative, got {weight:g}.")
        if weight == 0:
            return np.maximum(image, 0)
        dual, momentum = self._dual, 1.0
        self._extrapolated[...] = dual
        for _ in range(n_iterations):
            following = (1 + math.sqrt(1 + 4 * momentum * momentum)) / 2
            beta = (momentum - 1) / following
            settings = np.array([weight, DUAL_STEP / weight, beta], dtype=np.float32)
            kernels_tv.dual_step(image, settings, self._n_slabs, dual, self._extrapolated)
            momentum = following
        result = np.empty_like(image)
        kernels_tv.primal(image, np.float32(weight), dual, result)
        return result
