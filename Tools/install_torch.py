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
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

CPU_INDEX = "https://download.pytorch.org/whl/cpu"

RESOLVE_LIMIT_S = 180
"""An index without separate metadata makes pip fetch whole wheels to answer the first question."""

PROBE_LIMIT_S = 20
"""Bounds the second question as a whole: pip's own limit counts for each address of the host."""

CUDA_PACKAGES = re.compile(r"(nvidia|cuda|triton|pytorch-triton)(-|$)")
CUDA_BUILD = re.compile(r"\+(cu|rocm|xpu)")

LEFT_OUT = """\
torch was left out. This machine shows no NVIDIA GPU, {index}, and {cpu_index}. The neural \
attenuation field and the learned segmentation engines are therefore off; simulation, FDK, \
total-variation reconstruction, density-guided segmentation and evaluation work without torch. To \
add it later run `make torch` where {url} can be reached, or accept the large download with \
`{python} -m pip install {requirement}`."""

Runner = Callable[[Sequence[str], float | None], "subprocess.CompletedProcess[str]"]


def run_captured(command: Sequence[str], limit_s: float | None) -> subprocess.CompletedProcess[str]:
    """Run a command and capture its output; status 124 if it is too slow, 127 if it is absent."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"no answer in {limit_s} s")
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))


def run_shown(command: Sequence[str], limit_s: float | None) -> subprocess.CompletedProcess[str]:
    """Run a command whose output the user watches."""
    return subprocess.CompletedProcess(command, subprocess.call(command, timeout=limit_s))


class Installer:
    """Installs torch by the first way that works.

    Parameters
    ----------
    constraint : Path
        The lock, with a line ``torch==<version>``.
    ask, do : callable
        Run a command with captured output, and with its output shown.
    """

    def __init__(
        self, constraint: Path, *, ask: Runner = run_captured, do: Runner = run_shown
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
        answer = self.ask(["nvidia-smi", "-L"], PROBE_LIMIT_S)
        return answer.returncode == 0 and "GPU" in answer.stdout

    def _why_not_configured_index(self) -> str:
        """Why torch of the configured index is not wanted; empty if it is."""
        answer = self.ask(
            [
                *pip_command("install", "--quiet", "--dry-run", "--report", "-"),
                *("--constraint", str(self.constraint), self.requirement),
            ],
            RESOLVE_LIMIT_S,
        )
        if answer.returncode != 0:
            return f"the configured package index offers no {self.requirement} for it"
        cuda = [name for name in planned_packages(answer.stdout) if is_cuda(name)]
        if cuda:
            return f"the configured package index would add {len(cuda)} CUDA packages"
        return ""

    def _why_not_cpu_index(self) -> str:
        """Why the CPU build cannot be had from PyTorch's index; empty if it can."""
        answer = self.ask(
            [
                *pip_command("index", "versions", "--timeout", "5", "--retries", "1"),
                *("--index-url", CPU_INDEX, "torch"),
            ],
            PROBE_LIMIT_S,
        )
        if answer.returncode != 0:
            return f"{CPU_INDEX} did not answer"
        version = self.requirement.removeprefix("torch==")
        if f"{version}+cpu" not in re.split(r"[\s,()]+", answer.stdout):
            return f"{CPU_INDEX} has no build of {version} for it"
        return ""

    def _pip_install(self, arguments: Sequence[str]) -> bool:
        """Install with pip under the lock; whether it succeeded."""
        command = [*pip_command("install"), "--constraint", str(self.constraint), *arguments]
        return self.do(command, None).returncode == 0


def pip_command(*arguments: str) -> list[str]:
    """Return a command line of this interpreter's pip."""
    return [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]


def planned_packages(report: str) -> list[str]:
    """Read ``name==version`` of each package from pip's installation report."""
    planned = json.loads(report)["install"]
    return [f"{item['metadata']['name']}=={item['metadata']['version']}" for item in planned]


def is_cuda(package: str) -> bool:
    """Whether ``name==version`` is a GPU library or torch built for a GPU."""
    name, _, version = package.lower().replace("_", "-").partition("==")
    return bool(CUDA_PACKAGES.match(name) or CUDA_BUILD.search(version))


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
