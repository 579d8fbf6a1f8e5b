"""The engine of the network that was trained on generated volumes only."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from scipy import special

from NASAM3DLib.progress import ProgressCallback
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.segment.components import bounding_box
from NASAM3DLib.segment.engine_base import ClickEngine, Prediction
from NASAM3DLib.segment.fronts import DensityFronts
from NASAM3DLib.segment.labelfree.features import ATTENTION, WALK, network_input
from NASAM3DLib.segment.labelfree.merge import NEAR, merged
from NASAM3DLib.segment.labelfree.network import SURE
from NASAM3DLib.segment.labelfree.tiles import tiled_logits
from NASAM3DLib.segment.labelfree.weights import load_weights
from NASAM3DLib.segment.labelfree.zoom import Zoom, find_zoom, with_clicks, zoomed_region
from NASAM3DLib.segment.prompt_voxels import ResolvedPrompts
from NASAM3DLib.segment.prompts import NEGATIVE, POSITIVE
from NASAM3DLib.segment.refine import Patch, refined, resampled
from NASAM3DLib.segment.region_box import lattice_grid
from NASAM3DLib.segment.segmenter import SegmentationSettings
from NASAM3DLib.segment.walk import WorkingClicks, working_clicks

FloatArray = npt.NDArray[np.float32]

MORE_WALK = 1.0
"""Weight of the random walker at the logits of the first answer, beside the learned one.

