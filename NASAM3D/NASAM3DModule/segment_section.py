"""Third section of the panel: clicks become segments."""

import qt
import slicer
from slicer.i18n import tr as _

from NASAM3DModule import points as pointsOf
from NASAM3DModule.attention import AttentionOverlay
from NASAM3DModule.box import boxOf, removeBox
from NASAM3DModule.engines import EngineChoice
from NASAM3DModule.history import PointHistory
from NASAM3DModule.joint import afterJoint, beforeJoint, forgetAfter
from NASAM3DModule.joint_control import JointControl
from NASAM3DModule.packages import ensurePackages
from NASAM3DModule.parameters import needsTorch
from NASAM3DModule.segments import isLocked, segmentOf
from NASAM3DModule.segments_list import SegmentsList
from NASAM3DModule.strokes import StrokeDrawing


class SegmentSection:
    """Follows the list of points and keeps the segment in agreement with it."""

    def __init__(self, widget) -> None:
        self.widget, self.ui = widget, widget.ui
        self._points, self._willLook = None, False
        self._histories = {}
        self._box = self._sentAhead = None
        self.segments, self.engines = SegmentsList(widget), EngineChoice(widget)
        self.attention, self.joint = AttentionOverlay(widget), JointControl(widget)
        self.strokes = StrokeDrawing()
        self.ui.densityCheckBox.connect("toggled(bool)", self.onPointsEvent)
        self.ui.strengthSlider.connect("valueChanged(double)", self.onPointsEvent)
        self.ui.engineComboBox.connect("currentIndexChanged(int)", self.onEngine)
        for button, onClicked in (
            (self.ui.positiveButton, lambda on: self.onPlace(True, on)),
            (self.ui.negativeButton, lambda on: self.onPlace(False, on)),
            (self.ui.strokeButton, self.onStroke),
            (self.ui.boxButton, self.onBox),
            (self.ui.removeBoxButton, self.onRemoveBox),
            (self.ui.undoButton, self.onUndo),
            (self.ui.redoButton, self.onRedo),
            (self.ui.newSegmentButton, self.onNextSegment),
        ):
            button.connect("clicked(bool)", onClicked)

    def keys(self) -> dict:
        """Give the keys of this section and what they do."""
        return {
            "Ctrl+Z": self.onUndo,
            "Ctrl+Y": self.onRedo,
            "T": self.onToggle,
            "E": self.onNextSegment,
        }

    def update(self) -> None:
        """Follow the chosen points and offer what can be done now."""
        parameters = self.widget.parameters
        self._follow(parameters.points if parameters else None)
        self.segments.update(self.joint.job is not None)
        self.engines.update()
        self.attention.update()
        self.joint.update()
        hasVolume = bool(parameters and parameters.inputVolume)
        self._sendAhead(parameters.inputVolume if hasVolume else None)
        isOpen = hasVolume and not self.joint.job and not isLocked(segmentOf(parameters))
        placing = isOpen and pointsOf.isPlacing(self._points)
        box = boxOf(self._points)
        isBoxing = isOpen and bool(box) and pointsOf.isPlacing(box)
        if self.strokes.isOn:
            self.strokes.follow(None if placing or isBoxing or not isOpen else self._points)
        self.ui.strokeButton.enabled = isOpen
        self.ui.strokeButton.checked = self.strokes.isOn
        for button, positive in ((self.ui.positiveButton, True), (self.ui.negativeButton, False)):
            button.enabled = isOpen
            isChosen = pointsOf.isNextPositive(self._points) == positive
            button.checked = (placing or self.strokes.isOn) and isChosen
        self.ui.boxButton.enabled = isOpen
        self.ui.boxButton.checked = isBoxing
        self.ui.removeBoxButton.enabled = isOpen and bool(box)
        self.ui.strengthSlider.enabled = self.ui.attentionCheckBox.enabled = bool(
            parameters and parameters.densityGuidance
        )
        history = self.history()
        canUndo = history and (history.canUndo or beforeJoint(self._points))
        canRedo = history and (history.canRedo or afterJoint(self._points))
        self.ui.undoButton.enabled = bool(isOpen and canUndo)
        self.ui.redoButton.enabled = bool(isOpen and canRedo)
        hasPoints = bool(self._points and pointsOf.placedIndices(self._points))
        self.ui.newSegmentButton.enabled = hasPoints or segmentOf(parameters) is not None
        if not isOpen and pointsOf.isPlacing(self._points):
            pointsOf.stopPlacing()

    def _sendAhead(self, volumeNode) -> None:
        """Send a volume when it is chosen, if the process runs and has nothing else to do."""
        client = self.widget.logic.client
        if volumeNode is self._sentAhead or client.is_busy:
            return
        self._sentAhead = volumeNode
        if volumeNode and volumeNode.GetImageData() and client.process_id is not None:
            self.widget.logic.sendAhead(volumeNode)
            self.widget.startPolling()

    def forget(self) -> None:
        """Forget what belongs to a scene that is closed."""
        self._histories, self._sentAhead = {}, None
        self.attention.forget()

    def history(self):
        """Give the history of the chosen points; None while there are none."""
        return self._histories.get(self._points.GetID()) if self._points else None

    def onPlace(self, positive: bool, start: bool) -> None:
        """Let clicks in the views place points, or stop that; strokes only change their kind."""
        if self.strokes.isOn:
            pointsOf.setNext(self._points, positive)
        elif start:
            with slicer.util.tryWithErrorDisplay(_("Points cannot be placed.")):
                ensurePackages(needsTorch(self.widget.parameters.engine))
                self.widget.logic.startPlacing(self.widget.parameters, positive)
            self.widget.startPolling()
        else:
            pointsOf.stopPlacing()
        self.widget.updateGui()

    def onStroke(self, start: bool) -> None:
        """Let the mouse draw strokes in the slice views, or stop that."""
        pointsOf.stopPlacing()
        self.strokes.stop()
        if start:
            with slicer.util.tryWithErrorDisplay(_("Strokes cannot be drawn.")):
                ensurePackages(needsTorch(self.widget.parameters.engine))
                self.widget.logic.ensurePoints(self.widget.parameters)
                self.strokes.follow(self.widget.parameters.points)
                self.widget.logic.sendAhead(self.widget.parameters.inputVolume)
            self.widget.startPolling()
        self.widget.updateGui()

    def onBox(self, start: bool) -> None:
        """Let clicks in the views draw a box, or stop that."""
        if start:
            with slicer.util.tryWithErrorDisplay(_("A box cannot be drawn.")):
                ensurePackages(needsTorch(self.widget.parameters.engine))
                self.widget.logic.startDrawingBox(self.widget.parameters)
            self.widget.startPolling()
        else:
            pointsOf.stopPlacing()
        self.widget.updateGui()

    def onRemoveBox(self) -> None:
        """Segment again without the box."""
        removeBox(self._points)
        self.onPointsEvent()
        self.widget.updateGui()

    def onEngine(self, index: int) -> None:
        """Segment again with the other engine."""
        self.onPointsEvent()
        self.widget.updateGui()

    def onToggle(self) -> None:
        """Place points of the other kind; begin with those inside."""
        if self.ui.positiveButton.enabled:
            isPlacing = self.strokes.isOn or pointsOf.isPlacing(self._points)
            self.onPlace(not (isPlacing and pointsOf.isNextPositive(self._points)), True)

    def onUndo(self) -> None:
        """Take back the last point, move, removal or refinement, with what it changed."""
        if self.ui.undoButton.enabled and self.history().canUndo:
            self.history().undo(self._points)
            self.onPointsEvent()
        elif self.ui.undoButton.enabled:
            self.joint.go(beforeJoint(self._points))

    def onRedo(self) -> None:
        """Do again what was taken back."""
        if self.ui.redoButton.enabled and self.history().canRedo:
            self.history().redo(self._points)
            self.onPointsEvent()
        elif self.ui.redoButton.enabled:
            self.joint.go(afterJoint(self._points))

    def onNextSegment(self) -> None:
        """Begin another segment."""
        if self.ui.newSegmentButton.enabled:
            self.widget.logic.startNextSegment(self.widget.parameters)
            self.widget.showStatus("")
            self.widget.updateGui()

    def onPointsEvent(self, caller=None, event=None) -> None:
        """Segment again, soon."""
        # A view is still busy with the point, which may have to be removed: wait until it is done.
        if not self._willLook:
            self._willLook = True
            qt.QTimer.singleShot(0, self.onPointsChanged)

    def onPointsChanged(self, *unused) -> None:
        """Mark new points, take back what cannot be served, and segment again."""
        self._willLook = False
        parameters, history = self.widget.parameters, self.history()
        if not (parameters and parameters.inputVolume and history):
            return
        pointsOf.markNewPoints(self._points)
        try:
            willCome = self.widget.logic.segment(parameters, self.onMask, self.widget.showError)
        except ValueError as error:
            self.widget.showStatus(str(error))
            if history.restore(self._points):
                slicer.util.errorDisplay(str(error))
        else:
            if history.record(self._points):
                forgetAfter(self._points)
            if willCome:
                self.widget.showStatus(_("Segmenting…"))
                self.widget.startPolling()
        self.widget.updateGui()

    def onMask(self, figures) -> None:
        """Show the figures of the new mask."""
        self.widget.showStatus("")
        self.attention.ask(figures)
        self.widget.updateGui()

    def _follow(self, points) -> None:
        """Observe these points and their box instead of those before."""
        box = boxOf(points)
        events = slicer.vtkMRMLMarkupsNode
        names = (
            events.PointPositionDefinedEvent,
            events.PointRemovedEvent,
            events.PointEndInteractionEvent,
        )
        changes = ((self._points, points), (self._box, box))
        self._points, self._box = points, box
        for before, now in changes:
            for event in names if before is not now else ():
                if before:
                    self.widget.removeObserver(before, event, self.onPointsEvent)
                if now:
                    self.widget.addObserver(now, event, self.onPointsEvent)
        if points is not changes[0][0]:
            if points:
                self._histories.setdefault(points.GetID(), PointHistory(points))
            if self.widget.parameters:
                pointsOf.showOnly(points)
            self.attention.forget()
