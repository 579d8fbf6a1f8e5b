"""Where the module finds what is installed beside it."""

from pathlib import Path


def resourceFile(name: str) -> str:
    """Find a resource: beside the module once installed, one folder higher in a source tree."""
    folder = Path(__file__).resolve().parent.parent
    places = [folder / "Resources" / name, folder.parent / "Resources" / name]
    return str(next((place for place in places if place.exists()), places[0]))
