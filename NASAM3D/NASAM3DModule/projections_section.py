"""First section of the panel: which scan."""

from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from NASAM3DModule.drop import DropTarget, droppedScan
from NASAM3DModule.packages import ensurePackages
from NASAM3DModule.pictures import pixmapOf
from NASAM3DModule.sample import markLesion, sampleFolder
from NASAM3DModule.texts import progressText


class ProjectionsSection:
    """Choice of a scan and what is in it.

    ``job`` is the running look into the file, None while there is none; ``scan`` is what the last
    one found, None while the file is not known to be of use.
    """

    def __init__(self, widget) -> None:
        self.widget, self.ui, self.job = widget, widget.ui, None
        self.scan = None
        self._sampleJob = None
        self.ui.simulateButton.connect("clicked(bool)", self.onSimulate)
        self.ui.folderButton.connect("clicked(bool)", self.onFolder)
        self.ui.sampleButton.connect("clicked(bool)", self.onSample)
        self.ui.pathLineEdit.connect("currentPathChanged(QString)", self.onPathChanged)
        # The line itself would take a dropped file as text, with "file://" before it.
        for line in slicer.util.findChildren(self.ui.pathLineEdit, className="QLineEdit"):
            line.acceptDrops = False
        self._drop = DropTarget(self.ui.projectionsCollapsibleButton, self.onDropped)

    def update(self) -> None:
        """Show the path of the parameter node, and offer what can be done now."""
        parameters = self.widget.parameters
        isFree = self._sampleJob is None
        self.ui.sampleButton.enabled = isFree
        self.ui.simulateButton.enabled = isFree and bool(parameters and parameters.inputVolume)
        if parameters and self.ui.pathLineEdit.currentPath != parameters.projectionsPath:
            self.ui.pathLineEdit.currentPath = parameters.projectionsPath

    def onFolder(self) -> None:
        """Choose a folder of images, which the line for files does not offer."""
        start = str(Path(self.ui.pathLineEdit.currentPath or Path.home()).parent)
        folder = qt.QFileDialog.getExistingDirectory(
            self.ui.folderButton, _("Folder with projections"), start
        )
        if folder:
            self.ui.pathLineEdit.currentPath = folder

    def onDropped(self, paths) -> None:
        """Choose what was dropped on the section."""
        try:
            self.ui.pathLineEdit.currentPath = droppedScan(paths)
        except ValueError as error:
            self.widget.showStatus(str(error))

    def onSample(self, checked: bool = False) -> None:
        """Make or find the sample scan and choose it."""
        if self._sampleJob:
            return
        with slicer.util.tryWithErrorDisplay(_("The sample scan cannot be made.")):
            ensurePackages()
            self._sampleJob = self.widget.logic.makeSample(
                sampleFolder(), self.onSampleProgress, self.onSampleMade, self.onSampleError
            )
        self.widget.updateGui()
        self.widget.startPolling()

    def onSimulate(self) -> None:
        """Simulate views of the chosen volume into a file that the user names, and choose it."""
        name = f"{self.widget.parameters.inputVolume.GetName()}.npz"
        path = qt.QFileDialog.getSaveFileName(
            self.ui.simulateButton, _("Save simulated views as"), name, _("Projections (*.npz)")
        )
        if not path:
            return
        path = path if path.endswith(".npz") else f"{path}.npz"
        with slicer.util.tryWithErrorDisplay(_("The views cannot be simulated.")):
            ensurePackages()
            self._sampleJob = self.widget.logic.simulate(
                self.widget.parameters,
                path,
                self.onSampleProgress,
                self.onSampleMade,
                self.onSampleError,
            )
        self.widget.updateGui()
        self.widget.startPolling()

    def onSampleProgress(self, progress) -> None:
        """Show how far the scan is that is being made."""
        self.ui.summaryLabel.text = progressText(progress)

    def onSampleMade(self, message) -> None:
        """Choose what was made, and show where the lesion of the sample is."""
        self._sampleJob = None
        self.widget.updateGui()
        if self.widget.parameters:
            if "lesion_ras" in message.fields:
                markLesion(message.fields["lesion_ras"])
            self.ui.pathLineEdit.currentPath = message.fields["path"]

    def onSampleError(self, error) -> None:
        """Tell why there is no scan."""
        self._sampleJob = None
        self.widget.updateGui()
        self.ui.summaryLabel.text = _("Choose a file.")
        self.widget.showError(error)

    def onPathChanged(self, path: str) -> None:
        """Look into the file that was chosen or typed."""
        parameters = self.widget.parameters
        if parameters is None:
            return
        if path != parameters.projectionsPath:
            parameters.projectionsPath = path
        if self.job:
            self.job.cancel()
        self.job = self.scan = None
        self.showStrip(None)
        self.widget.updateGui()
        if not path or not Path(path).exists():
            self.ui.summaryLabel.text = _("There is no such file.") if path else _("Choose a file.")
            return
        self.ui.summaryLabel.text = _("Reading…")
        self.job = self.widget.logic.inspect(path, self.onInspected, self.onError)
        self.widget.startPolling()

    def onInspected(self, message) -> None:
        """Sum the scan up."""
        self.job, self.scan = None, message.fields
        # CTK announces every step of adding to the history as a new path.
        self.ui.pathLineEdit.blockSignals(True)
        self.ui.pathLineEdit.addCurrentPathToHistory()
        self.ui.pathLineEdit.blockSignals(False)
        self.ui.summaryLabel.text = message.fields["summary"].replace(", ", "\n")
        self.showStrip(message.arrays.get("strip"))
        self.ui.viewsSpinBox.maximum = message.fields["n_views"]
        self.widget.updateGui()

    def showStrip(self, strip) -> None:
        """Show small pictures of the views; None hides them."""
        self.ui.stripLabel.visible = strip is not None
        if strip is not None:
            self.ui.stripLabel.setPixmap(pixmapOf(strip))

    def onError(self, error) -> None:
        """Say that the file is of no use, and why."""
        if error.kind != "cancelled":
            self.job = None
            self.ui.summaryLabel.text = _("The file cannot be used.")
            self.widget.updateGui()
            self.widget.showError(error)
