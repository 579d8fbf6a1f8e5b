"""The attention map behind a mask, laid over the slices."""

import numpy as np
import slicer
from slicer.i18n import tr as _

OPACITY = 0.45
LEAST_LEVEL = 26
"""Below a tenth of the greatest attention nothing is shown: so little has all that is far away."""


class AttentionOverlay:
    """Shows the attention behind the newest mask while the user wants to see it."""

    def __init__(self, widget) -> None:
        self.widget, self._node, self._figures, self._job = widget, None, None, None

    def update(self) -> None:
        """Take the overlay away if it is not wanted any more, and ask for it if it is."""
        parameters = self.widget.parameters
        if not (parameters and parameters.showAttention and parameters.densityGuidance):
            self.remove()
        elif self._node is None and self._figures and self._job is None:
            self.ask(self._figures)

    def ask(self, figures) -> None:
        """Show the attention behind the mask with these figures, if the user wants to."""
        self._figures = figures
        parameters = self.widget.parameters
        if parameters and parameters.showAttention:
            logic = self.widget.logic
            self._job = logic.askAttention(figures, self.onAttention, self.onError)
            self.widget.startPolling()

    def forget(self) -> None:
        """Forget the mask: it is gone, or another volume or segment is worked on."""
        self._figures = None
        self.remove()

    def onAttention(self, message) -> None:
        """Lay the map over the slices."""
        self._job = None
        parameters = self.widget.parameters
        if not (parameters and parameters.showAttention and self._figures):
            return
        if "attention" not in message.arrays:
            self.remove()
            return
        if self._node is None or not slicer.mrmlScene.IsNodePresent(self._node):
            self._node = self._makeNode()
        slicer.util.updateVolumeFromArray(self._node, message.arrays["attention"])
        place = np.array(message.fields["ijk_to_ras"])
        self._node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(place))
        self._node.SetAndObserveTransformNodeID(parameters.inputVolume.GetTransformNodeID())
        slicer.util.setSliceViewerLayers(foreground=self._node, foregroundOpacity=OPACITY)

    def onError(self, error) -> None:
        """Show none: the volume is gone, or another one is worked on."""
        self._job = None
        self._figures = None

    def remove(self) -> None:
        """Take the overlay away."""
        node, self._node = self._node, None
        if node and slicer.mrmlScene.IsNodePresent(node):
            slicer.mrmlScene.RemoveNode(node)

    def _makeNode(self):
        """Make a volume that no list of nodes shows, in warm colours, clear where it is zero."""
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScalarVolumeNode")
        node.UnRegister(None)
        node.SetName(_("Attention"))
        node.SetHideFromEditors(True)
        node.SetSaveWithScene(False)
        slicer.mrmlScene.AddNode(node)
        node.CreateDefaultDisplayNodes()
        displayNode = node.GetDisplayNode()
        displayNode.SetAndObserveColorNodeID("vtkMRMLColorTableNodeIron")
        displayNode.SetAutoWindowLevel(False)
        displayNode.SetWindowLevelMinMax(0, 255)
        displayNode.SetApplyThreshold(True)
        displayNode.SetThreshold(LEAST_LEVEL, 255)
        return node
