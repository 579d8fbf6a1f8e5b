"""Build the flat ``qt`` module of PythonQt from PySide6."""

from __future__ import annotations

import sys
import types
from typing import Any

from PySide6 import QtCore, QtGui, QtNetwork, QtPrintSupport, QtSvg, QtUiTools, QtWidgets

from .qt_connections import connect, disconnect
from .qt_properties import add_attribute_lookup, add_properties, guard_new_attributes
from .qt_types import (
    adapt_values,
    flatten_type_checks,
    refuse_keywords,
    refuse_modal_boxes,
    return_tuples,
)

_MODULES = (QtCore, QtGui, QtWidgets, QtNetwork, QtUiTools, QtSvg, QtPrintSupport)


def build() -> types.ModuleType:
    """Put PythonQt's rules on PySide6 and make its classes importable as ``qt``.

    Returns
    -------
    module
        The module, also in ``sys.modules``. Calling again returns the same one.

    Notes
    -----
    PySide6 is changed for the whole process: code that needs it as it is cannot share the process.
    """
    if "qt" in sys.modules:
        return sys.modules["qt"]
    module = types.ModuleType("qt", "PythonQt's flat module, built on PySide6 for tests")
    classes = _fill(module)
    qobjects = [kind for kind in classes if QtCore.QObject in kind.__mro__]
    # Leaves first, because a class still looks at the methods of its bases.
    for kind in sorted(qobjects, key=lambda item: len(item.__mro__), reverse=True):
        if hasattr(kind, "staticMetaObject"):
            add_properties(kind)
    methods = {"connect": connect, "disconnect": disconnect}
    for kind in qobjects:
        if "__getattribute__" in kind.__dict__:
            add_attribute_lookup(kind, methods)
        kind.className = lambda self: self.metaObject().className()
        kind.delete = lambda self: self.deleteLater()
    for kind in classes:
        guard_new_attributes(kind)
        refuse_keywords(kind)
        if hasattr(kind, "exec_"):
            kind.exec_ = kind.exec  # PySide6 warns of the name that works in every Slicer
    return_tuples()
    refuse_modal_boxes()
    adapt_values()
    flatten_type_checks()
    sys.modules["qt"] = module
    return module


def _fill(module: types.ModuleType) -> list[type]:
    """Copy every public name into ``module`` and return the wrapped C++ classes."""
    metaclass = type(QtCore.QObject)
    classes: dict[type, None] = {}
    for source in _MODULES:
        for name in dir(source):
            if name.startswith("_") or hasattr(module, name):
                continue
            value: Any = getattr(source, name)
            setattr(module, name, value)
            if type(value) is metaclass:
                classes[value] = None
    return list(classes)
