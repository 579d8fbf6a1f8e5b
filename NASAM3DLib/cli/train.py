"""``train``: train or fine-tune a network on what is generated."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from NASAM3DLib.cli.options import Debug, Device, Force, Verbose, help_of, prepare_output

NAME = "train"
HELP = help_of(
    "Train a network on generated volumes, without labels of anybody's.",
    "The checkpoint is written now and then, in the layout of the public one; --resume continues "
    "it. Meant for a machine with a GPU; --recompute and a smaller --batch save its memory. "
    'Afterwards: "weights install FILE --name tuned" and "weights use tuned". "labelfree" '
    "starts from random weights, or from a file (.safetensors) that --weights names; beside its "
    "checkpoint (.pt) lie its weights and a curve.",
    "train sam-med3d -o tuned.pth",
    "train sam-med3d -o tuned.pth --resume",
    "train sam-med3d -o own.pth --scratch --rate 8e-4",
    "train labelfree -o labelfree.pt --updates 3000",
)


def run(
    network: Annotated[Literal["sam-med3d", "labelfree"], typer.Argument(help="Which network.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Checkpoint to write: .pth, or .pt of labelfree.")
    ],
    weights: Annotated[
        Path | None,
        typer.Option("--weights", help="Where to start; sam-med3d: else the installed ones."),
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
    batch: Annotated[
        int | None, typer.Option("--batch", min=1, help="Samples at once; by default 2, or 4.")
    ] = None,
    accumulation: Annotated[
        int, typer.Option("--accumulation", min=1, help="Batches for one update.")
    ] = 20,
    rate: Annotated[
        float | None,
        typer.Option("--rate", help="Highest learning rate; by default 8e-5, or 2e-3."),
    ] = None,
    memory: Annotated[
        Literal["latest", "all"], typer.Option("--memory", help="Clicks that a step is shown.")
    ] = "latest",
    precision: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        typer.Option(
            "--precision", help="auto: bfloat16 on a GPU and for labelfree, else float32."
        ),
    ] = "auto",
    edge: Annotated[
        int, typer.Option("--edge", min=32, help="labelfree: voxels along a volume's edge.")
    ] = 64,
    channels: Annotated[
        str, typer.Option("--channels", help="labelfree: channels of each level.")
    ] = "16,32,64,128,160",
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
    if network == "labelfree":
        from NASAM3DLib.cli.train_labelfree import LabelFreeStart, run_labelfree

        asked = {
            "n_updates": updates,
            "batch_size": batch,
            "learning_rate": rate,
            "precision": None if precision == "auto" else precision,
            "edge": edge,
            "seed": seed,
            "save_every": save_every,
        }
        start = LabelFreeStart(channels, weights, resume)
        run_labelfree(output, asked, start, device=device, force=force)
        return
    prepare_output(output, (".pth",), force=force or resume)
    from NASAM3DLib.segment.sam_med3d.inference import torch_device
    from NASAM3DLib.segment.sam_med3d.training import Trainer, TrainingSettings

    place = torch_device(device).type
    if precision == "auto":
        precision = "bfloat16" if place == "cuda" else "float32"
    settings = TrainingSettings(
        n_updates=updates,
        batch_size=batch or 2,
        accumulation=accumulation,
        learning_rate=8e-5 if rate is None else rate,
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
        go = trainer.resume if resume else trainer.run
        losses = go(output, progress=progress, force=force)
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
