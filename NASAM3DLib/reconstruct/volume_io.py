"""Volumes from image files and DICOM folders, and to image files.

The uncertainty of a volume lies beside it as an image of its own, ``ct.nii.gz`` and
``ct_uncertainty.nii.gz``, so that any viewer shows it. The second file names the voxels it belongs
to by their checksum: it is never taken for the uncertainty of another or a changed volume.
"""

from __future__ import annotations

import contextlib
import logging
import zlib
from dataclasses import replace
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

SPREAD_NOTE = "standard deviation"
"""How the note of a map of uncertainty begins."""

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
        With its uncertainty if :func:`save_volume` put one beside it. Of a folder with several
        series the one with the most slices.

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
        volume = Volume(array, grid, _quantity(path, image, quantity, array))
    except ValueError as error:
        raise ValueError(f"{path} cannot be used: {error}") from error
    return volume if path.is_dir() else _with_uncertainty(volume, uncertainty_path(path))


def save_volume(volume: Volume, path: Path | str, *, force: bool = False) -> None:
    """Write a volume with its place in space and its quantity, and its uncertainty beside it.

    Parameters
    ----------
    volume : Volume
        What to write. Its uncertainty, if there is one, goes to :func:`uncertainty_path`; if there
        is none, replacing a volume removes the one that lay beside it.
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
    beside = uncertainty_path(path)
    images = {path: _noted_image(volume.array, volume, QUANTITY_NOTES[volume.quantity])}
    if volume.uncertainty is not None:
        images[beside] = _noted_image(volume.uncertainty, volume, _spread_note(volume))
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        # Both are complete before either is moved into place, the volume last.
        for place, image in images.items():
            write_image(image, stack.enter_context(replacing(place, force=force)))
    if volume.uncertainty is None and force:
        beside.unlink(missing_ok=True)


def uncertainty_path(path: Path) -> Path:
    """Name the file that holds the uncertainty of a volume.

    Parameters
    ----------
    path : Path
        File of the volume.

    Returns
    -------
    Path
        ``ct_uncertainty.nii.gz`` for ``ct.nii.gz``.
    """
    ending = path.name[len(path.name) - len(ending_of(path)) :]
    return path.with_name(f"{path.name.removesuffix(ending)}_uncertainty{ending}")


def _noted_image(array: Any, volume: Volume, note: str) -> Any:
    """Put an array on the grid of a volume with a note of what it holds."""
    image = image_on(array, volume.grid)
    for key in QUANTITY_KEYS:
        image.SetMetaData(key, note)
    return image


def _notes(image: Any) -> list[str]:
    """List what a file says its values are."""
    return [image.GetMetaData(key).strip() for key in QUANTITY_KEYS if image.HasMetaDataKey(key)]


def _spread_note(volume: Volume) -> str:
    """Say what a map of uncertainty holds and to which voxels it belongs, in 80 letters."""
    checksum = zlib.crc32(np.ascontiguousarray(volume.array).tobytes())
    return f"{SPREAD_NOTE} in {volume.unit} of the volume with CRC-32 {checksum:08x}"


def _with_uncertainty(volume: Volume, beside: Path) -> Volume:
    """Add the uncertainty that lies beside a volume, unless it belongs to another one."""
    if not beside.is_file():
        return volume
    image = read_image(beside)
    if _spread_note(volume) not in _notes(image):
        logger.warning(
            "%s does not belong to the volume beside it, which was changed, replaced or is read in "
            "another unit: it is left out.",
            beside,
        )
        return volume
    spread = np.asarray(simple_itk().GetArrayFromImage(image), dtype=np.float32)
    try:
        return replace(volume, uncertainty=spread)
    except ValueError as error:
        raise ValueError(f"{beside} cannot be used: {error}") from error


def _quantity(path: Path, image: Any, wanted: Quantity | None, array: Any) -> Quantity:
    """Decide what the values are: by the argument, by the file, or HU."""
    if wanted is not None:
        return wanted
    for note in _notes(image):
        for quantity, text in QUANTITY_NOTES.items():
            if note == text:
                return "attenuation" if quantity == "attenuation" else "HU"
        if note.startswith(SPREAD_NOTE):
            raise ValueError(
                "it holds the uncertainty of a volume, not a volume: load the volume beside it, "
                "which brings its uncertainty along."
            )
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
