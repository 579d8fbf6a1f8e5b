"""All methods that a benchmark can compare, by name."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from NASAM3DLib.benchmark.methods import (
    fronts,
    grow_cut,
    ours,
    random_walker,
    region_growing,
)
from NASAM3DLib.benchmark.methods.protocol import Method

BUILT_IN = (
    *ours.METHODS,
    *region_growing.METHODS,
    *fronts.METHODS,
    *random_walker.METHODS,
    *grow_cut.METHODS,
)


def all_methods(files: Sequence[Path] = ()) -> dict[str, Method]:
    """List the methods.

    Parameters
    ----------
    files : sequence of Path
        Python files with a tuple ``METHODS``, whose methods come last.

    Returns
    -------
    dict of str to Method
        By name.

    Raises
    ------
    FileNotFoundError
        If a file does not exist.
    ValueError
        If a file has no such tuple, or two methods have one name.
    """
    methods = {method.name: method for method in BUILT_IN}
    for file in files:
        for method in _methods_in(file.resolve()):
            if method.name in methods:
                raise ValueError(
                    f"{file} has a method {method.name!r}, but there is one already: rename it."
                )
            methods[method.name] = method
    return methods


@cache
def _methods_in(file: Path) -> tuple[Method, ...]:
    """Run a file and take its methods."""
    if not file.is_file():
        raise FileNotFoundError(f"There is no file {file} with methods.")
    spec = importlib.util.spec_from_file_location(f"nasam3d_methods_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise ValueError(f"{file} is no Python file: methods are read from one ending in .py.")
    module = importlib.util.module_from_spec(spec)
    # Data classes look their module up by its name.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    methods = getattr(module, "METHODS", None)
    if not isinstance(methods, tuple) or not all(isinstance(m, Method) for m in methods):
        raise ValueError(f"{file} must define METHODS, a tuple of Method.")
    return methods
