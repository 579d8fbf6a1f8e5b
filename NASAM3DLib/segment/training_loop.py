"""What the trainings of all networks have in common: the loop, checkpoints, continuation."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Protocol

from NASAM3DLib.progress import ProgressCallback, no_progress

logger = logging.getLogger(__name__)


class LoopSettings(Protocol):
    """What the loop must know of the settings of a training."""

    @property
    def n_updates(self) -> int:
        """Updates in all."""

    @property
    def save_every(self) -> int:
        """Updates from one checkpoint to the next."""


class TrainingLoop(ABC):
    """Updates a network until it had as many updates as its settings say.

    Parameters
    ----------
    settings : LoopSettings
        How many updates, and how often to save.

    Notes
    -----
    An update must depend on its number, the seed and the weights alone: then a training that is
    continued from a checkpoint is the same as an uninterrupted one.
    """

    def __init__(self, settings: LoopSettings) -> None:
        self._loop = settings
        self.losses: list[float] = []

    def run(
        self, path: Path, *, progress: ProgressCallback = no_progress, force: bool = False
    ) -> list[float]:
        """Train, and write checkpoints.

        Parameters
        ----------
        path : Path
            Checkpoint to write.
        progress : callable
            Called with stage and fraction; may raise to end. The last checkpoint stays.
        force : bool
            Whether an existing file may be replaced by the first checkpoint.

        Returns
        -------
        list of float
            Loss of each update, those before a continuation included.

        Raises
        ------
        FileExistsError
            If the file exists and must not be replaced.
        RuntimeError
            If the loss is not finite.
        """
        total = self._loop.n_updates
        while len(self.losses) < total:
            done = len(self.losses)
            progress(self.stage(), done / total)
            self.losses.append(self._update(done))
            if (done + 1) % self._loop.save_every == 0 or done + 1 == total:
                self.save(path, force=force)
                force = True
                logger.info("%d updates, %s", done + 1, self.stage())
        progress(self.stage(), 1.0)
        return self.losses

    def resume(
        self, path: Path, *, progress: ProgressCallback = no_progress, force: bool = False
    ) -> list[float]:
        """Go on from a checkpoint if it is there, else begin.

        Parameters
        ----------
        path : Path
            Checkpoint to continue and to write.
        progress : callable
            See :meth:`run`.
        force : bool
            Whether a file that is not continued may be replaced.

        Returns
        -------
        list of float
            See :meth:`run`.
        """
        if path.is_file():
            self.restore(path)
            logger.info("Training is continued after %d updates.", len(self.losses))
            force = True
        return self.run(path, progress=progress, force=force)

    def stage(self) -> str:
        """Say how training goes.

        Returns
        -------
        str
        """
        return f"loss {self.losses[-1]:.3f}" if self.losses else "training"

    @abstractmethod
    def save(self, path: Path, *, force: bool = False) -> None:
        """Write a checkpoint from which training can be continued.

        Parameters
        ----------
        path : Path
            File to write.
        force : bool
            Whether an existing file may be replaced.
        """

    @abstractmethod
    def restore(self, path: Path) -> None:
        """Take up training where a checkpoint left it.

        Parameters
        ----------
        path : Path
            Checkpoint of :meth:`save`.

        Raises
        ------
        ValueError
            If it is no checkpoint of a training, or of one with other settings.
        """

    @abstractmethod
    def _update(self, number: int) -> float:
        """Make the update of a number; gives its loss."""


def check_settings(
    former: Mapping[str, Any], present: Mapping[str, Any], path: Path, *, free: Collection[str]
) -> None:
    """Refuse to continue with settings that would make another training of it.

    Parameters
    ----------
    former, present : mapping of str
        Settings in the checkpoint, and those asked for.
    path : Path
        The checkpoint, for the message.
    free : collection of str
        Settings that may differ.

    Raises
    ------
    ValueError
        If any other differs.
    """
    changed = [
        f"{name} was {former.get(name)} and is {value}"
        for name, value in present.items()
        if name not in free and former.get(name) != value
    ]
    if changed:
        raise ValueError(
            f"{path} was trained with other settings ({'; '.join(changed)}): continue with the "
            "same, or start anew from it as weights."
        )
