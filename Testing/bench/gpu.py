"""Measure the GPU path beside the CPU path and print a Markdown table.

python Testing/bench/gpu.py                          256 voxels a side, 50 views of 512 x 512
python Testing/bench/gpu.py --size 24 --device cpu   proof that the script runs, without a GPU
python Testing/bench/gpu.py --write                  also into docs/gpu.md, below its last heading

Seconds are wall time after a warm-up, the GPU waited for, least of several runs.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

from NASAM3DLib.evaluate.tables import Cell, Column, Table  # noqa: E402
from NASAM3DLib.phantom.anatomy import make_phantom, phantom_grid  # noqa: E402
from NASAM3DLib.reconstruct.device import (  # noqa: E402
    choose_device,
    describe_device,
    is_interpreted,
)
from NASAM3DLib.reconstruct.fit import FitSettings, fit_field  # noqa: E402
from NASAM3DLib.reconstruct.iterative import TotalVariationProblem  # noqa: E402
from NASAM3DLib.reconstruct.iterative_torch import TorchTotalVariationProblem  # noqa: E402
from NASAM3DLib.reconstruct.naf import NafSettings  # noqa: E402
from NASAM3DLib.reconstruct.naf_fit import fit_naf  # noqa: E402
from NASAM3DLib.reconstruct.projector import Projector  # noqa: E402
from NASAM3DLib.reconstruct.projector_torch import TorchProjector  # noqa: E402
from NASAM3DLib.reconstruct.settings import FIELD_STEPS, PHASES  # noqa: E402
from NASAM3DLib.reconstruct.total_variation import TotalVariationProx  # noqa: E402
from NASAM3DLib.reconstruct.total_variation_torch import TorchTotalVariationProx  # noqa: E402
from NASAM3DLib.reconstruct.volume import Volume  # noqa: E402
from NASAM3DLib.scan.geometry import ConeBeamGeometry  # noqa: E402
from NASAM3DLib.scan.orbit import CircularOrbit  # noqa: E402
from NASAM3DLib.scan.projections import ProjectionSet  # noqa: E402

ROOT = HERE.parents[1]
DOCUMENT = ROOT / "docs" / "gpu.md"
HEADING = "## Measured"
STRENGTH = 1e-4


@dataclass(frozen=True)
class Scan:
    """A generated body, its projections and the device to measure."""

    truth: Volume
    projection_set: ProjectionSet
    device: str
    repeats: int


def make_scan(size: int, device: str, repeats: int) -> Scan:
    """Project a generated pelvis into 50 views with two pixels for each voxel of a side."""
    phantom = make_phantom(0, phantom_grid(size)).volume
    grid = phantom.grid
    side = float(grid.spacing_mm[0]) * size
    orbit = CircularOrbit(
        np.arange(50) * 2 * np.pi / 50,
        (side * 1.56 / (2 * size),) * 2,
        4.0 * side,
        6.0 * side,
        isocenter_ras=tuple(float(c) for c in grid.centre_ras),
    )
    geometry = ConeBeamGeometry.circular(orbit, (2 * size, 2 * size))
    projections = Projector(grid, geometry).forward(phantom.array)
    return Scan(phantom, ProjectionSet(projections, geometry), device, repeats)


def seconds(work: Callable[[], object], scan: Scan, *, on_device: bool) -> float:
    """Run once to warm up, then give the least time of several runs."""
    least = float("inf")
    for number in range(scan.repeats + 1):
        begin = time.perf_counter()
        work()
        if on_device and scan.device == "cuda":
            torch.cuda.synchronize()
        if number:
            least = min(least, time.perf_counter() - begin)
    return least


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Give the largest difference in percent of the largest value."""
    return 100 * float(np.abs(found - expected).max() / np.abs(expected).max())


def row(
    name: str,
    gpu: float,
    cpu: float | None = None,
    *,
    target: float | None = None,
    error: float | None = None,
) -> tuple[Cell, ...]:
    """Lay out a row."""
    return name, gpu, target, cpu, None if cpu is None else cpu / gpu, error


def projector_row(scan: Scan) -> tuple[Cell, ...]:
    """Measure A and its adjoint together."""
    grid, geometry = scan.truth.grid, scan.projection_set.geometry
    ours, reference = TorchProjector(grid, geometry, scan.device), Projector(grid, geometry)
    # In the memory order of the kernels, as the solver keeps it.
    volume = torch.from_numpy(scan.truth.array.copy(order="F")).to(scan.device)
    back = ours.adjoint(ours.forward(volume)).cpu().numpy()
    expected = reference.adjoint(reference.forward(scan.truth.array))
    return row(
        f"A + A^T, {ours.kernels}",
        seconds(lambda: ours.adjoint(ours.forward(volume)), scan, on_device=True),
        seconds(
            lambda: reference.adjoint(reference.forward(scan.truth.array)), scan, on_device=False
        ),
        target=0.03,
        error=difference(back, expected),
    )


def prox_row(scan: Scan) -> tuple[Cell, ...]:
    """Measure a proximal step of total variation with six inner iterations."""
    image = np.ascontiguousarray(scan.truth.array)
    weight = 0.05 * float(image.max())
    ours = TorchTotalVariationProx(image.shape, scan.device)
    reference = TotalVariationProx(image.shape)
    tensor = torch.from_numpy(image).to(scan.device)
    error = difference(ours.apply(tensor, weight).cpu().numpy(), reference.apply(image, weight))
    return row(
        "TV prox, 6 iterations",
        seconds(lambda: ours.apply(tensor, weight), scan, on_device=True),
        seconds(lambda: reference.apply(image, weight), scan, on_device=False),
        error=error,
    )


