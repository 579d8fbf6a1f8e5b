"""Install torch so that a machine without an NVIDIA GPU does not download CUDA.

On Linux the package index offers torch with several gigabytes of CUDA libraries behind it. With a
GPU that is what one wants. Without, three ways are tried in this order:

1. ask pip what the configured index would install; take it if there is no CUDA in it;
2. take the CPU build from PyTorch's own index, if that answers within seconds;
3. leave torch out and say what that means.

Only the standard library is used, so that it runs in a fresh environment. It ends with status 0
also where torch is left out: everything but the neural field and the learned engines works without.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

CPU_INDEX = "https://download.pytorch.org/whl/cpu"

RESOLVE_LIMIT_S = 180
"""Bounds the first question."""

PROBE_LIMIT_S = 20
"""Bounds the second question as a whole: pip's own limit counts for each address of the host."""

CUDA_PACKAGES = re.compile(r"(nvidia|cuda|triton|pytorch-triton)(-|$)")
CUDA_BUILD = re.compile(r"\+(cu|rocm|xpu)")
COLLECTING = re.compile(r"\s*Collecting ([\w.-]+)")
FETCHING = re.compile(r"\s*(?:Downloading|Using cached) torch-\S+ \(([\d.]+) ([MG])B\)")

LARGEST_CPU_WHEEL_MB = 300
"""Between the CPU builds for Linux (about 200 MB) and those with CUDA (more than 500 MB)."""

LEFT_OUT = """\
torch was left out. This machine shows no NVIDIA GPU, {index}, and {cpu_index}. The neural \
attenuation field and the learned segmentation engines are therefore off; simulation, FDK, \
total-variation reconstruction, density-guided segmentation and evaluation work without torch. To \
add it later run `make torch` where {url} can be reached, or accept the large download with \
`{python} -m pip install {requirement}`."""


class Answer(NamedTuple):
    """What a command left: exit status and output."""

    status: int
    output: str = ""


Ask = Callable[[Sequence[str], float, Callable[[str], bool] | None], Answer]
Do = Callable[[Sequence[str]], int]


def run_captured(
    command: Sequence[str], limit_s: float, stop_at: Callable[[str], bool] | None = None
) -> Answer:
    """Run a command and capture its output, errors included.

    It is killed after ``limit_s``, and as soon as ``stop_at`` is true of a line of its output. The
    status is then not 0; it is 127 where the command does not exist.
    """
    try:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    except OSError as error:
        return Answer(127, str(error))
    lines = []
    timer = threading.Timer(limit_s, process.kill)
    timer.start()
    with process:
        for line in process.stdout or ():
            lines.append(line)
            if stop_at is not None and stop_at(line):
                process.kill()
                break
    timer.cancel()
    return Answer(process.returncode, "".join(lines))


