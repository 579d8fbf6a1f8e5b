"""``train``: fine-tune a network on generated patients."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from NASAM3DLib.cli.options import Debug, Device, Force, Verbose, help_of, prepare_output

NAME = "train"
HELP = help_of(
    "Fine-tune a network on generated patients, without labels of anybody's.",
    "The checkpoint is written now and then, in the layout of the public one; --resume continues "
    "it. Meant for a machine with a GPU; --recompute and a smaller --batch save its memory. "
    'Afterwards: "weights install FILE --name tuned" and "weights use tuned".',
    "train sam-med3d -o tuned.pth",
    "train sam-med3d -o tuned.pth --resume",
    "train sam-med3d -o own.pth --scratch --rate 8e-4",
)


def run(
    network: Annotated[Literal["sam-med3d"], typer.Argument(help="Which network.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Checkpoint to write: .pth.")],
    weights: Annotated[
        Path | None,
        typer.Option("--weights", help="Checkpoint to start from; by default the installed one."),
    ] = None,
    scratch: Annotated[
        bool, typer.Option("--scratch", help="Start from random weights instead.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the output's training.")
    ] = False,
    updates: Annotated[
        int, typer.Option("--updates", min=1, help="Steps of the optimiser.")
    ] = 2000,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Samples at once.")] = 2,
    accumulation: Annotated[
        int, typer.Option("--accumulation", min=1, help="Batches for one update.")
    ] = 20,
    rate: Annotated[float, typer.Option("--rate", help="Learning rate of the encoder.")] = 8e-5,
    memory: Annotated[
        Literal["latest", "all"], typer.Option("--memory", help="Clicks that a step is shown.")
    ] = "latest",
    precision: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        typer.Option("--precision", help="auto: float32 on a CPU, bfloat16 on a GPU."),
    ] = "auto",
    recompute: Annotated[
        bool, typer.Option("--recompute", help="Spend time to save memory.")
    ] = False,
    save_every: Annotated[
        int, typer.Option("--save-every", min=1, help="Updates between two checkpoints.")
    ] = 50,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of all random numbers.")] = 2023,
    device: Device = "auto",
    force: Force = False,
    debug: Debug = False,
    verbose: Verbose = False,
) -> None:
    """Prepare the network, train, write."""
    from NASAM3DLib.cli.console import shown_progress, stdout

    if scratch and weights is not None:
        raise typer.BadParameter("give either --weights or --scratch.")
    prepare_output(output, (".pth",), force=force or resume)
    from NASAM3DLib.segment.sam_med3d.inference import torch_device
    from NASAM3DLib.segment.sam_med3d.training import Trainer, TrainingSettings, train

    place = torch_device(device).type
    if precision == "auto":
        precision = "bfloat16" if place == "cuda" else "float32"
    settings = TrainingSettings(
        n_updates=updates,
        batch_size=batch,
        accumulation=accumulation,
        learning_rate=rate,
        memory=memory,
        precision=precision,
        recompute=recompute,
        seed=seed,
        save_every=save_every,
    )
    continued = resume and output.is_file()
    model, source = _network(weights, random=scratch or continued, seed=seed)
    trainer = Trainer(model, source, settings, device=place)
    with shown_progress("Training") as progress:
        losses = train(trainer, output, resume=resume, progress=progress, force=force)
    stdout().print(
        f"{output}: {len(losses)} updates, loss {losses[0]:.3f} at first and {losses[-1]:.3f} now.",
        markup=False,
    )


def _network(weights: Path | None, *, random: bool, seed: int) -> tuple[Any, Any]:
    """Load or make the network, and the source of its samples."""
    from NASAM3DLib.segment.sam_med3d.checkpoint import load_checkpoint
    from NASAM3DLib.segment.sam_med3d.model import build_sam_med3d
    from NASAM3DLib.segment.sam_med3d.training_data import PhantomSource
    from NASAM3DLib.weights.store import WeightStore

    if random:
        model = build_sam_med3d(seed=seed)
    else:
        model = load_checkpoint(weights or WeightStore().find())
    return model, PhantomSource(model.config.image_size)
