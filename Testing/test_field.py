"""The attenuation field: starts as its base, explains residuals, is vetoed where it harms."""

from __future__ import annotations

import numpy as np
import pytest
from analytic_objects import Ellipsoid, circular_scan, draw

from NASAM3DLib.reconstruct.projector import forward_project
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.projections import ProjectionSet

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from NASAM3DLib.reconstruct.encoding import HashEncoding  # noqa: E402
from NASAM3DLib.reconstruct.field import AttenuationField  # noqa: E402
from NASAM3DLib.reconstruct.fit import FitSettings, RaySampler, fit_field  # noqa: E402

GRID = VolumeGrid.centred((20, 24, 24), (5.0, 5.0, 4.0))
BALL = Ellipsoid(0.02, (40.0, 35.0, 30.0), (5.0, 0.0, 0.0))


@pytest.fixture(scope="module")
def base() -> Volume:
    return Volume(draw([BALL], GRID, 3), GRID)


@pytest.mark.parametrize("log2_table_size", [18, 8], ids=["dense", "hashed"])
def test_encoding_is_continuous_and_interpolates_linearly(log2_table_size):
    generator = torch.Generator().manual_seed(0)
    encoding = HashEncoding((4, 8), log2_table_size=log2_table_size, generator=generator)
    corner = torch.tensor([[0.25, 0.5, 0.5]])
    step = torch.tensor([[0.125, 0.0, 0.0]])
    ends = (encoding(corner) + encoding(corner + step)) / 2
    torch.testing.assert_close(encoding(corner + step / 2), ends)
    torch.testing.assert_close(encoding(corner + 1e-6), encoding(corner - 1e-6), atol=1e-7, rtol=0)


def test_gradient_of_the_encoding_is_exact():
    encoding = HashEncoding((3, 5), log2_table_size=6).double()
    positions = torch.rand((7, 3), dtype=torch.float64)

    def features(table):
        return torch.func.functional_call(encoding, {"table": table}, (positions,))

    assert torch.autograd.gradcheck(features, (encoding.table.detach().requires_grad_(),))


def test_encoding_refuses_no_levels():
    with pytest.raises(ValueError, match="at least one positive number"):
        HashEncoding(())


def test_field_starts_as_its_base_exactly(base):
    field = AttenuationField(base, scale=0.01)
    np.testing.assert_allclose(field.sample(GRID).array, base.array, atol=1e-7)
    inside = torch.tensor([[5.0, 0.0, 0.0]])
    assert field.attenuation(inside).item() == pytest.approx(0.02, rel=1e-3)
    assert field.attenuation(torch.tensor([[900.0, 0.0, 0.0]])).item() == 0.0


def test_field_wants_attenuation(base):
    with pytest.raises(ValueError, match="must be attenuation in 1/mm, got HU"):
        AttenuationField(base.to_hu(), scale=1.0)


def test_rays_cut_to_the_box_measure_its_chords():
    scan = circular_scan(5)
    ones = np.ones(GRID.shape_kji, dtype=np.float32)
    chords = forward_project(ones, GRID, scan)
    sampler = RaySampler(scan, GRID, chords, seed=0, device="cpu")
    points, spacing, target = sampler.draw(512)
    length = spacing * points.shape[1]
    upper = torch.tensor(GRID.shape_kji[::-1]) - 0.5
    assert (points >= -0.5 - 1e-4).all()
    assert (points <= upper + 1e-4).all()
    long = target > 40
    torch.testing.assert_close(length[long], target[long], rtol=0.1, atol=4.0)


def test_fit_recovers_what_the_base_lacks(base):
    scan = circular_scan(20)
    missing = Ellipsoid(0.01, (20.0, 20.0, 20.0), (0.0, 0.0, 0.0))
    truth = base.array + draw([missing], GRID, 3)
    projection_set = ProjectionSet(forward_project(truth, GRID, scan), scan)
    fit = fit_field(projection_set, base, FitSettings(60, seed=3))
    before = np.sqrt(np.mean((base.array - truth) ** 2))
    after = np.sqrt(np.mean((fit.volume.array - truth) ** 2))
    assert fit.accepted
    assert fit.field_error < 0.5 * fit.base_error
    assert after < 0.6 * before