class Installer:
    """Installs torch by the first way that works.

    Parameters
    ----------
    constraint : Path
        The lock, with a line ``torch==<version>``.
    ask, do : callable
        Run a command with captured output, as ``run_captured`` does, and with its output shown.
    """

    def __init__(
        self, constraint: Path, *, ask: Ask = run_captured, do: Do = subprocess.call
    ) -> None:
        self.requirement = f"torch=={locked_version(constraint, 'torch')}"
        self.constraint = constraint
        self.ask = ask
        self.do = do

    def install(self, also: Sequence[str] = ()) -> bool:
        """Install torch and the packages that need it.

        Parameters
        ----------
        also : sequence of str
            Packages to install only together with torch.

        Returns
        -------
        bool
            Whether torch is installed now.
        """
        if self._already_installed():
            print(f"{self.requirement} is installed")
        elif not self._install_torch():
            return False
        return not also or self._pip_install(also)

    def _already_installed(self) -> bool:
        """Whether this environment holds the locked version, in whichever build."""
        try:
            version = metadata.version("torch")
        except metadata.PackageNotFoundError:
            return False
        return f"torch=={version.partition('+')[0]}" == self.requirement

    def _install_torch(self) -> bool:
        """Try the three ways."""
        if self._has_nvidia_gpu():
            print("NVIDIA GPU found: installing torch as the package index has it")
            return self._pip_install([self.requirement])

        refusal = self._why_not_configured_index()
        if not refusal:
            if self._pip_install([self.requirement]):
                return True
            refusal = "installing from the configured package index failed (see above)"

        cpu_refusal = self._why_not_cpu_index()
        if not cpu_refusal:
            # Only torch itself comes from there: everything else has locked versions that the
            # CPU index need not have.
            if self._pip_install([f"{self.requirement}+cpu", "--extra-index-url", CPU_INDEX]):
                return True
            cpu_refusal = f"installing from {CPU_INDEX} failed (see above)"

        print(
            LEFT_OUT.format(
                index=refusal,
                cpu_index=cpu_refusal,
                url=CPU_INDEX,
                python=sys.executable,
                requirement=self.requirement,
            )
        )
        return False

    def _has_nvidia_gpu(self) -> bool:
        """Whether the driver's own tool lists a GPU."""
        answer = self.ask(["nvidia-smi", "-L"], PROBE_LIMIT_S, None)
        return answer.status == 0 and "GPU" in answer.output

    def _why_not_configured_index(self) -> str:
        """Why torch of the configured index is not wanted; empty if it is.

        Not every index offers the metadata of a wheel separately. Without it pip downloads whole
        wheels to learn what they require, so it is stopped at the first sign of CUDA.
        """
        with TemporaryDirectory() as folder:
            report = Path(folder, "report.json")
            answer = self.ask(
                [
                    *pip_command("install", "--dry-run", "--report", str(report)),
                    *("--progress-bar", "off", "--constraint", str(self.constraint)),
                    self.requirement,
                ],
                RESOLVE_LIMIT_S,
                is_sign_of_cuda,
            )
            if any(is_sign_of_cuda(line) for line in answer.output.splitlines()):
                return "the configured package index has it with CUDA only"
            if answer.status != 0:
                return f"pip cannot get {self.requirement} from the configured package index"
            if any(is_cuda(name) for name in planned_packages(report)):
                return "the configured package index has it with CUDA only"
        return ""

    def _why_not_cpu_index(self) -> str:
        """Why the CPU build cannot be had from PyTorch's index; empty if it can."""
        answer = self.ask(
            [
                *pip_command("index", "versions", "--timeout", "5", "--retries", "1"),
                *("--index-url", CPU_INDEX, "torch"),
            ],
            PROBE_LIMIT_S,
            None,
        )
        if answer.status != 0:
            return f"{CPU_INDEX} did not answer"
        version = self.requirement.removeprefix("torch==")
        if f"{version}+cpu" not in re.split(r"[\s,()]+", answer.output):
            return f"{CPU_INDEX} has no build of {version} for it"
        return ""

    def _pip_install(self, arguments: Sequence[str]) -> bool:
        """Install with pip under the lock; whether it succeeded."""
        command = [*pip_command("install"), "--constraint", str(self.constraint), *arguments]
        return self.do(command) == 0


def pip_command(*arguments: str) -> list[str]:
    """Return a command line of this interpreter's pip."""
    # Unbuffered, so that a line is seen when it is written.
    return [sys.executable, "-u", "-m", "pip", "--disable-pip-version-check", *arguments]


def planned_packages(report: Path) -> list[str]:
    """Read ``name==version`` of each package from pip's installation report."""
    planned = json.loads(report.read_text(encoding="utf-8"))["install"]
    return [f"{item['metadata']['name']}=={item['metadata']['version']}" for item in planned]


def is_cuda(package: str) -> bool:
    """Whether ``name==version`` is a GPU library or torch built for a GPU."""
    name, _, version = package.lower().replace("_", "-").partition("==")
    return bool(CUDA_PACKAGES.match(name) or CUDA_BUILD.search(version))


def is_sign_of_cuda(line: str) -> bool:
    """Whether a line of pip's output names a GPU library or a torch too large for a CPU build."""
    collecting = COLLECTING.match(line)
    if collecting:
        return is_cuda(collecting.group(1))
    fetching = FETCHING.match(line)
    if fetching:
        size, unit = fetching.groups()
        return float(size) * (1000 if unit == "G" else 1) > LARGEST_CPU_WHEEL_MB
    return False


def locked_version(constraint: Path, name: str) -> str:
    """Read the version of a package from a constraints file."""
    for line in constraint.read_text(encoding="utf-8").splitlines():
        package, _, version = line.partition("==")
        if package.strip().lower() == name:
            return version.split(";")[0].strip()
    raise ValueError(f"{constraint} must have a line '{name}==<version>', got none: run make lock.")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--constraint", type=Path, required=True, help="file with torch==<version>")
    parser.add_argument(
        "--also", nargs="*", default=[], help="packages to install only together with torch"
    )
    arguments = parser.parse_args(argv)
    Installer(arguments.constraint).install(arguments.also)
    return 0


if __name__ == "__main__":
    sys.exit(main())
