"""Stand-ins for the CTK widgets that scripted modules put in their .ui files."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import qt

from .qt_standin import forwarded, stand_in, stored

_HEADER_HEIGHT = 22
_MAXIMUM_HEIGHT = 16777215


@stand_in()
class ctkCollapsibleButton(qt.QAbstractButton):
    """A button that hides what lies in it."""

    contentsCollapsed = qt.Signal(bool)
    flat, setFlat = stored(bool, "flat", False)
    collapsedHeight, setCollapsedHeight = stored(int, "collapsedHeight", 10)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._collapsed = False
        self._hidden_children: list[Any] = []
        self.setCheckable(True)
        self.setChecked(True)
        self.setContentsMargins(4, _HEADER_HEIGHT + 2, 4, 4)
        self.toggled.connect(lambda checked: self.setCollapsed(not checked))

    def setCollapsed(self, collapsed: bool) -> None:
        collapsed = bool(collapsed)
        if collapsed == self._collapsed:
            return
        self._collapsed = collapsed
        if collapsed:
            parts = [child for child in self.children() if child.isWidgetType()]
            self._hidden_children = [child for child in parts if not child.isHidden()]
        for child in self._hidden_children:
            child.setVisible(not collapsed)
        self.setMaximumHeight(_HEADER_HEIGHT if collapsed else _MAXIMUM_HEIGHT)
        self.setChecked(not collapsed)
        self.contentsCollapsed.emit(collapsed)

    collapsed = qt.Property(bool, lambda self: self._collapsed, setCollapsed)

    def paintEvent(self, event: Any) -> None:
        painter = qt.QPainter(self)
        painter.fillRect(0, 0, self.width, _HEADER_HEIGHT - 2, self.palette.button())
        arrow = "▸" if self._collapsed else "▾"
        painter.drawText(8, _HEADER_HEIGHT - 7, f"{arrow} {self.text}")
        painter.end()

    def sizeHint(self) -> Any:
        return self.layout().sizeHint() if self.layout() else qt.QSize(100, _HEADER_HEIGHT)


@stand_in()
class ctkDoubleSpinBox(qt.QWidget):
    """A spin box; unlike Qt's own it is a widget that holds one."""

    valueChanged = qt.Signal(float)
    editingFinished = qt.Signal()
    decimalsChanged = qt.Signal(int)
    minimum, setMinimum = forwarded(float, "_box", "minimum")
    maximum, setMaximum = forwarded(float, "_box", "maximum")
    singleStep, setSingleStep = forwarded(float, "_box", "singleStep")
    value, setValue = forwarded(float, "_box", "value")
    prefix, setPrefix = forwarded(str, "_box", "prefix")
    suffix, setSuffix = forwarded(str, "_box", "suffix")
    readOnly, setReadOnly = forwarded(bool, "_box", "readOnly")

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._box = qt.QDoubleSpinBox()
        self._row = qt.QHBoxLayout(self)
        self._row.setContentsMargins(0, 0, 0, 0)
        self._row.addWidget(self._box)
        self._box.valueChanged.connect(self.valueChanged)
        self._box.editingFinished.connect(self.editingFinished)

    def setRange(self, minimum: float, maximum: float) -> None:
        self._box.setRange(minimum, maximum)

    def setDecimals(self, decimals: int) -> None:
        if decimals != self._box.decimals:
            self._box.setDecimals(decimals)
            self.decimalsChanged.emit(decimals)

    decimals = qt.Property(int, lambda self: self._box.decimals, setDecimals)


@stand_in()
class ctkSliderWidget(ctkDoubleSpinBox):
    """A slider with a spin box beside it."""

    valueIsChanging = qt.Signal(float)
    pageStep, setPageStep = stored(float, "pageStep", 10.0)
    tickInterval, setTickInterval = stored(float, "tickInterval", 0.0)
    tracking, setTracking = stored(bool, "tracking", True)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._slider = qt.QSlider(qt.Qt.Horizontal)
        self._slider.setRange(0, 1000)
        self._row.insertWidget(0, self._slider)
        self._box.setRange(0.0, 99.0)
        self._box.valueChanged.connect(self._follow_box)
        self._slider.valueChanged.connect(self._follow_slider)

    def _follow_box(self, value: float) -> None:
        span = (self._box.maximum - self._box.minimum) or 1.0
        self._slider.blockSignals(True)
        self._slider.setValue(round(1000 * (value - self._box.minimum) / span))
        self._slider.blockSignals(False)
        self.valueIsChanging.emit(value)

    def _follow_slider(self, position: int) -> None:
        span = self._box.maximum - self._box.minimum
        self._box.setValue(self._box.minimum + span * position / 1000)

    def spinBox(self) -> Any:
        return self._box

    def slider(self) -> Any:
        return self._slider

    def setSpinBoxVisible(self, visible: bool) -> None:
        self._box.setVisible(visible)

    spinBoxVisible = qt.Property(bool, lambda self: not self._box.isHidden(), setSpinBoxVisible)


