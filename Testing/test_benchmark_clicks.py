"""The benchmark of clicks as a whole: figures, resuming, failures, tables, pictures, command."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benchmark_folder import make_folder, methods_file, sources_of
from typer.testing import CliRunner

from NASAM3DLib.benchmark import click_document
from NASAM3DLib.benchmark.click_document import ClickReport, make_report
from NASAM3DLib.benchmark.click_lists import failure_table, summary_table
from NASAM3DLib.benchmark.click_pictures import (
    choose_examples,
    line_styles,
    methods_of_all_targets,
)
from NASAM3DLib.benchmark.click_run import Outcome, run_clicks
from NASAM3DLib.benchmark.click_tables import (
    default_table,
    dice_table,
    loss_table,
    lowered_share,
    shown_clicks,
)
from NASAM3DLib.benchmark.click_task import ClickSettings
from NASAM3DLib.benchmark.journal import ClickFigures, Journal, Row
from NASAM3DLib.benchmark.methods.registry import all_methods
from NASAM3DLib.benchmark.pool import mapped
from NASAM3DLib.cli.app import app
from NASAM3DLib.cli.benchmark import views_of

METHODS = ("dense", "failing", "absent")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two patients with two objects each, and the methods for tests."""
    return make_folder(tmp_path_factory.mktemp("data"))


@pytest.fixture
def settings(folder: Path, tmp_path: Path) -> ClickSettings:
    return ClickSettings(
        tmp_path / "kept",
        views=(None,),
        methods=METHODS,
        method_files=(methods_file(folder),),
        n_clicks=3,
    )


@pytest.fixture(scope="module")
def measured(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Outcome, ClickSettings]:
    place = tmp_path_factory.mktemp("kept")
    settings = ClickSettings(place, (None,), METHODS, (methods_file(folder),), n_clicks=3)
    return run_clicks(sources_of(folder), settings), settings


def without_times(outcome: Outcome) -> list[Row]:
    return [
        replace(row, figures=tuple(figure._replace(cpu_s=0.0) for figure in row.figures))
        for row in outcome.rows
    ]


def test_every_target_is_measured_by_every_method_that_is_there(measured):
    outcome, _ = measured
    assert len(outcome.rows) == 2 * 2 * 2
    assert {row.method for row in outcome.rows} == {"dense", "failing"}
    reasons = dict(outcome.not_run)
    assert reasons["absent"] == "the package absent is missing"
    assert reasons["density-guided"] == "not asked for"
    for row in outcome.rows:
        if row.method == "dense":
            assert row.after(3).dice > 0.45
            assert row.after(3).dice >= row.after(1).dice
            assert row.figures[0].positive
            assert row.figures[0].hd95_mm is not None
            assert row.figures[0].cpu_s >= 0


def test_a_failing_method_is_listed_with_its_words_and_harms_no_other(measured):
    outcome, _ = measured
    failed = [row for row in outcome.rows if row.error]
    # The liver lies above the middle of each patient.
    assert [(row.method, row.target) for row in failed] == [("failing", "liver")] * 2
    assert all(row.error == "ValueError: no objects above the middle, please" for row in failed)
    table = failure_table(outcome.rows).to_markdown()
    assert table.count("no objects above the middle") == 2
    lines = {line[0]: line for line in dice_table(outcome.rows, "full", "all").rows}
    assert (lines["dense"][1], lines["failing"][1]) == (4, 2)


def test_a_run_that_was_killed_goes_on_and_ends_with_the_same_table(
    folder: Path, settings: ClickSettings, measured
):
    class Killed(BaseException):
        pass

    seen: list[str] = []

    def kill(stage: str, fraction: float) -> None:
        seen.append(stage)
        if len([one for one in seen if " on " in one]) == 3:
            raise Killed

    with pytest.raises(Killed):
        run_clicks(sources_of(folder), settings, progress=kill)
    path = settings.journal.path
    kept = path.read_bytes()
    assert kept.count(b"\n") == 3
    # The kill came while the next line was being written.
    path.write_bytes(kept + kept[:40])
    outcome = run_clicks(sources_of(folder), settings)
    assert without_times(outcome) == without_times(measured[0])
    assert path.read_bytes().startswith(kept)


