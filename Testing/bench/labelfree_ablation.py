"""Train small networks that lack one part each, and compare their answers to the same objects.

python Testing/bench/labelfree_ablation.py             print the table; a quarter of an hour
python Testing/bench/labelfree_ablation.py --write     put it into docs/labelfree.md

Networks, volumes and training are much smaller than those of the weights that are shipped: what a
part is worth is compared, not what can be reached. Every network sees the same volumes in the same
order and answers clicks on the same held-out objects, the part missing there too. Finished
variants are kept in bench-output/labelfree-ablation and not trained again.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from NASAM3DLib.benchmark.click_document import machine  # noqa: E402
from NASAM3DLib.benchmark.statistics import summarise  # noqa: E402
from NASAM3DLib.evaluate.tables import Column, Table  # noqa: E402
from NASAM3DLib.segment.fronts import DensityFronts  # noqa: E402
from NASAM3DLib.segment.labelfree.features import ATTENTION, GUIDED, WALK  # noqa: E402
from NASAM3DLib.segment.labelfree.generator.sample import GeneratorSettings, generate  # noqa: E402
from NASAM3DLib.segment.labelfree.interaction import Interaction, region_of  # noqa: E402
from NASAM3DLib.segment.labelfree.network import NetworkConfig, build_network  # noqa: E402
from NASAM3DLib.segment.labelfree.training import Trainer  # noqa: E402
from NASAM3DLib.segment.labelfree.training_data import (  # noqa: E402
    GeneratedSource,
    TrainingSettings,
)

KEPT = ROOT / "bench-output" / "labelfree-ablation"
DOCUMENT = ROOT / "docs" / "labelfree.md"
BEGIN, END = "<!-- ablation begins -->\n", "<!-- ablation ends -->\n"

CHANNELS = (8, 16, 32)
EDGE, N_UPDATES, N_OBJECTS, N_CLICKS = 32, 150, 48, 8
SHOWN = (1, 3, 5, 8)
HELD_OUT = 0x41424C
"""Third number of the seeds of held-out volumes; training has two."""

LOWERED = 0.02


@dataclass(eq=False)
class PartialInteraction(Interaction):
    """An interaction with some channels hidden, or without the merge of masks."""

    hidden: tuple[int, ...] = ()
    merges: bool = True

    def shown(self) -> npt.NDArray[np.float32]:
        """Assemble what the network is shown, without what is hidden."""
        values = super().shown()
        values[list(self.hidden)] = 0
        return values

    def take(self, probability: npt.NDArray[np.float32]) -> float:
        """Merge the answer into the mask before, or replace it."""
        if self.merges:
            return super().take(probability)
        self.previous = probability
        found = probability > 0.5
        return 2 * int((found & self.truth).sum()) / (int(found.sum()) + int(self.truth.sum()))


@dataclass(frozen=True)
class Variant:
    """What one network lacks."""

    name: str
    changes: dict[str, Any] = field(default_factory=dict)
    hidden: tuple[int, ...] = ()
    merges: bool = True

    def limit(self, one: Interaction) -> PartialInteraction:
        """Give the same interaction without the part."""
        return PartialInteraction(
            one.fronts, one.truth, one.guided, hidden=self.hidden, merges=self.merges
        )


class PartialSource(GeneratedSource):
    """The objects of a training, as a variant sees them."""

    def __init__(self, settings: TrainingSettings, variant: Variant) -> None:
        super().__init__(settings)
        self.variant = variant

    def interaction(self, index: int, rng: np.random.Generator) -> Interaction:
        """Begin the interaction with one object."""
        return self.variant.limit(super().interaction(index, rng))


VARIANTS = (
    Variant("all parts"),
    Variant("all parts, another seed", {"seed": 2027}),
    Variant("no random walk", hidden=(WALK,)),
    Variant("no attention at the logits", hidden=(ATTENTION,)),
    Variant("no density guidance at all", hidden=GUIDED),
    Variant("guidance never dropped in training", {"density_dropout": 0.0}),
    Variant("answers replace the mask, no merge", merges=False),
)
BASE = TrainingSettings(n_updates=N_UPDATES, edge=EDGE, save_every=N_UPDATES, seed=2026)


def dices(variant: Variant) -> npt.NDArray[np.float64]:
    """Train a variant and let it answer; gives Dice, shape (objects, clicks)."""
    settings = replace(BASE, **variant.changes)
    trainer = Trainer(build_network(NetworkConfig(CHANNELS), seed=settings.seed), settings)
    trainer.source = PartialSource(settings, variant)
    KEPT.mkdir(parents=True, exist_ok=True)
    trainer.resume(KEPT / f"{variant.name}.pt")
    trainer.network.load_state_dict(trainer.averaged)
    trainer.network.eval()
    return np.array([answered(trainer, variant, number) for number in range(N_OBJECTS)])


def answered(trainer: Trainer, variant: Variant, number: int) -> list[float]:
    """Click on a held-out object, deepest voxels only; gives Dice after each click."""
    made = generate([number, 0, HELD_OUT], GeneratorSettings(EDGE, n_targets=1))
    fronts = DensityFronts(region_of(made.array_hu))
    one = variant.limit(Interaction(fronts, made.targets[0]))
    result: list[float] = []
    while len(result) < N_CLICKS and one.click():
        with torch.inference_mode():
            logits = trainer.network(torch.from_numpy(one.shown())[None])
        result.append(one.take(logits[0, 0].sigmoid().numpy()))
    return result + result[-1:] * (N_CLICKS - len(result))


def measured(variant: Variant) -> npt.NDArray[np.float64]:
    """Give the Dice of a variant, from disk if they are there."""
    path = KEPT / f"{variant.name}.json"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(dices(variant).tolist()), encoding="utf-8")
    return np.array(json.loads(path.read_text(encoding="utf-8")))


def table() -> Table:
    """Compare all variants with the first."""
    whole = measured(VARIANTS[0])
    rows = []
    for variant in VARIANTS:
        values = measured(variant)
        cells = [f"{values[:, n - 1].mean():.3f}" for n in SHOWN]
        lowered = 100 * (np.diff(values, axis=1) < -LOWERED).mean()
        differences = []
        for n in SHOWN:
            one = summarise(values[:, n - 1] - whole[:, n - 1])
            differences.append(f"{one.mean:+.3f} [{one.low:+.3f}, {one.high:+.3f}]")
        if variant is VARIANTS[0]:
            differences = [None] * len(SHOWN)  # type: ignore[list-item]
        rows.append((variant.name, *cells, f"{lowered:.1f}", *differences))
    columns = (
        Column("network"),
        *(Column(f"Dice, {n} click{'s' * (n > 1)}") for n in SHOWN),
        Column("lowered [%]"),
        *(Column(f"against all parts, {n}") for n in SHOWN),
    )
    return Table(columns, tuple(rows))


def main() -> None:
    """Train what is missing, then print or write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write into docs/labelfree.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    text = f"{machine()}\n\n{table().to_markdown()}\n"
    sys.stdout.write(text)
    if options.write:
        document = DOCUMENT.read_text(encoding="utf-8")
        before, rest = document.split(BEGIN)
        after = rest.split(END)[1]
        DOCUMENT.write_text(f"{before}{BEGIN}{text}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
