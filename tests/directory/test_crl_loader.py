"""CRLs in memory: small ones at once, large ones on the side, and nobody waits for somebody else's."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import timedelta

import pytest
from pki_factory import NOW, Authority

from authz.directory.crl_loader import SMALL_BYTES, CrlLoader
from authz.errors import Refused
from authz.pki import Crl
from authz.reasons import Reason

ROOT = Authority.root()
OLD, NEW = (ROOT.crl(number=number, this_update=NOW - timedelta(hours=9 - number)) for number in (1, 2))
OTHER = Authority.root("Other").crl()


class Rows:
    """The rows of a directory in memory; a CRL in `large` is said to be large, one in `gone` went meanwhile."""

    def __init__(self) -> None:
        self.held: list[bytes] = []
        self.large: set[bytes] = set()
        self.gone: set[bytes] = set()
        self.problem: Refused | None = None

    async def listed(self) -> list[tuple[bytes, bytes, int]]:
        """Every CRL."""
        if self.problem is not None:
            raise self.problem
        rows = [(digest(one), b"key", SMALL_BYTES + 1 if one in self.large else len(one)) for one in self.held]
        return sorted(rows, key=lambda one: one[2])

    async def der(self, sha256: bytes) -> bytes | None:
        """One of them."""
        return next((one for one in self.held if digest(one) == sha256 and one not in self.gone), None)


class Scene:
    """A loader whose indexing of large CRLs waits for `finish`."""

    def __init__(self) -> None:
        self.rows = Rows()
        self.finish = asyncio.Event()
        self.warnings: list[str] = []
        self.indexed: list[bytes] = []
        self.problem: Refused | None = None
        self.loader = CrlLoader(self.rows, index=self.index, warn=self.warnings.append, retry=0)
        self.revision = 0

    async def index(self, der: bytes) -> Crl:
        """Index as `read_crl` does, when it is time."""
        self.indexed.append(der)
        if der in self.rows.large:
            await self.finish.wait()
        if self.problem is not None:
            raise self.problem
        return Crl(der)

    async def bring(self, *held: bytes) -> set[bytes]:
        """The directory holds these now; the CRLs in the loader's store."""
        self.rows.held = list(held)
        self.revision += 1
        await self.loader.bring(self.revision)
        return self.store()

    def store(self) -> set[bytes]:
        """The CRLs that answer."""
        assert self.loader.store is not None
        return {one.der for one in self.loader.store}


def digest(der: bytes) -> bytes:
    """SHA-256."""
    return hashlib.sha256(der).digest()


@pytest.fixture
async def scene() -> Scene:
    """A loader that holds nothing."""
    return Scene()


async def test_small_crl_answers_at_once_and_is_read_once(scene: Scene) -> None:
    """What is held already is not read again."""
    assert await scene.bring(OLD) == {OLD}
    assert await scene.bring(OLD, OTHER) == {OLD, OTHER}
    assert scene.indexed == [OLD, OTHER]


async def test_crl_that_is_listed_no_longer_answers_no_longer(scene: Scene) -> None:
    """Replaced by a small one, or removed."""
    await scene.bring(OLD, OTHER)
    assert await scene.bring(NEW) == {NEW}
    assert await scene.bring() == set()


async def test_large_crl_is_waited_for_by_nobody(scene: Scene) -> None:
    """The one it replaces goes on answering, and another's new one answers at once."""
    await scene.bring(OLD)
    scene.rows.large = {NEW}
    assert await scene.bring(NEW) == {OLD}
    assert await scene.bring(NEW, OTHER) == {OLD, OTHER}
    scene.finish.set()
    await scene.loader.settled()
    assert scene.store() == {NEW, OTHER}
    assert scene.indexed.count(NEW) == 1


async def test_crl_that_cannot_be_read_is_left_out_and_told_once(scene: Scene) -> None:
    """The rest answers."""
    assert await scene.bring(b"junk", OLD) == {OLD}
    assert await scene.bring(b"junk", NEW) == {NEW}
    assert len(scene.warnings) == 1


@pytest.mark.parametrize("reason", [Reason.CRL_MALFORMED, Reason.OVERLOADED])
async def test_large_crl_that_fails_leaves_the_held_one(scene: Scene, reason: Reason) -> None:
    """A failure of ours is tried again, one of the CRL's is told; in both cases the other CRLs answer."""
    await scene.bring(OLD, OTHER)
    scene.rows.large, scene.problem = {NEW}, Refused(reason)
    await scene.bring(NEW, OTHER)
    scene.finish.set()
    await scene.loader.settled()
    assert OTHER in scene.store()
    assert len(scene.warnings) == 1
    scene.problem = None
    await asyncio.sleep(0)
    await scene.loader.bring(scene.revision)
    await scene.loader.settled()
    assert (NEW in scene.store()) is (reason is Reason.OVERLOADED)


async def test_crl_that_went_meanwhile_is_no_error(scene: Scene) -> None:
    """Between the list and the reading."""
    scene.rows.gone = {OLD}
    assert await scene.bring(OLD, OTHER) == {OTHER}


async def test_directory_that_fails_leaves_everything_as_it_is(scene: Scene) -> None:
    """And the next attempt brings what was missed."""
    await scene.bring(OLD)
    scene.rows.problem = Refused(Reason.DIRECTORY_UNAVAILABLE)
    with pytest.raises(Refused):
        await scene.bring(NEW)
    assert scene.store() == {OLD}
    scene.rows.problem = None
    await scene.loader.bring(scene.revision)
    assert scene.store() == {NEW}


async def test_forgotten_store_is_made_anew(scene: Scene) -> None:
    """Of another database nothing is known."""
    await scene.bring(OLD)
    scene.loader.forget()
    assert scene.loader.store is None
    assert await scene.bring(OLD) == {OLD}
    assert scene.indexed == [OLD, OLD]


async def test_closed_loader_indexes_no_more(scene: Scene) -> None:
    """What was under way is given up."""
    scene.rows.large = {NEW}
    await scene.bring(NEW)
    await scene.loader.close()
    await scene.loader.settled()
