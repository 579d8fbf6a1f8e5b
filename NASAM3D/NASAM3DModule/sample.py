"""The sample scan in Slicer: registered with the Sample Data module, made at its first use."""

from pathlib import Path

import slicer
from slicer.i18n import tr as _

from NASAM3DModule import points as pointsOf
from NASAM3DModule.paths import resourceFile

NAME = "NASAM3DPelvis"
FILE_NAME = "NASAM3D-sample.npz"
MARK_ATTRIBUTE = "NASAM3D.SampleLesion"


def registerSampleData() -> None:
    """Offer the sample scan in the Sample Data module."""
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="NASAM3D",
        sampleName=NAME,
        uris="",
        fileNames=FILE_NAME,
        thumbnailFileName=resourceFile("Icons/NASAM3D.png"),
        customDownloader=openSample,
    )


def openSample(source=None):
    """Show the module and let it make or find the scan; there is nothing to download."""
    if slicer.util.mainWindow():
        slicer.util.selectModule("NASAM3D")
    slicer.util.getModuleWidget("NASAM3D").projections.onSample()
    return []


def sampleFolder() -> str:
    """Give the folder where Slicer keeps sample data."""
    return str(Path(slicer.mrmlScene.GetCacheManager().GetRemoteCacheDirectory()))


def markLesion(positions):
    """Show where the lesion of the sample is, as points that are only there to be seen."""
    for node in slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode"):
        if node.GetAttribute(MARK_ATTRIBUTE):
            return node
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", _("Sample lesion"))
    node.SetAttribute(MARK_ATTRIBUTE, "1")
    for position in positions:
        index = node.AddControlPoint(*position)
        node.SetNthControlPointLabel(index, _("lesion"))
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetSelectedColor(*pointsOf.MARK_COLOR)
    node.SetLocked(True)
    return node
