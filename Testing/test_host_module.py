"""A small scripted module in the Slicer test host: its panel, its scene and the views."""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.slicer

SAMPLE = Path(__file__).parent / "host" / "sample"

# (i, j, k) to RAS in mm: axes as in DICOM, unequal spacing.
IJK_TO_RAS = np.array([[-1.5, 0, 0, 60.0], [0, -1.0, 0, 48.0], [0, 0, 2.0, -60.0], [0, 0, 0, 1.0]])
SPACING_MM = np.array([1.5, 1.0, 2.0])
BALL_CENTRE_IJK = np.array([40, 48, 30])
BALL_RADIUS_MM = 18.0
THRESHOLD = 500.0


def ball_array() -> np.ndarray:
    """Return a bright ball in a textured background, (k, j, i), int16."""
    k, j, i = np.mgrid[0:60, 0:96, 0:80]
    offset = np.stack([i, j, k], axis=-1) - BALL_CENTRE_IJK
    distance = np.linalg.norm(offset * SPACING_MM, axis=-1)
    texture = 60 * np.sin(i / 4) * np.sin(j / 5)
    return np.where(distance < BALL_RADIUS_MM, 800, 100 + texture).astype(np.int16)


def to_ras(ijk: Any) -> np.ndarray:
    """Convert a voxel index (i, j, k) to RAS, in mm."""
    return (IJK_TO_RAS @ [*ijk, 1.0])[:3]


def add_volume(array: np.ndarray, name: str = "Phantom") -> Any:
    """Add an array as a volume and show it in the slice views."""
    import slicer

    node = slicer.util.addVolumeFromArray(array, ijkToRAS=IJK_TO_RAS, name=name)
    node.CreateDefaultDisplayNodes()
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    slicer.util.resetSliceViews()
    return node


@pytest.fixture
def tiny(load_module: Callable[[Path], Any], tmp_path: Path) -> Any:
    """The sample module, loaded from a folder of its own."""
    shutil.copytree(SAMPLE, tmp_path / "Tiny")
    return load_module(tmp_path / "Tiny" / "Tiny.py")


def test_module_loads_as_slicer_would_load_it(tiny: Any, slicer_app: Any) -> None:
    import slicer

    assert slicer.modules.tiny is tiny.module
    assert slicer.modules.TinyWidget is tiny.widget
    assert slicer.util.getModuleWidget("Tiny") is tiny.widget
    assert slicer.util.modulePath("Tiny") == tiny.module.path
    assert (tiny.module.title, tiny.module.categories) == ("Tiny", ("Testing",))
    assert tiny.widget.ui.applyButton.text == "Apply"
    assert tiny.widget.ui.folder.filters == 0x21
    assert tiny.widget.ui.inputSelector.mrmlScene() is slicer.mrmlScene
    slicer_app.completeStartup()
    assert slicer.modules.TinyInstance.started
    with pytest.raises(AttributeError, match="creating new attributes"):
        tiny.module.colour = "red"


def test_module_is_cleaned_up_and_reloaded(tiny: Any) -> None:
    import slicer

    first = tiny.widget
    source = Path(tiny.module.path)
    text = source.read_text(encoding="utf-8")
    source.write_text(text.replace("self.changes = 0", "self.changes = 1000"), encoding="utf-8")
    slicer.util.reloadScriptedModule("Tiny")
    second = slicer.modules.TinyWidget
    assert first.cleaned
    assert not second.cleaned
    assert second is not first
    assert second.parent is tiny.panel
    assert second.changes >= 1000 > first.changes


