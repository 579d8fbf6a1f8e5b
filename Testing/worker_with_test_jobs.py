"""A worker with small jobs that behave well or badly, started as a script by the worker's tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from NASAM3DLib.progress import ProgressCallback
from NASAM3DLib.worker.protocol import Message
from NASAM3DLib.worker.server import Upkeep, serve


def double(request: Message, progress: ProgressCallback) -> Message:
    """Give every array times two, and the fields as they came."""
    return Message("result", request.fields, {n: a * 2 for n, a in request.arrays.items()})


def count(request: Message, progress: ProgressCallback) -> Message:
    """Take a number of steps and report each."""
    n_steps = request.fields["steps"]
    for step in range(n_steps):
        progress("counting", step / n_steps)
        time.sleep(request.fields["step_s"])
    return Message("result", {"steps": n_steps})


def deaf(request: Message, progress: ProgressCallback) -> Message:
    """Wait without ever looking whether the job is cancelled, as compiled code does."""
    progress("deaf", 0.0)
    time.sleep(60)
    return Message("result")


def fail(request: Message, progress: ProgressCallback) -> Message:
    """Raise what is asked for."""
    errors: dict[str, BaseException] = {
        "value": ValueError("Spacing must be positive, got -1."),
        "memory": MemoryError("Unable to allocate 1 TiB."),
        "package": ModuleNotFoundError("No module named 'torch'"),
        "file": FileNotFoundError(2, "No such file or directory", "scan.npz"),
        "key": KeyError("angles"),
        "exit": SystemExit(1),
    }
    raise errors[request.fields["error"]]


def die(request: Message, progress: ProgressCallback) -> Message:
    """End the whole process, with last words."""
    sys.stderr.write("the sky is falling\n")
    sys.stderr.flush()
    os._exit(7)


def kill(request: Message, progress: ProgressCallback) -> Message:
    """End as when the system runs out of memory."""
    os.kill(os.getpid(), signal.SIGKILL)
    return Message("result")


def chatter(request: Message, progress: ProgressCallback) -> Message:
    """Write to standard output in every way that a library has, and read standard input."""
    sys.stdout.write("printed by Python\n")
    sys.stdout.flush()
    os.write(1, b"written by C\n")
    subprocess.run([sys.executable, "-c", "print('printed by a child')"], check=True)
    return Message("result", {"standard_input": sys.stdin.read()})


def garbage(request: Message, progress: ProgressCallback) -> Message:
    """Write to the stream that the worker answers on, which it has hidden well."""
    for fd in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        if fd > 2 and Path(f"/proc/self/fd/{fd}").resolve().name.startswith("pipe:"):
            try:
                os.write(fd, b"Segmentation fault in a library\n")
            except OSError:
                continue
    time.sleep(60)
    return Message("result")


def freeze(request: Message, progress: ProgressCallback) -> Message:
    """Stop the whole process, as a debugger or a dead network disk does."""
    progress("freezing", 0.0)
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(60)
    return Message("result")


def hoard(request: Message, progress: ProgressCallback) -> Message:
    """Take and use as many bytes as are asked for."""
    return Message("result", {"sum": int(np.ones(request.fields["bytes"], np.uint8).sum())})


def made(request: Message, progress: ProgressCallback) -> Message:
    """Give an array of as many bytes as are asked for."""
    return Message("result", {}, {"values": np.zeros(request.fields["bytes"], np.uint8)})


def orphan(request: Message, progress: ProgressCallback) -> Message:
    """Start a child that would outlive the worker."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    progress(str(child.pid), 0.0)
    time.sleep(60)
    return Message("result")


JOBS = {
    "double": double,
    "count": count,
    "deaf": deaf,
    "fail": fail,
    "die": die,
    "kill": kill,
    "chatter": chatter,
    "garbage": garbage,
    "freeze": freeze,
    "hoard": hoard,
    "made": made,
    "orphan": orphan,
}

if __name__ == "__main__":
    # Seconds without work, seconds without a sign of life from the program.
    idle_s, alone_s = (float(word) for word in sys.argv[1:] or (600.0, 300.0))
    serve(
        JOBS, Upkeep(lambda: sys.stderr.write("let go\n") and sys.stderr.flush(), idle_s, alone_s)
    )
