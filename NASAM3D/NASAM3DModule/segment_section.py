"""Third section of the panel: clicks become segments."""

import qt
import slicer
from slicer.i18n import tr as _

from NASAM3DModule import points as pointsOf
from NASAM3DModule.packages import ensurePackages
from NASAM3DModule.texts import resultText


class SegmentSection:
    """Follows the list of points and keeps the segment in agreement with it."""

    def __init__(self, widget) -> None:
        self.widget, self.ui = widget, widget.ui
        self._points, self._positive = None, True
        self.ui.densityCheckBox.connect("toggled(bool)", self.onPointsEvent)
        for button, onClicked in (
            (self.ui.positiveButton, lambda on: self.onPlace(True, on)),
            (self.ui.negativeButton, lambda on: self.onPlace(False, on)),
            (self.ui.undoButton, lambda: self.widget.logic.removeLastPoint(self._points)),
            (self.ui.newSegmentButton, self.onNextSegment),
        ):
            button.connect("clicked(bool)", onClicked)

    def update(self) -> None:
        """Follow the chosen points and offer what can be done now."""
        parameters = self.widget.parameters
        self._follow(parameters.points if parameters else None)
        hasVolume = bool(parameters and parameters.inputVolume)
        placing = hasVolume and pointsOf.isPlacing(self._points)
        for button, positive in ((self.ui.positiveButton, True), (self.ui.negativeButton, False)):
            button.enabled = hasVolume
            button.checked = placing and self._positive == positive
        hasPoints = bool(self._points and pointsOf.placedIndices(self._points))
        self.ui.undoButton.enabled = self.ui.newSegmentButton.enabled = hasPoints

    def onPlace(self, positive: bool, start: bool) -> None:
        """Let clicks in the views place points, or stop that."""
        self._positive = positive
        if start:
            with slicer.util.tryWithErrorDisplay(_("Points cannot be placed.")):
                ensurePackages()
                self.widget.logic.startPlacing(self.widget.parameters, positive)
        else:
            pointsOf.stopPlacing()
        self.widget.updateGui()

    def onNextSegment(self) -> None:
        """Begin another segment."""
        self.widget.logic.startNextSegment(self.widget.parameters)

    def onPointsEvent(self, caller=None, event=None) -> None:
        """Segment again, soon."""
        # A view is still busy with the point, which may have to be removed: wait until it is done.
        qt.QTimer.singleShot(0, self.onPointsChanged)

    def onPointsChanged(self, *unused) -> None:
        """Mark new points, refuse the last one if it cannot be served, and segment again."""
        parameters, logic = self.widget.parameters, self.widget.logic
        if not (parameters and self._points):
            return
        hasNew = pointsOf.markNewPoints(self._points, self._positive)
        try:
            willCome = logic.segment(parameters, self.showResult, self.widget.showError)
        except ValueError as error:
            if hasNew:
                logic.removeLastPoint(self._points)
            self.widget.showStatus(str(error))
            slicer.util.errorDisplay(str(error))
        else:
            if willCome:
                self.widget.showStatus(_("Segmenting…"))
                self.widget.startPolling()
            elif not pointsOf.placedIndices(self._points):
                self.showResult(None)
        self.widget.updateGui()

    def showResult(self, result) -> None:
        """Show the figures of the newest segment; None where there is none."""
        self.widget.showStatus("")
        self.ui.resultLabel.text = resultText(result) if result else _("No segment yet.")

    def _follow(self, points) -> None:
        """Observe these points instead of those before."""
        if points is self._points:
            return
        widget = self.widget
        for node, change in ((self._points, widget.removeObserver), (points, widget.addObserver)):
            if node:
                change(node, node.PointPositionDefinedEvent, self.onPointsEvent)
                change(node, node.PointRemovedEvent, self.onPointsEvent)
                change(node, node.PointEndInteractionEvent, self.onPointsEvent)
        self._points = points
