"""Projections in the files of scanner makers, read by the optional package itk-rtk."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

VENDOR_ENDINGS = (".hnd", ".hnc", ".xim", ".his", ".edf", ".raw.ora", ".ora.xml")
"""Endings that only itk-rtk reads: Varian OBI (hnd, hnc) and ProBeam (xim), Elekta Synergy (his),
ESRF (edf), medPhoton (ora)."""

HOW_TO_INSTALL = "install it with: pip install itk-rtk"


def load_rtk() -> Any:
    """Import itk-rtk, completely and without its warnings.

    Returns
    -------
    module
        ``itk.RTK``.

    Raises
    ------
    ModuleNotFoundError
        If the package is not installed, with the command that installs it.
    """
    with warnings.catch_warnings():
        # SWIG's types lack attributes that Python warns about; as an error that ends the process.
        warnings.simplefilter("ignore")
        try:
            import itk

            module = itk.RTK
            module.ThreeDCircularProjectionGeometry  # noqa: B018  ITK loads on first use.
            module.ProjectionsReader  # noqa: B018
        except (ImportError, AttributeError) as error:
            raise ModuleNotFoundError(
                f"Reading this file needs the package itk-rtk: {HOW_TO_INSTALL}", name="itk"
            ) from error
    return module


def read_vendor_projections(
    files: Sequence[Path],
) -> tuple[npt.NDArray[np.float32], tuple[float, float], tuple[float, float]]:
    """Read projections of a scanner maker as line integrals.

    Parameters
    ----------
    files : sequence of Path
        One file per view, in the order of the views.

    Returns
    -------
    projections : ndarray, shape (n_views, n_rows, n_cols), float32
        Line integrals, by the maker's calibration as RTK knows it.
    spacing_mm, origin_mm : tuple of float
        Lattice of the detector (v, u), mm.

    Raises
    ------
    ModuleNotFoundError
        If itk-rtk is not installed.
    ValueError
        If a file cannot be read.
    """
    module = load_rtk()
    import itk

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reader = module.ProjectionsReader[itk.Image[itk.F, 3]].New()
        reader.SetFileNames([str(path) for path in files])
        try:
            reader.Update()
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise ValueError(
                f"itk-rtk cannot read {files[0]} and the {len(files) - 1} files with it "
                f"({reason}): are they complete, and all of one scan?"
            ) from error
        image = reader.GetOutput()
        array = itk.array_from_image(image).astype(np.float32)
        spacing, origin = np.array(image.GetSpacing()), np.array(image.GetOrigin())
    return (
        array,
        (float(spacing[1]), float(spacing[0])),
        (float(origin[1]), float(origin[0])),
    )
