"""PythonQt's rules for attributes of Qt objects, put on PySide6's classes.

A Qt property is an attribute (``label.text``, not ``label.text()``), a dynamic property and a
named child can be read like one, and an object made in C++ takes no new attributes.
"""

from __future__ import annotations

import contextlib
import types
from collections.abc import Callable, Iterator
from typing import Any

from PySide6 import QtCore

# These getters are virtual: shiboken would find the property where it looks for an override.
_VIRTUAL_GETTERS = {"sizeHint", "minimumSizeHint", "duration"}

_loading: list[bool] = []

_get_qt_property = QtCore.QObject.property
_set_qt_property = QtCore.QObject.setProperty
_class_of = QtCore.QObject.metaObject
# The setter of shiboken's root class: Python refuses that of any other once a subclass has ours.
_set_python_attribute = QtCore.QObject.__mro__[-2].__setattr__


class QtProperty(property):
    """A Qt property as an attribute; the class keeps answering with the method of that name."""

    def __init__(self, getter: Any, setter: Any, method: Any = None) -> None:
        super().__init__(getter, setter)
        self._method = method

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self if self._method is None else self._method
        return super().__get__(instance, owner)


def is_cpp_class(kind: type) -> bool:
    """Tell whether Slicer has ``kind`` in C++: a class of Qt, or a stand-in for one."""
    return kind.__module__.startswith("PySide6") or "pythonqt_stand_in" in kind.__dict__


def add_properties(kind: type) -> None:
    """Turn the Qt properties that ``kind`` itself declares into attributes."""
    meta = kind.staticMetaObject
    for index in range(meta.propertyOffset(), meta.propertyCount()):
        declaration = meta.property(index)
        name = declaration.name()
        method = getattr(kind, name, None)
        is_signal = type(method) is QtCore.Signal
        if name in _VIRTUAL_GETTERS or is_signal or isinstance(method, property):
            continue
        setattr(kind, name, _property(declaration, method if callable(method) else None))
    if "name" not in dir(kind):
        kind.name = QtProperty(
            lambda self: _get_qt_property(self, "objectName"),
            lambda self, value: self.setObjectName(_as_text(value)),
        )


def _property(declaration: QtCore.QMetaProperty, method: Callable[..., Any] | None) -> QtProperty:
    """Make the attribute for one declared property."""
    name = declaration.name()
    setter_name = f"set{name[0].upper()}{name[1:]}"
    convert = _CONVERTERS.get(declaration.typeName())

    def read(self: Any) -> Any:
        try:
            value = _get_qt_property(self, name) if method is None else method(self)
            return tuple(value) if isinstance(value, list) else value
        except TypeError:  # the method of that name takes arguments
            return _get_qt_property(self, name)
        except RuntimeError as error:
            text = f"Trying to read property '{name}' from a destroyed {type(self).__name__} object"
            raise ValueError(text) from error

    def write(self: Any, value: Any) -> None:
        if convert is not None:
            value = convert(value, name=name, owner=self)
        setter = getattr(self, setter_name, None)
        if setter is not None:
            setter(value)
        elif not _set_qt_property(self, name, value):
            raise AttributeError(_refusal(value, name=name, owner=self))

    return QtProperty(read, write if declaration.isWritable() else None, method)


def _refusal(value: Any, *, name: str, owner: Any) -> str:
    """Word the error of a property that does not take a value."""
    return (
        f"Property '{name}' of {type(owner).__name__} does not accept an object of type "
        f"{type(value).__name__} ({value!r})"
    )


def _as_text(value: Any, **_: Any) -> str:
    """Convert as PythonQt does: whatever it is, it becomes text."""
    return value if isinstance(value, str) else str(value)


def _as_int(value: Any, *, name: str, owner: Any) -> int:
    """Convert as PythonQt does: fractions are cut off."""
    if isinstance(value, str) or not hasattr(value, "__int__"):
        raise AttributeError(_refusal(value, name=name, owner=owner))
    return int(value)


def _as_float(value: Any, *, name: str, owner: Any) -> float:
    """Convert any number."""
    if isinstance(value, str) or not hasattr(value, "__float__"):
        raise AttributeError(_refusal(value, name=name, owner=owner))
    return float(value)


_CONVERTERS = {"QString": _as_text, "int": _as_int, "uint": _as_int, "double": _as_float}


