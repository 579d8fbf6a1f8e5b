"""PythonQt's way to connect: ``sender.connect("clicked(bool)", function)``."""

from __future__ import annotations

import re
import sys
from typing import Any

from PySide6 import QtCore

_SIGNATURE = re.compile(r"\s*(\w+)\s*\((.*)\)\s*$")

_native_connect = QtCore.QObject.connect
_native_getattribute = QtCore.QObject.__getattribute__


def connect(self: Any, *arguments: Any) -> bool:
    """Connect a signal of ``self`` to a callable, or to a slot of another object.

    Parameters
    ----------
    *arguments : Any
        ``("signal(types)", callable)`` or ``("signal(types)", receiver, "slot(types)")``.

    Returns
    -------
    bool
        Whether the connection was made. An unknown signal is reported and answered with False,
        as PythonQt does: no exception is raised.
    """
    if any(isinstance(item, str) and item[:1] in "12" for item in arguments):
        # PySide6's own SIGNAL() strings, from QTimer.singleShot
        return _native_getattribute(self, "connect")(*arguments)
    signal = _find_signal(self, arguments[0])
    slot = _find_slot(arguments[1:])
    if signal is None:
        return _report("connect: No such signal", self, arguments[0])
    if slot is None:
        return _report("connect: No such slot", self, arguments[1:])
    signal.connect(slot)
    return True


def disconnect(self: Any, *arguments: Any) -> bool:
    """Undo :func:`connect`; without a receiver, undo every connection of the signal.

    Parameters
    ----------
    *arguments : Any
        As for :func:`connect`, or the signal alone.

    Returns
    -------
    bool
        Whether something was disconnected.
    """
    signal = _find_signal(self, arguments[0])
    if signal is None:
        return _report("disconnect: No such signal", self, arguments[0])
    try:
        if len(arguments) == 1:
            signal.disconnect()
        else:
            signal.disconnect(_find_slot(arguments[1:]))
    except (RuntimeError, TypeError):
        return False
    return True


def _report(problem: str, sender: Any, what: Any) -> bool:
    """Say on the error output what Qt would say there."""
    print(f"QObject::{problem} {type(sender).__name__}::{what}", file=sys.stderr)
    return False


def _find_signal(sender: Any, signature: str) -> Any:
    """Find the bound signal with this signature, None where the sender has none."""
    match = _SIGNATURE.match(signature)
    signal = getattr(sender, match.group(1), None) if match else None
    if type(signal) is not QtCore.SignalInstance:
        return None
    normalized = QtCore.QMetaObject.normalizedSignature(signature).data().decode()
    declared = _declared_signals(type(sender))
    if any(key.startswith(f"{match.group(1)}(") for key in declared):
        key = declared.get(normalized, KeyError)
        return None if key is KeyError else signal if key is None else signal[key]
    if sender.metaObject().indexOfSignal(normalized) < 0:
        return signal if _is_python_signal(sender, normalized) else None
    types = normalized[normalized.index("(") + 1 : -1]
    try:
        return signal[types] if types else signal
    except (KeyError, IndexError):
        return signal


def _declared_signals(kind: type) -> dict[str, Any]:
    """Collect the C++ signatures that a stand-in declares for signals with VTK arguments."""
    declared: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        declared.update(base.__dict__.get("cpp_signals", {}))
    return declared


def _is_python_signal(sender: Any, normalized: str) -> bool:
    """Accept any argument type where a module's own class declared the signal with ``object``."""
    owner = next(
        (base for base in type(sender).__mro__ if normalized.split("(")[0] in base.__dict__), None
    )
    if owner is None or owner.__module__.startswith(("PySide6", __package__)):
        return False
    count = len(list(filter(None, normalized[normalized.index("(") + 1 : -1].split(","))))
    pattern = f"{normalized.split('(')[0]}({','.join(['PyObject'] * count)})"
    return sender.metaObject().indexOfSignal(pattern) >= 0


def _find_slot(receiver: tuple[Any, ...]) -> Any:
    """Find what to call: a callable, or a named slot of an object."""
    if len(receiver) == 2 and isinstance(receiver[1], str):
        match = _SIGNATURE.match(receiver[1])
        slot = getattr(receiver[0], match.group(1), None) if match else None
    else:
        slot = receiver[0]
    return slot if callable(slot) or type(slot) is QtCore.SignalInstance else None
