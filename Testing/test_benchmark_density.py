"""Density guidance taken apart: what the parts are, how they are compared, the whole command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benchmark_folder import GRID, ball, make_folder
from scipy import special
from typer.testing import CliRunner

from NASAM3DLib.benchmark.click_run import Outcome
from NASAM3DLib.benchmark.density_document import make_document, verdict
from NASAM3DLib.benchmark.density_parts import (
    CLEAR,
    Asked,
    LikelihoodFronts,
    VariantWalker,
    WalkerVariant,
    WithoutUncertainty,
    added_to_output,
    attention_alone,
    gated_output,
    without_channels,
)
from NASAM3DLib.benchmark.density_run import DensitySettings, run_density
from NASAM3DLib.benchmark.density_tables import (
    Variant,
    ablation_table,
    against_off,
    choices_of,
    common,
    gain,
    harm_table,
    paired,
    ranking,
)
from NASAM3DLib.benchmark.density_variants import METHODS
from NASAM3DLib.benchmark.discovery import find_cases
from NASAM3DLib.benchmark.journal import ClickFigures, Row
from NASAM3DLib.benchmark.sources import FileSource, ThinnedSource
from NASAM3DLib.cli.app import app
from NASAM3DLib.evaluate.clicks import Segmenter, click_session
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.segment.density import density_model, smoothed
from NASAM3DLib.segment.fronts import DensityFronts
from NASAM3DLib.segment.labelfree.location import default_path
from NASAM3DLib.segment.mask import Mask
from NASAM3DLib.segment.region import make_region
from NASAM3DLib.segment.region_box import initial_box
from NASAM3DLib.segment.segmenter import SegmentationSettings, make_segmenter
from NASAM3DLib.segment.walk import WorkingClicks, plain_walk

TRUTH = ball((12, 11, 11), 6)
VARIANTS = {method.name: method for method in METHODS}


@pytest.fixture(scope="module")
def volume() -> Volume:
    """A ball of 40 HU in fat, with a neighbour of its own density that touches it."""
    rng = np.random.default_rng(0)
    array = np.full(GRID.shape_kji, -80.0)
    array[TRUTH | ball((12, 11, 20), 3.5)] = 40.0
    array += rng.normal(0, 8, array.shape)
    uncertainty = np.full(GRID.shape_kji, 25.0, dtype=np.float32)
    return Volume(array.astype(np.float32), GRID, "HU", uncertainty)


def masks(segmenter: Segmenter, volume: Volume, n_clicks: int = 3) -> list[np.ndarray]:
    session = click_session(segmenter, volume, target=Mask(TRUTH, GRID), n_clicks=n_clicks)
    return [mask.array for mask in session.masks]


def same(first: list[np.ndarray], second: list[np.ndarray]) -> bool:
    return len(first) == len(second) and all(map(np.array_equal, first, second))


def engine(name: str, **choices) -> Segmenter:
    return make_segmenter(name, SegmentationSettings(**choices))


def test_names_say_engine_and_choice_and_every_engine_has_both_ends():
    assert len(VARIANTS) == len(METHODS)
    for name in ("walker", "network", "sam-med3d"):
        assert {f"{name}: off", f"{name}: default"} <= set(VARIANTS)
    assert Variant.of("walker: strength 2") == Variant("walker", "strength 2")


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("default", {}),
        ("off", {"density_guidance": False}),
        ("strength 4", {"guidance_strength": 4.0}),
    ],
)
def test_variants_of_the_walker_are_the_product_where_they_should_be(
    volume: Volume, name: str, choices: dict[str, float]
):
    product = masks(engine("density-guided", **choices), volume)
    assert same(masks(VARIANTS[f"walker: {name}"].make(), volume), product)


def test_every_other_variant_of_the_walker_answers_in_its_own_way(volume: Volume):
    names = [
        "added to output",
        "gate on output",
        "attention alone",
        "attenuation only",
        "attenuation + uncertainty",
        "default + uncertainty",
        "strength 0.25",
    ]
    answers = {name: masks(VARIANTS[f"walker: {name}"].make(), volume) for name in names}
    answers["default"] = masks(VARIANTS["walker: default"].make(), volume)
    answers["off"] = masks(VARIANTS["walker: off"].make(), volume)
    different = list(answers.values())
    for number, one in enumerate(different):
        assert not any(same(one, other) for other in different[:number]), list(answers)[number]


def test_uncertainty_counts_only_where_a_variant_says_so(volume: Volume):
    bare = replace(volume, uncertainty=None)
    for name, counts in (("default", False), ("default + uncertainty", True)):
        make = VARIANTS[f"walker: {name}"].make
        assert same(masks(make(), volume), masks(make(), bare)) is not counts


@pytest.fixture(scope="module")
def asked(volume: Volume) -> Asked:
    click = np.array([[12, 11, 11]])
    region = make_region(
        replace(volume, uncertainty=None), initial_box(GRID, click), anchor_kji=(12, 11, 11)
    )
    none = np.zeros((0, 3), dtype=np.intp)
    clicks = WorkingClicks(region.to_working(click), none)
    return Asked(DensityFronts(region), clicks)


def test_without_paths_the_attention_is_the_likelihood(asked: Asked):
    region = asked.fronts.region
    voxel = tuple(int(n) for n in asked.clicks.positive_kji[0])
    fronts = LikelihoodFronts(region)
    attention = fronts.attention(asked.clicks.positive_kji, asked.clicks.negative_kji)
    likelihood = density_model(region.array_hu, voxel).likelihood(smoothed(region.array_hu))
    seen = likelihood > 0.07
    held = np.minimum(likelihood[seen], 0.99)
    np.testing.assert_allclose(attention[seen], held, rtol=1e-4)
    assert (attention[~seen] <= 0.0701).all()


def test_formulations_are_what_their_formulas_say(asked: Asked):
    plain = plain_walk(asked.fronts, asked.clicks)
    attention = asked.fronts.attention(asked.clicks.positive_kji, asked.clicks.negative_kji)
    twice = replace(asked, strength=2.0)
    logit = special.logit(np.clip(plain, CLEAR, 1 - CLEAR)) + 2 * special.logit(attention)
    np.testing.assert_allclose(added_to_output(twice)[0], special.expit(logit), atol=2e-5)
    gate = plain * np.minimum(1, 2 * attention) ** 2
    np.testing.assert_allclose(gated_output(twice)[0], gate, atol=1e-6)
    assert (gated_output(asked)[0] <= plain + 1e-6).all()
    np.testing.assert_array_equal(attention_alone(asked)[0], attention)
    outside = np.zeros(plain.shape, dtype=bool)
    outside[:3] = True
    assert not attention_alone(replace(asked, outside=outside))[0][:3].any()


needs_network = pytest.mark.skipif(
    not default_path().is_file(), reason="the network's weights are not installed"
)


@needs_network
def test_variants_of_the_network_are_the_product_where_they_should_be(volume: Volume):
    pytest.importorskip("torch")
    bare = replace(volume, uncertainty=None)
    product = masks(engine("label-free"), bare, 2)
    assert same(masks(VARIANTS["network: default"].make(), volume, 2), product)
    off = masks(engine("label-free", density_guidance=False), bare, 2)
    assert same(masks(VARIANTS["network: off"].make(), volume, 2), off)
    assert not same(off, product)


@needs_network
def test_emptied_channels_reach_the_network_empty(volume: Volume):
    pytest.importorskip("torch")
    from NASAM3DLib.segment.labelfree.features import CHANNELS

    segmenter = engine("label-free")
    seen: list[np.ndarray] = []
    answer = segmenter._logits
    segmenter._logits = lambda shown: (seen.append(shown), answer(shown))[1]
    masks(without_channels(segmenter, ("positive_likelihood", "attention_logit")), volume, 1)
    empty = {name for number, name in enumerate(CHANNELS) if not seen[0][number].any()}
    assert {"positive_likelihood", "attention_logit"} <= empty
    assert not {"positive_attention", "soft_window", "positive_clicks"} & empty


def test_only_the_network_has_channels(volume: Volume):
    with pytest.raises(TypeError, match="Only the network has channels"):
        without_channels(VariantWalker(WalkerVariant()), ("attention_logit",))
    told: list[Volume] = []

    class Listening:
        set_volume = staticmethod(told.append)

        def predict(self, prompts):
            raise NotImplementedError

    WithoutUncertainty(Listening()).set_volume(volume)
    assert told[0].uncertainty is None


def a_row(case: str, choice: str, *dices: float, view: str = "full", target: str = "t") -> Row:
    figures = tuple(ClickFigures(True, d, 1.0, 0.1) for d in dices)
    return Row(case, "set", target, "organ", view, f"walker: {choice}", "1", "0", 10, 9, figures)


ROWS = [
    a_row("a", "off", 0.4, 0.5, 0.6),
    a_row("b", "off", 0.6, 0.7, 0.8),
    a_row("a", "default", 0.6, 0.6, 0.7),
    a_row("b", "default", 0.5, 0.8, 0.795),
    a_row("a", "strength 2", 0.7, 0.7, 0.8),
    a_row("b", "strength 2", 0.6, 0.8, 0.8),
]


def test_gains_are_differences_on_the_same_target():
    pairs = paired(ROWS, "walker", "default")
    assert gain(pairs, 1).mean == pytest.approx(0.05)
    assert gain(pairs, 3).mean == pytest.approx(0.0475)
    table = against_off(ROWS, "walker")
    cells = dict(zip([c.name for c in table.columns], table.rows[0], strict=True))
    assert cells["volume"] == "all"
    assert cells["guidance"] == "default"
    assert cells["Dice gained, 1 click"].startswith("+0.050 [")
    assert cells["harmed at 1 click [%]"] == pytest.approx(50)
    assert cells["harmed at 3 clicks [%]"] == 0
    assert cells["worst at 1 or 3 clicks"] == pytest.approx(-0.1)


def test_the_ranking_is_by_the_mean_gain_at_one_and_three_clicks():
    assert ranking(ROWS, "walker") == [
        ("strength 2", pytest.approx((0.15 + 0.1) / 2)),
        ("default", pytest.approx((0.05 + 0.0475) / 2)),
        ("off", 0.0),
    ]
    lines = verdict(ROWS, "walker")
    assert "+0.050 [-0.100, +0.200] at 1 click" in lines[0]
    assert "The aim of +0.02 at both is reached." in lines[0]
    assert "the default is number 2 of 3; the first, strength 2, is ahead by 0.07" in lines[1]
    assert "50 % of the pairs lose more than 0.01 at 1 click and 0 % at 3" in lines[2]
    assert "is not reached" in lines[2]


def test_a_variant_that_lacks_a_volume_is_not_ranked():
    more = [*ROWS, a_row("a", "off", 0.1, view="tv"), a_row("a", "default", 0.2, view="tv")]
    assert [name for name, _ in ranking(more, "walker")] == ["default", "off"]
    assert choices_of(more, "walker") == ["off", "default", "strength 2"]


def test_only_targets_without_gaps_count():
    gap = [row for row in ROWS if (row.case, row.method) != ("b", "walker: strength 2")]
    assert {row.case for row in common(gap)} == {"a"}
    assert len(common(ROWS)) == len(ROWS)


def test_harm_is_listed_with_the_largest_loss_first():
    rows = [*ROWS, a_row("c", "off", 0.9, 0.9, 0.9), a_row("c", "default", 0.5, 0.9, 0.95)]
    lines = harm_table(rows).rows
    assert [line[2] for line in lines] == ["c, t", "b, t"]
    assert lines[0][3:] == ("0.90 → 0.50", "0.90 → 0.95")


def test_the_table_has_a_line_for_each_variant_and_volume():
    table = ablation_table(ROWS)
    assert [line[:4] for line in table.rows] == [
        ("walker", "off", "full", 2),
        ("walker", "default", "full", 2),
        ("walker", "strength 2", "full", 2),
    ]
    assert table.rows[0][4] == "0.500 [0.400, 0.600]"


def test_a_document_of_nothing_says_what_is_missing():
    outcome = Outcome((), (("walker: off", "no reason"),), (), (), ("walker: default, full: 3",))
    text = make_document(outcome).to_markdown()
    assert "walker: off: not run, no reason." in text
    assert "Not measured yet: walker: default, full: 3." in text


def test_unknown_variants_are_refused(tmp_path: Path):
    settings = DensitySettings(tmp_path, variants=("walker: magic",))
    with pytest.raises(ValueError, match="no variant 'walker: magic': choose from walker: off"):
        settings.names(uncertain=False)


NAMES = ("walker: off", "walker: default", "walker: default + uncertainty")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One patient of the folder, and where a run keeps what it makes of him."""
    folder = make_folder(tmp_path_factory.mktemp("data"))
    layout = json.loads((folder / "benchmark.json").read_text("utf-8"))
    layout["cases"] = layout["cases"][:1]
    (folder / "benchmark.json").write_text(json.dumps(layout), "utf-8")
    return folder, tmp_path_factory.mktemp("kept")


