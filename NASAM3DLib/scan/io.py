"""Projections from files and to files.

Read: this library's NPZ; stacks in MHA, NRRD, NIfTI or TIFF with a JSON sidecar
(:mod:`NASAM3DLib.scan.sidecar`) or RTK's geometry XML beside them; folders of single images with
either; what scanner makers write, through itk-rtk, with RTK's geometry XML. Pickled data are never
read.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from NASAM3DLib.files import check_writable, replacing, write_text
from NASAM3DLib.scan.geometry import ConeBeamGeometry
from NASAM3DLib.scan.images import (
    IMAGE_ENDINGS,
    TIFF_ENDINGS,
    ending_of,
    read_image,
    read_pixels,
    simple_itk,
    write_image,
)
from NASAM3DLib.scan.projections import ProjectionSet, line_integrals, repair_pixels
from NASAM3DLib.scan.rtk import RtkGeometry, from_rtk
from NASAM3DLib.scan.rtk_xml import ROOT_TAG, read_rtk_xml
from NASAM3DLib.scan.sidecar import (
    SIDECAR_ENDING,
    Sidecar,
    describe_geometry,
    geometry_from_description,
    read_sidecar,
)
from NASAM3DLib.scan.vendor import VENDOR_ENDINGS, read_vendor_projections

Float32Array = npt.NDArray[np.float32]

NPZ_VERSION = 1
NPZ_KEYS = ("nasam3d_projections", "projections", "geometry")

FOLDER_SIDECAR = "geometry.json"
FOLDER_ENDINGS = (*TIFF_ENDINGS, *IMAGE_ENDINGS, ".dcm", ".ima", ".png", "")


def load_projections(path: Path | str) -> ProjectionSet:
    """Read projections with their geometry.

    Parameters
    ----------
    path : Path or str
        A file, a sidecar that names its images, or a folder of single images.

    Returns
    -------
    ProjectionSet

    Raises
    ------
    FileNotFoundError
        If the file, the folder or the geometry beside it is missing.
    ValueError
        If something is damaged, or images and geometry disagree.
    ModuleNotFoundError
        If a maker's format needs itk-rtk and it is not installed.
    """
    path = Path(path)
    if path.is_dir():
        return _load_folder(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file or folder {path}.")
    ending = ending_of(path)
    if ending == ".npz":
        return _load_npz(path)
    if ending == ".json":
        return _load_images_of(read_sidecar(path))
    if ending in VENDOR_ENDINGS:
        return _load_vendor(path)
    if ending in (*TIFF_ENDINGS, *IMAGE_ENDINGS):
        return _load_stack(path)
    raise ValueError(
        f"{path} has the ending {ending!r}, which is not known for projections: known are .npz, "
        f".json, {', '.join((*TIFF_ENDINGS, *IMAGE_ENDINGS, *VENDOR_ENDINGS))} and folders."
    )


def save_projections(projections: ProjectionSet, path: Path | str, *, force: bool = False) -> None:
    """Write projections with their geometry.

    Parameters
    ----------
    projections : ProjectionSet
        What to write.
    path : Path or str
        ``.npz`` for one file with everything; ``.mha``, ``.nrrd``, ``.nii.gz`` or ``.tiff`` for a
        stack with a sidecar ``<name>.geometry.json`` beside it.
    force : bool
        Whether existing files may be replaced.

    Raises
    ------
    FileExistsError
        If a file exists and must not be replaced.
    ValueError
        If the ending is not known.
    """
    path = Path(path)
    ending = ending_of(path)
    if ending not in (".npz", *TIFF_ENDINGS, *IMAGE_ENDINGS):
        raise ValueError(
            f"Projections cannot be written as {ending!r}: end the name with .npz, "
            f"{', '.join((*TIFF_ENDINGS, *IMAGE_ENDINGS))}."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    description = json.dumps(describe_geometry(projections.geometry))
    if ending == ".npz":
        with replacing(path, force=force) as passing:
            np.savez_compressed(
                passing,
                nasam3d_projections=np.array(NPZ_VERSION),
                projections=projections.projections,
                geometry=np.array(description),
            )
        return
    sidecar = sidecar_of(path)
    check_writable(sidecar, force=force)
    with replacing(path, force=force) as passing:
        _write_stack(projections, passing)
    write_text(sidecar, description + "\n", force=force)


def sidecar_of(path: Path) -> Path:
    """Give the place of the sidecar of a stack.

    Parameters
    ----------
    path : Path
        The stack.

    Returns
    -------
    Path
        The name without its ending and with ``.geometry.json``.
    """
    return path.with_name(path.name[: -len(ending_of(path))] + SIDECAR_ENDING)


def _write_stack(projections: ProjectionSet, path: Path) -> None:
    """Write the images of a set as one stack, views last in ITK's order as RTK wants them."""
    array = projections.projections
    if ending_of(path) in TIFF_ENDINGS:
        import tifffile

        tifffile.imwrite(path, array, photometric="minisblack")
        return
    sitk = simple_itk()

    image = sitk.GetImageFromArray(array)
    spacing_v, spacing_u = projections.geometry.pixel_spacing_mm
    rows, columns = projections.geometry.detector_shape
    image.SetSpacing((spacing_u, spacing_v, 1.0))
    image.SetOrigin((-(columns - 1) / 2 * spacing_u, -(rows - 1) / 2 * spacing_v, 0.0))
    write_image(image, path)


