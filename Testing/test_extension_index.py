"""What the Slicer Extensions Index checks before it lists an extension, where no network is needed.

The rules are those of Slicer/ExtensionsIndex (scripts/check_description_files.py and the template
of its pull requests) and of the schema that the description names.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[1]
NAME = "NASAM3D"
FILE = ROOT / "docs" / f"{NAME}.json"
ENTRY: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
CMAKE_TEXT = (ROOT / "CMakeLists.txt").read_text("utf-8")
README = (ROOT / "README.md").read_text("utf-8")

SCHEMA = (
    "https://raw.githubusercontent.com/Slicer/Slicer/main/Schemas/"
    "slicer-extension-catalog-entry-schema-v1.0.2.json#"
)
FIELDS: dict[str, type] = {
    "$schema": str,
    "category": str,
    "scm_url": str,
    "scm_revision": str,
    "scm_type": str,
    "build_dependencies": list,
    "build_subdirectory": str,
    "dicom_support_rule": str,
    "enabled": bool,
    "tier": int,
}
REQUIRED = {"$schema", "category", "scm_url"}

KNOWN_CATEGORIES = {"Segmentation", "Tomographic Reconstruction", "Radiotherapy", "Filtering"}
"""Those of the Index's list that could be meant."""

REPOSITORY_PREFIXES = ("Slicer", "Slicer-", "Slicer_", "SlicerExtension-", "SlicerExtension_")
LICENCE_FILES = ("LICENSE", "LICENCE", "License.txt", "license.txt", "LICENSE.txt", "COPYING")
MAX_CLONE_BYTES = 100_000_000

AT_FILE_SCOPE = {"slicer", "vtk", "qt", "ctk", "SimpleITK", "sitkUtils", "numpy", "scipy"}
"""What a module may import at file scope beside the standard library, for Slicer has it loaded."""

NETWORK = {"urllib", "http", "requests", "socket", "ftplib", "httpx", "aiohttp"}


def cmake_value(name: str) -> str:
    """Read a setting in the way of the Index."""
    found = re.findall(rf'set\s*\({name}\s*"([^"]+)"[ ]*\)', CMAKE_TEXT)
    assert len(found) == 1, f"{name} must be set once, literally, on one line"
    return str(found[0])


def module_files() -> list[Path]:
    """The Python files that Slicer loads when it starts."""
    return sorted((ROOT / NAME).rglob("*.py"))


def imported(nodes: list[ast.stmt]) -> set[str]:
    """The packages that statements import."""
    roots: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            roots |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            roots.add(node.module.partition(".")[0])
    return roots


def test_the_description_is_one_file_named_as_the_extension_with_unix_line_ends() -> None:
    content = FILE.read_bytes()
    assert b"\r" not in content
    assert content.endswith(b"}\n")
    assert not NAME.startswith("Slicer")


def test_the_description_has_the_fields_of_its_schema_and_no_others() -> None:
    assert ENTRY["$schema"] == SCHEMA
    assert set(ENTRY) >= REQUIRED
    assert set(ENTRY) <= set(FIELDS)
    wrong = [name for name, value in ENTRY.items() if type(value) is not FIELDS[name]]
    assert wrong == []
    assert all(isinstance(name, str) for name in ENTRY["build_dependencies"])
    assert 1 <= ENTRY["tier"] <= 5


def test_the_first_project_of_cmake_is_the_name() -> None:
    assert re.findall(r"project\s*\(\s*([^\s\)]+)", CMAKE_TEXT, re.IGNORECASE)[0] == NAME


def test_the_category_is_known_and_that_of_the_build() -> None:
    assert ENTRY["category"] in KNOWN_CATEGORIES
    assert ENTRY["category"] == cmake_value("EXTENSION_CATEGORY")


def test_the_dependencies_are_those_of_the_build() -> None:
    depends = cmake_value("EXTENSION_DEPENDS").split()
    assert ENTRY["build_dependencies"] == ([] if depends == ["NA"] else depends)


