"""Fourth section of the panel: what was found, and files of it."""

from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from NASAM3DModule.dicom import REQUIREMENT
from NASAM3DModule.packages import ensurePackages
from NASAM3DModule.report import writeReport
from NASAM3DModule.segments import figuresOf, segmentOf
from NASAM3DModule.texts import progressText, resultText, warningText


class ResultsSection:
    """Shows the figures of the chosen segment and saves what was made."""

    def __init__(self, widget) -> None:
        self.widget, self.ui, self._key, self.job = widget, widget.ui, None, None
        self.ui.saveButton.connect("clicked(bool)", self.onSave)
        self.ui.reportButton.connect("clicked(bool)", self.onReport)
        self.ui.dicomButton.connect("clicked(bool)", self.onDicom)

    def update(self) -> None:
        """Show the chosen segment if it is another one or has changed."""
        parameters = self.widget.parameters
        segment = segmentOf(parameters)
        node = parameters.segmentation if parameters else None
        hasSegments = bool(node and node.GetSegmentation().GetNumberOfSegments())
        self.ui.saveButton.enabled = self.ui.reportButton.enabled = hasSegments
        self.ui.dicomButton.enabled = hasSegments and self.job is None
        image = segment.GetRepresentation("Binary labelmap") if segment else None
        key = segment and (parameters.segmentId, segment.GetMTime(), image and image.GetMTime())
        if key == self._key:
            return
        self._key = key
        figures = figuresOf(node, parameters.segmentId) if segment else None
        if figures:
            text = resultText(segment.GetName(), figures)
        elif segment:
            text = _("{name} was changed elsewhere.").format(name=segment.GetName())
        else:
            text = _("No segment yet.")
        self.ui.resultLabel.text = text
        self.ui.warningLabel.text = warningText(figures) if figures else ""
        self.ui.warningLabel.visible = bool(self.ui.warningLabel.text)

    def onSave(self) -> None:
        """Save the segmentation as .seg.nrrd."""
        node = self.widget.parameters.segmentation
        path = self._askPath(node, ".seg.nrrd", _("Segmentation (*.seg.nrrd)"))
        if path and slicer.util.saveNode(node, path):
            self.widget.showStatus(_("Saved {path}").format(path=path))
        elif path:
            slicer.util.errorDisplay(_("{path} cannot be written.").format(path=path))

    def onReport(self) -> None:
        """Write a page with figures and pictures."""
        parameters = self.widget.parameters
        path = self._askPath(parameters.segmentation, ".html", _("Report (*.html)"))
        if not path:
            return
        try:
            writeReport(parameters, path)
        except OSError as error:
            slicer.util.errorDisplay(_("The report cannot be written: {error}").format(error=error))
        else:
            self.widget.showStatus(_("Wrote {path}").format(path=path))

    def onDicom(self) -> None:
        """Write the segments as DICOM SEG."""
        parameters = self.widget.parameters
        path = self._askPath(parameters.segmentation, ".dcm", _("DICOM segmentation (*.dcm)"))
        if not path:
            return
        with slicer.util.tryWithErrorDisplay(_("The DICOM segmentation cannot be written.")):
            ensurePackages(also=[REQUIREMENT])
            self.job = self.widget.logic.saveDicom(
                parameters, path, self.onDicomProgress, self.onDicomWritten, self.onDicomError
            )
        self.widget.updateGui()
        self.widget.startPolling()

    def onDicomProgress(self, progress) -> None:
        """Show how far the file is."""
        self.widget.showStatus(progressText(progress))

    def onDicomWritten(self, message) -> None:
        """Say where the file is, and the images that it refers to where they were made."""
        self.job = None
        text = _("Wrote {path}").format(path=message.fields["path"])
        if message.fields["folder"]:
            text = _("Wrote {path}, and the CT images that it refers to into {folder}").format(
                path=message.fields["path"], folder=message.fields["folder"]
            )
        self.widget.updateGui()
        self.widget.showStatus(text)

    def onDicomError(self, error) -> None:
        """Say why there is no file."""
        self.job = None
        self.widget.updateGui()
        self.widget.showError(error)

    def _askPath(self, node, ending: str, filters: str) -> str:
        """Ask where to save; empty if the user does not want to any more."""
        folder = qt.QSettings().value("NASAM3D/SaveFolder", "") or str(Path.home())
        proposed = str(Path(folder) / (node.GetName() + ending))
        path = qt.QFileDialog.getSaveFileName(self.ui.saveButton, _("Save as"), proposed, filters)
        if not path:
            return ""
        path = path if path.endswith(ending) else path + ending
        qt.QSettings().setValue("NASAM3D/SaveFolder", str(Path(path).parent))
        return path