def _load_npz(path: Path) -> ProjectionSet:
    """Read this library's own file."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            missing = [key for key in NPZ_KEYS if key not in archive]
            if missing:
                raise ValueError(
                    f"{path} lacks {', '.join(missing)}: it was not written by save_projections."
                )
            version = int(archive["nasam3d_projections"])
            if version != NPZ_VERSION:
                raise ValueError(
                    f"{path} has version {version}, this program reads {NPZ_VERSION}: update it."
                )
            array, text = archive["projections"], str(archive["geometry"])
    except (zipfile.BadZipFile, EOFError, OSError, KeyError) as error:
        raise ValueError(
            f"{path} is not a complete NPZ file ({error}): copy or save it again."
        ) from error
    if array.ndim != 3:
        raise ValueError(
            f"projections in {path} must have shape (n_views, n_rows, n_cols), got {array.shape}."
        )
    geometry = geometry_from_description(json.loads(text), array.shape, path)
    return ProjectionSet(array, geometry)


def _load_stack(path: Path) -> ProjectionSet:
    """Read a stack with the sidecar or the RTK geometry beside it."""
    sidecar = sidecar_of(path)
    xml = _rtk_xml_of(path)
    if not sidecar.is_file() and xml is not None:
        return _with_rtk_geometry(path, xml)
    return _measured(_as_stack(read_pixels(path), path), read_sidecar(sidecar))


def _as_stack(array: Float32Array, path: Path) -> Float32Array:
    """Give the images as a stack, a single image as a stack of one."""
    if array.ndim == 2:
        return array[None]
    if array.ndim != 3:
        raise ValueError(
            f"{path} must hold a stack of images (n_views, n_rows, n_cols), got the shape "
            f"{array.shape}."
        )
    return array


def _rtk_xml_of(path: Path) -> Path | None:
    """Find RTK's geometry beside a file: of the same name, or the only one in the folder."""
    same = path.with_name(path.name[: len(path.name) - len(ending_of(path))] + ".xml")
    if same.is_file():
        return same
    found = [
        p for p in sorted(path.parent.glob("*.xml")) if ROOT_TAG in p.read_text("utf-8", "replace")
    ]
    return found[0] if len(found) == 1 else None


def _with_rtk_geometry(path: Path, xml: Path) -> ProjectionSet:
    """Read a stack whose lattice is in its own header and whose views are in RTK's file."""
    if ending_of(path) in TIFF_ENDINGS:
        raise ValueError(
            f"{path} does not say the size of its pixels, which RTK's geometry {xml.name} needs: "
            f"convert the stack to MHA, or write {sidecar_of(path).name}."
        )
    sitk = simple_itk()

    image = read_image(path)
    array = _as_stack(np.asarray(sitk.GetArrayFromImage(image), dtype=np.float32), path)
    spacing, origin = image.GetSpacing(), image.GetOrigin()
    geometry = _rtk_geometry(xml, array.shape, (spacing[1], spacing[0]), (origin[1], origin[0]))
    return ProjectionSet(array, geometry)


def _rtk_geometry(
    xml: Path,
    shape: tuple[int, ...],
    spacing_mm: tuple[float, float],
    origin_mm: tuple[float, float],
) -> ConeBeamGeometry:
    """Join RTK's views with the lattice of the images."""
    parameters = read_rtk_xml(xml)
    if len(parameters) != shape[0]:
        raise ValueError(
            f"{xml} describes {len(parameters)} views, but there are {shape[0]} images: they do "
            "not belong together."
        )
    return from_rtk(RtkGeometry(parameters, (shape[1], shape[2]), spacing_mm, origin_mm))


