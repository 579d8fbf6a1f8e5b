"""Image files through SimpleITK and tifffile, with messages that say what is wrong with them."""

from __future__ import annotations

import gzip
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from NASAM3DLib.scan.grid import VolumeGrid

TIFF_ENDINGS = (".tif", ".tiff")
IMAGE_ENDINGS = (".nrrd", ".nhdr", ".nii.gz", ".nii", ".mha", ".mhd")

SPACING_LINES = {
    ".mha": rb"^ElementSpacing\s*=\s*(.*)$",
    ".mhd": rb"^ElementSpacing\s*=\s*(.*)$",
    ".nrrd": rb"^spacings:\s*(.*)$",
    ".nhdr": rb"^spacings:\s*(.*)$",
}
"""Where the headers that are text say the spacing."""

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""ITK's millimetres point left and posterior, this library's right and anterior."""

RIGHT_ANGLE_TOLERANCE = 1e-4


def simple_itk() -> Any:
    """Import SimpleITK, whose annotations are incomplete, without its warnings on standard error.

    Returns
    -------
    module
    """
    import SimpleITK

    module: Any = SimpleITK
    module.ProcessObject.SetGlobalWarningDisplay(False)
    return module


def ending_of(path: Path) -> str:
    """Give the ending that decides the format, in small letters.

    Parameters
    ----------
    path : Path
        A file.

    Returns
    -------
    str
        ``.nii.gz`` and ``.seg.nrrd`` count as one ending.
    """
    name = path.name.lower()
    for double in (".nii.gz", ".seg.nrrd"):
        if name.endswith(double):
            return double
    return path.suffix.lower()


def read_image(path: Path) -> Any:
    """Read an image file with SimpleITK.

    Parameters
    ----------
    path : Path
        NRRD, NIfTI, MetaImage or any other format that SimpleITK knows.

    Returns
    -------
    SimpleITK.Image

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it cannot be read.
    """
    sitk = simple_itk()

    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    _check_complete(path)
    _check_spacing(path)
    try:
        return sitk.ReadImage(str(path))
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        reason = reason.rsplit("ERROR:", 1)[-1].strip()[:200]
        raise ValueError(
            f"{path} cannot be read as an image ({reason}): is it complete, and does its ending "
            "say the right format?"
        ) from error


def _check_complete(path: Path) -> None:
    """Refuse compressed files that end early, which the reader of NIfTI fills up silently."""
    if path.suffix.lower() != ".gz":
        return
    try:
        with gzip.open(path, "rb") as stream:
            while stream.read(1 << 22):
                pass
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(
            f"{path} cannot be read as an image ({error}): is it complete? Copy it again."
        ) from error


def _check_spacing(path: Path) -> None:
    """Refuse a spacing that is not positive, which readers take for a mirrored axis."""
    pattern = SPACING_LINES.get(path.suffix.lower())
    if pattern is None:
        return
    with path.open("rb") as stream:
        found = re.search(pattern, stream.read(1 << 14), re.MULTILINE)
    if found is None:
        return
    text = found.group(1).decode("ascii", "replace").strip()
    try:
        positive = all(float(word) > 0 or word.lower() == "nan" for word in text.split())
    except ValueError:
        positive = False
    if not positive:
        raise ValueError(
            f"{path} has the voxel spacing ({text}), which must be positive numbers in mm: repair "
            "the header. Mirrored axes belong into the directions."
        )


def write_image(image: Any, path: Path) -> None:
    """Write an image file with SimpleITK, compressed.

    Parameters
    ----------
    image : SimpleITK.Image
        The image.
    path : Path
        File to be written; the ending decides the format.

    Raises
    ------
    ValueError
        If the format is unknown.
    """
    sitk = simple_itk()

    try:
        sitk.WriteImage(image, str(path), useCompression=True)
    except RuntimeError as error:
        raise ValueError(
            f"{path.name} cannot be written ({' '.join(str(error).split())[-200:]}): end the name "
            f"with one of {', '.join(IMAGE_ENDINGS)}."
        ) from error


def grid_of(image: Any, path: Path) -> VolumeGrid:
    """Find where the voxels of an image lie.

    Parameters
    ----------
    image : SimpleITK.Image
        Three-dimensional image.
    path : Path
        Its file, for messages.

    Returns
    -------
    VolumeGrid

    Raises
    ------
    ValueError
        If it is not three-dimensional or has no spacing.
    """
    if image.GetDimension() != 3:
        raise ValueError(
            f"{path} must hold a three-dimensional image, got {image.GetDimension()} dimensions of "
            f"size {image.GetSize()}: save one volume per file."
        )
    spacing = np.array(image.GetSpacing())
    if not np.isfinite(spacing).all() or spacing.min() <= 0:
        raise ValueError(
            f"{path} has the voxel spacing {tuple(spacing.tolist())} mm, which must be positive: "
            "repair the file's header."
        )
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * spacing
    affine[:3, 3] = image.GetOrigin()
    i, j, k = image.GetSize()
    try:
        return VolumeGrid((k, j, i), LPS_TO_RAS @ affine)
    except ValueError as error:
        raise ValueError(f"{path} has an impossible orientation: {error}") from error


def image_on(array: npt.NDArray[Any], grid: VolumeGrid) -> Any:
    """Make a SimpleITK image of voxels on a grid.

    Parameters
    ----------
    array : ndarray, shape (k, j, i)
        Voxels.
    grid : VolumeGrid
        Their places.

    Returns
    -------
    SimpleITK.Image

    Raises
    ------
    ValueError
        If the axes of the grid are not at right angles, which image files cannot say.
    """
    sitk = simple_itk()

    affine = LPS_TO_RAS @ grid.ijk_to_ras
    direction = affine[:3, :3] / grid.spacing_mm
    if np.abs(direction.T @ direction - np.eye(3)).max() > RIGHT_ANGLE_TOLERANCE:
        raise ValueError(
            "The axes of this grid are not at right angles, which image files cannot say: resample "
            "to a grid whose axes are."
        )
    image = sitk.GetImageFromArray(np.ascontiguousarray(array))
    image.SetSpacing(grid.spacing_mm.tolist())
    image.SetDirection(direction.ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    return image


def read_pixels(path: Path) -> npt.NDArray[np.float32]:
    """Read the pixels of an image or a stack of images.

    Parameters
    ----------
    path : Path
        TIFF, DICOM or any format of SimpleITK.

    Returns
    -------
    ndarray, shape (..., n_rows, n_cols), float32

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it cannot be read.
    """
    if ending_of(path) not in TIFF_ENDINGS:
        sitk = simple_itk()

        return np.asarray(sitk.GetArrayFromImage(read_image(path)), dtype=np.float32)
    import tifffile

    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        return np.asarray(tifffile.imread(path), dtype=np.float32)
    except (tifffile.TiffFileError, ValueError, OSError, EOFError) as error:
        raise ValueError(f"{path} cannot be read as TIFF ({error}): is it complete?") from error