Before there is a mask, the network cuts large objects. With the newer half of the weights that are
averaged in the shipped file, on 20 held-out generated volumes as 15 to 90 views show them, mean
Dice after 3, 5 and 8 clicks is .725, .778, .821 without it, .726, .798, .831 with it and .704,
.785, .814 with twice as much; of the seven large objects after the first click .483, .500, .518.
"""


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
    """The answer to one click: working and fine probability, attention, ambiguity."""

    key: bytes
    working: FloatArray
    fine: Patch
    attention: FloatArray
    ambiguity: float | None


@dataclass(frozen=True, eq=False)
class _Scene:
    """The region of an object with its fronts, and its answers click by click."""

    zoom: Zoom
    box_key: bytes
    fronts: DensityFronts
    widened: DensityFronts
    steps: list[_Step]


class LabelFreeSegmenter(ClickEngine):
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
        super().__init__(settings)
        self.options = options or LabelFreeOptions()
        loaded = load_weights(self.options.weights)
        self.network = loaded.network.to(self.options.device)
        self._zooms: dict[bytes, Zoom] = {}
        self._scene: _Scene | None = None

    @property
    def name(self) -> str:
        """Name of the engine: "label-free"."""
        return "label-free"

    def _prepared(self, volume_hu: Volume) -> Volume:
        """Forget what was found in the volume before."""
        self._zooms.clear()
        self._scene = None
        return volume_hu

    def _answer(
        self, volume: Volume, prompts: ResolvedPrompts, progress: ProgressCallback
    ) -> Prediction:
        """Answer the clicks one after another, as far as no answer is kept."""
        progress("density", 0.0)
        scene = self._scene_of(volume, prompts)
        # Points before the first positive one are shown together with it.
        first = prompts.first_positive
        for done, n_clicks in enumerate(range(first + 1, len(prompts) + 1)):
            progress("network", 0.1 + 0.9 * done / (len(prompts) - first))
            shown = prompts.first(n_clicks)
            key = shown.key()
            if done >= len(scene.steps) or scene.steps[done].key != key:
                del scene.steps[done:]
                scene.steps.append(self._step(scene, shown, key))
        progress("network", 1.0)
        step = scene.steps[len(prompts) - first - 1]
        attention = None
        if self.settings.density_guidance:
            shape = volume.grid.shape_kji
            attention = functools.partial(resampled, scene.fronts.region, step.attention, shape)
        return Prediction(step.fine, step.fine, attention, step.ambiguity)

    def _scene_of(self, volume: Volume, prompts: ResolvedPrompts) -> _Scene:
        """Find the region of the clicks; answers are kept while it stays the same."""
        first, box_ras = prompts.positive_kji[0], prompts.clicks.box_ras
        voxels = np.concatenate([prompts.voxels_kji, *prompts.marks])
        guided = self.settings.density_guidance
        if first.tobytes() not in self._zooms:
            self._zooms[first.tobytes()] = find_zoom(volume, first, guided=guided)
        zoom = with_clicks(self._zooms[first.tobytes()], volume.grid, voxels)
        box_key = first.tobytes() + (b"" if box_ras is None else box_ras.tobytes())
        scene = self._scene
        if scene is None or scene.zoom != zoom or scene.box_key != box_key:
            region = zoomed_region(volume, zoom, anchor_kji=first)
            # Ambiguity is told by the wider density models that it was calibrated with.
            widened = DensityFronts(region, widen_homogeneous=True)
            scene = self._scene = _Scene(zoom, box_key, DensityFronts(region), widened, [])
        return scene

    def _step(self, scene: _Scene, prompts: ResolvedPrompts, key: bytes) -> _Step:
        """Answer the newest of some clicks."""
        region = scene.fronts.region
        clicks = working_clicks(region, prompts)
        inside = prompts.clicks.inside_box(region.grid)
        previous = scene.steps[-1].working if scene.steps else np.zeros_like(region.array_hu)
        guided = self.settings.density_guidance
        outside = None if prompts.clicks.box_ras is None else ~inside
        shown = network_input(scene.fronts, clicks, previous, guided=guided, outside=outside)
        probability = special.expit(self._tiled(shown, is_first=not scene.steps)) * inside
        newest = region.to_working(prompts.voxels_kji[-1])
        answer = merged(previous, probability.astype(np.float32), clicks, newest_kji=newest)
        fine = self._fine(scene, prompts, answer)
        attention: FloatArray = special.expit(shown[ATTENTION]).astype(np.float32)
        ambiguity = None
        if guided:
            within = None if outside is None else inside
            ambiguity = scene.widened.ambiguity(
                clicks.positive_kji, clicks.negative_kji, inside=within
            )
        return _Step(key, answer, fine, attention, ambiguity)

    def _fine(self, scene: _Scene, prompts: ResolvedPrompts, working: FloatArray) -> Patch:
        """Bring an answer to the volume's own voxels, merged with the one before."""
        volume, region = self._required_volume(), scene.fronts.region
        sharpen = self.settings.refine_boundary
        found = refined(volume.array, region, working, sharpen=sharpen)
        patches = [found] if not scene.steps else [found, scene.steps[-1].fine]
        corners = [(p.lower_kji, p.lower_kji + p.values.shape) for p in patches]
        marks = np.concatenate([prompts.voxels_kji, *prompts.marks])
        lower = np.min([marks.min(axis=0), *(a for a, _ in corners)], axis=0)
        upper = np.max([marks.max(axis=0) + 1, *(b for _, b in corners)], axis=0)
        k, j, i = (int(n) for n in upper - lower)
        on_box = [Patch(p.values, p.lower_kji - lower).on((k, j, i)) for p in patches]
        part = lattice_grid(volume.grid, lower, upper - lower)
        new = on_box[0] * prompts.clicks.inside_box(part)
        old = on_box[-1] if scene.steps else np.zeros_like(new)
        clicks = WorkingClicks(
            prompts.positive_kji - lower,
            prompts.negative_kji - lower,
            prompts.marked(POSITIVE) - lower,
            prompts.marked(NEGATIVE) - lower,
        )
        near = NEAR * max(region.factors_kji)
        newest = prompts.voxels_kji[-1] - lower
        return _trimmed(Patch(merged(old, new, clicks, newest_kji=newest, near=near), lower))

    def _tiled(self, shown: FloatArray, *, is_first: bool) -> FloatArray:
        """Give the logits of a region; the first answer has more of the walker than was learned."""
        logits = tiled_logits(self._logits, shown, multiple=self.network.config.multiple)
        if is_first:
            walk = 2 * np.arctanh(np.clip(shown[WALK], -SURE, SURE))
            logits += self.settings.guidance_strength * MORE_WALK * walk
        return logits

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
        return np.asarray(logits[0, 0].float().cpu().numpy())


def _trimmed(patch: Patch) -> Patch:
    """Cut off the empty margins of a patch."""
    lower, upper = bounding_box(patch.values > 0)
    box = tuple(slice(a, b + 1) for a, b in zip(lower, upper, strict=True))
    return Patch(np.ascontiguousarray(patch.values[box]), patch.lower_kji + lower)
