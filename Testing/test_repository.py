"""What a clone holds: its layout, what importing the library loads, and what must not be there."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "NASAM3DLib"

MAX_FILE_BYTES = 5_000_000
MAX_IMPORT_S = 0.5
HEAVY = ("torch", "numba", "SimpleITK", "matplotlib", "skimage", "scipy", "monai", "itk")


@cache
def repository_files() -> tuple[Path, ...]:
    """Files under version control and new ones that are not ignored; the tree without git."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        folders = ("NASAM3D", "NASAM3DLib", "Resources", "Testing", "Tools")
        return tuple(p for folder in folders for p in (ROOT / folder).rglob("*") if p.is_file())
    paths = (ROOT / name for name in listing.stdout.split("\0") if name)
    return tuple(path for path in paths if path.is_file())


def source_files() -> list[Path]:
    """Return every Python file of the repository."""
    return [path for path in repository_files() if path.suffix == ".py"]


def test_module_folder_holds_exactly_one_python_file():
    assert [path.name for path in (ROOT / "NASAM3D").glob("*.py")] == ["NASAM3D.py"]


def test_no_python_file_at_the_root():
    assert list(ROOT.glob("*.py")) == []


def test_testing_is_not_a_package():
    assert list((ROOT / "Testing").glob("__init__.py")) == []


def test_no_test_hides_in_a_folder_that_is_not_collected():
    uncollected = {"bench", "host", "tools"}
    hidden = [p for p in source_files() if uncollected & set(p.relative_to(ROOT).parts)]
    assert [p for p in hidden if p.name.startswith("test_")] == []


def test_every_library_folder_is_a_package():
    folders = {path.parent for path in source_files() if LIBRARY in path.parents}
    assert [str(f.relative_to(ROOT)) for f in folders if not (f / "__init__.py").exists()] == []


def test_importing_the_library_is_instant_and_loads_nothing_heavy():
    code = (
        "import json, sys, time; start = time.perf_counter(); import NASAM3DLib; "
        "print(json.dumps([time.perf_counter() - start, sorted(sys.modules)]))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    seconds, modules = json.loads(answer.stdout)
    assert [name for name in HEAVY if name in modules] == []
    assert seconds < MAX_IMPORT_S


@pytest.mark.parametrize("forbidden", ["slicer", "qt", "ctk", "vtk", "PySide6", "Testing"])
def test_library_imports_no_application(forbidden: str):
    files = [path for path in source_files() if LIBRARY in path.parents]
    assert files
    assert [str(p.relative_to(ROOT)) for p in files if forbidden in imported_roots(p)] == []


def imported_roots(path: Path) -> set[str]:
    """Return the top-level packages that a file imports anywhere."""
    roots = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"), str(path))):
        if isinstance(node, ast.Import):
            roots |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            roots.add(node.module.partition(".")[0])
    return roots


def test_no_large_file():
    large = [
        str(p.relative_to(ROOT)) for p in repository_files() if p.stat().st_size > MAX_FILE_BYTES
    ]
    assert large == []


def unsafe_loads(source: str) -> list[int]:
    """Return the lines that unpickle: pickle, or torch.load and numpy.load that may."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
            if names & {"pickle", "cPickle", "dill", "joblib", "shelve"}:
                lines.append(node.lineno)
        elif isinstance(node, ast.Call):
            keywords = {key.arg: ast.unparse(key.value) for key in node.keywords}
            name = ast.unparse(node.func)
            unsafe_torch = name == "torch.load" and keywords.get("weights_only") != "True"
            if unsafe_torch or (name.endswith("load") and keywords.get("allow_pickle") == "True"):
                lines.append(node.lineno)
    return lines


@pytest.mark.parametrize(
    ("function", "arguments", "unsafe"),
    [
        ("torch.load", "path", True),
        ("torch.load", "path, weights_only=False", True),
        ("torch.load", "path, weights_only=True", False),
        ("np.load", "path, allow_pickle=True", True),
        ("np.load", "path, allow_pickle=False", False),
        ("np.load", "path", False),
    ],
)
def test_unsafe_calls_are_recognised(function: str, arguments: str, unsafe: bool):
    assert unsafe_loads(f"\n{function}({arguments})") == ([2] if unsafe else [])


@pytest.mark.parametrize("source", ["import pickle", "from pickle import load", "import shelve"])
def test_unsafe_imports_are_recognised(source: str):
    assert unsafe_loads(source) == [1]


def test_nothing_is_unpickled():
    found = {p: unsafe_loads(p.read_text("utf-8")) for p in source_files()}
    assert {str(p.relative_to(ROOT)): lines for p, lines in found.items() if lines} == {}
