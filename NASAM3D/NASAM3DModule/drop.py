"""Projections that are dropped on the panel from a file manager."""

from pathlib import Path

import qt
from slicer.i18n import tr as _

DESCRIPTIONS = (".json", ".xml")
"""Endings of what stands beside the images of a scan."""


def droppedScan(paths) -> str:
    """Give the path of the one scan that dropped files are; ValueError if they are none."""
    paths = [Path(path) for path in paths]
    images = [path for path in paths if path.suffix.lower() not in DESCRIPTIONS] or paths
    if len(images) == 1:
        return str(images[0])
    folders = {path.parent for path in images}
    if len(folders) != 1 or any(path.is_dir() for path in images):
        raise ValueError(
            _("Drop one scan: a file, a folder, or the images of one folder; got {n}.").format(
                n=len(images)
            )
        )
    return str(folders.pop())


class DropTarget(qt.QObject):
    """Hands what is dropped on a widget to a function, which gets a list of paths."""

    def __init__(self, widget, onPaths) -> None:
        qt.QObject.__init__(self)
        self._onPaths = onPaths
        widget.acceptDrops = True
        widget.installEventFilter(self)

    def eventFilter(self, watched, event) -> bool:
        """Take files of this computer, leave everything else to Slicer."""
        kind = event.type()
        if kind not in (qt.QEvent.DragEnter, qt.QEvent.DragMove, qt.QEvent.Drop):
            return False
        paths = [url.toLocalFile() for url in event.mimeData().urls() if url.isLocalFile()]
        if not paths:
            return False
        event.acceptProposedAction()
        if kind == qt.QEvent.Drop:
            self._onPaths(paths)
        return True
