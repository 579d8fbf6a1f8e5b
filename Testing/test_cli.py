"""The command line: messages, exit codes, files, and every example of its help texts."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from NASAM3DLib import __version__
from NASAM3DLib.cli import demo, evaluate, info, reconstruct, segment, simulate
from NASAM3DLib.cli.app import app
from NASAM3DLib.cli.options import PROGRAM
from NASAM3DLib.reconstruct.simulate import scanned_means
from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.reconstruct.volume_io import load_volume, save_volume
from NASAM3DLib.scan.grid import VolumeGrid
from NASAM3DLib.segment.mask import Mask
from NASAM3DLib.segment.mask_io import load_mask, save_mask
from NASAM3DLib.segment.prompts import Prompts
from NASAM3DLib.segment.prompts_io import save_prompts

VERBS = {module.NAME: module for module in (simulate, reconstruct, segment, evaluate, demo, info)}
CENTRE = (0.0, -20.0, 0.0)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def message(result: Result) -> str:
    """Standard error as one line, without the console's line breaks."""
    return " ".join(result.stderr.split())


def examples(verb: str) -> list[str]:
    return re.findall(rf"^  {re.escape(PROGRAM)} (.+)$", VERBS[verb].HELP, flags=re.MULTILINE)


def head_phantom() -> Volume:
    """A small patient of fat with a ball of muscle in it, HU."""
    grid = VolumeGrid.centred((40, 40, 40), 5.0)
    points = grid.to_ras(np.moveaxis(np.indices(grid.shape_kji)[::-1], 0, -1))
    array = np.full(grid.shape_kji, -1000.0, dtype=np.float32)
    array[np.linalg.norm(points[..., :2], axis=-1) < 85] = -100.0
    array[np.linalg.norm(points - CENTRE, axis=-1) < 35] = 60.0
    return Volume(array, grid, "HU")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the examples start from."""
    folder = tmp_path_factory.mktemp("cli")
    save_volume(head_phantom(), folder / "ct.nii.gz")
    save_prompts(Prompts(np.array([CENTRE]), np.array([1])), folder / "p.mrk.json")
    return folder


@pytest.fixture
def in_workplace(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(workplace)
    return workplace


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_examples_that_fit_a_terminal(verb: str) -> None:
    shown = run(verb, "--help")
    assert shown.exit_code == 0
    assert examples(verb)
    for example in examples(verb):
        assert len(f"  {PROGRAM} {example}") <= 78
        assert f"{PROGRAM} {example}" in shown.stdout


def test_help_tells_the_exit_codes() -> None:
    text = " ".join(run("--help").stdout.split())
    assert "3 input that cannot be used" in text
    assert "130 cancelled" in text


def test_version() -> None:
    assert run("--version").stdout.strip() == __version__


# The order matters: each example works on the files of those before it, as for a reader.
EXAMPLES = [
    example
    for verb in ("simulate", "reconstruct", "segment", "evaluate", "info")
    for example in examples(verb)
]


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_of_the_help_run(example: str, in_workplace: Path) -> None:
    arguments = shlex.split(example)
    if arguments[0] == "simulate":
        # The reader's patience is longer than the test's: fewer pixels and views.
        arguments += ["--detector", "32", "--views", "12"]
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip()
    assert not [path for path in in_workplace.iterdir() if path.name.startswith(".")]


@pytest.mark.slow
@pytest.mark.parametrize("example", examples("demo"))
def test_examples_of_the_demo_run(
    example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*shlex.split(example))
    assert result.exit_code == 0, result.output
    assert "report.html" in result.stdout


def test_files_have_the_right_place_and_content(tmp_path: Path, workplace: Path) -> None:
    scan, volume, mask = (str(tmp_path / name) for name in ("s.npz", "v.nii.gz", "m.seg.nrrd"))
    truth = str(workplace / "ct.nii.gz")
    assert run("simulate", truth, "-o", scan, "--detector", "48", "--views", "24").exit_code == 0
    report = f"{volume}.json"
    done = run("reconstruct", scan, "-o", volume, "--like", truth, "--report", report)
    assert done.exit_code == 0, done.output
    reconstructed = load_volume(Path(volume))
    assert reconstructed.grid.same_as(load_volume(Path(truth)).grid)
    assert reconstructed.quantity == "HU"
    assert json.loads(Path(report).read_text("utf-8"))["returned"] == "tv"
    centre = tuple(np.rint(reconstructed.grid.to_ijk(CENTRE)).astype(int)[::-1])
    assert reconstructed.array[centre] == pytest.approx(60, abs=60)
    point = ",".join(str(x) for x in CENTRE)
    assert run("segment", volume, "-o", mask, "--point", point, "--name", "ball").exit_code == 0
    found = load_mask(Path(mask), segment="ball")
    assert found.array[centre]
    # A ball of 35 mm radius has 180 ml.
    assert found.volume_ml == pytest.approx(180, rel=0.3)


def test_a_scan_of_a_ct_comes_with_what_to_compare_with(tmp_path: Path, workplace: Path) -> None:
    ct, scan, truth = workplace / "ct.nii.gz", tmp_path / "s.npz", tmp_path / "truth.nrrd"
    options = ["--detector", "16", "--views", "8", "--truth", str(truth)]
    done = run("simulate", str(ct), "-o", str(scan), *options)
    assert done.exit_code == 0, done.output
    written, expected = load_volume(truth), scanned_means(load_volume(ct).to_hu())
    assert written.quantity == "HU"
    np.testing.assert_allclose(written.array, expected.array, atol=1e-3)
    assert np.abs(written.array - load_volume(ct).array).max() > 10


def test_attenuation_can_be_written_and_read_back(tmp_path: Path, workplace: Path) -> None:
    scan, volume = tmp_path / "s.npz", tmp_path / "v.nrrd"
    run(
        "simulate",
        str(workplace / "ct.nii.gz"),
        "-o",
        str(scan),
        "--detector",
        "16",
        "--views",
        "8",
    )
    options = ["--unit", "attenuation", "--method", "fdk", "--shape", "10,12,8"]
    result = run("reconstruct", str(scan), "-o", str(volume), *options)
    assert result.exit_code == 0, result.output
    written = load_volume(volume)
    assert written.quantity == "attenuation"
    assert written.grid.shape_kji == (8, 12, 10)


def test_evaluation_leaves_a_folder(tmp_path: Path, workplace: Path) -> None:
    truth = load_volume(workplace / "ct.nii.gz")
    save_volume(Volume(truth.array + 30.0, truth.grid, "HU"), tmp_path / "brighter.nrrd")
    save_mask(Mask(truth.array > 0, truth.grid), tmp_path / "ball.seg.nrrd")
    folder = tmp_path / "figures"
    result = run(
        *("evaluate", str(tmp_path / "brighter.nrrd"), "--reference", str(workplace / "ct.nii.gz")),
        *("--mask", str(tmp_path / "ball.seg.nrrd"), "-o", str(folder)),
        *("--reference-mask", str(tmp_path / "ball.seg.nrrd")),
    )
    assert result.exit_code == 0, result.output
    assert "40.00" in result.stdout
    assert {path.name for path in folder.iterdir()} == {
        *("volumes.csv", "volumes.md", "masks.csv", "masks.md"),
        *("comparison.png", "masks.png", "report.html"),
    }
    again = run(
        "evaluate",
        str(tmp_path / "brighter.nrrd"),
        "--reference",
        str(workplace / "ct.nii.gz"),
        "-o",
        str(folder),
    )
    assert again.exit_code == 3
    assert "exists already" in message(again)


def test_points_of_options_and_file_are_joined(tmp_path: Path, workplace: Path) -> None:
    result = run(
        *("segment", str(workplace / "ct.nii.gz"), "-o", str(tmp_path / "m.nii.gz")),
        *("--points", str(workplace / "p.mrk.json"), "--negative", "0,60,0"),
    )
    assert result.exit_code == 0, result.output
    mask = load_mask(tmp_path / "m.nii.gz")
    inside = np.array([[CENTRE, (0.0, 60.0, 0.0)]])
    voxels = np.rint(mask.grid.to_ijk(inside)).astype(int)[0][:, ::-1]
    assert [bool(mask.array[tuple(voxel)]) for voxel in voxels] == [True, False]


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("segment ct.nii.gz -o x.nrrd", 2, "at least one point on the object"),
        ("segment ct.nii.gz -o x.nrrd --point 1,2", 2, "three numbers separated"),
        ("segment ct.nii.gz -o x.nrrd --point 500,0,0", 3, "outside the volume, which spans"),
        ("segment missing.nrrd -o x.nrrd --point 0,0,0", 3, "no file missing.nrrd"),
        ("segment ct.nii.gz -o ct.nii.gz --point 0,0,0", 3, "exists already: choose another"),
        ("segment ct.nii.gz -o x.txt --point 0,-20,0", 3, "cannot be written as 'x.txt'"),
        ("segment ct.nii.gz -o x.nrrd --point 0,0,0 --engine m", 3, "no segmentation engine 'm'"),
        ("reconstruct ct.nii.gz -o x.nrrd", 3, "ct.geometry.json"),
        ("reconstruct broken.npz -o x.nrrd", 3, "not a complete NPZ file"),
        ("reconstruct broken.npz -o x.png", 3, "cannot be written as 'x.png'"),
        ("reconstruct broken.npz -o x.nrrd --method magic", 2, "'magic' is not one of"),
        ("simulate -o x.npz", 2, "either a volume or --phantom"),
        ("simulate ct.nii.gz -o x.npz --detector big", 2, "wants pixels as 256"),
        ("simulate ct.nii.gz -o x.npz --photons -5", 3, "photons must be positive"),
        ("evaluate ct.nii.gz", 3, "nothing to compare"),
        ("info p.txt", 3, "There is no file or folder p.txt"),
        ("demo -o ct.nii.gz", 3, "ct.nii.gz"),
        ("fly", 2, "No such command 'fly'"),
    ],
)
def test_errors_are_one_paragraph(line: str, code: int, words: str, in_workplace: Path) -> None:
    (in_workplace / "broken.npz").write_bytes(b"PK\x03\x04 cut off")
    result = run(*shlex.split(line))
    assert result.exit_code == code, result.output
    assert words in message(result).replace("│ ", "").replace(" │", "")
    assert "Traceback" not in result.output
    assert not list(in_workplace.glob("x.*"))


def test_debug_lets_the_traceback_through(in_workplace: Path) -> None:
    for arguments in (["--debug", "info", "p.txt"], ["info", "p.txt", "--debug"]):
        assert isinstance(run(*arguments).exception, FileNotFoundError)


def test_missing_package_is_named(
    in_workplace: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    result = run("segment", "ct.nii.gz", "-o", str(tmp_path / "x.nrrd"), "--point", "0,0,0")
    assert result.exit_code == 4
    assert "SimpleITK" in message(result)


def test_info_describes_each_kind_of_file(in_workplace: Path) -> None:
    save_mask(Mask(head_phantom().array > 0, head_phantom().grid), in_workplace / "info.seg.nrrd")
    shown = run("info", "ct.nii.gz", "info.seg.nrrd", "p.mrk.json").stdout
    assert "40x40x40 voxels of 5x5x5 mm" in shown
    assert "-1000 to 60 HU" in shown
    assert re.search(r"inside: +1\d\d\.\d ml", shown)
    assert "0.0, -20.0, 0.0" in shown
    machine = run("info").stdout
    assert f"NASAM3DLib:    {__version__}" in machine
    assert "cpu" in machine
    assert "itk-rtk" in machine


def heed_interrupts() -> None:
    """Undo what is inherited from a shell that runs the tests in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def process(*arguments: str, folder: Path) -> subprocess.Popen[str]:
    root = Path(__file__).resolve().parents[1]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.Popen(
        [sys.executable, "-m", "NASAM3DLib", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=None if sys.platform == "win32" else heed_interrupts,
    )


def test_process_ends_with_code_and_without_traceback(workplace: Path) -> None:
    with process("info", "nowhere.npz", folder=workplace) as child:
        output, errors = child.communicate(timeout=60)
    assert child.returncode == 3
    assert output == ""
    assert errors == "Error: There is no file or folder nowhere.npz.\n"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one child")
def test_ctrl_c_ends_with_130_and_leaves_nothing(tmp_path: Path) -> None:
    with process("demo", "-o", "out", folder=tmp_path) as child:
        deadline = time.monotonic() + 60
        while not (tmp_path / "out").is_dir() and time.monotonic() < deadline:
            time.sleep(0.05)
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=60)
    # Interrupted within exec(), which imports use, Python ends by the signal itself although the
    # interrupt was handled; a shell reports 130 for both.
    assert child.returncode in (130, -signal.SIGINT)
    assert "Cancelled" in errors
    assert "Traceback" not in errors
    assert list((tmp_path / "out").iterdir()) == []


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, NASAM3DLib.cli.app;"
        "heavy = {'torch', 'numba', 'SimpleITK', 'matplotlib', 'skimage', 'monai', 'scipy'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
