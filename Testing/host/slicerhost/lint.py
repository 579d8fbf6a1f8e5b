"""Find in a module's source what PythonQt refuses and PySide6 would let pass.

The host enforces at run time what it can; these rules cover the rest, and code no test runs.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_QT_MODULES = ("qt", "ctk")
_SIZE_HINTS = ("sizeHint", "minimumSizeHint")
_BYTE_TYPES = ("bytes", "bytearray", "memoryview", "str")


@dataclass(frozen=True)
class Finding:
    """One place that does not work in Slicer.

    Parameters
    ----------
    line : int
        Line in the source, from 1.
    rule : str
        Short name of the rule.
    message : str
        What is wrong, and what to write instead.
    """

    line: int
    rule: str
    message: str


def check_source(path: Path) -> list[Finding]:
    """Check the source of a scripted module.

    Parameters
    ----------
    path : pathlib.Path
        The Python file.

    Returns
    -------
    list of Finding
        In the order of the lines; empty where nothing was found.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    found = [finding for node in ast.walk(tree) for finding in _check(node)]
    return sorted(found, key=lambda finding: (finding.line, finding.rule))


def _check(node: ast.AST) -> Iterator[Finding]:
    """Apply every rule to one node of the syntax tree."""
    if isinstance(node, ast.Call):
        yield from _check_keywords(node)
        yield from _check_types(node)
        yield from _check_bytes(node)
        yield from _check_call(node)
    elif isinstance(node, ast.ClassDef):
        yield from _check_bases(node)
    elif isinstance(node, ast.Import | ast.ImportFrom):
        yield from _check_imports(node)
    elif isinstance(node, ast.Attribute) and _dotted(node) in ("qt.Signal", "qt.Slot"):
        yield Finding(
            node.lineno, "signal", f"{_dotted(node)} can crash in PythonQt: use a Python callback"
        )


def _check_keywords(call: ast.Call) -> Iterator[Finding]:
    """Find keyword arguments to Qt constructors and to methods of widgets."""
    name = _dotted(call.func)
    if call.keywords and (_is_qt_name(name) or ".ui." in f".{name}."):
        words = ", ".join(keyword.arg or "**" for keyword in call.keywords)
        yield Finding(
            call.lineno,
            "keywords",
            f"{name}(): PythonQt takes no keyword arguments ({words}): give them by position, "
            "or set properties",
        )


def _check_types(call: ast.Call) -> Iterator[Finding]:
    """Find type checks against Qt classes, which are flat in PythonQt."""
    if _dotted(call.func) not in ("isinstance", "issubclass") or len(call.args) != 2:
        return
    kinds = call.args[1]
    for kind in kinds.elts if isinstance(kinds, ast.Tuple) else [kinds]:
        if _is_qt_name(_dotted(kind)):
            name = _dotted(kind)
            yield Finding(
                call.lineno,
                "isinstance",
                f"{name} has no subclasses in PythonQt: ask "
                f'widget.inherits("{name.split(".")[-1]}")',
            )


def _check_bytes(call: ast.Call) -> Iterator[Finding]:
    """Find conversions of a byte array that only PySide6 knows."""
    if _dotted(call.func) not in _BYTE_TYPES or not call.args:
        return
    inner = call.args[0]
    if isinstance(inner, ast.Call) and _dotted(inner.func).split(".")[-1].startswith("read"):
        name = _dotted(inner.func)
        if name.split(".")[-1] in ("read", "readline", "readlines", "read_text", "read_bytes"):
            return
        yield Finding(call.lineno, "bytes", f"{name}() is a QByteArray: take its .data()")


def _check_call(call: ast.Call) -> Iterator[Finding]:
    """Find properties that are called, and signals named without their arguments."""
    if not isinstance(call.func, ast.Attribute):
        return
    name = call.func.attr
    if name in _SIZE_HINTS and not call.args:
        yield Finding(call.lineno, "property", f"{name} is a property in PythonQt: no parentheses")
    if name in ("connect", "disconnect") and call.args:
        signal = call.args[0]
        is_text = isinstance(signal, ast.Constant) and isinstance(signal.value, str)
        if is_text and "(" not in signal.value:
            yield Finding(
                call.lineno,
                "signature",
                f'"{signal.value}" lacks its parentheses: PythonQt makes no connection',
            )


def _check_bases(definition: ast.ClassDef) -> Iterator[Finding]:
    """Find threads made from QThread, which crash in PythonQt."""
    if any(_dotted(base) == "qt.QThread" for base in definition.bases):
        yield Finding(
            definition.lineno, "thread", "qt.QThread subclasses crash in PythonQt: use QProcess"
        )


def _check_imports(node: ast.Import | ast.ImportFrom) -> Iterator[Finding]:
    """Find imports that Slicer lacks or that hang in it."""
    first = node.module if isinstance(node, ast.ImportFrom) else None
    for name in [first] if first else [alias.name for alias in node.names]:
        package = name.split(".")[0]
        if package in ("PySide6", "PySide2", "PyQt5", "PyQt6", "shiboken6"):
            yield Finding(node.lineno, "import", f"Slicer has no {package}: import qt")
        elif package == "multiprocessing":
            yield Finding(node.lineno, "import", "multiprocessing hangs in Slicer: use QProcess")


def _dotted(node: ast.AST) -> str:
    """Write a chain of attributes as text, empty where it is something else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        owner = _dotted(node.value)
        return f"{owner}.{node.attr}" if owner else ""
    return ""


def _is_qt_name(name: str) -> bool:
    """Tell whether a dotted name is a class of Qt, CTK or Slicer's Qt libraries."""
    first, _, rest = name.partition(".")
    if first in _QT_MODULES and rest:
        return True
    return first == "slicer" and rest.startswith(("qMRML", "qSlicer"))
