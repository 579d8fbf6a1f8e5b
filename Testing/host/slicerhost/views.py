"""Slice and 3-D views: Slicer's displayable managers in an offscreen window, shown in a widget."""

from __future__ import annotations

from typing import Any

import numpy as np
import qt
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from .qt_standin import stand_in

_RENDER_DELAY_MS = 15
_BUTTONS = {qt.Qt.LeftButton: "LeftButton", qt.Qt.RightButton: "RightButton"}
_SLICE_MANAGERS = (
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLScalarBarDisplayableManager",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLTransformsDisplayableManager2D",
    "vtkMRMLLinearTransformsDisplayableManager",
)
_THREE_D_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLThreeDReformatDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager3D",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLVolumeRenderingDisplayableManager",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLLinearTransformsDisplayableManager",
)


class RenderView(qt.QWidget):
    """A widget that paints what VTK renders offscreen, and passes the mouse on to VTK."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._pixels = np.zeros((1, 1, 3), np.uint8)
        self._image: Any = None
        self._paused = False
        self._renderer = vtk.vtkRenderer()
        self._window = vtk.vtkRenderWindow()
        self._window.SetOffScreenRendering(1)
        self._window.SetMultiSamples(0)
        self._window.AddRenderer(self._renderer)
        self._interactor = vtk.vtkGenericRenderWindowInteractor()
        self._interactor.SetRenderWindow(self._window)
        self._interactor.EnableRenderOff()
        self._interactor.Initialize()
        self._managers = slicer.vtkMRMLDisplayableManagerGroup()
        self._timer = qt.QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.forceRender)
        self.setMinimumSize(120, 120)
        self.setMouseTracking(True)
        self.setFocusPolicy(qt.Qt.StrongFocus)

    def _start_managers(self, factory: Any, names: tuple[str, ...], logic: Any) -> None:
        """Fill the group with the real managers of this kind of view."""
        factory.SetMRMLApplicationLogic(logic)
        for name in names:
            if not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
        self._managers.Initialize(factory, self._renderer)
        self._managers.AddObserver("UpdateEvent", self.scheduleRender)

    def renderWindow(self) -> Any:
        return self._window

    def interactor(self) -> Any:
        return self._interactor

    def renderer(self) -> Any:
        return self._renderer

    def displayableManagerByClassName(self, name: str) -> Any:
        return self._managers.GetDisplayableManagerByClassName(name)

    def pixels(self) -> np.ndarray:
        """Render and return the picture, shape (rows, columns, 3), uint8, top row first."""
        self.forceRender()
        return self._pixels.copy()

    def setRenderPaused(self, paused: bool) -> None:
        self._paused = paused
        if not paused:
            self.scheduleRender()

    def scheduleRender(self, *_: Any) -> None:
        if not self._paused and not self._timer.active:
            self._timer.start(_RENDER_DELAY_MS)

    def forceRender(self) -> None:
        self._timer.stop()
        self._window.Render()
        grabber = vtk.vtkWindowToImageFilter()
        grabber.SetInput(self._window)
        grabber.ReadFrontBufferOff()
        grabber.ShouldRerenderOff()
        grabber.Update()
        image = grabber.GetOutput()
        columns, rows, _ = image.GetDimensions()
        values = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(rows, columns, -1)
        self._pixels = np.ascontiguousarray(values[::-1, :, :3])
        self._image = qt.QImage(
            self._pixels.data, columns, rows, 3 * columns, qt.QImage.Format_RGB888
        )
        self.update()

    def paintEvent(self, event: Any) -> None:
        painter = qt.QPainter(self)
        if self._image is not None:
            painter.drawImage(self.rect, self._image)
        painter.end()

    def resizeEvent(self, event: Any) -> None:
        width, height = max(event.size().width(), 1), max(event.size().height(), 1)
        self._window.SetSize(width, height)
        self._interactor.UpdateSize(width, height)
        self._resized(width, height)
        self.scheduleRender()

    def _resized(self, width: int, height: int) -> None:
        """Tell the view's logic about its new size, in pixels."""

    def _pass_on(self, event: Any, name: str) -> None:
        """Pass a mouse event on to VTK, whose vertical axis points up."""
        keys = event.modifiers()
        position = event.position()
        self._interactor.SetEventInformationFlipY(
            int(position.x()),
            int(position.y()),
            int(bool(keys & qt.Qt.ControlModifier)),
            int(bool(keys & qt.Qt.ShiftModifier)),
        )
        self._interactor.InvokeEvent(name)

    def mousePressEvent(self, event: Any) -> None:
        self._pass_on(event, f"{_BUTTONS.get(event.button(), 'MiddleButton')}PressEvent")

    def mouseReleaseEvent(self, event: Any) -> None:
        self._pass_on(event, f"{_BUTTONS.get(event.button(), 'MiddleButton')}ReleaseEvent")

    def mouseDoubleClickEvent(self, event: Any) -> None:
        self._pass_on(event, f"{_BUTTONS.get(event.button(), 'MiddleButton')}DoubleClickEvent")

    def mouseMoveEvent(self, event: Any) -> None:
        self._pass_on(event, "MouseMoveEvent")

    def wheelEvent(self, event: Any) -> None:
        forward = event.angleDelta().y() > 0
        self._pass_on(event, f"MouseWheel{'Forward' if forward else 'Backward'}Event")

    def enterEvent(self, event: Any) -> None:
        self._interactor.InvokeEvent("EnterEvent")

    def leaveEvent(self, event: Any) -> None:
        self._interactor.InvokeEvent("LeaveEvent")


