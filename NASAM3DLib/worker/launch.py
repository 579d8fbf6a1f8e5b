"""How a worker process is started and ended, on every system."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import NASAM3DLib

WORKER_MODULE = "NASAM3DLib.worker"

COMMAND_VARIABLE = "NASAM3D_WORKER"
"""Environment variable with the command of a worker elsewhere."""

_KILL_TREE_TIMEOUT_S = 5.0


def python_executable() -> str:
    """Find the Python that a worker should run in.

    Returns
    -------
    str
        ``PythonSlicer`` inside Slicer, whose own executable is no Python; else the running Python.
    """
    return shutil.which("PythonSlicer") or sys.executable


def configured_command() -> list[str] | None:
    """Give the command that the user has named in ``NASAM3D_WORKER``.

    Returns
    -------
    list of str or None
        Program and arguments, split as a shell splits them; None if nothing is named.
    """
    line = os.environ.get(COMMAND_VARIABLE, "").strip()
    return shlex.split(line, posix=sys.platform != "win32") if line else None


def worker_command(python: str | None = None) -> list[str]:
    """Give the command that starts a worker on this computer.

    Parameters
    ----------
    python : str, optional
        Python executable; found by :func:`python_executable` if not given.

    Returns
    -------
    list of str
        Any other command that ends in this one may take its place, for example
        ``["ssh", "gpu-host", "python", "-m", "NASAM3DLib.worker"]``.
    """
    return [python or python_executable(), "-m", WORKER_MODULE]


def worker_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Give the environment of a worker: this process's, with the library on the import path.

    Parameters
    ----------
    extra : mapping of str to str, optional
        Variables to add or replace.

    Returns
    -------
    dict of str to str
    """
    environment = {**os.environ, **(extra or {})}
    library_folder = str(Path(NASAM3DLib.__file__).resolve().parent.parent)
    # Threads that spin while they wait would take the cores from the program that shows things.
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    known = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = os.pathsep.join(
        [library_folder, known] if known else [library_folder]
    )
    return environment


def start_process(
    command: Sequence[str], environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start a process with pipes on its three standard streams, able to be ended with its children.

    The pipes are unbuffered.

    Parameters
    ----------
    command : sequence of str
        Program and arguments.
    environment : mapping of str to str
        Environment variables.

    Returns
    -------
    subprocess.Popen

    Raises
    ------
    OSError
        If the program cannot be started.
    """
    flags = 0
    if sys.platform == "win32":
        flags = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP
    return subprocess.Popen(
        list(command),
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(environment),
        start_new_session=True,
        creationflags=flags,
    )


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    """End a process and everything that it started, at once.

    Parameters
    ----------
    process : subprocess.Popen
        A process of :func:`start_process`. ``PythonSlicer`` is a launcher, so ending it alone would
        leave the Python behind it running.
    """
    if sys.platform == "win32":
        subprocess.run(
            ["taskkill", "/F", "/T", "/PID", str(process.pid)],
            check=False,
            capture_output=True,
            timeout=_KILL_TREE_TIMEOUT_S,
            creationflags=subprocess.CREATE_NO_WINDOW,
        )
        return
    try:
        # The process leads a session of its own, so the group holds its children and nobody else.
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def describe_exit(status: int | None) -> str:
    """Write an exit status for a person.

    Parameters
    ----------
    status : int or None
        What ``Popen.poll`` gave.

    Returns
    -------
    str
    """
    if status is None:
        return "it closed its output but did not end"
    if status >= 0:
        return f"exit code {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    if name == "SIGKILL":
        return "ended from outside (SIGKILL), which the system does when memory runs out"
    return f"ended by {name}"


def lacks_package(lines: Iterable[str]) -> bool:
    """Tell whether a Python process ended because a package is missing.

    Parameters
    ----------
    lines : iterable of str
        Its last words.

    Returns
    -------
    bool
    """
    # Python names the exception; "python -m" only complains.
    signs = ("ModuleNotFoundError: ", "ImportError: ", ": No module named ")
    return any(sign in line for line in lines for sign in signs)
