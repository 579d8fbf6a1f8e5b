"""``weights``: list, download, install, verify, choose and remove weights of networks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from NASAM3DLib.cli.options import Debug, Force, Verbose, help_of

NAME = "weights"
HELP = help_of(
    "Manage the weights of networks.",
    "Nothing is downloaded without this command. The licence is shown first; size and SHA-256 "
    "decide what enters the store, whose folder the variable NASAM3D_WEIGHTS names. Proxies are "
    "taken from the environment. What: a name, or a file to install.",
    "weights list",
    "weights download sam-med3d-turbo",
    "weights install sam_med3d_turbo.pth",
    "weights install tuned.pth --name tuned",
    "weights use tuned",
    "weights verify tuned",
    "weights remove tuned",
)

Action = Literal["list", "download", "install", "verify", "use", "remove"]


def run(
    action: Annotated[Action, typer.Argument(help="What to do.")] = "list",
    what: Annotated[
        str | None, typer.Argument(help="Name of weights, or file.", show_default=False)
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Name for a file that is not public.")
    ] = None,
    mirror: Annotated[
        str | None,
        typer.Option("--mirror", metavar="URL", help="Mirror, such as https://hf-mirror.com."),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Agree to the licence without being asked.")
    ] = False,
    force: Force = False,
    debug: Debug = False,
    verbose: Verbose = False,
) -> None:
    """Do one thing with the store."""
    from NASAM3DLib.weights.store import WeightStore

    store = WeightStore()
    if action == "list":
        _list(store)
        return
    if what is None:
        raise typer.BadParameter(f"weights {action} needs a name or a file after it.")
    if action == "download":
        _download(store, what, mirror=mirror, yes=yes)
    elif action == "install":
        _install(store, Path(what), name=name, force=force)
    elif action == "verify":
        _verify(store, what)
    elif action == "use":
        store.prefer(what)
        _say(f"{what} is what engines use from now on.")
    else:
        _say(f"{what} removed, {store.remove(what) / 1e6:.1f} MB freed.")


def _list(store: Any) -> None:
    """Show public and stored weights."""
    from NASAM3DLib.cli.console import stdout, to_rich
    from NASAM3DLib.evaluate.tables import Column, Table
    from NASAM3DLib.weights.catalogue import CATALOGUE

    stored = {record.name: record for record in store.stored()}
    preferred = store.preferred()
    rows: list[tuple[str, str, float, str]] = []
    for entry in CATALOGUE.values():
        size = stored[entry.name].size_bytes if entry.name in stored else entry.size_bytes
        rows.append((entry.name, _state(entry.name, stored, preferred), size / 1e6, entry.title))
    for record in stored.values():
        if record.name not in CATALOGUE:
            state = _state(record.name, stored, preferred)
            rows.append((record.name, state, record.size_bytes / 1e6, f"from {record.source}"))
    columns = (Column("name"), Column("state"), Column("MB", 1), Column("what"))
    stdout().print(to_rich(Table(columns, tuple(rows))))
    stdout().print(f"Folder: {store.folder}", markup=False)


def _state(name: str, stored: dict[str, Any], preferred: str) -> str:
    """Say in a word or two where weights are."""
    if name not in stored:
        return "not installed"
    return "installed, in use" if name == preferred else "installed"


def _download(store: Any, name: str, *, mirror: str | None, yes: bool) -> None:
    """Show the licence, ask, download."""
    from NASAM3DLib.cli.console import shown_progress
    from NASAM3DLib.weights.catalogue import public_weights
    from NASAM3DLib.weights.download import download

    entry = public_weights(name)
    url = entry.url_at(mirror)
    if any(record.name == name for record in store.stored()):
        _say(f"{name} is installed already: {store.path_of(name)}.")
        return
    _say(f"{entry.title}\n{entry.licence}")
    _say(f"From {url}, about {entry.size_bytes / 1e6:.0f} MB, SHA-256 {entry.sha256}.")
    if not yes and not typer.confirm("Agree and download?"):
        raise typer.Abort
    with shown_progress("Downloading") as progress:
        record = download(entry, store, mirror=mirror, progress=progress)
    _say(f"{store.path_of(name)}: {record.size_bytes / 1e6:.1f} MB, digest as expected.")


def _install(store: Any, file: Path, *, name: str | None, force: bool) -> None:
    """Check a file and copy it into the store."""

    def check(path: Path) -> None:
        from NASAM3DLib.segment.sam_med3d.checkpoint import load_checkpoint

        load_checkpoint(path)

    record = store.install(file, name=name, check=check, force=force)
    _say(f"{store.path_of(record.name)}: {record.name}, SHA-256 {record.sha256}.")


def _verify(store: Any, name: str) -> None:
    """Compare the digest of stored weights."""
    from NASAM3DLib.cli.console import shown_progress

    with shown_progress("Verifying") as progress:
        record = store.verify(name, progress=progress)
    _say(f"{name}: SHA-256 {record.sha256}, as when it was stored.")


def _say(text: str) -> None:
    """Print a line as it is."""
    from NASAM3DLib.cli.console import stdout

    stdout().print(text, markup=False)
