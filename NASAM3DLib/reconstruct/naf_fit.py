"""Training a neural attenuation field along rays, as published; see :mod:`.naf`."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from NASAM3DLib.progress import ProgressCallback, no_progress
from NASAM3DLib.reconstruct.device import RepeatedStep
from NASAM3DLib.reconstruct.naf import NafField, NafSettings
from NASAM3DLib.reconstruct.projector import Projector
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.geometry import ConeBeamGeometry
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.scan.projections import ProjectionSet

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]

TOLERANCE_MM = 5.0
"""Length that is added to the samples' range in front of the object and behind it."""

PEAK_OVER_MEAN = 4.0
"""Largest attenuation over the mean along the densest long ray, if it is not given."""

LONG = 0.5
"""Share of the longest path in the grid from which a ray counts as long."""

STAGE = "training the attenuation field"


@dataclass(frozen=True)
class NafFit:
    """Outcome of the training.

    Parameters
    ----------
    volume : Volume
        The field at the grid's voxels.
    field : NafField
        The trained network.
    losses : tuple of float
        Mean squared error of the line integrals in each epoch, averaged over its steps.
    """

    volume: Volume
    field: NafField
    losses: tuple[float, ...]


def fit_naf(
    projection_set: ProjectionSet,
    grid: VolumeGrid,
    settings: NafSettings,
    *,
    progress: ProgressCallback = no_progress,
) -> NafFit:
    """Train a network on projections.

    Parameters
    ----------
    projection_set : ProjectionSet
        Line integrals.
    grid : VolumeGrid
        Voxels to evaluate it at; also tells how far from the isocenter the object reaches.
    settings : NafSettings
        Network and training.
    progress : callable
        Called before every step.

    Returns
    -------
    NafFit

    Raises
    ------
    ValueError
        If no ray measured anything.

    Notes
    -----
    As in the authors' program: a step takes one view, in order, and draws rays among the pixels
    with a positive line integral, so air beside the object is never shown to the network; samples
    are stratified over a fixed range of depth around the isocenter; the loss is the mean squared
    error of ``sum attenuation * distance to the next sample``, where the last sample counts for
    nothing.
    """
    isocenter = _isocenter(projection_set.geometry, grid)
    peak = settings.peak_attenuation or _peak(projection_set, grid)
    bound = max(settings.bound_mm, float(np.abs(_corners(grid) - isocenter).max()) + TOLERANCE_MM)
    x, y, z = (float(value) for value in isocenter)
    field = NafField(settings, isocenter_ras=(x, y, z), bound_mm=bound, peak_attenuation=peak).to(
        settings.device
    )
    rays = _Rays(projection_set, grid, isocenter, settings)
    losses = _train(field, rays, settings, progress)
    return NafFit(field.sample(grid), field, tuple(losses))