def test_sample_module_passes_the_lint(tmp_path: Path, slicer_app: Any) -> None:
    from slicerhost.lint import check_source

    assert check_source(SAMPLE / "Tiny.py") == []
    wrong = tmp_path / "Wrong.py"
    wrong.write_text(
        "import multiprocessing\n"
        "import PySide6.QtCore\n"
        "label = qt.QLabel(text='a')\n"
        "self.ui.selector.addAttribute(name='a')\n"
        "isinstance(x, (str, qt.QWidget))\n"
        "text = bytes(process.readAllStandardOutput())\n"
        "hint = widget.sizeHint()\n"
        "button.connect('clicked', f)\n"
        "class Worker(qt.QThread):\n"
        "    done = qt.Signal()\n"
        "dict(name='a'), isinstance(x, str), bytes(handle.read()), f.connect('a()', g)\n"
    )
    found = [(finding.line, finding.rule) for finding in check_source(wrong)]
    assert found == [
        (1, "import"),
        (2, "import"),
        (3, "keywords"),
        (4, "keywords"),
        (5, "isinstance"),
        (6, "bytes"),
        (7, "property"),
        (8, "signature"),
        (9, "thread"),
        (10, "signal"),
    ]


def test_parameter_node_follows_the_widgets(tiny: Any) -> None:
    ui, node = tiny.widget.ui, tiny.widget.parameterNode
    module = sys.modules["Tiny"]
    volume = add_volume(ball_array())
    assert not ui.applyButton.enabled
    ui.inputSelector.setCurrentNode(volume)
    ui.threshold.value = 250.5
    ui.rounds.value = 7
    ui.quality.currentIndex = 0
    ui.device.currentText = "cuda"
    ui.smooth.checked = False
    assert node.inputVolume is volume
    assert (node.threshold, node.rounds, node.quality) == (250.5, 7, module.Quality.FAST)
    assert (node.device, node.smooth) == ("cuda", False)
    assert ui.applyButton.enabled
    assert node.parameterNode.GetParameter("quality") == "FAST"


def test_widgets_follow_the_parameter_node(tiny: Any) -> None:
    ui, node = tiny.widget.ui, tiny.widget.parameterNode
    volume = add_volume(ball_array())
    assert (ui.threshold.value, ui.rounds.value, ui.quality.currentText) == (500.0, 3, "BEST")
    assert (ui.rounds.minimum, ui.rounds.maximum) == (1, 9)
    node.inputVolume = volume
    node.threshold = 125.0
    node.quality = sys.modules["Tiny"].Quality.FAST
    node.device = "cuda"
    node.smooth = False
    assert ui.inputSelector.currentNode() is volume
    assert (ui.threshold.value, ui.quality.currentText) == (125.0, "FAST")
    assert (ui.device.currentText, ui.smooth.checked) == ("cuda", False)


def test_parameter_node_refuses_what_slicer_refuses(tiny: Any) -> None:
    node = tiny.widget.parameterNode
    with pytest.raises(ValueError, match=r"must be within range \[0, 1000\], is 2000"):
        node.threshold = 2000.0
    with pytest.raises(TypeError, match="must be of type"):
        node.rounds = "many"
    with pytest.raises(ValueError, match="must be in one of the following"):
        node.device = "tpu"
    with pytest.raises(TypeError, match="must be of type"):
        node.inputVolume = node.parameterNode
    with pytest.raises(ValueError, match="must not be None"):
        node.smooth = None
    with pytest.raises(RuntimeError, match="Unable to create GUI connector"):
        node.connectParametersToGui({"smooth": tiny.widget.ui.threshold})


def test_disconnected_widgets_are_left_alone(tiny: Any) -> None:
    ui, node = tiny.widget.ui, tiny.widget.parameterNode
    node.disconnectGui(tiny.widget.guiTag)
    tiny.widget.guiTag = None
    ui.rounds.value = 8
    assert node.rounds == 3
    node.rounds = 5
    assert ui.rounds.value == 8


def test_closing_the_scene_ends_the_binding(tiny: Any, clean_scene: Any) -> None:
    add_volume(ball_array())
    changes = tiny.widget.changes
    clean_scene.Clear(0)
    assert tiny.widget.parameterNode is None
    tiny.widget.logic.getParameterNode().SetParameter("rounds", "4")
    assert tiny.widget.changes == changes


