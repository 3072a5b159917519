"""The operators' listeners under clients that hold, fill, starve and flood them; on the event loop that serves."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import ClassVar

import pytest
from cryptography import x509
from support.certificates import Minted
from support.proxy_tls import FOREIGN, MESH, NOW, client, proxy, server, write

from authz.web import ops_server
from authz.web.ops import health_pages, operators_pages
from authz.web.ops_server import MAX_CONNECTIONS, MAX_HEAD_BYTES, OpsServer
from authz.web.tls import ReloadingContext, TlsFiles

HEALTH = b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
METRICS = b"GET /metrics HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
READER = "prometheus.example.test"


class Listening:
    """A server on a port of its own; `warnings` and `refused` have what it reported."""

    def __init__(self, metrics: Callable[[], bytes] = lambda: b"m 1\n") -> None:
        self.warnings: list[str] = []
        self.refused: list[str] = []
        self.pages = operators_pages(lambda: True, metrics)
        self.server: OpsServer | None = None
        self.tls: ReloadingContext | None = None
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.port: int = self.socket.getsockname()[1]

    def start(self) -> None:
        """Begin to answer."""
        self.server = OpsServer(self.pages, self.warnings.append, tls=self.tls)
        self.server.start(self.socket)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection, on which nothing was sent yet."""
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def ask(self, request: bytes = HEALTH) -> bytes:
        """Everything that comes back for one request, on a connection of its own."""
        reader, writer = await self.connect()
        writer.write(request)
        response = await read_all(reader)
        writer.close()
        return response

    @property
    def connections(self) -> int:
        """Those that it has."""
        assert self.server is not None
        return len(self.server._connections)

    async def close(self) -> None:
        """Stop, and give the port back."""
        assert self.server is not None
        await self.server.close()
        self.socket.close()


async def read_all(reader: asyncio.StreamReader) -> bytes:
    """What comes until the connection ends, however it does."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while chunk := await reader.read(65536):
            data += chunk
    return data


async def until(true: Callable[[], bool]) -> None:
    """Wait for what the server does in turns of the same event loop."""
    while not true():
        await asyncio.sleep(0.001)


@pytest.fixture
async def listening() -> AsyncIterator[Listening]:
    """A server in plain text."""
    made = Listening()
    made.start()
    yield made
    await made.close()


async def test_request_is_answered_and_the_connection_ends(listening: Listening) -> None:
    """One request for each connection: a second one in the same packet is not read."""
    response = await listening.ask(HEALTH + METRICS)
    assert response.startswith(b"HTTP/1.1 200 OK\r\n")
    assert response.endswith(b"\r\n\r\nok\n")
    assert response.count(b"HTTP/1.1") == 1
    await until(lambda: listening.connections == 0)


async def test_request_in_single_bytes_is_answered(listening: Listening) -> None:
    """However it is cut."""
    reader, writer = await listening.connect()
    for byte in HEALTH:
        writer.write(bytes([byte]))
        await asyncio.sleep(0)
    assert (await read_all(reader)).startswith(b"HTTP/1.1 200")
    writer.close()


async def test_client_that_holds_all_connections_keeps_no_other_out(listening: Listening) -> None:
    """Silent, in the middle of a head, or deaf to the response: the newest takes the place of the oldest."""
    held = []
    for sent in (b"", b"GET /healthz HTTP/1.1\r\nx: ", b"GET ") * MAX_CONNECTIONS:
        reader, writer = await listening.connect()
        writer.write(sent)
        held.append((reader, writer))
        assert (await listening.ask()).startswith(b"HTTP/1.1 200")
        assert listening.connections <= MAX_CONNECTIONS
    # The first of them were closed, unanswered.
    assert await read_all(held[0][0]) == b""
    for _, writer in held:
        writer.close()


@pytest.mark.slow
async def test_flood_of_connections_keeps_no_probe_out(listening: Listening) -> None:
    """A probe among hundreds that connect at once and say nothing."""

    async def hold() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await listening.connect()

    flood = [asyncio.create_task(hold()) for _ in range(200)]
    probes = [asyncio.create_task(listening.ask()) for _ in range(5)]
    flood += [asyncio.create_task(hold()) for _ in range(200)]
    answers = await asyncio.gather(*probes)
    assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers)
    for _, writer in await asyncio.gather(*flood):
        writer.close()


async def test_slow_client_is_closed(listening: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that sends a byte now and then, for ever, has the time of one scrape and no more."""
    monkeypatch.setattr(ops_server, "CONNECTION_SECONDS", 0.2)
    reader, writer = await listening.connect()
    writer.write(b"GET /healthz HTTP/1.1\r\n")
    ended = asyncio.create_task(read_all(reader))
    while not ended.done():
        writer.write(b"x: y\r\n")
        await asyncio.sleep(0.01)
    assert await ended == b""
    writer.close()
    assert listening.connections == 0
    assert listening.warnings == []


