"""PostgreSQL as the directory's database: servers that hang or restart, replicas, and their history."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from support.certificates import NOW
from support.decision_world import ACME
from support.directory import DirectoryStore, execute, new_store
from support.postgresql import Server, end_connections, new_database, new_url, server

from authz.clock import SystemClock
from authz.decision import Deny, Evidence
from authz.directory import CrlStatusTables, DirectoryReader, History, HistoryLimits, background_writer, reader
from authz.directory.databases import database_of
from authz.directory.decision_rows import Filter
from authz.directory.keys import (
    HostKey,
)
from authz.errors import Refused, StoreError
from authz.model import CheckRequest, CrlSourceKind, CrlSourceState, FetchedCrl, Organization
from authz.pki import CrlStore
from authz.reasons import Reason
from authz.view import Listener

pytestmark = pytest.mark.slow

HOST = "acme.example.test"


class Crls:
    """A keeper of CRLs that keeps none."""

    def crls(self) -> CrlStore:
        """See the protocol."""
        return CrlStore()

    def mode_of(self, organization: Organization) -> None:
        """See the protocol."""

    def request_crls(self, organization: Organization, path: tuple[bytes, ...]) -> None:
        """See the protocol."""

    def directory_read(self, revision: object) -> None:
        """See the protocol."""


def reader_of(url: str) -> DirectoryReader:
    """A reader that was not started."""
    return DirectoryReader(url, Crls(), monotonic=SystemClock().monotonic, warn=lambda _: None)


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what will come."""
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.01)


# -- a server that hangs, or restarts ---------------------------------------------------------------------------------


def backends(name: str) -> list[int]:
    """The processes that serve a directory's connections."""
    rows = server().administrator.execute("SELECT pid FROM pg_stat_activity WHERE datname = %s", [name])
    return [pid for (pid,) in rows]


@pytest.fixture
async def stopped() -> AsyncIterator[Callable[[str], None]]:
    """Stops the processes of a directory's connections, as a server stops that swaps or whose disk hangs."""
    pids: list[int] = []

    def stop(name: str) -> None:
        pids.extend(backends(name))
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)

    yield stop
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


