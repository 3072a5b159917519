"""Key sets: read from files and a real server, refreshed, bounded, and what a server's misbehaviour does."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from support.certificates import new_key

from authz.errors import NotLoaded, Refused
from authz.identity import keys
from authz.identity.keys import JwksCache, JwksKey, check_location
from authz.reasons import Reason

EC = json.loads(ECAlgorithm.to_jwk(new_key("p256").public_key()))  # type: ignore[arg-type]
RSA = json.loads(RSAAlgorithm.to_jwk(new_key("rsa2048").public_key()))  # type: ignore[arg-type]
GOOD = json.dumps({"keys": [{**EC, "kid": "a"}]}).encode()


class Counted(JwksCache):
    """Numbers the readings of all sets, from 1."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.numbers = itertools.count(1)
        self.reading: dict[int, int] = {}

    def _hold(self, key_set: Any, chosen: Any) -> None:
        super()._hold(key_set, chosen)
        if chosen:
            self.reading[id(key_set)] = next(self.numbers)


class Ring:
    """A key ring with a clock set by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.warnings: list[str] = []
        self.keys = Counted(monotonic=lambda: self.seconds, warn=self.warnings.append)

    def found(self, location: str, kid: str | None = "a") -> int:
        """The number of the reading that has the key."""
        self.keys.find(location, kid, "ES256")
        return self.keys.reading[id(self.keys._sets[location])]

    async def find(self, location: str, kid: str | None = "a") -> Reason | int:
        """The number of the reading that has the key, or the reason of the refusal."""
        for _ in range(2):
            try:
                return self.found(location, kid)
            except NotLoaded as missing:
                await self.keys.load(missing.key)
            except Refused as refused:
                return refused.reason
        return pytest.fail("it asks for ever")


@pytest.fixture
def ring() -> Ring:
    """A ring."""
    return Ring()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A key set in a file."""
    path = tmp_path / "jwks.json"
    path.write_bytes(GOOD)
    return path


async def test_set_is_read_once_and_again_when_it_is_old(ring: Ring, file: Path) -> None:
    """Every five minutes."""
    assert [await ring.find(str(file)) for _ in range(3)] == [1, 1, 1]
    ring.seconds += 301
    assert await ring.find(str(file)) == 2


async def test_unknown_key_reads_again_at_most_once_in_a_cool_down(ring: Ring, file: Path) -> None:
    """Random kids cost one reading, however many are sent."""
    assert await ring.find(str(file)) == 1
    ring.seconds += 31
    assert [await ring.find(str(file), f"x{number}") for number in range(50)] == [Reason.TOKEN_KEY_UNKNOWN] * 50
    assert await ring.find(str(file)) == 2


async def test_rotated_key_is_found_within_the_cool_down(ring: Ring, file: Path) -> None:
    """A token of the new key makes the set be read."""
    assert await ring.find(str(file)) == 1
    file.write_text(json.dumps({"keys": [{**EC, "kid": "b"}]}))
    assert await ring.find(str(file), "b") is Reason.TOKEN_KEY_UNKNOWN
    ring.seconds += 31
    assert await ring.find(str(file), "b") == 2
    assert await ring.find(str(file), "a") is Reason.TOKEN_KEY_UNKNOWN


async def test_set_that_cannot_be_read_keeps_the_last_good_for_an_hour(ring: Ring, file: Path) -> None:
    """Then its tokens are refused; the operator is warned."""
    assert await ring.find(str(file)) == 1
    file.unlink()
    ring.seconds += 1_000
    assert await ring.find(str(file)) == 1
    assert ring.warnings
    ring.seconds += 3_600
    assert await ring.find(str(file)) is Reason.TOKEN_KEYS_UNAVAILABLE


async def test_set_that_cannot_be_read_has_the_time_for_which_its_last_copy_is_usable(ring: Ring, file: Path) -> None:
    """Until it can be read again; 0 for one that never could, until it is forgotten."""
    other = file.with_name("other.json")
    other.write_bytes(GOOD)
    assert [await ring.find(str(path)) for path in (file, other)] == [1, 2]
    assert ring.keys.failing == {}
    file.unlink()
    ring.seconds += 1_000
    assert [await ring.find(str(path)) for path in (file, other)] == [1, 3]
    assert ring.keys.failing == {str(file): 2_600}
    file.write_bytes(GOOD)
    ring.seconds += 31
    assert await ring.find(str(file), "b") is Reason.TOKEN_KEY_UNKNOWN
    assert ring.keys.failing == {}
    assert await ring.find("/no/such/file") is Reason.TOKEN_KEYS_UNAVAILABLE
    assert ring.keys.failing == {"/no/such/file": 0}
    ring.seconds += 4_000
    assert await ring.find(str(other)) == 5
    assert ring.keys.failing == {}


