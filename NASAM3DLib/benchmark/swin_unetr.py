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
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from NASAM3DLib.benchmark.case import Case
from NASAM3DLib.files import replacing, write_text
from NASAM3DLib.progress import ProgressCallback, no_progress, sub_progress
from NASAM3DLib.reconstruct.volume import Volume

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

PLAN_FILE, METHOD_FILE = "folds.json", "method.py"
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


@dataclass(frozen=True)
class SwinSettings:
    """How the network is made and trained.

    Parameters
    ----------
    n_steps : int
        Steps of one patch for each fold.
    patch : int
        Voxels along the edges of a patch, a multiple of 32.
    feature_size : int
        Width of the network, a multiple of 12.
    learning_rate : float
        Highest rate of AdamW, which falls to zero like a cosine.
    n_folds : int
        Folds; with fewer cases, each is a fold.
    seed : int
        Decides weights and patches.

    Raises
    ------
    ValueError
        If a size does not fit the network, or there are fewer than two folds.
    """

    n_steps: int = 4000
    patch: int = 96
    feature_size: int = 24
    learning_rate: float = 4e-4
    n_folds: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.patch < 32 or self.patch % 32 or self.feature_size < 12 or self.feature_size % 12:
            raise ValueError(
                "SwinUNETR needs patches whose edge is a multiple of 32 and a width that is a "
                f"multiple of 12, got {self.patch} and {self.feature_size}."
            )
        if self.n_folds < 2 or self.n_steps < 1:
            raise ValueError(
                f"Training needs at least one step and two folds, got {self.n_steps} and "
                f"{self.n_folds}."
            )


@dataclass(frozen=True, eq=False)
class Example:
    """A case to learn from.

    Parameters
    ----------
    name : str
        Name of the case.
    volumes : tuple of Volume
        The same body as it is and reconstructed, HU, on one grid.
    masks : dict of str to ndarray, shape (k, j, i), bool
        Objects by name.
    """

    name: str
    volumes: tuple[Volume, ...]
    masks: dict[str, BoolArray]

    @classmethod
    def of(cls, case: Case, volumes: Sequence[Volume]) -> Example:
        """Take the objects of a case.

        Parameters
        ----------
        case : Case
            Truth.
        volumes : sequence of Volume
            What is learnt from.

        Returns
        -------
        Example
        """
        masks = {target.name: target.mask.array for target in case.targets}
        return cls(case.name, tuple(volumes), masks)


@dataclass(frozen=True)
class Plan:
    """Which network has seen whom, and what it tells apart.

    Parameters
    ----------
    classes : tuple of str
        Names of objects, one for each output of the networks.
    folds : dict of str to int
        For each case the fold whose network has not seen it.
    learnt : tuple of tuple of str
        For each fold the classes that its training cases have labels of.
    settings : SwinSettings
        How the networks were made.
    """

    classes: tuple[str, ...]
    folds: dict[str, int]
    learnt: tuple[tuple[str, ...], ...]
    settings: SwinSettings

    @classmethod
    def of(cls, examples: Sequence[Example], settings: SwinSettings) -> Plan:
        """Deal cases into folds.

        Parameters
        ----------
        examples : sequence of Example
            All cases.
        settings : SwinSettings
            Number of folds.

        Returns
        -------
        Plan

        Raises
        ------
        ValueError
            If no object has a name in two cases.
        """
        counts = Counter(name for example in examples for name in example.masks)
        classes = tuple(sorted(name for name, n in counts.items() if n > 1))
        used = [one for one in examples if any(name in classes for name in one.masks)]
        if not classes:
            raise ValueError(
                "SwinUNETR needs at least two cases with an object of the same name to learn from: "
                "name the labels alike, or leave its training out."
            )
        n_folds = min(settings.n_folds, len(used))
        folds = {example.name: n % n_folds for n, example in enumerate(used)}
        learnt = tuple(
            tuple(c for c in classes if any(c in e.masks and folds[e.name] != n for e in used))
            for n in range(n_folds)
        )
        return cls(classes, folds, learnt, settings)

    @classmethod
    def read(cls, folder: Path) -> Plan:
        """Read what :func:`train` wrote.

        Parameters
        ----------
        folder : Path
            Folder of the networks.

        Returns
        -------
        Plan
        """
        entry = json.loads((folder / PLAN_FILE).read_text(encoding="utf-8"))
        learnt = tuple(tuple(names) for names in entry["learnt"])
        settings = SwinSettings(**entry["settings"])
        return cls(tuple(entry["classes"]), entry["folds"], learnt, settings)


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
