"""The application behind the proxies: it answers with the headers that it received."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Handler(BaseHTTPRequestHandler):
    """Answers with the headers received, and counts."""

    protocol_version = "HTTP/1.1"
    # Head and body in one segment, or each answer waits 40 ms for the acknowledgement of the first.
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Answer with the headers received and the number of this request, as JSON."""
        number = self.server.counted() if isinstance(self.server, _Server) else 0
        self._read_body()
        received = {"headers": [[key.lower(), value] for key, value in self.headers.items()], "requests": number}
        body = json.dumps(received).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _read_body(self) -> None:
        """Otherwise the next request would begin with the body (RFC 9112 sections 6.2 and 7.1)."""
        if "transfer-encoding" not in self.headers:
            self.rfile.read(max(0, int(self.headers.get("content-length", 0))))
            return
        while (size := int(self.rfile.readline().partition(b";")[0], 16)) > 0:
            self.rfile.read(size + 2)
        while self.rfile.readline().strip():  # trailers
            pass

    def __getattr__(self, name: str) -> Callable[[], None]:
        """Answer every method alike."""
        if name.startswith("do_"):
            return self.do_GET
        raise AttributeError(name)

    def log_message(self, *_args: object) -> None:
        """Log nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # The usual five connections that may wait are too few for two proxies under load.
    request_queue_size = 1024

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(address, _Handler)
        self._numbers = itertools.count(1)
        self.requests = 0

    def counted(self) -> int:
        """The number of this request, from 1."""
        self.requests = number = next(self._numbers)
        return number


class Application:
    """The application at `address` and `port`, by default a free port of loopback."""

    def __init__(self, address: str = "127.0.0.1", port: int = 0) -> None:
        self._server = _Server((address, port))
        self.port = int(self._server.server_address[1])

    @property
    def requests(self) -> int:
        """How many requests reached it."""
        return self._server.requests

    def start(self) -> None:
        """Answer in a thread."""
        # Half a second, the default, is how long a stop would wait.
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
