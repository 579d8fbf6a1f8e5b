"""SwinUNETR-v2 of MONAI, trained on the labels of the very folder that is to be segmented.

The comparator that needs what this library does without: labels of the same objects in other
patients. Cases are dealt into folds, and each is segmented by the network that has not seen it.
Every object that has a name in at least two cases is a class with a sigmoid of its own; classes
that nobody labelled in a case do not count there, so that folders labelled in part can be used.

References
----------
A. Hatamizadeh et al., "Swin UNETR: Swin Transformers for Semantic Segmentation of Brain Tumors in
MRI Images", BrainLes 2021; Y. He et al., "SwinUNETR-V2: Stronger Swin Transformers with Stagewise
Convolutions for 3D Medical Image Segmentation", MICCAI 2023.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from NASAM3DLib.benchmark.swin_plan import METHOD_FILE, PLAN_FILE, Example, Plan, SwinSettings
from NASAM3DLib.files import replacing, write_text
from NASAM3DLib.progress import ProgressCallback, no_progress, sub_progress

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

SCALE_HU = 1000.0
SMALL_PATCH = 32
"""Of a patch of this edge one voxel is left at the bottom of the network, which cannot be
normalised by itself: there groups of channels are normalised instead."""

ON_OBJECT = 0.67
"""Share of the patches that are centred on a voxel of an object."""

METHOD_TEXT = '''"""SwinUNETR-v2 with the weights in this folder, for ``benchmark --methods``."""

from pathlib import Path

from NASAM3DLib.benchmark.comparators.swin_unetr import trained

METHODS = (trained(Path(__file__).parent),)
'''


def build(plan: Plan) -> nn.Module:
    """Make a network of random weights.

    Parameters
    ----------
    plan : Plan
        Classes and size.

    Returns
    -------
    torch.nn.Module
        MONAI's SwinUNETR, version 2, with a logit for each class.
    """
    from monai.networks.nets.swin_unetr import SwinUNETR

    settings = plan.settings
    torch.manual_seed(settings.seed)
    network: nn.Module = SwinUNETR(
        in_channels=1,
        out_channels=len(plan.classes),
        feature_size=settings.feature_size,
        norm_name="instance" if settings.patch > SMALL_PATCH else ("group", {"num_groups": 4}),
        use_v2=True,
    )
    return network


def train(
    examples: Sequence[Example],
    folder: Path,
    settings: SwinSettings,
    *,
    progress: ProgressCallback = no_progress,
) -> Path:
    """Train a network for each fold that has none yet.

    Parameters
    ----------
    examples : sequence of Example
        All cases.
    folder : Path
        Where networks, plan and a file for ``--methods`` are written.
    settings : SwinSettings
        Size and steps; networks of another plan are trained anew.
    progress : callable
        Told how far the work is.

    Returns
    -------
    Path
        The file for ``--methods``.

    Raises
    ------
    ValueError
        If no object has a name in two cases.
    """
    plan = Plan.of(examples, settings)
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(asdict(plan), indent=1, sort_keys=True)
    known = folder / PLAN_FILE
    if not known.is_file() or known.read_text(encoding="utf-8") != text:
        for path in folder.glob("fold-*.npz"):
            path.unlink()
        write_text(known, text, force=True)
    for fold in range(len(plan.learnt)):
        if weights_of(folder, fold).is_file():
            continue
        part = sub_progress(progress, fold / len(plan.learnt), (fold + 1) / len(plan.learnt))
        seen = [one for one in examples if plan.folds.get(one.name, fold) != fold]
        network = _trained(plan, seen, fold, part)
        with replacing(weights_of(folder, fold), force=True) as passing:
            np.savez(passing, **{n: value.numpy() for n, value in network.state_dict().items()})
    write_text(folder / METHOD_FILE, METHOD_TEXT, force=True)
    return folder / METHOD_FILE


def weights_of(folder: Path, fold: int) -> Path:
    """Give the file of one network.

    Parameters
    ----------
    folder : Path
        Folder of the networks.
    fold : int
        Which.

    Returns
    -------
    Path
    """
    return folder / f"fold-{fold}.npz"


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the weights of one network.

    Parameters
    ----------
    path : Path
        File of :func:`weights_of`.

    Returns
    -------
    dict of str to Tensor
    """
    with np.load(path, allow_pickle=False) as kept:
        return {name: torch.from_numpy(kept[name]) for name in kept}


