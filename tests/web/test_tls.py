"""Mutual TLS with the proxy, on the event loop that serves: who is let in, and what a change of the files does."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import ssl
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from support import proxy_tls
from support.certificates import Authority, Minted
from support.proxy_tls import FOREIGN, MESH, NOW, PROXY, client, proxy, server, write
from support.requirements import need

from authz.errors import ConfigError
from authz.web.server import Server, encoded
from authz.web.tls import ReloadingContext, TlsFiles

DNS = "gateway.mesh.example"
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
HTTP = b"GET / HTTP/1.1\r\nhost: authz\r\n\r\n"


class Scene:
    """A server with TLS files in a folder; `reached` counts the requests that it read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = TlsFiles(folder / "server.pem", folder / "server.key", folder / "ca.pem")
        self.refused: list[str] = []
        self.warnings: list[str] = []
        self.reached = 0
        self.port = 0
        self.now = NOW
        write(folder, "server", server())
        write(folder, "ca", MESH)

    def context(self) -> ReloadingContext:
        """The server's context."""
        names = frozenset({PROXY, DNS})
        told = {"refused": self.refused.append, "warn": self.warnings.append}
        return ReloadingContext(self.files, names, **told, now=lambda: self.now)

    async def answer(self, _request: web.BaseRequest) -> web.Response:
        """What every request that is read gets."""
        self.reached += 1
        return web.Response(text="reached")

    def answer_at_once(self, _request: object) -> bytes:
        """The same, while it is read."""
        self.reached += 1
        return encoded(200, "", b"reached")

    async def connect(
        self, name: str | None, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A proxy connects; with TLS 1.3 it learns only later whether it was let in."""
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=client(self.folder, name, version))

    async def ask(self, name: str | None, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> str:
        """What a proxy gets for one request: "200", or nothing."""
        try:
            reader, writer = await self.connect(name, version)
            writer.write(HTTP)
            first = await reader.readline()
            writer.close()
        except OSError:
            return ""
        return first.split()[1].decode() if first else ""

    async def served(self) -> x509.Certificate:
        """The certificate that a new connection is shown."""
        _, writer = await self.connect("proxy")
        der = cast("ssl.SSLObject", writer.get_extra_info("ssl_object")).getpeercert(binary_form=True)
        writer.close()
        return x509.load_der_x509_certificate(der or b"")


def _unread(_error: BaseException | None) -> web.Response:
    return web.Response(status=400)


@pytest.fixture(params=["at once", "by aiohttp"])
async def scene(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    """A server that listens, and answers at once, or leaves all to aiohttp."""
    made = Scene(tmp_path)
    write(tmp_path, "proxy", proxy())
    context = made.context()
    at_once = made.answer_at_once if request.param == "at once" else None
    handler = Server(context.guarded(made.answer), _unread, at_once, context.allows)
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(handler, "127.0.0.1", 0, ssl=context, ssl_handshake_timeout=0.5)
    made.port = listening.sockets[0].getsockname()[1]
    yield made
    listening.close()
    await handler.shutdown(1)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("one", [proxy(), proxy(DNS), proxy("other.example", x509.UniformResourceIdentifier(PROXY))])
async def test_proxy_with_an_allowed_name_is_let_in(scene: Scene, one: Minted, version: ssl.TLSVersion) -> None:
    """By DNS or URI name; Envoy speaks TLS 1.2 unless it is configured otherwise."""
    write(scene.folder, "proxy", one)
    assert await scene.ask("proxy", version) == "200"
    assert (scene.reached, scene.refused) == (1, [])


ELSEWHERE = MESH.intermediate("Hidden", **proxy_tls.LIFE)

REFUSED: dict[str, tuple[Minted, str]] = {
    "another name": (proxy("other.mesh.example"), "no allowed name, but: other.mesh.example"),
    "name as another kind": (proxy(x509.RFC822Name("gateway@mesh.example")), "no allowed name, but: none"),
    "name in capitals": (proxy("GATEWAY.mesh.example"), "no allowed name"),
    "wildcard": (proxy("*.mesh.example"), "no allowed name"),
    "name with more behind": (proxy(x509.UniformResourceIdentifier(PROXY + "/x")), "no allowed name"),
    "common name only": (MESH.leaf(DNS, **proxy_tls.LIFE), "no allowed name"),
    "another CA": (proxy(by=FOREIGN), "certificate verify failed"),
    "expired": (proxy(not_after=NOW - timedelta(hours=1)), "certificate has expired"),
    "not yet": (proxy(not_before=NOW + timedelta(hours=1)), "not yet valid"),
    "for servers": (server(MESH, DNS), "unsuitable certificate purpose"),
    "issuer left out": (proxy(by=ELSEWHERE), "certificate verify failed"),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("one", "told"), REFUSED.values(), ids=list(REFUSED))
@pytest.mark.slow
async def test_proxy_that_is_not_allowed_asks_nothing(
    scene: Scene, one: Minted, told: str, version: ssl.TLSVersion
) -> None:
    """The handshake fails, and the operator reads why."""
    write(scene.folder, "proxy", one)
    assert await scene.ask("proxy", version) == ""
    assert scene.reached == 0
    assert [told in each for each in scene.refused] == [True], scene.refused


@pytest.mark.parametrize("version", VERSIONS)
async def test_proxy_without_a_certificate_asks_nothing(scene: Scene, version: ssl.TLSVersion) -> None:
    """Whichever client reaches the port."""
    assert await scene.ask(None, version) == ""
    assert (scene.reached, len(scene.refused)) == (0, 1)
    assert "did not return a certificate" in scene.refused[0]


@pytest.mark.parametrize("sent", [HTTP, b"\x16\x03\x01\xff\xff" + bytes(64), b""])
@pytest.mark.slow
async def test_connection_that_is_no_tls_is_ended(scene: Scene, sent: bytes) -> None:
    """Plain HTTP, a malformed record, silence: within the bound."""
    reader, writer = await asyncio.open_connection("127.0.0.1", scene.port)
    writer.write(sent)
    with contextlib.suppress(OSError):
        assert b"HTTP" not in await asyncio.wait_for(reader.read(), 20)
    writer.close()
    assert scene.reached == 0
    assert await scene.ask("proxy") == "200"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
async def test_tls_before_1_2_is_refused(scene: Scene) -> None:
    """A client of old."""
    old = client(scene.folder, "proxy", ssl.TLSVersion.TLSv1_1)
    old.set_ciphers("ALL:@SECLEVEL=0")
    with contextlib.suppress(OSError):
        await asyncio.open_connection("127.0.0.1", scene.port, ssl=old)
    assert (scene.reached, len(scene.refused)) == (0, 1)
    assert "UNSUPPORTED_PROTOCOL" in scene.refused[0]


@pytest.mark.parametrize("version", VERSIONS)
async def test_no_session_is_resumed_by_ticket(scene: Scene, version: ssl.TLSVersion) -> None:
    """It would outlive the CA that let it in."""
    _, writer = await scene.connect("proxy", version)
    writer.write(HTTP)
    found = cast("ssl.SSLObject", writer.get_extra_info("ssl_object")).session
    assert found is None or not found.has_ticket
    writer.close()


async def session(scene: Scene, *options: str) -> str:
    """What `openssl s_client` says of one connection with a request in it, after which both ends close in order."""
    need("openssl", found=shutil.which("openssl") is not None)
    shown = ["-cert", scene.folder / "proxy.pem", "-key", scene.folder / "proxy.key"]
    words = ["s_client", "-connect", f"127.0.0.1:{scene.port}", *shown, *options, "-ign_eof"]
    process = await asyncio.create_subprocess_exec("openssl", *words, stdin=PIPE, stdout=PIPE, stderr=STDOUT)
    request = HTTP.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
    return (await process.communicate(request))[0].decode("utf-8", "replace")


@pytest.fixture
async def resumable(scene: Scene) -> list[str]:
    """With what a client resumes its session of TLS 1.2, which it does."""
    file = str(scene.folder / "session")
    first = await session(scene, "-tls1_2", "-sess_out", file)
    assert "reached" in first
    assert "New, TLSv1.2" in first
    resume = ["-tls1_2", "-sess_in", file]
    again = await session(scene, *resume)
    assert "Reused, TLSv1.2" in again
    assert "reached" in again
    return resume


@pytest.mark.slow
async def test_resumed_session_ends_with_the_certificate_that_began_it(scene: Scene, resumable: list[str]) -> None:
    """OpenSSL compares no date when it resumes: the service does, and tells its operator."""
    scene.now = NOW + timedelta(days=31)
    assert "reached" not in await session(scene, *resumable)
    assert (scene.reached, len(scene.refused)) == (2, 1)
    assert "expired" in scene.refused[0]


@pytest.mark.slow
@pytest.mark.parametrize("change", ["another CA", "another CA beside, then alone"])
async def test_resumed_session_ends_with_the_ca_that_let_it_in(scene: Scene, resumable: list[str], change: str) -> None:
    """A session of before is of no use: the chain is verified anew."""
    if "beside" in change:
        write(scene.folder, "ca", MESH, FOREIGN)
        assert "New, TLSv1.2" in await session(scene, *resumable)
    write(scene.folder, "ca", FOREIGN)
    reached = scene.reached
    assert "reached" not in await session(scene, *resumable)
    assert scene.reached == reached


@pytest.mark.slow
async def test_resumed_session_of_a_forgotten_certificate_is_refused_once(
    scene: Scene, resumable: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What verified it is not known any more, and the next handshake is a whole one."""
    monkeypatch.setattr("authz.web.tls.MAX_AUTHENTICATIONS", 1)
    write(scene.folder, "other", proxy())
    assert await scene.ask("other", ssl.TLSVersion.TLSv1_2) == "200"
    found = [await session(scene, *resumable) for _ in range(2)]
    assert ["reached" in one for one in found] == [False, True]
    assert "New, TLSv1.2" in found[1]


async def test_session_of_tls_1_3_is_not_resumed(scene: Scene) -> None:
    """None is offered."""
    file = scene.folder / "session"
    assert "reached" in await session(scene, "-tls1_3", "-sess_out", str(file))
    assert not file.exists()


SOON = MESH.intermediate("Soon", not_before=NOW - timedelta(days=1), not_after=NOW + timedelta(days=7))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("one", "chain", "days"), [(proxy(), (), 30), (proxy(by=SOON), (SOON,), 7)], ids=["leaf", "intermediate"]
)
async def test_open_connection_ends_with_the_first_certificate_that_expires(
    scene: Scene, one: Minted, chain: tuple[Minted, ...], days: int, version: ssl.TLSVersion
) -> None:
    """However long a proxy keeps it: the request after that moment is not read, and gets no answer."""
    write(scene.folder, "proxy", one, *chain)
    reader, writer = await scene.connect("proxy", version)
    for moment in (NOW, NOW + timedelta(days=days)):
        scene.now = moment
        assert await asked(reader, writer) == "200"
    scene.now = NOW + timedelta(days=days, seconds=1)
    assert await asked(reader, writer) == ""
    writer.close()
    assert (scene.reached, len(scene.refused)) == (2, 1)
    assert "expired" in scene.refused[0]