def test_variants_meet_the_volumes_that_they_can_use_and_a_kill_changes_nothing(
    kept: tuple[Path, Path],
):
    folder, place = kept
    settings = DensitySettings(place, n_views=12, variants=NAMES, n_clicks=2)
    sources = [ThinnedSource(FileSource(find_cases(folder)[0]), 1)]

    class Killed(BaseException):
        pass

    seen: list[str] = []

    def kill(stage: str, fraction: float) -> None:
        seen.append(stage)
        if len([one for one in seen if " on " in one]) == 3:
            raise Killed

    with pytest.raises(Killed):
        run_density(sources, settings, progress=kill)
    outcome = run_density(sources, settings)
    assert not [row.error for row in outcome.rows if row.error]
    views = {name: {row.view for row in outcome.rows if row.method == name} for name in NAMES}
    everywhere = {"fdk, 12 views", "tv, 12 views", "best, 12 views", "full"}
    assert views["walker: off"] == views["walker: default"] == everywhere
    assert views["walker: default + uncertainty"] == {"tv, 12 views", "best, 12 views"}
    reasons = dict(outcome.not_run)
    assert set(reasons) == set(VARIANTS) - set(NAMES)
    assert reasons["walker: strength 2"] == "not asked for"
    again = run_density(sources, settings, measuring=False)
    assert make_document(again).tables == make_document(outcome).tables


def test_the_command_goes_on_and_writes_the_document(
    kept: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder, place = kept
    monkeypatch.chdir(tmp_path)
    arguments = ("--data", str(folder), "--generated", "0", "--targets", "1", "--views", "12")
    names = [word for name in NAMES[:2] for word in ("--variant", name)]
    where = ("--clicks", "2", "--output", str(place), "--write")
    result = CliRunner().invoke(app, ["benchmark", "density", *arguments, *names, *where])
    assert result.exit_code == 0, result.output
    assert "8 sessions, 0 of them failed." in result.output
    text = (tmp_path / "docs" / "density.md").read_text("utf-8")
    assert "## Where it hurts" in text
    assert "| walker | default | best, 12 views | 1 |" in text
    assert "sam-med3d: default: not run, " in text
    assert (tmp_path / "docs" / "pictures" / "density-gains.png").is_file()
    assert (place / "density-variants.csv").is_file()
