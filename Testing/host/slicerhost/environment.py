"""What the host needs from the machine: packages, OpenGL and environment variables."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import subprocess
import sys

_PACKAGES = {"slicer": "slicer-core", "vtk": "slicer-core", "PySide6": "PySide6-Essentials"}

# A render window that finds no OpenGL driver ends its process, so it is tried in another one.
_OPENGL_PROBE = """
import vtkmodules.vtkRenderingOpenGL2
from vtkmodules.vtkRenderingCore import vtkRenderWindow
window = vtkRenderWindow()
window.SetOffScreenRendering(1)
window.SetSize(8, 8)
window.Render()
raise SystemExit(0 if window.SupportsOpenGL() else 3)
"""


def prepare_environment() -> None:
    """Set the variables that Qt and VTK read when they are imported; a value already there stays.

    Notes
    -----
    ``QT_QPA_PLATFORM=offscreen`` needs no display. ``VTK_DEFAULT_OPENGL_WINDOW`` keeps VTK from
    trying X first. ``PYSIDE6_OPTION_PYTHON_ENUM=2`` makes Qt's enumerators integers, as PythonQt
    has them.
    """
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    os.environ.setdefault("PYSIDE6_OPTION_PYTHON_ENUM", "2")
    if sys.platform.startswith("linux") and os.environ["QT_QPA_PLATFORM"] == "offscreen":
        os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")


def keep_singletons_alive() -> None:
    """Give None, True and False more references than PySide6 can drop.

    Notes
    -----
    PySide6 6.12.0 returns None, and now and then True, without taking a reference: one is lost
    with every call of, say, ``button.setText``. From Python 3.12 on these objects are immortal and
    it does no harm. Before, the process aborts when the count is used up, at the latest on exit.
    """
    if sys.implementation.name != "cpython" or sys.version_info >= (3, 12):
        return
    for singleton in (None, True, False):
        ctypes.c_ssize_t.from_address(id(singleton)).value += 1 << 40


def missing_requirement() -> str | None:
    """Tell why the host cannot start here.

    Returns
    -------
    str or None
        The reason with its remedy, fit for ``pytest.skip``; None where the host can start.
    """
    for module, package in _PACKAGES.items():
        if importlib.util.find_spec(module) is None:
            return f"the Slicer test host needs {package}: python -m pip install {package}"
    prepare_environment()
    probe = subprocess.run(
        [sys.executable, "-c", _OPENGL_PROBE], capture_output=True, text=True, timeout=120
    )
    if probe.returncode == 0:
        return None
    return (
        "the Slicer test host needs OpenGL, if only in software: install Mesa's EGL driver "
        f"(Debian: libegl1 libgl1-mesa-dri); the probe ended with {probe.returncode}"
    )
