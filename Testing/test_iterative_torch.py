"""Total variation on a torch device: the CPU solver's volume, cancelling, recorded steps."""

from __future__ import annotations

import logging
import math

import numpy as np
import pytest
from analytic_objects import Ellipsoid, circular_scan, project

from NASAM3DLib.progress import Cancelled
from NASAM3DLib.reconstruct.iterative import IterationState, TotalVariationProblem
from NASAM3DLib.reconstruct.settings import Phase
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.projections import ProjectionSet

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from NASAM3DLib.reconstruct import device as device_module  # noqa: E402
from NASAM3DLib.reconstruct.device import (  # noqa: E402
    RepeatedStep,
    choose_solver_device,
    describe_device,
    has_triton,
)
from NASAM3DLib.reconstruct.iterative_torch import TorchTotalVariationProblem  # noqa: E402
from NASAM3DLib.reconstruct.total_variation import TotalVariationProx  # noqa: E402
from NASAM3DLib.reconstruct.total_variation_torch import TorchTotalVariationProx  # noqa: E402

GRID = VolumeGrid.centred((14, 20, 22), 6.0)
BODIES = [
    Ellipsoid(0.02, (50.0, 40.0, 35.0), (0.0, 0.0, 0.0)),
    Ellipsoid(0.01, (15.0, 15.0, 15.0), (15.0, 10.0, 5.0)),
]
PHASES = (Phase(2, 2), Phase(4, 1))
AGREEMENT = 1e-3
"""Of the largest attenuation: the CPU keeps the dual of total variation in 16 bits."""


@pytest.fixture(scope="module")
def scan() -> ProjectionSet:
    geometry = circular_scan(8, detector=(24, 32), pixel_mm=7.0)
    return ProjectionSet(project(BODIES, geometry), geometry)


def n_steps(scan: ProjectionSet) -> int:
    """Count the steps of all phases."""
    n = scan.n_views
    return sum(round(n / phase.views_per_subset) * phase.sweeps(n) for phase in PHASES)


@pytest.fixture(scope="module")
def expected(scan) -> np.ndarray:
    return TotalVariationProblem(scan, GRID).solve(1e-3, PHASES)


def test_constants_are_the_cpu_solvers(scan):
    ours, reference = (
        TorchTotalVariationProblem(scan, GRID, "cpu"),
        TotalVariationProblem(scan, GRID),
    )
    assert ours.lipschitz == pytest.approx(reference.lipschitz, rel=1e-5)
    assert ours.mean_attenuation == pytest.approx(reference.mean_attenuation, rel=1e-5)


def test_volume_is_the_cpu_solvers(scan, expected):
    found = TorchTotalVariationProblem(scan, GRID, "cpu").solve(1e-3, PHASES)
    assert found.shape == GRID.shape_kji
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=AGREEMENT * expected.max())


def test_proximal_step_is_the_cpus():
    image = np.random.default_rng(0).random((9, 10, 11), dtype=np.float32)
    ours, reference = TorchTotalVariationProx(image.shape, "cpu"), TotalVariationProx(image.shape)
    for weight in (0.1, 0.05, 0.0):
        found = ours.apply(torch.from_numpy(image), weight).numpy()
        expected = reference.apply(image, weight)
        np.testing.assert_allclose(found, expected, atol=AGREEMENT)
    with pytest.raises(ValueError, match="must not be negative"):
        ours.apply(torch.from_numpy(image), -1.0)


def test_progress_never_runs_backwards_and_cancelling_stops(scan):
    problem = TorchTotalVariationProblem(scan, GRID, "cpu")
    seen: list[float] = []
    problem.solve(1e-3, PHASES, progress=lambda stage, fraction: seen.append(fraction))
    assert seen == sorted(seen)
    assert seen[0] == 0.0
    assert seen[-1] == 1.0
    assert len(seen) == n_steps(scan) + 1

    def cancel(stage: str, fraction: float) -> None:
        if fraction > 0.3:
            raise Cancelled

    with pytest.raises(Cancelled):
        problem.solve(1e-3, PHASES, progress=cancel)


def test_a_cancelled_run_goes_on_where_it_was_and_on_the_cpu_too(scan, expected):
    problem = TorchTotalVariationProblem(scan, GRID, "cpu")
    state = IterationState.starting(GRID)

    def cancel(stage: str, fraction: float) -> None:
        if fraction > 0.25:
            raise Cancelled

    with pytest.raises(Cancelled):
        problem.solve(1e-3, PHASES, state=state, progress=cancel)
    assert state.is_whole
    assert state.n_steps == math.floor(0.25 * n_steps(scan)) + 1
    other = IterationState(
        state.volume.copy(), state.ahead.copy(), state.dual.copy(), state.momentum, state.n_steps
    )
    tolerance = AGREEMENT * expected.max()
    resumed = problem.solve(1e-3, PHASES, state=state)
    np.testing.assert_allclose(resumed, expected, atol=tolerance)
    assert state.n_steps == n_steps(scan)
    on_cpu = TotalVariationProblem(scan, GRID).solve(1e-3, PHASES, state=other)
    np.testing.assert_allclose(on_cpu, expected, atol=tolerance)


