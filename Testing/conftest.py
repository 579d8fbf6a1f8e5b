"""Fixtures and rules shared by all tests."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]

sys.path.insert(0, str(ROOT / "Testing" / "host"))
from fixtures import (  # noqa: E402, F401 - pytest finds fixtures and hooks by their names here
    clean_scene,
    load_module,
    pytest_sessionfinish,
    pytest_unconfigure,
    screenshot,
    slicer_app,
)
from module_user import known_worker, scan_file, user  # noqa: E402, F401 - likewise

DATA_VARIABLE = "NASAM3D_DATA"

# Not tests, though --doctest-modules would import every file in them.
collect_ignore = ["bench", "host", "tools"]

# Pictures are drawn without a display; set before anything imports matplotlib.
os.environ.setdefault("MPLBACKEND", "Agg")

# The same examples in every run, and no time limit: the first call of a kernel compiles it.
settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the real scans; tests that need it are skipped where it is absent."""
    named = os.environ.get(DATA_VARIABLE)
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real scans at {folder}: set {DATA_VARIABLE} to their folder")
    return folder


@pytest.fixture(scope="session")
def repository_root() -> Path:
    """Root of the repository."""
    return ROOT


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU where there is none; the host's own fixture does so for Slicer."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    reason = no_gpu_reason() if marked else ""
    if reason:
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=reason))


def no_gpu_reason() -> str:
    """Why there is no CUDA device; empty if there is one."""
    if find_spec("torch") is None:
        return "torch is not installed"
    import torch

    return "" if torch.cuda.is_available() else "no CUDA device"
