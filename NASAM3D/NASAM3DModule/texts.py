"""Sentences about progress and results."""

from slicer.i18n import tr as _

from NASAM3DModule.parameters import Quantity

UNSURE_PART = 0.25
"""Part of a boundary that may be unsure before the user is told."""


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


def resultText(name: str, figures: dict) -> str:
    """Give a segment's name and figures, a line for what belongs together."""
    if not figures["n_voxels"]:
        return _("{name} is empty.").format(name=name)
    unit = "HU" if figures["quantity"] == Quantity.HU.value else "/mm"
    digits = ".0f" if unit == "HU" else ".4f"
    mean, spread = (format(figures[key], digits) for key in ("mean", "spread"))
    return _(
        "{name}: {volume_ml:.2f} ml, mean {meanValue} ± {spreadValue} {unit}\n"
        "longest diameter {longest_diameter_mm:.0f} mm, surface {surface_cm2:.1f} cm²"
    ).format(name=name, meanValue=mean, spreadValue=spread, unit=unit, **figures)


def warningText(figures: dict) -> str:
    """Say where the figures should not be trusted; empty if nothing speaks against them."""
    warnings, unsure = [], figures.get("unsure_part")
    if figures.get("hint"):
        warnings.append(
            _(
                "Several structures of the same density touch here: add an outside point where the "
                "segment goes too far, or a box."
            )
        )
    if unsure is not None and unsure >= UNSURE_PART:
        warnings.append(
            _(
                "{percent:.0f} % of the boundary lies where the reconstruction is unsure of it: "
                "look at the map of uncertainty, and use more views or a better quality."
            ).format(percent=100 * unsure)
        )
    return "\n".join(warnings)


def jointText(fields: dict) -> str:
    """Say what came of a joint refinement, and why."""
    report = fields["report"]
    why = report.get("why", "")
    if not fields["is_joint"]:
        return _("Nothing was changed: {why}.").format(why=why)
    if report.get("mask_returned") == "joint":
        mask = _("The segment is another one, too")
        if report.get("mask_change") is not None:
            mask = _("The segment changed by {percent:.0f} %").format(
                percent=100 * report["mask_change"]
            )
    else:
        mask = _("The segment stays as it was, for the new volume does not clearly want another")
    return _("The volume was refined: {why}. {mask}. Undo goes back.").format(why=why, mask=mask)


def memoryText(n_bytes: float) -> str:
    """Give an amount of memory."""
    if n_bytes < 2**30:
        return f"{n_bytes / 2**20:.0f} MiB"
    return f"{n_bytes / 2**30:.1f} GiB"
