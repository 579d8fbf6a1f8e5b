"""Load Slicer's .ui files: stand-ins for custom widgets, and the connections between them."""

from __future__ import annotations

import itertools
import sys
import xml.etree.ElementTree as ElementTree
from typing import Any

import qt

from .qt_connections import connect
from .qt_properties import named_children_ignored

_native_load = qt.QUiLoader.load
_native_create = qt.QUiLoader.createWidget

# Qt keeps the C++ half of a widget made while loading; its Python half lives here until Qt is done.
_alive: dict[int, list[Any]] = {}
_keys = itertools.count()


class SlicerUiLoader(qt.QUiLoader):
    """``qt.QUiLoader`` that knows the host's widget classes."""

    classes: dict[str, type] = {}

    def createWidget(self, class_name: str, parent: Any = None, name: str = "") -> Any:
        kind = self.classes.get(class_name)
        if kind is None:
            return _native_create(self, class_name, parent, name)
        widget = kind(parent)
        widget.setObjectName(name)
        self.__dict__.setdefault("made", []).append(widget)
        return widget

    def load(self, device: Any, parent: Any = None) -> Any:
        """Load from an open device, as PythonQt's ``QUiLoader.load`` does."""
        root = ElementTree.fromstring(device.readAll().data())
        self._check_classes(root)
        connections = _take_connections(root)
        deferred = self._take_custom_properties(root)
        for declarations in root.findall("customwidgets"):
            root.remove(declarations)
        buffer = qt.QBuffer()
        buffer.setData(qt.QByteArray(ElementTree.tostring(root)))
        buffer.open(qt.QIODevice.ReadOnly)
        with named_children_ignored():
            widget = _native_load(self, buffer, parent)
        if widget is None:
            return None
        self._keep(widget)
        by_name = {item.name: item for item in (*widget.findChildren(qt.QObject), widget)}
        for name, attribute, value in deferred:
            setattr(by_name[name], attribute, value)
        for sender, signal, receiver, slot in connections:
            if not connect(by_name[sender], signal, by_name[receiver], slot):
                print(f"QUiLoader: cannot connect {sender} to {receiver}", file=sys.stderr)
        return widget

    def _check_classes(self, root: ElementTree.Element) -> None:
        """Name a widget class that the host lacks, where Qt would leave it out silently."""
        known = {*self.classes, *self.availableWidgets(), "Line", "QWidget"}
        for item in root.iter("widget"):
            if item.get("class") not in known:
                raise RuntimeError(
                    f"The .ui file uses {item.get('class')} for '{item.get('name')}', for which "
                    "the test host has no stand-in: add one under Testing/host/slicerhost"
                )

    def _take_custom_properties(self, root: ElementTree.Element) -> list[tuple[str, str, Any]]:
        """Take out the properties that only the stand-ins understand: enumerators and lists."""
        taken = []
        for item in root.iter("widget"):
            kind = self.classes.get(item.get("class", ""))
            for declaration in item.findall("property") if kind else []:
                value = declaration[0]
                if value.tag == "stringlist":
                    result: Any = [text.text or "" for text in value.findall("string")]
                elif value.tag in ("enum", "set") and (value.text or "").startswith(kind.__name__):
                    names = [part.split("::")[-1] for part in (value.text or "").split("|")]
                    result = sum({int(getattr(kind, name)) for name in names})
                else:
                    continue
                taken.append((item.get("name", ""), declaration.get("name", ""), result))
                item.remove(declaration)
        return taken

    def _keep(self, root: Any) -> None:
        """Keep what was made for ``root`` until Qt deletes it."""
        key = next(_keys)
        _alive[key] = self.__dict__.pop("made", [])
        root.destroyed.connect(lambda *_: _alive.pop(key, None))


def _take_connections(root: ElementTree.Element) -> list[tuple[str, str, str, str]]:
    """Take out the connections, whose signals Qt would look for among C++ ones only."""
    found = []
    for group in root.findall("connections"):
        for item in group.findall("connection"):
            sender, signal, receiver, slot = (
                item.findtext(tag, "") for tag in ("sender", "signal", "receiver", "slot")
            )
            found.append((sender, signal, receiver, slot))
        root.remove(group)
    return found


def install(classes: tuple[type, ...]) -> None:
    """Let ``qt.QUiLoader`` make ``classes``."""
    SlicerUiLoader.classes.update({kind.__name__: kind for kind in classes})
    qt.QUiLoader = SlicerUiLoader