def test_the_same_seed_gives_the_same_field(base):
    scan = circular_scan(10)
    projection_set = ProjectionSet(1.1 * forward_project(base.array, GRID, scan), scan)
    first, second, other = (
        fit_field(projection_set, base, FitSettings(3, seed=seed)).losses for seed in (3, 3, 4)
    )
    np.testing.assert_allclose(first, second, rtol=1e-5)
    assert first != other


def test_a_field_that_makes_unseen_views_worse_is_vetoed(base):
    scan = circular_scan(20)
    exact = forward_project(base.array, GRID, scan)
    # Half of the views claim something else: fitting it must hurt the others.
    random = np.random.default_rng(0)
    lie = exact + 0.3 * random.standard_normal((20, 1, 1)).astype(np.float32) * (exact > 0)
    from NASAM3DLib.reconstruct.tuning import held_out_views

    unseen = held_out_views(20)
    lie[unseen] = exact[unseen]
    fit = fit_field(ProjectionSet(lie, scan), base, FitSettings(30))
    assert not fit.accepted
    assert fit.field_error > fit.base_error
    np.testing.assert_array_equal(fit.volume.array, base.array)


def test_too_few_views_to_referee_return_the_base(base):
    scan = circular_scan(5)
    exact = forward_project(base.array, GRID, scan)
    fit = fit_field(ProjectionSet(exact, scan), base, FitSettings(2))
    assert not fit.accepted
    assert np.isnan(fit.base_error)


@pytest.mark.parametrize("log2_table_size", [18, 8], ids=["dense", "hashed"])
def test_half_tables_change_features_by_their_rounding_and_gradients_not_at_all(log2_table_size):
    encodings = [
        HashEncoding(
            (4, 9),
            log2_table_size=log2_table_size,
            half_tables=half,
            generator=torch.Generator().manual_seed(0),
        )
        for half in (False, True)
    ]
    positions = torch.rand((50, 3), generator=torch.Generator().manual_seed(1))
    plain, half = (encoding(positions) for encoding in encodings)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, plain, rtol=1e-3, atol=1e-7)
    assert not torch.equal(half, plain)
    for features in (plain, half):
        features.sum().backward()
    first, second = (encoding.table.grad for encoding in encodings)
    assert second.dtype == torch.float32
    torch.testing.assert_close(second, first)


def test_interpolation_has_an_exact_gradient():
    from NASAM3DLib.reconstruct.encoding import interpolate

    generator = torch.Generator().manual_seed(0)
    table = torch.rand((6, 2), dtype=torch.float64, generator=generator).requires_grad_()
    index = torch.randint(6, (5, 8), generator=generator)
    weights = torch.rand((5, 8), dtype=torch.float64, generator=generator)
    assert torch.autograd.gradcheck(
        lambda values: interpolate(values, index, weights, half=False), (table,)
    )


def test_steps_made_for_recording_are_the_plain_steps(base):
    from NASAM3DLib.progress import no_progress
    from NASAM3DLib.reconstruct.fit import _descend, _descend_recorded

    # A detector wider than the grid: some rays miss it and must count for nothing.
    scan = circular_scan(6, detector=(64, 96))
    target = forward_project(base.array, GRID, scan)
    losses, tables = [], []
    for descend in (_descend, _descend_recorded):
        field = AttenuationField(base, scale=0.01, seed=1)
        sampler = RaySampler(scan, GRID, target, seed=2, device="cpu")
        losses.append(descend(field, sampler, 6, no_progress))
        tables.append(field.encoding.table.detach())
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-3)
    assert losses[0][-1] < losses[0][0]
    torch.testing.assert_close(tables[1], tables[0], rtol=0.05, atol=0.02 * float(tables[0].max()))


@pytest.mark.gpu
def test_the_gpu_fits_as_well_as_the_cpu(base):
    scan = circular_scan(20)
    missing = Ellipsoid(0.01, (20.0, 20.0, 20.0), (0.0, 0.0, 0.0))
    truth = base.array + draw([missing], GRID, 3)
    projection_set = ProjectionSet(forward_project(truth, GRID, scan), scan)
    on_cpu, on_gpu = (
        fit_field(projection_set, base, FitSettings(60, seed=3, device=device))
        for device in ("cpu", "cuda")
    )
    assert on_gpu.accepted
    assert on_gpu.field_error < 1.2 * on_cpu.field_error
