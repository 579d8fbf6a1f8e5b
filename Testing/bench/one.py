"""Run one method on one case in a process of its own, and measure it.

python Testing/bench/one.py FOLDER METHOD    reads the case from FOLDER and leaves METHOD.npy there
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402
from bodies import PEAK  # noqa: E402
from rtk_peer import RtkPeer  # noqa: E402

from NASAM3DLib.scan.grid import VolumeGrid  # noqa: E402
from NASAM3DLib.scan.io import load_projections, save_projections  # noqa: E402
from NASAM3DLib.scan.projections import ProjectionSet  # noqa: E402

Float32Array = npt.NDArray[np.float32]
Work = Callable[[ProjectionSet, VolumeGrid], Float32Array]

WARM_UP_VOXELS, WARM_UP_STEP = 32, 5
SCAN, GRID = "scan.npz", "grid.json"


def ours(**settings: object) -> Work:
    """Give a run of the pipeline."""

    def work(projection_set: ProjectionSet, grid: VolumeGrid) -> Float32Array:
        from NASAM3DLib.pipeline import reconstruct
        from NASAM3DLib.reconstruct.settings import ReconstructionSettings

        made = ReconstructionSettings(**settings, device="cpu")  # type: ignore[arg-type]
        return reconstruct(projection_set, grid, made).volume.array

    return work


def peers(run: Callable[[RtkPeer], Float32Array]) -> Work:
    """Give a run of itk-rtk, cut to the CT's range: SART blows noise up in corners of the cube."""

    def work(projection_set: ProjectionSet, grid: VolumeGrid) -> Float32Array:
        return np.clip(run(RtkPeer(projection_set, grid)), 0, PEAK)

    return work


METHODS: dict[str, tuple[str, Work]] = {
    "rtk-fdk": ("itk-rtk, FDK, Hann", peers(lambda peer: peer.fdk())),
    "rtk-sart": ("itk-rtk, SART, 3 iterations", peers(lambda peer: peer.sart())),
    "rtk-cg": (
        "itk-rtk, conjugate gradient, 10 iterations",
        peers(lambda peer: peer.conjugate_gradient()),
    ),
    "fdk": ("ours, FDK, Hann", ours(method="fdk")),
    "preview": ("ours, preview", ours(quality="preview")),
    "standard": ("ours, standard", ours(quality="standard")),
    "best": ("ours, best", ours(quality="best")),
    "field": ("ours, attenuation field on standard", ours(method="field", quality="standard")),
    "field-best": ("ours, attenuation field on best", ours(method="field", quality="best")),
}


def write_case(projection_set: ProjectionSet, grid: VolumeGrid, folder: Path) -> None:
    """Write what a method gets."""
    save_projections(projection_set, folder / SCAN)
    fields = {"shape_kji": grid.shape_kji, "ijk_to_ras": np.array(grid.ijk_to_ras).tolist()}
    (folder / GRID).write_text(json.dumps(fields), encoding="utf-8")


def memory_mib(name: str) -> float:
    """Give the memory of this process now (VmRSS) or at most (VmHWM)."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return float(lines[name].split()[0]) / 2**10
    import resource

    # macOS knows the largest only, in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def forget_peak() -> None:
    """Let the peak of memory begin anew, where Linux offers that."""
    switch = Path("/proc/self/clear_refs")
    if switch.exists():
        switch.write_text("5")


def main() -> None:
    """Warm up on a small scan, so that no compilation counts, and measure the run."""
    folder, (_, work) = Path(sys.argv[1]), METHODS[sys.argv[2]]
    projection_set = load_projections(folder / SCAN)
    fields = json.loads((folder / GRID).read_text(encoding="utf-8"))
    grid = VolumeGrid(tuple(fields["shape_kji"]), np.array(fields["ijk_to_ras"]))
    few = projection_set.select(np.arange(0, projection_set.n_views, WARM_UP_STEP))
    work(few, grid.resampled((WARM_UP_VOXELS,) * 3))
    forget_peak()
    loaded, begin = memory_mib("VmRSS"), time.process_time()
    array = work(projection_set, grid)
    seconds = time.process_time() - begin
    peak = memory_mib("VmHWM")
    np.save(folder / f"{sys.argv[2]}.npy", array)
    print(json.dumps({"cpu_s": seconds, "peak_mib": peak, "loaded_mib": loaded}))


if __name__ == "__main__":
    main()
