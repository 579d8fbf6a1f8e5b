"""The energy of a segmentation as a function of an attenuation field: values and gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from NASAM3DLib.joint.energy import (
    field_on_lattice,
    field_segmentation_energy,
    segmentation_energy,
)
from NASAM3DLib.reconstruct.field import AttenuationField
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid


def test_the_energy_is_zero_for_two_even_parts() -> None:
    soft = torch.zeros(4, 4, 4, dtype=torch.float64)
    soft[:2] = 1
    assert float(segmentation_energy(0.03 * soft + 0.01, soft)) == pytest.approx(0, abs=1e-20)
    # Half of the outside is 0.03 off 0.01, so it deviates from its mean by 0.015 everywhere.
    uneven = torch.full((4, 4, 4), 0.01, dtype=torch.float64)
    uneven[2] = 0.04
    assert float(segmentation_energy(uneven, soft)) == pytest.approx(0.5 * 0.015**2)
    with pytest.raises(ValueError, match="must have the same shape"):
        segmentation_energy(uneven, soft[:2])


def test_gradients_of_the_energy_are_right() -> None:
    random = torch.Generator().manual_seed(0)
    shape = (3, 4, 2)
    array = torch.rand(shape, dtype=torch.float64, generator=random).requires_grad_()
    soft = torch.rand(shape, dtype=torch.float64, generator=random).requires_grad_()
    assert torch.autograd.gradcheck(segmentation_energy, (array, soft))
    energy = segmentation_energy(array, soft)
    to_array, to_soft = torch.autograd.grad(energy, (array, soft))
    inside = array - (soft * array).sum() / soft.sum()
    outside = array - ((1 - soft) * array).sum() / (1 - soft).sum()
    torch.testing.assert_close(to_array, 2 * (soft * inside + (1 - soft) * outside) / 24)
    torch.testing.assert_close(to_soft, (inside.square() - outside.square()) / 24)


def tiny_field() -> tuple[AttenuationField, VolumeGrid, torch.Tensor]:
    """A field in double precision that all its parameters matter for."""
    grid = VolumeGrid.centred((3, 3, 3), 4.0)
    random = np.random.default_rng(0)
    start = Volume(random.uniform(0.01, 0.03, (3, 3, 3)).astype(np.float32), grid)
    field = AttenuationField(start, scale=0.005).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in field.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(0.3 * noise)
    return field, grid, torch.from_numpy(random.random((3, 3, 3)))


def test_gradients_reach_the_parameters_of_the_field() -> None:
    field, grid, soft = tiny_field()
    names = [name for name, _ in field.named_parameters()]
    inputs = tuple(p.detach().clone().requires_grad_() for p in field.parameters())
    # Most entries of the table lie in no cell of so small a lattice; those that do are checked.
    table = inputs[names.index("encoding.table")]
    used = torch.autograd.grad(_energy(field, names, inputs, grid, soft), table)[0] != 0
    places = used.nonzero()[:40]
    assert len(places) == 40
    few = table.detach()[tuple(places.T)].clone().requires_grad_()

    def energy(entries: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        changed = table.detach().index_put(tuple(places.T), entries)
        rest = iter(others)
        values = [changed if n == "encoding.table" else next(rest) for n in names]
        return 1e4 * _energy(field, names, values, grid, soft)

    others = [v for n, v in zip(names, inputs, strict=True) if n != "encoding.table"]
    assert torch.autograd.gradcheck(energy, (few, *others), atol=1e-6)


def _energy(field, names, values, grid, soft) -> torch.Tensor:
    class Wrapped(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.field = field

        def forward(self) -> torch.Tensor:
            return field_segmentation_energy(self.field, grid, soft)

    named = {f"field.{n}": v for n, v in zip(names, values, strict=True)}
    return torch.func.functional_call(Wrapped(), named, ())


def test_the_field_on_the_lattice_is_its_sample() -> None:
    field, grid, _ = tiny_field()
    lattice = field_on_lattice(field.float(), grid)
    np.testing.assert_allclose(lattice.detach().numpy(), field.sample(grid).array, rtol=1e-5)