async def test_set_that_never_was_is_unavailable_and_not_asked_for_again(ring: Ring) -> None:
    """A failure is remembered for the cool-down."""
    for _ in range(5):
        assert await ring.find("/no/such/file") is Reason.TOKEN_KEYS_UNAVAILABLE
    assert len(ring.warnings) == 1


async def test_warning_has_the_cause_for_which_each_key_is_passed_over(ring: Ring, file: Path) -> None:
    """Not the kind of the error."""
    file.write_text(json.dumps({"keys": [{**EC, "kid": "a", "use": "enc"}, "x"]}))
    assert await ring.find(str(file)) is Reason.TOKEN_KEYS_UNAVAILABLE
    assert ring.warnings[0].endswith("no key for signatures (a EC P-256 enc: use is enc, not sig; -: not an object)")


async def test_key_of_another_source_is_not_loaded(ring: Ring) -> None:
    """The directory's, say."""
    assert not await ring.keys.load("something else")


Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Issuer:
    """A token issuer's server, answering as the test says."""

    def __init__(self) -> None:
        self.answer: Answer = self.good
        self.asked = 0
        self.url = ""

    async def good(self, _request: web.Request) -> web.StreamResponse:
        """The set."""
        return web.Response(body=GOOD)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Count, then answer."""
        self.asked += 1
        return await self.answer(request)


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    """A running server on loopback."""
    made = Issuer()
    app = web.Application()
    app.router.add_get("/{any:.*}", made.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/keys"
    yield made
    await runner.cleanup()


async def test_set_is_fetched_in_one_flight(ring: Ring, issuer: Issuer) -> None:
    """A hundred checks, one request."""
    assert all(await asyncio.gather(*(ring.keys.load(JwksKey(issuer.url)) for _ in range(100))))
    assert issuer.asked == 1
    assert await ring.find(issuer.url) == 1


async def settled(ring: Ring, location: str, kid: str = "a") -> Reason | int:
    """As the service asks: again and again, until there is an answer."""
    while True:
        try:
            return ring.found(location, kid)
        except NotLoaded as missing:
            await ring.keys.load(missing.key)
        except Refused as refused:
            return refused.reason


@pytest.mark.parametrize("held", [False, True])
async def test_key_that_is_being_read_is_waited_for_by_every_check(ring: Ring, issuer: Issuer, *, held: bool) -> None:
    """The first check of a new process, and of a new key, is not the only one that is right."""
    asked, answer = asyncio.Event(), asyncio.Event()

    async def slow(_request: web.Request) -> web.StreamResponse:
        asked.set()
        await answer.wait()
        return web.Response(body=json.dumps({"keys": [{**EC, "kid": "b"}]}).encode())

    if held:
        assert await ring.find(issuer.url) == 1
        ring.seconds += 31
    issuer.answer = slow
    first = asyncio.create_task(settled(ring, issuer.url, "b"))
    await asked.wait()
    second = asyncio.create_task(settled(ring, issuer.url, "b"))
    await asyncio.sleep(0)
    answer.set()
    assert await asyncio.gather(first, second) == [1 + held, 1 + held]
    assert issuer.asked == 1 + held


async def test_key_that_is_held_serves_while_the_issuer_hangs(
    ring: Ring, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check does not spend all its time on a newer set: the last good one is good for an hour."""
    assert await ring.find(issuer.url) == 1
    monkeypatch.setattr(keys, "PATIENCE_SECONDS", 0.1)
    ring.seconds += 301
    issuer.answer = hang
    assert await asyncio.gather(*(settled(ring, issuer.url) for _ in range(3))) == [1, 1, 1]
    assert issuer.asked == 2


