"""The engine of the network that was trained on generated volumes only."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from scipy import special

from NASAM3DLib.progress import ProgressCallback, no_progress
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.segment.components import bounding_box
from NASAM3DLib.segment.fronts import DensityFronts
from NASAM3DLib.segment.labelfree.features import network_input
from NASAM3DLib.segment.labelfree.merge import NEAR, merged
from NASAM3DLib.segment.labelfree.tiles import tiled_logits
from NASAM3DLib.segment.labelfree.weights import load_weights
from NASAM3DLib.segment.labelfree.zoom import Zoom, find_zoom, with_clicks, zoomed_region
from NASAM3DLib.segment.mask import Mask
from NASAM3DLib.segment.prompts import POSITIVE, Prompts
from NASAM3DLib.segment.refine import Patch, refined, resampled
from NASAM3DLib.segment.region_box import IndexArray, lattice_grid
from NASAM3DLib.segment.segmenter import SegmentationSettings
from NASAM3DLib.segment.walk import WorkingClicks

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LabelFreeOptions:
    """Choices of this engine alone.

    Parameters
    ----------
    weights : Path, optional
        File of weights; by default the one that comes with the product.
    device : {"cpu", "cuda"}
        Where the network runs.
    precision : {"float32", "bfloat16"}
        Precision of its convolutions.
    """

    weights: Path | None = None
    device: Literal["cpu", "cuda"] = "cpu"
    precision: Literal["float32", "bfloat16"] = "float32"


@dataclass(frozen=True, eq=False)
class _Step:
    """The answer to one click: working and fine probability, attention."""

    key: bytes
    working: FloatArray
    fine: Patch
    attention: FloatArray


@dataclass(frozen=True, eq=False)
class _Scene:
    """The region of an object with its fronts, and its answers click by click."""

    zoom: Zoom
    box_key: bytes
    fronts: DensityFronts
    steps: list[_Step]


class LabelFreeSegmenter:
    """Segment with the density-guided network.

    Parameters
    ----------
    settings : SegmentationSettings
        With ``density_guidance`` off the network is shown no density channel, as it was for a part
        of its training, and nothing is added to its logits; ``guidance_strength`` multiplies the
        learned weight.
    options : LabelFreeOptions, optional
        Weights, device, precision.

    Raises
    ------
    WeightsMissingError
        If the weights are not installed.
    WeightsError
        If they are damaged.

    Notes
    -----
    A mask depends on the volume and the prompts, not on what was asked before: clicks are replayed
    in their order, and answers are kept so that a new click costs its own only. The steps are
    ``zoom`` (where and how finely), ``features``, ``tiles``, the network, ``merge`` on working
    voxels, the boundary among the volume's own voxels, and ``merge`` once more on these. From the
    fourth click on only the connected part of the mask at the newest click changes.
    """

    def __init__(
        self, settings: SegmentationSettings, options: LabelFreeOptions | None = None
    ) -> None:
        self.settings = settings
        self.options = options or LabelFreeOptions()
        loaded = load_weights(self.options.weights)
        self.network = loaded.network.to(self.options.device)
        self._volume_hu: Volume | None = None
        self._zooms: dict[bytes, Zoom] = {}
        self._scene: _Scene | None = None
        self._history: list[tuple[_Scene, _Step]] = []

    @property
    def name(self) -> str:
        """Name of the engine: "label-free"."""
        return "label-free"

    def set_volume(self, volume: Volume) -> None:
        """Take the volume to be segmented and forget the one before.

        Parameters
        ----------
        volume : Volume
            In 1/mm or HU.
        """
        self._volume_hu = volume.to_hu()
        self._zooms.clear()
        self._scene = None
        self.reset()

    def reset(self) -> None:
        """Forget all predictions and keep the volume."""
        self._history.clear()

    def predict(self, prompts: Prompts, *, progress: ProgressCallback = no_progress) -> Mask:
        """Segment the object that the prompts point at.

        Parameters
        ----------
        prompts : Prompts
            All points so far, in the order of the clicks; at least one positive.
        progress : callable
            Called with stage and fraction; may raise to cancel, which leaves no trace.

        Returns
        -------
        Mask
            On the volume's grid; agrees with every point.

        Raises
        ------
        RuntimeError
            If there is no volume yet.
        ValueError
            If no point is positive, one is outside the volume, or a positive one outside the box.
        """
        volume = self._required_volume()
        started = time.perf_counter()
        voxels = prompts.checked_voxels(volume.grid)
        positive = prompts.labels == POSITIVE
        progress("density", 0.0)
        scene = self._scene_of(volume, prompts, voxels)
        first = int(np.flatnonzero(positive)[0])
        done = 0
        # Points before the first positive one are shown together with it.
        for n_points in range(first + 1, len(prompts) + 1):
            progress("network", 0.1 + 0.9 * (n_points - first - 1) / (len(prompts) - first))
            key = voxels[:n_points].tobytes() + prompts.labels[:n_points].tobytes()
            if done >= len(scene.steps) or scene.steps[done].key != key:
                del scene.steps[done:]
                scene.steps.append(self._step(scene, prompts, voxels[:n_points], key))
            done += 1
        self._history.append((scene, scene.steps[done - 1]))
        logger.info("%d clicks took %.2f s", len(prompts), time.perf_counter() - started)
        progress("network", 1.0)
        return self._current_mask()

    def undo(self) -> Mask | None:
        """Go back to the prediction before the last one.

        Returns
        -------
        Mask or None
            The former mask, exactly; None if there was none.

        Raises
        ------
        RuntimeError
            If there is no volume yet.
        """
        self._required_volume()
        if self._history:
            self._history.pop()
        return self._current_mask() if self._history else None

    def last_attention(self) -> FloatArray | None:
        """Give the density-aware attention behind the current mask.

        Returns
        -------
        ndarray, shape (k, j, i), float32, or None
            Attention in [0, 1] on the volume's grid, 0 where it was not computed; None if there is
            no mask or it came about without density guidance.
        """
        if not self._history or not self.settings.density_guidance:
            return None
        shape = self._required_volume().grid.shape_kji
        scene, step = self._history[-1]
        return resampled(scene.fronts.region, step.attention, shape).on(shape)

    def last_probability(self) -> FloatArray | None:
        """Give the probability behind the current mask.

        Returns
        -------
        ndarray, shape (k, j, i), float32, or None
            Probability in [0, 1] on the volume's grid, 0 where it was not computed; None if there
            is no mask.
        """
        if not self._history:
            return None
        return self._history[-1][1].fine.on(self._required_volume().grid.shape_kji)

    def _required_volume(self) -> Volume:
        """Give the volume, or say what is to be done first."""
        if self._volume_hu is None:
            raise RuntimeError("There is no volume to segment yet: call set_volume first.")
        return self._volume_hu

    def _current_mask(self) -> Mask:
        """Threshold the newest probability on the volume's grid."""
        grid = self._required_volume().grid
        return Mask(self._history[-1][1].fine.on(grid.shape_kji) > 0.5, grid)

    def _scene_of(self, volume: Volume, prompts: Prompts, voxels: IndexArray) -> _Scene:
        """Find the region of the clicks; answers are kept while it stays the same."""
        first = voxels[prompts.labels == POSITIVE][0]
        guided = self.settings.density_guidance
        if first.tobytes() not in self._zooms:
            self._zooms[first.tobytes()] = find_zoom(volume, first, guided=guided)
        zoom = with_clicks(self._zooms[first.tobytes()], volume.grid, voxels)
        box_key = first.tobytes() + (b"" if prompts.box_ras is None else prompts.box_ras.tobytes())
        scene = self._scene
        if scene is None or scene.zoom != zoom or scene.box_key != box_key:
            region = zoomed_region(volume, zoom, anchor_kji=first)
            scene = self._scene = _Scene(zoom, box_key, DensityFronts(region), [])
        return scene

    def _step(self, scene: _Scene, prompts: Prompts, voxels: IndexArray, key: bytes) -> _Step:
        """Answer the newest of some clicks."""
        region = scene.fronts.region
        positive = prompts.labels[: len(voxels)] == POSITIVE
        working = region.to_working(voxels)
        clicks = WorkingClicks(working[positive], working[~positive])
        before = scene.steps[-1] if scene.steps else None
        previous = np.zeros_like(region.array_hu) if before is None else before.working
        guided = self.settings.density_guidance
        shown = network_input(scene.fronts, clicks, previous, guided=guided)
        logits = tiled_logits(self._logits, shown, multiple=self.network.config.multiple)
        probability = special.expit(logits) * prompts.inside_box(region.grid)
        answer = merged(previous, probability.astype(np.float32), clicks, newest_kji=working[-1])
        fine = self._fine(scene, prompts, voxels, answer)
        return _Step(key, answer, fine, np.asarray(special.expit(shown[10]), dtype=np.float32))

    def _fine(
        self, scene: _Scene, prompts: Prompts, voxels: IndexArray, working: FloatArray
    ) -> Patch:
        """Bring an answer to the volume's own voxels, merged with the one before."""
        volume, region = self._required_volume(), scene.fronts.region
        sharpen = self.settings.refine_boundary
        found = refined(volume.array, region, working, sharpen=sharpen)
        patches = [found] if not scene.steps else [found, scene.steps[-1].fine]
        corners = [(p.lower_kji, p.lower_kji + p.values.shape) for p in patches]
        lower = np.min([voxels.min(axis=0), *(a for a, _ in corners)], axis=0)
        upper = np.max([voxels.max(axis=0) + 1, *(b for _, b in corners)], axis=0)
        k, j, i = (int(n) for n in upper - lower)
        on_box = [Patch(p.values, p.lower_kji - lower).on((k, j, i)) for p in patches]
        part = lattice_grid(volume.grid, lower, upper - lower)
        new = on_box[0] * prompts.inside_box(part)
        old = on_box[-1] if scene.steps else np.zeros_like(new)
        positive = prompts.labels[: len(voxels)] == POSITIVE
        clicks = WorkingClicks(voxels[positive] - lower, voxels[~positive] - lower)
        near = NEAR * max(region.factors_kji)
        result = merged(old, new, clicks, newest_kji=voxels[-1] - lower, near=near)
        return _trimmed(Patch(result, lower))

    def _logits(self, shown: FloatArray) -> FloatArray:
        """Run the network on one tile."""
        x = torch.from_numpy(np.ascontiguousarray(shown))[None].to(self.options.device)
        reduced = self.options.precision == "bfloat16"
        place = torch.device(self.options.device).type
        with (
            torch.inference_mode(),
            torch.autocast(place, dtype=torch.bfloat16, enabled=reduced),
        ):
            logits = self.network(x, strength=self.settings.guidance_strength)
        result: FloatArray = logits[0, 0].float().cpu().numpy()
        return result


def _trimmed(patch: Patch) -> Patch:
    """Cut off the empty margins of a patch."""
    lower, upper = bounding_box(patch.values > 0)
    box = tuple(slice(a, b + 1) for a, b in zip(lower, upper, strict=True))
    return Patch(np.ascontiguousarray(patch.values[box]), patch.lower_kji + lower)
