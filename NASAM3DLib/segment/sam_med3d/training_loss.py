"""The interactive loss: eleven steps of clicks on the network's own errors, summed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from NASAM3DLib.segment.sam_med3d.click_loop import ClickMemory, error_click
from NASAM3DLib.segment.sam_med3d.inference import upsampled
from NASAM3DLib.segment.sam_med3d.model import SamMed3D
from NASAM3DLib.segment.sam_med3d.prompt_encoder import Points

N_STEPS = 11
"""Steps of one interaction."""

FIRST_REFINEMENT, LAST_REFINEMENT = 2, 8
"""Between these steps, drawn evenly, one step is shown no click; so is the last step."""

CLICK_LOGIT = 0.5
"""A voxel counts as found for the next click where its logit exceeds this."""

_SMOOTH = 1e-5


def dice_and_entropy(logits: Tensor, truth: Tensor) -> Tensor:
    """Compare logits with the truth.

    Parameters
    ----------
    logits, truth : Tensor, shape (b, 1, i, j, k)
        Logits, and 0 or 1.

    Returns
    -------
    Tensor, scalar

    Notes
    -----
    ``1 - (2 sum p y + e) / (sum p^2 + sum y^2 + e)`` for each sample, with p the sigmoid of the
    logits and e = 1e-5, averaged, plus the mean binary cross-entropy.
    """
    logits, truth = logits.float(), truth.float()
    probability = logits.sigmoid().flatten(1)
    target = truth.flatten(1)
    shared = 2 * (probability * target).sum(dim=1) + _SMOOTH
    total = probability.square().sum(dim=1) + target.square().sum(dim=1) + _SMOOTH
    entropy = functional.binary_cross_entropy_with_logits(logits, truth)
    return (1 - shared / total).mean() + entropy


def interactive_loss(
    model: SamMed3D,
    image: Tensor,
    truth: npt.NDArray[np.bool_],
    *,
    rng: np.random.Generator,
    memory: ClickMemory = "latest",
) -> Tensor:
    """Run one interaction and sum the loss of its steps.

    Parameters
    ----------
    model : SamMed3D
        The network.
    image : Tensor, shape (b, 1, n, n, n)
        z-scores.
    truth : ndarray, shape (b, n, n, n), bool
        Objects, axes i, j, k.
    rng : numpy.random.Generator
        Draws clicks and the refining step.
    memory : {"latest", "all"}
        Whether a step is shown its own click, as when the public weights were trained, or all
        clicks so far.

    Returns
    -------
    Tensor, scalar

    Notes
    -----
    The logits of each step are the mask prompt of the next and are not detached: the gradient runs
    through the whole chain. Where the encoder recomputes its blocks, so do the steps.
    """
    config = model.config
    target = torch.from_numpy(truth).to(image.device)[:, None]
    embedding: Tensor = model.image_encoder(image)
    low = embedding.new_zeros((len(image), 1, *(config.mask_size,) * 3))
    found = np.zeros_like(truth)
    refining = int(rng.integers(FIRST_REFINEMENT, LAST_REFINEMENT + 1))
    shown: Points | None = None
    total = embedding.new_zeros((), dtype=torch.float32)
    for step in range(N_STEPS):
        points = None
        if step not in (refining, N_STEPS - 1):
            points = _clicked(found, truth, rng=rng, device=image.device)
            if memory == "all" and shown is not None:
                points = (torch.cat([shown[0], points[0]], 1), torch.cat([shown[1], points[1]], 1))
            shown = points
        low = _step(model, embedding, points, low)
        full = upsampled(low.float(), config.image_size)
        total = total + dice_and_entropy(full, target)
        found = (full.detach()[:, 0] > CLICK_LOGIT).cpu().numpy()
    return total


def _step(model: SamMed3D, embedding: Tensor, points: Points | None, low: Tensor) -> Tensor:
    """Decode one step, keeping its activations or not."""

    def decode(features: Tensor, mask: Tensor) -> Tensor:
        logits: Tensor = model(features, points, mask=mask)[0]
        return logits

    if model.image_encoder.recompute and torch.is_grad_enabled():
        result: Tensor = checkpoint(decode, embedding, low, use_reentrant=False)
        return result
    return decode(embedding, low)


def _clicked(
    found: npt.NDArray[np.bool_],
    truth: npt.NDArray[np.bool_],
    *,
    rng: np.random.Generator,
    device: torch.device,
) -> Points:
    """Click on an error of each sample."""

    def draw(n_places: int) -> int:
        return int(rng.integers(n_places))

    clicks = [error_click(f, t, draw) for f, t in zip(found, truth, strict=True)]
    voxels = torch.tensor([[voxel] for voxel, _ in clicks], dtype=torch.float32, device=device)
    return voxels, torch.tensor([[label] for _, label in clicks], device=device)
