"""The Python packages that the background process needs, installed after one question."""

import importlib.util
import subprocess

import slicer
from slicer.i18n import tr as _

from NASAM3DLib.worker.requirements import missing_requirements
from NASAM3DModule.paths import resourceFile

try:
    from slicer import packaging
except ImportError:
    packaging = None  # Slicer 5.10 installs packages through slicer.util only


def ensurePackages(needsTorch: bool = False) -> None:
    """Install what is missing if the user agrees; RuntimeError says what to do if that fails."""
    missing = missing_requirements(resourceFile("requirements.txt"))
    try:
        if missing and packaging:
            packaging.pip_ensure(missing, requester="NASAM3D")
        elif missing:
            question = _("Install the Python packages {names}?").format(names=", ".join(missing))
            if slicer.util.confirmOkCancelDisplay(question):
                slicer.util.pip_install(missing)
    except (OSError, subprocess.SubprocessError) as error:
        raise RuntimeError(adviceText(missing, error)) from error
    if needsTorch and not hasTorch():
        ensureTorch()


def ensureTorch() -> None:
    """Install PyTorch by its own extension, which knows the build for the graphics card."""
    try:
        import PyTorchUtils
    except ModuleNotFoundError as error:
        raise RuntimeError(_("Install the extension PyTorch and restart Slicer.")) from error
    try:
        PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise RuntimeError(adviceText(["torch"], error)) from error


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
