"""The JSON file beside a stack of projections that says how they were measured.

Units stand in the names: mm, and degrees for angles. A circular scan needs few numbers::

    {
      "nasam3d_scan": 1,
      "angles_deg": {"first": 0, "step": 7.2},
      "source_to_isocenter_mm": 1000,
      "source_to_detector_mm": 1500,
      "pixel_spacing_mm": [1.5, 1.5]
    }

``angles_deg`` may also be a list with one angle per view. Without the two distances the beam is
parallel. Optional: ``detector_offset_mm`` (v, u), ``detector_tilt_deg`` (in plane, about v, about
u), ``rotation_centre_shift_mm``, ``isocenter_ras_mm``; see
:class:`~NASAM3DLib.scan.orbit.CircularOrbit`. Instead of all these a free pose for each view:
``sources_ras_mm`` (n, 4), ``detector_centres_ras_mm``, ``detector_u_ras_mm`` and
``detector_v_ras_mm`` (n, 3); see :class:`~NASAM3DLib.scan.geometry.ConeBeamGeometry`.

About the images: ``values`` ("line_integrals" or "counts"), ``flat_field`` and ``dark_field`` (a
number, or an image file beside this one), ``dead_pixels`` (list of [row, column]), ``first_row``
("bottom", the default, where v is least, or "top", as pictures are stored) and ``images`` (a
pattern such as "raw_*.tiff").
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from NASAM3DLib.scan.geometry import ConeBeamGeometry
from NASAM3DLib.scan.orbit import CircularOrbit

VERSION_KEY = "nasam3d_scan"
FORMAT_VERSION = 1

SIDECAR_ENDING = ".geometry.json"

CIRCULAR_KEYS = ("angles_deg", "pixel_spacing_mm")
CIRCULAR_OPTIONS = (
    "source_to_isocenter_mm",
    "source_to_detector_mm",
    "detector_offset_mm",
    "detector_tilt_deg",
    "rotation_centre_shift_mm",
    "isocenter_ras_mm",
)
GENERAL_KEYS = (
    "sources_ras_mm",
    "detector_centres_ras_mm",
    "detector_u_ras_mm",
    "detector_v_ras_mm",
)
IMAGE_OPTIONS = ("values", "flat_field", "dark_field", "dead_pixels", "first_row", "images")

LEAST_CIRCULAR_ARC_DEG = 7.0
"""Angles in degrees that span less over many views are taken for radians."""


@dataclass(frozen=True, eq=False)
class Sidecar:
    """What a sidecar file says.

    Parameters
    ----------
    path : Path
        The file; other files that it names lie beside it.
    geometry_keys : dict
        Entries about the geometry, checked for completeness.
    values : {"line_integrals", "counts"}
        What the images hold.
    flat_field, dark_field : float or str
        Number, or name of an image file. The flat field is None for line integrals.
    dead_pixels : ndarray, shape (n, 2), int
        Row and column of pixels to be repaired.
    first_row : {"bottom", "top"}
        Where the first row of an image lies on the detector.
    images : str, optional
        Pattern of the image files.
    """

    path: Path
    geometry_keys: dict[str, Any]
    values: str
    flat_field: float | str | None
    dark_field: float | str
    dead_pixels: npt.NDArray[np.intp]
    first_row: str
    images: str | None

    def geometry(self, projections_shape: tuple[int, ...]) -> ConeBeamGeometry:
        """Make the geometry for images of a shape.

        Parameters
        ----------
        projections_shape : tuple of int
            (n_views, n_rows, n_cols) of the images.

        Returns
        -------
        ConeBeamGeometry

        Raises
        ------
        ValueError
            If the numbers of views disagree, or a value is impossible.
        """
        n_views, rows, columns = projections_shape
        try:
            geometry = _geometry(self.geometry_keys, n_views, (rows, columns))
        except (TypeError, ValueError) as error:
            raise ValueError(f"The geometry in {self.path} cannot be used: {error}") from error
        if geometry.n_views != n_views:
            raise ValueError(
                f"{self.path} describes {geometry.n_views} views, but there are {n_views} images: "
                "give one angle (or pose) for each image, in the order of the images."
            )
        return geometry


def read_sidecar(path: Path) -> Sidecar:
    """Read and check a sidecar file.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    Sidecar

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is damaged, or an entry is unknown, missing or wrong.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no {path}: write the scan's geometry into it, as described in "
            "NASAM3DLib/scan/sidecar.py, or put RTK's geometry XML beside the images."
        )
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not complete JSON ({error}): write it again.") from error
    if not isinstance(entries, dict):
        raise ValueError(f"{path} must hold one JSON object, got {type(entries).__name__}.")
    _check_version(path, entries)
    _check_keys(path, entries)
    return _sidecar(path, entries)


def _check_version(path: Path, entries: dict[str, Any]) -> None:
    """Refuse files of another format or a later version."""
    version = entries.pop(VERSION_KEY, None)
    if version != FORMAT_VERSION:
        raise ValueError(
            f'{path} must say "{VERSION_KEY}": {FORMAT_VERSION}, got {version!r}: it is no scan '
            "description, or one of a later program."
        )


def _check_keys(path: Path, entries: dict[str, Any]) -> None:
    """Refuse entries that are unknown and say which are missing."""
    known = {*CIRCULAR_KEYS, *CIRCULAR_OPTIONS, *GENERAL_KEYS, *IMAGE_OPTIONS}
    unknown = sorted(set(entries) - known)
    if unknown:
        hint = ""
        if any(key.endswith("_rad") for key in unknown):
            hint = " Angles in these files are in degrees (angles_deg)."
        raise ValueError(
            f"{path} has unknown entries: {', '.join(unknown)}. Known are: "
            f"{', '.join(sorted(known))}.{hint}"
        )
    is_general = any(key in entries for key in GENERAL_KEYS)
    required = GENERAL_KEYS if is_general else CIRCULAR_KEYS
    missing = [key for key in required if key not in entries]
    if missing:
        raise ValueError(f"{path} lacks the entries {', '.join(missing)}: add them.")
    mixed = [key for key in (*CIRCULAR_KEYS, *CIRCULAR_OPTIONS) if key in entries]
    if is_general and mixed:
        raise ValueError(
            f"{path} describes both free poses and a circular orbit ({', '.join(mixed)}): keep one."
        )


