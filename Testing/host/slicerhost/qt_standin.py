"""How a Python class stands in for a C++ widget: constructor, properties, observers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6 import QtCore

from .qt_types import check_no_keywords


def stand_in(signals: dict[str, Any] | None = None) -> Callable[[type], type]:
    """Mark a class as the stand-in for a C++ class of the same name.

    Parameters
    ----------
    signals : dict, optional
        C++ signatures of the signals that carry VTK objects, such as
        ``"currentNodeChanged(vtkMRMLNode*)"``, with the key of the overload or None.

    Returns
    -------
    callable
        Class decorator. The class then takes an optional parent and nothing else, as PythonQt's
        wrappers of Slicer's and CTK's widgets do, and no new attributes once it is built.
    """

    def decorate(kind: type) -> type:
        original = kind.__init__

        def __init__(self: Any, *arguments: Any, **keywords: Any) -> None:
            check_no_keywords(kind, keywords)
            _check_parent(kind, arguments)
            original(self, *arguments)
            if type(self) is kind:
                self.__dict__["pythonqt_built"] = True

        kind.__init__ = __init__
        kind.pythonqt_stand_in = True
        kind.cpp_signals = signals or {}
        return kind

    return decorate


def _check_parent(kind: type, arguments: tuple[Any, ...]) -> None:
    """Accept no argument, None or a QObject."""
    if not arguments or (len(arguments) == 1 and arguments[0] is None):
        return
    if len(arguments) == 1 and QtCore.QObject in type(arguments[0]).__mro__:
        return
    types = ", ".join(type(item).__name__ for item in arguments)
    raise ValueError(
        f"Could not find matching overload of {kind.__name__}() for ({types}): it takes an "
        "optional parent only; set everything else by its properties"
    )


def stored(
    kind: type | str, name: str, default: Any, *, changed: str | None = None
) -> tuple[Any, Callable[[Any, Any], None]]:
    """Make a property that is only remembered, and its setter.

    Parameters
    ----------
    kind : type or str
        Type as ``QtCore.Property`` takes it; a ``"QStringList"`` is kept as a tuple.
    name : str
        Key under which the value is remembered.
    default : Any
        Value before the first write.
    changed : str, optional
        Method to call after a write.

    Returns
    -------
    tuple
        The property and its setter, to be assigned as ``x, setX``.
    """

    def read(self: Any) -> Any:
        return self.__dict__.get("stored_values", {}).get(name, default)

    def write(self: Any, value: Any) -> None:
        value = tuple(value) if kind == "QStringList" else value
        self.__dict__.setdefault("stored_values", {})[name] = value
        if changed is not None:
            getattr(self, changed)()

    return QtCore.Property(kind, read, write), write


def forwarded(kind: type | str, part: str, name: str) -> tuple[Any, Callable[[Any, Any], None]]:
    """Make a property that belongs to a part of the widget, and its setter.

    Parameters
    ----------
    kind : type or str
        Type as ``QtCore.Property`` takes it.
    part : str
        Attribute that holds the part.
    name : str
        Property of the part.

    Returns
    -------
    tuple
        The property and its setter, to be assigned as ``x, setX``.
    """

    def read(self: Any) -> Any:
        return getattr(self.__dict__[part], name)

    def write(self: Any, value: Any) -> None:
        setattr(self.__dict__[part], name, value)

    return QtCore.Property(kind, read, write), write


class Observers:
    """VTK observers that end with the Qt object they serve."""

    def __init__(self, owner: QtCore.QObject) -> None:
        self._entries: list[tuple[Any, int]] = []
        owner.destroyed.connect(self.clear)

    def add(self, subject: Any, events: tuple[Any, ...], callback: Callable[..., Any]) -> None:
        """Call ``callback(subject, event)`` on each of the events; None is not observed."""
        if subject is not None:
            self._entries += [(subject, subject.AddObserver(event, callback)) for event in events]

    def clear(self, *_: Any) -> None:
        """Remove all of them."""
        for subject, tag in self._entries:
            subject.RemoveObserver(tag)
        self._entries.clear()
