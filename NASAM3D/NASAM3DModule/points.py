"""The clicked points: a list of markups whose descriptions tell inside from outside."""

import slicer
import vtk
from slicer.i18n import tr as _

from NASAM3DLib.segment.prompts import Prompts
from NASAM3DModule.base import removeBase
from NASAM3DModule.box import boxOf, cornersOf, isDrawn, removeBox

VOLUME_REFERENCE = "NASAM3D.Volume"
NEXT_ATTRIBUTE = "NASAM3D.Next"
SEGMENTATION_REFERENCE, SEGMENT_ATTRIBUTE = "NASAM3D.Segmentation", "NASAM3D.SegmentId"
POSITIVE, NEGATIVE, STROKE = "positive", "negative", " stroke "
POSITIVE_COLOR, NEGATIVE_COLOR = (0.2, 0.8, 0.3), (0.95, 0.25, 0.2)
MARK_COLOR = (0.3, 0.75, 1.0)


def makePoints(volumeNode):
    """Make an empty list of points for a volume."""
    name = slicer.mrmlScene.GenerateUniqueName(_("NASAM3D points"))
    points = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name)
    points.CreateDefaultDisplayNodes()
    points.GetDisplayNode().SetSelectedColor(*POSITIVE_COLOR)
    points.GetDisplayNode().SetColor(*NEGATIVE_COLOR)
    points.SetNodeReferenceID(VOLUME_REFERENCE, volumeNode.GetID())
    return points


def assignPoints(points, segmentationNode, segmentId: str) -> None:
    """Write on a list of points which segment it made; None for the segmentation undoes that."""
    points.SetNodeReferenceID(
        SEGMENTATION_REFERENCE, segmentationNode.GetID() if segmentationNode else None
    )
    points.SetAttribute(SEGMENT_ATTRIBUTE, segmentId if segmentationNode else None)


def removePoints(points) -> None:
    """Remove a list of points with its box and what it corrects."""
    removeBox(points)
    removeBase(points)
    slicer.mrmlScene.RemoveNode(points)


def pointsOfSegment(segmentationNode, segmentId: str):
    """Find the list of points that made a segment; None if it was made otherwise."""
    for points in slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode"):
        owner = points.GetNodeReference(SEGMENTATION_REFERENCE)
        if owner is segmentationNode and points.GetAttribute(SEGMENT_ATTRIBUTE) == segmentId:
            return points
    return None


def showOnly(points) -> None:
    """Hide lists and boxes of the other segments."""
    for node in slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode"):
        if node.GetNodeReferenceID(VOLUME_REFERENCE):
            for each in (node, boxOf(node)):
                if each and each.GetDisplayNode():
                    each.SetDisplayVisibility(node is points)


def startPlacing(points, positive: bool) -> None:
    """Let clicks in the views place points."""
    markNewPoints(points)  # What was clicked before was meant as it was then.
    setNext(points, positive)
    # The point that follows the mouse shows already what it will become.
    points.GetDisplayNode().SetActiveColor(*(POSITIVE_COLOR if positive else NEGATIVE_COLOR))
    points.SetControlPointLabelFormat(signOf(positive))
    slicer.modules.markups.logic().SetActiveList(points)
    slicer.modules.markups.logic().StartPlaceMode(True)


def stopPlacing() -> None:
    """Let clicks in the views do again what they did before."""
    slicer.app.applicationLogic().GetInteractionNode().SwitchToViewTransformMode()


def isPlacing(points) -> bool:
    """Tell whether clicks in the views place points of this list."""
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    activeId = slicer.app.applicationLogic().GetSelectionNode().GetActivePlaceNodeID()
    isActive = bool(points) and activeId == points.GetID()
    return isActive and interaction.GetCurrentInteractionMode() == interaction.Place


def placedIndices(points) -> list[int]:
    """List the points that were placed; the one that follows the mouse is not among them."""
    defined, indices = points.PositionDefined, range(points.GetNumberOfControlPoints())
    return [n for n in indices if points.GetNthControlPointPositionStatus(n) == defined]


def isPositive(points, index: int) -> bool:
    """Tell whether a point says inside."""
    return not points.GetNthControlPointDescription(index).startswith(NEGATIVE)


def strokeOf(points, index: int) -> int:
    """Give the number of the stroke that a point belongs to; 0 if it is one of its own."""
    number = points.GetNthControlPointDescription(index).partition(STROKE)[2]
    return int(number) if number else 0


def addPoint(points, position) -> None:
    """Add a point of the kind that is chosen."""
    markPoint(points, points.AddControlPoint(*position), isNextPositive(points))


def addStroke(points, vertices) -> None:
    """Add the points of one stroke, of the kind that is chosen."""
    number = 1 + max((strokeOf(points, n) for n in placedIndices(points)), default=0)
    positive = isNextPositive(points)
    for vertex in vertices:
        index = points.AddControlPoint(*vertex)
        markPoint(points, index, positive, number)


def signOf(positive: bool) -> str:
    """Give the label of a point."""
    return "+" if positive else "−"


def isNextPositive(points) -> bool:
    """Tell what the next point will say."""
    return points is None or points.GetAttribute(NEXT_ATTRIBUTE) != NEGATIVE


def setNext(points, positive: bool) -> None:
    """Choose what the next point or stroke will say."""
    points.SetAttribute(NEXT_ATTRIBUTE, POSITIVE if positive else NEGATIVE)


def markNewPoints(points) -> None:
    """Write on points without a mark what they were placed as."""
    new = [n for n in placedIndices(points) if not points.GetNthControlPointDescription(n)]
    for index in new:
        markPoint(points, index, isNextPositive(points))
        slicer.modules.markups.logic().JumpSlicesToNthPointInMarkup(points.GetID(), index)


def markPoint(points, index: int, positive: bool, stroke: int = 0) -> None:
    """Write on a point what it is, in words and in its looks."""
    description = POSITIVE if positive else NEGATIVE
    if stroke:
        description += f"{STROKE}{stroke}"
    points.SetNthControlPointDescription(index, description)
    points.SetNthControlPointLabel(index, "" if stroke else signOf(positive))
    points.SetNthControlPointSelected(index, positive)


def promptsOf(points, volumeNode) -> Prompts:
    """Give points and box in the coordinates of the volume, below its transforms."""
    toVolume = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(
        None, volumeNode.GetParentTransformNode(), toVolume
    )
    box = boxOf(points)
    prompts = Prompts(box_ras=cornersOf(box, toVolume) if isDrawn(box) else None)
    for indices in partsOf(points):
        places = []
        for index in indices:
            world = [0.0, 0.0, 0.0]
            points.GetNthControlPointPositionWorld(index, world)
            places.append(toVolume.TransformPoint(world))
        add = prompts.with_scribble if len(places) > 1 else prompts.with_point
        prompts = add(places if len(places) > 1 else places[0], positive=isPositive(points, index))
    return prompts


def partsOf(points) -> list:
    """List the points of each click and each stroke, in order."""
    parts, last = [], None
    for index in placedIndices(points):
        key = (strokeOf(points, index), isPositive(points, index))
        if key[0] and key == last:
            parts[-1].append(index)
        else:
            parts.append([index])
        last = key
    return parts
