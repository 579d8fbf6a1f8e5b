"""Fitting the attenuation field to the projections by ray sampling."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from NASAM3DLib.progress import ProgressCallback, no_progress
from NASAM3DLib.reconstruct.device import RepeatedStep
from NASAM3DLib.reconstruct.field import AttenuationField
from NASAM3DLib.reconstruct.projector import Projector
from NASAM3DLib.reconstruct.tuning import held_out_error, held_out_views
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.geometry import ConeBeamGeometry
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.projections import ProjectionSet

logger = logging.getLogger(__name__)

RAYS_PER_STEP = 1024
TABLE_RATE, NETWORK_RATE = 3e-2, 1e-2
"""Adam's learning rates for the encoding and for the network."""

SCALE_OVER_RESIDUAL = 8.0
"""Attenuation that a network output of 1 stands for, over the residual per length of ray.

A small residual is mostly noise; the scale keeps the first steps as small as what is left.
"""

CLEARLY_WORSE = 0.01
"""Rise of the held-out error that vetoes the field.

Smaller differences say nothing about the volume: below about 1 dB the order of two reconstructions
by held-out error is close to chance on noisy scans.
"""


@dataclass(frozen=True)
class FieldFit:
    """Outcome of a fit.

    Parameters
    ----------
    volume : Volume
        What to return: the field on the base's grid, or the base if the field was vetoed.
    accepted : bool
        Whether the field is returned.
    base_error, field_error : float
        Held-out error of both; NaN if no view could be held out.
    losses : tuple of float
        Mean squared residual of each step.
    """

    volume: Volume
    accepted: bool
    base_error: float
    field_error: float
    losses: tuple[float, ...]


@dataclass(frozen=True)
class FitSettings:
    """How to fit.

    Parameters
    ----------
    n_steps : int
        Gradient steps.
    seed : int
        Seed of weights, rays and sample positions.
    device : str
        Torch device.
    """

    n_steps: int
    seed: int = 0
    device: str = "cpu"


def fit_field(
    projection_set: ProjectionSet,
    base: Volume,
    settings: FitSettings,
    *,
    progress: ProgressCallback = no_progress,
) -> FieldFit:
    """Fit the residual of an attenuation field to what the base leaves unexplained.

    Parameters
    ----------
    projection_set : ProjectionSet
        Measured views.
    base : Volume
        Attenuation from a classical method, 1/mm.
    settings : FitSettings
        Steps, seed and device.
    progress : callable
        Receives stage and fraction.

    Returns
    -------
    FieldFit

    Notes
    -----
    Each step draws rays r from the views that are not held out, samples each at stratified random
    positions with spacing d inside the grid and follows the gradient of ::

        mean over r of (sum_s residual(x_s) d - (p - A base)(r))^2 .

    The base enters through its exact projection A base only, so the fit costs no sampling of it.
    The held-out views took part in the base but not in the fit, which makes the veto a strict one.
    """
    held_out = held_out_views(projection_set.n_views)
    training = projection_set.select(np.setdiff1d(np.arange(projection_set.n_views), held_out))
    target = training.projections - _projected(base, training.geometry, settings.device)
    length_mm = np.linalg.norm(np.array(base.grid.shape_kji[::-1]) * base.grid.spacing_mm)
    residual = float(np.sqrt(np.mean(target.astype(np.float64) ** 2)))
    scale = max(SCALE_OVER_RESIDUAL * residual / float(length_mm), 1e-12)
    on_gpu = settings.device.startswith("cuda")
    field = AttenuationField(base, scale=scale, seed=settings.seed, half_tables=on_gpu)
    field = field.to(settings.device)
    sampler = RaySampler(
        training.geometry, base.grid, target, seed=settings.seed, device=settings.device
    )
    descend = _descend_recorded if on_gpu else _descend
    losses = descend(field, sampler, settings.n_steps, progress)
    fitted = field.cpu().sample(base.grid)
    if not held_out.size:
        return FieldFit(base, False, float("nan"), float("nan"), tuple(losses))
    unseen = projection_set.select(held_out)
    base_error = held_out_error(base.array, base.grid, unseen)
    field_error = held_out_error(fitted.array, base.grid, unseen)
    accepted = bool(field_error <= base_error * (1 + CLEARLY_WORSE))
    logger.info("Held-out error %.4g with the field, %.4g without.", field_error, base_error)
    return FieldFit(fitted if accepted else base, accepted, base_error, field_error, tuple(losses))


