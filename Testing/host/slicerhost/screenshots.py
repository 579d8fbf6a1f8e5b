"""Photograph widgets and views."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
import slicer

from .interaction import process_events


def render_all() -> None:
    """Render every view now."""
    process_events()
    for view in slicer.app.viewLayout().views():
        view.forceRender()
    process_events()


def screenshot(target: Any, path: Path) -> Path:
    """Save a picture of widgets, side by side, after rendering the views.

    Parameters
    ----------
    target : QWidget, layout manager, or sequence of them
        What to show, from left to right.
    path : pathlib.Path
        The PNG file to write.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    RuntimeError
        If the picture cannot be written.
    """
    render_all()
    widgets = target if isinstance(target, (list, tuple)) else [target]
    pictures = [_widget(item).grab() for item in widgets]
    size = qt.QSize(
        sum(picture.width() for picture in pictures),
        max(picture.height() for picture in pictures),
    )
    canvas = qt.QPixmap(size)
    canvas.fill(qt.QColor(240, 240, 240))
    painter = qt.QPainter(canvas)
    left = 0
    for picture in pictures:
        painter.drawPixmap(left, 0, picture)
        left += picture.width()
    painter.end()
    if not canvas.save(str(path), "PNG"):
        raise RuntimeError(f"a writable path for a picture was wanted, got {path}")
    return path


def _widget(item: Any) -> Any:
    """Find what to photograph: a layout manager stands for its views."""
    return item.viewport() if type(item) is slicer.qSlicerLayoutManager else item
