"""What is missing is listed as the requirements file has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from NASAM3DLib.worker.requirements import is_satisfied, missing_requirements


def test_only_what_is_not_there_is_listed(tmp_path: Path) -> None:
    path = tmp_path / "requirements.txt"
    path.write_text("# a comment\n\n-r other.txt\nnumpy>=2.0\nno-such-package>=1.0  \nnumpy>=999\n")
    assert missing_requirements(path) == ["no-such-package>=1.0", "numpy>=999"]


@pytest.mark.parametrize(
    ("requirement", "satisfied"),
    [
        ("numpy", True),
        ("numpy>=1.0,<99", True),
        ("numpy<1", False),
        # Modules without a distribution of that name, as Slicer's own packages may be.
        ("json>=1.0", True),
        ("no_such_package", False),
    ],
)
def test_names_and_versions_are_compared(requirement: str, satisfied: bool) -> None:
    assert is_satisfied(requirement) == satisfied


def test_a_line_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must start with a package's name, got '>=1.0'"):
        is_satisfied(">=1.0")


def test_the_project_s_own_requirements_are_there(repository_root: Path) -> None:
    assert missing_requirements(repository_root / "Resources" / "requirements.txt") == []
