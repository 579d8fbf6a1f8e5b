"""Sentences about progress and results."""

from slicer.i18n import tr as _

from NASAM3DModule.parameters import Quantity


def progressText(progress) -> str:
    """Say what is being done and how long it still takes."""
    stage = progress.stage[:1].upper() + progress.stage[1:]
    if progress.remaining_s is None:
        return stage
    left = durationText(progress.remaining_s)
    return _("{stage}, about {left} left").format(stage=stage, left=left)


def durationText(seconds: float) -> str:
    """Give a time in minutes and seconds."""
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def resultText(result: dict) -> str:
    """Give a segment's name and figures."""
    if result["quantity"] == Quantity.HU.value:
        return _("{name}: {volume_ml:.2f} ml, mean {mean:.0f} HU").format(**result)
    return _("{name}: {volume_ml:.2f} ml, mean {mean:.4f} /mm").format(**result)
