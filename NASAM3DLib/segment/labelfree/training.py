"""Training on generated volumes: click rounds, EMA, checkpoints that continue bit by bit."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from NASAM3DLib.files import replacing
from NASAM3DLib.segment.labelfree.interaction import Interaction
from NASAM3DLib.segment.labelfree.network import LabelFreeNetwork, NetworkConfig, channels_last
from NASAM3DLib.segment.labelfree.training_data import GeneratedSource, TrainingSettings, rate_at
from NASAM3DLib.segment.labelfree.weights import LoadedWeights, save_weights
from NASAM3DLib.segment.sam_med3d.checkpoint import read_checkpoint
from NASAM3DLib.segment.sam_med3d.training_loss import dice_and_entropy
from NASAM3DLib.segment.training_loop import TrainingLoop, check_settings

FORMAT = "nasam3d-labelfree-training-2"

ROUND_WEIGHTS = (22, 16, 13, 11, 9, 8, 7, 5, 4, 3, 2)
"""How often an interaction has 0, 1, ... 10 corrections."""

FREE_TO_CHANGE = ("n_updates", "save_every")
"""Settings that may differ when training is continued."""

GRADIENT_LIMIT = 2.0
"""Largest norm of the gradient of one step."""


class Trainer(TrainingLoop):
    """Trains a network; the same seed on the same machine gives the same weights.

    Parameters
    ----------
    network : LabelFreeNetwork
        Changed in place.
    settings : TrainingSettings
        How.
    device : str
        "cpu" or "cuda".

    Notes
    -----
    Every click round is backpropagated and followed by a step of the optimiser. The mask that is
    fed back is the merged one (:mod:`~NASAM3DLib.segment.labelfree.merge`), as at inference.
    Volumes and clicks of an interaction are drawn from its number and the seed alone, so that
    continued training is the same as uninterrupted training.
    """

    def __init__(
        self, network: LabelFreeNetwork, settings: TrainingSettings, *, device: str = "cpu"
    ) -> None:
        super().__init__(settings)
        self.settings = settings
        self.device = torch.device(device)
        self.network = network.to(self.device).train()
        self.source = GeneratedSource(settings, device=device)
        self.optimiser = torch.optim.AdamW(
            network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.averaged = {name: value.clone() for name, value in network.state_dict().items()}
        self.start: dict[str, Any] | None = None
        self.dices: list[list[float]] = []
        self.seconds = 0.0

    def start_from(self, loaded: LoadedWeights) -> None:
        """Take the weights of a trained network instead of random ones.

        Parameters
        ----------
        loaded : LoadedWeights
            Weights and their record, which becomes a part of the new one.

        Raises
        ------
        ValueError
            If that network has other channels.
        """
        wanted, got = self.network.config.channels, loaded.network.config.channels
        if wanted != got:
            raise ValueError(
                f"The weights are those of a network with channels {got}, and one with {wanted} is "
                "to be trained: ask for the same channels."
            )
        self.network.load_state_dict(loaded.network.state_dict())
        self.averaged = {name: v.clone() for name, v in self.network.state_dict().items()}
        self.start = {"sha256": loaded.sha256, "training": loaded.record}

    def stage(self) -> str:
        """Say how training goes.

        Returns
        -------
        str
        """
        if not self.losses:
            return "training"
        recent = self.dices[-100:]
        words = [
            f"{np.mean([d[n] for d in recent if len(d) > n]):.2f}"
            for n in (0, 2, 4)
            if any(len(d) > n for d in recent)
        ]
        return f"loss {np.mean(self.losses[-100:]):.3f}, Dice {'/'.join(words)}"

    def save(self, path: Path, *, force: bool = False) -> None:
        """Write a checkpoint from which training can be continued.

        Parameters
        ----------
        path : Path
            File to write.
        force : bool
            Whether an existing file may be replaced.
        """
        content = {
            "format": FORMAT,
            "channels": list(self.network.config.channels),
            "settings": asdict(self.settings),
            "weights": _on_cpu(self.network.state_dict()),
            "averaged": _on_cpu(self.averaged),
            "optimiser": self.optimiser.state_dict(),
            "start": self.start,
            "losses": list(self.losses),
            "dices": [list(values) for values in self.dices],
            "seconds": self.seconds,
        }
        with replacing(path, force=force) as passing:
            torch.save(content, passing)

    def restore(self, path: Path) -> None:
        """Take up training where a checkpoint left it.

        Parameters
        ----------
        path : Path
            Checkpoint of :meth:`save`.

        Raises
        ------
        ValueError
            If it is no checkpoint of a training, or of one with another network or settings.
        """
        content = read_training(path)
        former = {**content["settings"], "channels": list(content["channels"])}
        present = {**asdict(self.settings), "channels": list(self.network.config.channels)}
        check_settings(former, present, path, free=FREE_TO_CHANGE)
        self.network.load_state_dict(content["weights"])
        self.averaged = {n: v.to(self.device) for n, v in content["averaged"].items()}
        self.optimiser.load_state_dict(content["optimiser"])
        self.start = content["start"]
        self.losses = [float(loss) for loss in content["losses"]]
        self.dices = [[float(dice) for dice in values] for values in content["dices"]]
        self.seconds = float(content["seconds"])

    def _update(self, number: int) -> float:
        """Train on one interaction and keep its Dice."""
        started = time.process_time()
        loss, dices = self._interact(number)
        self.seconds += time.process_time() - started
        self.dices.append(dices)
        return loss

    def _interact(self, number: int) -> tuple[float, list[float]]:
        """Train on one batch through its click rounds; gives mean loss, and Dice by round."""
        settings = self.settings
        rng = np.random.default_rng([settings.seed, 1, number])
        for group in self.optimiser.param_groups:
            group["lr"] = settings.learning_rate * rate_at(number, settings)
        first = number * settings.batch_size
        batch = [self.source.interaction(first + n, rng) for n in range(settings.batch_size)]
        shares = np.array(ROUND_WEIGHTS) / sum(ROUND_WEIGHTS)
        n_rounds = 1 + int(rng.choice(len(shares), p=shares))
        losses, dices = [], []
        for _ in range(n_rounds):
            # All are clicked, even if one has no error left: no short circuit.
            batch = [one for one, more in [(b, b.click(rng)) for b in batch] if more]
            if not batch:
                break
            loss, values = self._round(batch)
            losses.append(loss)
            dices.append(float(np.mean(values)))
        self._average(number)
        return float(np.mean(losses)), dices

    def _round(self, batch: list[Interaction]) -> tuple[float, list[float]]:
        """Answer one click on each object, learn from it, and feed the merged masks back."""
        shown = torch.from_numpy(np.stack([one.shown() for one in batch])).to(self.device)
        truth = torch.from_numpy(np.stack([one.truth for one in batch])).to(self.device)[:, None]
        reduced = self.settings.precision == "bfloat16"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=reduced):
            logits: Tensor = self.network(shown)
        loss = dice_and_entropy(logits, truth)
        value = float(loss.detach())
        if not np.isfinite(value):
            raise RuntimeError(
                "The loss is not finite: lower the learning rate. The last checkpoint is kept."
            )
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), GRADIENT_LIMIT)
        self.optimiser.step()
        probability = logits.detach()[:, 0].sigmoid().cpu().numpy()
        return value, [one.take(p) for one, p in zip(batch, probability, strict=True)]

    def _average(self, number: int) -> None:
        """Move the averaged weights towards the present ones."""
        decay = min(self.settings.ema, (number + 1) / (number + 10))
        for name, value in self.network.state_dict().items():
            self.averaged[name].lerp_(value, 1 - decay)


def read_training(path: Path) -> dict[str, Any]:
    """Read a training checkpoint without executing anything.

    Parameters
    ----------
    path : Path
        Checkpoint of :meth:`Trainer.save`.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If it is none.
    """
    content = read_checkpoint(path)
    if content.get("format") != FORMAT:
        raise ValueError(f"{path} is no checkpoint of a training of the label-free network.")
    return content


def averaged_network(content: Mapping[str, Any]) -> LabelFreeNetwork:
    """Make the network of the averaged weights.

    Parameters
    ----------
    content : mapping
        What :func:`read_training` gave.

    Returns
    -------
    LabelFreeNetwork
        In evaluation mode.
    """
    network = LabelFreeNetwork(NetworkConfig(tuple(content["channels"])))
    network.load_state_dict(content["averaged"])
    return channels_last(network).eval()


def export(checkpoint: Path, path: Path, *, force: bool = False) -> str:
    """Write the averaged weights of a training as a file for the engine.

    Parameters
    ----------
    checkpoint : Path
        Checkpoint of :meth:`Trainer.save`.
    path : Path
        File to write, ``.safetensors``; the record lies beside it.
    force : bool
        Whether existing files may be replaced.

    Returns
    -------
    str
        SHA-256 of the weights.
    """
    content = read_training(checkpoint)
    settings, dices = content["settings"], content["dices"]
    recent = dices[-200:]
    record = {
        "data": "generated volumes only: no patient, no label, no weights of others",
        "interactions": len(dices),
        "objects": len(dices) * settings["batch_size"],
        "steps": sum(len(values) for values in dices),
        "cpu_seconds": round(float(content["seconds"])),
        "settings": settings,
        "final_loss": float(np.mean(content["losses"][-200:])),
        "final_training_dice": {
            str(n + 1): round(float(np.mean([v[n] for v in recent if len(v) > n])), 4)
            for n in (0, 2, 4, 9)
            if any(len(v) > n for v in recent)
        },
        "start": content["start"],
    }
    return save_weights(averaged_network(content), path, record=record, force=force)


def _on_cpu(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy weights to the host."""
    return {name: value.detach().cpu().clone() for name, value in state.items()}