def test_the_repository_is_named_for_slicer_and_is_the_homepage() -> None:
    url = urlsplit(ENTRY["scm_url"])
    assert url.scheme in ("https", "git")
    repository = url.path.rpartition("/")[2].removesuffix(".git")
    assert repository in {prefix + NAME for prefix in REPOSITORY_PREFIXES}
    assert ENTRY["scm_url"].removesuffix(".git") == cmake_value("EXTENSION_HOMEPAGE")


def test_pictures_are_addressed_in_the_revision_that_is_built() -> None:
    icons = cmake_value("EXTENSION_ICONURL").split()
    screenshots = cmake_value("EXTENSION_SCREENSHOTURLS").split()
    assert len(icons) == 1
    assert screenshots
    place = cmake_value("EXTENSION_HOMEPAGE").replace("github.com", "raw.githubusercontent.com")
    for url in icons + screenshots:
        prefix = f"{place}/{ENTRY['scm_revision']}/"
        assert url.startswith(prefix)
        content = (ROOT / url.removeprefix(prefix)).read_bytes()
        kinds = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8")
        assert content.startswith(kinds), f"{url} must be a PNG, JPEG or GIF"


def test_a_permissive_licence_lies_at_the_root() -> None:
    found = [name for name in LICENCE_FILES if (ROOT / name).is_file()]
    assert found
    text = (ROOT / found[0]).read_text("utf-8")
    assert "Apache License" in text or "MIT License" in text


def test_weights_with_terms_of_their_own_are_named_in_the_description() -> None:
    description = cmake_value("EXTENSION_DESCRIPTION")
    assert "SAM-Med3D" in description
    assert "terms" in description


def answer_of_git(*arguments: str, given: bytes = b"") -> bytes:
    """Return what a Git command prints here; skip where there is no repository."""
    command = ["git", *arguments]
    try:
        return subprocess.run(
            command, cwd=ROOT, input=given, capture_output=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"there is no Git repository to measure: {error}")


def test_a_clone_is_small_enough() -> None:
    # The pack that a clone is sent. How much the objects take here says nothing of it: a repository
    # may hold some of them loose and packed, or those of other branches.
    history = len(answer_of_git("pack-objects", "--revs", "--stdout", "-q", given=b"HEAD\n"))
    names = answer_of_git("ls-files", "-z").decode().split("\0")
    files = (ROOT / name for name in names if name)
    tree = sum(path.stat().st_size for path in files if path.is_file())
    assert 0 < history + tree <= MAX_CLONE_BYTES


def test_nothing_foreign_is_imported_when_slicer_starts() -> None:
    allowed = AT_FILE_SCOPE | set(sys.stdlib_module_names) | {"NASAM3DLib", "NASAM3DModule"}
    found = {
        path.name: sorted(imported(ast.parse(path.read_text("utf-8")).body) - allowed)
        for path in module_files()
    }
    assert {name: roots for name, roots in found.items() if roots} == {}


def test_pytorch_is_never_installed_by_pip_from_the_module() -> None:
    pattern = re.compile(r"pip_(install|ensure)\([^)]*torch|pip install[^\n\"']*torch")
    found = [path.name for path in module_files() if pattern.search(path.read_text("utf-8"))]
    assert found == []
    assert any("PyTorchUtils" in path.read_text("utf-8") for path in module_files())


def test_only_the_download_of_weights_can_reach_a_network() -> None:
    found = set()
    for path in [*module_files(), *(ROOT / "NASAM3DLib").rglob("*.py")]:
        nodes = [n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.stmt)]
        if imported(nodes) & NETWORK:
            found.add(path.relative_to(ROOT).as_posix())
    catalogue, download = (f"NASAM3DLib/weights/{name}.py" for name in ("catalogue", "download"))
    assert download in found
    assert found <= {catalogue, download}


@pytest.mark.parametrize(
    "wanted",
    [
        r"!\[[^\]]+\]\([^)]+\.png\)",
        r"(?i)3D Slicer",
        r"(?i)\bcite\b",
        r"(?i)licence|license",
        r"(?i)sample|demo",
        r"(?i)not a medical device",
        r"(?i)proxy|offline",
    ],
)
def test_the_readme_answers_what_reviewers_ask(wanted: str) -> None:
    assert re.search(wanted, README)
