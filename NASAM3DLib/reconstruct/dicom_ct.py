"""A volume as a DICOM series of derived CT images, for programs that read nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import NASAM3DLib
from NASAM3DLib.reconstruct.volume import Volume

LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0])
RIGHT_ANGLE = 1e-4
"""Cosine up to which two axes count as being at right angles."""

WINDOW_CENTRE_HU, WINDOW_WIDTH_HU = 40, 400
SERIES_NUMBER = 300
_LEAST, _GREATEST = np.iinfo(np.int16).min, np.iinfo(np.int16).max


@dataclass(frozen=True)
class SeriesInfo:
    """What the images say about themselves and the patient.

    Parameters
    ----------
    description : str
        Description of the series.
    patient_name : str
        Name in DICOM's form, "Family^Given"; may be empty.
    patient_id : str
        Number of the patient; if empty, one that no other patient has.
    """

    description: str = "NASAM3D reconstruction"
    patient_name: str = ""
    patient_id: str = ""


def save_ct_series(
    volume: Volume, folder: Path | str, *, info: SeriesInfo | None = None
) -> list[Path]:
    """Write a volume as derived CT images, one file for each k.

    Parameters
    ----------
    volume : Volume
        In any unit; written in whole Hounsfield units.
    folder : Path or str
        New or empty folder; made if need be.
    info : SeriesInfo, optional
        Description and patient.

    Returns
    -------
    list of Path
        The files, in the order of k.

    Raises
    ------
    ValueError
        If the axes of the volume are not at right angles: DICOM images have no others.
    FileExistsError
        If the folder holds anything.
    OSError
        If a file cannot be written.

    Notes
    -----
    Patient coordinates of DICOM are LPS: the first two axes point against those of RAS. The images
    are marked as derived and belong to a study and a frame of reference of their own.
    """
    from pydicom.uid import generate_uid

    folder, info = Path(folder), info or SeriesInfo()
    directions = _directions(volume)
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FileExistsError(f"The folder {folder} is not empty: name another one.")
    hu = np.clip(np.rint(volume.to_hu().array), _LEAST, _GREATEST).astype("<i2")
    header = _header(volume, info, directions)
    paths = []
    for k, pixels in enumerate(hu):
        origin_lps = LPS_FROM_RAS @ volume.grid.to_ras((0.0, 0.0, float(k)))
        header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        header.InstanceNumber = k + 1
        header.ImagePositionPatient = _decimals(origin_lps)
        header.PixelData = pixels.tobytes()
        path = folder / f"slice{k + 1:04d}.dcm"
        header.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def _directions(volume: Volume) -> npt.NDArray[np.float64]:
    """Give the directions of i, j and k in LPS as rows, of length one."""
    axes = volume.grid.ijk_to_ras[:3, :3].T @ LPS_FROM_RAS
    directions = axes / np.linalg.norm(axes, axis=1, keepdims=True)
    cosines = directions @ directions.T - np.eye(3)
    if np.abs(cosines).max() > RIGHT_ANGLE:
        raise ValueError(
            "DICOM images need axes at right angles, and those of this volume are slanted "
            f"(cosines up to {np.abs(cosines).max():.3g}): resample it first."
        )
    return np.asarray(directions, dtype=np.float64)


def _header(volume: Volume, info: SeriesInfo, directions: npt.NDArray[np.float64]) -> Any:
    """Make what all images have in common."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    now, header = datetime.now(), Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID = CTImageStorage
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    study = generate_uid()
    header.SpecificCharacterSet = "ISO_IR 192"
    header.ImageType = ["DERIVED", "PRIMARY", "AXIAL"]
    header.StudyInstanceUID, header.SeriesInstanceUID = study, generate_uid()
    header.FrameOfReferenceUID = generate_uid()
    header.PatientName = info.patient_name
    header.PatientID = info.patient_id or f"NASAM3D-{study.rpartition('.')[2][-12:]}"
    for name in ("PatientBirthDate", "PatientSex", "AccessionNumber", "ReferringPhysicianName"):
        setattr(header, name, "")
    for name in ("StudyID", "PositionReferenceIndicator", "KVP", "AcquisitionNumber"):
        setattr(header, name, None if name in ("KVP", "AcquisitionNumber") else "")
    header.StudyDate = header.SeriesDate = header.ContentDate = now.strftime("%Y%m%d")
    header.StudyTime = header.SeriesTime = header.ContentTime = now.strftime("%H%M%S")
    header.Modality, header.SeriesNumber = "CT", SERIES_NUMBER
    header.SeriesDescription = info.description[:64]
    header.DerivationDescription = "Reconstructed from X-ray projections. Research only."
    header.Manufacturer, header.ManufacturerModelName = "NASAM3D contributors", "NASAM3D"
    header.SoftwareVersions = NASAM3DLib.__version__
    i_mm, j_mm, k_mm = (float(n) for n in np.linalg.norm(volume.grid.ijk_to_ras[:3, :3], axis=0))
    header.Rows, header.Columns = volume.grid.shape_kji[1:]
    header.PixelSpacing = _decimals([j_mm, i_mm])
    header.SliceThickness = header.SpacingBetweenSlices = _decimals([k_mm])[0]
    header.ImageOrientationPatient = _decimals(directions[:2].ravel())
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated = header.BitsStored = 16
    header.HighBit, header.PixelRepresentation = 15, 1
    header.RescaleIntercept, header.RescaleSlope, header.RescaleType = 0, 1, "HU"
    header.WindowCenter, header.WindowWidth = WINDOW_CENTRE_HU, WINDOW_WIDTH_HU
    return header


def _decimals(values: Any) -> list[Any]:
    """Give numbers in the sixteen characters that DICOM allows."""
    from pydicom.valuerep import DSfloat

    return [DSfloat(float(value), auto_format=True) for value in values]
