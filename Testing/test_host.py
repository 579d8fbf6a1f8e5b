"""The Slicer test host itself, and the rules of PythonQt that it enforces."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.slicer

# The host itself


def test_host_provides_the_names_that_a_module_imports(slicer_app: Any) -> None:
    import ctk
    import qt
    import slicer

    assert slicer.app is slicer_app
    assert slicer.mrmlScene is slicer_app.mrmlScene()
    assert slicer.mrmlScene.IsA("vtkMRMLScene")
    assert slicer_app.testingEnabled()
    assert slicer.util.mainWindow() is None
    assert slicer_app.layoutManager().sliceViewNames() == ("Red", "Green", "Yellow")
    assert slicer_app.layoutManager().threeDViewCount == 1
    assert slicer.modules.segmentations.logic().IsA("vtkSlicerSegmentationsModuleLogic")
    assert qt.QWidget is not None
    assert ctk.ctkCollapsibleButton is not None


def test_settings_are_not_the_users(slicer_app: Any) -> None:
    import qt
    import slicer

    settings = qt.QSettings()
    settings.setValue("NASAM3D/list", ["a", "b"])
    settings.sync()
    assert settings.fileName().startswith(slicer_app.temporaryPath)
    assert slicer.util.settingsValue("NASAM3D/list", None) == ("a", "b")
    assert slicer_app.userSettings().value("NASAM3D/list") == ("a", "b")


def test_layout_manager_can_be_missing_as_without_main_window(slicer_app: Any) -> None:
    slicer_app.setLayoutAvailable(False)
    assert slicer_app.layoutManager() is None
    slicer_app.setLayoutAvailable(True)
    assert slicer_app.layoutManager() is not None


# PythonQt's rules


@pytest.fixture
def panel(slicer_app: Any) -> Any:
    """A widget with a button, a line and a spin box."""
    import qt

    widget = qt.QWidget()
    column = qt.QVBoxLayout(widget)
    for kind, name in ((qt.QPushButton, "button"), (qt.QLineEdit, "line"), (qt.QSpinBox, "spin")):
        child = kind()
        child.name = name
        column.addWidget(child)
    return widget


def test_properties_are_attributes(panel: Any) -> None:
    panel.button.text = "Go"
    assert panel.button.text == "Go"
    assert panel.button.objectName == "button"
    with pytest.raises(TypeError, match="'str' object is not callable"):
        panel.button.text()
    with pytest.raises(AttributeError):
        panel.width = 3


def test_property_values_are_converted(panel: Any) -> None:
    panel.spin.value = 77.6
    assert panel.spin.value == 77
    panel.line.text = None
    assert panel.line.text == "None"
    with pytest.raises(AttributeError, match="does not accept an object of type str"):
        panel.spin.value = "many"


def test_new_attributes_on_cpp_objects_are_refused(panel: Any) -> None:
    import qt
    import slicer

    refusal = "creating new attributes on C\\+\\+ objects is not allowed"
    for instance in (panel.button, panel.layout(), qt.QTimer(), qt.QIcon(), qt.QProcess()):
        with pytest.raises(AttributeError, match=f"'foo' does not exist on .*{refusal}"):
            instance.foo = 1
    with pytest.raises(AttributeError, match=refusal):
        slicer.qMRMLNodeComboBox().foo = 1
    with pytest.raises(AttributeError, match="'setText' can not be overwritten"):
        panel.button.setText = print
    with pytest.raises(AttributeError, match="'setCurrentNode' can not be overwritten"):
        slicer.qMRMLNodeComboBox().setCurrentNode = print


def test_python_subclasses_take_attributes(slicer_app: Any) -> None:
    import qt

    class Panel(qt.QWidget):
        def __init__(self, parent: Any = None) -> None:
            qt.QWidget.__init__(self, parent)
            self.mine = 3

    assert Panel().mine == 3
    assert isinstance(Panel(), Panel)
    assert isinstance(Panel(), qt.QWidget)


def test_stray_attributes_are_found(panel: Any) -> None:
    from slicerhost.qt_properties import stray_attributes

    assert stray_attributes(panel) == []
    panel.button.__dict__["foo"] = 1
    assert stray_attributes(panel) == [(panel.button, ["foo"])]


def test_dynamic_properties_read_like_attributes(panel: Any) -> None:
    panel.button.setProperty("SlicerParameterName", "threshold")
    assert panel.button.SlicerParameterName == "threshold"
    panel.button.SlicerParameterName = "rounds"
    assert panel.button.property("SlicerParameterName") == "rounds"
    with pytest.raises(AttributeError):
        _ = panel.button.NoSuchName


def test_signals_connect_by_signature(panel: Any, capfd: pytest.CaptureFixture[str]) -> None:
    received: list[Any] = []
    assert panel.button.connect("clicked(bool)", received.append)
    assert panel.button.connect("clicked()", lambda: received.append("none"))
    assert panel.line.connect("textChanged(QString)", panel.spin, "clear()")
    panel.button.checkable = True
    panel.button.click()
    assert received == [True, "none"]
    assert panel.button.disconnect("clicked(bool)", received.append)
    panel.button.click()
    assert received == [True, "none", "none"]
    for wrong in ("clicked", "clickd()", "clicked(QString)"):
        assert panel.button.connect(wrong, print) is False
    assert "QObject::connect: No such signal QPushButton::clickd()" in capfd.readouterr().err


def test_signals_with_nodes_know_their_cpp_signature(slicer_app: Any) -> None:
    import slicer

    selector = slicer.qMRMLNodeComboBox()
    assert selector.connect("currentNodeChanged(vtkMRMLNode*)", print)
    assert selector.connect("currentNodeChanged(bool)", print)
    assert selector.connect("currentNodeIDChanged(QString)", print)
    assert selector.connect("currentNodeChanged(PyObject)", print) is False
    assert selector.connect("currentNodeChanged()", print) is False


def test_constructors_take_no_keywords(slicer_app: Any) -> None:
    import ctk
    import qt

    for kind in (qt.QLabel, qt.QSize, ctk.ctkSliderWidget):
        with pytest.raises(ValueError, match="takes no keyword arguments in PythonQt, got text"):
            kind(text="a")
    with pytest.raises(
        ValueError, match=r"matching overload of ctkCollapsibleButton\(\) for \(str"
    ):
        ctk.ctkCollapsibleButton("Inputs")


def test_types_are_flat(panel: Any) -> None:
    import qt
    import slicer

    assert isinstance(panel.button, qt.QPushButton)
    assert not isinstance(panel.button, qt.QWidget)
    assert not issubclass(qt.QPushButton, qt.QWidget)
    assert panel.button.inherits("QWidget")
    assert not isinstance(slicer.qMRMLNodeComboBox(), qt.QWidget)


def test_sequences_are_tuples_and_enumerators_are_ints(panel: Any) -> None:
    import qt

    assert isinstance(panel.children(), tuple)
    assert panel.findChildren("QPushButton") == (panel.button,)
    assert panel.findChildren(qt.QSpinBox) == (panel.spin,)
    box = qt.QComboBox()
    box.addItem("a", [1, 2])
    assert box.itemData(0) == (1, 2)
    box.setProperty("weights", [3, 4])
    assert box.property("weights") == (3, 4)
    assert qt.Qt.Horizontal == 1
    assert qt.QMessageBox.Ok == 1024


def test_byte_arrays_give_their_bytes_by_data(slicer_app: Any) -> None:
    import qt

    array = qt.QByteArray(b"a\0b")
    assert array.data() == b"a\0b"
    with pytest.raises(TypeError, match=r"use \.data"):
        bytes(array)


def test_deleted_objects_are_false(slicer_app: Any) -> None:
    import qt
    import shiboken6

    label = qt.QLabel("a")
    assert label
    shiboken6.delete(label)
    assert not label
    with pytest.raises(ValueError, match="from a destroyed QLabel object"):
        _ = label.text


def test_modal_message_boxes_do_not_hang_a_test(slicer_app: Any) -> None:
    import ctk
    import qt
    import slicer

    box = ctk.ctkMessageBox()
    box.text = "Really?"
    with pytest.raises(RuntimeError, match=r"would wait for a click.*Really\?"):
        box.exec_()
    with pytest.raises(RuntimeError, match="would wait for a click"):
        qt.QMessageBox.question(None, "Title", "Really?")
    assert slicer.util.infoDisplay("Done.") is None


def test_errors_in_slots_are_collected(clean_scene: Any, panel: Any) -> None:
    from slicerhost import slot_errors

    panel.button.connect("clicked()", lambda: 1 / 0)
    panel.button.click()
    tag = clean_scene.AddObserver(clean_scene.NodeAddedEvent, lambda *_: {}["missing"])
    clean_scene.AddNewNodeByClass("vtkMRMLTextNode")
    clean_scene.RemoveObserver(tag)
    first, second = slot_errors.take()
    assert "ZeroDivisionError" in first
    assert "KeyError: 'missing'" in second