async def asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    """The status of one more answer on a connection, empty if it ends instead."""
    writer.write(HTTP)
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(len(b"reached"))
        return head.split()[1].decode()
    return ""


async def test_open_connection_ends_with_the_ca_that_let_it_in(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is added, or a certificate of the service's that is renewed, disturbs no connection."""
    monkeypatch.setattr("authz.web.tls.RELOAD_SECONDS", 0)
    reader, writer = await scene.connect("proxy")
    write(scene.folder, "ca", MESH, FOREIGN)
    write(scene.folder, "server", server())
    assert await asked(reader, writer) == "200"
    write(scene.folder, "ca", FOREIGN)
    assert await asked(reader, writer) == ""
    writer.close()
    assert scene.refused == ["the proxy's CA is no longer in the file"]


async def test_connection_without_a_proxy_is_cut(scene: Scene) -> None:
    """Should a listener ever be given one, nothing is read on it."""
    handler = Server(scene.context().guarded(scene.answer), _unread)
    listening = await asyncio.get_running_loop().create_server(handler, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname()[:2])
    assert await asked(reader, writer) == ""
    writer.close()
    listening.close()
    assert scene.reached == 0


async def test_renewed_certificate_is_shown_to_the_next_connection(scene: Scene) -> None:
    """And the one that is open goes on."""
    reader, writer = await scene.connect("proxy")
    fresh = server()
    write(scene.folder, "server", fresh)
    assert await scene.served() == fresh.certificate
    writer.write(HTTP)
    assert b"200" in await reader.readline()
    writer.close()


def test_files_exchanged_as_kubernetes_does_are_taken(tmp_path: Path) -> None:
    """A Secret's files are links through a folder that is a link, which alone is replaced."""
    volume = tmp_path / "volume"
    served: list[x509.Certificate] = []
    for generation in ("first", "second"):
        made = volume / f"..{generation}"
        made.mkdir(parents=True)
        write(made, "server", server())
        write(made, "ca", MESH)
        fresh = volume / "..data_tmp"
        fresh.symlink_to(made.name)
        fresh.replace(volume / "..data")
        if generation == "first":
            for name in ("server.pem", "server.key", "ca.pem"):
                (volume / name).symlink_to(f"..data/{name}")
            files = TlsFiles(volume / "server.pem", volume / "server.key", volume / "ca.pem")
            context = ReloadingContext(files, frozenset({PROXY}), refused=print, warn=print, now=lambda: NOW)
        served.append(shown_by(context))
    assert served[0] != served[1]


def shown_by(context: ReloadingContext) -> x509.Certificate:
    """The certificate that the context's next connection is shown."""
    sides = [ssl.MemoryBIO() for _ in range(2)]
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    theirs.check_hostname, theirs.verify_mode = False, ssl.CERT_NONE
    ends = [context.wrap_bio(*sides, server_side=True), theirs.wrap_bio(*reversed(sides), server_side=False)]
    for end in (ends[1], ends[0], ends[1]):
        with contextlib.suppress(ssl.SSLWantReadError):
            end.do_handshake()
    return x509.load_der_x509_certificate(ends[1].getpeercert(binary_form=True) or b"")


async def test_exchanged_ca_lets_in_the_new_proxies_only(scene: Scene) -> None:
    """Without a restart."""
    write(scene.folder, "new", proxy(by=FOREIGN))
    write(scene.folder, "ca", FOREIGN)
    assert [await scene.ask(one) for one in ("new", "proxy")] == ["200", ""]


async def test_files_that_cannot_be_used_leave_the_last_good_ones(scene: Scene) -> None:
    """A renewal that goes wrong is reported once, and ends nothing; one that comes right is taken."""
    before = await scene.served()
    (scene.folder / "server.key").write_text("not a key")
    assert [await scene.served() for _ in range(2)] == [before, before]
    assert len(scene.warnings) == 1
    assert "last good ones stay" in scene.warnings[0]
    fresh = server()
    write(scene.folder, "server", fresh)
    assert await scene.served() == fresh.certificate


async def test_key_of_another_certificate_leaves_the_last_good_ones(scene: Scene) -> None:
    """Half of a renewal."""
    before = await scene.served()
    write(scene.folder, "half", server())
    (scene.folder / "half.pem").replace(scene.folder / "server.pem")
    assert await scene.served() == before
    (scene.folder / "half.key").replace(scene.folder / "server.key")
    assert await scene.served() != before


async def test_files_that_are_gone_leave_the_last_good_ones(scene: Scene) -> None:
    """A mount that went away, reported once."""
    before = await scene.served()
    (scene.folder / "ca.pem").unlink()
    assert [await scene.served() for _ in range(2)] == [before, before]
    assert len(scene.warnings) == 1


@pytest.mark.parametrize("name", ["server.pem", "server.key", "ca.pem"])
@pytest.mark.parametrize("text", [None, "", "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"])
def test_files_that_cannot_be_used_at_the_start_refuse(tmp_path: Path, name: str, text: str | None) -> None:
    """With the names of the files."""
    made = Scene(tmp_path)
    (tmp_path / name).unlink()
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match="TLS files cannot be used") as caught:
        made.context()
    assert name in caught.value.hint


def test_encrypted_key_refuses_and_does_not_ask_at_the_terminal(tmp_path: Path) -> None:
    """A service has no operator at a terminal."""
    made = Scene(tmp_path)
    key = Authority.root("K").key
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    (tmp_path / "server.key").write_bytes(pem)
    with pytest.raises(ConfigError, match="encrypted"):
        made.context()
