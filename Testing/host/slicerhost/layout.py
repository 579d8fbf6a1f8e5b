"""The layout manager with its Red, Green and Yellow slices and one 3-D view."""

from __future__ import annotations

from typing import Any

import qt
import slicer
import vtk

from .qt_standin import stand_in
from .views import qMRMLSliceView, qMRMLThreeDView

_SLICES = {
    "Red": ("Axial", "R", (0.95, 0.29, 0.2)),
    "Green": ("Coronal", "G", (0.43, 0.69, 0.29)),
    "Yellow": ("Sagittal", "Y", (0.93, 0.84, 0.3)),
}
_CELLS = {"Red": (0, 0), "1": (0, 1), "Green": (1, 0), "Yellow": (1, 1)}


@stand_in()
class qMRMLSliceWidget(qt.QWidget):
    """A slice view with its logic."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._logic: Any = None
        self._view = qMRMLSliceView()
        column = qt.QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self._view)

    def start(self, name: str, application_logic: Any) -> None:
        """Make the slice node of this name and show its slice."""
        orientation, label, colour = _SLICES[name]
        scene = application_logic.GetMRMLScene()
        self._logic = slicer.vtkMRMLSliceLogic()
        self._logic.SetMRMLApplicationLogic(application_logic)
        self._logic.SetMRMLScene(scene)
        application_logic.GetSliceLogics().AddItem(self._logic)
        node = scene.CreateNodeByClass("vtkMRMLSliceNode")
        node.UnRegister(None)
        node.SetName(name)
        node.SetLayoutName(name)
        node.SetSingletonTag(name)
        node.SetLayoutLabel(label)
        node.SetLayoutColor(*colour)
        node.SetMappedInLayout(1)
        node = scene.AddNode(node)
        node.SetOrientation(orientation)
        self._logic.SetSliceNode(node)
        self._view.start(self._logic, application_logic)

    def sliceView(self) -> Any:
        return self._view

    def sliceLogic(self) -> Any:
        return self._logic

    def mrmlSliceNode(self) -> Any:
        return self._logic.GetSliceNode()

    def mrmlSliceCompositeNode(self) -> Any:
        return self._logic.GetSliceCompositeNode()

    def fitSliceToBackground(self) -> None:
        self._logic.FitSliceToBackground()
        self._logic.SnapSliceOffsetToIJK()

    def setSliceOrientation(self, orientation: str) -> None:
        self.mrmlSliceNode().SetOrientation(orientation)

    sliceOrientation = qt.Property(
        str, lambda self: self.mrmlSliceNode().GetOrientation(), setSliceOrientation
    )


@stand_in()
class qMRMLThreeDWidget(qt.QWidget):
    """A 3-D view with its logic."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._logic: Any = None
        self._view = qMRMLThreeDView()
        column = qt.QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self._view)

    def start(self, name: str, application_logic: Any) -> None:
        """Make the view node of this name and show the scene in it."""
        scene = application_logic.GetMRMLScene()
        self._logic = slicer.vtkMRMLViewLogic()
        self._logic.SetMRMLApplicationLogic(application_logic)
        self._logic.SetMRMLScene(scene)
        application_logic.GetViewLogics().AddItem(self._logic)
        node = self._logic.AddViewNode(name)
        node.SetMappedInLayout(1)
        self._view.start(node, application_logic)

    def threeDView(self) -> Any:
        return self._view

    def viewLogic(self) -> Any:
        return self._logic

    def mrmlViewNode(self) -> Any:
        return self._view.mrmlViewNode()


@stand_in()
class qSlicerLayoutManager(qt.QObject):
    """Finds the views by name or number; the arrangement itself is always four-up."""

    layoutChanged = qt.Signal(int)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._slices: dict[str, Any] = {}
        self._three_d: list[Any] = []
        self._layout = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
        self._viewport = qt.QWidget()
        self._application_logic: Any = None

    def start(self, application_logic: Any) -> None:
        """Make the four views."""
        self._application_logic = application_logic
        application_logic.SetSliceLogics(vtk.vtkCollection())
        application_logic.SetViewLogics(vtk.vtkCollection())
        grid = qt.QGridLayout(self._viewport)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(2)
        for name, cell in _CELLS.items():
            widget = qMRMLSliceWidget() if name in _SLICES else qMRMLThreeDWidget()
            widget.start(name, application_logic)
            grid.addWidget(widget, *cell)
            if name in _SLICES:
                self._slices[name] = widget
            else:
                self._three_d.append(widget)
        self._viewport.resize(800, 800)
        self._viewport.show()

    def viewport(self) -> Any:
        return self._viewport

    def views(self) -> list[Any]:
        """All views, to render them (the host's own)."""
        slices = [widget.sliceView() for widget in self._slices.values()]
        return [*slices, *(widget.threeDView() for widget in self._three_d)]

    def sliceViewNames(self) -> tuple[str, ...]:
        return tuple(self._slices)

    def sliceWidget(self, name: str) -> Any:
        return self._slices.get(name)

    def threeDWidget(self, index: int | str) -> Any:
        position = 0 if isinstance(index, str) else index
        return self._three_d[position] if 0 <= position < len(self._three_d) else None

    threeDViewCount = qt.Property(int, lambda self: len(self._three_d))
    tableViewCount = qt.Property(int, lambda _: 0)
    plotViewCount = qt.Property(int, lambda _: 0)

    def mrmlSliceLogics(self) -> Any:
        return self._application_logic.GetSliceLogics()

    def mrmlViewLogics(self) -> Any:
        return self._application_logic.GetViewLogics()

    def resetSliceViews(self) -> None:
        for widget in self._slices.values():
            widget.fitSliceToBackground()

    def resetThreeDViews(self) -> None:
        for widget in self._three_d:
            widget.threeDView().resetFocalPoint()

    def setRenderPaused(self, paused: bool) -> None:
        for view in self.views():
            view.setRenderPaused(paused)

    def setLayout(self, layout: int) -> None:
        self._layout = int(layout)
        self.layoutChanged.emit(self._layout)

    layout = qt.Property(int, lambda self: self._layout, setLayout)


def install() -> None:
    """Put the layout's classes into ``slicer``."""
    for kind in (qMRMLSliceWidget, qMRMLThreeDWidget, qSlicerLayoutManager):
        setattr(slicer, kind.__name__, kind)
