"""Small stand-ins: translation, which leaves texts as they are, and the list of sample data."""

from __future__ import annotations

import sys
import types
from typing import Any

import slicer


def tr(text: str) -> str:
    """Translate to the user's language: here, none."""
    return text


def translate(context: str, text: str) -> str:
    """Translate in a named context: here, not at all."""
    return text


class SampleDataLogic:
    """Records the data sets that modules register."""

    registered: list[dict[str, Any]] = []

    @staticmethod
    def registerCustomSampleDataSource(
        category: str = "Custom", sampleName: str | None = None, **description: Any
    ) -> None:
        """Remember a data set; a second one of the same name replaces the first."""
        entry = {"category": category, "sampleName": sampleName, **description}
        others = [item for item in SampleDataLogic.registered if item["sampleName"] != sampleName]
        SampleDataLogic.registered[:] = [*others, entry]


def install() -> None:
    """Make ``slicer.i18n`` and ``SampleData`` importable."""
    translation = types.ModuleType("slicer.i18n")
    translation.__dict__.update(tr=tr, translate=translate)
    sample_data = types.ModuleType("SampleData")
    sample_data.__dict__.update(SampleDataLogic=SampleDataLogic)
    for module in (translation, sample_data):
        sys.modules[module.__name__] = module
    slicer.i18n = translation
