"""What operators see of sources and CRLs, and how they ask for a try."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
from support.certificates import NOW
from support.directory import execute, new_store

from authz.directory import CrlStatusTables
from authz.errors import StoreError
from authz.model import CrlSourceKind, CrlSourceState, FetchedCrl

URL = "http://crl.example.test/ca.crl"
SOURCE = CrlSourceState(URL, CrlSourceKind.URL, NOW, NOW, NOW, 0, "accepted", "the CRL of CN=CA")
OTHER = CrlSourceState("/etc/a.crl", CrlSourceKind.FILE)
CRL = FetchedCrl("a" * 64, URL, b"1", b"2", "CN=CA", str(2**150), False, 3, NOW, NOW + timedelta(days=1), NOW)


class Scene:
    """A directory, its ledger and what was warned of."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.store = new_store(url)
        self.warnings: list[str] = []
        self.ledger = self.another()

    def another(self) -> CrlStatusTables:
        """The ledger of another run."""
        return CrlStatusTables(self.url, warn=self.warnings.append)


@pytest.fixture
async def scene(url: str) -> AsyncIterator[Scene]:
    """An empty one."""
    made = Scene(url)
    yield made
    await made.ledger.close()
    made.store.close()


async def test_operator_sees_what_the_service_wrote_last(scene: Scene) -> None:
    """What is there no more is gone, also what another run wrote."""
    await scene.ledger.write([SOURCE, OTHER], [CRL])
    assert scene.store.crl_sources() == [OTHER, SOURCE]
    assert scene.store.fetched_crls() == [CRL]
    changed = replace(SOURCE, failures=1, outcome="reset")
    await scene.ledger.write([changed], [])
    assert scene.store.crl_sources() == [changed]
    assert scene.store.fetched_crls() == []
    await scene.ledger.close()
    another = scene.another()
    await another.write([OTHER], [CRL])
    await another.close()
    assert scene.store.crl_sources() == [OTHER]


async def test_source_is_asked_for_until_it_was_tried_later(scene: Scene) -> None:
    """One of them, or all; one that is unknown is an error."""
    await scene.ledger.write([SOURCE, OTHER], [])
    assert await scene.ledger.asked() == []
    assert scene.store.ask_crl_sources(URL, NOW + timedelta(seconds=1)) == [URL]
    assert await scene.ledger.asked() == [URL]
    await scene.ledger.write([replace(SOURCE, tried_at=NOW + timedelta(seconds=2)), OTHER], [])
    assert await scene.ledger.asked() == []
    assert scene.store.ask_crl_sources(None, NOW + timedelta(seconds=3)) == ["/etc/a.crl", URL]
    assert await scene.ledger.asked() == ["/etc/a.crl", URL]
    with pytest.raises(StoreError):
        scene.store.ask_crl_sources("http://unknown/", NOW)


async def test_service_reads_which_source_counts_anew(scene: Scene) -> None:
    """And asked at once; the later moment counts. An issuer is not enough."""
    await scene.ledger.write([replace(SOURCE, tried_at=NOW), OTHER], [CRL])
    for hours in (1, 2):
        moment = NOW + timedelta(hours=hours)
        scene.store.renumber_source(URL, moment)
        assert await scene.ledger.asked() == [URL]
        assert scene.ledger.renumbered == {URL: moment}
    for unknown in ("CN=CA", "http://unknown/"):
        with pytest.raises(StoreError):
            scene.store.renumber_source(unknown, NOW)
    assert scene.ledger.renumbered.keys() == {URL}


async def test_issuer_asks_for_the_sources_of_its_crls(scene: Scene) -> None:
    """By its name, as the list shows it."""
    await scene.ledger.write([SOURCE, OTHER], [CRL])
    assert scene.store.ask_crl_sources("CN=CA", NOW) == [URL]


async def test_directory_that_cannot_be_used_is_reported_once_until_it_can(scene: Scene) -> None:
    """Checks go on meanwhile."""
    execute(scene.url, "ALTER TABLE crl_sources RENAME TO away")
    for _ in range(2):
        await scene.ledger.write([SOURCE], [])
        assert await scene.ledger.asked() == []
    assert len(scene.warnings) == 1
    execute(scene.url, "ALTER TABLE away RENAME TO crl_sources")
    await scene.ledger.write([SOURCE], [])
    assert scene.store.crl_sources() == [SOURCE]


async def test_ledger_may_be_closed_twice(scene: Scene) -> None:
    """To stop twice changes nothing."""
    await scene.ledger.asked()
    await scene.ledger.close()
    await scene.ledger.close()