async def test_client_that_does_not_read_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A response larger than all buffers, of which it takes nothing."""
    monkeypatch.setattr(ops_server, "CONNECTION_SECONDS", 0.2)
    listening = Listening(lambda: bytes(64 << 20))
    listening.start()
    with socket.create_connection(("127.0.0.1", listening.port)) as deaf:
        deaf.sendall(METRICS)
        await until(lambda: listening.connections == 1)
        await until(lambda: listening.connections == 0)
    await listening.close()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nx: " + b"y" * (2 * MAX_HEAD_BYTES) + b"\r\n\r\n", b"431"),
        (b"GET /" + b"y" * (4 * MAX_HEAD_BYTES), b"431"),
        (b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n" + b"a: b\r\n" * 300 + b"\r\n", b"400"),
        (b"POST /metrics HTTP/1.1\r\nhost: localhost\r\ncontent-length: 999999\r\n\r\nx", b"405"),
        (b"GET /metrics HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nffffffff\r\n", b"200"),
        (b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n", b"200"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400"),
    ],
)
async def test_bombs_are_answered_within_bounds(listening: Listening, sent: bytes, status: bytes) -> None:
    """Header bombs, endless lines, bodies that never come, upgrades, TLS: answered at once, and nothing is kept."""
    response = await listening.ask(sent)
    assert response.split(b" ")[1:2] == [status]
    await until(lambda: listening.connections == 0)


async def test_page_of_another_site_reads_nothing_at_loopback(listening: Listening) -> None:
    """A browser whose name server leads it here sends the site's host (DNS rebinding): 421, whatever it asks for."""
    for host in (
        b"evil.example.test",
        b"evil.example.test:9901",
        b"127.0.0.1.evil.example.test",
        b"localhost.evil.test",
    ):
        response = await listening.ask(METRICS.replace(b"127.0.0.1", host))
        assert response.startswith(b"HTTP/1.1 421 ")
        assert b"m 1" not in response
    for host in (b"localhost:9901", b"LOCALHOST", b"127.0.0.1:9901", b"[::1]:9901", b"10.0.0.1"):
        assert (await listening.ask(METRICS.replace(b"127.0.0.1", host))).endswith(b"m 1\n")


async def test_client_that_leaves_is_no_failure(listening: Listening) -> None:
    """Before its request, within it, and by a reset."""
    for sent in (b"", b"GET /hea", HEALTH):
        with socket.create_connection(("127.0.0.1", listening.port)) as leaving:
            leaving.sendall(sent)
            leaving.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert (await listening.ask()).startswith(b"HTTP/1.1 200")
    await until(lambda: listening.connections == 0)
    assert listening.warnings == []


@pytest.mark.parametrize("error", [OSError("the folder is gone"), ValueError("a file of another form"), KeyError("x")])
async def test_rendering_that_fails_is_reported_and_ends_nothing_else(error: Exception) -> None:
    """The client gets 500, or for a defect of ours nothing, and the next one is answered."""

    def fail() -> bytes:
        raise error

    listening = Listening(fail)
    listening.start()
    response = await listening.ask(METRICS)
    assert response.startswith(b"HTTP/1.1 500") or (response == b"" and isinstance(error, KeyError))
    assert (await listening.ask()).startswith(b"HTTP/1.1 200")
    assert listening.warnings == [f"the operators' listener could not answer a request: {type(error).__name__}"]
    await listening.close()


async def test_probes_have_connections_of_their_own(tmp_path: Path) -> None:
    """Whatever becomes of the operators' listener: a Unix socket, which strangers cannot open, has its own sixteen."""
    path = tmp_path / "probes.sock"
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(path))
        opened.listen()
        opened.setblocking(False)
        probes = OpsServer(health_pages(lambda: True), [].append)
        probes.start(opened)
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b"GET /readyz HTTP/1.1\r\nhost: authz\r\n\r\n")
        assert (await read_all(reader)).endswith(b"ready\n")
        writer.close()
        await probes.close()


# -- with TLS --------------------------------------------------------------------------------------------------


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[Listening]:
    """A server whose clients must show a certificate of the name `READER`."""
    made = Listening()
    write(tmp_path, "server", server())
    write(tmp_path, "ca", MESH)
    write(tmp_path, "reader", proxy(READER))
    files = TlsFiles(tmp_path / "server.pem", tmp_path / "server.key", tmp_path / "ca.pem")
    made.tls = ReloadingContext(
        files, frozenset({READER}), refused=made.refused.append, warn=made.warnings.append, now=lambda: NOW
    )
    made.start()
    yield made
    await made.close()


async def scrape(listening: Listening, folder: Path, name: str | None, host: bytes = b"x") -> bytes:
    """The metrics, as a client with the certificate `name` gets them; nothing where it is refused."""
    with contextlib.suppress(OSError):
        reader, writer = await asyncio.open_connection("127.0.0.1", listening.port, ssl=client(folder, name))
        writer.write(METRICS.replace(b"127.0.0.1", host))
        response = await read_all(reader)
        writer.close()
        return response
    return b""