async def test_key_keeps_its_number_for_as_long_as_it_is_the_same(ring: Ring, file: Path) -> None:
    """What it verified need not be verified again; a key that was let go of, or that changed, is another one."""
    numbers = []
    for text in (GOOD, json.dumps({"keys": [{**RSA, "kid": "b"}, {**EC, "kid": "a"}]}).encode(), GOOD):
        file.write_bytes(text)
        await ring.find(str(file))
        numbers.append(ring.keys.find(str(file), "a", "ES256")[0].number)
        ring.seconds += 301
    assert len(set(numbers)) == 1
    file.write_text(json.dumps({"keys": [{**EC, "kid": "a", "use": "sig"}]}))
    await ring.find(str(file))
    assert ring.keys.find(str(file), "a", "ES256")[0].number not in numbers


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were read, in order; they are read all the same."""
    found: list[str] = []
    real = keys._read_file
    monkeypatch.setattr(keys, "_read_file", lambda location: found.append(location) or real(location))
    return found


def key_set(path: Path, count: int) -> str:
    """A file with so many keys; its name."""
    path.write_text(json.dumps({"keys": [{**EC, "kid": f"{number}"} for number in range(count)]}))
    return str(path)


@pytest.mark.slow
async def test_there_are_as_many_sets_as_organizations(ring: Ring, tmp_path: Path, read: list[str]) -> None:
    """Each is read once, and serves, however many are in use in turns."""
    locations = [key_set(tmp_path / f"{number}", 1) for number in range(2_500)]
    for _ in range(3):
        assert Reason.TOKEN_KEYS_UNAVAILABLE not in [await ring.find(one, "0") for one in locations]
    assert len(read) == len(locations)


async def test_small_sets_stay_whatever_large_ones_there_are(
    ring: Ring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: list[str]
) -> None:
    """Of the large ones the least recently used goes; it is read again, once its cool-down is over and no sooner."""
    monkeypatch.setattr(keys, "MAX_BYTES", 255 * keys.KEY_BYTES)
    small = [key_set(tmp_path / f"small {number}", 12) for number in range(10)]
    large = [key_set(tmp_path / f"large {number}", 100) for number in range(2)]
    for one in (*small, *large):
        await ring.find(one, "0")
    assert [await ring.find(one, "0") for one in (*small, large[1])] == [*range(1, 11), 12]
    assert read == [*small, *large]
    assert [await ring.find(large[0], "0") for _ in range(3)] == [Reason.TOKEN_KEYS_UNAVAILABLE] * 3
    assert read == [*small, *large]
    ring.seconds += 31
    assert await ring.find(large[0], "0") == 13
    assert await ring.find(large[1], "0") == 14
    assert [await ring.find(one, "0") for one in small] == [*range(1, 11)]
    assert 220 * keys.KEY_BYTES < ring.keys._size <= 255 * keys.KEY_BYTES


@pytest.mark.slow
async def test_failure_is_remembered_whatever_else_is_read(ring: Ring, tmp_path: Path, read: list[str]) -> None:
    """A tenant that asks in vain does so once in a cool-down, and its neighbours' sets do not change that."""
    locations = [key_set(tmp_path / f"{number}", 1) for number in range(1_100)]
    for one in ("/no/such/file", *locations, "/no/such/file"):
        await ring.find(one, "0")
    assert read.count("/no/such/file") == 1


async def test_set_of_an_organization_that_is_gone_is_forgotten(ring: Ring, tmp_path: Path) -> None:
    """Once it would have to be read again anyway."""
    for number in range(5):
        await ring.find(key_set(tmp_path / f"{number}", 3), "0")
    await ring.find("/no/such/file")
    ring.seconds += 3_601
    await ring.find(key_set(tmp_path / "last", 1), "0")
    assert list(ring.keys._sets) == [str(tmp_path / "last")]
    assert ring.keys._size == keys.KEY_BYTES + sys.getsizeof("0")


async def test_name_of_a_key_weighs_what_it_takes(ring: Ring, tmp_path: Path) -> None:
    """One may be as long as a set, and four times that where a character is beyond Latin."""
    path = tmp_path / "long"
    path.write_text(json.dumps({"keys": [{**EC, "kid": "\U0001f511" + "x" * 200_000}]}))
    await ring.find(str(path))
    assert ring.keys._size > 800_000


async def test_file_that_hangs_has_one_thread_and_holds_up_no_check(
    ring: Ring, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: list[str]
) -> None:
    """A pipe without a writer is opened for ever; forty of them are more than any pool has threads."""
    monkeypatch.setattr(keys, "FETCH_SECONDS", 0.05)
    pipes = [tmp_path / f"pipe {number}" for number in range(40)]
    for one in pipes:
        os.mkfifo(one)
    for _ in range(2):
        found = await asyncio.gather(*(ring.find(str(one)) for one in pipes))
        assert found == [Reason.TOKEN_KEYS_UNAVAILABLE] * 40
        ring.seconds += 31
    monkeypatch.setattr(keys, "FETCH_SECONDS", 5.0)
    assert await ring.find(str(file)) == 1
    assert len(read) == 41
    for one in pipes:
        one.write_bytes(GOOD)
    while ring.keys._readings:
        await asyncio.sleep(0.01)
    file.replace(pipes[0])
    assert await ring.find(str(pipes[0])) == 2


