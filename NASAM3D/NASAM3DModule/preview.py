"""A volume that is not finished, shown in the slice views while it comes about."""

import slicer

from NASAM3DModule.volumes import showPreview


class LivePreview:
    """Shows previews and takes them away again; ``node`` is None while there is none."""

    def __init__(self) -> None:
        self.node = self._shownBefore = None

    def begin(self) -> None:
        """Remember what is shown now."""
        self._shownBefore = shownVolumeId()

    def show(self, message) -> None:
        """Show how far the volume is."""
        isFirst = self.node is None
        self.node = showPreview(message, self.node)
        if shownVolumeId() != self.node.GetID():
            slicer.util.setSliceViewerLayers(background=self.node, fit=isFirst)

    def remove(self) -> None:
        """Take the preview away; what was shown before is shown again if the preview still is."""
        node, self.node = self.node, None
        if node is None or not slicer.mrmlScene.IsNodePresent(node):
            return
        if shownVolumeId() == node.GetID():
            slicer.util.setSliceViewerLayers(background=self._shownBefore)
        slicer.mrmlScene.RemoveNode(node)


def shownVolumeId():
    """Give the ID of the volume in the background of the slice views; None without one."""
    composite = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSliceCompositeNode")
    return composite.GetBackgroundVolumeID() if composite else None