def test_a_second_run_measures_only_what_failed(folder: Path, settings: ClickSettings):
    first = run_clicks(sources_of(folder), settings)
    stages: list[str] = []
    second = run_clicks(sources_of(folder), settings, progress=lambda s, _: stages.append(s))
    assert [s for s in stages if " on " in s] == [
        "failing on patient 1, liver, full",
        "failing on patient 2, liver, full",
    ]
    assert second.rows == first.rows


def test_a_report_of_what_is_there_measures_nothing_and_counts_what_waits(
    folder: Path, settings: ClickSettings
):
    run_clicks(sources_of(folder)[:1], replace(settings, methods=("dense",)))
    kept = settings.journal.path.read_bytes()
    chosen = replace(settings, methods=("dense", "failing"))
    outcome = run_clicks(sources_of(folder), chosen, measuring=False)
    assert settings.journal.path.read_bytes() == kept
    assert {(row.case, row.method) for row in outcome.rows} == {("patient 1", "dense")}
    assert set(outcome.unmeasured) == {"dense, full: 2 targets", "failing, full: 4 targets"}


def test_a_method_of_another_identity_is_measured_anew(folder: Path, settings: ClickSettings):
    run_clicks(sources_of(folder), replace(settings, methods=("dense",)))
    rows = settings.journal.rows()
    aged = [replace(row, identity="0.0.1") for row in rows.values()]
    settings.journal.path.unlink()
    for row in aged:
        settings.journal.append(row)
    outcome = run_clicks(sources_of(folder), replace(settings, methods=("dense",)))
    assert "0.0.1" not in {row.identity for row in outcome.rows}
    assert len(settings.journal.rows()) == 2 * len(rows)


def test_an_unreadable_case_is_listed_and_the_others_go_on(tmp_path: Path, settings: ClickSettings):
    folder = make_folder(tmp_path / "other")
    (folder / "patient-1" / "scan.nii.gz").write_bytes(b"no image")
    outcome = run_clicks(sources_of(folder), replace(settings, methods=("dense",)))
    assert {row.case for row in outcome.rows} == {"patient 2"}
    (line,) = outcome.failed_views
    assert line.startswith("patient 1, full: ValueError")


def test_what_cannot_be_measured_is_refused(folder: Path, settings: ClickSettings):
    with pytest.raises(ValueError, match="no method 'magic': choose from built-in, density-guided"):
        run_clicks(sources_of(folder), replace(settings, methods=("magic",)))
    with pytest.raises(ValueError, match="needs cases"):
        run_clicks([], settings)
    with pytest.raises(ValueError, match="each with its own name"):
        run_clicks(2 * sources_of(folder), settings)


def figures(*dices: float) -> tuple[ClickFigures, ...]:
    return tuple(ClickFigures(True, dice, 10 * (1 - dice), 0.5) for dice in dices)


def a_row(target: str, *dices: float, view: str = "full", method: str = "one", **more) -> Row:
    return Row(
        "case", "set", target, more.get("group", "organ"), view, method, "1", "0", 10, 99,
        figures(*dices), more.get("error", ""),
    )  # fmt: skip


def test_figures_after_the_last_click_stay():
    row = a_row("a", 0.5, 1.0)
    assert [row.after(n).dice for n in (1, 2, 3, 10)] == [0.5, 1.0, 1.0, 1.0]


def test_a_click_lowers_where_dice_falls_by_more_than_two_hundredths():
    rows = [a_row("a", 0.5, 0.47, 0.46), a_row("b", 0.5, 0.9, 0.9)]
    assert lowered_share(rows) == pytest.approx(1 / 4)
    assert np.isnan(lowered_share([a_row("a", 0.5)]))


