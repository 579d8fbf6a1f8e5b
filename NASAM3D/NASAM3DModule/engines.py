"""The choice of the engine, and the weights that one of them needs."""

import slicer
from slicer.i18n import tr as _

from NASAM3DModule.packages import TORCH_MB, hasTorch
from NASAM3DModule.parameters import Engine, needsTorch
from NASAM3DModule.texts import memoryText, progressText

SAM_WEIGHTS = "sam-med3d-turbo"


class EngineChoice:
    """Says what the chosen engine needs and gets it; ``job`` is a running download or None."""

    def __init__(self, widget) -> None:
        self.widget, self.ui, self.job = widget, widget.ui, None
        self.ui.downloadButton.connect("clicked(bool)", self.onDownload)

    def update(self) -> None:
        """Show what the chosen engine needs, and offer the download where it lacks weights."""
        parameters = self.widget.parameters
        isSam = bool(parameters and parameters.engine == Engine.SAM_MED3D)
        weights = self.weights()
        isMissing = isSam and weights is not None and not weights["is_installed"]
        self.ui.downloadButton.visible = isMissing
        self.ui.downloadButton.text = _("Stop") if self.job else _("Download weights…")
        engine = parameters.engine if parameters else Engine.BUILT_IN
        self.ui.engineInfoLabel.text = (
            self.need(engine) if needsTorch(engine) else self.free(engine)
        )

    def free(self, engine) -> str:
        """Say in a line what an engine that needs nothing does here."""
        if engine == Engine.BUILT_IN and self.hasTorch() is False:
            return _("Needs nothing more. With PyTorch a small network would answer, more exactly.")
        return _("Needs nothing more.")

    def hasTorch(self):
        """Tell whether PyTorch is where the background process is; None while that is unknown."""
        if self.widget.logic.client.shares_files:
            return hasTorch()
        machine = self.widget.reconstruction.expectation.machine
        return machine and machine["has_torch"]

    def weights(self):
        """Give what the background process says about the weights; None until it has."""
        machine = self.widget.reconstruction.expectation.machine
        entries = machine["weights"] if machine else ()
        return next((entry for entry in entries if entry["name"] == SAM_WEIGHTS), None)

    def need(self, engine) -> str:
        """Say in a line what an engine still needs."""
        weights, needs = self.weights(), []
        if weights is None:
            self.widget.reconstruction.expectation.askMachine()
            return "…"
        if not self.hasTorch():
            needs.append(_("PyTorch, about {size} MB").format(size=TORCH_MB))
        if engine == Engine.SAM_MED3D and not weights["is_installed"]:
            size = memoryText(weights["size_bytes"])
            needs.append(_("its weights ({size})").format(size=size))
        if not needs:
            return _("Everything that it needs is installed.")
        return _("Still needs {needs}.").format(needs=_(" and ").join(needs))

    def onDownload(self) -> None:
        """Download the weights once the licence is accepted, or stop the download."""
        if self.job:
            self.job.cancel()
            return
        weights = self.weights()
        question = _("Download {title}, {size}?\n\n{licence}").format(
            title=weights["title"],
            size=memoryText(weights["size_bytes"]),
            licence=weights["licence"],
        )
        if slicer.util.confirmOkCancelDisplay(question, _("Licence of the weights")):
            self.job = self.widget.logic.download(
                weights["name"], self.onProgress, self.onInstalled, self.onError
            )
            self.widget.startPolling()
            self.update()

    def onProgress(self, progress) -> None:
        """Show how far the download is."""
        self.ui.engineInfoLabel.text = f"{progressText(progress)}, {100 * progress.fraction:.0f} %"

    def onInstalled(self, message) -> None:
        """Look again at what is there."""
        self.job = None
        self.widget.showStatus(_("The weights are installed."))
        self.widget.reconstruction.expectation.askMachine()
        self.widget.segmentation.onPointsEvent()

    def onError(self, error) -> None:
        """Tell why there are no weights; what has come so far is kept for the next time."""
        self.job = None
        self.widget.showError(error, _("Stopped; the next download goes on where this one was."))
        self.update()
