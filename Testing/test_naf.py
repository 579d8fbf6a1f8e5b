"""The published neural attenuation field: its settings, encoding, training and checkpoints."""

from __future__ import annotations

import math

import numpy as np
import pytest
from analytic_objects import Ellipsoid, circular_scan, project

from NASAM3DLib.progress import Cancelled
from NASAM3DLib.reconstruct.projector import forward_project
from NASAM3DLib.scan.geometry import ConeBeamGeometry
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.projections import ProjectionSet

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from NASAM3DLib.reconstruct.naf import NafField, NafSettings  # noqa: E402
from NASAM3DLib.reconstruct.naf_checkpoint import load_naf_checkpoint  # noqa: E402
from NASAM3DLib.reconstruct.naf_fit import _Rays, fit_naf  # noqa: E402

GRID = VolumeGrid.centred((16, 20, 20), (8.0, 8.0, 9.0), centre_ras=(6.0, -4.0, 3.0))
BODIES = [
    Ellipsoid(0.02, (50.0, 45.0, 40.0), (6.0, -4.0, 3.0)),
    Ellipsoid(0.02, (14.0, 14.0, 14.0), (25.0, 5.0, 10.0)),
]
TINY = NafSettings(
    n_levels=3,
    base_resolution=4,
    log2_table_size=12,
    n_epochs=30,
    decay_epochs=20,
    rays_per_step=128,
    n_samples=32,
    learning_rate=1e-2,
    bound_mm=100.0,
    peak_attenuation=0.06,
)


@pytest.fixture(scope="module")
def scan() -> ProjectionSet:
    geometry = circular_scan(8, detector=(24, 32), pixel_mm=8.0, isocenter_ras=(6.0, -4.0, 3.0))
    return ProjectionSet(project(BODIES, geometry), geometry)


@pytest.fixture(scope="module")
def fit(scan):
    return fit_naf(scan, GRID, TINY)


def test_published_network_has_the_published_size():
    field = NafField(NafSettings.published())
    sizes = [min((16 * 2**level + 1) ** 3, 2**19) for level in range(16)]
    assert field.encoder.embeddings.shape == (sum(sizes), 2)
    assert field.encoder.resolutions[-1] == 524288
    shapes = [tuple(layer.weight.shape) for layer in field.layers]
    assert shapes == [(32, 32), (32, 32), (32, 64), (1, 32)]
    assert sum(p.numel() for p in field.parameters()) == 2 * sum(sizes) + 4225


@pytest.mark.parametrize(
    ("body", "samples"), [("chest", 192), ("abdomen", 576), ("foot", 320), ("jaw", 320)]
)
def test_published_training(body, samples):
    settings = NafSettings.published(body)
    assert (settings.n_samples, settings.rays_per_step) == (samples, 1024)
    assert (settings.n_epochs, settings.decay_epochs, settings.decay) == (3000, 1500, 0.1)
    assert (settings.learning_rate, settings.bound_mm) == (1e-3, 300.0)
    shorter = settings.shortened(30)
    assert (shorter.n_epochs, shorter.decay_epochs) == (30, 15)


def reference_features(field: NafField, unit: np.ndarray) -> np.ndarray:
    """Encode one position with 32-bit arithmetic, corner by corner, as the authors' kernel does."""
    table = field.encoder.embeddings.detach().numpy()
    offset, features = 0, []
    primes = np.array([1, 19349663, 83492791], dtype=np.uint32)
    for resolution, size in zip(field.encoder.resolutions, field.encoder.sizes, strict=True):
        scaled = unit * np.float32(resolution - 1) + np.float32(0.5)
        cell = np.floor(scaled).astype(np.uint32)
        fraction = scaled - cell
        value = np.zeros(2)
        for bits in range(8):
            bit = np.array([bits >> axis & 1 for axis in range(3)], dtype=np.uint32)
            weight = np.prod(np.where(bit == 1, fraction, 1 - fraction))
            corner = cell + bit
            index, stride = 0, 1
            for axis in range(3):
                if stride <= size:
                    index += int(corner[axis]) * stride
                    stride *= resolution + 1
            if stride > size:
                product = corner * primes
                index = int(product[0] ^ product[1] ^ product[2])
            value += weight * table[offset + index % size]
        features.append(value)
        offset += size
    return np.concatenate(features)


