"""Fetching from a real server: what it answers well, each way it misbehaves, where we connect, and who shares what."""

from __future__ import annotations

import asyncio
import base64
import errno
import gzip
import hashlib
import os
import socket
import ssl
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest
import uvloop
from support.certificates import tlv
from support.crl_server import (
    CRL,
    ROOT,
    Answer,
    CrlServer,
    ca_file,
    crl_server,
    dribbles,
    hangs,
    raw,
    resets,
    says,
    server_tls,
)

from authz.crls.failures import FailureKind, FetchFailed
from authz.crls.fair_queue import MAX_ATTEMPTS
from authz.crls.fetch.address_rules import AddressRules, HostRules
from authz.crls.fetch.client import (
    MAX_VALIDATOR,
    Fetched,
    Fetcher,
    FetchLimits,
    NotModified,
    Resolve,
    Validators,
    system_resolve,
)
from authz.errors import ConfigError

K = FailureKind
LOOPBACK = AddressRules((ip_network("127.0.0.0/8"), ip_network("::1/128")))
CAP = 1024 * 1024
PATIENT = FetchLimits(total=60, connect=60, read=60, size=CAP)
HASTY = FetchLimits(total=0.2, connect=60, read=60, size=CAP)
HASTY_TO_READ = FetchLimits(total=60, connect=60, read=0.1, size=CAP)
HASTY_TO_CONNECT = FetchLimits(total=60, connect=0.1, read=60, size=CAP)
OK = b"HTTP/1.1 200 OK\r\n"
PEM = b"-----BEGIN X509 CRL-----\n" + base64.encodebytes(CRL) + b"-----END X509 CRL-----\n"
NAME = "crl.example.test"


def resolves(*answers: list[str] | OSError) -> Resolve:
    """The wire of the DNS: each look-up its own answer, the last one for ever."""
    left = list(answers)

    async def resolve(_host: str, _port: int) -> list[str]:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, OSError):
            raise answer
        return answer

    return resolve


def fetcher(
    limits: FetchLimits = PATIENT,
    *,
    addresses: AddressRules = LOOPBACK,
    hosts: HostRules | None = None,
    ca_file: Path | None = None,
    resolve: Resolve | None = None,
) -> Fetcher:
    """One that may connect to loopback."""
    wire = resolve or resolves(OSError("no look-up was expected"))
    return Fetcher(addresses=addresses, hosts=hosts, limits=limits, ca_file=ca_file, resolve=wire)


async def fetched(made: Fetcher, url: str, folder: Path, validators: Validators | None = None) -> bytes:
    """The body; the file is in the folder while it is used, and gone afterwards."""
    async with made.fetch(url, folder, validators) as got:
        assert isinstance(got, Fetched)
        body = got.path.read_bytes()
        assert got.path.parent == folder
        assert (got.size, got.sha256) == (len(body), hashlib.sha256(body).digest())
    assert list(folder.iterdir()) == []
    return body


async def failure(made: Fetcher, url: str, folder: Path, validators: Validators | None = None) -> FailureKind:
    """Why not; nothing is left in the folder."""
    with pytest.raises(FetchFailed) as error:
        async with made.fetch(url, folder, validators):
            pass
    assert error.value.detail
    assert list(folder.iterdir()) == []
    return error.value.kind