def test_tables_show_means_over_targets():
    rows = [a_row("a", 0.2, 0.4, 0.6), a_row("b", 0.4, 0.6, 1.0)]
    assert shown_clicks(rows) == (1, 3, 5, 10)
    (line,) = dice_table(rows, "full", "organs").rows
    names = [column.name for column in dice_table(rows, "full", "organs").columns]
    cells = dict(zip(names, line, strict=True))
    assert cells["Dice, 1 click"].startswith("0.300 [")
    assert cells["Dice, 10 clicks"].startswith("0.800 [")
    assert cells["median at 5"] == pytest.approx(0.8)
    assert cells["worst at 5"] == pytest.approx(0.6)
    assert cells["HD95 at 5 [mm]"] == pytest.approx(2.0)
    assert cells["CPU s per click"] == pytest.approx(0.5)
    assert cells["lowered [%]"] == 0
    assert dice_table(rows, "full", "lesions").rows == ()


def test_curves_compare_only_methods_that_were_measured_on_every_target():
    rows = [a_row(t, 0.5, method=m) for t, m in (("a", "one"), ("b", "one"), ("a", "other"))]
    assert methods_of_all_targets(rows) == ["one"]
    assert methods_of_all_targets([*rows, a_row("b", 0.9, method="other")]) == ["one", "other"]
    assert methods_of_all_targets([]) == []


@pytest.mark.parametrize("names", [list(all_methods()), [f"own {n}" for n in range(21)]])
def test_no_two_methods_are_drawn_alike(names: list[str]):
    styles = line_styles(names)
    assert set(styles) == set(names)
    assert len({tuple(style.items()) for style in styles.values()}) == len(names)


def test_an_empty_mask_has_no_distance_and_spoils_no_mean():
    empty = replace(a_row("a", 0.0), figures=(ClickFigures(True, 0.0, None, 0.1),))
    (line,) = dice_table([empty, a_row("b", 0.5)], "full", "organs").rows
    assert line[8] == pytest.approx(5.0)
    assert line[1] == 2


def test_differences_are_taken_on_the_same_target():
    rows = [
        a_row("a", 0.9),
        a_row("b", 0.3),
        a_row("a", 0.8, view="50 views"),
        a_row("b", 0.2, view="50 views"),
        a_row("c", 0.9, view="50 views"),
        a_row("a", 1.0, method="two"),
        a_row("b", 0.0, method="two", error=""),
    ]
    loss = loss_table(rows, "50 views").rows
    assert loss[0][:4] == ("all", "one", 2, "-0.100 [-0.100, -0.100]")
    against = default_table(rows, "full", "one").rows
    assert against[0][:3] == ("all", "two", 2)
    assert against[0][3].startswith("-0.100 [-0.300, +0.100]")


def test_the_journal_keeps_rows_and_forgets_what_is_to_be_made_anew(tmp_path: Path):
    journal = Journal(tmp_path / "a" / "rows.jsonl")
    assert journal.rows() == {}
    one, two = a_row("a", 0.5, 0.7), a_row("b", error="ValueError: no", method="two")
    for row in (one, two, replace(one, figures=figures(0.6))):
        journal.append(row)
    rows = journal.rows()
    assert rows[one.key].figures == figures(0.6)
    assert rows[two.key] == two
    journal.forget(["one"])
    assert list(journal.rows()) == [two.key]