def volume_row(scan: Scan) -> tuple[tuple[Cell, ...], Volume]:
    """Measure a whole total-variation volume, its set-up included."""
    grid, phases = scan.truth.grid, PHASES["standard"]

    def on_gpu() -> np.ndarray:
        problem = TorchTotalVariationProblem(scan.projection_set, grid, scan.device)
        return problem.solve(STRENGTH, phases)

    def on_cpu() -> np.ndarray:
        return TotalVariationProblem(scan.projection_set, grid).solve(STRENGTH, phases)

    once = Scan(scan.truth, scan.projection_set, scan.device, 1)
    found, expected = on_gpu(), on_cpu()
    measured = row(
        "total variation, standard",
        seconds(on_gpu, once, on_device=True),
        seconds(on_cpu, once, on_device=False),
        target=1.5,
        error=difference(found, expected),
    )
    return measured, Volume(np.ascontiguousarray(found), grid)


def field_row(scan: Scan, base: Volume) -> tuple[Cell, ...]:
    """Measure the attenuation field on that volume; random steps have no CPU counterpart."""
    settings = FitSettings(FIELD_STEPS["best"], 0, scan.device)
    once = Scan(scan.truth, scan.projection_set, scan.device, 1)
    spent = seconds(lambda: fit_field(scan.projection_set, base, settings), once, on_device=True)
    return row(f"attenuation field, {settings.n_steps} steps", spent, target=10.0)


def naf_row(scan: Scan, n_epochs: int) -> tuple[Cell, ...]:
    """Measure the published NAF for a few epochs and scale the time to all of its training."""
    settings = NafSettings.published(device=scan.device)
    short = settings.shortened(n_epochs)
    begin = time.perf_counter()
    fit_naf(scan.projection_set, scan.truth.grid, short)
    spent = time.perf_counter() - begin
    name = f"published NAF, {n_epochs} of {settings.n_epochs} epochs"
    return row(name, spent)


def tigre_rows(scan: Scan) -> list[tuple[Cell, ...]]:
    """Measure TIGRE's projector and OS-SART where it is installed."""
    if find_spec("tigre") is None:
        return []
    from NASAM3DLib.reconstruct.tigre import os_sart_with_tigre, project_with_tigre

    geometry, grid = scan.projection_set.geometry, scan.truth.grid
    found = project_with_tigre(scan.truth, geometry).projections
    error = found - scan.projection_set.projections
    rms = 100 * float(np.sqrt(np.mean(error**2)) / scan.projection_set.projections.max())
    once = Scan(scan.truth, scan.projection_set, scan.device, 1)
    return [
        row(
            "TIGRE, A from host memory; difference is rms",
            seconds(lambda: project_with_tigre(scan.truth, geometry), scan, on_device=True),
            error=rms,
        ),
        row(
            "TIGRE, OS-SART, 50 iterations",
            seconds(lambda: os_sart_with_tigre(scan.projection_set, grid), once, on_device=True),
        ),
    ]


def where_and_when(device: str) -> str:
    """Name date, device, commit and versions."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    )
    name = torch.cuda.get_device_name() if device == "cuda" else f"CPU ({platform.machine()})"
    versions = [f"torch {torch.__version__}"]
    if find_spec("triton") is not None:
        interpreted = " (interpreter)" if is_interpreted() else ""
        versions.append(f"triton {metadata.version('triton')}{interpreted}")
    today = datetime.datetime.now(tz=datetime.UTC).date()
    return f"{today}, {name}, commit {commit.stdout.strip() or 'unknown'}, {', '.join(versions)}"


def measure(scan: Scan, n_epochs: int) -> Table:
    """Measure everything."""
    volume, base = volume_row(scan)
    rows = [projector_row(scan), prox_row(scan), volume, field_row(scan, base)]
    if n_epochs:
        rows.append(naf_row(scan, n_epochs))
    rows += tigre_rows(scan)
    size = scan.truth.grid.shape_kji[0]
    caption = f"{size}^3 voxels, 50 views of {2 * size} x {2 * size}: {where_and_when(scan.device)}"
    ours = "GPU" if scan.device == "cuda" else "torch on the CPU"
    columns = (
        Column("what"),
        Column(f"{ours} [s]", 4),
        Column("target [s]", 2),
        Column("CPU [s]", 3),
        Column(f"CPU / {ours}", 2),
        Column("largest difference [%]", 4),
    )
    return Table(columns, tuple(rows), caption)


def write(text: str) -> None:
    """Replace what stands below the last heading of the document."""
    document = DOCUMENT.read_text(encoding="utf-8")
    head, found, _ = document.partition(HEADING)
    if not found:
        raise SystemExit(f"{DOCUMENT} has no heading {HEADING!r}: nothing written.")
    DOCUMENT.write_text(f"{head}{HEADING}\n\n{text}\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", type=int, default=256, help="voxels along a side")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="cuda")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--naf-epochs", type=int, default=0, help="0 leaves NAF out")
    parser.add_argument("--write", action="store_true", help="also into docs/gpu.md")
    given = parser.parse_args()
    device = choose_device(given.device)
    if given.write and device != "cuda":
        parser.error("--write records figures of a GPU only")
    print(describe_device(device))
    table = measure(make_scan(given.size, device, given.repeats), given.naf_epochs).to_markdown()
    print(table)
    if given.write:
        write(table)


if __name__ == "__main__":
    main()