def _descend(
    field: AttenuationField, sampler: RaySampler, n_steps: int, progress: ProgressCallback
) -> list[float]:
    """Run Adam with a cosine decay of the learning rates."""
    optimiser = torch.optim.Adam(
        [
            {"params": [field.encoding.table], "lr": TABLE_RATE},
            {
                "params": [*field.hidden.parameters(), *field.output.parameters()],
                "lr": NETWORK_RATE,
            },
        ],
        betas=(0.9, 0.99),
        eps=1e-15,
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(n_steps, 1))
    losses = []
    for step in range(n_steps):
        progress("fitting the attenuation field", step / n_steps)
        points_ijk, spacing_mm, target = sampler.draw(RAYS_PER_STEP)
        values = field.residual(points_ijk.reshape(-1, 3)).reshape(points_ijk.shape[:2])
        error = values.sum(dim=1) * spacing_mm - target
        loss = error.square().mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
    progress("fitting the attenuation field", 1.0)
    return losses


def _projected(base: Volume, geometry: ConeBeamGeometry, device: str) -> npt.NDArray[np.float32]:
    """Project the base, on the GPU if there is one."""
    if not device.startswith("cuda"):
        return Projector(base.grid, geometry).forward(base.array)
    from NASAM3DLib.reconstruct.projector_torch import TorchProjector

    volume = torch.from_numpy(np.ascontiguousarray(base.array)).to(device)
    projected: npt.NDArray[np.float32] = (
        TorchProjector(base.grid, geometry, device).forward(volume).cpu().numpy()
    )
    return projected


def _descend_recorded(
    field: AttenuationField, sampler: RaySampler, n_steps: int, progress: ProgressCallback
) -> list[float]:
    """Do what :func:`_descend` does, with steps that can be recorded as a CUDA graph.

    Rays that miss the grid are kept with length zero, so that all batches have one size; learning
    rates live on the device; and nothing is read back before the end.
    """
    device = field.output.weight.device
    rates = [torch.tensor(rate, device=device) for rate in (TABLE_RATE, NETWORK_RATE)]
    network = [*field.hidden.parameters(), *field.output.parameters()]
    optimiser = torch.optim.Adam(
        [
            {"params": [field.encoding.table], "lr": rates[0]},
            {"params": network, "lr": rates[1]},
        ],
        betas=(0.9, 0.99),
        eps=1e-15,
        capturable=device.type == "cuda",
    )
    batch = _Batch(RAYS_PER_STEP, sampler.n_samples, device)
    loss = torch.zeros((), device=device)

    def step() -> None:
        values = field.residual(batch.points_ijk.reshape(-1, 3)).reshape(RAYS_PER_STEP, -1)
        error = values.sum(dim=1) * batch.spacing_mm - batch.target
        mean = (error.square() * batch.share).sum()
        optimiser.zero_grad(set_to_none=True)
        mean.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        loss.copy_(mean.detach())

    repeated = RepeatedStep(step, str(device))
    losses = torch.zeros(n_steps, device=device)
    for number in range(n_steps):
        progress("fitting the attenuation field", number / n_steps)
        batch.fill(*sampler.draw(RAYS_PER_STEP))
        cosine = (1 + math.cos(math.pi * number / n_steps)) / 2
        for rate, start in zip(rates, (TABLE_RATE, NETWORK_RATE), strict=True):
            rate.fill_(start * cosine)
        repeated()
        losses[number] = loss
    progress("fitting the attenuation field", 1.0)
    return [float(value) for value in losses.cpu()]


