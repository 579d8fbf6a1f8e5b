"""The box around a structure: a region of interest that belongs to a list of points."""

import slicer
from slicer.i18n import tr as _

BOX_REFERENCE = "NASAM3D.Box"
COLOR = (0.95, 0.8, 0.2)


def boxOf(points):
    """Give the box of a list of points; None if it has none."""
    return points.GetNodeReference(BOX_REFERENCE) if points else None


def startDrawing(points) -> None:
    """Let clicks in the views draw the box, instead of the one before if there was one."""
    removeBox(points)
    name = slicer.mrmlScene.GenerateUniqueName(_("NASAM3D box"))
    box = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", name)
    box.CreateDefaultDisplayNodes()
    displayNode = box.GetDisplayNode()
    displayNode.SetSelectedColor(*COLOR)
    displayNode.SetPropertiesLabelVisibility(False)
    displayNode.SetFillOpacity(0.1)
    displayNode.SetRotationHandleVisibility(False)
    points.SetNodeReferenceID(BOX_REFERENCE, box.GetID())
    # The Markups logic would have the views place points: it knows only those.
    selection = slicer.app.applicationLogic().GetSelectionNode()
    selection.SetReferenceActivePlaceNodeClassName(box.GetClassName())
    selection.SetActivePlaceNodeID(box.GetID())
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    interaction.SetPlaceModePersistence(False)
    interaction.SetCurrentInteractionMode(interaction.Place)


def removeBox(points) -> None:
    """Remove the box, if there is one."""
    box = boxOf(points)
    if box:
        slicer.mrmlScene.RemoveNode(box)


def isDrawn(box) -> bool:
    """Tell whether a box has a size already."""
    return bool(box) and min(box.GetSize()) > 0


def cornersOf(box, toVolume) -> list:
    """Give the least and the greatest corner of a box, mm, after a transform from world."""
    bounds = [0.0] * 6
    box.GetRASBounds(bounds)
    corners = [
        toVolume.TransformPoint((right, anterior, superior))
        for right in bounds[0:2]
        for anterior in bounds[2:4]
        for superior in bounds[4:6]
    ]
    return [[least(axis) for axis in zip(*corners, strict=True)] for least in (min, max)]
