"""NASAM3D: reconstruct a volume from sparse X-ray projections and segment what is clicked.

This file is what Slicer loads; the panel and what it does are in the package NASAM3DModule beside
it, and the work is done by the background process of ``NASAM3DLib.worker``.
"""

import importlib.util
import sys
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import *

if importlib.util.find_spec("NASAM3DLib") is None:
    # Slicer puts only this file's folder on sys.path; in a source tree the library lies beside it.
    sys.path.append(str(Path(__file__).resolve().parent.parent))

from NASAM3DModule.logic import NASAM3DLogic  # noqa: F401 - Slicer looks for these here
from NASAM3DModule.paths import resourceFile
from NASAM3DModule.sample import registerSampleData
from NASAM3DModule.self_test import NASAM3DTest  # noqa: F401
from NASAM3DModule.widget import NASAM3DWidget  # noqa: F401


class NASAM3D(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("NASAM3D")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.contributors, parent.acknowledgementText = ["NASAM3D contributors"], ""
        parent.helpText = _(
            "Reconstructs a volume from sparse X-ray projections and segments the structure that "
            "you click on. For research, not for clinical use.\n\nKeys: T places points and "
            "changes between inside and outside, E begins the next segment, Ctrl+Z and Ctrl+Y undo "
            "and redo."
        )
        parent.icon = qt.QIcon(resourceFile("Icons/NASAM3D.png"))
        slicer.app.connect("startupCompleted()", registerSampleData)
