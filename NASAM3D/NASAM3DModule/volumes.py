"""Volume nodes and the library's volumes."""

import slicer
import vtk
from slicer.i18n import tr as _

from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.worker.payloads import unpack_volume
from NASAM3DModule.parameters import Quantity

QUANTITY_ATTRIBUTE = "NASAM3D.Quantity"
UNCERTAINTY_REFERENCE = "NASAM3D.Uncertainty"


def placeVolume(message, volumeNode, name: str):
    """Put a reconstructed volume into a node, a new one unless the given one is in the scene."""
    volume = unpack_volume(message)
    if volumeNode is None or not slicer.mrmlScene.IsNodePresent(volumeNode):
        name = slicer.mrmlScene.GenerateUniqueName(name)
        volumeNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    fill(volumeNode, volume.array, volume.grid)
    volumeNode.SetAttribute(QUANTITY_ATTRIBUTE, volume.quantity)
    volumeNode.SetDescription(message.fields["report"].get("why"))
    setWindow(volumeNode, message.fields["window"])
    placeUncertainty(volumeNode, volume)
    return volumeNode


def placeUncertainty(volumeNode, volume) -> None:
    """Keep the map of uncertainty beside its volume, and none where the volume has none."""
    mapNode = volumeNode.GetNodeReference(UNCERTAINTY_REFERENCE)
    if volume.uncertainty is None:
        if mapNode:
            slicer.mrmlScene.RemoveNode(mapNode)
        return
    if mapNode is None:
        name = _("{volume} uncertainty").format(volume=volumeNode.GetName())
        mapNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        volumeNode.SetNodeReferenceID(UNCERTAINTY_REFERENCE, mapNode.GetID())
    fill(mapNode, volume.uncertainty, volume.grid)
    mapNode.SetAttribute(QUANTITY_ATTRIBUTE, volume.quantity)
    mapNode.CreateDefaultDisplayNodes()


def showPreview(message, previewNode):
    """Put a volume that is not finished into a node of its own, which no list of nodes shows."""
    volume = unpack_volume(message)
    if previewNode is None or not slicer.mrmlScene.IsNodePresent(previewNode):
        previewNode = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScalarVolumeNode")
        previewNode.UnRegister(None)
        previewNode.SetName(_("Preview"))
        previewNode.SetHideFromEditors(True)
        previewNode.SetSaveWithScene(False)
        slicer.mrmlScene.AddNode(previewNode)
    fill(previewNode, volume.array, volume.grid)
    setWindow(previewNode, message.fields["window"])
    return previewNode


def fill(volumeNode, array, grid) -> None:
    """Give a node its voxels and their place."""
    slicer.util.updateVolumeFromArray(volumeNode, array)
    volumeNode.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(grid.ijk_to_ras))


def setWindow(volumeNode, window) -> None:
    """Show a volume with these grey levels."""
    volumeNode.CreateDefaultDisplayNodes()
    displayNode = volumeNode.GetDisplayNode()
    displayNode.SetAutoWindowLevel(False)
    displayNode.SetWindowLevelMinMax(*window)


def gridOf(volumeNode) -> VolumeGrid:
    """Give a volume's own grid, without the transforms above it."""
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    i, j, k = volumeNode.GetImageData().GetDimensions()
    return VolumeGrid((k, j, i), slicer.util.arrayFromVTKMatrix(matrix))


def quantityOf(volumeNode) -> str:
    """Tell what a volume's values mean; volumes from elsewhere are taken for CT."""
    return volumeNode.GetAttribute(QUANTITY_ATTRIBUTE) or Quantity.HU.value


def volumeKey(volumeNode) -> tuple:
    """Give a value that changes with the volume's voxels and place."""
    changed = volumeNode.GetImageData().GetMTime()
    place = gridOf(volumeNode).ijk_to_ras.tobytes()
    return volumeNode.GetID(), changed, place, quantityOf(volumeNode)


def volumeOf(volumeNode) -> Volume:
    """Copy a volume node, with its map of uncertainty if it has one, for the background process."""
    array = slicer.util.arrayFromVolume(volumeNode).astype("float32")
    mapNode = volumeNode.GetNodeReference(UNCERTAINTY_REFERENCE)
    uncertainty = None
    if mapNode and mapNode.GetImageData():
        values = slicer.util.arrayFromVolume(mapNode)
        uncertainty = values.astype("float32") if values.shape == array.shape else None
    return Volume(array, gridOf(volumeNode), quantityOf(volumeNode), uncertainty)
