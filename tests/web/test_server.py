"""Answered at once, or by aiohttp: the same bytes, the same checks, the same log; and what is answered at once at all.

A connection is fed without a socket, so that each request is known to have been read before the next is sent.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
from collections.abc import AsyncIterator, Callable, Sequence
from io import BytesIO
from typing import Any
from weakref import ref

import pytest
from aiohttp.web_protocol import MAX_MSG_QUEUE_SIZE, RequestHandler
from support.certificates import NOW
from support.decision_world import ALICE, CA, EVIL_ALICE, EVIL_CA, MemoryView, Says, standard_view
from support.raw_requests import BODIES, PATHS, UNREADABLE, mutated

from authz.errors import NotLoaded
from authz.headers import present
from authz.service import Service
from authz.telemetry import Telemetry
from authz.view import Listener
from authz.web import checks as checks_module
from authz.web.checks import Checks, Endpoints
from authz.web.server import IDS_AT_ONCE, Server, new_decision_id

FUZZ = int(os.environ.get("FUZZ", "1"))
TURNS = 20
"""Of the event loop: more than aiohttp takes for an answer that waits for nothing."""

CERTIFICATE = b"x-forwarded-client-cert: " + present(ALICE.der, [CA.der]) + b"\r\n"
FOREIGN = b"x-forwarded-client-cert: " + present(EVIL_ALICE.der, [EVIL_CA.der]) + b"\r\n"


def head(
    fields: bytes = CERTIFICATE, line: bytes = b"GET /v1/check/ HTTP/1.1", host: bytes = b"acme.example.test"
) -> bytes:
    """A request without a body."""
    return line + b"\r\nhost: " + host + b"\r\n" + fields + b"\r\n"


class Recorder(asyncio.Transport):
    """The proxy's end of a connection: what it was sent, and whether it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep what is sent."""
        self.sent += bytes(data)

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return self.closed

    def close(self) -> None:
        """Close it."""
        self.closed = True

    def pause_reading(self) -> None:
        """Nothing is read by itself."""

    def resume_reading(self) -> None:
        """Likewise."""


class Rows:
    """A directory and a clock; a user in `missing` has to be loaded first."""

    def __init__(self) -> None:
        self.held = standard_view()
        self.monotonic = lambda: 0.0

    def view(self) -> MemoryView:
        """See `authz.ports.Directory`."""
        return self.held

    async def load(self, key: object) -> bool:
        """See `authz.ports.Source`."""
        self.held.missing.discard(key)
        return True

    def now(self) -> object:
        """See `authz.ports.Clock`."""
        return NOW


