"""Compiled kernels are kept on disk: the second start of a process compiles nothing."""

from __future__ import annotations

import json
import subprocess
import sys

from NASAM3DLib.worker.launch import worker_environment

SCRIPT = """
import json, sys
import numpy as np
from numba.core.dispatcher import Dispatcher
from NASAM3DLib.reconstruct import kernels_cpu, kernels_general, kernels_tv
from NASAM3DLib.reconstruct.iterative import TotalVariationProblem
from NASAM3DLib.reconstruct.projector import Projector
from NASAM3DLib.reconstruct.settings import Phase
from NASAM3DLib.scan.geometry import ConeBeamGeometry
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.orbit import CircularOrbit
from NASAM3DLib.scan.projections import ProjectionSet

orbit = CircularOrbit(np.linspace(0, 5, 4), (4.0, 4.0), 300.0, 500.0)
scan = ConeBeamGeometry.circular(orbit, (8, 8))
grid = VolumeGrid.centred((8, 8, 8), 3.0)
values = Projector(grid, scan, separable=False).forward(np.ones(grid.shape_kji))
Projector(grid, scan, separable=False).adjoint(values)
TotalVariationProblem(ProjectionSet(values, scan), grid).solve(1e-3, (Phase(2, 1),))
kernels = {
    name: kernel
    for module in (kernels_cpu, kernels_general, kernels_tv)
    for name, kernel in vars(module).items()
    if isinstance(kernel, Dispatcher)
}
json.dump(
    {
        "compiled": sorted(n for n, k in kernels.items() if sum(k.stats.cache_misses.values())),
        "loaded": sorted(n for n, k in kernels.items() if sum(k.stats.cache_hits.values())),
    },
    sys.stdout,
)
"""


def kernels_used() -> dict[str, list[str]]:
    """Start a process that uses the kernels and tell which of them it compiled and loaded."""
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(
        command, env=worker_environment(), capture_output=True, text=True, check=True
    )
    return dict(json.loads(done.stdout))


def test_a_second_process_compiles_nothing() -> None:
    used = kernels_used()
    if used["compiled"]:
        # Nobody ran these kernels on this computer before.
        used = kernels_used()
    assert used["compiled"] == []
    assert {"forward_separable", "adjoint_separable", "forward_general", "adjoint_general"} <= set(
        used["loaded"]
    )
    assert {"dual_step", "primal_and_ahead", "descend"} <= set(used["loaded"])
