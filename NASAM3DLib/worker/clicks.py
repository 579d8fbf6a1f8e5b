"""Clicks in, masks out: the newest state of the points wins.

A user clicks faster than a mask is computed. While one request runs, only the newest waits; what it
overtakes is dropped. The volume is sent once and again only when it has changed, or the process
that held it is gone or has let go of it; nobody is told of that.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

from NASAM3DLib.reconstruct.volume import Volume
from NASAM3DLib.segment.prompts import Prompts
from NASAM3DLib.worker.client import WorkerClient
from NASAM3DLib.worker.job import WorkerError, ignore
from NASAM3DLib.worker.mask_parts import MaskPart, with_base
from NASAM3DLib.worker.payloads import pack_prompts, pack_volume
from NASAM3DLib.worker.protocol import Deferred, Message


@dataclass(frozen=True, eq=False)
class ClickState:
    """What a mask is wanted for.

    Parameters
    ----------
    volume_key : hashable
        Anything that changes when the volume does.
    read_volume : callable
        Gives the volume, or a function that makes it; called only if it has to be sent. That
        function runs in another thread, so it may convert and check many voxels without anybody
        waiting, but must not touch widgets or scenes.
    prompts : Prompts
        Points in the volume's own coordinates.
    settings : mapping
        Settings of the engine, plain values.
    engine : str, optional
        Name of the engine; the worker's default if not given.
    base : MaskPart, optional
        A mask that was made otherwise and that the points shall correct.
    """

    volume_key: Hashable
    read_volume: Callable[[], Volume | Callable[[], Volume]]
    prompts: Prompts
    settings: Mapping[str, Any] = field(default_factory=dict)
    engine: str | None = None
    base: MaskPart | None = None

    @property
    def key(self) -> tuple[Hashable, ...]:
        """Equal for states that give the same mask."""
        prompts = self.prompts
        box = None if prompts.box_ras is None else prompts.box_ras.tobytes()
        settings = tuple(sorted(self.settings.items()))
        return (
            self.volume_key,
            prompts.points_ras.tobytes(),
            prompts.labels.tobytes(),
            prompts.scribbles.tobytes(),
            box,
            settings,
            self.engine,
            None if self.base is None else self.base.key,
        )


@dataclass(frozen=True, eq=False)
class _Request:
    """A state and whom to tell; without points only its volume is sent."""

    state: ClickState
    on_result: Callable[[Message], None]
    on_error: Callable[[WorkerError], None]
    has_points: bool = True


class ClickedSegmentation:
    """Asks the worker for masks.

    Parameters
    ----------
    client : WorkerClient
        Where to ask; whoever owns it polls it.
    """

    def __init__(self, client: WorkerClient) -> None:
        self._client = client
        self._running: _Request | None = None
        self._next: _Request | None = None
        self._wanted_key: tuple[Hashable, ...] | None = None
        self._held: dict[tuple[Hashable, int], str] = {}

    def update(
        self,
        state: ClickState,
        *,
        on_result: Callable[[Message], None],
        on_error: Callable[[WorkerError], None],
    ) -> bool:
        """Ask for the mask of a state, unless it is the one that was asked for last.

        Parameters
        ----------
        state : ClickState
            Volume, points and settings.
        on_result : callable
            Called with the worker's answer, unless a later call overtakes this one.
        on_error : callable
            Called with a :class:`WorkerError` instead; asking for the same state again is allowed
            then.

        Returns
        -------
        bool
            Whether a mask will come.
        """
        if state.key == self._wanted_key:
            return False
        self._wanted_key = state.key
        request = _Request(state, on_result, on_error)
        if self._running is None:
            self._send_volume(request)
        else:
            self._next = request
        return True

    def prepare(
        self, volume_key: Hashable, read_volume: Callable[[], Volume | Callable[[], Volume]]
    ) -> None:
        """Send a volume ahead of the first click, unless there is something else to do.

        Parameters
        ----------
        volume_key : hashable
            As of :class:`ClickState`.
        read_volume : callable
            As of :class:`ClickState`. What is wrong with the volume is told with the first click.
        """
        if self._running is not None or self._client.is_busy:
            return
        state = ClickState(volume_key, read_volume, Prompts())
        self._send_volume(_Request(state, ignore, ignore, has_points=False))

    def forget(self) -> None:
        """Drop what runs and what waits; nobody is told."""
        self._next = None
        self._wanted_key = None

    def _send_volume(self, request: _Request) -> None:
        """Send the volume unless the process holds it, then the points."""
        self._running = request
        # A process that has died is noticed here, before its memory is relied on.
        self._client.poll()
        volume_id = self._held.get(self._holder(request))
        if volume_id is not None:
            self._send_points(request, volume_id, may_be_gone=True)
            return

        def remember(answer: Message) -> None:
            volume_id = str(answer.fields["volume_id"])
            self._remember(self._holder(request), volume_id)
            self._send_points(request, volume_id, may_be_gone=False)

        try:
            message = _volume_message(request.state.read_volume())
        except ValueError as error:
            self._end(request, WorkerError("input", str(error)))
            return
        self._client.submit(
            message, on_result=remember, on_error=lambda error: self._end(request, error)
        )

    def _holder(self, request: _Request) -> tuple[Hashable, int]:
        """Give what must not change for the process to still hold the volume."""
        return request.state.volume_key, self._client.generation

    def _remember(self, holder: tuple[Hashable, int], volume_id: str) -> None:
        """Note what the process holds; a process that is gone holds nothing."""
        self._held = {key: name for key, name in self._held.items() if key[1] == holder[1]}
        self._held[holder] = volume_id

    def _send_points(self, request: _Request, volume_id: str, *, may_be_gone: bool) -> None:
        """Send the points, or at once the newer ones that have come meanwhile."""
        if self._next is not None or not request.has_points:
            self._end(request, WorkerError("cancelled", "A newer request has come."))
            return
        state = request.state
        fields: dict[str, Any] = {"volume_id": volume_id, "settings": dict(state.settings)}
        if state.engine is not None:
            fields["engine"] = state.engine

        def give_up(error: WorkerError) -> None:
            is_gone = error.kind == "gone"
            if is_gone:
                self._held = {key: name for key, name in self._held.items() if name != volume_id}
            if is_gone and may_be_gone and self._next is None:
                self._send_volume(request)
            else:
                self._end(request, error)

        self._client.submit(
            with_base(pack_prompts("predict", state.prompts, **fields), state.base),
            on_result=lambda answer: self._end(request, answer),
            on_error=give_up,
        )

    def _end(self, request: _Request, outcome: Message | WorkerError) -> None:
        """Start what waits; only if nothing does, the outcome is the one that is wanted."""
        self._running = None
        if self._next is not None:
            following, self._next = self._next, None
            self._send_volume(following)
        elif request.state.key != self._wanted_key:
            return
        elif isinstance(outcome, WorkerError):
            self._wanted_key = None
            request.on_error(outcome)
        else:
            request.on_result(outcome)


def _volume_message(volume: Volume | Callable[[], Volume]) -> Message | Deferred:
    """Give the message that sends a volume."""
    if isinstance(volume, Volume):
        return pack_volume("set_volume", volume)
    return Deferred("set_volume", lambda: pack_volume("set_volume", volume()))