def _train(
    field: NafField, rays: _Rays, settings: NafSettings, progress: ProgressCallback
) -> list[float]:
    """Run Adam with the published steps of the learning rate."""
    device = torch.device(settings.device)
    rate = torch.tensor(settings.learning_rate, device=device)
    optimiser = torch.optim.Adam(
        field.parameters(), lr=rate, betas=(0.9, 0.999), capturable=device.type == "cuda"
    )
    summed = torch.zeros((), dtype=torch.float64, device=device)

    def step() -> None:
        values = field(rays.points_mm().reshape(-1, 3)).reshape(rays.depths.shape)
        distances = (rays.depths[:, 1:] - rays.depths[:, :-1]) * rays.stretch[:, None]
        loss = ((values[:, :-1] * distances).sum(dim=1) - rays.target).square().mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        summed.add_(loss.detach())

    repeated = RepeatedStep(step, settings.device)
    per_epoch = len(rays.views)
    losses = torch.zeros(settings.n_epochs, dtype=torch.float64)
    for epoch in range(settings.n_epochs):
        rate.fill_(settings.learning_rate * settings.decay ** (epoch // settings.decay_epochs))
        for number, view in enumerate(rays.views):
            progress(STAGE, (epoch * per_epoch + number) / (settings.n_epochs * per_epoch))
            rays.draw(view)
            repeated()
        losses[epoch] = (summed / per_epoch).cpu()
        summed.zero_()
    progress(STAGE, 1.0)
    return [float(loss) for loss in losses]


class _Rays:
    """The rays of one step in tensors that stay where they are."""

    def __init__(
        self,
        projection_set: ProjectionSet,
        grid: VolumeGrid,
        isocenter: FloatArray,
        settings: NafSettings,
    ) -> None:
        self._geometry, self._projections = projection_set.geometry, projection_set.projections
        self._isocenter = isocenter
        self._random = np.random.default_rng(settings.seed)
        self._half_range = _reach(self._geometry, grid, isocenter) + TOLERANCE_MM
        # Searched once: on a GPU a step takes less time than the search.
        self._positive = [
            np.flatnonzero(view.reshape(-1) > 0).astype(np.int32) for view in self._projections
        ]
        self.views = [view for view, pixels in enumerate(self._positive) if pixels.size]
        if not self.views:
            raise ValueError(
                "The projections hold no positive line integral, so there is nothing to learn: "
                "are they raw counts?"
            )
        # One size for all steps, so that they can be recorded.
        fewest = min(self._positive[view].size for view in self.views)
        n_rays = min(settings.rays_per_step, fewest)
        device = torch.device(settings.device)
        self._generator = torch.Generator(device).manual_seed(settings.seed)
        self._origins = torch.zeros((n_rays, 3), device=device)
        self._directions = torch.zeros((n_rays, 3), device=device)
        self.stretch = torch.zeros(n_rays, device=device)
        self.target = torch.zeros(n_rays, device=device)
        self.depths = torch.zeros((n_rays, settings.n_samples), device=device)

    def draw(self, view: int) -> None:
        """Fill the tensors with rays of a view and new sample positions."""
        columns = self._projections.shape[2]
        chosen = self._random.choice(self._positive[view], size=len(self.target), replace=False)
        row, column = chosen // columns, chosen % columns
        origins, directions = self._geometry.rays(view, row, column)
        axis = self._axis(view)
        # Depth is counted along the beam axis: directions are stretched to advance 1 mm along it.
        stretch = 1.0 / (directions @ axis)
        middle = (self._isocenter - origins) @ axis
        near, far = middle - self._half_range, middle + self._half_range
        if not self._geometry.is_parallel:
            near, far = np.maximum(near, 0.0), np.minimum(far, 2 * middle)
        self._fill_depths(near, far)
        for mine, given in (
            (self._origins, origins - self._isocenter),
            (self._directions, directions * stretch[:, None]),
            (self.stretch, stretch),
            (self.target, self._projections[view, row, column]),
        ):
            mine.copy_(torch.from_numpy(np.ascontiguousarray(given)))

    def _axis(self, view: int) -> FloatArray:
        """Give the unit normal of the detector that points away from the source."""
        normal = np.cross(self._geometry.detector_u_ras[view], self._geometry.detector_v_ras[view])
        normal = normal / np.linalg.norm(normal)
        _, directions = self._geometry.rays(view, 0, 0)
        return np.asarray(normal * np.sign(directions @ normal))

    def _fill_depths(self, near: FloatArray, far: FloatArray) -> None:
        """Draw one depth in each stratum; strata meet halfway between equidistant positions."""
        device, n_samples = self.depths.device, self.depths.shape[1]
        fraction = torch.linspace(0.0, 1.0, n_samples, device=device)
        middles = (fraction[1:] + fraction[:-1]) / 2
        lower = torch.cat([fraction[:1], middles])
        upper = torch.cat([middles, fraction[-1:]])
        jitter = torch.rand(self.depths.shape, generator=self._generator, device=device)
        start = torch.from_numpy(near.astype(np.float32)).to(device)[:, None]
        length = torch.from_numpy((far - near).astype(np.float32)).to(device)[:, None]
        self.depths.copy_(start + length * (lower + (upper - lower) * jitter))

    def points_mm(self) -> Tensor:
        """Give the samples, mm from the isocenter."""
        return self._origins[:, None] + self._directions[:, None] * self.depths[..., None]


def _isocenter(geometry: ConeBeamGeometry, grid: VolumeGrid) -> FloatArray:
    """Give the centre of the orbit, or of the grid where the poses are free."""
    centre = grid.centre_ras if geometry.orbit is None else geometry.orbit.isocenter_ras
    return np.array(centre, dtype=np.float64)


def _corners(grid: VolumeGrid) -> FloatArray:
    """Give the outer corners of a grid, mm."""
    upper = np.array(grid.shape_kji[::-1]) - 0.5
    ijk = np.array(
        [[(-0.5, upper[axis])[bit >> axis & 1] for axis in range(3)] for bit in range(8)]
    )
    return np.asarray(ijk @ grid.ijk_to_ras[:3, :3].T + grid.ijk_to_ras[:3, 3])


def _reach(geometry: ConeBeamGeometry, grid: VolumeGrid, isocenter: FloatArray) -> float:
    """Give how far the grid reaches from the rotation axis; from its centre for free poses."""
    offsets = _corners(grid) - isocenter
    if geometry.orbit is not None:
        offsets = offsets[:, :2]
    return float(np.linalg.norm(offsets, axis=1).max())


def _peak(projection_set: ProjectionSet, grid: VolumeGrid) -> float:
    """Guess the largest attenuation from the densest of the long rays."""
    paths = Projector(grid, projection_set.geometry).forward(np.ones(grid.shape_kji, np.float32))
    long = paths >= LONG * paths.max()
    if paths.max() <= 0:
        raise ValueError(
            "No ray crosses the volume: its grid and the scanner geometry do not belong together. "
            "Check the grid's centre and the isocenter."
        )
    mean = float((projection_set.projections[long] / paths[long]).max())
    if mean <= 0:
        raise ValueError(
            "The projections hold no attenuating object: are they line integrals? Raw counts must "
            "be converted first."
        )
    logger.info("Largest attenuation assumed for the field: %.4g/mm.", PEAK_OVER_MEAN * mean)
    return PEAK_OVER_MEAN * mean
