"""Every member of Qt, CTK and Slicer's widgets that the module uses: drift shows here."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from module_user import MODULE, ROOT

PANEL = ROOT / "Resources" / "UI" / "NASAM3D.ui"

WIDGETS = {
    "QCheckBox",
    "QComboBox",
    "QLabel",
    "QProgressBar",
    "QPushButton",
    "QSpinBox",
    "ctkCollapsibleButton",
    "ctkPathLineEdit",
    "ctkSliderWidget",
    "qMRMLNodeComboBox",
    "qMRMLSegmentsTableView",
    "qMRMLWidget",
}

CLASSES = {
    "qt.QEvent",
    "qt.QFileDialog",
    "qt.QIcon",
    "qt.QKeySequence",
    "qt.QObject",
    "qt.QPixmap",
    "qt.QSettings",
    "qt.QShortcut",
    "qt.QTimer",
}

MEMBERS = {
    "QLabel": {"setPixmap", "text", "visible"},
    "QProgressBar": {"format", "value", "visible"},
    "QPushButton": {"checked", "connect", "enabled", "text", "toolTip", "visible"},
    "QCheckBox": {"connect", "enabled"},
    "QComboBox": {"connect"},
    "QSpinBox": {"maximum"},
    "ctkPathLineEdit": {
        "addCurrentPathToHistory",
        "blockSignals",
        "connect",
        "currentPath",
    },
    "ctkSliderWidget": {"connect", "enabled"},
    "qMRMLSegmentsTableView": {
        "connect",
        "segmentationNode",
        "selectedSegmentIDs",
        "setSegmentationNode",
        "setSelectedSegmentIDs",
    },
}

SIGNALS = {
    "activated()",
    "clicked(bool)",
    "currentIndexChanged(int)",
    "currentPathChanged(QString)",
    "selectionChanged(QItemSelection,QItemSelection)",
    "startupCompleted()",
    "timeout()",
    "toggled(bool)",
    "valueChanged(double)",
}

PROPERTIES = {
    "addEnabled",
    "alignment",
    "checkable",
    "checked",
    "decimals",
    "enabled",
    "fieldGrowthPolicy",
    "filters",
    "geometry",
    "maximum",
    "maximumSize",
    "minimum",
    "minimumSize",
    "nameFilters",
    "nodeTypes",
    "noneDisplay",
    "noneEnabled",
    "opacityColumnVisible",
    "orientation",
    "removeEnabled",
    "renameEnabled",
    "settingKey",
    "showChildNodeTypes",
    "singleStep",
    "sizeHint",
    "SlicerParameterName",
    "specialValueText",
    "statusColumnVisible",
    "styleSheet",
    "text",
    "textInteractionFlags",
    "toolTip",
    "value",
    "visible",
    "wordWrap",
}


def sources() -> list[Path]:
    """The module's files."""
    return [MODULE, *sorted(MODULE.parent.glob("NASAM3DModule/*.py"))]


def classes_of_widgets() -> dict[str, str]:
    """Class of each named widget in the panel."""
    root = ElementTree.parse(PANEL).getroot()
    return {widget.get("name", ""): widget.get("class", "") for widget in root.iter("widget")}


def test_the_panel_holds_known_widgets_and_properties() -> None:
    root = ElementTree.parse(PANEL).getroot()
    assert set(classes_of_widgets().values()) == WIDGETS
    assert {item.get("name") for item in root.iter("property")} == PROPERTIES
    declared = {item.text for item in root.iterfind("customwidgets/customwidget/class")}
    assert declared == {name for name in WIDGETS if not name.startswith("Q")}


def test_every_widget_that_can_be_used_has_a_tooltip() -> None:
    root = ElementTree.parse(PANEL).getroot()
    silent = ("QLabel", "QProgressBar", "ctkCollapsibleButton", "qMRMLWidget")
    lacking = [
        widget.get("name")
        for widget in root.iter("widget")
        if widget.get("class") not in silent
        and not any(item.get("name") == "toolTip" for item in widget.iterfind("property"))
    ]
    assert lacking == []


def test_parameters_in_the_panel_are_those_of_the_node() -> None:
    root = ElementTree.parse(PANEL).getroot()
    named = {
        item.findtext("string")
        for item in root.iter("property")
        if item.get("name") == "SlicerParameterName"
    }
    text = (MODULE.parent / "NASAM3DModule" / "parameters.py").read_text(encoding="utf-8")
    body = text.split("class NASAM3DParameterNode:")[1].split("\n\n\n")[0]
    declared = set(re.findall(r"^    (\w+):", body, flags=re.MULTILINE))
    assert named <= declared
    assert declared - named == {"projectionsPath", "segmentId", "points"}


def test_the_module_uses_known_classes_members_and_signals() -> None:
    kinds = classes_of_widgets()
    used: dict[str, set[str]] = {}
    classes: set[str] = set()
    signals: set[str] = set()
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                words = ast.unparse(node).split(".")
                if words[0] in ("qt", "ctk") and len(words) == 2:
                    classes.add(".".join(words))
                if len(words) == 4 and words[:2] == ["self", "ui"]:
                    used.setdefault(kinds[words[2]], set()).add(words[3])
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".connect"):
                signals.add(ast.literal_eval(node.args[0]))
    assert classes == CLASSES
    assert used == MEMBERS
    assert signals == SIGNALS


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.name)
def test_texts_can_be_translated(path: Path) -> None:
    """Slicer's tools read literal strings only: no f-string within ``_()``."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_":
            (text,) = node.args
            assert isinstance(text, ast.Constant), f"{path.name}:{node.lineno}"
