"""Segmentation nodes: where they belong, and masks that become segments."""

import slicer
from slicer.i18n import tr as _

from NASAM3DLib.worker.payloads import unpack_mask
from NASAM3DModule.volumes import quantityOf

COLORS = ((0.9, 0.65, 0.1), (0.2, 0.65, 0.95), (0.85, 0.35, 0.75), (0.45, 0.8, 0.35))


def addSegmentation(volumeNode):
    """Make a segmentation with the volume's geometry, transform and study."""
    name = _("{volume} segmentation").format(volume=volumeNode.GetName())
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    study = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(volumeNode))
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), study)
    return node


def referenceVolume(segmentationNode):
    """Give the volume whose geometry a segmentation has, if it has one."""
    role = segmentationNode.GetReferenceImageGeometryReferenceRole()
    return segmentationNode.GetNodeReference(role)


def placeMask(parameters, volumeNode, message) -> dict:
    """Put a mask into the chosen segment, made if there is none; give its figures."""
    if not parameters.segmentation:
        parameters.segmentation = addSegmentation(volumeNode)
    segmentationNode = parameters.segmentation
    segmentation = segmentationNode.GetSegmentation()
    isNew = not (parameters.segmentId and segmentation.GetSegment(parameters.segmentId))
    if isNew:
        count = segmentation.GetNumberOfSegments()
        name, color = _("Segment {n}").format(n=count + 1), COLORS[count % len(COLORS)]
        parameters.segmentId = segmentation.AddEmptySegment("", name, color)
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        unpack_mask(message), segmentationNode, parameters.segmentId, volumeNode
    )
    segmentationNode.CreateClosedSurfaceRepresentation()
    if isNew and slicer.app.layoutManager():
        slicer.app.layoutManager().resetThreeDViews()
    name = segmentation.GetSegment(parameters.segmentId).GetName()
    return {"name": name, "quantity": quantityOf(volumeNode), **message.fields}
