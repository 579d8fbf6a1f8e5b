"""Fine-tuning: optimiser, learning rates, mixed precision, checkpoints that can be continued."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from NASAM3DLib.segment.sam_med3d.checkpoint import (
    load_checkpoint,
    read_checkpoint,
    save_checkpoint,
)
from NASAM3DLib.segment.sam_med3d.click_loop import ClickMemory
from NASAM3DLib.segment.sam_med3d.model import SamMed3D
from NASAM3DLib.segment.sam_med3d.training_data import SampleSource
from NASAM3DLib.segment.sam_med3d.training_loss import interactive_loss
from NASAM3DLib.segment.training_loop import TrainingLoop, check_settings

TRAINING_KEY = "training"
OPTIMISER_KEY = "optimizer_state_dict"
SCALER_KEY = "scaler_state_dict"

DECODER_RATE = 0.1
"""Learning rate of prompt encoder and mask decoder, in that of the image encoder."""

DROPS, DROP_FACTOR = (0.6, 0.9), 0.1
"""After these parts of the updates, learning rates fall by this factor."""

FREE_TO_CHANGE = ("n_updates", "save_every")
"""Settings that may differ when training is continued."""

_REDUCED = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class TrainingSettings:
    """How the network is trained.

    Parameters
    ----------
    n_updates : int
        Steps of the optimiser.
    batch_size, accumulation : int
        Samples at once, and batches whose gradients are averaged for one update.
    learning_rate : float
        Of the image encoder; a tenth of it for the rest. 8e-5 suits fine-tuning, 8e-4 a start
        from random weights.
    weight_decay : float
        Of AdamW.
    memory : {"latest", "all"}
        Clicks that a step is shown.
    precision : {"float32", "bfloat16", "float16"}
        Reduced precision means autocast; float16 scales its losses.
    recompute : bool
        Whether activations are computed anew in the backward pass instead of kept.
    seed : int
        Decides samples and clicks.
    save_every : int
        Updates from one checkpoint to the next.

    Raises
    ------
    ValueError
        If a number is not positive or a choice unknown.
    """

    n_updates: int = 2000
    batch_size: int = 2
    accumulation: int = 20
    learning_rate: float = 8e-5
    weight_decay: float = 0.1
    memory: ClickMemory = "latest"
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    recompute: bool = False
    seed: int = 2023
    save_every: int = 50

    def __post_init__(self) -> None:
        for name in ("n_updates", "batch_size", "accumulation", "learning_rate", "save_every"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}.")
        if self.precision not in ("float32", *_REDUCED) or self.memory not in ("all", "latest"):
            raise ValueError(
                f"Unknown precision {self.precision!r} or memory {self.memory!r}: choose float32, "
                "bfloat16 or float16, and latest or all."
            )


class Trainer(TrainingLoop):
    """Trains a network on samples; the same seed on the same machine gives the same weights.

    Parameters
    ----------
    model : SamMed3D
        Changed in place.
    source : SampleSource
        Samples of the network's size.
    settings : TrainingSettings
        How.
    device : str
        "cpu" or "cuda".

    Notes
    -----
    AdamW with betas 0.9 and 0.999. Samples and clicks of an update are drawn from its number and
    the seed alone, so that continued training is the same as uninterrupted training.
    """

    def __init__(
        self, model: SamMed3D, source: SampleSource, settings: TrainingSettings, *, device: str
    ) -> None:
        super().__init__(settings)
        self.settings = settings
        self.source = source
        self.device = torch.device(device)
        self.model = model.to(self.device).train()
        self.model.image_encoder.recompute = settings.recompute
        rest = [*model.prompt_encoder.parameters(), *model.mask_decoder.parameters()]
        self.optimiser = torch.optim.AdamW(
            [
                {"params": list(model.image_encoder.parameters()), "share": 1.0},
                {"params": rest, "share": DECODER_RATE},
            ],
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
        )
        scaled = settings.precision == "float16" and self.device.type == "cuda"
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=scaled)

    def save(self, path: Path, *, force: bool = False) -> None:
        """Write a checkpoint from which training can be continued.

        Parameters
        ----------
        path : Path
            File to write.
        force : bool
            Whether an existing file may be replaced.
        """
        extra = {
            TRAINING_KEY: {"losses": list(self.losses), "settings": asdict(self.settings)},
            OPTIMISER_KEY: self.optimiser.state_dict(),
            SCALER_KEY: self._scaler.state_dict(),
        }
        save_checkpoint(self.model, path, extra=extra, force=force)

    def restore(self, path: Path) -> None:
        """Take up training where a checkpoint left it.

        Parameters
        ----------
        path : Path
            Checkpoint of :meth:`save`.

        Raises
        ------
        ValueError
            If it is no checkpoint of a training, or of one with other settings.
        """
        content = read_checkpoint(path)
        training = content.get(TRAINING_KEY)
        if not isinstance(training, dict) or OPTIMISER_KEY not in content:
            raise ValueError(
                f"{path} holds weights but no state of training: start from it as weights instead."
            )
        check_settings(training["settings"], asdict(self.settings), path, free=FREE_TO_CHANGE)
        weights = load_checkpoint(path, config=self.model.config).state_dict()
        self.model.load_state_dict(weights)
        self.optimiser.load_state_dict(content[OPTIMISER_KEY])
        self._scaler.load_state_dict(content.get(SCALER_KEY, {}))
        self.losses = [float(loss) for loss in training["losses"]]

    def _update(self, number: int) -> float:
        """Make one step of the optimiser; gives the mean loss of its batches."""
        settings = self.settings
        rate = settings.learning_rate * _rate_at(number / settings.n_updates)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["share"]
        self.optimiser.zero_grad(set_to_none=True)
        total = 0.0
        for part in range(settings.accumulation):
            loss = self._batch_loss(number * settings.accumulation + part)
            total += float(loss.detach()) / settings.accumulation
            if not np.isfinite(total):
                raise RuntimeError(
                    f"The loss of update {number + 1} is not finite: lower the learning rate or "
                    "use bfloat16 or float32. The last checkpoint is kept."
                )
            torch.autograd.backward(self._scaler.scale(loss / settings.accumulation))
        self._scaler.step(self.optimiser)
        self._scaler.update()
        return total

    def _batch_loss(self, number: int) -> torch.Tensor:
        """Compute the loss of one batch, whose number decides its samples and clicks."""
        settings = self.settings
        rng = np.random.default_rng([settings.seed, number])
        first = number * settings.batch_size
        samples = [self.source.sample(first + n, rng) for n in range(settings.batch_size)]
        image = torch.from_numpy(np.stack([s.image_ijk for s in samples])).to(self.device)
        truth = np.stack([s.truth_ijk for s in samples])
        reduced = _REDUCED.get(settings.precision)
        with torch.autocast(self.device.type, dtype=reduced, enabled=reduced is not None):
            return interactive_loss(
                self.model, image[:, None], truth, rng=rng, memory=settings.memory
            )


def _rate_at(part: float) -> float:
    """Give the learning rate after a part of the updates, in that of the beginning."""
    return float(DROP_FACTOR ** sum(part >= drop for drop in DROPS))
