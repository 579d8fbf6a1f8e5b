"""The set-up's choice of torch, with a fake pip that records what it is asked."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "Tools"))

import install_torch
from install_torch import CPU_INDEX, Answer, Installer

CPU_PLAN = ("torch==2.13.0+cpu", "sympy==1.14.0", "filelock==3.0")
CUDA_PLAN = ("torch==2.13.0", "sympy==1.14.0", "nvidia-cublas==13.1", "triton==3.5.0")


class Machine:
    """A machine with or without a GPU, and what its package indexes answer.

    ``plan`` is what the configured index would install, None if it has no torch; ``cpu_versions``
    is what PyTorch's CPU index lists, None if it cannot be reached. ``lines`` is what pip prints
    while it resolves. Installing anything named in ``broken`` fails.
    """

    def __init__(
        self,
        *,
        gpu: bool = False,
        plan: Sequence[str] | None = CUDA_PLAN,
        cpu_versions: str | None = None,
        broken: Sequence[str] = (),
        lines: Sequence[str] = (),
    ) -> None:
        self.gpu, self.plan, self.cpu_versions, self.broken = gpu, plan, cpu_versions, broken
        self.lines = lines
        self.asked: list[list[str]] = []
        self.done: list[list[str]] = []
        self.limits: list[float] = []

    def ask(self, command: Sequence[str], limit_s: float, stop_at=None) -> Answer:
        self.asked.append(list(command))
        self.limits.append(limit_s)
        if command[0] == "nvidia-smi":
            return Answer(0, "GPU 0: NVIDIA\n") if self.gpu else Answer(127)
        if "index" in command:
            return Answer(1) if self.cpu_versions is None else Answer(0, self.cpu_versions)
        return self.resolve(command, stop_at)

    def resolve(self, command: Sequence[str], stop_at) -> Answer:
        """Answer pip's dry run, line by line until it is stopped."""
        if self.plan is None:
            return Answer(1, "ERROR: No matching distribution found for torch==2.13.0\n")
        output = ""
        for line in self.lines:
            output += line
            if stop_at(line):
                return Answer(-9, output)
        items = [dict(zip(("name", "version"), p.split("=="), strict=True)) for p in self.plan]
        report = {"install": [{"metadata": item} for item in items]}
        Path(command[command.index("--report") + 1]).write_text(json.dumps(report), "utf-8")
        return Answer(0, output)

    def do(self, command: Sequence[str]) -> int:
        self.done.append(list(command))
        return int(any(name in " ".join(command) for name in self.broken))

    def installed(self) -> list[str]:
        """What pip was told to install, the fixed part of the command left out."""
        return [" ".join(command[command.index("--constraint") + 2 :]) for command in self.done]


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """A lock with torch in it."""
    path = tmp_path / "some.lock"
    path.write_text("# comment\ntorchvision==0.1\ntorch==2.13.0\ntyper==0.2\n", encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def fresh_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the torch of the environment that runs the tests."""

    def nothing_installed(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", nothing_installed)


def install(machine: Machine, lock: Path, *also: str) -> bool:
    """Run the installer on a machine."""
    return Installer(lock, ask=machine.ask, do=machine.do).install(also)


def test_with_a_gpu_the_index_is_not_questioned(lock: Path):
    machine = Machine(gpu=True)
    assert install(machine, lock)
    assert machine.installed() == ["torch==2.13.0"]
    assert [command[0] for command in machine.asked] == ["nvidia-smi"]


def test_index_without_cuda_is_used_directly(lock: Path):
    machine = Machine(plan=CPU_PLAN, cpu_versions="torch (2.13.0+cpu)")
    assert install(machine, lock)
    assert machine.installed() == ["torch==2.13.0"]
    assert not any("index" in command for command in machine.asked)


def test_first_question_installs_nothing(lock: Path):
    machine = Machine(plan=CPU_PLAN)
    install(machine, lock)
    question = machine.asked[1]
    assert {"--dry-run", "--report"} < set(question)
    assert question[question.index("--constraint") + 1] == str(lock)


@pytest.mark.parametrize(
    "package",
    [
        "nvidia-cublas-cu12==12.8",
        "nvidia_nccl_cu13==2.2",
        "triton==3.5",
        "cuda-toolkit==13.0",
        "pytorch-triton-rocm==3",
        "torch==2.13.0+cu130",
        "torch==2.13.0+rocm6",
    ],
)
def test_any_cuda_package_refuses_the_configured_index(lock: Path, package: str):
    machine = Machine(plan=("sympy==1.14.0", package), cpu_versions="torch (2.13.0+cpu)")
    assert install(machine, lock)
    assert machine.installed() == [f"torch==2.13.0+cpu --extra-index-url {CPU_INDEX}"]


@pytest.mark.parametrize(
    "line",
    [
        "  Downloading torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl (526.6 MB)\n",
        "  Downloading torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl (2.1 GB)\n",
        "  Using cached torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl (526.6 MB)\n",
        "Collecting nvidia-cublas==13.1.* (from cuda-toolkit)\n",
        "Collecting triton==3.7.1 (from torch==2.13.0)\n",
    ],
)
def test_resolving_is_stopped_at_the_first_sign_of_cuda(lock: Path, capsys, line: str):
    machine = Machine(lines=["Collecting torch==2.13.0\n", line, "Collecting nvidia-nccl\n"])
    stopped_at = machine.resolve(["--report", str(lock)], install_torch.is_sign_of_cuda)
    assert stopped_at == Answer(-9, f"Collecting torch==2.13.0\n{line}")
    assert not install(machine, lock)
    assert "has it with CUDA only" in capsys.readouterr().out


@pytest.mark.parametrize(
    "line",
    [
        "  Downloading torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl.metadata (31 kB)",
        "  Downloading torch-2.13.0%2Bcpu-cp311-cp311-manylinux_2_28_x86_64.whl (190.2 MB)",
        "Collecting sympy>=1.13.3 (from torch==2.13.0)",
        "Processing ./torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl",
        "Would install torch-2.13.0",
    ],
)
def test_other_output_is_no_sign_of_cuda(line: str):
    assert not install_torch.is_sign_of_cuda(line)


@pytest.mark.parametrize("package", ["torch==2.13.0+cpu", "torch==2.13.0", "cudagrad==1.0"])
def test_other_packages_are_not_taken_for_cuda(package: str):
    assert not install_torch.is_cuda(package)


def test_index_without_torch_leads_to_the_cpu_index(lock: Path):
    machine = Machine(
        plan=None, cpu_versions="torch (2.14.0+cpu)\nAvailable: 2.14.0+cpu, 2.13.0+cpu"
    )
    assert install(machine, lock)
    assert machine.installed() == [f"torch==2.13.0+cpu --extra-index-url {CPU_INDEX}"]


def test_unreachable_cpu_index_leaves_torch_out_and_says_so(lock: Path, capsys):
    machine = Machine()
    assert not install(machine, lock, "monai")
    assert machine.done == []
    said = capsys.readouterr().out
    assert "has it with CUDA only" in said
    assert f"{CPU_INDEX} did not answer" in said
    assert "`make torch`" in said
    assert "work without torch" in said
    assert said.count("\n") == 1, "one paragraph"


def test_every_question_has_a_time_limit(lock: Path):
    machine = Machine()
    install(machine, lock)
    assert max(machine.limits) <= 180
    probe = machine.asked[-1]
    assert probe[probe.index("--timeout") + 1] == "5"
    assert probe[probe.index("--retries") + 1] == "1"


def test_cpu_index_without_the_locked_version_is_refused(lock: Path, capsys):
    machine = Machine(
        cpu_versions="torch (12.13.0+cpu)\nAvailable versions: 12.13.0+cpu, 2.9.1+cpu"
    )
    assert not install(machine, lock)
    assert "has no build of 2.13.0" in capsys.readouterr().out


def test_failed_installation_is_reported_and_the_next_way_tried(lock: Path, capsys):
    machine = Machine(plan=CPU_PLAN, cpu_versions="torch (2.13.0+cpu)", broken=["torch"])
    assert not install(machine, lock)
    assert len(machine.done) == 2
    assert capsys.readouterr().out.count("failed (see above)") == 2


def test_packages_that_need_torch_follow_it(lock: Path):
    machine = Machine(plan=CPU_PLAN)
    assert install(machine, lock, "monai")
    assert machine.installed() == ["torch==2.13.0", "monai"]


@pytest.mark.parametrize(("version", "kept"), [("2.13.0+cpu", True), ("2.12.0", False)])
def test_installed_torch_of_the_locked_version_is_kept(lock: Path, monkeypatch, version, kept):
    monkeypatch.setattr(metadata, "version", lambda name: version)
    machine = Machine(plan=CPU_PLAN)
    assert install(machine, lock)
    assert (machine.installed() == []) is kept


def test_lock_without_torch_is_refused(tmp_path: Path):
    path = tmp_path / "empty.lock"
    path.write_text("torchvision==0.1\n", encoding="utf-8")
    with pytest.raises(ValueError, match="must have a line 'torch==<version>', got none"):
        Installer(path)


def test_command_ends_well_without_torch(lock: Path, monkeypatch):
    machine = Machine()
    monkeypatch.setattr(install_torch, "run_captured", machine.ask)
    monkeypatch.setattr(
        Installer.__init__, "__kwdefaults__", {"ask": machine.ask, "do": machine.do}
    )
    assert install_torch.main(["--constraint", str(lock), "--also", "monai"]) == 0


def test_slow_command_is_ended():
    start = time.monotonic()
    answer = install_torch.run_captured([sys.executable, "-c", "import time; time.sleep(60)"], 0.2)
    assert answer.status != 0
    assert time.monotonic() - start < 10


def test_command_is_ended_at_a_line():
    code = "import time\nfor i in range(600): print('line', i, flush=True); time.sleep(0.1)"
    answer = install_torch.run_captured(
        [sys.executable, "-c", code], 30, lambda line: line == "line 2\n"
    )
    assert answer.status != 0
    assert answer.output == "line 0\nline 1\nline 2\n"


def test_output_and_status_of_a_command():
    code = "import sys; print('out'); print('error', file=sys.stderr); sys.exit(3)"
    answer = install_torch.run_captured([sys.executable, "-u", "-c", code], 30)
    assert answer == Answer(3, "out\nerror\n")


def test_absent_command_is_no_error():
    assert install_torch.run_captured(["no-such-command-here"], 5).status == 127
