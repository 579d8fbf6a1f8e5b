"""What a reconstruction will run on, how long it will take and what memory it needs."""

from slicer.i18n import tr as _

from NASAM3DModule.parameters import Device
from NASAM3DModule.texts import durationText, memoryText

NOT_KNOWN = "–"


class Expectation:
    """Asks the background process and shows what it says, while nothing else is asked of it.

    ``machine`` is what the process has to compute with, None until it has told.
    """

    def __init__(self, widget) -> None:
        self.widget, self.ui = widget, widget.ui
        self.machine = self._machineJob = self._job = self._key = None

    def update(self) -> None:
        """Ask again if another reconstruction is chosen."""
        parameters, scan = self.widget.parameters, self.widget.projections.scan
        if parameters is None or scan is None or scan["shape_kji"] is None:
            self.stop()
            self.ui.expectedLabel.text = NOT_KNOWN
            return
        self._showDevice(parameters)
        settings = self.widget.logic.settings(parameters)
        key = (parameters.projectionsPath, parameters.viewCount, *settings.values())
        if key == self._key:
            return
        self.stop()
        self._key = key
        self.ui.expectedLabel.text = "…"
        if self.machine is None:
            self.askMachine()
        self._job = self.widget.logic.estimate(parameters, scan, self.onEstimate, self.onError)
        self.widget.startPolling()

    def askMachine(self) -> None:
        """Ask what there is to compute with, unless that has been asked already."""
        if self._machineJob is None:
            logic = self.widget.logic
            self._machineJob = logic.describeMachine(self.onMachine, self.onMachineError)
            self.widget.startPolling()

    def stop(self) -> None:
        """Ask no more, for there is something better to do."""
        if self._job:
            self._job.cancel()
        self._job = self._key = None

    def onMachine(self, message) -> None:
        """Say what the reconstruction runs on."""
        self._machineJob, self.machine = None, message.fields
        self.widget.updateGui()

    def onMachineError(self, error) -> None:
        """Ask again another time."""
        self._machineJob = None

    def onEstimate(self, message) -> None:
        """Show time and memory, and a warning if the memory does not suffice."""
        self._job = None
        fields = message.fields
        seconds, memory = fields["seconds"], memoryText(fields["peak_bytes"])
        text = _("{memory} of memory").format(memory=memory)
        if seconds is not None:
            text = _("about {time}, {text}").format(time=durationText(max(seconds, 1)), text=text)
        if fields["fits"] is False:
            free = memoryText(fields["free_memory_bytes"])
            text += "\n" + _(
                "Only {free} are free: choose a lower quality or close other programs."
            ).format(free=free)
        self.ui.expectedLabel.text = text

    def onError(self, error) -> None:
        """Show nothing rather than an error: nobody has asked for the estimate."""
        if error.kind != "cancelled":
            self._job = None
            self.ui.expectedLabel.text = NOT_KNOWN

    def _showDevice(self, parameters) -> None:
        """Say plainly where it will run."""
        if self.machine is None:
            return
        text = self.machine["device"]
        if parameters.device == Device.CPU:
            text = _("Everything runs on the CPU.")
        elif parameters.device == Device.CUDA and not self.machine["gpu"]:
            text = _("No GPU that can be used was found on this machine.")
        self.ui.deviceInfoLabel.text = text
