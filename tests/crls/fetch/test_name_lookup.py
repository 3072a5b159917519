"""Look-ups of names, of which none waits for another."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
import uvloop

from authz.crls.fair_queue import MAX_TRIALS
from authz.crls.fetch.name_lookup import system_resolve

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

    monkeypatch.setattr("authz.crls.fetch.name_lookup.socket.getaddrinfo", getaddrinfo)
    yield answering
    answering.set()


@pytest.mark.usefixtures("answer")
async def test_addresses_are_told_once_each_in_order() -> None:
    """Of both families."""
    assert await system_resolve("crl.example.test", 80) == ["192.0.2.1", "2001:db8::1"]


@pytest.mark.usefixtures("answer")
@pytest.mark.parametrize("name", ["none.test", "odd.test"])
async def test_name_that_nobody_knows_is_an_error_of_the_system(name: str) -> None:
    """Also one that cannot even be asked for."""
    with pytest.raises(OSError, match=r"not known|too long"):
        await system_resolve(name, 80)


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_names_whose_servers_are_silent_keep_no_other_name_waiting(
    answer: threading.Event, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """As many as there are tries at once, on either event loop."""

    async def main() -> None:
        silent = [asyncio.create_task(system_resolve(f"silent{one}.test", 80)) for one in range(MAX_TRIALS)]
        async with asyncio.timeout(60):
            assert await system_resolve("crl.example.test", 80) == ["192.0.2.1", "2001:db8::1"]
            assert not any(one.done() for one in silent)
            answer.set()
            assert len(await asyncio.gather(*silent)) == MAX_TRIALS

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


async def test_look_up_that_is_given_up_ends_in_silence(answer: threading.Event) -> None:
    """Its thread is told of nothing, and tells nobody."""
    given_up = asyncio.create_task(system_resolve("silent.test", 80))
    await asyncio.sleep(0)
    [thread] = [one for one in threading.enumerate() if one.name == "look-up of a name"]
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    answer.set()
    await asyncio.to_thread(thread.join)
