"""The button that refines volume and segment together, its progress, and what it says."""

import slicer
from slicer.i18n import tr as _

from NASAM3DModule.joint import basisOf, goTo, placeJoint, scanOf, segmentOfPoints, whyNot
from NASAM3DModule.packages import ensurePackages
from NASAM3DModule.parameters import needsTorch
from NASAM3DModule.preview import LivePreview
from NASAM3DModule.segments import figuresOf
from NASAM3DModule.texts import jointText, progressText
from NASAM3DModule.volumes import volumeKey


class JointControl:
    """Starts, shows, cancels and takes back joint refinement; ``job`` is None while none runs."""

    def __init__(self, widget) -> None:
        self.widget, self.ui, self.job = widget, widget.ui, None
        self.preview = LivePreview()
        self._from = None
        self.ui.jointButton.connect("clicked(bool)", self.onPressed)
        self.showProgress(None)

    def update(self) -> None:
        """Offer what can be done now, or say what is lacking."""
        parameters = self.widget.parameters
        lacking = whyNot(parameters) if parameters else _("Choose a segment.")
        if self.widget.reconstruction.job:
            lacking = _("Waits for the reconstruction.")
        isCancelled = self.job is not None and bool(self.job.cancel_asked_at)
        self.ui.jointButton.enabled = not isCancelled if self.job else not lacking
        self.ui.jointButton.text = _("Cancel") if self.job else _("Refine jointly")
        self.ui.jointButton.toolTip = lacking or _(
            "Refine volume and segment together, from the projections. Takes two to three times as "
            "long as the reconstruction; Undo goes back."
        )

    def onPressed(self, checked: bool = False) -> None:
        """Start, after asking for the packages that are missing, or cancel."""
        if self.job:
            self.job.cancel()
            self.ui.jointProgressBar.format = _("Cancelling…")
            self.update()
            return
        parameters = self.widget.parameters
        self.widget.reconstruction.expectation.stop()
        with slicer.util.tryWithErrorDisplay(_("Joint refinement cannot start.")):
            if not figuresOf(parameters.segmentation, parameters.segmentId):
                raise ValueError(_("The segment was changed elsewhere since it was clicked."))
            known = basisOf(parameters.inputVolume)
            path = scanOf(parameters, known)
            ensurePackages(needsTorch(parameters.engine))
            volumeNode = parameters.inputVolume
            self._from = (volumeNode, volumeKey(volumeNode), parameters.points)
            self.preview.begin()
            self.job = self.widget.logic.refineJointly(parameters, path, known, self)
        self.widget.showStatus("")
        self.widget.updateGui()
        self.widget.startPolling()

    def onProgress(self, progress) -> None:
        """Show how far it is."""
        self.showProgress(progress)

    def onPreview(self, message) -> None:
        """Show how far the volume is."""
        self.preview.show(message)

    def onResult(self, message) -> None:
        """Put volume and segment beside those from before and choose them; say what came."""
        volumeNode, key, points = self._end()
        text = jointText(message.fields)
        scene = slicer.mrmlScene
        isThere = scene.IsNodePresent(volumeNode) and scene.IsNodePresent(points)
        if not (isThere and segmentOfPoints(points)) or volumeKey(volumeNode) != key:
            text = _("The volume or its segment is gone or changed: the result was dropped.")
        elif message.fields["is_joint"]:
            parameters = self.widget.parameters or self.widget.logic.getParameterNode()
            after = placeJoint(volumeNode, points, message)
            # Whoever has gone on with something else meanwhile is not taken away from it.
            if parameters.points is points:
                self.widget.logic.clicks.forget()
                goTo(parameters, after)
        self.widget.updateGui()
        self.widget.showStatus(text)

    def onError(self, error) -> None:
        """Tell why there is no result; the scene is as it was."""
        self._end()
        self.widget.updateGui()
        self.widget.showError(error, _("The refinement was cancelled."))

    def go(self, points) -> None:
        """Work on what was before a refinement, or after it."""
        self.widget.logic.clicks.forget()
        goTo(self.widget.parameters, points)
        self.widget.showStatus("")
        self.widget.updateGui()

    def showProgress(self, progress) -> None:
        """Show how far the refinement is; None hides the bar."""
        self.ui.jointProgressBar.visible = progress is not None
        self.ui.jointProgressBar.value = round(100 * progress.fraction) if progress else 0
        self.ui.jointProgressBar.format = progressText(progress) if progress else ""

    def _end(self):
        """Forget the job; give what it began from."""
        began, self._from, self.job = self._from, None, None
        self.showProgress(None)
        self.preview.remove()
        return began
