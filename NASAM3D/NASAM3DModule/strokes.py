"""Strokes: dragging the mouse in a slice view marks along its way."""

import math

import slicer
import vtk

from NASAM3DModule import points as pointsOf

SHORTEST_PX = 8
"""A shorter drag is a click that slipped."""

BEFORE_OTHERS = 10.0
"""Priority of the observers: what they take, the views do not act on."""

STEP_MM = 3.0
"""Distance of the points of a stroke."""


class StrokeDrawing:
    """Watches the slice views and adds strokes to a list of points; a click adds a point."""

    def __init__(self) -> None:
        self._points, self._tags = None, []
        self._ink, self._begin = None, None

    @property
    def isOn(self) -> bool:
        """Whether the mouse draws."""
        return self._points is not None

    def follow(self, points) -> None:
        """Add strokes to these points; None ends that."""
        if points is self._points:
            return
        self.stop()
        self._points = points
        layout = slicer.app.layoutManager()
        if points is None or layout is None:
            return
        for name in layout.sliceViewNames():
            widget = layout.sliceWidget(name)
            interactor, sliceNode = widget.sliceView().interactor(), widget.mrmlSliceNode()
            for event, act in (
                (vtk.vtkCommand.LeftButtonPressEvent, self.onPress),
                (vtk.vtkCommand.MouseMoveEvent, self.onMove),
                (vtk.vtkCommand.LeftButtonReleaseEvent, self.onRelease),
            ):
                self._watch(interactor, event, act, sliceNode)

    def stop(self) -> None:
        """Watch no more."""
        for interactor, tag in self._tags:
            interactor.RemoveObserver(tag)
        self._points, self._tags, self._begin = None, [], None
        self._removeInk()

    def onPress(self, interactor, sliceNode) -> None:
        """Remember where the stroke may begin."""
        self._begin = interactor.GetEventPosition()

    def onMove(self, interactor, sliceNode) -> None:
        """Draw once the mouse has left its place."""
        if self._begin is None:
            return
        place = interactor.GetEventPosition()
        if self._ink is None:
            if math.dist(self._begin, place) < SHORTEST_PX:
                return
            self._ink = self._makeInk()
            self._draw(rasOf(sliceNode, self._begin))
        self._draw(rasOf(sliceNode, place))

    def onRelease(self, interactor, sliceNode) -> None:
        """Make points of what was drawn."""
        begin, self._begin = self._begin, None
        if begin is None:
            return
        ink = self._ink
        if ink is None:
            pointsOf.addPoint(self._points, rasOf(sliceNode, begin))
            return
        vertices = [
            ink.GetNthControlPointPosition(n) for n in range(ink.GetNumberOfControlPoints())
        ]
        self._removeInk()
        pointsOf.addStroke(self._points, vertices)

    def _watch(self, interactor, event, act, sliceNode) -> None:
        """Act on an event before the view does; what belongs to a stroke it does not see."""

        def observe(caller, name) -> None:
            isMine = self._begin is not None or event == vtk.vtkCommand.LeftButtonPressEvent
            act(caller, sliceNode)
            if isMine:
                caller.GetCommand(tag).SetAbortFlag(1)

        tag = interactor.AddObserver(event, observe, BEFORE_OTHERS)
        self._tags.append((interactor, tag))

    def _draw(self, ras) -> None:
        """Go on to a place if it is far enough from the last one."""
        last = self._ink.GetNumberOfControlPoints() - 1
        if last < 0 or math.dist(self._ink.GetNthControlPointPosition(last), ras) >= STEP_MM:
            self._ink.AddControlPoint(*ras)

    def _makeInk(self):
        """Make a line that is there only while the mouse is down."""
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLMarkupsCurveNode")
        node.UnRegister(None)
        node.SetHideFromEditors(True)
        node.SetSaveWithScene(False)
        node.SetCurveTypeToLinear()
        slicer.mrmlScene.AddNode(node)
        node.CreateDefaultDisplayNodes()
        node.SetLocked(True)
        displayNode = node.GetDisplayNode()
        positive = pointsOf.isNextPositive(self._points)
        color = pointsOf.POSITIVE_COLOR if positive else pointsOf.NEGATIVE_COLOR
        displayNode.SetSelectedColor(*color)
        displayNode.SetPropertiesLabelVisibility(False)
        displayNode.SetGlyphScale(0.5)
        return node

    def _removeInk(self) -> None:
        """Take the line away."""
        ink, self._ink = self._ink, None
        if ink and slicer.mrmlScene.IsNodePresent(ink):
            slicer.mrmlScene.RemoveNode(ink)


def rasOf(sliceNode, place) -> tuple:
    """Give the position of a pixel of a slice view, mm."""
    return sliceNode.GetXYToRAS().MultiplyPoint((*place, 0.0, 1.0))[:3]