@pytest.mark.slow
async def test_silent_name_servers_of_one_issuer_hold_up_no_other(ring: Ring, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each name is looked up in a thread of its own: the one of the good issuer comes to a connection."""
    monkeypatch.setattr(keys, "FETCH_SECONDS", 1.0)
    silent, real = threading.Event(), socket.getaddrinfo

    def look(host: str, *options: Any, **named: Any) -> Any:
        if host.startswith("silent"):
            silent.wait()
        return real("127.0.0.1", *options, **named)

    monkeypatch.setattr(socket, "getaddrinfo", look)
    waiting = [asyncio.create_task(ring.find(f"https://silent-{number}.example/")) for number in range(40)]
    await asyncio.sleep(0)
    assert await ring.find("https://good.example:1/") is Reason.TOKEN_KEYS_UNAVAILABLE
    assert [one for one in ring.warnings if "good" in one] == [
        "the key set at https://good.example:1/ cannot be read: ClientConnectorError"
    ]
    await asyncio.gather(*waiting)
    silent.set()


@pytest.mark.slow
def test_keys_take_the_memory_that_is_counted() -> None:
    """A process that reads the most that a set may list, again and again, grows by no more than is accounted for."""
    done = subprocess.run([sys.executable, "-c", FILLED], input=GOOD, capture_output=True, check=True)
    assert 0.3 * keys.KEY_BYTES < float(done.stdout) < 1.2 * keys.KEY_BYTES


FILLED = f"""
import json, sys
from pathlib import Path
from authz.identity.key_set import MAX_KEYS, choose_keys, read_key_set
key = json.load(sys.stdin)["keys"][0]
text = json.dumps({{"keys": [{{**key, "kid": f"{{number}}"}} for number in range(MAX_KEYS)]}}).encode()
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * {os.sysconf("SC_PAGE_SIZE")}
held = [choose_keys(read_key_set(text))]
before = resident()
held += [choose_keys(read_key_set(text)) for _ in range(100)]
print((resident() - before) / 100 / MAX_KEYS)
"""


async def status_500(_request: web.Request) -> web.StreamResponse:
    """An error."""
    return web.Response(status=500, body=GOOD)


async def page(_request: web.Request) -> web.StreamResponse:
    """An HTML page."""
    return web.Response(text="<html>sign in</html>", content_type="text/html")


async def redirect(_request: web.Request) -> web.StreamResponse:
    """Elsewhere."""
    return web.Response(status=302, headers={"location": "http://169.254.169.254/"})


async def huge(_request: web.Request) -> web.StreamResponse:
    """More than a key set is."""
    return web.Response(body=b" " * (300 * 1024) + GOOD)


async def encoded(_request: web.Request) -> web.StreamResponse:
    """A content encoding that was not asked for."""
    return web.Response(body=GOOD, headers={"content-encoding": "gzip"})


async def hang(_request: web.Request) -> web.StreamResponse:
    """Nothing, for long."""
    await asyncio.sleep(60)
    return web.Response()


@pytest.mark.parametrize("answer", [status_500, page, redirect, huge, encoded, hang])
async def test_misbehaving_issuer_yields_no_key(
    ring: Ring, issuer: Issuer, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is reported to the operator, and none is trusted."""
    monkeypatch.setattr("authz.identity.keys.FETCH_SECONDS", 0.2)
    issuer.answer = answer
    assert await ring.find(issuer.url) is Reason.TOKEN_KEYS_UNAVAILABLE
    assert len(ring.warnings) == 1


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("https://issuer.example/keys", True),
        ("http://127.0.0.1:1/keys", True),
        ("http://[::1]/keys", True),
        ("http://issuer.example/keys", False),
        ("http://localhost/keys", False),
        ("http://169.254.169.254/", False),
        ("ftp://issuer.example/", False),
        ("https:///keys", False),
    ],
)
def test_location_is_https_or_loopback(url: str, good: bool) -> None:
    """A key set over a plain network is anybody's."""
    if good:
        check_location(url)
        return
    with pytest.raises(ValueError, match="https"):
        check_location(url)