class Side:
    """A server, one connection to it, and what was answered at once."""

    def __init__(self, *, at_once: bool, listener: Listener | None = None) -> None:
        self.rows, self.log = Rows(), BytesIO()
        self.telemetry = Telemetry(self.log)
        self.service = Service(self.rows, self.rows, self.telemetry)  # type: ignore[arg-type]
        listener = listener or Listener("envoy", (Says("alice"),))
        handler = Checks(
            self.service.check,
            listener,
            Endpoints(),
            refuse=self.service.refuse,
            check_at_once=self.service.check_at_once,
        )
        self.at_once = 0

        def counted(request: Any) -> bytes | None:
            answer = handler.at_once(request)
            self.at_once += answer is not None
            return answer

        self.server = Server(handler, handler.unread, counted if at_once else None)
        self.connect()

    def connect(self) -> None:
        """Another connection."""
        self.connection, self.transport = self.server(), Recorder()
        # A body that does not come is waited for as long as the test runs, however slow the machine is.
        self.connection._lingering_time = 3_600.0
        self.connection.connection_made(self.transport)

    async def feed(self, *pieces: bytes) -> bytes:
        """What has been sent in all, once each piece was read and acted upon."""
        await turns()
        for piece in pieces:
            self.connection.data_received(piece)
            await turns()
        return self.transport.sent

    def outcome(self) -> tuple[object, ...]:
        """Answers, whether the connection ends, the log; without what differs from one moment to the next."""
        sent = re.sub(rb"\r\nDate: [^\r]*", b"", self.transport.sent)
        lines = [json.loads(line) for line in self.log.getvalue().splitlines()]
        for line in lines:
            del line["time"]
        return sent, self.transport.closed, lines

    async def close(self) -> None:
        """End the connection, whatever aiohttp still waits for."""
        task = self.connection._task_handler
        self.connection.connection_lost(None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def turns() -> None:
    """Let the event loop do what can be done now."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def _same_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks_module, "new_decision_id", lambda: "0" * 32)


@pytest.fixture
async def side() -> AsyncIterator[Side]:
    """A server that answers at once."""
    made = Side(at_once=True)
    yield made
    await made.close()


async def both(pieces: Sequence[bytes], prepare: Callable[[Side], None] = lambda _: None) -> int:
    """Send the pieces both ways, and compare; how many were answered at once."""
    sides = Side(at_once=True), Side(at_once=False)
    for each in sides:
        prepare(each)
        await each.feed(*pieces)
    quick, slow = (each.outcome() for each in sides)
    assert quick == slow, pieces
    assert sides[1].at_once == 0
    for each in sides:
        await each.close()
    return sides[0].at_once


PLAIN: dict[str, list[bytes]] = {
    "allowed": [head()],
    "allowed with a length of 0, as Envoy asks": [head(CERTIFICATE + b"content-length: 0\r\n")],
    "refused": [head(b"")],
    "unknown host": [head(host=b"nowhere.example.test")],
    "another tenant's certificate": [head(FOREIGN)],
    "no endpoint": [head(line=b"GET /nowhere HTTP/1.1")],
    "absolute target": [head(line=b"GET http://evil.example.test/v1/check/ HTTP/1.1")],
    "two certificate headers": [head(CERTIFICATE + FOREIGN)],
    "underscore twin": [head(CERTIFICATE + FOREIGN.replace(b"-", b"_"))],
    "one connection, two tenants": [head(), head(FOREIGN, host=b"evil.example.test"), head(FOREIGN), head()],
    "many on one connection": [head()] * (2 * MAX_MSG_QUEUE_SIZE + 1),
    "empty lines before": [b"\r\n\r\n" + head()],
    "in two pieces": [head()[:40], head()[40:]],
    **{f"path {path} {target}": [head(line=f"POST {path} HTTP/1.1".encode())] for path, target in PATHS},
}
"""By requests on one connection, each of which is answered at once."""


@pytest.mark.parametrize("name", PLAIN)
async def test_plain_request_is_answered_at_once_and_as_by_aiohttp(name: str) -> None:
    """Equal answers, equal checks, equal log; allowed or refused, on a connection that is kept."""
    pieces = PLAIN[name]
    whole = [piece for piece in pieces if piece.endswith(b"\r\n\r\n")]
    assert await both(pieces) == len(whole)


NOT_PLAIN: dict[str, list[bytes]] = {
    "two hosts": [head(CERTIFICATE + b"host: evil.example.test\r\n")],
    "HEAD": [head(line=b"HEAD /v1/check/ HTTP/1.1")],
    "CONNECT": [head(line=b"CONNECT acme.example.test:443 HTTP/1.1")],
    "HTTP/1.0": [head(line=b"GET /v1/check/ HTTP/1.0")],
    "HTTP/1.0, kept": [head(CERTIFICATE + b"connection: keep-alive\r\n", line=b"GET /v1/check/ HTTP/1.0")],
    "close": [head(CERTIFICATE + b"connection: close\r\n"), head()],
    "upgrade": [head(CERTIFICATE + b"connection: upgrade\r\nupgrade: websocket\r\n"), head()],
    "upgrade to HTTP/2": [head(CERTIFICATE + b"connection: upgrade\r\nupgrade: h2c\r\n")],
    "expect": [head(CERTIFICATE + b"expect: 100-continue\r\n")],
    "body": [head(CERTIFICATE + b"content-length: 4\r\n", b"POST /v1/check/ HTTP/1.1") + b"abcd"],
    "body unread": [head(CERTIFICATE + b"content-length: 900\r\n", b"POST /v1/check/ HTTP/1.1"), head()],
    "body that is a request": [
        head(b"content-length: %d\r\n" % len(head()), b"POST /v1/check/ HTTP/1.1", b"evil.example.test") + head()
    ],
    "body that is a request, later": [
        head(b"content-length: %d\r\n" % len(head()), b"POST /v1/check/ HTTP/1.1", b"evil.example.test"), head()
    ],
    "chunked": [head(CERTIFICATE + b"transfer-encoding: chunked\r\n") + b"0\r\n\r\n", head()],
    "chunked, unread": [head(CERTIFICATE + b"transfer-encoding: chunked\r\n"), head()],
    "length and chunked": [head(CERTIFICATE + b"content-length: 4\r\ntransfer-encoding: chunked\r\n") + b"0\r\n\r\n"],
    "two lengths": [head(CERTIFICATE + b"content-length: 0\r\ncontent-length: 4\r\n") + b"abcd", head()],
    "folded header": [head(b"x-other: a\r\n " + CERTIFICATE)],
    "folded certificate": [head(CERTIFICATE.replace(b";", b";\r\n ", 1))],
    "bare line feeds": [head().replace(b"\r\n", b"\n")],
    "space before the colon": [head(CERTIFICATE.replace(b":", b" :", 1))],
    "two requests in one read": [head(b"") + head()],
    "two requests in one read, cut": [head(b"") + head()[:50], head()[50:]],
    "a method that aiohttp does not know": [head(line=b"CCM_POST /v1/check/ HTTP/1.1"), head()],
    "lower-case method": [head(line=b"get /v1/check/ HTTP/1.1"), head()],
    **{f"unreadable {number}": [octets] for number, octets in enumerate(UNREADABLE)},
    **{f"body {number}": [head(CERTIFICATE)[:-2] + fields.encode()] for number, fields in enumerate(BODIES)},
}  # fmt: skip
"""What aiohttp answers, or nothing does; a request behind it is no reason to answer at once."""


@pytest.mark.parametrize("name", NOT_PLAIN)
@pytest.mark.slow
async def test_request_that_is_not_plain_is_aiohttp_s(name: str) -> None:
    """None of it is answered at once, nor what follows on the same connection."""
    assert await both(NOT_PLAIN[name]) == 0


@pytest.mark.fuzz
@pytest.mark.parametrize("seed", range(4))
async def test_drawn_connections_are_answered_alike(seed: int) -> None:
    """Sequences of requests of any bytes, cut anywhere: both ways give the same bytes, and the same checks."""
    chance = random.Random(seed)
    corpus = [piece for pieces in (*PLAIN.values(), *NOT_PLAIN.values()) for piece in pieces if len(piece) < 10_000]
    at_once = 0
    for _ in range(150 * FUZZ):
        octets = [chance.choice((chance.choice(corpus), mutated(chance), head())) for _ in range(chance.randint(1, 4))]
        stream = b"".join(octets)
        cuts = sorted(chance.sample(range(len(stream) + 1), chance.randint(0, 3)))
        pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
        at_once += await both([piece for piece in chance.choice((octets, pieces)) if piece])
    assert at_once


async def test_row_that_is_missing_is_loaded_by_aiohttp_s_way_and_a_request_behind_it_waits() -> None:
    """The answers are in order: the second request, at hand, must not overtake the first."""

    def prepare(made: Side) -> None:
        made.rows.held.missing = {("user", "alice")}

    assert await both([head(), head(b"")], prepare) == 1

    waits = asyncio.Event()
    side = Side(at_once=True)
    side.rows.held.missing = {("user", "alice")}
    load = side.rows.load

    async def later(key: object) -> bool:
        await waits.wait()
        return await load(key)

    side.rows.load = later  # type: ignore[method-assign]
    await side.feed(head())
    side.rows.held.missing = set()
    assert await side.feed(head(b"")) == b""
    waits.set()
    sent = await side.feed()
    assert re.findall(rb"HTTP/1.1 (\d+)", sent) == [b"200", b"403"]
    assert side.at_once == 0
    await side.close()


async def test_requests_behind_many_that_were_answered_at_once_are_read() -> None:
    """Of what aiohttp's parser counts against its bound, nothing stays that was answered at once."""
    assert await both([head()] * (MAX_MSG_QUEUE_SIZE + 8) + [head(b"") + head()]) == MAX_MSG_QUEUE_SIZE + 8


async def test_request_that_comes_before_aiohttp_took_the_last_one_over_waits(side: Side) -> None:
    """Both are read in one turn of the event loop: the answers are in order."""
    await side.feed()
    for octets in (head(b"", line=b"HEAD /v1/check/ HTTP/1.1"), head()):
        side.connection.data_received(octets)
    assert re.findall(rb"HTTP/1.1 (\d+)", await side.feed()) == [b"403", b"200"]
    assert side.at_once == 0


async def test_proxy_that_reads_no_answers_is_not_answered_at_once(side: Side) -> None:
    """While the transport's buffer is full, aiohttp waits with the next answer until it is not."""
    await side.feed()
    side.connection.pause_writing()
    assert b"200" in await side.feed(head())
    before = await side.feed(head(b""))
    assert before.count(b"HTTP/1.1") == 1
    side.connection.resume_writing()
    assert (await side.feed()).count(b"HTTP/1.1") == 2
    assert side.at_once == 0


async def test_connection_that_ends_is_not_answered(side: Side) -> None:
    """Neither when the server stops, nor when its transport is closing."""
    await side.feed()
    side.transport.close()
    assert await side.feed(head()) == b""
    side.connect()
    await side.feed()
    side.server.pre_shutdown()
    assert await side.feed(head()) == b""
    assert side.at_once == 0


async def test_failure_of_what_answers_at_once_is_a_503_that_ends_the_connection() -> None:
    """As that of a handler; the log has where it failed, and nothing of the request."""

    def fail(_request: Any) -> bytes:
        raise ValueError("S3CRET")

    side = Side(at_once=True)
    side.server = Server(side.server.request_handler, side.server._unread, fail)  # type: ignore[arg-type]
    side.connect()
    assert (await side.feed(head())).split()[1] == b"503"
    assert side.transport.closed
    lines = [json.loads(line) for line in side.log.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["failure", "decision"]
    assert lines[0]["error"] == "ValueError"
    assert b"S3CRET" not in side.log.getvalue()
    await side.close()


async def test_answer_at_once_puts_off_the_end_of_an_idle_connection(side: Side) -> None:
    """The timer of aiohttp would close a connection that it believes idle since it was opened."""
    await side.feed()
    side.connection._next_keepalive_close_time = 0.0
    await side.feed(head())
    side.connection._process_keepalive()
    assert not side.transport.closed
    assert side.at_once == 1


async def test_connection_that_is_never_made_leaves_no_cycle() -> None:
    """As where a handshake fails, which strangers can make it do: nothing ends the connection then."""
    connection = ref(Side(at_once=True).server())
    assert connection() is None


LEANED_ON = {"_waiter", "_next_keepalive_close_time", "_keepalive_timeout"}


async def test_private_names_of_aiohttp_mean_what_the_server_believes(side: Side) -> None:
    """A release that renames one, or waits in another way, fails here: see `authz.web.server._Protocol.answered`."""
    assert set(RequestHandler.__slots__) >= LEANED_ON
    await side.feed()
    connection = side.connection
    waiter = connection._waiter
    assert waiter is not None
    assert not waiter.done()
    assert not connection._messages
    # aiohttp takes a message over: it does not wait until that is answered.
    connection.data_received(head(line=b"HEAD /v1/check/ HTTP/1.1"))
    assert waiter.done()
    assert len(connection._messages) == 1
    states = []

    async def check(*_arguments: object) -> Any:
        states.append((connection._waiter, len(connection._messages)))
        raise NotLoaded("")

    side.server.request_handler = check
    side.connect()
    connection = side.connection
    await side.feed(head(line=b"HEAD /v1/check/ HTTP/1.1"))
    assert states == [(None, 0)]


def test_decision_ids_are_all_different_also_in_a_forked_process() -> None:
    """None that the parent made ahead is used twice; each has 32 hexadecimal digits."""
    made = [new_decision_id() for _ in range(2 * IDS_AT_ONCE + 1)]
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.write(write, new_decision_id().encode("ascii"))
        os._exit(0)
    os.waitpid(child, 0)
    made += [new_decision_id(), os.read(read, 64).decode("ascii")]
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in made)
    assert len(set(made)) == len(made)
    for descriptor in (read, write):
        os.close(descriptor)
