"""``train labelfree``: what the verb does for the network that learns from generated volumes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import typer

from NASAM3DLib.cli.options import prepare_output

ENDING = ".pt"


@dataclass(frozen=True)
class LabelFreeStart:
    """What training starts from.

    Parameters
    ----------
    channels : str
        Channels of each level, with commas.
    weights : Path, optional
        Weights to start from; by default random ones.
    resume : bool
        Whether to continue the checkpoint if it is there.
    """

    channels: str
    weights: Path | None
    resume: bool


def run_labelfree(
    output: Path,
    asked: Mapping[str, Any],
    start: LabelFreeStart,
    *,
    device: Literal["auto", "cpu", "cuda"],
    force: bool,
) -> None:
    """Train, then write the weights and a picture of the curve beside the checkpoint.

    Parameters
    ----------
    output : Path
        Checkpoint to write, ``.pt``.
    asked : mapping
        Settings of the training; None for their default.
    start : LabelFreeStart
        From what.
    device : str
        "auto", "cpu" or "cuda".
    force : bool
        Whether existing files may be replaced.
    """
    from NASAM3DLib.cli.console import shown_progress, stdout

    prepare_output(output, (ENDING,), force=force or start.resume)
    from NASAM3DLib.segment.labelfree.curve import save_curve
    from NASAM3DLib.segment.labelfree.network import build_network
    from NASAM3DLib.segment.labelfree.training import Trainer, export
    from NASAM3DLib.segment.labelfree.training_data import TrainingSettings
    from NASAM3DLib.segment.labelfree.weights import load_weights
    from NASAM3DLib.segment.sam_med3d.inference import torch_device

    settings = TrainingSettings(**{name: v for name, v in asked.items() if v is not None})
    network = build_network(_config(start.channels), seed=settings.seed)
    trainer = Trainer(network, settings, device=torch_device(device).type)
    if start.weights is not None:
        trainer.start_from(load_weights(start.weights))
    with shown_progress("Training") as progress:
        go = trainer.resume if start.resume else trainer.run
        losses = go(output, progress=progress, force=force)
    weights, picture = output.with_suffix(".safetensors"), output.with_suffix(".png")
    digest = export(output, weights, force=force or start.resume)
    save_curve(trainer.losses, trainer.dices, picture, force=force or start.resume)
    stdout().print(
        f"{output}: {len(losses)} updates, {trainer.stage()}.\n{weights}: SHA-256 {digest}.\n"
        f"{picture}: the curve.",
        markup=False,
    )


def _config(channels: str) -> Any:
    """Read the size of the network."""
    from NASAM3DLib.segment.labelfree.network import NetworkConfig

    try:
        return NetworkConfig(tuple(int(n) for n in channels.split(",")))
    except ValueError as error:
        raise typer.BadParameter(f"--channels {channels}: {error}") from error
