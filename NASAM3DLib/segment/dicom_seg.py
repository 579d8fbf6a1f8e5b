"""Masks as a DICOM segmentation object, written by highdicom.

A segmentation object (DICOM PS3.3, A.51) refers to the images that it was made on, so it can be
written only beside a source series. A reconstruction has none: ``reconstruct.dicom_ct`` writes one.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

import NASAM3DLib
from NASAM3DLib.files import check_writable, replacing
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.components import bounding_box
from NASAM3DLib.segment.dicom_series import ImageSeries, read_series
from NASAM3DLib.segment.mask import Mask
from NASAM3DLib.segment.mask_io import LESION_COLOUR

MANUFACTURER = "NASAM3D contributors"
MODEL = "NASAM3D"
SERIES_NUMBER = 301
LONGEST_LABEL = 64
"""Characters that a DICOM label may have."""

HALF = 0.5
ROUNDING = 1e-3

TISSUE = ("85756007", "SCT", "Tissue")
"""Category and type of a segment of which nothing else is known, as Slicer has it."""

_CATEGORY, _TYPE, _ANATOMY = 1, 2, 5


@dataclass(frozen=True, eq=False)
class NamedSegment:
    """A mask as others will read it.

    Parameters
    ----------
    mask : Mask
        The object.
    name : str
        Its label.
    colour : tuple of float
        Red, green and blue in [0, 1].
    terminology : str
        Category, type and anatomy in the form of Slicer's tag "TerminologyEntry"; "Tissue" where it
        is empty.

    Raises
    ------
    ValueError
        If the name or the mask is empty.
    """

    mask: Mask
    name: str
    colour: tuple[float, float, float] = LESION_COLOUR
    terminology: str = ""

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise ValueError("A segment needs a name, got an empty one.")
        if not self.mask.array.any():
            raise ValueError(f"{self.name} is empty: leave it out.")


def check_highdicom() -> None:
    """Say what to do where highdicom is missing.

    Raises
    ------
    ModuleNotFoundError
        If it is.
    """
    if importlib.util.find_spec("highdicom") is None:
        raise ModuleNotFoundError(
            "DICOM SEG is written by the package highdicom, which is not installed: install it "
            "with pip install highdicom"
        )


def save_dicom_seg(
    segments: Sequence[NamedSegment],
    source: Sequence[Path | str],
    path: Path | str,
    *,
    force: bool = False,
) -> None:
    """Write masks as one DICOM segmentation of an image series.

    Parameters
    ----------
    segments : sequence of NamedSegment
        At least one, on any grid. Each pixel of the series gets the value of the nearest voxel.
    source : sequence of Path or str
        Files of the series, one slice each, in any order. Patient, study and frame of reference are
        taken from it.
    path : Path or str
        File to write, ``.dcm``.
    force : bool
        Whether an existing file may be replaced.

    Raises
    ------
    ModuleNotFoundError
        If highdicom is not installed.
    ValueError
        If there is no segment or no series, the series is not one of parallel slices, a segment
        reaches beyond it, or its terminology cannot be read.
    FileExistsError
        If the file exists and must not be replaced.
    OSError
        If a file cannot be read or written.
    """
    check_highdicom()
    path = Path(path)
    check_writable(path, force=force)
    if not segments:
        raise ValueError("A DICOM segmentation needs at least one segment, got none.")
    series = read_series(source)
    for segment in segments:
        _check_inside(segment, series)
    frames = np.stack([sampled(segment.mask, series) for segment in segments], axis=-1)
    lost = [s.name for n, s in enumerate(segments) if not frames[..., n].any()]
    if lost:
        raise ValueError(
            f"{lost[0]} lies between the pixels of the series, which are too large for it."
        )
    made = _object(segments, series, frames)
    with replacing(path, force=force) as passing:
        made.save_as(passing)


def sampled(mask: Mask, series: ImageSeries) -> npt.NDArray[np.uint8]:
    """Bring a mask to the pixels of a series.

    Parameters
    ----------
    mask : Mask
        On any grid.
    series : ImageSeries
        The series.

    Returns
    -------
    ndarray, shape (slices, rows, columns), uint8
        1 where the nearest voxel belongs to the object.

    Notes
    -----
    The index of a voxel is an affine function of row and column, ``A^-1 (o + r d_r + c d_c)`` with
    the affine ``A`` of the grid and the slice's origin and steps, so each slice is one affine
    transform of the nearest neighbour.
    """
    to_ijk = np.linalg.inv(mask.grid.ijk_to_ras)
    to_kji = to_ijk[2::-1]
    rotation, shift = to_kji[:, :3], to_kji[:, 3]
    steps = np.stack(
        [np.zeros(3), rotation @ series.row_step_ras, rotation @ series.column_step_ras], axis=1
    )
    array = mask.array.astype(np.uint8)
    shape = (1, *series.slice_shape)
    frames = np.empty((len(series.images), *series.slice_shape), dtype=np.uint8)
    for frame, origin_ras in zip(frames, series.origins_ras, strict=True):
        first = rotation @ origin_ras + shift
        frame[:] = ndimage.affine_transform(
            array, steps, first, output_shape=shape, order=0, mode="grid-constant"
        )[0]
    return frames


def _check_inside(segment: NamedSegment, series: ImageSeries) -> None:
    """Refuse a series that does not show the whole object: it is probably another one."""
    grid = segment.mask.grid
    lower, upper = bounding_box(segment.mask.array)
    corners_kji = np.array(
        [[k, j, i] for k in (lower[0], upper[0]) for j in (lower[1], upper[1])
         for i in (lower[2], upper[2])], dtype=np.float64
    )  # fmt: skip
    places = series.pixels_of(grid.to_ras(corners_kji[:, ::-1]))
    last = np.array([len(series.images), *series.slice_shape]) - 1
    half = np.maximum(HALF, _voxel_in_pixels(grid, series) / 2) + ROUNDING
    if np.any(places < -half) or np.any(places > last + half):
        raise ValueError(
            f"{segment.name} reaches beyond the images of the series, so this is not the series "
            "that it was made on: choose another one."
        )


def _voxel_in_pixels(grid: VolumeGrid, series: ImageSeries) -> npt.NDArray[np.float64]:
    """Give the extent of a voxel along slices, rows and columns, in pixels."""
    corner = series.origins_ras[0]
    steps = grid.ijk_to_ras[:3, :3].T
    places = series.pixels_of(np.concatenate([corner[None], corner + steps]))
    return np.asarray(np.abs(places[1:] - places[0]).sum(axis=0), dtype=np.float64)


def _object(
    segments: Sequence[NamedSegment], series: ImageSeries, frames: npt.NDArray[np.uint8]
) -> Any:
    """Make the DICOM object."""
    import highdicom as hd
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    algorithm = hd.AlgorithmIdentificationSequence(
        name=MODEL,
        version=NASAM3DLib.__version__,
        family=codes.cid7162.ArtificialIntelligence,
    )
    described = []
    for number, segment in enumerate(segments, start=1):
        category, kind, anatomy = codes_of(segment.terminology)
        described.append(
            hd.seg.SegmentDescription(
                segment_number=number,
                segment_label=segment.name.strip()[:LONGEST_LABEL],
                segmented_property_category=hd.sr.CodedConcept(*category),
                segmented_property_type=hd.sr.CodedConcept(*kind),
                algorithm_type=hd.seg.SegmentAlgorithmTypeValues.SEMIAUTOMATIC,
                algorithm_identification=algorithm,
                anatomic_regions=None if anatomy is None else [hd.sr.CodedConcept(*anatomy)],
                display_color=_lab_of(segment.colour),
            )
        )
    return hd.seg.Segmentation(
        source_images=list(series.images),
        pixel_array=frames,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=described,
        series_instance_uid=generate_uid(),
        series_number=SERIES_NUMBER,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MODEL,
        software_versions=NASAM3DLib.__version__,
        device_serial_number="none",
        content_label="SEGMENTATION",
        content_description="Segments from clicks",
        series_description="NASAM3D segmentation",
    )


def codes_of(
    terminology: str,
) -> tuple[tuple[str, str, str], tuple[str, str, str], tuple[str, str, str] | None]:
    """Read the codes out of Slicer's description of a segment.

    Parameters
    ----------
    terminology : str
        Context name, category, type, modifier, anatomic context name, region and modifier, joined
        by "~"; each code is scheme, value and meaning, joined by "^".

    Returns
    -------
    category, kind : tuple of str
        Value, scheme and meaning.
    anatomy : tuple of str or None
        The same of the anatomic region, if there is one.

    Raises
    ------
    ValueError
        If category or type is no code.
    """
    if not terminology.strip():
        return TISSUE, TISSUE, None
    parts = terminology.removesuffix("|").split("~")
    found = [_code(parts[n]) if n < len(parts) else None for n in (_CATEGORY, _TYPE, _ANATOMY)]
    category, kind, anatomy = found
    if category is None or kind is None:
        raise ValueError(
            "The terminology of a segment must name category and type as scheme^value^meaning, got "
            f"{terminology!r}: choose it anew in Slicer's list of segments."
        )
    return category, kind, anatomy


def _code(text: str) -> tuple[str, str, str] | None:
    """Give value, scheme and meaning of one code; None where it is not complete."""
    words = text.split("^")
    if len(words) != len(TISSUE) or not all(words):
        return None
    scheme, value, meaning = words
    return value, scheme, meaning


def _lab_of(colour: tuple[float, float, float]) -> Any:
    """Give a colour as DICOM wants it."""
    import highdicom as hd
    from skimage.color import rgb2lab

    lightness, a, b = (float(value) for value in rgb2lab(np.array([[colour]]))[0, 0])
    return hd.color.CIELabColor(lightness, a, b)