class _Batch:
    """Rays in tensors that stay where they are."""

    def __init__(self, n_rays: int, n_samples: int, device: torch.device) -> None:
        self.points_ijk = torch.zeros((n_rays, n_samples, 3), device=device)
        self.spacing_mm = torch.zeros(n_rays, device=device)
        self.target = torch.zeros(n_rays, device=device)
        self.share = torch.zeros(n_rays, device=device)

    def fill(self, points_ijk: Tensor, spacing_mm: Tensor, target: Tensor) -> None:
        """Take a batch; what is left over counts for nothing."""
        count = len(target)
        self.points_ijk[:count] = points_ijk
        self.share.zero_()
        self.share[:count] = 1.0 / max(count, 1)
        for mine, given in ((self.spacing_mm, spacing_mm), (self.target, target)):
            mine.zero_()
            mine[:count] = given


class RaySampler:
    """Draws random rays and positions along them.

    Parameters
    ----------
    geometry : ConeBeamGeometry
        Views to draw from.
    grid : VolumeGrid
        Box that the rays are cut to.
    target : ndarray, shape (n_views, n_rows, n_cols), float32
        Line integral that belongs to each ray.
    seed : int
        Seed.
    device : str
        Torch device.

    Attributes
    ----------
    n_samples : int
        Positions on each ray.
    """

    def __init__(
        self,
        geometry: ConeBeamGeometry,
        grid: VolumeGrid,
        target: npt.NDArray[np.float32],
        *,
        seed: int,
        device: str,
    ) -> None:
        self._geometry, self._grid, self._target = geometry, grid, target
        self._random = np.random.default_rng(seed)
        self._device = device
        # Half a voxel of the mean spacing, so that the finest level is seen by every sample.
        diagonal = float(np.linalg.norm(np.array(grid.shape_kji)))
        self.n_samples = int(np.ceil(diagonal))

    def draw(self, n_rays: int) -> tuple[Tensor, Tensor, Tensor]:
        """Draw rays that cross the grid.

        Parameters
        ----------
        n_rays : int
            Number of rays drawn; those that miss the grid are dropped.

        Returns
        -------
        points_ijk : Tensor, shape (n, n_samples, 3), float32
            Stratified random positions, voxel index.
        spacing_mm : Tensor, shape (n,), float32
            Length that each sample stands for, mm.
        target : Tensor, shape (n,), float32
            Line integrals.
        """
        n_views, rows, columns = self._geometry.projections_shape
        view = int(self._random.integers(n_views))
        row = self._random.integers(rows, size=n_rays)
        column = self._random.integers(columns, size=n_rays)
        origins, directions = self._geometry.rays(view, row, column)
        to_ijk = self._grid.ras_to_ijk
        start = origins @ to_ijk[:3, :3].T + to_ijk[:3, 3]
        along = directions @ to_ijk[:3, :3].T
        near, far = _cut_to_box(start, along, np.array(self._grid.shape_kji[::-1]) - 0.5)
        hit = far > near
        start, along, near, far = start[hit], along[hit], near[hit], far[hit]
        jitter = self._random.random((len(near), self.n_samples))
        fraction = (np.arange(self.n_samples) + jitter) / self.n_samples
        distance = near[:, None] + (far - near)[:, None] * fraction
        points = start[:, None] + distance[..., None] * along[:, None]
        spacing = (far - near) / self.n_samples
        target = self._target[view, row[hit], column[hit]]
        return (
            torch.from_numpy(points.astype(np.float32)).to(self._device),
            torch.from_numpy(spacing.astype(np.float32)).to(self._device),
            torch.from_numpy(np.ascontiguousarray(target)).to(self._device),
        )


def _cut_to_box(
    start: npt.NDArray[np.float64], along: npt.NDArray[np.float64], upper: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Give the distances at which rays enter and leave the box from -1/2 to upper, voxel index."""
    with np.errstate(divide="ignore", invalid="ignore"):
        first, second = (-0.5 - start) / along, (upper - start) / along
    low, high = np.fmin(first, second), np.fmax(first, second)
    # A ray parallel to a face gives +-inf (outside or inside) there, or NaN exactly on it.
    return np.nanmax(low, axis=-1), np.nanmin(high, axis=-1)
