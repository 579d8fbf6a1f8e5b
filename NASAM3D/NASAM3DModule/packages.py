"""The Python packages that the background process needs, installed after one question."""

import importlib.util
import re
import subprocess

import slicer
from slicer.i18n import tr as _

from NASAM3DLib.worker.launch import configured_command
from NASAM3DLib.worker.requirements import is_satisfied, missing_requirements
from NASAM3DModule.paths import resourceFile

SIZES_MB = {
    "highdicom": 35,
    "matplotlib": 70,
    "numba": 215,
    "numpy": 70,
    "pydicom": 15,
    "rich": 12,
    "scikit-image": 50,
    "scipy": 145,
    "SimpleITK": 275,
    "tifffile": 2,
    "typer": 12,
}
"""On disk, with what comes along and Slicer lacks; measured on Linux, the wheels are a third."""

TORCH_MB = 850
"""PyTorch for the CPU, on disk; a build for a graphics card takes several times as much."""


def ensurePackages(needsTorch: bool = False, also=()) -> None:
    """Install what is missing if the user agrees; RuntimeError says what to do if that fails.

    ``also`` lists requirements that only this task has.
    """
    if configured_command() is not None:
        return  # The process runs elsewhere: what is missing there, it says itself.
    missing = missing_requirements(resourceFile("requirements.txt"))
    missing += [requirement for requirement in also if not is_satisfied(requirement)]
    wantsTorch = needsTorch and not hasTorch()
    if not (missing or wantsTorch):
        return
    title = _("NASAM3D needs Python packages")
    if not slicer.util.confirmOkCancelDisplay(questionText(missing, wantsTorch), title):
        raise RuntimeError(_("Nothing was installed. What needs no package can still be used."))
    try:
        if missing:
            slicer.util.pip_install(missing)
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        raise RuntimeError(adviceText(missing, error)) from error
    if wantsTorch:
        installTorch()


def installTorch() -> None:
    """Install PyTorch by its own extension, which knows the build for the graphics card."""
    try:
        import PyTorchUtils
    except ModuleNotFoundError as error:
        raise RuntimeError(_("Install the extension PyTorch and restart Slicer.")) from error
    try:
        PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=False)
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        raise RuntimeError(adviceText(["torch"], error)) from error


def questionText(missing, wantsTorch: bool) -> str:
    """Ask for all packages at once, with what they take on disk."""
    sizes = {name: SIZES_MB.get(nameOf(name), 0) for name in missing}
    lines = [
        _("{name}, about {size} MB").format(name=name, size=size) if size else name
        for name, size in sizes.items()
    ]
    if wantsTorch:
        lines.append(
            _("PyTorch, about {size} MB; several times as much for a graphics card").format(
                size=TORCH_MB
            )
        )
    total = sum(sizes.values()) + (TORCH_MB if wantsTorch else 0)
    return _(
        "Install these Python packages into Slicer?\n\n{lines}\n\nTogether about {total} MB on "
        "disk, downloaded once from the Python package index. It is not asked again."
    ).format(lines="\n".join(lines), total=total)


def nameOf(requirement: str) -> str:
    """Give the name of the package in a requirement."""
    return re.match(r"[\w.-]+", requirement).group()


def adviceText(names, error) -> str:
    """Say what to do where packages cannot be fetched."""
    return _(
        "The packages {names} could not be installed ({error}).\n\n"
        "Behind a proxy: set the environment variable https_proxy to its address, then start "
        "Slicer anew.\n"
        "Without internet: copy the wheels of these packages into a folder and type in Slicer's "
        "Python console:\n"
        'slicer.util.pip_install("--no-index --find-links FOLDER {words}")'
    ).format(names=", ".join(names), error=error, words=" ".join(names))


def hasTorch() -> bool:
    """Tell whether PyTorch is there, without loading it."""
    return importlib.util.find_spec("torch") is not None
