"""Volume nodes and the library's volumes."""

import slicer
import vtk

from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.worker.payloads import unpack_volume
from NASAM3DModule.parameters import Quantity

QUANTITY_ATTRIBUTE = "NASAM3D.Quantity"


def placeVolume(message, volumeNode, name: str):
    """Put a reconstructed volume into a node, a new one unless the given one is in the scene."""
    volume = unpack_volume(message)
    if volumeNode is None or not slicer.mrmlScene.IsNodePresent(volumeNode):
        name = slicer.mrmlScene.GenerateUniqueName(name)
        volumeNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(volumeNode, volume.array)
    volumeNode.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(volume.grid.ijk_to_ras))
    volumeNode.SetAttribute(QUANTITY_ATTRIBUTE, volume.quantity)
    volumeNode.SetDescription(message.fields["report"].get("why"))
    volumeNode.CreateDefaultDisplayNodes()
    volumeNode.GetDisplayNode().SetAutoWindowLevel(False)
    volumeNode.GetDisplayNode().SetWindowLevelMinMax(*message.fields["window"])
    return volumeNode


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
    """Copy a volume node for the background process."""
    array = slicer.util.arrayFromVolume(volumeNode).astype("float32")
    return Volume(array, gridOf(volumeNode), quantityOf(volumeNode))