def test_the_report_holds_tables_pictures_and_what_is_missing(
    measured, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    outcome, settings = measured
    best = choose_examples(outcome.rows, sources_of(folder), settings, method="dense")[:1]
    monkeypatch.setattr(click_document, "choose_examples", lambda *_, **__: best)
    outcome = replace(outcome, unmeasured=("dense, 9 views: 4 targets",))
    report = make_report(outcome, sources_of(folder), settings)
    text = report.text
    assert "goes on with it:\n\n- dense, 9 views: 4 targets" in text
    assert text.startswith("# Clicks")
    for words in ("## Full data", "### Lesions", "### Organs", "dense", "Python 3"):
        assert words in text
    assert "**absent**: not run, the package absent is missing." in text
    assert "no objects above the middle" in text
    assert {picture.name for picture in report.pictures} == {"clicks-curves", "clicks-best"}
    for picture in report.pictures:
        assert picture.png[:8] == b"\x89PNG\r\n\x1a\n"
        assert f"pictures/{picture.name}.png" in text
    summary = summary_table(outcome.rows)
    assert len(summary.rows) == 3 * 3 + 2 * 3


def test_examples_are_the_best_the_median_and_the_worst_that_may_be_shown(measured, folder: Path):
    outcome, settings = measured
    examples = choose_examples(outcome.rows, sources_of(folder), settings, method="dense")
    ranked = sorted(r.after(3).dice for r in outcome.rows if r.method == "dense")
    assert [example.rank for example in examples] == ["best", "median", "worst"]
    shown = [example.row.after(3).dice for example in examples]
    assert (shown[0], shown[-1]) == (ranked[-1], ranked[0])
    assert choose_examples(outcome.rows, sources_of(folder), settings, method="other") == []


def test_the_same_text_is_saved_in_both_places(tmp_path: Path):
    report = ClickReport("# text\n", {}, ())
    written = report.save(tmp_path / "out", document=tmp_path / "docs")
    assert [path.read_text("utf-8") for path in written] == ["# text\n"] * 2


def run_command(*arguments: str):
    return CliRunner().invoke(app, ["benchmark", "clicks", *arguments])


def test_the_command_writes_tables_and_document(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    # Drawn in another test already.
    monkeypatch.setattr(click_document, "picture_examples", lambda *_, **__: ())
    arguments = (
        *("--data", str(folder), "--generated", "0", "--inserted", "0", "--views", "full"),
        *("--methods", str(methods_file(folder)), "--method", "dense", "--clicks", "2"),
    )
    result = run_command(*arguments, "--write")
    assert result.exit_code == 0, result.output
    assert "4 sessions, 0 of them failed." in result.output
    kept = tmp_path / "bench-output" / "clicks"
    assert (tmp_path / "docs" / "clicks.md").read_text("utf-8") == (kept / "clicks.md").read_text(
        "utf-8"
    )
    assert (tmp_path / "docs" / "pictures" / "clicks-curves.png").is_file()
    with (kept / "clicks.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert {line["target"] for line in lines} == {"tumour", "liver"}
    assert {int(line["click"]) for line in lines} <= {1, 2}
    rows = (kept / "clicks.jsonl").read_text("utf-8").splitlines()
    assert {json.loads(row)["method"] for row in rows} == {"dense"}


def test_the_command_measures_again_what_it_is_told_to(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked: list[bool] = []

    def measured_before(sources, settings, *, workers, measuring, progress):
        asked.append(bool(settings.journal.rows()))
        return Outcome((), (), (), ())

    monkeypatch.setattr("NASAM3DLib.benchmark.click_run.run_clicks", measured_before)
    for again in ((), ("--again", "one")):
        Journal(tmp_path / "clicks.jsonl").append(a_row("a", 0.5))
        arguments = ("--data", str(folder), "--output", str(tmp_path), *again)
        assert run_command(*arguments).exit_code == 0
    assert asked == [True, False]


def test_the_command_needs_something_to_click_on(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("NASAM3D_DATA", raising=False)
    result = run_command("--generated", "0")
    assert result.exit_code == 2
    assert "nothing to click on" in result.output


@pytest.mark.parametrize("text", ["half", "1", "full;50", ""])
def test_views_are_full_or_numbers(text: str):
    import typer

    with pytest.raises(typer.BadParameter, match="--views wants full and numbers"):
        views_of(text)


def test_views_are_read_in_their_order():
    assert views_of("full, 50,25,full") == (None, 50, 25)


def square(number: int) -> int:
    return number * number


def test_work_comes_back_in_its_order():
    tasks = [(n,) for n in (3, 1, 2)]
    assert [result for result, _ in mapped(square, tasks)] == [9, 1, 4]


@pytest.mark.slow
def test_several_processes_measure_what_one_measures(
    folder: Path, settings: ClickSettings, measured
):
    outcome = run_clicks(sources_of(folder), settings, workers=2)
    assert without_times(outcome) == without_times(measured[0])