@stand_in()
class ctkComboBox(qt.QComboBox):
    """A combo box with a text for "nothing chosen"."""

    defaultText, setDefaultText = stored(str, "defaultText", "")

    def setCurrentUserDataAsString(self, data: str) -> None:
        self.setCurrentIndex(self.findData(data))

    currentUserDataAsString = qt.Property(
        str,
        lambda self: str(self.itemData(self.currentIndex) or ""),
        setCurrentUserDataAsString,
    )


@stand_in()
class ctkPathLineEdit(qt.QWidget):
    """A line for a path, with a history kept in the settings."""

    Dirs, Files, Drives, NoSymLinks, AllEntries = 0x1, 0x2, 0x4, 0x8, 0x7
    Readable, Writable, Executable, Hidden = 0x10, 0x20, 0x40, 0x100
    NoDot, NoDotDot, NoDotAndDotDot = 0x2000, 0x4000, 0x1000

    currentPathChanged = qt.Signal(str)
    validInputChanged = qt.Signal(bool)
    label, setLabel = stored(str, "label", "")
    filters, setFilters = stored(int, "filters", AllEntries | NoDotAndDotDot | Readable)
    nameFilters, setNameFilters = stored("QStringList", "nameFilters", ())
    settingKey, setSettingKey = stored(str, "settingKey", "")
    showBrowseButton, setShowBrowseButton = stored(bool, "showBrowseButton", True)
    showHistoryButton, setShowHistoryButton = stored(bool, "showHistoryButton", True)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._combo = qt.QComboBox()
        self._combo.setEditable(True)
        self._valid = False
        row = qt.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._combo, 1)
        button = qt.QToolButton()
        button.setText("…")
        button.clicked.connect(self.browse)
        row.addWidget(button)
        self._combo.editTextChanged.connect(self._path_changed)

    def _path_changed(self, path: str) -> None:
        valid = bool(path) and Path(path).exists()
        if valid != self._valid:
            self._valid = valid
            self.validInputChanged.emit(valid)
        self.currentPathChanged.emit(path)

    def setCurrentPath(self, path: str) -> None:
        self._combo.setEditText(path)

    currentPath = qt.Property(str, lambda self: self._combo.currentText, setCurrentPath)

    def comboBox(self) -> Any:
        return self._combo

    def browse(self) -> None:
        dialog = qt.QFileDialog
        if self.filters & self.Files:
            names = ";;".join(self.nameFilters)
            path = dialog.getOpenFileName(self, "Select a file", self.currentPath, names)
        else:
            path = dialog.getExistingDirectory(self, "Select a folder", self.currentPath)
        if path:
            self.setCurrentPath(path)

    def addCurrentPathToHistory(self) -> None:
        path = self.currentPath
        if path and self._combo.findText(path) < 0:
            self._combo.insertItem(0, path)
            self._combo.setCurrentIndex(0)
        if self.settingKey:
            history = [self._combo.itemText(row) for row in range(self._combo.count)]
            qt.QSettings().setValue(self.settingKey, history)

    def retrieveHistory(self) -> None:
        history = qt.QSettings().value(self.settingKey) if self.settingKey else None
        self._combo.clear()
        self._combo.addItems([history] if isinstance(history, str) else list(history or ()))


@stand_in()
class ctkMessageBox(qt.QMessageBox):
    """A message box that can be told not to come again."""

    dontShowAgain, setDontShowAgain = stored(bool, "dontShowAgain", False)
    dontShowAgainVisible, setDontShowAgainVisible = stored(bool, "dontShowAgainVisible", False)
    dontShowAgainSettingsKey, setDontShowAgainSettingsKey = stored(
        str, "dontShowAgainSettingsKey", ""
    )


WIDGETS = (
    ctkCollapsibleButton,
    ctkComboBox,
    ctkDoubleSpinBox,
    ctkMessageBox,
    ctkPathLineEdit,
    ctkSliderWidget,
)


def install() -> types.ModuleType:
    """Make the stand-ins importable as ``ctk`` and return that module."""
    module = types.ModuleType("ctk", "Stand-ins for CTK's widgets")
    for kind in WIDGETS:
        setattr(module, kind.__name__, kind)
    sys.modules["ctk"] = module
    return module