async def test_reader_leaves_a_server_that_hangs(
    stopped: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process answers nothing; another connection is made, and confirms the revision again."""
    name = new_database()
    made = reader_of(server().url(name))
    await made.start()
    monkeypatch.setattr(reader, "READ_SECONDS", 0.5)
    stopped(name)
    moment = made.confirmed_at
    await until(lambda: made.confirmed_at != moment)
    assert await made.load(HostKey("other.test"))
    await made.close()


async def test_reader_that_waits_for_a_server_is_closed_at_once(
    stopped: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that waits is let go."""
    name = new_database()
    made = reader_of(server().url(name))
    await made.start()
    monkeypatch.setattr(reader, "READ_SECONDS", 600)
    stopped(name)
    loading = asyncio.create_task(made.load(HostKey("other.test")))
    await asyncio.sleep(0.3)
    async with asyncio.timeout(30):
        await made.close()
    loading.cancel()


async def test_history_leaves_a_server_that_hangs(
    stopped: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of the service waits for no longer; what is left is written by another connection."""
    name = new_database()
    lost: list[int] = []
    made = History(server().url(name), SystemClock(), HistoryLimits(), lost=lost.append, warn=lambda _: None)
    decide(made, "1")
    await made.flush()
    monkeypatch.setattr(background_writer, "WRITE_SECONDS", 4)
    stopped(name)
    decide(made, "2")
    async with asyncio.timeout(30):
        await made.close()
    assert execute(server().url(name), "SELECT repeats FROM decisions") == [(2,)]
    assert lost == []


def decide(made: History, number: str) -> None:
    """Tell a history of a refusal."""
    refused = Deny(Reason.REQUEST_MALFORMED, "no head", Evidence())
    made.decided(CheckRequest(number * 32, number, ()), Listener("envoy", ()), refused, 0.0)


async def test_server_that_restarts_is_read_again() -> None:
    """While it is away rows that are not at hand are refused, and no other; what changed meanwhile is seen."""
    own = Server()
    own.initialize()
    own.start()
    own.psql("CREATE DATABASE a")
    url = own.url("a")
    store = new_store(url)
    store.add_organization(Organization(0, "acme", (HOST,)))
    store.close()
    made = reader_of(url)
    await made.start()
    await made.load(HostKey(HOST))
    assert made.organization(HOST) is not None
    own.halt(signal.SIGINT)
    with pytest.raises(Refused) as caught:
        await made.load(HostKey("other.test"))
    assert caught.value.reason is Reason.DIRECTORY_UNAVAILABLE
    assert made.organization(HOST) is not None
    with pytest.raises(StoreError, match="cannot be reached"):
        DirectoryStore(url)
    own.start()
    execute(url, "DELETE FROM hosts")
    await until(lambda: made.revision == 3)
    await made.load(HostKey(HOST))
    assert made.organization(HOST) is None
    await made.close()
    own.stop()


# -- several services that share a directory --------------------------------------------------------------------------

SOURCE = CrlSourceState("http://crl.example.test/ca.crl", CrlSourceKind.URL, NOW, NOW, NOW, 0, "accepted", "of CN=CA")
CRL = FetchedCrl("a" * 64, SOURCE.location, b"1", b"2", "CN=CA", "7", False, 3, NOW, NOW + timedelta(days=1), NOW)


async def test_replicas_keep_their_own_states_of_sources() -> None:
    """None deletes another's; the list has of each source the worst; one that ended goes with its states."""
    url = new_url()
    store = new_store(url)
    first, second = (CrlStatusTables(url, warn=pytest.fail) for _ in range(2))
    await first.write([SOURCE], [CRL])
    failed = replace(SOURCE, failures=2, outcome="reset")
    older = replace(CRL, this_update=NOW - timedelta(days=1))
    await second.write([failed, replace(SOURCE, location="/etc/a.crl")], [older])
    await first.write([replace(SOURCE, accepted_at=NOW + timedelta(hours=1))], [CRL])
    assert [state.location for state in store.crl_sources()] == ["/etc/a.crl", SOURCE.location]
    assert store.crl_sources()[1] == failed
    assert store.fetched_crls() == [older]
    await second.close()
    async with asyncio.timeout(30):
        # Its connection's process takes a moment to end.
        while (store.crl_sources(), store.fetched_crls()) != ([SOURCE], [CRL]):
            await first.write([SOURCE], [CRL])
    await first.close()
    store.close()


async def test_each_replica_is_asked_to_try_its_sources() -> None:
    """The command waits for all of them: the list shows the one that tried last."""
    url = new_url()
    store = new_store(url)
    replicas = [CrlStatusTables(url, warn=pytest.fail) for _ in range(2)]
    for each in replicas:
        await each.write([SOURCE], [])
    later = NOW + timedelta(seconds=1)
    assert store.ask_crl_sources(None, later) == [SOURCE.location]
    assert [await each.asked() for each in replicas] == [[SOURCE.location]] * 2
    await replicas[0].write([replace(SOURCE, tried_at=later)], [])
    assert [await each.asked() for each in replicas] == [[], [SOURCE.location]]
    assert store.crl_sources()[0].tried_at == NOW
    await replicas[1].write([replace(SOURCE, tried_at=later)], [])
    assert store.crl_sources()[0].tried_at == later
    for each in replicas:
        await each.close()
    store.close()


async def test_replica_whose_connection_was_cut_writes_its_states_again() -> None:
    """The others took it for one that had ended."""
    name = new_database()
    url = server().url(name)
    store = new_store(url)
    cut, other = (CrlStatusTables(url, warn=pytest.fail) for _ in range(2))
    await cut.write([SOURCE], [CRL])
    end_connections(name)
    await other.write([replace(SOURCE, location="/etc/a.crl")], [])
    assert [state.location for state in store.crl_sources()] == ["/etc/a.crl"]
    await cut.write([SOURCE], [CRL])
    assert [state.location for state in store.crl_sources()] == ["/etc/a.crl", SOURCE.location]
    assert store.fetched_crls() == [CRL]
    await cut.close()
    await other.close()
    store.close()


COLUMNS = "(decision_id, at, organization_id, listener, outcome, reason, detail, host, method, target, organization, "
COLUMNS += "user_name, subject)"
OLD = f"INSERT INTO decisions {COLUMNS} VALUES ('old', 0, NULL, '', 'denied', '', '', '', '', '', '', '', '')"
GONE = f"INSERT INTO decisions {COLUMNS} VALUES ('gone', {2**60}, 9, '', 'denied', '', '', '', '', '', 'x', '', '')"


async def test_history_is_pruned_by_one_replica_at_a_time() -> None:
    """Another that wants to meanwhile writes all the same, and prunes later."""
    url = new_url()
    store = new_store(url)
    made = History(url, SystemClock(), HistoryLimits(days=7), lost=pytest.fail, warn=pytest.fail)
    execute(url, OLD)
    database = database_of(url)
    engine = database.open_reporter()
    with engine.begin() as pruning:
        assert database.may_prune(pruning)
        decide(made, "1")
        await made.flush()
        assert len(store.decisions(Filter())) == 2
    engine.dispose()
    decide(made, "2")
    await made.flush()
    assert [row.repeats for row in store.decisions(Filter())] == [2]
    await made.close()
    store.close()


async def test_decision_of_an_organization_that_went_meanwhile_is_forgotten() -> None:
    """Another replica wrote it after the organization had gone; the next pruning takes it."""
    url = new_url()
    store = new_store(url)
    store.add_organization(ACME)
    execute(url, GONE)
    made = History(url, SystemClock(), HistoryLimits(), lost=pytest.fail, warn=pytest.fail)
    decide(made, "1")
    await made.flush()
    assert [row.decision_id[:1] for row in store.decisions(Filter())] == ["1"]
    await made.close()
    store.close()
