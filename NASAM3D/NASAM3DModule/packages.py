"""The Python packages that the background process needs, installed after one question."""

import importlib.util

import slicer
from slicer.i18n import tr as _

from NASAM3DLib.worker.requirements import missing_requirements
from NASAM3DModule.paths import resourceFile

try:
    from slicer import packaging
except ImportError:
    packaging = None  # Slicer 5.10 installs packages through slicer.util only


def ensurePackages(needsTorch: bool = False) -> None:
    """Install what is missing if the user agrees."""
    missing = missing_requirements(resourceFile("requirements.txt"))
    if missing and packaging:
        packaging.pip_ensure(missing, requester="NASAM3D")
    elif missing:
        question = _("Install the Python packages {names}?").format(names=", ".join(missing))
        if slicer.util.confirmOkCancelDisplay(question):
            slicer.util.pip_install(missing)
    if needsTorch and not hasTorch():
        try:
            import PyTorchUtils
        except ModuleNotFoundError as error:
            raise RuntimeError(_("Install the extension PyTorch and restart Slicer.")) from error
        PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=True)


def hasTorch() -> bool:
    """Tell whether PyTorch is there, without loading it."""
    return importlib.util.find_spec("torch") is not None
