"""The image series that a DICOM segmentation refers to: its slices and where they lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])

NEEDED = (
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "FrameOfReferenceUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "Rows",
    "Columns",
)

MAY_BE_EMPTY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
)
"""What the standard wants in every image, with or without a value, and not every scanner writes."""

SAME_DIRECTION = 1e-3
SAME_PLACE_MM = 1e-3


@dataclass(frozen=True, eq=False)
class ImageSeries:
    """Parallel slices of one series, sorted along their normal.

    Parameters
    ----------
    images : tuple of pydicom.Dataset
        Headers of the slices.
    origins_ras : ndarray, shape (slices, 3), float64
        Centre of each slice's first pixel, mm.
    column_step_ras, row_step_ras : ndarray, shape (3,), float64
        From a pixel to the next one along a row, and along a column, mm.
    """

    images: tuple[Any, ...]
    origins_ras: FloatArray
    column_step_ras: FloatArray
    row_step_ras: FloatArray

    @property
    def slice_shape(self) -> tuple[int, int]:
        """Rows and columns of each slice."""
        return int(self.images[0].Rows), int(self.images[0].Columns)

    @property
    def normal_ras(self) -> FloatArray:
        """Direction in which the slices follow each other, of length one."""
        normal = np.cross(self.column_step_ras, self.row_step_ras)
        return np.asarray(normal / np.linalg.norm(normal), dtype=np.float64)

    def pixels_of(self, points_ras: FloatArray) -> FloatArray:
        """Give the place of points in the series.

        Parameters
        ----------
        points_ras : ndarray, shape (n, 3), float64
            Positions, mm.

        Returns
        -------
        ndarray, shape (n, 3), float64
            Slice, row and column; whole numbers are pixel centres. Beyond the first and the last
            slice the distance goes on as between the two nearest.
        """
        heights = self.origins_ras @ self.normal_ras
        points_heights = points_ras @ self.normal_ras
        slices = np.interp(points_heights, heights, np.arange(len(heights)))
        if len(heights) > 1:
            below, above = points_heights - heights[0], points_heights - heights[-1]
            slices = np.where(below < 0, below / (heights[1] - heights[0]), slices)
            slices = np.where(
                above > 0, len(heights) - 1 + above / (heights[-1] - heights[-2]), slices
            )
        relative = points_ras - self.origins_ras[0]
        columns, rows = (
            relative @ step / (step @ step) for step in (self.column_step_ras, self.row_step_ras)
        )
        return np.stack([slices, rows, columns], axis=1)


def read_series(paths: Sequence[Path | str]) -> ImageSeries:
    """Read the headers of an image series.

    Parameters
    ----------
    paths : sequence of Path or str
        Files of one series, one slice each, in any order.

    Returns
    -------
    ImageSeries

    Raises
    ------
    ValueError
        If there are no files, one is no DICOM image or lacks its place, they are not of one series,
        not parallel, or two lie at one place.
    OSError
        If a file cannot be read.
    """
    if not paths:
        raise ValueError(
            "A DICOM segmentation refers to the images that it was made on, and there is no "
            "source series: give the files of the CT, or write one for the volume first "
            "(save_ct_series)."
        )
    images = [_read_image(Path(path)) for path in paths]
    _check_one(images, "SeriesInstanceUID", "series")
    _check_one(images, "FrameOfReferenceUID", "frame of reference")
    for name in ("Rows", "Columns", "PixelSpacing"):
        _check_one(images, name, f"value of {name}")
    directions = np.array([image.ImageOrientationPatient for image in images], dtype=np.float64)
    if np.abs(directions - directions[0]).max() > SAME_DIRECTION:
        raise ValueError(
            "The slices of the series must be parallel: choose one without localisers."
        )
    row_spacing, column_spacing = (float(value) for value in images[0].PixelSpacing)
    along_row, along_column = directions[0, :3] @ LPS_TO_RAS, directions[0, 3:] @ LPS_TO_RAS
    positions = np.array([image.ImagePositionPatient for image in images], dtype=np.float64)
    origins = positions @ LPS_TO_RAS
    heights = origins @ np.cross(along_row, along_column)
    order = np.argsort(heights)
    if len(images) > 1 and np.diff(heights[order]).min() < SAME_PLACE_MM:
        raise ValueError("Two slices of the series lie at one place: give one phase of the scan.")
    if len(images) > 1:
        _fill_thickness(images, float(np.median(np.diff(heights[order]))))
    return ImageSeries(
        tuple(images[n] for n in order),
        origins[order],
        along_row * column_spacing,
        along_column * row_spacing,
    )


def _read_image(path: Path) -> Any:
    """Read one header and check that it tells where the slice lies."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        image = pydicom.dcmread(path, stop_before_pixels=True)
    except InvalidDicomError as error:
        raise ValueError(f"{path} is no DICOM file: give the files of the CT series.") from error
    if int(image.get("NumberOfFrames", 1)) > 1:
        raise ValueError(f"{path} holds several frames: give a series with one slice in each file.")
    missing = [name for name in NEEDED if name not in image]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}: it is no slice of a CT or MR series.")
    for name in MAY_BE_EMPTY:
        if name not in image:
            setattr(image, name, "")
    return image


def _fill_thickness(images: Sequence[Any], spacing_mm: float) -> None:
    """Take slices without a thickness to be as thick as they lie apart."""
    from pydicom.valuerep import DSfloat

    for image in images:
        if image.get("SliceThickness") in (None, ""):
            image.SliceThickness = DSfloat(spacing_mm, auto_format=True)


def _check_one(images: Sequence[Any], name: str, title: str) -> None:
    """Refuse images that differ in an attribute."""
    values = {str(image[name].value) for image in images}
    if len(values) > 1:
        raise ValueError(f"The images must be of one {title}, got {len(values)}.")
