"""SwinUNETR-v2 as a comparator: folds, loss, training that goes on, and who may not be seen."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from NASAM3DLib.benchmark import swin_unetr
from NASAM3DLib.benchmark.case import Case, Target
from NASAM3DLib.benchmark.click_pictures import choose_examples, picture_examples
from NASAM3DLib.benchmark.click_run import run_clicks
from NASAM3DLib.benchmark.click_task import ClickSettings
from NASAM3DLib.benchmark.comparators.swin_unetr import METHODS, NAME, trained
from NASAM3DLib.benchmark.methods.protocol import NotMeantError, Occasion
from NASAM3DLib.benchmark.sources import GeneratedSource, ThinnedSource
from NASAM3DLib.benchmark.swin_plan import Example, Plan, SwinSettings
from NASAM3DLib.benchmark.swin_unetr import (
    labelled_loss,
    network_input,
    train,
    weights_of,
)
from NASAM3DLib.benchmark.tables_run import comparator_files, train_swin
from NASAM3DLib.evaluate.metrics import dice
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.mask import Mask
from NASAM3DLib.segment.prompts import Prompts

GRID = VolumeGrid.centred((32, 32, 32), 3.0)
TINY = SwinSettings(n_steps=2, patch=32, feature_size=12, learning_rate=3e-3, n_folds=2)


def example(number: int, *names: str) -> Example:
    """A body with a bright ball for each name."""
    rng = np.random.default_rng(number)
    array = rng.normal(0, 20, GRID.shape_kji)
    masks = {}
    k, j, i = np.ogrid[:32, :32, :32]
    for name in names:
        c = rng.uniform(10, 22, 3)
        masks[name] = (k - c[0]) ** 2 + (j - c[1]) ** 2 + (i - c[2]) ** 2 < 49
        array[masks[name]] += 600
    volume = Volume(array.astype(np.float32), GRID, "HU")
    return Example(f"case {number}", (volume,), masks)


@pytest.fixture
def small_network(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One convolution instead of the network; the list counts how often one is made."""
    made: list[int] = []

    def build(plan: Plan) -> nn.Module:
        made.append(len(plan.classes))
        torch.manual_seed(plan.settings.seed)
        return nn.Conv3d(1, len(plan.classes), 3, padding=1)

    monkeypatch.setattr(swin_unetr, "build", build)
    return made


def test_classes_are_names_in_two_cases_and_every_case_has_its_fold():
    examples = [example(0, "a", "b"), example(1, "a"), example(2, "c"), example(3, "a", "b")]
    plan = Plan.of(examples, SwinSettings(n_folds=2))
    assert plan.classes == ("a", "b")
    assert plan.folds == {"case 0": 0, "case 1": 1, "case 3": 0}
    # Both cases with b are in one fold, whose network therefore has never seen one.
    assert plan.learnt == (("a",), ("a", "b"))


def test_without_a_common_name_there_is_nothing_to_learn():
    with pytest.raises(ValueError, match="two cases with an object of the same name"):
        Plan.of([example(0, "a"), example(1, "b")], TINY)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"patch": 40}, "multiple of 32"),
        ({"feature_size": 10}, "multiple of 12"),
        ({"n_folds": 1}, "two folds"),
        ({"n_steps": 0}, "one step"),
    ],
)
def test_impossible_settings_are_refused(choices: dict[str, int], message: str):
    with pytest.raises(ValueError, match=message):
        SwinSettings(**choices)


def test_the_loss_is_dice_and_entropy_over_what_was_labelled():
    logits = torch.zeros(2, 2, 2, 2)
    truth = torch.zeros(2, 2, 2, 2)
    truth[0, 0] = 1
    # p = 1/2: soft Dice (2 * 2 + 1) / (4 + 4 + 1), entropy ln 2.
    expected = 1 - 5 / 9 + np.log(2)
    alone = labelled_loss(logits, truth, torch.tensor([True, False]))
    assert alone.item() == pytest.approx(expected, rel=1e-5)
    # A class that nobody labelled changes nothing, whatever the network says of it.
    logits[1] = 7.0
    assert labelled_loss(logits, truth, torch.tensor([True, False])).item() == alone.item()
    both = labelled_loss(logits, truth, torch.tensor([True, True])).item()
    assert both > alone.item()


def test_values_are_held_between_minus_one_and_one():
    shown = network_input(np.array([-3000.0, -500.0, 0.0, 4000.0], dtype=np.float32))
    np.testing.assert_allclose(shown, [-1, -0.5, 0, 1])
    assert shown.dtype == np.float32


