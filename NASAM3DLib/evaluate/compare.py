"""Figures of several volumes or masks against the truth, in tables."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from NASAM3DLib.evaluate.metrics import CT_RANGE_HU, dice, iou, psnr, rmse, ssim
from NASAM3DLib.evaluate.resample import resample_mask, resample_volume
from NASAM3DLib.evaluate.surfaces import asd_mm, hd95_mm
from NASAM3DLib.evaluate.tables import Cell, Column, Table
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.mask import Mask


def compare_volumes(
    volumes: Mapping[str, Volume], reference: Volume, *, data_range_hu: float = CT_RANGE_HU
) -> Table:
    """Tabulate how far volumes are from the truth.

    Parameters
    ----------
    volumes : mapping of str to Volume
        Volumes to judge, by name.
    reference : Volume
        The truth. It is averaged onto the grid of each volume.
    data_range_hu : float
        Peak of PSNR and span of SSIM, HU.

    Returns
    -------
    Table
        PSNR, SSIM, root-mean-square and mean error of each volume, where both volumes exist.

    Raises
    ------
    ValueError
        If a volume does not overlap with the reference.
    """
    rows = []
    for name, volume in volumes.items():
        box = _common_box(volume.grid, reference.grid, name)
        found = volume.to_hu().array[box].astype(np.float64)
        truth = resample_volume(reference, volume.grid).to_hu().array[box].astype(np.float64)
        quality = psnr(found, truth, data_range=data_range_hu)
        similarity = ssim(found, truth, data_range=data_range_hu)
        bias = float((found - truth).mean())
        rows.append((name, quality, similarity, rmse(found, truth), bias))
    columns = (
        Column("Volume"),
        Column("PSNR (dB)", 2),
        Column("SSIM", 4),
        Column("RMSE (HU)", 1),
        Column("mean error (HU)", 1),
    )
    caption = (
        f"All voxels against the truth on the same grid. PSNR with a peak of {data_range_hu:g} HU; "
        f"SSIM with windows of 7x7x7 voxels and a range of {data_range_hu:g} HU."
    )
    return Table(columns, tuple(rows), caption)


def compare_masks(masks: Mapping[str, Mask], reference: Mask) -> Table:
    """Tabulate how well masks agree with the truth.

    Parameters
    ----------
    masks : mapping of str to Mask
        Masks to judge, by name. They are brought onto the reference's grid.
    reference : Mask
        The truth.

    Returns
    -------
    Table
        Dice, IoU, HD95, ASD and volume of each mask. Distances of an empty mask are not defined.

    Raises
    ------
    ValueError
        If the reference is empty.
    """
    rows = []
    for name, mask in masks.items():
        found = resample_mask(mask, reference.grid)
        distances: tuple[Cell, Cell] = (None, None)
        overlap = dice(found, reference), iou(found, reference)
        if found.n_voxels:
            distances = hd95_mm(found, reference), asd_mm(found, reference)
        rows.append((name, *overlap, *distances, mask.volume_ml))
    columns = (
        Column("Mask"),
        Column("Dice", 3),
        Column("IoU", 3),
        Column("HD95 (mm)", 2),
        Column("ASD (mm)", 2),
        Column("volume (ml)", 1),
    )
    caption = (
        f"Against the true mask of {reference.volume_ml:.1f} ml. HD95: the larger of the two "
        "directed 95th percentiles of surface distance; ASD: mean symmetric surface distance."
    )
    return Table(columns, tuple(rows), caption)


def _common_box(grid: VolumeGrid, other: VolumeGrid, name: str) -> tuple[slice, slice, slice]:
    """Give the slices of the first grid that just hold its voxels inside the other."""
    indices = np.moveaxis(np.indices(grid.shape_kji)[::-1], 0, -1)
    inside = np.argwhere(other.contains(grid.to_ras(indices)))
    if not len(inside):
        raise ValueError(
            f"The volume {name!r} and the reference do not overlap in space: check that both "
            "are in the coordinates of one patient."
        )
    low, high = inside.min(axis=0), inside.max(axis=0) + 1
    k, j, i = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return k, j, i