def test_encoding_is_the_published_one():
    settings = NafSettings(n_levels=8, base_resolution=16, log2_table_size=14)
    field = NafField(settings)
    random = np.random.default_rng(0)
    positions = random.random((20, 3), dtype=np.float32)
    found = field.encoder(torch.from_numpy(positions)).detach().numpy()
    expected = np.stack([reference_features(field, position) for position in positions])
    np.testing.assert_allclose(found, expected, atol=2e-8)


def test_training_reduces_the_projection_error(scan, fit):
    first = fit_naf(scan, GRID, TINY.shortened(1))
    assert fit.losses[-1] < 0.05 * fit.losses[0]
    # Rays beside the body are not shown to the network, and it may put anything there.
    shown = scan.projections > 0
    errors = []
    for result in (first, fit):
        projected = forward_project(result.volume.array, GRID, scan.geometry)
        errors.append(np.sqrt(np.mean((projected - scan.projections)[shown] ** 2)))
    assert errors[1] < 0.3 * errors[0]
    assert errors[1] < 0.15 * scan.projections.max()


def test_volume_is_the_field_at_the_voxels(fit):
    k, j, i = 5, 12, 3
    point = GRID.ijk_to_ras[:3, :3] @ (i, j, k) + GRID.ijk_to_ras[:3, 3] - (6.0, -4.0, 3.0)
    value = fit.field(torch.tensor(point[None], dtype=torch.float32)).item()
    assert fit.volume.array[k, j, i] == pytest.approx(value, rel=1e-5)
    assert fit.volume.array.max() < 0.06
    assert fit.volume.array.min() > 0


def test_the_same_seed_gives_the_same_field(scan):
    short = TINY.shortened(2)
    first, second = fit_naf(scan, GRID, short), fit_naf(scan, GRID, short)
    np.testing.assert_allclose(first.losses, second.losses, rtol=1e-5)


def test_samples_measure_the_depth_range(scan):
    rays = _Rays(scan, GRID, np.array([6.0, -4.0, 3.0]), TINY)
    reach = math.hypot(80.0, 80.0) + 5.0
    rays.draw(3)
    assert (rays.depths[:, 1:] > rays.depths[:, :-1]).all()
    assert float(rays.depths.min()) >= 500.0 - reach - 1e-3
    assert float(rays.depths.max()) <= 500.0 + reach + 1e-3
    # Samples lie on the rays: points of equal depth lie in a plane across the beam axis.
    away = np.array([math.cos(6 * math.pi / 8), math.sin(6 * math.pi / 8), 0.0])
    depth = 500.0 - rays.points_mm().numpy() @ away
    np.testing.assert_allclose(depth, rays.depths.numpy(), atol=1e-2)
    length = np.linalg.norm(np.diff(rays.points_mm().numpy(), axis=1), axis=-1)
    expected = np.diff(rays.depths.numpy(), axis=1) * rays.stretch.numpy()[:, None]
    np.testing.assert_allclose(length, expected, atol=1e-2)
    assert (rays.target > 0).all()


@pytest.mark.parametrize("parallel", [False, True], ids=["free poses", "parallel beam"])
def test_other_geometries_train_as_well(parallel):
    made = circular_scan(6, detector=(24, 32), pixel_mm=8.0, parallel=parallel)
    geometry = ConeBeamGeometry(
        made.sources_ras,
        made.detector_centres_ras,
        made.detector_u_ras,
        made.detector_v_ras,
        made.detector_shape,
    )
    bodies = [Ellipsoid(0.02, (50.0, 45.0, 40.0), (0.0, 0.0, 0.0))]
    grid = VolumeGrid.centred((16, 20, 20), 8.0)
    settings = NafSettings(**{**vars(TINY.shortened(8)), "peak_attenuation": None})
    result = fit_naf(ProjectionSet(project(bodies, geometry), geometry), grid, settings)
    assert result.losses[-1] < 0.2 * result.losses[0]
    # Four times the mean along the densest ray: well above the body and of its order.
    assert 0.02 < result.field.peak_attenuation < 0.09


def test_cancelling_stops_and_progress_never_runs_backwards(scan):
    seen: list[float] = []

    def cancel(stage: str, fraction: float) -> None:
        seen.append(fraction)
        if fraction > 0.1:
            raise Cancelled

    with pytest.raises(Cancelled):
        fit_naf(scan, GRID, TINY, progress=cancel)
    assert seen == sorted(seen)
    assert len(seen) == 26


