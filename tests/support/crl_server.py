"""A CRL server on loopback that sends exactly the bytes that a test wants, correct or not."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from support.certificates import Authority, Minted, san

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]

ROOT = Authority.root("Root")
CRL = ROOT.crl(1, 2, 3)
"""What a good server answers."""


def says(head: str = "", body: bytes = CRL, *, status: str = "200 OK", length: int | None = None) -> Answer:
    """A status, header fields, a Content-Length (that of the body unless given), a body."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        fields = head + f"Content-Length: {len(body) if length is None else length}\r\n"
        writer.write(f"HTTP/1.1 {status}\r\n{fields}\r\n".encode("latin-1") + body)

    return answer


def raw(data: bytes) -> Answer:
    """These bytes, and the end."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(data)

    return answer


def hangs(first: bytes = b"") -> Answer:
    """These bytes, and then nothing for ever."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        await asyncio.Event().wait()

    return answer


def dribbles(first: bytes, piece: bytes) -> Answer:
    """These bytes, and then a little more every few milliseconds, without end."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        while True:
            await asyncio.sleep(0.005)
            writer.write(piece)
            await writer.drain()

    return answer


def resets(first: bytes = b"") -> Answer:
    """These bytes, and then a reset of the connection."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        await writer.drain()
        connection: socket.socket = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    return answer


class CrlServer:
    """Answers each connection's one request with `answer`; `requests` are their headers."""

    def __init__(self, answer: Answer, scheme: str) -> None:
        self.answer = answer
        self.scheme = scheme
        self.port = 0
        self.requests: list[str] = []
        self.sent = 0
        self.came = asyncio.Event()
        self.tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """By address."""
        return f"{self.scheme}://127.0.0.1:{self.port}/ca.crl"

    def named(self, host: str) -> str:
        """With a host name, which the client's resolver must know."""
        return f"{self.scheme}://{host}:{self.port}/ca.crl"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        with contextlib.suppress(asyncio.CancelledError, ConnectionError, asyncio.IncompleteReadError):
            self.requests.append((await reader.readuntil(b"\r\n\r\n")).decode("latin-1"))
            self.came.set()
            await self.answer(writer)
            await writer.drain()
        self.tasks.discard(task)
        writer.close()


@contextlib.asynccontextmanager
async def crl_server(answer: Answer | None = None, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[CrlServer]:
    """A running server; whatever it still says is cut off at the end."""
    made = CrlServer(answer or says(), "https" if tls else "http")
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=tls)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for task in list(made.tasks):
            task.cancel()
        if made.tasks:
            await asyncio.wait(set(made.tasks))


def server_tls(folder: Path, *names: str, ca: Authority = ROOT) -> ssl.SSLContext:
    """TLS with a certificate for these names, valid now by the real clock."""
    now = datetime.now(UTC)
    leaf: Minted = ca.leaf(
        "server",
        not_before=now - timedelta(days=1),
        not_after=now + timedelta(days=1),
        extensions=[(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False), (san(*names), False)],
    )
    (folder / "server.pem").write_text(leaf.pem + leaf.key_pem, encoding="ascii")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "server.pem")
    return context


def ca_file(folder: Path) -> tuple[Authority, Path]:
    """A CA that is valid now by the real clock, and its certificate in a file."""
    now = datetime.now(UTC)
    ca = Authority.root("Web", not_before=now - timedelta(days=1), not_after=now + timedelta(days=1))
    path = folder / "ca.pem"
    path.write_text(ca.pem, encoding="ascii")
    return ca, path
