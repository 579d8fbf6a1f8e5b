"""The panel: its life in Slicer, and its sections in the order of the work."""

import sys

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

from NASAM3DModule import points as pointsOf
from NASAM3DModule.logic import NASAM3DLogic
from NASAM3DModule.paths import resourceFile
from NASAM3DModule.projections_section import ProjectionsSection
from NASAM3DModule.reconstruct_section import ReconstructSection
from NASAM3DModule.results_section import ResultsSection
from NASAM3DModule.segment_section import SegmentSection
from NASAM3DModule.shortcuts import Shortcuts

POLL_MS = 50
OWN_PACKAGES = ("NASAM3DLib", "NASAM3DModule")


class NASAM3DWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel; ``parameters`` is the node that it shows, None while it shows none."""

    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = self.parameters = None
        self.sections = ()
        self._timer = self._guiTag = None

    def resourcePath(self, filename) -> str:
        """Find a resource of the module."""
        return resourceFile(filename)

    def setup(self) -> None:
        """Build the panel; Slicer calls this once."""
        ScriptedLoadableModuleWidget.setup(self)
        panel = slicer.util.loadUI(self.resourcePath("UI/NASAM3D.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.logic = NASAM3DLogic()
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MS)
        self._timer.connect("timeout()", self.onTimer)
        self.projections = ProjectionsSection(self)
        self.reconstruction = ReconstructSection(self)
        self.segmentation = SegmentSection(self)
        self.results = ResultsSection(self)
        self.sections = (self.projections, self.reconstruction, self.segmentation, self.results)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(scene, scene.EndImportEvent, self.updateGui)
        self.addObserver(scene, scene.NodeRemovedEvent, self.updateGui)
        interaction = slicer.app.applicationLogic().GetInteractionNode()
        self.addObserver(interaction, interaction.InteractionModeChangedEvent, self.updateGui)
        self.shortcuts = Shortcuts(panel, self.segmentation.keys())
        self.initializeParameterNode()

    def cleanup(self) -> None:
        """End everything that the panel has started; Slicer calls this at the end."""
        if self.logic:
            self._timer.stop()
            self.shortcuts.remove()
            self.setParameterNode(None)
            self.removePreviews()
            self.segmentation.strokes.stop()
            self.logic.close()
        self.removeObservers()

    def enter(self) -> None:
        """Show the scene's parameters; Slicer calls this when the module is chosen."""
        self.shortcuts.install()
        self.initializeParameterNode()

    def exit(self) -> None:
        """Leave the views alone; Slicer calls this when another module is chosen."""
        self.shortcuts.remove()
        pointsOf.stopPlacing()
        self.setParameterNode(None)

    def onReload(self) -> None:
        """Read the module's own packages again, not only the file that Slicer knows."""
        for name in [name for name in sys.modules if name.partition(".")[0] in OWN_PACKAGES]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def onSceneStartClose(self, caller, event) -> None:
        """Let go of the scene before it goes."""
        self.logic.clicks.forget()
        self.logic.client.cancel_all()
        self.removePreviews()
        self.setParameterNode(None)
        self.segmentation.forget()

    def onSceneEndClose(self, caller, event) -> None:
        """Begin anew in the empty scene."""
        self.initializeParameterNode()

    def initializeParameterNode(self) -> None:
        """Show the scene's parameters, with a volume chosen if there is one."""
        self.setParameterNode(self.logic.getParameterNode())
        if not self.parameters.inputVolume:
            volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
            shown = [node for node in volumes if not node.GetHideFromEditors()]
            if shown:
                self.parameters.inputVolume = shown[0]

    def setParameterNode(self, parameters) -> None:
        """Show these parameters and follow them."""
        if self.parameters:
            self.parameters.disconnectGui(self._guiTag)
            self.removeObserver(self.parameters, vtk.vtkCommand.ModifiedEvent, self.updateGui)
        self.parameters = parameters
        if parameters:
            self._guiTag = parameters.connectGui(self.ui)
            self.addObserver(parameters, vtk.vtkCommand.ModifiedEvent, self.updateGui)
        self.updateGui()

    def updateGui(self, caller=None, event=None) -> None:
        """Bring every section up to date."""
        # A scene that is being read lacks nodes that are still to come.
        if self.parameters and not slicer.mrmlScene.IsBatchProcessing():
            self.logic.leaveWhatIsGone(self.parameters)
        for section in self.sections:
            section.update()

    def removePreviews(self) -> None:
        """Take away what shows a volume that will not be finished."""
        self.reconstruction.preview.remove()
        self.segmentation.joint.preview.remove()

    def startPolling(self) -> None:
        """Look for news of the background process until it has nothing more to do."""
        self._timer.start()

    def onTimer(self) -> None:
        """Handle what has come from the background process."""
        with slicer.util.tryWithErrorDisplay(_("The result cannot be shown.")):
            self.logic.poll()
        if not self.logic.isBusy:
            self._timer.stop()

    def showStatus(self, text: str) -> None:
        """Write one line at the foot of the panel."""
        self.ui.statusLabel.text = text

    def showError(self, error, cancelledText: str = "") -> None:
        """Tell what went wrong, in full; a cancelled job is no error."""
        self.showStatus(cancelledText if error.kind == "cancelled" else str(error))
        if error.kind != "cancelled":
            slicer.util.errorDisplay(str(error), detailedText=error.details)
