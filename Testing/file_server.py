"""A small web server for the tests of downloads: resumes, redirects, breaks off, lies."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Behaviour:
    """What the server serves, and how badly."""

    content: bytes = b""
    break_after: int | None = None
    """Bytes after which one answer ends early; then the server is well again."""
    ranges: bool = True
    """Whether it can continue a file."""
    status: int = 200
    length: bool = True
    """Whether it says how much comes."""
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    """Path and Range header of each request."""


class _Handler(BaseHTTPRequestHandler):
    behaviour: Behaviour

    def do_GET(self) -> None:
        behaviour = self.behaviour
        wanted = self.headers.get("Range")
        behaviour.requests.append((self.path, wanted))
        if self.path == "/moved/file.pth":
            self.send_response(302)
            self.send_header("Location", "/models/file.pth")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if behaviour.status != 200:
            self.send_error(behaviour.status)
            return
        begin = 0
        if wanted and behaviour.ranges:
            begin = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if begin >= len(behaviour.content):
                self.send_error(416)
                return
        self._send(behaviour.content[begin:], begin)

    def _send(self, part: bytes, begin: int) -> None:
        total = len(self.behaviour.content)
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{total - 1}/{total}")
        if self.behaviour.length:
            self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        cut, self.behaviour.break_after = self.behaviour.break_after, None
        self.wfile.write(part if cut is None else part[:cut])

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@contextmanager
def serving(behaviour: Behaviour) -> Iterator[str]:
    """Run the server; yields its address."""
    handler = type("Handler", (_Handler,), {"behaviour": behaviour})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
