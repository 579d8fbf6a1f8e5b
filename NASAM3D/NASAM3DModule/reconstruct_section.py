"""Second section of the panel: the reconstruction."""

import slicer
from slicer.i18n import tr as _

from NASAM3DModule.expectation import Expectation
from NASAM3DModule.packages import ensurePackages
from NASAM3DModule.parameters import Method, canBeUncertain
from NASAM3DModule.preview import LivePreview
from NASAM3DModule.texts import progressText


class ReconstructSection:
    """Starts, shows and cancels the reconstruction; ``job`` is None while there is none."""

    def __init__(self, widget) -> None:
        self.widget, self.ui, self.job = widget, widget.ui, None
        self.preview = LivePreview()
        self.expectation = Expectation(widget)
        self.ui.applyButton.connect("clicked(bool)", self.onApply)
        self.ui.cancelButton.connect("clicked(bool)", self.onCancel)
        self.showProgress(None)

    def update(self) -> None:
        """Offer what can be done now."""
        parameters = self.widget.parameters
        hasScan = bool(parameters and self.widget.projections.scan)
        isFree = self.job is None and self.widget.segmentation.joint.job is None
        self.ui.applyButton.enabled = hasScan and isFree
        self.ui.cancelButton.enabled = self.job is not None and not self.job.cancel_asked_at
        self.ui.uncertaintyCheckBox.enabled = bool(parameters and canBeUncertain(parameters))
        if isFree:
            self.expectation.update()

    def onApply(self) -> None:
        """Start, after asking for the packages that are missing."""
        parameters = self.widget.parameters
        onPreview = self.preview.show if parameters.livePreview else None
        self.expectation.stop()
        with slicer.util.tryWithErrorDisplay(_("The reconstruction cannot start.")):
            ensurePackages(parameters.method == Method.FIELD)
            self.preview.begin()
            self.job = self.widget.logic.reconstruct(
                parameters, self.showProgress, self.onEnd, onPreview
            )
        self.widget.showStatus("")
        self.widget.startPolling()
        self.widget.updateGui()

    def onCancel(self) -> None:
        """Ask for the end."""
        self.job.cancel()
        self.ui.progressBar.format = _("Cancelling…")
        self.update()

    def onEnd(self, outcome) -> None:
        """Show the volume and make it the one to click on, or tell why there is none."""
        self.job = None
        self.showProgress(None)
        if isinstance(outcome, Exception):
            self.preview.remove()
            self.widget.updateGui()
            self.widget.showError(outcome, _("The reconstruction was cancelled."))
            return
        slicer.util.setSliceViewerLayers(background=outcome, fit=self.preview.node is None)
        self.preview.remove()
        parameters = self.widget.parameters
        if parameters:
            parameters.outputVolume = parameters.inputVolume = outcome
        self.widget.updateGui()
        self.widget.showStatus(_("{name} is ready.").format(name=outcome.GetName()))

    def showProgress(self, progress) -> None:
        """Show how far the reconstruction is; None hides the bar."""
        self.ui.progressBar.visible = progress is not None
        self.ui.progressBar.value = round(100 * progress.fraction) if progress else 0
        self.ui.progressBar.format = progressText(progress) if progress else ""