def test_a_grid_larger_than_the_cube_enlarges_it(scan):
    short = NafSettings(**{**vars(TINY.shortened(1)), "bound_mm": 20.0})
    assert fit_naf(scan, GRID, short).field.bound_mm == pytest.approx(80.0 + 5.0)


def test_empty_projections_and_bad_settings_are_refused(scan):
    nothing = ProjectionSet(np.zeros_like(scan.projections), scan.geometry)
    with pytest.raises(ValueError, match="no positive line integral"):
        fit_naf(nothing, GRID, TINY)
    with pytest.raises(ValueError, match=r"NafSettings\.n_epochs must be positive, got 0"):
        NafSettings(n_epochs=0)
    with pytest.raises(ValueError, match="at least 2, got 1 and 4"):
        NafSettings(n_samples=1)


def checkpoint_of(field: NafField) -> dict[str, object]:
    """Lay a network out as the authors' trainer saves it, with what else it puts into the file."""
    parameters = [p.detach().clone().requires_grad_() for p in field.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=1e-3)
    network = {"encoder.embeddings": field.encoder.embeddings.detach()}
    for number, layer in enumerate(field.layers):
        network[f"layers.{number}.weight"] = layer.weight.detach()
        network[f"layers.{number}.bias"] = layer.bias.detach()
    return {
        "epoch": 3000,
        "network": network,
        "network_fine": None,
        "optimizer": optimiser.state_dict(),
    }


@pytest.fixture
def checkpoint(fit) -> dict[str, object]:
    return checkpoint_of(fit.field)


def test_a_checkpoint_in_the_authors_layout_gives_the_same_field(fit, checkpoint, tmp_path):
    torch.save(checkpoint, tmp_path / "ckpt.tar")
    loaded = load_naf_checkpoint(
        tmp_path / "ckpt.tar", TINY, isocenter_ras=(6.0, -4.0, 3.0), peak_attenuation=0.06
    )
    np.testing.assert_array_equal(loaded.sample(GRID).array, fit.volume.array)
    in_metres = load_naf_checkpoint(tmp_path / "ckpt.tar", TINY, isocenter_ras=(6.0, -4.0, 3.0))
    np.testing.assert_allclose(
        in_metres.sample(GRID).array, fit.volume.array / 60.0, rtol=1e-5, atol=1e-12
    )


def test_wrong_checkpoints_are_named(checkpoint, tmp_path):
    path = tmp_path / "ckpt.tar"
    with pytest.raises(FileNotFoundError, match="no NAF checkpoint at"):
        load_naf_checkpoint(path, TINY)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="no checkpoint that can be read safely"):
        load_naf_checkpoint(path, TINY)
    torch.save({"model": 1, "epoch": 2}, path)
    with pytest.raises(ValueError, match=r'an entry "network".*got model, epoch'):
        load_naf_checkpoint(path, TINY)
    torch.save(checkpoint, path)
    with pytest.raises(ValueError, match=r"encoder\.embeddings must have shape \(.*, 2\), got"):
        load_naf_checkpoint(path)
    network = checkpoint["network"]
    layer = network.pop("layers.2.weight")
    torch.save(checkpoint, path)
    with pytest.raises(ValueError, match=r"missing layers\.2\.weight; unknown none"):
        load_naf_checkpoint(path, TINY)
    network["layers.2.weight"] = layer.T
    torch.save(checkpoint, path)
    with pytest.raises(ValueError, match=r"layers\.2\.weight must have shape \(32, 38\), got"):
        load_naf_checkpoint(path, TINY)
    network["layers.2.weight"] = torch.full_like(layer, math.nan)
    torch.save(checkpoint, path)
    with pytest.raises(ValueError, match=r"layers\.2\.weight holds NaN"):
        load_naf_checkpoint(path, TINY)


def test_a_checkpoint_that_runs_code_is_refused(tmp_path):
    class Trap:
        def __reduce__(self):
            return (exec, ("raise SystemExit('the checkpoint ran code')",))

    torch.save({"network": Trap()}, tmp_path / "ckpt.tar")
    with pytest.raises(ValueError, match="be read safely"):
        load_naf_checkpoint(tmp_path / "ckpt.tar", TINY)


@pytest.mark.gpu
def test_the_gpu_trains_as_well_as_the_cpu(scan, fit):
    on_gpu = fit_naf(scan, GRID, NafSettings(**{**vars(TINY), "device": "cuda"}))
    assert on_gpu.losses[-1] < 3 * fit.losses[-1]