def network_input(array_hu: FloatArray) -> FloatArray:
    """Scale a volume for the network.

    Parameters
    ----------
    array_hu : ndarray, any shape, float32
        HU.

    Returns
    -------
    ndarray, same shape, float32
        In [-1, 1].
    """
    return np.asarray(np.clip(array_hu / SCALE_HU, -1, 1), dtype=np.float32)


def labelled_loss(logits: Tensor, truth: Tensor, labelled: Tensor) -> Tensor:
    """Compute Dice and cross-entropy over the classes that were labelled.

    Parameters
    ----------
    logits, truth : Tensor, shape (c, k, j, i)
        Logits and masks of each class.
    labelled : Tensor, shape (c,), bool
        Whether a class was labelled in this case.

    Returns
    -------
    Tensor
        ``mean over labelled classes of (1 - soft Dice) + binary cross-entropy``.
    """
    seen, wanted = logits[labelled], truth[labelled]
    probability = torch.sigmoid(seen)
    axes = (1, 2, 3)
    both, sizes = (probability * wanted).sum(axes), (probability + wanted).sum(axes)
    overlap = (2 * both + 1) / (sizes + 1)
    entropy = functional.binary_cross_entropy_with_logits(seen, wanted)
    return (1 - overlap).mean() + entropy


def _trained(
    plan: Plan, examples: Sequence[Example], fold: int, progress: ProgressCallback
) -> nn.Module:
    """Train one network."""
    settings = plan.settings
    network = build(plan).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.n_steps)
    rng = np.random.default_rng([settings.seed, fold])
    for step in range(settings.n_steps):
        progress(f"SwinUNETR, fold {fold + 1}", step / settings.n_steps)
        example = examples[int(rng.integers(len(examples)))]
        shown, truth, labelled = _patch(example, plan, rng)
        optimizer.zero_grad()
        logits = network(torch.from_numpy(shown)[None, None])[0]
        loss = labelled_loss(logits, torch.from_numpy(truth), torch.from_numpy(labelled))
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    logger.info("SwinUNETR, fold %d: last loss %.3f", fold, float(loss.detach()))
    return network.eval()


def _patch(
    example: Example, plan: Plan, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Draw a patch: values, masks of all classes, which of them are labelled."""
    volume = example.volumes[int(rng.integers(len(example.volumes)))]
    labelled = np.array([name in example.masks for name in plan.classes])
    edge = plan.settings.patch
    shape = np.array(volume.array.shape)
    centre = rng.integers(0, shape)
    if rng.random() < ON_OBJECT:
        name = plan.classes[int(rng.choice(np.flatnonzero(labelled)))]
        voxels = np.argwhere(example.masks[name])
        centre = voxels[int(rng.integers(len(voxels)))]
    lower = np.clip(centre - edge // 2, 0, np.maximum(shape - edge, 0))
    box = tuple(slice(int(a), int(a) + edge) for a in lower)
    shown = _filled(network_input(volume.array[box]), edge, -1.0)
    truth = np.zeros((len(plan.classes), edge, edge, edge), dtype=np.float32)
    for number in np.flatnonzero(labelled):
        mask = example.masks[plan.classes[int(number)]][box].astype(np.float32)
        truth[number] = _filled(mask, edge, 0.0)
    return shown, truth, labelled


def _filled(array: FloatArray, edge: int, value: float) -> FloatArray:
    """Fill a patch that reaches beyond the volume."""
    result = np.full((edge,) * 3, value, dtype=np.float32)
    result[tuple(slice(0, n) for n in array.shape)] = array
    return result
