"""Pictures between VTK, Qt and files."""

from pathlib import Path

import numpy as np
import qt
import slicer
import vtk
import vtk.util.numpy_support


def pixmapOf(grey):
    """Make a Qt picture of an array of grey levels, shape (rows, columns), 0 to 255."""
    image = vtk.vtkImageData()
    image.SetDimensions(grey.shape[1], grey.shape[0], 1)
    # VTK counts rows from the foot.
    levels = np.ascontiguousarray(grey[::-1]).ravel()
    image.GetPointData().SetScalars(vtk.util.numpy_support.numpy_to_vtk(levels, deep=True))
    writer = vtk.vtkPNGWriter()
    writer.SetInputData(image)
    # Through a file: Qt's own ways to take pixels from Python differ between its versions.
    path = Path(slicer.app.temporaryPath) / "NASAM3D-views.png"
    writer.SetFileName(str(path))
    writer.Write()
    pixmap = qt.QPixmap(str(path))
    path.unlink()
    return pixmap


def pngOf(renderWindow) -> bytes:
    """Give what a render window shows as a PNG file."""
    toImage, writer = vtk.vtkWindowToImageFilter(), vtk.vtkPNGWriter()
    toImage.SetInput(renderWindow)
    toImage.ReadFrontBufferOff()
    writer.SetInputConnection(toImage.GetOutputPort())
    writer.WriteToMemoryOn()
    writer.Write()
    return bytes(memoryview(writer.GetResult()))