def test_training_goes_on_where_it_was_and_starts_anew_for_another_plan(
    small_network: list[int], tmp_path: Path
):
    examples = [example(n, "a") for n in range(3)]
    settings = SwinSettings(2, 32, 12, 3e-3, n_folds=3)
    file = train(examples, tmp_path, settings)
    assert len(small_network) == 3
    before = {n: weights_of(tmp_path, n).read_bytes() for n in range(3)}
    identity = trained(tmp_path).identity()
    weights_of(tmp_path, 1).unlink()
    assert trained(tmp_path).identity() != identity
    train(examples, tmp_path, settings)
    assert len(small_network) == 4
    assert {n: weights_of(tmp_path, n).read_bytes() for n in range(3)} == before
    train(examples[:2], tmp_path, settings)
    assert len(small_network) == 6
    assert not weights_of(tmp_path, 2).exists()
    assert "trained(Path(__file__).parent)" in file.read_text("utf-8")


def test_a_case_is_segmented_by_the_network_that_has_not_seen_it(
    small_network: list[int], tmp_path: Path
):
    train([example(0, "a"), example(1, "a"), example(2, "a", "b"), example(3, "b")], tmp_path, TINY)
    method = trained(tmp_path)
    plan = Plan.read(tmp_path)
    segmenter = method.made_for(Occasion("case 2", "a"))
    assert segmenter.fold == plan.folds["case 2"]
    assert plan.told() in method.note
    with pytest.raises(RuntimeError, match="call set_volume first"):
        segmenter.predict(Prompts())
    for case, target in (("case 9", "a"), ("case 0", "c")):
        with pytest.raises(NotMeantError, match="no other case has the object to learn from"):
            method.made_for(Occasion(case, target))
    with pytest.raises(RuntimeError, match="which object of which case"):
        method.make()


def test_the_note_tells_how_the_networks_were_trained():
    three = [example(n, "a") for n in range(3)]
    told = Plan.of(three, SwinSettings(7, 32, 12, n_folds=2)).told()
    assert told.startswith("here 2 networks of width 12, each trained on 1 or 2 cases in 7 steps")
    assert "trained on 1 case in" in Plan.of(three[:2], SwinSettings()).told()
    assert "5 networks" in Plan.of([example(n, "a") for n in range(9)], SwinSettings()).told()


def test_untrained_it_is_listed_and_trained_it_takes_its_place(
    small_network: list[int], tmp_path: Path
):
    pytest.importorskip("einops")
    pytest.importorskip("monai")
    assert METHODS[0].missing().startswith("it is not trained on this folder")
    place = tmp_path / "swin-unetr"
    before = comparator_files(tmp_path)
    file = train([example(0, "a"), example(1, "a")], place, TINY)
    after = comparator_files(tmp_path)
    assert file.resolve() in after
    assert len(after) == len(before)
    assert trained(place).name == NAME == METHODS[0].name
    assert trained(place).missing() == ""


class Body:
    """A case of a file, made here."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.name = f"case {number}"

    def __hash__(self) -> int:
        return self.number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Body) and other.number == self.number

    def key(self) -> str:
        return self.name

    def load(self, spacing_mm: float) -> Case:
        made = example(self.number, "a")
        target = Target("a", "organ", Mask(made.masks["a"], GRID))
        return Case(self.name, "set", made.volumes[0], (target,))


def test_the_tables_train_on_images_and_ask_each_network_for_the_right_case(
    small_network: list[int], tmp_path: Path
):
    pytest.importorskip("einops")
    pytest.importorskip("monai")
    sources = [ThinnedSource(Body(n), 1) for n in range(2)]
    settings = ClickSettings(tmp_path, views=(None,), methods=(NAME,), n_clicks=2)
    train_swin([*sources, GeneratedSource(0, edge=32)], settings, TINY)
    assert set(Plan.read(tmp_path / "swin-unetr").folds) == {"case 0", "case 1"}
    chosen = ClickSettings(
        tmp_path, (None,), (NAME,), comparator_files(tmp_path), n_clicks=2, asd_at=(1,)
    )
    outcome = run_clicks([*sources, GeneratedSource(0, edge=32)], chosen)
    assert not [row.error for row in outcome.rows if row.error]
    for row in outcome.rows:
        # It makes nothing of clicks.
        assert len({figure.dice for figure in row.figures}) == 1
    # What only one case has is not for it, and no failure.
    assert {row.case for row in outcome.rows} == {"case 0", "case 1"}
    reasons = dict(outcome.not_run)
    assert reasons[NAME] == "for 1 of 3 targets: no other case has the object to learn from"
    examples = choose_examples(outcome.rows, sources, chosen, method=NAME)
    assert len(list(picture_examples(examples, chosen, method=NAME))) == len(examples) > 0


@pytest.mark.slow
@pytest.mark.skipif(
    find_spec("monai") is None or find_spec("einops") is None, reason="MONAI or einops is missing"
)
def test_the_real_network_learns_a_bright_ball(tmp_path: Path):
    examples = [example(n, "ball") for n in range(2)]
    train(examples, tmp_path, SwinSettings(6, 32, 12, 3e-3, n_folds=2))
    for one in examples:
        segmenter = trained(tmp_path).made_for(Occasion(one.name, "ball"))
        segmenter.set_volume(one.volumes[0])
        assert dice(segmenter.predict(Prompts()), Mask(one.masks["ball"], GRID)) > 0.7
