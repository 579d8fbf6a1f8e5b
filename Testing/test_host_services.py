"""What the Slicer test host offers besides MRML: processes, packages, widgets on their own."""

from __future__ import annotations

import enum
import shutil
import sys
from pathlib import Path
from typing import Annotated, Any

import pytest

pytestmark = pytest.mark.slicer

SAMPLE_UI = Path(__file__).parent / "host" / "sample" / "Resources" / "UI" / "Tiny.ui"


def test_process_talks_through_its_pipes(slicer_app: Any) -> None:
    import qt
    from slicerhost import interaction

    process = qt.QProcess()
    output, ended = bytearray(), []
    process.connect(
        "readyReadStandardOutput()",
        lambda: output.extend(process.readAllStandardOutput().data()),
    )
    process.connect("finished(int,QProcess::ExitStatus)", lambda *status: ended.append(status))
    process.connect("errorOccurred(QProcess::ProcessError)", ended.append)
    program = "import sys; sys.stdout.write(sys.stdin.readline().upper()); sys.exit(3)"
    process.start(sys.executable, ["-c", program])
    assert process.waitForStarted(30000)
    process.write(qt.QByteArray(b"hello"))
    process.write(b" world\n")
    interaction.wait_until(lambda: ended)
    assert bytes(output) == b"HELLO WORLD\n"
    assert ended == [(3, qt.QProcess.NormalExit)]


def test_process_that_cannot_start_says_so(slicer_app: Any) -> None:
    import qt
    from slicerhost import interaction

    process = qt.QProcess()
    errors: list[int] = []
    process.connect("errorOccurred(QProcess::ProcessError)", errors.append)
    process.start("/no/such/program", [])
    interaction.wait_until(lambda: errors)
    assert errors == [qt.QProcess.FailedToStart]


def test_timer_and_console_process_run_in_the_background(slicer_app: Any) -> None:
    import qt
    import slicer
    from slicerhost import interaction

    ticks: list[int] = []
    timer = qt.QTimer()
    timer.setInterval(10)
    timer.connect("timeout()", lambda: ticks.append(1))
    timer.start()
    lines: list[str] = []
    status: list[int] = []
    process = slicer.util.launchConsoleProcess(
        [shutil.which("PythonSlicer"), "-m", "this"],
        blocking=False,
        logCallback=lines.append,
        completedCallback=status.append,
    )
    interaction.wait_until(lambda: status and len(ticks) > 3)
    process.stdout.close()
    timer.stop()
    assert not timer.active
    assert status == [0]
    assert "Simple is better than complex." in lines


def test_packaging_checks_for_real_and_only_records(clean_scene: Any, tmp_path: Path) -> None:
    import slicer

    packaging = slicer.packaging
    assert packaging.pip_check("numpy>=1.20")
    assert not packaging.pip_check("no-such-distribution-of-ours>=1")
    assert packaging.pip_check("no-such-distribution-of-ours; python_version < '3'")
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("# comment\n--no-deps\nno-such-distribution-of-ours>=1\n")
    packaging.pip_ensure(packaging.load_requirements(requirements), requester="Tiny")
    slicer.util.pip_install("something-else")
    assert [(call.function, call.requirements) for call in packaging.calls] == [
        ("pip_ensure", ("no-such-distribution-of-ours>=1",)),
        ("pip_install", ("something-else",)),
    ]
    packaging.user_declines = True
    with pytest.raises(RuntimeError, match="declined"):
        packaging.pip_ensure("no-such-distribution-of-ours")


def test_unknown_widget_class_is_named(slicer_app: Any, tmp_path: Path) -> None:
    import slicer

    path = tmp_path / "Odd.ui"
    text = (SAMPLE_UI).read_text(encoding="utf-8")
    path.write_text(text.replace("qMRMLSegmentsTableView", "qMRMLOddWidget"), encoding="utf-8")
    with pytest.raises(RuntimeError, match="uses qMRMLOddWidget for 'segments'"):
        slicer.util.loadUI(str(path))


def test_sample_data_registrations_are_recorded(slicer_app: Any) -> None:
    import SampleData

    logic = SampleData.SampleDataLogic
    logic.registerCustomSampleDataSource(
        category="NASAM3D", sampleName="Scan", uris="https://example.org/a", checksums="SHA256:00"
    )
    entry = next(item for item in logic.registered if item["sampleName"] == "Scan")
    assert (entry["category"], entry["checksums"]) == ("NASAM3D", "SHA256:00")


