"""Volume nodes and the library's volumes."""

import slicer
import vtk
from slicer.i18n import tr as _

from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.worker.payloads import receive_volume
from NASAM3DModule.parameters import Quantity

QUANTITY_ATTRIBUTE = "NASAM3D.Quantity"
UNCERTAINTY_REFERENCE = "NASAM3D.Uncertainty"
SIMULATED_ATTRIBUTE = "NASAM3D.Simulated"


def placeVolume(message, volumeNode, name: str):
    """Put a reconstructed volume into a node, a new one unless the given one is in the scene."""
    volume = receive_volume(message)
    if volumeNode is None or not slicer.mrmlScene.IsNodePresent(volumeNode):
        name = slicer.mrmlScene.GenerateUniqueName(name)
        volumeNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    fill(volumeNode, volume.array, volume.grid)
    volumeNode.SetAttribute(QUANTITY_ATTRIBUTE, volume.quantity)
    volumeNode.SetDescription(message.fields["report"].get("why"))
    setWindow(volumeNode, message.fields["window"])
    placeUncertainty(volumeNode, volume)
    return volumeNode


def noteSimulation(volumeNode, path: str) -> None:
    """Write on a volume that views of it were simulated into a file."""
    volumeNode.SetAttribute(SIMULATED_ATTRIBUTE, path)


def placeBesideSource(volumeNode, path: str) -> None:
    """Put a reconstruction beside the volume whose simulated views it was made from."""
    for source in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
        if source is not volumeNode and source.GetAttribute(SIMULATED_ATTRIBUTE) == path:
            placeBeside(volumeNode, source)


def placeBeside(node, other) -> None:
    """Put a node into the study that another one is in."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    study = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(other))
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), study)


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
    volume = receive_volume(message)
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


def volumeReader(volumeNode):
    """Give a function that copies a volume, with its map of uncertainty, in any thread.

    The arrays are the nodes' own memory, which lives as long as they do; a volume that is changed
    meanwhile is another one for :func:`volumeKey`, and what comes of this one is dropped.
    """
    array = slicer.util.arrayFromVolume(volumeNode)
    mapNode = volumeNode.GetNodeReference(UNCERTAINTY_REFERENCE)
    uncertainty = None
    if mapNode and mapNode.GetImageData():
        uncertainty = slicer.util.arrayFromVolume(mapNode)
        uncertainty = uncertainty if uncertainty.shape == array.shape else None
    grid, quantity = gridOf(volumeNode), quantityOf(volumeNode)

    def read() -> Volume:
        copies = (each if each is None else each.astype("float32") for each in (array, uncertainty))
        voxels, spread = copies
        return Volume(voxels, grid, quantity, spread)

    return read
