"""The tables' own part of a run: which volumes, which comparators, and training one of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from NASAM3DLib.benchmark import comparators
from NASAM3DLib.benchmark.click_task import ClickSettings
from NASAM3DLib.benchmark.recipes import Reconstructed
from NASAM3DLib.benchmark.sources import GeneratedSource, Source, ThinnedSource
from NASAM3DLib.benchmark.swin_plan import METHOD_FILE, Example, SwinSettings
from NASAM3DLib.benchmark.views import Look, shown_volume
from NASAM3DLib.progress import ProgressCallback, no_progress, sub_progress

SWIN_FOLDER = "swin-unetr"
ASD_AT = (1, 3, 5, 10)
"""Numbers of clicks after which the mean surface distance is measured, and the last."""


def comparator_files(folder: Path) -> tuple[Path, ...]:
    """List the files of the comparators that come with the library.

    Parameters
    ----------
    folder : Path
        Output folder of the tables; networks that were trained there take part.

    Returns
    -------
    tuple of Path
        One for each comparator.
    """
    place = Path(comparators.__file__).parent
    files = {path.stem: path for path in sorted(place.glob("[a-z]*.py"))}
    own = folder / SWIN_FOLDER / METHOD_FILE
    if own.is_file():
        files["swin_unetr"] = own.resolve()
    return tuple(files.values())


def looks_of(recipes: Sequence[str], n_views: Sequence[int]) -> tuple[Look, ...]:
    """List the volumes that methods are shown.

    Parameters
    ----------
    recipes : sequence of str
        Ways of reconstructing.
    n_views : sequence of int
        Numbers of views.

    Returns
    -------
    tuple of Reconstructed or None
        The full data last, as reference.
    """
    return (*(Reconstructed(recipe, n) for n in n_views for recipe in recipes), None)


def with_asd(settings: ClickSettings) -> tuple[int, ...]:
    """Choose the clicks after which surface distances are measured.

    Parameters
    ----------
    settings : ClickSettings
        Number of clicks.

    Returns
    -------
    tuple of int
    """
    return tuple(sorted({*(n for n in ASD_AT if n < settings.n_clicks), settings.n_clicks}))


def train_swin(
    sources: Sequence[Source],
    settings: ClickSettings,
    swin: SwinSettings,
    *,
    progress: ProgressCallback = no_progress,
) -> Path:
    """Train SwinUNETR-v2 on the labels of the images, on all volumes that methods are shown.

    Parameters
    ----------
    sources : sequence of Source
        The cases; generated ones do not take part.
    settings : ClickSettings
        Where cases are kept, and the volumes.
    swin : SwinSettings
        Size and steps.
    progress : callable
        Told how far the work is.

    Returns
    -------
    Path
        File of the comparator.

    Raises
    ------
    ValueError
        If no object has a name in two cases.
    """
    from NASAM3DLib.benchmark.swin_unetr import train

    examples = []
    own = [source for source in sources if not isinstance(_original(source), GeneratedSource)]
    for number, source in enumerate(own):
        progress("reading cases", 0.1 * number / len(own))
        case = settings.store.case(source)
        volumes = [
            shown_volume(settings.store, source, look, settings.scan) for look in settings.views
        ]
        examples.append(Example.of(case, volumes))
    part = sub_progress(progress, 0.1, 1.0)
    return train(examples, settings.folder / SWIN_FOLDER, swin, progress=part)


def _original(source: Source) -> Source:
    """Give the source behind a thinned one."""
    return source.original if isinstance(source, ThinnedSource) else source