async def test_client_with_an_allowed_name_reads_the_metrics(guarded: Listening, tmp_path: Path) -> None:
    """By any host: it has proven who it is, and is no web page."""
    for host in (b"127.0.0.1", b"authz.authz.svc.cluster.local:9901"):
        assert (await scrape(guarded, tmp_path, "reader", host)).endswith(b"m 1\n")
    assert guarded.refused == []


STRANGERS: dict[str, Minted | None] = {
    "without a certificate": None,
    "of another name": proxy("grafana.example.test"),
    "of the name as another kind": proxy(x509.RFC822Name(f"x@{READER}")),
    "of another CA": proxy(READER, by=FOREIGN),
}


@pytest.mark.parametrize("certificate", STRANGERS.values(), ids=list(STRANGERS))
async def test_client_that_is_not_allowed_reads_nothing(
    guarded: Listening, tmp_path: Path, certificate: Minted | None
) -> None:
    """The handshake fails, and the operator reads why; those who may read still do."""
    if certificate is not None:
        write(tmp_path, "stranger", certificate)
    assert await scrape(guarded, tmp_path, None if certificate is None else "stranger") == b""
    await until(lambda: guarded.connections == 0)
    assert len(guarded.refused) == 1
    assert (await scrape(guarded, tmp_path, "reader")).endswith(b"m 1\n")


async def test_strangers_in_the_middle_of_a_handshake_keep_no_reader_out(guarded: Listening, tmp_path: Path) -> None:
    """They are counted from their first byte on, and before it."""
    held = [await guarded.connect() for _ in range(3 * MAX_CONNECTIONS)]
    for _, writer in held[::2]:
        writer.write(b"\x16\x03\x01")
    assert (await scrape(guarded, tmp_path, "reader")).endswith(b"m 1\n")
    assert guarded.connections <= MAX_CONNECTIONS
    assert await read_all(held[0][0]) == b""
    for _, writer in held:
        writer.close()


async def test_plain_text_is_not_answered_where_tls_is_set(guarded: Listening) -> None:
    """Not even that the service lives."""
    assert b"200" not in await guarded.ask()


async def test_client_whose_ca_was_removed_meanwhile_reads_nothing(guarded: Listening, tmp_path: Path) -> None:
    """Between its handshake and its request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", guarded.port, ssl=client(tmp_path, "reader"))
    await until(lambda: guarded.connections == 1)
    write(tmp_path, "ca", FOREIGN)
    assert guarded.tls is not None
    guarded.tls._checked_at = float("-inf")
    writer.write(METRICS)
    assert await read_all(reader) == b""
    assert guarded.refused == ["the proxy's CA is no longer in the file"]
    writer.close()


# -- its end, and what the system refuses ----------------------------------------------------------------------


async def test_request_that_comes_while_the_server_closes_is_answered(listening: Listening) -> None:
    """A connection that was accepted cannot be asked for by the process that follows; one that waits still, can."""
    reader, writer = await listening.connect()
    await until(lambda: listening.connections == 1)
    assert listening.server is not None
    closing = asyncio.create_task(listening.server.close())
    await asyncio.sleep(0)
    late = asyncio.create_task(listening.ask())
    writer.write(HEALTH)
    assert (await read_all(reader)).startswith(b"HTTP/1.1 200")
    writer.close()
    await closing
    assert not late.done()
    listening.start()
    assert (await late).startswith(b"HTTP/1.1 200")


async def test_closed_server_leaves_no_connection_and_no_descriptor(
    listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of those that were accepted and not begun."""
    monkeypatch.setattr(ops_server, "CLOSE_SECONDS", 0.05)
    held = [await listening.connect() for _ in range(4)]
    await until(lambda: listening.connections == 4)
    assert listening.server is not None
    await listening.server.close()
    for reader, writer in held:
        assert await read_all(reader) == b""
        writer.close()
    assert listening.connections == 0


class Exhausted(socket.socket):
    """A listening socket whose first connection finds no descriptor left."""

    failures: ClassVar[list[OSError]] = []

    def accept(self) -> tuple[socket.socket, object]:
        """The next connection."""
        if self.failures:
            raise self.failures.pop()
        return super().accept()


async def test_lack_of_descriptors_is_reported_and_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that cannot be accepted ends no listener: it is accepted once there are descriptors again."""
    monkeypatch.setattr(ops_server, "RETRY_SECONDS", 0.01)
    listening = Listening()
    listening.socket = Exhausted(fileno=listening.socket.detach())
    listening.socket.setblocking(False)
    Exhausted.failures.append(OSError(24, "Too many open files"))
    listening.start()
    assert (await listening.ask()).startswith(b"HTTP/1.1 200")
    assert listening.warnings == ["the operators' listener cannot accept a connection: [Errno 24] Too many open files"]
    await listening.close()