@stand_in()
class qMRMLSliceView(RenderView):
    """The picture part of a slice widget."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._logic: Any = None
        self._style = slicer.vtkMRMLSliceViewInteractorStyle()
        self._mapper = vtk.vtkImageMapper()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        self._actor = vtk.vtkActor2D()
        self._actor.SetMapper(self._mapper)
        self._actor.GetProperty().SetDisplayLocationToBackground()

    def start(self, logic: Any, application_logic: Any) -> None:
        """Show what ``logic`` slices."""
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        self._start_managers(factory, _SLICE_MANAGERS, application_logic)
        self._logic = logic
        self._managers.SetMRMLDisplayableNode(logic.GetSliceNode())
        self._style.SetSliceLogic(logic)
        self._style.SetDisplayableManagers(self._managers)
        self._interactor.SetInteractorStyle(vtk.vtkInteractorStyleUser())
        self._style.SetInteractor(self._interactor)
        logic.AddObserver("ModifiedEvent", self._show_image)
        self._show_image()

    def _show_image(self, *_: Any) -> None:
        """Connect the logic's picture, which comes and goes with the volumes."""
        connection = self._logic.GetImageDataConnection()
        if connection is None:
            self._renderer.RemoveViewProp(self._actor)
        else:
            self._mapper.SetInputConnection(connection)
            if not self._renderer.HasViewProp(self._actor):
                self._renderer.AddViewProp(self._actor)
        self.scheduleRender()

    def _resized(self, width: int, height: int) -> None:
        if self._logic is not None:
            self._logic.ResizeSliceNode(width, height)

    def mrmlSliceNode(self) -> Any:
        return self._logic.GetSliceNode()

    def interactorObserver(self) -> Any:
        return self._style

    def convertXYZToRAS(self, xyz: Any) -> tuple[float, ...]:
        return self.mrmlSliceNode().GetXYToRAS().MultiplyPoint((*xyz, 1.0))[:3]

    def convertRASToXYZ(self, ras: Any) -> tuple[float, ...]:
        inverse = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(self.mrmlSliceNode().GetXYToRAS(), inverse)
        return inverse.MultiplyPoint((*ras, 1.0))[:3]


@stand_in()
class qMRMLThreeDView(RenderView):
    """The picture part of a 3-D widget."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._style = slicer.vtkMRMLThreeDViewInteractorStyle()
        self._node: Any = None
        self._renderer.GradientBackgroundOn()

    def start(self, node: Any, application_logic: Any) -> None:
        """Show the scene as the view node says."""
        factory = slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance()
        self._start_managers(factory, _THREE_D_MANAGERS, application_logic)
        self._node = node
        self._style.SetDisplayableManagers(self._managers)
        self._interactor.SetInteractorStyle(vtk.vtkInteractorStyle3D())
        self._style.SetInteractor(self._interactor)
        self._managers.SetMRMLDisplayableNode(node)

    def mrmlViewNode(self) -> Any:
        return self._node

    def cameraNode(self) -> Any:
        logic = slicer.modules.cameras.logic()
        return logic.GetViewActiveCameraNode(self._node)

    def interactorObserver(self) -> Any:
        return self._style

    def resetFocalPoint(self) -> None:
        self._renderer.ResetCamera()
        self.scheduleRender()

    def resetCamera(self, *_: Any) -> None:
        self.resetFocalPoint()


def install() -> None:
    """Put the views into ``slicer``."""
    slicer.qMRMLSliceView = qMRMLSliceView
    slicer.qMRMLThreeDView = qMRMLThreeDView