def test_node_selector_follows_the_scene(tiny: Any, clean_scene: Any) -> None:
    import qt

    selector = tiny.widget.ui.inputSelector
    chosen: list[str] = []
    selector.connect("currentNodeIDChanged(QString)", chosen.append)
    assert selector.currentNode() is None
    first, second = add_volume(ball_array(), "First"), add_volume(ball_array(), "Second")
    clean_scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    assert selector.nodeCount() == 2
    selector.setCurrentNode(second)
    second.SetName("Renamed")
    assert selector.findChild(qt.QComboBox).currentText == "Renamed"
    clean_scene.RemoveNode(second)
    assert selector.currentNode() is first
    clean_scene.RemoveNode(first)
    assert selector.currentNode() is None
    assert chosen == ["vtkMRMLScalarVolumeNode2", "vtkMRMLScalarVolumeNode1", ""]


def test_clicked_point_lands_on_the_voxel_under_the_mouse(tiny: Any, slicer_app: Any) -> None:
    """Render one bright voxel, click where the picture shows it, compare with its position."""
    from slicerhost import interaction

    voxel = np.array([22, 61, 30])
    array = np.zeros((60, 96, 80), np.int16)
    array[voxel[2], voxel[1], voxel[0]] = 1000
    volume = add_volume(array)
    volume.GetDisplayNode().SetInterpolate(0)
    red = slicer_app.layoutManager().sliceWidget("Red")
    red.mrmlSliceNode().SetSliceOffset(float(to_ras(voxel)[2]))
    interaction.process_events(0.1)
    rows, columns = np.nonzero(red.sliceView().pixels().min(axis=2) > 200)
    assert rows.size > 4
    points = slicer_app.mrmlScene().AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "Clicks")
    points.CreateDefaultDisplayNodes()
    markups = tiny.widget.ui.markups
    markups.setCurrentNode(points)
    markups.markupsPlaceWidget().placeModeEnabled = True
    interaction.click(red.sliceView(), round(columns.mean()), round(rows.mean()))
    assert points.GetNumberOfControlPoints() == 1
    position = np.array(points.GetNthControlPointPositionWorld(0))
    assert np.all(np.abs(position - to_ras(voxel)) <= SPACING_MM / 2)
    assert not markups.markupsPlaceWidget().placeModeEnabled
    assert markups.tableWidget().rowCount == 1


@pytest.mark.parametrize("view", ["Red", "Green", "Yellow"])
def test_click_in_slice_hits_the_point_it_is_given(clean_scene: Any, view: str) -> None:
    import slicer
    from slicerhost import interaction

    add_volume(ball_array())
    points = clean_scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    points.CreateDefaultDisplayNodes()
    slicer.modules.markups.logic().StartPlaceMode(False)
    target = np.array([-12.0, 7.0, 5.0])
    interaction.click_in_slice(view, target)
    node = slicer.app.layoutManager().sliceWidget(view).mrmlSliceNode()
    pixel_mm = node.GetFieldOfView()[0] / node.GetDimensions()[0]
    position = np.array(points.GetNthControlPointPositionWorld(0))
    assert np.abs(position - target).max() <= 0.51 * pixel_mm
    with pytest.raises(ValueError, match="fit the view first"):
        interaction.click_in_slice(view, (1000.0, 1000.0, 1000.0))


def test_segment_from_an_array_shows_and_comes_back(tiny: Any, clean_scene: Any) -> None:
    import slicer

    array = ball_array()
    volume = add_volume(array)
    tiny.widget.ui.inputSelector.setCurrentNode(volume)
    tiny.widget.ui.applyButton.click()
    node = slicer.util.getNode("Lesion")
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, "lesion", volume)
    assert np.array_equal(mask > 0, array > THRESHOLD)
    assert node.GetNodeReference("referenceImageGeometryRef") is volume
    table = tiny.widget.ui.segments
    assert table.segmentCount == 1
    assert table.displayedSegmentIDs() == ("lesion",)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(clean_scene)
    assert hierarchy.GetItemByDataNode(node) != hierarchy.GetInvalidItemID()


