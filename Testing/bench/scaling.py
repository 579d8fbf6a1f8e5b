"""Measure the cost of a reconstruction as a function of voxels, views and pixels.

python Testing/bench/scaling.py            print the table; about two minutes
python Testing/bench/scaling.py --write    also into docs/scaling.md with its picture
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import NASAM3DLib  # noqa: E402

FIELD_OF_VIEW_MM, DETECTOR_MM = 246.0, 512.0
RADIUS_MM = 90.0
REPEATS = 3
TICKS_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


@dataclass(frozen=True)
class Size:
    """Voxels along each side, views, and pixels along each side of the detector."""

    voxels: int = 128
    views: int = 50
    pixels: int = 256


AXES = {
    "voxels": (32, 48, 64, 96, 128, 192, 256),
    "views": (10, 20, 50, 100, 200),
    "pixels": (64, 128, 256, 512),
}
UNITS = {
    "voxels": "voxels along each side",
    "views": "views",
    "pixels": "pixels along each side",
}
CURVES = {
    "pair_s": "projector pair",
    "sweep_s": "sweep over all views",
    "peak_mib": "peak memory of the process",
}


def measure(size: Size) -> dict[str, float]:
    """Measure one size in this process, which must be a fresh one for its memory to count."""
    import resource

    from NASAM3DLib.reconstruct.iterative import TotalVariationProblem
    from NASAM3DLib.reconstruct.operator_scale import OperatorScale
    from NASAM3DLib.reconstruct.projector import Projector
    from NASAM3DLib.reconstruct.settings import PHASES, Phase
    from NASAM3DLib.scan.geometry import ConeBeamGeometry
    from NASAM3DLib.scan.grid import VolumeGrid
    from NASAM3DLib.scan.orbit import CircularOrbit
    from NASAM3DLib.scan.projections import ProjectionSet

    angles = np.arange(size.views) * 2 * np.pi / size.views
    spacing = (DETECTOR_MM / size.pixels,) * 2
    geometry = ConeBeamGeometry.circular(
        CircularOrbit(angles, spacing, 1000.0, 1500.0), (size.pixels,) * 2
    )
    grid = VolumeGrid.centred((size.voxels,) * 3, FIELD_OF_VIEW_MM / size.voxels)
    axis = (np.arange(size.voxels) - (size.voxels - 1) / 2) * FIELD_OF_VIEW_MM / size.voxels
    squared = (axis**2).astype(np.float32)
    inside = squared[:, None, None] + squared[:, None] + squared < RADIUS_MM**2
    volume = np.asfortranarray(np.where(inside, np.float32(0.02), np.float32(0)))
    del inside
    projector = Projector(grid, geometry)
    projections = projector.forward(volume)

    def pair() -> None:
        projector.adjoint(projector.forward(volume))

    pair_s = shortest(pair)
    problem = TotalVariationProblem(
        ProjectionSet(projections, geometry), grid, OperatorScale(1e6, 0.02)
    )
    phases = (Phase(PHASES["standard"][0].views_per_subset, 1),)
    sweep_s = shortest(lambda: problem.solve(1e-4, phases))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Kilobytes on Linux, bytes on macOS.
    peak_mib = peak / (2**20 if sys.platform == "darwin" else 2**10)
    return {"pair_s": pair_s, "sweep_s": sweep_s, "peak_mib": peak_mib}


def shortest(work: Callable[[], object]) -> float:
    """Give the least CPU time of some repeats, s, the first not counted: it may compile."""
    times = []
    for _ in range(REPEATS + 1):
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    return min(times[1:])


def measure_apart(size: Size) -> dict[str, float]:
    """Measure one size in a process of its own."""
    command = [sys.executable, __file__, "--one", json.dumps(vars(size))]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def exponent(sizes: list[int], values: list[float]) -> float:
    """Give the power with which a cost grows over the larger half of the sizes."""
    half = len(sizes) // 2
    return float(np.polyfit(np.log(sizes[half:]), np.log(values[half:]), 1)[0])


def draw(results: dict[Size, dict[str, float]], path: Path) -> None:
    """Plot the three series, each with time and memory."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(13, 4.2), layout="constrained")
    for plot, (name, values) in zip(axes, AXES.items(), strict=True):
        rows = [results[replace(Size(), **{name: value})] for value in values]
        for key, colour in (("pair_s", "tab:blue"), ("sweep_s", "tab:orange")):
            costs = [row[key] for row in rows]
            power = exponent(list(values), costs)
            label = f"{CURVES[key]}, power {power:.1f}"
            plot.loglog(values, costs, "o-", color=colour, label=label)
        plot.set_xlabel(UNITS[name])
        plot.set_xticks(values, [str(value) for value in values])
        plot.set_ylim(0.08, 6.0)
        plot.set_yticks(TICKS_S, [f"{tick:g}" for tick in TICKS_S])
        plot.minorticks_off()
        plot.set_ylabel("CPU time, s")
        plot.grid(visible=True, alpha=0.3)
        memory = plot.twinx()
        memory.plot(
            values, [row["peak_mib"] for row in rows], "s--", color="tab:grey", label="peak memory"
        )
        memory.set_ylabel("peak memory, MiB", color="tab:grey")
        memory.set_ylim(0)
        lines = [*plot.get_lines(), *memory.get_lines()]
        plot.legend(lines, [str(line.get_label()) for line in lines], loc="upper left", fontsize=8)
        fixed = [f"{getattr(Size(), key)} {key}" for key in AXES if key != name]
        plot.set_title(", ".join(fixed).replace("voxels", "voxels a side"), fontsize=10)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def table_of(results: dict[Size, dict[str, float]]) -> str:
    """List the figures."""
    names = ["voxels", "views", "pixels", "pair, CPU s", "sweep, CPU s", "peak memory, MiB"]
    rows = [
        [
            f"{size.voxels}³",
            str(size.views),
            f"{size.pixels}²",
            f"{row['pair_s']:.2f}",
            f"{row['sweep_s']:.2f}",
            f"{row['peak_mib']:.0f}",
        ]
        for size, row in results.items()
    ]
    head = "| " + " | ".join(names) + " |\n|" + "---:|" * len(names)
    return head + "\n" + "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def main() -> None:
    """Measure every size and show it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(Size(**json.loads(arguments.one)))))
        return
    results: dict[Size, dict[str, float]] = {}
    for name, values in AXES.items():
        for value in values:
            size = replace(Size(), **{name: value})
            if size not in results:
                results[size] = measure_apart(size)
                print(size, results[size], file=sys.stderr)
    table = table_of(results)
    print(table)
    if arguments.write:
        draw(results, ROOT / "docs" / "pictures" / "scaling.png")
        (ROOT / "docs" / "scaling.md").write_text(document(table), encoding="utf-8")


def document(table: str) -> str:
    """Put the table under its explanation."""
    today = datetime.datetime.now(tz=datetime.UTC).date()
    return f"""# What a reconstruction costs

`python Testing/bench/scaling.py --write` measures this page anew. NASAM3D {NASAM3DLib.__version__},
{today}, {os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}.

A ball of {RADIUS_MM:.0f} mm radius in {FIELD_OF_VIEW_MM:.0f} mm of voxels is seen by a detector of
{DETECTOR_MM:.0f} mm. Each size runs in a process of its own. A *pair* is one projection and one
back-projection of all views; a *sweep* of the standard preset takes a gradient and a proximal step
for every five views. Times are CPU seconds summed over the cores, the least of {REPEATS} runs.
Memory is that of the whole process with Python and its libraries.

![Cost against voxels, views and pixels](pictures/scaling.png)

{table}"""


if __name__ == "__main__":
    main()