def guard_new_attributes(kind: type) -> None:
    """Refuse new attributes on objects of ``kind`` that C++ made or that stand for such."""
    kind.__setattr__ = _set_attribute


@contextlib.contextmanager
def named_children_ignored() -> Iterator[None]:
    """Drop the attributes that PySide6's ``QUiLoader`` sets for the widgets it makes."""
    _loading.append(True)
    try:
        yield
    finally:
        _loading.pop()


def _set_attribute(self: Any, name: str, value: Any) -> None:
    """Set a property or an attribute of a Python class; refuse everything else."""
    if type(value) is QtCore.SignalInstance:
        _set_python_attribute(self, name, value)  # PySide6 keeps bound signals there
        return
    if _loading and _is_closed(self) and QtCore.QObject in type(value).__mro__:
        return
    owner = next((base for base in type(self).__mro__ if name in base.__dict__), None)
    member = None if owner is None else owner.__dict__[name]
    if type(member) is QtCore.Property:
        _write_declared(self, name, value)
    elif owner is not None and is_cpp_class(owner) and not hasattr(type(member), "__set__"):
        raise AttributeError(f"'{name}' can not be overwritten on {type(self).__name__} object")
    elif owner is not None or not _is_closed(self) or name in self.__dict__:
        _set_python_attribute(self, name, value)
    elif _dynamic_property(self, name) is not None:
        _set_qt_property(self, name, value)
    else:
        raise AttributeError(
            f"'{name}' does not exist on {type(self).__name__} and creating new attributes on "
            "C++ objects is not allowed"
        )


def _write_declared(instance: Any, name: str, value: Any) -> None:
    """Write a property that a Python class declares with ``qt.Property``."""
    declared = next(base for base in type(instance).__mro__ if name in base.__dict__)
    write = declared.__dict__[name].fset
    if write is None:
        raise AttributeError(f"Property '{name}' of {type(instance).__name__} is not writable")
    meta = _class_of(instance)
    convert = _CONVERTERS.get(meta.property(meta.indexOfProperty(name)).typeName())
    write(instance, value if convert is None else convert(value, name=name, owner=instance))


def _is_closed(instance: Any) -> bool:
    """Tell whether an object takes no new attributes: stand-ins do until they are built."""
    kind = type(instance)
    if "pythonqt_stand_in" in kind.__dict__:
        return bool(instance.__dict__.get("pythonqt_built"))
    return is_cpp_class(kind)


def _dynamic_property(instance: Any, name: str) -> Any:
    """Read a dynamic property of a QObject, None where there is none."""
    if QtCore.QObject not in type(instance).__mro__:
        return None
    return _get_qt_property(instance, name)


def add_attribute_lookup(kind: type, methods: dict[str, Callable[..., Any]]) -> None:
    """Let ``methods`` go first in attribute look-up, dynamic properties and named children last.

    PySide6 answers ``connect`` and ``disconnect`` in C before it looks at any class attribute, so
    only the look-up itself can be replaced, and only on the classes that own one.
    """
    original = kind.__dict__["__getattribute__"]

    def __getattribute__(self: Any, name: str) -> Any:
        if name in methods:
            return types.MethodType(methods[name], self)
        try:
            return original(self, name)
        except AttributeError:
            if name.startswith("_") or QtCore.QObject not in type(self).__mro__:
                raise
            value = _dynamic_property(self, name)
            value = _named_child(self, name) if value is None else value
            if value is None:
                raise
            return value

    kind.__getattribute__ = __getattribute__


def _named_child(instance: Any, name: str) -> Any:
    """Find a direct child by its object name."""
    for child in instance.children():
        if _get_qt_property(child, "objectName") == name:
            return child
    return None


def stray_attributes(root: Any) -> list[tuple[Any, list[str]]]:
    """List the attributes that Python code has put on C++ objects, which Slicer would refuse.

    The guard refuses them when they are set; this finds what went round it, through ``__dict__``
    or ``object.__setattr__``.

    Parameters
    ----------
    root : QObject
        The object to look at, with everything below it.

    Returns
    -------
    list of (QObject, list of str)
        Each object that has such attributes, and their names.
    """
    found = []
    for instance in [root, *root.findChildren(QtCore.QObject)]:
        if not type(instance).__module__.startswith("PySide6"):
            continue
        own = getattr(instance, "__dict__", {})
        names = sorted(k for k, v in own.items() if type(v) is not QtCore.SignalInstance)
        if names:
            found.append((instance, names))
    return found
