"""Keys that work while the module is open, wherever the mouse is."""

import qt
import slicer


class Shortcuts:
    """Keys and what they do.

    Parameters are the panel, which owns the keys where there is no main window, and a dictionary
    from a key such as "Ctrl+Z" to a function without arguments.
    """

    def __init__(self, panel, actions: dict) -> None:
        self._panel, self._actions, self._shortcuts = panel, actions, []

    def install(self) -> None:
        """Let the keys act."""
        self.remove()
        owner = slicer.util.mainWindow() or self._panel
        for key, action in self._actions.items():
            shortcut = qt.QShortcut(owner)
            shortcut.setKey(qt.QKeySequence(key))
            shortcut.connect("activated()", action)
            self._shortcuts.append((shortcut, action))

    def remove(self) -> None:
        """Give the keys back to Slicer."""
        for shortcut, action in self._shortcuts:
            shortcut.disconnect("activated()", action)
            shortcut.setParent(None)
            shortcut.deleteLater()
        self._shortcuts = []