def test_screenshot_shows_volume_overlay_and_surface(
    tiny: Any, slicer_app: Any, screenshot: Callable[[Any, Path], Path], tmp_path: Path
) -> None:
    from matplotlib.image import imread

    volume = add_volume(ball_array())
    layout = slicer_app.layoutManager()
    views = [layout.sliceWidget(name).sliceView() for name in layout.sliceViewNames()]
    before = [view.pixels().astype(int) for view in views]
    for picture in before:
        assert len(np.unique(picture)) > 20, "the volume's texture is not there"
    tiny.widget.ui.inputSelector.setCurrentNode(volume)
    tiny.widget.ui.applyButton.click()
    layout.resetThreeDViews()
    for view, picture in zip(views, before, strict=True):
        after = view.pixels().astype(int)
        redness = after[..., 0] - after[..., 2]
        assert (redness > 60).sum() > 200, "the segment is not drawn over the volume"
        assert np.abs(picture[..., 0] - picture[..., 2]).max() < 60
    surface = layout.threeDWidget(0).threeDView().pixels().astype(int)
    assert (surface[..., 0] - surface[..., 2] > 60).sum() > 200
    path = screenshot([tiny.panel, layout], tmp_path / "tiny.png")
    picture = imread(path)
    assert picture.shape[1] > 1000
    reddish = picture[..., 0] - picture[..., 2] > 0.25
    assert reddish[:, tiny.panel.width :].sum() > 1000


def test_scene_bundle_keeps_volume_segment_and_points(
    tiny: Any, clean_scene: Any, tmp_path: Path
) -> None:
    import slicer

    array = ball_array()
    volume = add_volume(array)
    segmentation = tiny.widget.logic.segment(volume, THRESHOLD)
    points = clean_scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "Clicks")
    points.AddControlPoint([1.0, 2.0, 3.0], "tip")
    bundle = tmp_path / "scene.mrb"
    assert slicer.util.saveScene(str(bundle))
    del volume, segmentation, points
    clean_scene.Clear(0)
    assert clean_scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0
    slicer.util.loadScene(str(bundle))
    volume, segmentation = slicer.util.getNode("Phantom"), slicer.util.getNode("Lesion")
    assert np.array_equal(slicer.util.arrayFromVolume(volume), array)
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, "lesion", volume)
    assert np.array_equal(mask > 0, array > THRESHOLD)
    positions = slicer.util.arrayFromMarkupsControlPoints(slicer.util.getNode("Clicks"))
    assert np.allclose(positions, [[1.0, 2.0, 3.0]])
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(clean_scene)
    assert hierarchy.GetItemByDataNode(segmentation) != hierarchy.GetInvalidItemID()


@pytest.mark.parametrize("name", ["volume.nrrd", "volume.nii.gz", "volume.mha"])
def test_volume_files_keep_array_and_geometry(clean_scene: Any, tmp_path: Path, name: str) -> None:
    import slicer

    array = ball_array()
    assert slicer.util.exportNode(add_volume(array), str(tmp_path / name), {})
    loaded = slicer.util.loadVolume(str(tmp_path / name), {})
    assert np.array_equal(slicer.util.arrayFromVolume(loaded), array)
    matrix = slicer.util.vtkMatrixFromArray(np.eye(4))
    loaded.GetIJKToRASMatrix(matrix)
    assert np.allclose(slicer.util.arrayFromVTKMatrix(matrix), IJK_TO_RAS, atol=1e-4)


def test_self_test_runs(tiny: Any, caplog: pytest.LogCaptureFixture) -> None:
    import slicer

    with caplog.at_level(logging.WARNING):
        slicer.selfTests["Tiny"]()
    assert "No test is defined in TinyTest" in caplog.text