def test_steps_are_handed_over_at_the_end_at_least(scan, monkeypatch):
    problem = TorchTotalVariationProblem(scan, GRID, "cpu")
    seen: list[int] = []
    problem.solve(1e-3, PHASES, on_step=lambda state: seen.append(state.n_steps))
    assert seen[-1] == n_steps(scan)
    monkeypatch.setattr("NASAM3DLib.reconstruct.iterative_torch.HAND_OVER_S", -1.0)
    seen.clear()
    problem.solve(1e-3, PHASES, on_step=lambda state: seen.append(state.n_steps))
    assert seen == [*range(1, n_steps(scan) + 1), n_steps(scan)]


def test_a_grid_beside_the_beam_and_empty_projections_are_refused(scan):
    aside = VolumeGrid.centred((8, 8, 8), 1.0, centre_ras=(0, 0, 9000.0))
    with pytest.raises(ValueError, match="No ray crosses the volume"):
        TorchTotalVariationProblem(scan, aside, "cpu")
    nothing = ProjectionSet(np.zeros_like(scan.projections), scan.geometry)
    with pytest.raises(ValueError, match="hold no attenuating object"):
        TorchTotalVariationProblem(nothing, GRID, "cpu")


def test_a_repeated_step_on_the_cpu_is_called_plainly():
    calls: list[int] = []
    step = RepeatedStep(lambda: calls.append(1), "cpu")
    for _ in range(3):
        step()
    assert len(calls) == 3
    assert not step.recorded


class FakeGraph:
    """Stands in for CUDA: recording runs the step without effect, replaying counts."""

    replayed = 0

    def replay(self) -> None:
        FakeGraph.replayed += 1


@pytest.mark.parametrize("fails", [False, True], ids=["recorded", "refused"])
def test_a_repeated_step_is_recorded_once_or_called_on(monkeypatch, caplog, fails):
    calls: list[str] = []

    class Recording:
        def __init__(self, graph: FakeGraph) -> None:
            if fails:
                raise RuntimeError("operation not permitted when stream is capturing")

        def __enter__(self) -> None:
            calls.append("recording")

        def __exit__(self, *details: object) -> None:
            pass

    monkeypatch.setattr(torch.cuda, "CUDAGraph", FakeGraph)
    monkeypatch.setattr(torch.cuda, "graph", Recording)
    monkeypatch.setattr(FakeGraph, "replayed", 0)
    step = RepeatedStep(lambda: calls.append("step"), "cuda")
    monkeypatch.setattr(step, "_warm_up", lambda: calls.append("first"))
    with caplog.at_level(logging.WARNING, logger=device_module.__name__):
        for _ in range(4):
            step()
    assert step.recorded is not fails
    if fails:
        assert calls == ["first", "step", "step", "step"]
        assert caplog.text.count("No CUDA graph") == 1
    else:
        assert calls == ["first", "recording", "step"]
        assert FakeGraph.replayed == 3


def test_devices_are_chosen_and_described(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_solver_device("auto") == "cpu"
    assert describe_device("cpu") == "Everything runs on the CPU."
    with pytest.raises(RuntimeError, match="torch finds no CUDA device"):
        choose_solver_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(device_module, "may_have_gpu", lambda: True)
    assert choose_solver_device("auto") == "cuda"
    assert choose_solver_device("cpu") == "cpu"
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (6 * 2**30, 8 * 2**30))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "Test GPU")
    assert "on the Test GPU, with 6.0 of 8.0 GiB" in describe_device("cuda")


def test_without_torch_the_solver_stays_on_the_cpu(monkeypatch):
    def missing(name: str) -> str:
        raise device_module.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(device_module.metadata, "version", missing)
    monkeypatch.setattr(device_module, "find_spec", lambda name: None)
    assert choose_solver_device("auto") == "cpu"
    assert not has_triton("cuda")


def test_a_gpu_is_looked_for_only_where_there_may_be_one(monkeypatch, tmp_path):
    driver = tmp_path / "nvidiactl"
    monkeypatch.setattr(device_module, "DRIVER_FILES", (str(driver),))
    monkeypatch.setattr(device_module.sys, "platform", "linux")
    monkeypatch.setattr(device_module.metadata, "version", lambda name: "2.13.0")
    assert not device_module.may_have_gpu()
    driver.touch()
    assert device_module.may_have_gpu()
    monkeypatch.setattr(device_module.metadata, "version", lambda name: "2.13.0+cpu")
    assert not device_module.may_have_gpu()


@pytest.mark.gpu
def test_the_gpu_gives_the_cpus_volume(scan, expected):
    problem = TorchTotalVariationProblem(scan, GRID, "cuda")
    found = problem.solve(1e-3, PHASES)
    np.testing.assert_allclose(found, expected, atol=AGREEMENT * expected.max())


@pytest.mark.gpu
def test_a_recorded_sweep_changes_nothing(scan, monkeypatch):
    phases = (Phase(4, 5),)
    recorded = TorchTotalVariationProblem(scan, GRID, "cuda").solve(1e-3, phases)
    monkeypatch.setattr(RepeatedStep, "_record", lambda self: None)
    plain = TorchTotalVariationProblem(scan, GRID, "cuda").solve(1e-3, phases)
    np.testing.assert_array_equal(recorded, plain)