def test_collapsible_button_hides_its_contents(slicer_app: Any) -> None:
    import ctk
    import qt

    button = ctk.ctkCollapsibleButton()
    column = qt.QVBoxLayout(button)
    shown, hidden = qt.QLabel("a"), qt.QLabel("b")
    column.addWidget(shown)
    column.addWidget(hidden)
    hidden.hide()
    told: list[bool] = []
    button.connect("contentsCollapsed(bool)", told.append)
    button.collapsed = True
    assert shown.isHidden()
    button.checked = True
    assert not button.collapsed
    assert not shown.isHidden()
    assert hidden.isHidden()
    assert told == [True, False]


def test_slider_widget_keeps_its_parts_together(slicer_app: Any) -> None:
    import ctk

    slider = ctk.ctkSliderWidget()
    values: list[float] = []
    slider.connect("valueChanged(double)", values.append)
    slider.minimum, slider.maximum, slider.decimals = -1.0, 1.0, 1
    slider.value = 0.26
    assert slider.value == pytest.approx(0.3)
    assert slider.slider().value == 650
    slider.slider().value = 0
    assert slider.value == -1.0
    assert values == [pytest.approx(0.3), -1.0]


def test_path_line_remembers_its_history(slicer_app: Any, tmp_path: Path) -> None:
    import ctk

    line = ctk.ctkPathLineEdit()
    line.settingKey = "NASAM3D/folder"
    valid: list[bool] = []
    line.connect("validInputChanged(bool)", valid.append)
    line.currentPath = str(tmp_path)
    line.addCurrentPathToHistory()
    line.currentPath = str(tmp_path / "absent")
    assert valid == [True, False]
    other = ctk.ctkPathLineEdit()
    other.settingKey = "NASAM3D/folder"
    other.retrieveHistory()
    assert other.currentPath == str(tmp_path)


def test_hierarchy_selector_follows_the_items(clean_scene: Any) -> None:
    import slicer

    selector = slicer.qMRMLSubjectHierarchyComboBox()
    selector.nodeTypes = ("vtkMRMLSegmentationNode",)
    selector.noneEnabled = True
    items: list[int] = []
    selector.connect("currentItemChanged(vtkIdType)", items.append)
    selector.setMRMLScene(clean_scene)
    clean_scene.AddNewNodeByClass("vtkMRMLModelNode")
    node = clean_scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Liver")
    assert selector.count == 2
    selector.setCurrentNode(node)
    hierarchy = selector.subjectHierarchyNode()
    assert selector.currentNode() is node
    assert hierarchy.GetItemName(selector.currentItem()) == "Liver"
    clean_scene.RemoveNode(node)
    assert selector.currentItem() == 0
    assert len(items) == 2


def test_segments_table_selects_hides_and_renames(clean_scene: Any) -> None:
    import qt
    import slicer

    node = clean_scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    node.CreateDefaultDisplayNodes()
    for name in ("a", "b", "c"):
        node.GetSegmentation().AddEmptySegment(name, name.upper())
    table = slicer.qMRMLSegmentsTableView()
    table.setSegmentationNode(node)
    assert table.segmentCount == 3
    table.setSelectedSegmentIDs(["a", "c"])
    assert table.selectedSegmentIDs() == ("a", "c")
    table.tableWidget().item(1, 0).setCheckState(qt.Qt.Unchecked)
    assert not node.GetDisplayNode().GetSegmentVisibility("b")
    table.tableWidget().item(1, 2).setText("Lesion")
    assert node.GetSegmentation().GetSegment("b").GetName() == "Lesion"
    node.GetSegmentation().RemoveSegment("a")
    assert table.displayedSegmentIDs() == ("b", "c")
    assert table.selectedSegmentIDs() == ("c",)


def test_parameter_types_survive_the_node(clean_scene: Any) -> None:
    import slicer
    from slicer.parameterNodeWrapper import Default, Minimum, parameterNodeWrapper

    class Side(enum.Enum):
        LEFT = 1
        RIGHT = 2

    annotations = {
        "folder": Path,
        "name": str,
        "views": Annotated[int, Minimum(1), Default(50)],
        "labels": list[int],
        "side": Side,
        "source": slicer.vtkMRMLScalarVolumeNode | slicer.vtkMRMLLabelMapVolumeNode | None,
    }
    settings = type("Settings", (), {"__annotations__": annotations, "name": "scan"})
    wrapper = parameterNodeWrapper(settings)
    node = clean_scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
    first = wrapper(node)
    assert (first.name, first.views, first.labels, first.side) == ("scan", 50, [], Side.LEFT)
    volume = clean_scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    first.folder, first.labels, first.side = Path("a") / "b", [1, 2], Side.RIGHT
    first.source = volume
    second = wrapper(node)
    assert (second.folder, second.labels, second.side) == (Path("a/b"), [1, 2], Side.RIGHT)
    assert second.source is volume
    with pytest.raises(ValueError, match="must be at least 1"):
        second.views = 0
    second.source = None
    assert first.source is None
