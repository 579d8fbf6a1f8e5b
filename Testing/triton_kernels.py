"""What test_kernels_cuda.py runs in a process of its own: Triton reads its environment once.

triton_kernels.py interpret    compare the kernels, run by Triton's interpreter, with numba's
triton_kernels.py compile      compile them for NVIDIA GPUs, for which none is needed

Prints one JSON object.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

from analytic_objects import circular_scan  # noqa: E402

from NASAM3DLib.reconstruct.projector import Projector  # noqa: E402
from NASAM3DLib.reconstruct.total_variation import TotalVariationProx  # noqa: E402
from NASAM3DLib.scan.geometry import ConeBeamGeometry  # noqa: E402
from NASAM3DLib.scan.grid import VolumeGrid  # noqa: E402

GRID = VolumeGrid.centred((12, 14, 16), (7.0, 6.5, 6.0))
SMALL = {"detector": (18, 22), "pixel_mm": 7.0}
CAPABILITIES = (75, 90)


def scans() -> dict[str, ConeBeamGeometry]:
    """List scans whose detector rows run along k."""
    offset = circular_scan(4, detector_offset_mm=(7.0, -21.0), **SMALL)
    return {
        "cone": circular_scan(4, **SMALL),
        "offset detector": offset,
        "shifted centre": circular_scan(4, rotation_centre_shift_mm=5.0, **SMALL),
        "parallel": circular_scan(4, parallel=True, **SMALL),
        "rows running down": ConeBeamGeometry(
            offset.sources_ras,
            offset.detector_centres_ras,
            offset.detector_u_ras,
            -offset.detector_v_ras,
            offset.detector_shape,
        ),
        "detector inside the grid": near_scan(150.0, 160.0),
    }


def near_scan(near_mm: float, far_mm: float) -> ConeBeamGeometry:
    """Make a scan with the source or the detector close to the object."""
    from NASAM3DLib.scan.orbit import CircularOrbit

    orbit = CircularOrbit(np.arange(4) * 0.7, (3.0, 3.0), near_mm, far_mm)
    return ConeBeamGeometry.circular(orbit, (16, 24))


def interpret() -> dict[str, dict[str, float | str]]:
    """Compare projector and total variation with numba's."""
    import torch

    from NASAM3DLib.reconstruct.projector_torch import TorchProjector
    from NASAM3DLib.reconstruct.total_variation_torch import TorchTotalVariationProx

    torch.set_num_threads(1)
    random = np.random.default_rng(0)
    results: dict[str, dict[str, float | str]] = {}
    for name, scan in scans().items():
        ours, reference = TorchProjector(GRID, scan), Projector(GRID, scan)
        x = random.random(GRID.shape_kji, dtype=np.float32)
        y = random.random(scan.projections_shape, dtype=np.float32)
        forward = ours.forward(torch.from_numpy(x)).numpy()
        back = ours.adjoint(torch.from_numpy(y)).numpy()
        left, right = np.vdot(forward.astype(float), y), np.vdot(x.astype(float), back)
        results[name] = {
            "kernels": ours.kernels,
            "forward": difference(forward, reference.forward(x)),
            "adjoint": difference(back, reference.adjoint(y)),
            "transpose": float(abs(left - right) / left),
        }
    inside = TorchProjector(GRID, near_scan(20.0, 90.0))
    results["source inside the grid"] = {"kernels": inside.kernels}
    image = random.random((12, 13, 15), dtype=np.float32)
    ours, numbas = TorchTotalVariationProx(image.shape, "cpu"), TotalVariationProx(image.shape)
    dual = np.zeros((3, *image.shape))
    # Twice: the dual is kept from call to call.
    for call, weight in (("first call", 0.1), ("second call", 0.15)):
        denoised = ours.apply(torch.from_numpy(image), weight, n_iterations=5).numpy()
        results[f"total variation, {call}"] = {
            "exact": difference(denoised, denoise(image, weight, 5, dual)),
            "numba": difference(denoised, numbas.apply(image, weight, n_iterations=5)),
        }
    return results


def denoise(b: np.ndarray, weight: float, n_iterations: int, dual: np.ndarray) -> np.ndarray:
    """Run Beck and Teboulle's FGP in double precision, from a dual that is changed in place."""
    ahead, momentum = dual.copy(), 1.0
    for _ in range(n_iterations):
        larger = (1 + np.sqrt(1 + 4 * momentum * momentum)) / 2
        x = primal(b, weight, ahead)
        for axis in range(3):
            steps = np.diff(x, axis=axis, append=np.take(x, [-1], axis=axis))
            ahead[axis] -= steps / (12 * weight)
        following = ahead / np.maximum(1, np.sqrt((ahead * ahead).sum(axis=0)))
        ahead = following + (momentum - 1) / larger * (following - dual)
        dual[...] = following
        momentum = larger
    return primal(b, weight, dual)


def primal(b: np.ndarray, weight: float, dual: np.ndarray) -> np.ndarray:
    """Compute max(b - w D^T dual, 0)."""
    total = np.zeros_like(dual[0])
    for axis in range(3):
        before = np.zeros_like(np.take(dual[axis], [0], axis=axis))
        total += np.diff(dual[axis], axis=axis, prepend=before)
    return np.maximum(b - weight * total, 0)


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Give the largest difference over the largest value."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def compile_all() -> dict[str, dict[str, int]]:
    """Compile every kernel down to machine code; count its loads and its atomic operations."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    from NASAM3DLib.reconstruct import kernels_cuda as kernels

    line = {"margin": kernels.MARGIN, "block_pairs": kernels.PAIRS, "block_k": kernels.LINE}
    blocks = {
        kernels._forward: {"block_sheets": kernels.SHEETS, "block_rows": kernels.ROWS},
        kernels._adjoint: line,
        kernels._dual_step: {"block": kernels.VOXELS},
        kernels._primal: {"block": kernels.VOXELS},
    }
    results = {}
    for kernel, constants in blocks.items():
        # A size of one, as of a volume with a single plane, reaches the compiler as a constant.
        for flat in ({}, {name: 1 for name in kernel.arg_names if name.startswith("n_")}):
            known = {**constants, **flat}
            signature = {name: kind_of(name, known) for name in kernel.arg_names}
            for capability in CAPABILITIES if not flat else CAPABILITIES[-1:]:
                source = ASTSource(kernel, signature, constexprs=known)
                made = compile(source, target=GPUTarget("cuda", capability, 32))
                text = made.asm["ptx"]
                name = f"{kernel.__name__}, sm_{capability}{', sizes of one' if flat else ''}"
                atomics = text.count("atom.") + text.count("red.global")
                results[name] = {
                    "machine code": len(made.asm["cubin"]),
                    "loads": text.count("ld.global"),
                    "atomics": atomics,
                }
    return results


def kind_of(name: str, known: dict[str, object]) -> str:
    """Give the compiler's type of a kernel's argument."""
    if name in known:
        return "constexpr"
    if name in ("weight", "step", "beta"):
        return "fp32"
    if name == "spans":
        return "*i32"
    return "i32" if name.startswith("n_") else "*fp32"


if __name__ == "__main__":
    if sys.argv[1] == "interpret":
        os.environ["TRITON_INTERPRET"] = "1"
    else:
        os.environ.pop("TRITON_INTERPRET", None)
    json.dump(interpret() if sys.argv[1] == "interpret" else compile_all(), sys.stdout)
