"""PythonQt's rules for types: flat classes, no keyword arguments, tuples, byte arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import shiboken6
from PySide6 import QtCore, QtGui, QtWidgets

from .qt_properties import is_cpp_class

# Methods that return a list in PySide6 and a tuple in PythonQt.
_SEQUENCE_METHODS: dict[type, tuple[str, ...]] = {
    QtCore.QObject: ("children", "property"),
    QtWidgets.QWidget: ("actions",),
    QtCore.QProcess: ("arguments",),
    QtCore.QItemSelectionModel: ("selectedIndexes", "selectedRows", "selectedColumns"),
    QtWidgets.QAbstractItemView: ("selectedIndexes",),
    QtWidgets.QListWidget: ("selectedItems", "findItems"),
    QtWidgets.QTableWidget: ("selectedItems", "findItems", "selectedRanges"),
    QtWidgets.QTreeWidget: ("selectedItems", "findItems"),
    QtWidgets.QSplitter: ("sizes",),
    QtWidgets.QFileDialog: ("selectedFiles",),
    QtWidgets.QButtonGroup: ("buttons",),
    QtCore.QSettings: ("value", "allKeys", "childKeys", "childGroups"),
    QtWidgets.QComboBox: ("itemData",),
    QtGui.QStandardItemModel: ("findItems",),
}

_MESSAGE_FUNCTIONS = ("about", "critical", "information", "question", "warning")
_FILE_DIALOGS = ("getOpenFileName", "getSaveFileName", "getOpenFileNames")


def flatten_type_checks() -> None:
    """Make ``isinstance(button, qt.QWidget)`` False, as it is in PythonQt.

    Notes
    -----
    PythonQt's classes do not inherit from each other: a button is a ``QPushButton`` and nothing
    else, and ``button.inherits("QWidget")`` is the question to ask. Python classes made from a Qt
    class are real subclasses of it.
    """
    metaclass = type(QtCore.QObject)
    metaclass.__subclasscheck__ = lambda self, kind: _is_flat_subclass(kind, self)
    metaclass.__instancecheck__ = lambda self, instance: _is_flat_subclass(type(instance), self)


def _is_flat_subclass(kind: type, ancestor: type) -> bool:
    """Look for ``ancestor`` among the Python classes of ``kind`` and the first C++ one."""
    for base in kind.__mro__:
        if base is ancestor:
            return True
        if is_cpp_class(base):
            return False
    return False


def refuse_keywords(kind: type) -> None:
    """Make the constructor of ``kind`` refuse keyword arguments with ValueError."""
    original = kind.__dict__.get("__init__")
    if original is None:
        return

    def __init__(self: Any, *arguments: Any, **keywords: Any) -> None:
        check_no_keywords(kind, keywords)
        original(self, *arguments)

    kind.__init__ = __init__


def check_no_keywords(kind: type, keywords: dict[str, Any]) -> None:
    """Raise ValueError where a Qt constructor was given keyword arguments."""
    if keywords:
        raise ValueError(
            f"{kind.__name__}() takes no keyword arguments in PythonQt, got "
            f"{', '.join(sorted(keywords))}: construct it first, then set its properties"
        )


def return_tuples() -> None:
    """Make the methods that return Python lists return tuples."""
    for kind, names in _SEQUENCE_METHODS.items():
        for name in names:
            setattr(kind, name, _as_tuple(getattr(kind, name)))
    find_children = QtCore.QObject.findChildren

    def findChildren(self: Any, kind: Any = QtCore.QObject, *name: Any) -> tuple[Any, ...]:
        """Find by class or, as PythonQt also does, by the name of a class."""
        if isinstance(kind, str):
            found = find_children(self, QtCore.QObject, *name)
            return tuple(item for item in found if item.inherits(kind))
        return tuple(find_children(self, kind, *name))

    QtCore.QObject.findChildren = findChildren
    QtWidgets.QApplication.topLevelWidgets = staticmethod(
        _as_tuple(QtWidgets.QApplication.topLevelWidgets)
    )


def _as_tuple(method: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a method so that a list becomes a tuple; other results stay."""

    def wrapped(*arguments: Any) -> Any:
        result = method(*arguments)
        return tuple(result) if isinstance(result, list) else result

    return wrapped


def adapt_values() -> None:
    """Adapt byte arrays, truth of deleted objects and file dialogs to PythonQt."""
    QtCore.QByteArray.__bytes__ = _no_bytes
    QtCore.QObject.__bool__ = lambda self: shiboken6.isValid(self)
    for name in _FILE_DIALOGS:
        original = getattr(QtWidgets.QFileDialog, name)
        setattr(QtWidgets.QFileDialog, name, staticmethod(_first_result(original)))


def refuse_modal_boxes() -> None:
    """Make message boxes raise where they would wait for a user that no test has."""
    box = QtWidgets.QMessageBox

    def execute(self: Any) -> int:
        raise RuntimeError(f"{type(self).__name__} would wait for a click: {self.text}")

    def function(*arguments: Any) -> int:
        raise RuntimeError(f"QMessageBox would wait for a click: {arguments[-1]}")

    box.exec = box.exec_ = execute
    for name in _MESSAGE_FUNCTIONS:
        setattr(box, name, staticmethod(function))


def _no_bytes(self: QtCore.QByteArray) -> bytes:
    """Refuse ``bytes(array)``, which PythonQt has no conversion for."""
    raise TypeError("cannot convert 'QByteArray' object to bytes: use .data()")


def _first_result(function: Callable[..., Any]) -> Callable[..., Any]:
    """Drop the chosen filter, which PythonQt does not return."""

    def wrapped(*arguments: Any) -> Any:
        return function(*arguments)[0]

    return wrapped
