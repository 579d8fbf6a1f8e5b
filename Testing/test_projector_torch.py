"""The torch projector: the numbers of the CPU kernels, exact gradients, any pose."""

from __future__ import annotations

import numpy as np
import pytest
from analytic_objects import circular_scan

from NASAM3DLib.reconstruct.projector import Projector
from NASAM3DLib.scan.geometry import ConeBeamGeometry
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.orbit import CircularOrbit

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from NASAM3DLib.reconstruct.projector_torch import TorchProjector  # noqa: E402

GRID = VolumeGrid.centred((14, 18, 20), (6.0, 6.5, 7.0))
SMALL = {"detector": (20, 26), "pixel_mm": 7.0}


def oblique_grid() -> VolumeGrid:
    """Turn the grid about R."""
    cosine, sine = np.cos(0.3), np.sin(0.3)
    affine = np.array(GRID.ijk_to_ras)
    affine[:3] = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]]) @ affine[:3]
    return VolumeGrid(GRID.shape_kji, affine)


def scan_from_inside() -> ConeBeamGeometry:
    """Put the source into the grid."""
    return ConeBeamGeometry.circular(
        CircularOrbit(np.arange(4) * 0.9, (4.0, 4.0), 30.0, 80.0), (12, 16)
    )


CASES = {
    "cone": (GRID, circular_scan(5, **SMALL)),
    "parallel": (GRID, circular_scan(5, parallel=True, **SMALL)),
    "tilted detector": (GRID, circular_scan(5, detector_tilt_rad=(0.05, 0.1, -0.07), **SMALL)),
    "tilted parallel": (
        GRID,
        circular_scan(4, parallel=True, detector_tilt_rad=(0.1, 0.0, 0.0), **SMALL),
    ),
    "oblique grid": (oblique_grid(), circular_scan(5, **SMALL)),
    "source inside": (GRID, scan_from_inside()),
}


def random_pair(grid: VolumeGrid, scan: ConeBeamGeometry) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    volume = random.random(grid.shape_kji, dtype=np.float32)
    return volume, random.random(scan.projections_shape, dtype=np.float32)


@pytest.mark.parametrize("case", CASES)
def test_numbers_are_those_of_the_cpu_kernels(case):
    grid, scan = CASES[case]
    ours, reference = TorchProjector(grid, scan, kernels="torch"), Projector(grid, scan)
    volume, projections = random_pair(grid, scan)
    expected = reference.forward(volume)
    found = ours.forward(torch.from_numpy(volume))
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5 * expected.max())
    expected = reference.adjoint(projections)
    found = ours.adjoint(torch.from_numpy(projections))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5 * expected.max())


@pytest.mark.parametrize("case", CASES)
def test_adjoint_is_the_transpose_in_double_precision(case):
    grid, scan = CASES[case]
    projector = TorchProjector(grid, scan, kernels="torch")
    volume, projections = (torch.from_numpy(a).double() for a in random_pair(grid, scan))
    left = (projector.forward(volume) * projections).sum()
    right = (volume * projector.adjoint(projections)).sum()
    assert abs(float(left - right)) < 1e-12 * float(left)


@pytest.mark.parametrize("parallel", [False, True], ids=["cone", "parallel"])
def test_gradients_are_exact_both_ways_and_twice(parallel):
    grid = VolumeGrid.centred((3, 4, 5), (5.0, 6.0, 7.0))
    scan = circular_scan(2, parallel=parallel, detector=(3, 4), pixel_mm=12.0)
    projector = TorchProjector(grid, scan, kernels="torch")
    generator = torch.Generator().manual_seed(0)
    volume = torch.rand(grid.shape_kji, dtype=torch.float64, generator=generator)
    projections = torch.rand(scan.projections_shape, dtype=torch.float64, generator=generator)
    volume.requires_grad_()
    projections.requires_grad_()
    assert torch.autograd.gradcheck(projector.forward, (volume,))
    assert torch.autograd.gradcheck(projector.adjoint, (projections,))
    assert torch.autograd.gradgradcheck(lambda x: projector.forward(x) ** 2, (volume,))


def test_gradient_of_the_data_term_is_the_back_projected_residual():
    grid, scan = CASES["cone"]
    projector = TorchProjector(grid, scan)
    values, measured = (torch.from_numpy(a) for a in random_pair(grid, scan))
    volume = values.clone().requires_grad_()
    residual = projector.forward(volume) - measured
    (0.5 * residual.square().sum()).backward()
    expected = projector.adjoint(residual.detach())
    assert torch.allclose(volume.grad, expected, atol=1e-5 * float(expected.abs().max()))


def test_memory_order_is_the_cpu_projectors():
    grid, scan = CASES["cone"]
    projector = TorchProjector(grid, scan)
    volume, projections = (torch.from_numpy(a) for a in random_pair(grid, scan))
    assert projector.forward(volume).permute(0, 2, 1).is_contiguous()
    assert projector.adjoint(projections).permute(2, 1, 0).is_contiguous()


def test_half_precision_is_summed_in_single_precision():
    grid, scan = CASES["cone"]
    projector = TorchProjector(grid, scan)
    volume = torch.from_numpy(random_pair(grid, scan)[0]).half()
    found = projector.forward(volume)
    assert found.dtype == torch.float32
    assert torch.equal(found, projector.forward(volume.float()))


def test_wrong_shapes_and_impossible_kernels_are_named():
    grid, scan = CASES["tilted detector"]
    projector = TorchProjector(grid, scan)
    with pytest.raises(ValueError, match=r"\(k, j, i\) = \(14, 18, 20\).*got \(20, 18, 14\)"):
        projector.forward(torch.zeros((20, 18, 14)))
    with pytest.raises(ValueError, match=r"\(5, 20, 26\).*got \(5, 26, 20\)"):
        projector.adjoint(torch.zeros((5, 26, 20)))
    with pytest.raises(ValueError, match="Triton's projector cannot be used here"):
        TorchProjector(grid, scan, kernels="triton")


@pytest.mark.gpu
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kernels", ["torch", None], ids=["plain torch", "chosen"])
def test_the_gpu_gives_the_cpus_numbers(case, kernels):
    grid, scan = CASES[case]
    ours, reference = TorchProjector(grid, scan, "cuda", kernels=kernels), Projector(grid, scan)
    volume, projections = random_pair(grid, scan)
    expected = reference.forward(volume)
    found = ours.forward(torch.from_numpy(volume).cuda()).cpu().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5 * expected.max())
    expected = reference.adjoint(projections)
    found = ours.adjoint(torch.from_numpy(projections).cuda()).cpu().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5 * expected.max())