def _load_folder(folder: Path) -> ProjectionSet:
    """Read a folder of single images."""
    inside = folder / FOLDER_SIDECAR
    beside = folder.with_name(folder.name + SIDECAR_ENDING)
    if inside.is_file() or beside.is_file():
        return _load_images_of(read_sidecar(inside if inside.is_file() else beside), folder)
    vendor = [p for p in sorted(folder.iterdir()) if ending_of(p) in VENDOR_ENDINGS]
    if vendor:
        return _load_vendor(vendor[0])
    return _load_images_of(read_sidecar(inside), folder)


def _load_images_of(sidecar: Sidecar, folder: Path | None = None) -> ProjectionSet:
    """Read the images that a sidecar belongs to."""
    place = folder or sidecar.path.parent
    aside = {sidecar.flat_field, sidecar.dark_field, sidecar.path.name}
    if sidecar.images is None and folder is None:
        stem = sidecar.path.name.removesuffix(SIDECAR_ENDING)
        files = [
            p for p in place.glob(f"{stem}.*") if ending_of(p) in (*TIFF_ENDINGS, *IMAGE_ENDINGS)
        ]
    else:
        pattern = sidecar.images or "*"
        files = [p for p in sorted(place.glob(pattern)) if p.is_file() and p.name not in aside]
        files = [p for p in files if ending_of(p) in FOLDER_ENDINGS]
    if not files:
        raise FileNotFoundError(
            f"There are no images for {sidecar.path} in {place}: put them there, or name them in "
            'the entry "images".'
        )
    return _measured(_read_files(files), sidecar)


def _read_files(files: list[Path]) -> Float32Array:
    """Read one stack, or single images of one size."""
    stacks = [_as_stack(read_pixels(path), path) for path in files]
    for path, stack in zip(files, stacks, strict=True):
        if stack.shape[1:] != stacks[0].shape[1:]:
            raise ValueError(
                f"{path} has {stack.shape[1]}x{stack.shape[2]} pixels, {files[0].name} has "
                f"{stacks[0].shape[1]}x{stacks[0].shape[2]}: all images of a scan must "
                "have one size."
            )
    return np.concatenate(stacks)


def _measured(array: Float32Array, sidecar: Sidecar) -> ProjectionSet:
    """Apply what the sidecar says about the images."""
    geometry = sidecar.geometry(array.shape)
    dead = _dead_pixels(sidecar, array.shape)
    if sidecar.values == "counts":
        counts = array.copy()
        counts[dead] = np.nan
        flat, dark = (_field(sidecar, name) for name in ("flat_field", "dark_field"))
        values = line_integrals(counts, flat, dark_field=dark)
    else:
        n_bad = int(np.count_nonzero(~np.isfinite(array) & ~dead))
        if n_bad:
            raise ValueError(
                f"The images of {sidecar.path} have {n_bad} values that are NaN or infinite: list "
                "broken pixels under dead_pixels, or save the images again."
            )
        values = repair_pixels(array, dead) if dead.any() else array
    if sidecar.first_row == "top":
        values = values[:, ::-1]
    return ProjectionSet(np.ascontiguousarray(values), geometry)


def _field(sidecar: Sidecar, name: str) -> Any:
    """Give a flat or dark field: a number, or the pixels of an image file."""
    entry = getattr(sidecar, name)
    if not isinstance(entry, str):
        return float(entry)
    place = sidecar.path.parent / entry
    if not place.is_file():
        raise FileNotFoundError(
            f"There is no {place}, which {sidecar.path.name} names as {name}: put it there."
        )
    pixels = read_pixels(place)
    return pixels


def _dead_pixels(sidecar: Sidecar, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Mark the dead pixels of all views."""
    dead = np.zeros(shape, dtype=np.bool_)
    places = sidecar.dead_pixels
    if places.size and ((places < 0).any() or (places >= shape[1:]).any()):
        raise ValueError(
            f"dead_pixels in {sidecar.path} must be [row, column] within "
            f"{shape[1]}x{shape[2]} pixels."
        )
    dead[:, places[:, 0], places[:, 1]] = True
    return dead


def _load_vendor(path: Path) -> ProjectionSet:
    """Read all files of a maker's scan, with RTK's geometry beside them."""
    xml = _rtk_xml_of(path)
    if xml is None:
        raise FileNotFoundError(
            f"There is no RTK geometry XML beside {path}: make it with RTK's program for this "
            "scanner (rtkvarianobigeometry, rtkvarianprobeamgeometry, "
            "rtkelektasynergygeometry, ...)."
        )
    files = sorted(p for p in path.parent.iterdir() if ending_of(p) == ending_of(path))
    array, spacing_mm, origin_mm = read_vendor_projections(files)
    return ProjectionSet(array, _rtk_geometry(xml, array.shape, spacing_mm, origin_mm))
