"""The GPU kernels without a GPU: Triton's interpreter against numba, and the compiler."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

if find_spec("torch") is None or find_spec("triton") is None:
    pytest.skip("needs PyTorch and Triton", allow_module_level=True)

SCRIPT = Path(__file__).with_name("triton_kernels.py")
SCANS = (
    "cone",
    "offset detector",
    "shifted centre",
    "parallel",
    "rows running down",
    "detector inside the grid",
)
PROXES = ("total variation, first call", "total variation, second call")


def answer_of(verb: str, folder: Path) -> dict[str, dict[str, float | str]]:
    """Run the script in a process of its own with empty caches of compiled kernels."""
    environment = {**os.environ, "TRITON_CACHE_DIR": str(folder), "NUMBA_NUM_THREADS": "1"}
    environment.pop("TRITON_INTERPRET", None)
    done = subprocess.run(
        [sys.executable, str(SCRIPT), verb], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory):
    return answer_of("interpret", tmp_path_factory.mktemp("triton"))


@pytest.mark.parametrize("scan", SCANS)
def test_projector_is_numbas_to_a_hundred_thousandth(interpreted, scan):
    assert interpreted[scan]["kernels"] == "triton"
    assert interpreted[scan]["forward"] < 1e-5
    assert interpreted[scan]["adjoint"] < 1e-5


@pytest.mark.parametrize("scan", SCANS)
def test_adjoint_is_the_transpose(interpreted, scan):
    assert interpreted[scan]["transpose"] < 1e-5


@pytest.mark.parametrize("call", PROXES)
def test_total_variation_is_exact_to_a_millionth(interpreted, call):
    assert interpreted[call]["exact"] < 1e-6
    # The CPU kernels round more: approximate roots and quotients, a dual of 16 bits.
    assert interpreted[call]["numba"] < 1e-3


def test_a_source_inside_the_grid_is_left_to_plain_torch(interpreted):
    assert interpreted["source inside the grid"]["kernels"] == "torch"


def test_every_kernel_compiles_for_gpus_without_atomics(tmp_path):
    compiled = answer_of("compile", tmp_path)
    assert len(compiled) == 4 * (2 + 1)
    for name, facts in compiled.items():
        assert facts["machine code"] > 0, name
        assert facts["loads"] > 0, name
        assert facts["atomics"] == 0, name


@pytest.mark.gpu
def test_kernels_on_the_gpu_are_numbas():
    import torch
    from analytic_objects import circular_scan

    from NASAM3DLib.reconstruct.projector import Projector
    from NASAM3DLib.reconstruct.projector_torch import TorchProjector
    from NASAM3DLib.reconstruct.total_variation import TotalVariationProx
    from NASAM3DLib.reconstruct.total_variation_torch import TorchTotalVariationProx
    from NASAM3DLib.scan.grid import VolumeGrid

    grid = VolumeGrid.centred((40, 48, 56), (3.0, 2.5, 2.0))
    random = np.random.default_rng(0)
    for scan in (circular_scan(9), circular_scan(9, parallel=True)):
        ours, reference = TorchProjector(grid, scan, "cuda"), Projector(grid, scan)
        assert ours.kernels == "triton"
        x = random.random(grid.shape_kji, dtype=np.float32)
        y = random.random(scan.projections_shape, dtype=np.float32)
        expected = reference.forward(x)
        found = ours.forward(torch.from_numpy(x).cuda()).cpu().numpy()
        np.testing.assert_allclose(found, expected, atol=1e-5 * expected.max())
        expected = reference.adjoint(y)
        back = ours.adjoint(torch.from_numpy(y).cuda())
        np.testing.assert_allclose(back.cpu().numpy(), expected, atol=1e-5 * expected.max())
        assert torch.equal(back, ours.adjoint(torch.from_numpy(y).cuda()))
    image = random.random((40, 48, 56), dtype=np.float32)
    expected = TotalVariationProx(image.shape).apply(image, 0.1)
    prox = TorchTotalVariationProx(image.shape, "cuda")
    found = prox.apply(torch.from_numpy(image).cuda(), 0.1).cpu().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-3)
