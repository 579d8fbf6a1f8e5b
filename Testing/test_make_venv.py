"""Finding a Python that can make the environment, with fake interpreters on the path."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "Tools" / "make_venv.sh"

pytestmark = pytest.mark.skipif(shutil.which("sh") is None, reason="no POSIX shell")

TOO_OLD = """case "$*" in *%d.%d*) echo 3.9 ;; *version_info*) exit 1 ;; esac"""
NO_VENV = """case "$*" in *ensurepip*) exit 1 ;; *%d.%d*) echo 3.12 ;; esac"""
DOES_NOT_START = "exit 127"
MAKES_NO_VENV = """case "$*" in
*%d.%d*) echo 3.12 ;; *"-m venv"*) for folder; do :; done; mkdir -p "$folder/bin"; exit 1 ;; esac"""


def run(folder: Path, interpreters: dict[str, str], *arguments: str):
    """Run the script with only these interpreters to be found."""
    commands = folder / "commands"
    commands.mkdir()
    for name, body in interpreters.items():
        (commands / name).write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        (commands / name).chmod(0o755)
    for tool in ("sh", "rm", "mkdir"):
        (commands / tool).symlink_to(str(shutil.which(tool)))
    return subprocess.run(
        [shutil.which("sh") or "sh", str(SCRIPT), str(folder / "venv"), *arguments],
        env={**os.environ, "PATH": str(commands)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_interpreters_that_do_not_do_are_passed_over(tmp_path: Path):
    fakes = {"python3.13": DOES_NOT_START, "python3.12": NO_VENV, "python3.11": TOO_OLD}
    # A real environment, but without pip, which would take most of the time.
    real = f"""case "$*" in *"-m venv"*) set -- "$@" --without-pip ;; esac
exec "{sys.executable}" "$@\""""
    answer = run(tmp_path, fakes | {"python3": real})
    assert answer.returncode == 0, answer.stderr
    assert "with python3 (Python 3." in answer.stdout
    assert (tmp_path / "venv" / "bin" / "python").exists()
    assert (tmp_path / "venv" / ".gitignore").read_text() == "*\n"


def test_each_reason_is_given_with_its_remedy(tmp_path: Path):
    fakes = {"python3.13": DOES_NOT_START, "python3.12": NO_VENV, "python3": TOO_OLD}
    answer = run(tmp_path, fakes)
    assert answer.returncode == 1
    assert "needs Python 3.11 or later" in answer.stderr
    assert "python3.13: does not start" in answer.stderr
    assert "python3.12: Python 3.12 has no venv or ensurepip" in answer.stderr
    assert "apt install python3.12-venv" in answer.stderr
    assert "python3: is Python 3.9, too old" in answer.stderr


def test_no_python_at_all(tmp_path: Path):
    answer = run(tmp_path, {})
    assert answer.returncode == 1
    assert "none of the commands python3.13" in answer.stderr
    assert "make PYTHON=" in answer.stderr


def test_named_interpreter_is_the_only_candidate(tmp_path: Path):
    answer = run(tmp_path, {"python3": "exit 0", "mine": TOO_OLD}, "mine")
    assert answer.returncode == 1
    assert "mine: is Python 3.9" in answer.stderr
    assert "python3:" not in answer.stderr


def test_half_made_environment_is_removed(tmp_path: Path):
    answer = run(tmp_path, {"python3": MAKES_NO_VENV})
    assert answer.returncode != 0
    assert not (tmp_path / "venv").exists()
