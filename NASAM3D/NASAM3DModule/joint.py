"""Joint refinement in the scene: what it needs, where its result goes, and the way back."""

import json
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from NASAM3DModule import points as pointsOf
from NASAM3DModule.base import hasBase, keepBase
from NASAM3DModule.segments import (
    addSegmentation,
    fillSegment,
    hasFigures,
    isLocked,
    segmentOf,
    setLocked,
)
from NASAM3DModule.volumes import placeBeside, placeVolume

BASIS_ATTRIBUTE = "NASAM3D.Basis"
BEFORE_REFERENCE, AFTER_REFERENCE = "NASAM3D.BeforeJoint", "NASAM3D.AfterJoint"


def keepBasis(volumeNode, path: str, viewCount: int, basis) -> None:
    """Write on a reconstructed volume what it was made from."""
    known = {"path": path, "n_views": viewCount, "basis": basis}
    volumeNode.SetAttribute(BASIS_ATTRIBUTE, json.dumps(known) if basis else None)


def basisOf(volumeNode):
    """Give what a volume was made from; None if it was not reconstructed here."""
    text = volumeNode.GetAttribute(BASIS_ATTRIBUTE) if volumeNode else None
    return json.loads(text) if text else None


def whyNot(parameters) -> str:
    """Say what joint refinement lacks; empty if nothing."""
    segment = segmentOf(parameters)
    if segment is None or not parameters.points:
        return _("Choose a segment that was made by clicks.")
    if isLocked(segment):
        return _("The segment is locked.")
    known = basisOf(parameters.inputVolume)
    if known is None:
        return _("Needs a volume that was reconstructed here.")
    if "tv_strength" not in known["basis"]["report"]:
        return _("Needs a volume that was reconstructed by total variation.")
    if not hasFigures(segment) or hasBase(parameters.points):
        return _("Needs a segment that was made by clicks alone.")
    return ""


def scanOf(parameters, known: dict) -> str:
    """Give the path of the scan; where it is gone, of the chosen one, which is compared later."""
    for path in (known["path"], parameters.projectionsPath):
        if path and Path(path).exists():
            return path
    raise ValueError(
        _("The projections {path} are gone: choose them at the top of the panel.").format(
            path=known["path"]
        )
    )


def placeJoint(volumeNode, points, message):
    """Put what came into the scene, beside what it was made from; give its list of points.

    The segment is kept as a whole for further clicks to change, as one that was drawn by hand is.
    """
    name = _("{volume} joint").format(volume=volumeNode.GetName())
    refined = placeVolume(message, None, name)
    refined.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    placeBeside(refined, volumeNode)
    segmentationNode, before = addSegmentation(refined), segmentOfPoints(points)
    segmentName, color = before.GetName(), before.GetColor()
    segmentId = segmentationNode.GetSegmentation().AddEmptySegment("", segmentName, color)
    setLocked(segmentationNode.GetSegmentation().GetSegment(segmentId), False)
    fillSegment(segmentationNode, segmentId, refined, message)
    after = pointsOf.makePoints(refined)
    pointsOf.assignPoints(after, segmentationNode, segmentId)
    keepBase(after, segmentationNode, segmentId, refined)
    after.SetNodeReferenceID(BEFORE_REFERENCE, points.GetID())
    points.SetNodeReferenceID(AFTER_REFERENCE, after.GetID())
    return after


def segmentOfPoints(points):
    """Give the segment that a list of points made; None if it or its volume is gone."""
    segmentationNode = points.GetNodeReference(pointsOf.SEGMENTATION_REFERENCE)
    if segmentationNode is None or not points.GetNodeReference(pointsOf.VOLUME_REFERENCE):
        return None
    segmentId = points.GetAttribute(pointsOf.SEGMENT_ATTRIBUTE)
    return segmentationNode.GetSegmentation().GetSegment(segmentId)


def beforeJoint(points):
    """Give the points whose segment was refined into that of these; None if it was not."""
    return _linked(points, BEFORE_REFERENCE)


def afterJoint(points):
    """Give the points of what these were refined into; None if they were not."""
    return _linked(points, AFTER_REFERENCE)


def forgetAfter(points) -> None:
    """Refine anew next time: what was refined before belongs to other clicks."""
    points.SetNodeReferenceID(AFTER_REFERENCE, None)


def goTo(parameters, points) -> None:
    """Work on these points, their segment and volume, instead of those that are chosen."""
    left = parameters.points
    # In this order, for each of them puts aside what does not go with it.
    parameters.inputVolume = points.GetNodeReference(pointsOf.VOLUME_REFERENCE)
    parameters.segmentation = points.GetNodeReference(pointsOf.SEGMENTATION_REFERENCE)
    parameters.segmentId = points.GetAttribute(pointsOf.SEGMENT_ATTRIBUTE)
    parameters.points = points
    for each, isShown in ((left, False), (points, True)):
        if each and segmentOfPoints(each):
            node = each.GetNodeReference(pointsOf.SEGMENTATION_REFERENCE)
            segmentId = each.GetAttribute(pointsOf.SEGMENT_ATTRIBUTE)
            if node.GetDisplayNode():
                node.GetDisplayNode().SetSegmentVisibility(segmentId, isShown)
    slicer.util.setSliceViewerLayers(background=parameters.inputVolume)


def _linked(points, role: str):
    """Give the list of points in a role if its segment is still there."""
    linked = points.GetNodeReference(role) if points else None
    return linked if linked and segmentOfPoints(linked) else None
