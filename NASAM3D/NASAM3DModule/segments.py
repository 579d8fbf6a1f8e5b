"""Segmentation nodes: where they belong, and masks that become segments."""

import json

import slicer
import vtk
import vtk.util.numpy_support
from slicer.i18n import tr as _

from NASAM3DLib.worker.payloads import unpack_mask
from NASAM3DModule import points as pointsOf
from NASAM3DModule.volumes import placeBeside, quantityOf

FIGURES_TAG = "NASAM3D.Figures"
FIGURES = (
    "n_voxels",
    "volume_ml",
    "mean",
    "spread",
    "longest_diameter_mm",
    "surface_cm2",
    "unsure_part",
    "hint",
)
SURFACE = {"Conversion method": "1", "SurfaceNets smoothing": "1"}
COLORS = ((0.9, 0.65, 0.1), (0.2, 0.65, 0.95), (0.85, 0.35, 0.75), (0.45, 0.8, 0.35))


def addSegmentation(volumeNode):
    """Make a segmentation with the volume's geometry, transform and study."""
    name = _("{volume} segmentation").format(volume=volumeNode.GetName())
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    # Surface nets that smooth by themselves take a fifth of the time of Slicer's default.
    for name, value in SURFACE.items():
        node.GetSegmentation().SetConversionParameter(name, value)
    node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    placeBeside(node, volumeNode)
    return node


def referenceVolume(segmentationNode):
    """Give the volume whose geometry a segmentation has, if it has one."""
    role = segmentationNode.GetReferenceImageGeometryReferenceRole()
    return segmentationNode.GetNodeReference(role)


def segmentOf(parameters):
    """Give the chosen segment; None if there is none or it is gone."""
    if not (parameters and parameters.segmentation and parameters.segmentId):
        return None
    return parameters.segmentation.GetSegmentation().GetSegment(parameters.segmentId)


def isLocked(segment) -> bool:
    """Tell whether a segment is finished: Slicer's own mark, which the Segment Editor shows too."""
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    return segment is not None and logic.GetSegmentStatus(segment) == logic.Completed


def setLocked(segment, locked: bool) -> None:
    """Mark a segment as finished or as being worked on."""
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    logic.SetSegmentStatus(segment, logic.Completed if locked else logic.InProgress)


def placeMask(parameters, volumeNode, message) -> dict:
    """Put a mask into the chosen segment, made if there is none; give its figures."""
    if not parameters.segmentation:
        parameters.segmentation = addSegmentation(volumeNode)
    segmentationNode = parameters.segmentation
    isNew = segmentOf(parameters) is None
    if isNew:
        addSegment(parameters)
    figures = fillSegment(segmentationNode, parameters.segmentId, volumeNode, message)
    if isNew and slicer.app.layoutManager():
        slicer.app.layoutManager().resetThreeDViews()
    return {**figures, "volume_id": message.fields.get("volume_id")}


def fillSegment(segmentationNode, segmentId: str, volumeNode, message) -> dict:
    """Put a mask and its figures into a segment; give the figures."""
    setLabelmap(segmentationNode, segmentId, volumeNode, message)
    figures = {key: message.fields.get(key) for key in FIGURES}
    figures["quantity"] = quantityOf(volumeNode)
    segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
    segment.SetTag(FIGURES_TAG, json.dumps(figures))
    segmentationNode.CreateClosedSurfaceRepresentation()
    return figures


def setLabelmap(segmentationNode, segmentId: str, volumeNode, message) -> None:
    """Replace a segment by the mask in a message.

    Only the part of the volume that holds the mask is touched: the whole would hold Slicer up.
    """
    isTogether = segmentationNode.GetParentTransformNode() is volumeNode.GetParentTransformNode()
    if not (isTogether and message.arrays["mask"].size):
        slicer.util.updateSegmentBinaryLabelmapFromArray(
            unpack_mask(message), segmentationNode, segmentId, volumeNode
        )
        return
    box, (k, j, i) = message.arrays["mask"], message.fields["offset_kji"]
    image, matrix = slicer.vtkOrientedImageData(), vtk.vtkMatrix4x4()
    image.SetExtent(i, i + box.shape[2] - 1, j, j + box.shape[1] - 1, k, k + box.shape[0] - 1)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    voxels = vtk.util.numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())
    voxels[:] = box.ravel()
    volumeNode.GetIJKToRASMatrix(matrix)
    image.SetImageToWorldMatrix(matrix)
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    logic.SetBinaryLabelmapToSegment(image, segmentationNode, segmentId, logic.MODE_REPLACE)


def hasFigures(segment) -> bool:
    """Tell whether points have made a segment, whatever has become of it since."""
    return segment.GetTag(FIGURES_TAG, vtk.mutable(""))


def forgetFigures(segment) -> None:
    """Forget what was measured on a segment that has been changed since."""
    segment.RemoveTag(FIGURES_TAG)


def figuresOf(segmentationNode, segmentId: str):
    """Give the figures that were measured on a segment; None if it has been changed since."""
    text = vtk.mutable("")
    segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
    if segment is None or not segment.GetTag(FIGURES_TAG, text):
        return None
    figures = json.loads(str(text))
    array = slicer.util.arrayFromSegmentInternalBinaryLabelmap(segmentationNode, segmentId)
    count = 0 if array is None else int((array == segment.GetLabelValue()).sum())
    return figures if count == figures["n_voxels"] else None


def addSegment(parameters) -> None:
    """Add an empty segment, choose it, and let it own the points."""
    segmentation = parameters.segmentation.GetSegmentation()
    names = {
        segmentation.GetNthSegment(n).GetName() for n in range(segmentation.GetNumberOfSegments())
    }
    number = 1
    while _("Segment {n}").format(n=number) in names:
        number += 1
    name, color = _("Segment {n}").format(n=number), COLORS[(number - 1) % len(COLORS)]
    segmentId = segmentation.AddEmptySegment("", name, color)
    setLocked(segmentation.GetSegment(segmentId), False)
    pointsOf.assignPoints(parameters.points, parameters.segmentation, segmentId)
    parameters.segmentId = segmentId
