"""The energy of a segmentation as a function of the attenuation field that it was made on.

References
----------
.. [1] T. F. Chan, L. A. Vese, "Active contours without edges", IEEE Trans. Image Process. 10(2),
   2001, eq. 2 and 5.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from NASAM3DLib.reconstruct.field import AttenuationField
from NASAM3DLib.scan.grid import VolumeGrid


def segmentation_energy(attenuation: Tensor, soft_mask: Tensor) -> Tensor:
    """Measure how far a volume is from even inside and even outside of an object.

    Parameters
    ----------
    attenuation : Tensor, shape (k, j, i)
        Attenuation x, 1/mm.
    soft_mask : Tensor, shape (k, j, i)
        Probability m of the object; may itself depend on the attenuation.

    Returns
    -------
    Tensor, shape ()
        Mean squared deviation, 1/mm^2.

    Raises
    ------
    ValueError
        If the shapes differ.

    Notes
    -----
    The region terms of [1]_ for a soft mask, with n voxels::

        E(x, m) = 1/n sum m (x - c_in)^2 + (1 - m) (x - c_out)^2,
        c_in = sum m x / sum m,    c_out = sum (1 - m) x / sum (1 - m).

    The means minimise E, so that ``dE/dx = 2/n (m (x - c_in) + (1 - m) (x - c_out))`` and
    ``dE/dm = 1/n ((x - c_in)^2 - (x - c_out)^2)``.
    """
    if attenuation.shape != soft_mask.shape:
        raise ValueError(
            "Attenuation and soft mask must have the same shape, got "
            f"{tuple(attenuation.shape)} and {tuple(soft_mask.shape)}."
        )
    outside = 1 - soft_mask
    tiny = torch.finfo(attenuation.dtype).tiny
    mean_inside = (soft_mask * attenuation).sum() / soft_mask.sum().clamp(min=tiny)
    mean_outside = (outside * attenuation).sum() / outside.sum().clamp(min=tiny)
    inside_terms = soft_mask * (attenuation - mean_inside).square()
    outside_terms = outside * (attenuation - mean_outside).square()
    return (inside_terms + outside_terms).mean()


def field_on_lattice(field: AttenuationField, grid: VolumeGrid) -> Tensor:
    """Evaluate a field at all voxel centres so that gradients reach its parameters.

    Parameters
    ----------
    field : AttenuationField
        The field.
    grid : VolumeGrid
        Voxels.

    Returns
    -------
    Tensor, shape (k, j, i)
        Attenuation, 1/mm, in the field's own precision.
    """
    k, j, i = np.indices(grid.shape_kji, dtype=np.float64).reshape(3, -1)
    weight = field.output.weight
    points = torch.from_numpy(grid.to_ras(np.stack([i, j, k], axis=1)))
    values = field.attenuation(points.to(weight.device, weight.dtype))
    return values.reshape(grid.shape_kji)


def field_segmentation_energy(
    field: AttenuationField, grid: VolumeGrid, soft_mask: Tensor
) -> Tensor:
    """Measure a segmentation's energy on a field; differentiable in the field's parameters.

    Parameters
    ----------
    field : AttenuationField
        The field.
    grid : VolumeGrid
        Voxels of the mask.
    soft_mask : Tensor, shape (k, j, i)
        Probability of the object.

    Returns
    -------
    Tensor, shape ()
        As :func:`segmentation_energy` gives it, 1/mm^2.
    """
    return segmentation_energy(field_on_lattice(field, grid), soft_mask)
