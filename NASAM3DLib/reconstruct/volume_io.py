"""Volumes from image files and DICOM folders, and to image files."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from NASAM3DLib.files import replacing
from NASAM3DLib.reconstruct.volume import Quantity, Volume
from NASAM3DLib.scan.images import (
    IMAGE_ENDINGS,
    ending_of,
    grid_of,
    image_on,
    read_image,
    simple_itk,
    write_image,
)

logger = logging.getLogger(__name__)

QUANTITY_KEYS = ("NASAM3D_quantity", "ITK_FileNotes")
"""Where a file says what its values are: NRRD and MetaImage, NIfTI (its ``descrip``)."""

QUANTITY_NOTES = {"attenuation": "attenuation 1/mm", "HU": "HU"}

LARGEST_ATTENUATION = 2.0
"""No tissue or metal of a scan attenuates more than this, 1/mm; no CT in HU stays below it."""


def load_volume(path: Path | str, *, quantity: Quantity | None = None) -> Volume:
    """Read a volume.

    Parameters
    ----------
    path : Path or str
        NRRD, NIfTI or MetaImage file, or a folder with a DICOM series.
    quantity : {"attenuation", "HU"}, optional
        What the values are. By default what the file says, else HU.

    Returns
    -------
    Volume
        Of a folder with several series the one with the most slices.

    Raises
    ------
    FileNotFoundError
        If there is no such file or folder, or no DICOM series in the folder.
    ValueError
        If the file is damaged, is not one three-dimensional scalar image, has values that are not
        finite, or values that cannot be HU although nothing says what they are.
    """
    path = Path(path)
    image = _read_series(path) if path.is_dir() else read_image(path)
    sitk = simple_itk()
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise ValueError(
            f"{path} must hold one value per voxel, got {image.GetNumberOfComponentsPerPixel()}: "
            "colour images and vector fields are no volumes."
        )
    grid = grid_of(image, path)
    array = np.asarray(sitk.GetArrayFromImage(image), dtype=np.float32)
    try:
        return Volume(array, grid, _quantity(path, image, quantity, array))
    except ValueError as error:
        raise ValueError(f"{path} cannot be used: {error}") from error


def save_volume(volume: Volume, path: Path | str, *, force: bool = False) -> None:
    """Write a volume with its place in space and its quantity.

    Parameters
    ----------
    volume : Volume
        What to write, without its uncertainty.
    path : Path or str
        File to be written: ``.nrrd``, ``.nii.gz`` or ``.mha``. Its folder is made if need be.
    force : bool
        Whether an existing file may be replaced.

    Raises
    ------
    FileExistsError
        If the file exists and must not be replaced.
    ValueError
        If the ending is not known, or the grid's axes are not at right angles.
    """
    path = Path(path)
    if ending_of(path) not in IMAGE_ENDINGS:
        raise ValueError(
            f"A volume cannot be written as {path.name}: end the name with one of "
            f"{', '.join(IMAGE_ENDINGS)}."
        )
    image = image_on(volume.array, volume.grid)
    for key in QUANTITY_KEYS:
        image.SetMetaData(key, QUANTITY_NOTES[volume.quantity])
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, force=force) as passing:
        write_image(image, passing)


def _quantity(path: Path, image: Any, wanted: Quantity | None, array: Any) -> Quantity:
    """Decide what the values are: by the argument, by the file, or HU."""
    if wanted is not None:
        return wanted
    for key in QUANTITY_KEYS:
        note = image.GetMetaData(key) if image.HasMetaDataKey(key) else ""
        for quantity, text in QUANTITY_NOTES.items():
            if note.strip() == text:
                return "attenuation" if quantity == "attenuation" else "HU"
    least, largest = float(np.nanmin(array)), float(np.nanmax(array))
    if 0 <= least < largest <= LARGEST_ATTENUATION:
        raise ValueError(
            f"its values run from {least:.4g} to {largest:.4g}, which is no CT in HU, and the file "
            'does not say what they are: give quantity="attenuation" if they are in 1/mm.'
        )
    return "HU"


def _read_series(folder: Path) -> Any:
    """Read the DICOM series with the most slices; values are rescaled to HU by the reader."""
    sitk = simple_itk()
    reader = sitk.ImageSeriesReader()
    series = {
        name: reader.GetGDCMSeriesFileNames(str(folder), name)
        for name in reader.GetGDCMSeriesIDs(str(folder))
    }
    if not series:
        raise FileNotFoundError(
            f"There is no DICOM series in {folder}: choose the folder that holds the slices "
            "themselves."
        )
    chosen = max(series, key=lambda name: len(series[name]))
    if len(series) > 1:
        logger.warning(
            "%s holds %d DICOM series; the one with the most slices (%d) is read: %s",
            folder,
            len(series),
            len(series[chosen]),
            chosen,
        )
    reader.SetFileNames(series[chosen])
    try:
        return reader.Execute()
    except RuntimeError as error:
        reason = " ".join(str(error).split())[-200:]
        raise ValueError(
            f"The DICOM series {chosen} in {folder} cannot be read ({reason}): is it complete?"
        ) from error