def _sidecar(path: Path, entries: dict[str, Any]) -> Sidecar:
    """Make the sidecar from checked entries."""
    values = entries.get("values", "line_integrals")
    if values not in ("line_integrals", "counts"):
        raise ValueError(f'values in {path} must be "line_integrals" or "counts", got {values!r}.')
    flat_field = entries.get("flat_field")
    if values == "counts" and flat_field is None:
        raise ValueError(
            f"{path} says that the images hold counts, so it must name the flat_field: a number, "
            "or an image taken without the object."
        )
    first_row = entries.get("first_row", "bottom")
    if first_row not in ("bottom", "top"):
        raise ValueError(f'first_row in {path} must be "bottom" or "top", got {first_row!r}.')
    dead = np.array(entries.get("dead_pixels", []), dtype=np.intp).reshape(-1, 2)
    geometry = {k: v for k, v in entries.items() if k not in IMAGE_OPTIONS}
    return Sidecar(
        path=path,
        geometry_keys=geometry,
        values=values,
        flat_field=flat_field,
        dark_field=entries.get("dark_field", 0.0),
        dead_pixels=dead,
        first_row=first_row,
        images=entries.get("images"),
    )


def _geometry(
    entries: dict[str, Any], n_views: int, detector_shape: tuple[int, int]
) -> ConeBeamGeometry:
    """Make a geometry from the entries of a sidecar."""
    if GENERAL_KEYS[0] in entries:
        sources, centres, step_u, step_v = (
            np.array(entries[key], dtype=np.float64) for key in GENERAL_KEYS
        )
        return ConeBeamGeometry(sources, centres, step_u, step_v, detector_shape)
    angles_deg = _angles_deg(entries["angles_deg"], n_views)
    spacing_v, spacing_u = (float(value) for value in entries["pixel_spacing_mm"])
    offset_v, offset_u = (float(value) for value in entries.get("detector_offset_mm", (0, 0)))
    tilt = np.radians(np.array(entries.get("detector_tilt_deg", (0, 0, 0)), dtype=np.float64))
    centre = np.array(entries.get("isocenter_ras_mm", (0, 0, 0)), dtype=np.float64)
    in_plane, about_v, about_u = (float(value) for value in tilt)
    right, anterior, superior = (float(value) for value in centre)
    orbit = CircularOrbit(
        np.radians(angles_deg),
        (spacing_v, spacing_u),
        entries.get("source_to_isocenter_mm"),
        entries.get("source_to_detector_mm"),
        (offset_v, offset_u),
        (in_plane, about_v, about_u),
        float(entries.get("rotation_centre_shift_mm", 0.0)),
        (right, anterior, superior),
    )
    return ConeBeamGeometry.circular(orbit, detector_shape)


def _angles_deg(entry: Any, n_views: int) -> npt.NDArray[np.float64]:
    """Give one angle per view from a list or from first and step."""
    if isinstance(entry, dict):
        if set(entry) != {"first", "step"}:
            raise ValueError(
                'angles_deg must be a list, or {"first": ..., "step": ...}; got the entries '
                f"{', '.join(sorted(entry))}."
            )
        return np.asarray(float(entry["first"]) + float(entry["step"]) * np.arange(n_views))
    angles = np.array(entry, dtype=np.float64)
    if angles.size > 3 and np.ptp(angles) < LEAST_CIRCULAR_ARC_DEG:
        raise ValueError(
            f"angles_deg spans only {np.ptp(angles):.3g} degrees over {angles.size} views: these "
            "look like radians, multiply them by 180/pi."
        )
    return angles


def describe_geometry(geometry: ConeBeamGeometry) -> dict[str, Any]:
    """Describe a geometry with the entries of a sidecar.

    Parameters
    ----------
    geometry : ConeBeamGeometry
        The geometry.

    Returns
    -------
    dict
        Plain numbers and lists; few of them if the geometry is circular.
    """
    entries: dict[str, Any] = {VERSION_KEY: FORMAT_VERSION}
    if geometry.orbit is None:
        poses = (
            geometry.sources_ras,
            geometry.detector_centres_ras,
            geometry.detector_u_ras,
            geometry.detector_v_ras,
        )
        entries.update({k: pose.tolist() for k, pose in zip(GENERAL_KEYS, poses, strict=True)})
        return entries
    orbit = geometry.orbit.to_dict()
    orbit["isocenter_ras_mm"] = orbit.pop("isocenter_ras")
    entries.update({key: value for key, value in orbit.items() if value is not None})
    return entries


def geometry_from_description(
    entries: dict[str, Any], projections_shape: tuple[int, ...], source: Path
) -> ConeBeamGeometry:
    """Make a geometry from what :func:`describe_geometry` gave.

    Parameters
    ----------
    entries : dict
        The description.
    projections_shape : tuple of int
        (n_views, n_rows, n_cols) of the images.
    source : Path
        Where the description was read, for messages.

    Returns
    -------
    ConeBeamGeometry

    Raises
    ------
    ValueError
        If an entry is unknown, missing or wrong.
    """
    entries = dict(entries)
    _check_version(source, entries)
    _check_keys(source, entries)
    return _sidecar(source, entries).geometry(projections_shape)
