"""The segment before the first click on it, where it was not made by clicks."""

import slicer
from slicer.i18n import tr as _

from NASAM3DLib.worker.mask_parts import occupied_part

BASE_REFERENCE = "NASAM3D.Base"


def keepBase(points, segmentationNode, segmentId: str, volumeNode) -> None:
    """Keep the segment as it is, on the grid of the volume, for the clicks to change."""
    node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLLabelMapVolumeNode")
    node.UnRegister(None)
    node.SetName(slicer.mrmlScene.GenerateUniqueName(_("NASAM3D base")))
    node.SetHideFromEditors(True)
    slicer.mrmlScene.AddNode(node)
    slicer.modules.segmentations.logic().ExportSegmentsToLabelmapNode(
        segmentationNode, [segmentId], node, volumeNode
    )
    points.SetNodeReferenceID(BASE_REFERENCE, node.GetID())


def baseOf(points):
    """Give the kept segment as the background process takes it; None where there is none."""
    node = points.GetNodeReference(BASE_REFERENCE)
    if node is None or node.GetImageData() is None:
        return None
    return occupied_part(slicer.util.arrayFromVolume(node) > 0)


def hasBase(points) -> bool:
    """Tell whether points correct a segment that was there before them."""
    return points.GetNodeReference(BASE_REFERENCE) is not None


def removeBase(points) -> None:
    """Remove what was kept, if anything was."""
    node = points.GetNodeReference(BASE_REFERENCE)
    if node:
        slicer.mrmlScene.RemoveNode(node)
