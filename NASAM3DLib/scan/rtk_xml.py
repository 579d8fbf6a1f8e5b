"""RTK's geometry files: XML with one element per view, values shared by all views first."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from NASAM3DLib.files import write_text
from NASAM3DLib.scan.rtk import RtkGeometry

FloatArray = npt.NDArray[np.float64]

ROOT_TAG = "RTKThreeDCircularGeometry"
FORMAT_VERSION = "3"

TAGS = (
    "SourceToIsocenterDistance",
    "SourceToDetectorDistance",
    "GantryAngle",
    "ProjectionOffsetX",
    "ProjectionOffsetY",
    "OutOfPlaneAngle",
    "InPlaneAngle",
    "SourceOffsetX",
    "SourceOffsetY",
)
"""Elements that hold the columns of :attr:`RtkGeometry.parameters`."""

MATRIX_TOLERANCE = 1e-4


def read_rtk_xml(path: Path) -> FloatArray:
    """Read the views of an RTK geometry file.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    ndarray, shape (n_views, 9), float64
        What :class:`RtkGeometry` wants as ``parameters``; the lattice of the projection image is
        not in the file.

    Raises
    ------
    ValueError
        If the file is no RTK geometry, is damaged, or describes a curved detector.
    FileNotFoundError
        If there is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no RTK geometry file {path}.")
    try:
        root = ElementTree.fromstring(path.read_bytes())
    except ElementTree.ParseError as error:
        raise ValueError(f"{path} is not a complete XML file ({error}): write it again.") from error
    if root.tag != ROOT_TAG:
        raise ValueError(f"{path} must hold <{ROOT_TAG}>, got <{root.tag}>: it is no RTK geometry.")
    if root.get("version") != FORMAT_VERSION:
        raise ValueError(
            f"{path} has version {root.get('version')} of RTK's geometry, this program reads "
            f"{FORMAT_VERSION}: convert it with a current RTK."
        )
    if float(root.findtext("RadiusCylindricalDetector", "0")) != 0:
        raise ValueError(f"{path} describes a curved detector: only flat ones can be used.")
    views = root.findall("Projection")
    if not views:
        raise ValueError(f"{path} has no <Projection>: a scan needs at least one view.")
    rows = [[_value(path, root, view, tag) for tag in TAGS] for view in views]
    parameters = np.array(rows, dtype=np.float64)
    _check_matrices(path, views, parameters)
    return parameters


def _value(path: Path, root: ElementTree.Element, view: ElementTree.Element, tag: str) -> float:
    """Give one parameter: of the view, or shared by all views, or 0."""
    text = view.findtext(tag) or root.findtext(tag) or "0"
    try:
        return float(text)
    except ValueError as error:
        raise ValueError(f"<{tag}> in {path} must be a number, got {text.strip()!r}.") from error


def _check_matrices(path: Path, views: list[ElementTree.Element], parameters: FloatArray) -> None:
    """Compare the matrices in the file, if any, with those that the parameters give."""
    expected = RtkGeometry(parameters, (1, 1), (1.0, 1.0), (0.0, 0.0)).matrices()
    for number, (view, matrix) in enumerate(zip(views, expected, strict=True)):
        text = view.findtext("Matrix")
        if text is None:
            continue
        values = np.array(text.split(), dtype=np.float64)
        scale = np.abs(matrix).max()
        if (
            values.size != 12
            or np.abs(values.reshape(3, 4) - matrix).max() > MATRIX_TOLERANCE * scale
        ):
            raise ValueError(
                f"<Matrix> of view {number} in {path} contradicts the view's angles and distances: "
                "the file was edited by hand or is damaged."
            )


def write_rtk_xml(geometry: RtkGeometry, path: Path, *, force: bool = False) -> None:
    """Write a geometry as RTK does.

    Parameters
    ----------
    geometry : RtkGeometry
        The geometry; the lattice of the projection image is left to the image's own file.
    path : Path
        File to be written.
    force : bool
        Whether an existing file may be replaced.

    Raises
    ------
    FileExistsError
        If the file exists and must not be replaced.
    """
    parameters = geometry.parameters
    # RTK expects a sdd of 0, its mark of a parallel beam, to be absent.
    shared = [
        bool(np.ptp(column) == 0) and tag != "GantryAngle"
        for tag, column in zip(TAGS, parameters.T, strict=True)
    ]
    root = ElementTree.Element(ROOT_TAG, version=FORMAT_VERSION)
    for tag, value, is_shared in zip(TAGS, parameters[0], shared, strict=True):
        if is_shared and value != 0:
            ElementTree.SubElement(root, tag).text = repr(float(value))
    for row, matrix in zip(parameters, geometry.matrices(), strict=True):
        view = ElementTree.SubElement(root, "Projection")
        for tag, value, is_shared in zip(TAGS, row, shared, strict=True):
            if not is_shared:
                ElementTree.SubElement(view, tag).text = repr(float(value))
        lines = [" ".join(repr(float(x)) for x in line) for line in matrix]
        ElementTree.SubElement(view, "Matrix").text = "\n" + "\n".join(lines) + "\n"
    ElementTree.indent(root)
    head = '<?xml version="1.0"?>\n<!DOCTYPE RTKGEOMETRY>\n'
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, head + ElementTree.tostring(root, encoding="unicode") + "\n", force=force)