def chunked(*pieces: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """A body in chunks."""
    return b"".join(b"%x\r\n%s\r\n" % (len(one), one) for one in pieces) + end


GOOD = {
    "length": says(),
    "pem": says(body=PEM),
    "chunked": raw(OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(CRL[:10], CRL[10:])),
    "until the end": raw(OK + b"\r\n" + CRL),
    "http 1.0": raw(b"HTTP/1.0 200 OK\r\n\r\n" + CRL),
    "type of a page": says("Content-Type: text/html\r\n"),
    "after a 100": raw(b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: %d\r\n\r\n" % len(CRL) + CRL),
    "with cookies": says("Set-Cookie: a=b\r\nSet-Cookie: \x01=\r\n"),
    "no encoding, said": says("Content-Encoding: identity\r\n"),
    "no encoding, said by another word": says("Content-Encoding: None\r\n"),
    "more than it said": raw(OK + b"Content-Length: %d\r\n\r\n" % len(CRL) + CRL + b"HTTP/1.1 200 OK\r\n\r\n"),
}


@pytest.mark.parametrize("name", GOOD)
async def test_crl_is_fetched(name: str, tmp_path: Path) -> None:
    """In every way HTTP has to say how long it is; DER comes out."""
    async with crl_server(GOOD[name]) as server:
        assert await fetched(fetcher(), server.url, tmp_path) == CRL


async def flood(writer: asyncio.StreamWriter) -> None:
    """200 MB that nothing waits for."""
    writer.write(OK + b"\r\n")
    for _ in range(200):
        writer.write(bytes(1024 * 1024))
        await writer.drain()


async def endless_chunks(writer: asyncio.StreamWriter) -> None:
    """Chunks for ever."""
    writer.write(OK + b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(chunked(bytes(64 * 1024), end=b""))
        await writer.drain()


ZIPPED = gzip.compress(CRL)
BOMB = gzip.compress(bytes(50 * CAP), 1)
BAD: dict[str, tuple[Answer, FailureKind]] = {
    "404": (says(status="404 Not Found"), K.STATUS),
    "500": (says(status="500 Internal Server Error"), K.STATUS),
    "204": (raw(b"HTTP/1.1 204 No Content\r\n\r\n"), K.STATUS),
    "206": (says(status="206 Partial Content"), K.STATUS),
    "203": (says(status="203 Non-Authoritative Information"), K.STATUS),
    "401": (says("WWW-Authenticate: Basic\r\n", status="401 Unauthorized"), K.STATUS),
    "304 not asked for": (raw(b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\n\r\n'), K.STATUS),
    "reason in disguise": (says(status="404 \x1b[2J"), K.STATUS),
    "301": (says("Location: /other\r\n", status="301 Moved Permanently"), K.REDIRECT),
    "302 to metadata": (says("Location: http://169.254.169.254/latest\r\n", status="302 Found"), K.REDIRECT),
    "307 to itself": (says("Location: /ca.crl\r\n", status="307 Temporary Redirect"), K.REDIRECT),
    "300 to nowhere": (says(status="300 Multiple Choices"), K.REDIRECT),
    "html": (says(body=b"<!DOCTYPE html><title>Sign in</title>"), K.NOT_A_CRL),
    "html of the length of a sequence": (says(body=b"0 <html></html>"), K.NOT_A_CRL),
    "certificate in pem": (says(body=ROOT.pem.encode()), K.NOT_A_CRL),
    "cut in der": (says(body=CRL[:-1]), K.NOT_A_CRL),
    "cut until the end": (raw(OK + b"\r\n" + CRL[:-1]), K.NOT_A_CRL),
    "shorter by its length": (says(body=CRL + b"\0", length=len(CRL)), K.PROTOCOL),
    "cut by its length": (says(body=CRL[:-1] + b"H", length=len(CRL) - 1), K.NOT_A_CRL),
    "longer by its length": (says(length=len(CRL) + 1), K.TRUNCATED),
    "length of another kind": (raw(OK + b"Content-Length: -1\r\n\r\n" + CRL), K.PROTOCOL),
    "two lengths": (raw(OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n" + CRL), K.PROTOCOL),
    "empty": (says(body=b""), K.EMPTY),
    "empty until the end": (raw(OK + b"\r\n"), K.EMPTY),
    "empty chunks": (raw(OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), K.EMPTY),
    "gzip": (says("Content-Encoding: gzip\r\n", ZIPPED), K.ENCODING),
    "gzip bomb": (says("Content-Encoding: gzip\r\n", BOMB), K.ENCODING),
    "gzip bomb that does not say so": (says(body=BOMB), K.NOT_A_CRL),
    "gzip that says no": (says("Content-Encoding: none\r\n", ZIPPED), K.NOT_A_CRL),
    "two encodings": (says("Content-Encoding: identity, gzip\r\n", ZIPPED), K.ENCODING),
    "deflate": (says("content-encoding: deflate\r\n"), K.ENCODING),
    "gzip in transfer": (raw(OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + chunked(ZIPPED)), K.NOT_A_CRL),
    "200 MB": (flood, K.TOO_LARGE),
    "200 MB, said": (hangs(OK + b"Content-Length: 209715200\r\n\r\n"), K.TOO_LARGE),
    "one octet too large": (says(body=tlv(0x30, bytes(CAP - 4))), K.TOO_LARGE),
    "chunks without end": (endless_chunks, K.TOO_LARGE),
    "broken chunk": (raw(OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + CRL), K.PROTOCOL),
    "last chunk missing": (raw(OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(CRL, end=b"")), K.TRUNCATED),
    "huge header": (says(f"X: {'x' * 100_000}\r\n"), K.PROTOCOL),
    "many headers": (says("X: x\r\n" * 10_000), K.PROTOCOL),
    "header without end": (raw(OK + b"X: x\r\n"), K.RESET),
    "not http": (raw(b"220 mail.example.com ESMTP\r\n\r\n"), K.PROTOCOL),
    "tls to a plain question": (raw(b"\x15\x03\x01\x00\x02\x02\x16" * 10), K.PROTOCOL),
    "nothing": (raw(b""), K.RESET),
    "reset before": (resets(), K.RESET),
    "reset in the header": (resets(OK), K.RESET),
    "reset in the body": (resets(OK + b"Content-Length: 1000\r\n\r\n" + CRL[:50]), K.TRUNCATED),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
async def test_server_that_misbehaves_is_refused(name: str, tmp_path: Path) -> None:
    """Each way for its own reason."""
    answer, kind = BAD[name]
    async with crl_server(answer) as server:
        assert await failure(fetcher(), server.url, tmp_path) is kind


@pytest.mark.slow
def test_it_is_the_same_on_the_loop_of_the_service(tmp_path: Path) -> None:
    """Uvloop raises other errors in places."""

    async def all_of_them() -> None:
        assert "127.0.0.1" in await system_resolve("localhost", 80)
        for name, (answer, kind) in BAD.items():
            async with crl_server(answer) as server:
                assert await failure(fetcher(), server.url, tmp_path) is kind, name
        for name, answer in GOOD.items():
            async with crl_server(answer) as server:
                assert await fetched(fetcher(), server.url, tmp_path) == CRL, name

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(all_of_them())


SLOW = {
    "hanging before": (hangs(), HASTY),
    "hanging in the header": (hangs(OK), HASTY),
    "hanging in the body": (hangs(OK + b"Content-Length: 1000\r\n\r\n" + CRL[:50]), HASTY),
    "slow header": (dribbles(OK, b"X: x\r\n"), HASTY),
    "slow body": (dribbles(OK + b"\r\n" + CRL[:50], b"x"), HASTY),
    "slow chunks": (dribbles(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"), HASTY),
    "100 for ever": (dribbles(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), HASTY),
    "silent before": (hangs(), HASTY_TO_READ),
    "silent in the body": (hangs(OK + b"Content-Length: 1000\r\n\r\n" + CRL[:50]), HASTY_TO_READ),
}


@pytest.mark.parametrize("name", SLOW)
@pytest.mark.slow
async def test_server_that_is_slow_is_given_up(name: str, tmp_path: Path) -> None:
    """In all, or for its silence."""
    answer, limits = SLOW[name]
    async with crl_server(answer) as server:
        assert await failure(fetcher(limits), server.url, tmp_path) is K.TIMEOUT


async def test_handshake_that_hangs_is_given_up(tmp_path: Path) -> None:
    """A port that takes the connection and never speaks TLS."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/"
        assert await failure(fetcher(HASTY_TO_CONNECT), url, tmp_path) is K.TIMEOUT


async def test_look_up_that_hangs_is_given_up(tmp_path: Path) -> None:
    """The DNS is in the time in all."""

    async def never(_host: str, _port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    assert await failure(fetcher(HASTY, resolve=never), f"http://{NAME}/", tmp_path) is K.TIMEOUT


async def test_port_without_a_listener_is_no_connection(tmp_path: Path) -> None:
    """The server is down."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert await failure(fetcher(), f"http://127.0.0.1:{port}/", tmp_path) is K.CONNECT


@pytest.mark.slow
async def test_large_body_passes_through_little_memory(tmp_path: Path) -> None:
    """A CRL of a million entries does not stand in the memory of the service."""
    body = tlv(0x30, bytes(32 * CAP))

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"\r\n")
        for at in range(0, len(body), CAP):
            writer.write(body[at : at + CAP])
            await writer.drain()

    made = fetcher(FetchLimits(size=64 * CAP))
    async with crl_server(answer) as server:
        tracemalloc.start()
        try:
            async with made.fetch(server.url, tmp_path) as got:
                _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert isinstance(got, Fetched)
        assert (got.size, got.sha256) == (len(body), hashlib.sha256(body).digest())
    assert peak < 8 * CAP


async def test_body_of_just_the_cap_is_fetched(tmp_path: Path) -> None:
    """The cap itself is allowed."""
    body = tlv(0x30, bytes(CAP - 5))
    assert len(body) == CAP
    async with crl_server(says(body=body)) as server:
        assert await fetched(fetcher(), server.url, tmp_path) == body


# What is asked.


async def test_request_says_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No encodings, no cookies, no credentials, nothing of this machine; the path as it stands."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password word\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    folder = tmp_path / "into"
    folder.mkdir()
    async with crl_server(says("Set-Cookie: a=b\r\n")) as server:
        url = server.url.replace("/ca.crl", "/My%20CA(1)+.crl?a=%2f")
        for _ in range(2):
            await fetched(fetcher(), url, folder)
        for request in server.requests:
            first, *fields = request.rstrip().split("\r\n")
            assert first == "GET /My%20CA(1)+.crl?a=%2f HTTP/1.1"
            assert {one.partition(":")[0] for one in fields} == {
                "Host",
                "User-Agent",
                "Accept",
                "Accept-Encoding",
                "Connection",
            }
            assert "Accept-Encoding: identity" in fields
            assert "User-Agent: mtls-authz" in fields
    assert len(server.requests) == 2


async def test_validators_come_with_the_body(tmp_path: Path) -> None:
    """As the server gave them."""
    head = 'ETag: W/"v1"\r\nLast-Modified: Mon, 01 Jun 2026 11:00:00 GMT\r\n'
    async with crl_server(says(head)) as server, fetcher().fetch(server.url, tmp_path) as got:
        assert got.validators == Validators('W/"v1"', "Mon, 01 Jun 2026 11:00:00 GMT")


async def test_unchanged_crl_is_not_sent_again(tmp_path: Path) -> None:
    """Both conditions are sent; the validators of the answer are for the next time."""
    answer = raw(b'HTTP/1.1 304 Not Modified\r\nETag: "v2"\r\n\r\n')
    validators = Validators('"v1"', "Mon, 01 Jun 2026 11:00:00 GMT")
    async with crl_server(answer) as server, fetcher().fetch(server.url, tmp_path, validators) as got:
        assert got == NotModified(Validators('"v2"', None))
        assert 'If-None-Match: "v1"\r\n' in server.requests[0]
        assert "If-Modified-Since: Mon, 01 Jun 2026 11:00:00 GMT\r\n" in server.requests[0]
    assert list(tmp_path.iterdir()) == []


async def test_changed_crl_is_sent_whole(tmp_path: Path) -> None:
    """A server may answer a condition with a body."""
    async with crl_server() as server:
        assert await fetched(fetcher(), server.url, tmp_path, Validators('"v1"')) == CRL


@pytest.mark.parametrize("odd", ["", "x\r\nX: y", "\x00", "é", "\x7f", "x" * (MAX_VALIDATOR + 1)])
async def test_odd_validator_is_not_sent_and_a_304_then_not_believed(odd: str, tmp_path: Path) -> None:
    """Of a sidecar that somebody changed, say."""
    async with crl_server(raw(b"HTTP/1.1 304 Not Modified\r\n\r\n")) as server:
        assert await failure(fetcher(), server.url, tmp_path, Validators(odd, odd)) is K.STATUS
        assert "\r\nIf-" not in server.requests[0]


async def test_odd_validator_of_a_server_is_not_kept(tmp_path: Path) -> None:
    """Too long, or not plain text."""
    head = f'ETag: "{"x" * MAX_VALIDATOR}"\r\nLast-Modified: \xff\r\n'
    async with crl_server(says(head)) as server, fetcher().fetch(server.url, tmp_path) as got:
        assert got.validators == Validators()


# Where it connects to.


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/", "http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/", "http://0.0.0.0/",
        "http://169.254.169.254/latest/meta-data/", "http://[fd00:ec2::254]/", "http://10.0.0.1/", "http://[fe80::1]/",
        "http://0x7f.1/", "http://127.1/", "http://2130706433/", "http://0177.0.0.1/", "http://[64:ff9b::7f00:1]/",
    ],
)  # fmt: skip
async def test_address_of_our_own_network_is_refused(url: str, tmp_path: Path) -> None:
    """In whatever spelling."""
    assert await failure(fetcher(addresses=AddressRules()), url, tmp_path) is K.ADDRESS_NOT_ALLOWED


async def test_odd_spelling_is_refused_where_its_address_is_allowed(tmp_path: Path) -> None:
    """Programs differ in what they read."""
    assert await failure(fetcher(), "http://0x7f.1/", tmp_path) is K.ADDRESS_NOT_ALLOWED


@pytest.mark.parametrize(
    "answer",
    [["127.0.0.1"], ["1.1.1.1", "127.0.0.1"], ["127.0.0.1", "1.1.1.1"], ["::1"], ["169.254.169.254"], ["fe80::1%eth0"]],
)
async def test_name_with_an_address_of_our_own_network_is_refused(answer: list[str], tmp_path: Path) -> None:
    """Even if it has a public one beside it; nothing is connected to."""
    async with crl_server() as server:
        made = fetcher(addresses=AddressRules(), resolve=resolves(answer))
        assert await failure(made, server.named(NAME), tmp_path) is K.ADDRESS_NOT_ALLOWED
        assert server.requests == []


async def test_name_is_looked_up_once_and_pinned(tmp_path: Path) -> None:
    """What it resolves to a moment later does not count; the name is one that no DNS knows."""
    asked: list[tuple[str, int]] = []
    answers = resolves(["127.0.0.1"], ["127.66.66.66"])

    async def resolve(host: str, port: int) -> list[str]:
        asked.append((host, port))
        return await answers(host, port)

    async with crl_server() as server:
        assert await fetched(fetcher(resolve=resolve), server.named("CRL.Example.Test."), tmp_path) == CRL
        assert asked == [(NAME, server.port)]
        assert f"Host: {NAME}:{server.port}\r\n" in server.requests[0]


async def test_name_that_turns_to_loopback_on_the_second_look_up_is_refused_then(tmp_path: Path) -> None:
    """The second fetch looks again, and checks again; the first connected to what was checked, and to nothing else."""
    only_one = AddressRules((ip_network("127.0.0.2/32"),))
    made = fetcher(addresses=only_one, resolve=resolves(["127.0.0.2"], ["127.0.0.1"]))
    async with crl_server() as server:
        kinds = [await failure(made, server.named(NAME), tmp_path) for _ in range(2)]
        assert kinds == [K.CONNECT, K.ADDRESS_NOT_ALLOWED]
        assert server.requests == []


async def test_second_address_serves_when_the_first_does_not(tmp_path: Path) -> None:
    """Both were checked."""
    async with crl_server() as server:
        made = fetcher(resolve=resolves(["127.0.0.2", "::1", "127.0.0.1"]))
        assert await fetched(made, server.named(NAME), tmp_path) == CRL


@pytest.mark.parametrize("answer", [socket.gaierror(socket.EAI_NONAME, "Name or service not known"), OSError(), []])
async def test_name_without_an_address_is_reported(answer: list[str] | OSError, tmp_path: Path) -> None:
    """The DNS says so, or says nothing."""
    assert await failure(fetcher(resolve=resolves(answer)), f"http://{NAME}/", tmp_path) is K.DNS


async def test_system_is_asked_for_addresses(tmp_path: Path) -> None:
    """By default; `localhost` is what every system knows."""
    async with crl_server() as server:
        made = Fetcher(addresses=LOOPBACK, limits=PATIENT)
        assert await fetched(made, server.named("localhost"), tmp_path) == CRL
        assert await failure(Fetcher(limits=PATIENT), server.named("localhost"), tmp_path) is K.ADDRESS_NOT_ALLOWED


@pytest.mark.parametrize("url", ["http://crl.example.org/", "http://1.1.1.1/", "http://example.test/"])
async def test_host_that_is_not_on_the_list_is_refused(url: str, tmp_path: Path) -> None:
    """Before it is looked up."""
    assert await failure(fetcher(hosts=HostRules(("*.example.test",))), url, tmp_path) is K.HOST_NOT_ALLOWED


async def test_host_on_the_list_is_fetched_from(tmp_path: Path) -> None:
    """And checked like any other."""
    async with crl_server() as server:
        made = fetcher(hosts=HostRules(("*.example.test",)), resolve=resolves(["127.0.0.1"]))
        assert await fetched(made, server.named(NAME), tmp_path) == CRL
        made = fetcher(hosts=HostRules((NAME,)), addresses=AddressRules(), resolve=resolves(["127.0.0.1"]))
        assert await failure(made, server.named(NAME), tmp_path) is K.ADDRESS_NOT_ALLOWED


@pytest.mark.parametrize(
    ("url", "kind"),
    [("ldap:///CN=CA", K.SCHEME), ("file:///etc/passwd", K.SCHEME), ("http://u:p@1.1.1.1/", K.URL), ("x", K.URL)],
)
async def test_url_that_is_not_fetched_is_reported(url: str, kind: FailureKind, tmp_path: Path) -> None:
    """See `test_url.py`."""
    assert await failure(fetcher(), url, tmp_path) is kind


# TLS.


async def test_https_by_the_given_ca_is_fetched(tmp_path: Path) -> None:
    """The name in the certificate is that of the URL."""
    ca, path = ca_file(tmp_path)
    folder = tmp_path / "into"
    folder.mkdir()
    async with crl_server(tls=server_tls(tmp_path, NAME, ca=ca)) as server:
        made = fetcher(ca_file=path, resolve=resolves(["127.0.0.1"]))
        assert await fetched(made, server.named(NAME), folder) == CRL


@pytest.mark.parametrize("trusted", [True, False])
async def test_https_that_is_not_trusted_is_refused(trusted: bool, tmp_path: Path) -> None:
    """Of an unknown CA; of one that is known, for another name."""
    ca, path = ca_file(tmp_path)
    folder = tmp_path / "into"
    folder.mkdir()
    async with crl_server(tls=server_tls(tmp_path, "other.example.test" if trusted else NAME, ca=ca)) as server:
        made = fetcher(ca_file=path if trusted else None, resolve=resolves(["127.0.0.1"]))
        assert await failure(made, server.named(NAME), folder) is K.TLS
        assert server.requests == []


async def test_roots_of_the_system_are_read_once_a_url_needs_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for http; for https once, however many URLs follow."""
    tls, made, read = server_tls(tmp_path, NAME), fetcher(resolve=resolves(["127.0.0.1"])), []
    folder = tmp_path / "into"
    folder.mkdir()
    make = ssl.create_default_context
    monkeypatch.setattr(ssl, "create_default_context", lambda **given: read.append(given) or make(**given))
    async with crl_server() as plain, crl_server(tls=tls) as server:
        assert await fetched(made, plain.url, folder) == CRL
        assert read == []
        for _ in range(2):
            assert await failure(made, server.named(NAME), folder) is K.TLS
    assert read == [{}]


async def test_https_of_a_server_without_tls_is_refused(tmp_path: Path) -> None:
    """It answers in plain text."""

    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(shout, "127.0.0.1", 0) as plain:
        url = f"https://127.0.0.1:{plain.sockets[0].getsockname()[1]}/"
        assert await failure(fetcher(), url, tmp_path) is K.TLS


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_ca_file_that_cannot_be_read_is_an_error_of_the_operator(content: str | None, tmp_path: Path) -> None:
    """Absent, empty, something else."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError) as error:
        Fetcher(ca_file=path)
    assert str(path) in str(error.value)
    assert error.value.hint


# Our own disk.


async def test_folder_that_is_not_there_is_reported(tmp_path: Path) -> None:
    """Not the server's fault."""
    async with crl_server() as server:
        with pytest.raises(FetchFailed) as error:
            async with fetcher().fetch(server.url, tmp_path / "none"):
                pass
        assert error.value.kind is K.STORAGE


@pytest.mark.parametrize("size", [len(CRL), CAP], ids=["whole", "cap"])
async def test_full_disk_is_reported(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the last octets, or in the middle; and nothing is left of what was written."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "open", full)
    async with crl_server(says(body=bytes(size))) as server:
        assert await failure(fetcher(), server.url, tmp_path) is K.STORAGE


# What is left of it.


def start(made: Fetcher, server: CrlServer, folder: Path) -> asyncio.Task[bytes]:
    """A fetch that another task waits for."""
    return asyncio.create_task(fetched(made, server.url, folder))


@pytest.mark.parametrize("answer", [hangs(), hangs(OK), hangs(OK + b"\r\n" + CRL)])
async def test_transfer_that_is_cancelled_leaves_no_file(answer: Answer, tmp_path: Path) -> None:
    """Wherever it is: before the header, in it, or in the body."""
    async with crl_server(answer) as server:
        fetching = start(fetcher(), server, tmp_path)
        await server.came.wait()
        await asyncio.sleep(0.05)
        fetching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetching
    assert list(tmp_path.iterdir()) == []


async def test_file_of_a_body_that_is_complete_goes_when_the_fetch_is_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in the moment between the last byte and the answer's end, and its room is given back."""
    made, whole = fetcher(), asyncio.Event()
    received = made._received

    async def last_moment(*given: object, **more: object) -> Fetched | NotModified:
        answer = await received(*given, **more)  # type: ignore[arg-type]
        whole.set()
        await asyncio.Event().wait()
        return answer

    monkeypatch.setattr(made, "_received", last_moment)
    async with crl_server() as server:
        fetching = start(made, server, tmp_path)
        await whole.wait()
        assert len(list(tmp_path.iterdir())) == 1
        fetching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetching
    assert (list(tmp_path.iterdir()), made._quota._sizes) == ([], {})


async def test_transfers_under_way_share_the_disk_and_leave_room_for_one_more(tmp_path: Path) -> None:
    """Each may have half of what the others leave; what is let go of makes room again."""
    body = tlv(0x30, bytes(96))
    made = fetcher(FetchLimits(total=60, connect=60, read=60, size=CAP, together=3 * len(body) - 1))
    async with crl_server(says(body=body)) as server:
        async with made.fetch(server.url, tmp_path):
            with pytest.raises(FetchFailed) as caught:
                async with made.fetch(f"{server.url}?2", tmp_path):
                    pass
            assert (caught.value.kind, len(list(tmp_path.iterdir()))) == (K.STORAGE, 1)
            assert f"may have {len(body) - 1} bytes" in caught.value.detail
        assert await fetched(made, f"{server.url}?2", tmp_path) == body


async def test_urls_do_not_wait_for_each_other(tmp_path: Path) -> None:
    """A server that hangs delays its own fetch only."""
    bad_folder = tmp_path / "bad"
    bad_folder.mkdir()
    async with crl_server(hangs()) as bad, crl_server() as good:
        made = fetcher()
        waiting = start(made, bad, bad_folder)
        await bad.came.wait()
        folder = tmp_path / "good"
        folder.mkdir()
        assert await fetched(made, good.url, folder) == CRL
        assert not waiting.done()
        waiting.cancel()
        await asyncio.wait([waiting])


# Look-ups of names.

KNOWN = [
    (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 80)),
    (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", 80, 0, 0)),
    (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 80)),
]


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A system whose name servers answer for `silent…` only once this is set; `none…` they do not know."""
    answering = threading.Event()

    def getaddrinfo(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        assert port == 80
        if host.startswith("silent"):
            answering.wait()
        if host.startswith("none"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        if host.startswith("odd"):
            raise UnicodeError("label too long")
        return list(KNOWN)

    monkeypatch.setattr("authz.crls.fetch.client.socket.getaddrinfo", getaddrinfo)
    yield answering
    answering.set()


@pytest.mark.usefixtures("answer")
async def test_addresses_are_reported_once_each_in_order() -> None:
    """Of both families."""
    assert await system_resolve("crl.example.test", 80) == ["192.0.2.1", "2001:db8::1"]


@pytest.mark.usefixtures("answer")
@pytest.mark.parametrize("name", ["none.test", "odd.test"])
async def test_unknown_name_is_an_error_of_the_system(name: str) -> None:
    """Also one that cannot even be asked for."""
    with pytest.raises(OSError, match=r"not known|too long"):
        await system_resolve(name, 80)


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_names_whose_servers_are_silent_keep_no_other_name_waiting(
    answer: threading.Event, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """As many as there are tries at once, on either event loop."""

    async def main() -> None:
        silent = [asyncio.create_task(system_resolve(f"silent{one}.test", 80)) for one in range(MAX_ATTEMPTS)]
        async with asyncio.timeout(60):
            assert await system_resolve("crl.example.test", 80) == ["192.0.2.1", "2001:db8::1"]
            assert not any(one.done() for one in silent)
            answer.set()
            assert len(await asyncio.gather(*silent)) == MAX_ATTEMPTS

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


async def test_look_up_that_is_given_up_ends_in_silence(answer: threading.Event) -> None:
    """Its thread receives nothing, and reports nothing."""
    given_up = asyncio.create_task(system_resolve("silent.test", 80))
    await asyncio.sleep(0)
    [thread] = [one for one in threading.enumerate() if one.name == "look-up of a name"]
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    answer.set()
    await asyncio.to_thread(thread.join)
