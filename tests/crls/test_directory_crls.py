"""CRLs in memory: small ones at once, large ones on the side, and no organization waits for another's."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import timedelta

import pytest
from support.certificates import NOW, Authority

from authz.crls.directory_crls import DirectoryCrls
from authz.crls.indexing.client import SMALL_CRL
from authz.errors import IndexingError, Refused
from authz.model import CrlRow
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
        self.key = b"key"

    async def listed(self) -> list[CrlRow]:
        """Every CRL."""
        if self.problem is not None:
            raise self.problem
        rows = [
            CrlRow(digest(one), b"signer", SMALL_CRL + 1 if one in self.large else len(one), self.key)
            for one in self.held
        ]
        return sorted(rows, key=lambda one: one.size)

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
        self.problem: Refused | IndexingError | None = None
        self.changes = 0
        self.loader = DirectoryCrls(
            self.rows, index=self.index, on_change=self.changed, warn=self.warnings.append, retry=0
        )
        self.revision = 0

    def changed(self, _: object) -> None:
        """Count."""
        self.changes += 1

    async def index(self, der: bytes, key: bytes) -> Crl:
        """Index, when it is time."""
        assert key == b"key"
        self.indexed.append(der)
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
        return {one.crl.der or b"" for one in self.loader}


def digest(der: bytes) -> bytes:
    """SHA-256."""
    return hashlib.sha256(der).digest()


@pytest.fixture
async def scene() -> Scene:
    """A loader that holds nothing."""
    return Scene()


async def test_small_crl_answers_at_once_and_is_read_once(scene: Scene) -> None:
    """What is held already is not read again, and no process is started for it."""
    assert await scene.bring(OLD) == {OLD}
    held = next(iter(scene.loader))
    assert await scene.bring(OLD, OTHER) == {OLD, OTHER}
    assert held in scene.loader
    assert held.signer == b"signer"
    assert scene.indexed == []
    assert scene.changes == 2


async def test_crl_that_is_listed_no_longer_answers_no_longer(scene: Scene) -> None:
    """Replaced by a small one, or removed."""
    await scene.bring(OLD, OTHER)
    assert await scene.bring(NEW) == {NEW}
    assert await scene.bring() == set()


async def test_large_crl_is_waited_for_by_no_check(scene: Scene) -> None:
    """The one it replaces goes on answering, and another's new one answers at once."""
    await scene.bring(OLD)
    scene.rows.large = {NEW}
    assert await scene.bring(NEW) == {OLD}
    assert await scene.bring(NEW, OTHER) == {OLD, OTHER}
    scene.finish.set()
    await scene.loader.settled()
    assert scene.store() == {NEW, OTHER}
    assert scene.indexed.count(NEW) == 1


async def test_crl_that_cannot_be_read_is_left_out_and_reported_once(scene: Scene) -> None:
    """The rest answers."""
    assert await scene.bring(b"junk", OLD) == {OLD}
    assert await scene.bring(b"junk", NEW) == {NEW}
    assert len(scene.warnings) == 1


@pytest.mark.parametrize(
    ("problem", "again"),
    [(Refused(Reason.CRL_MALFORMED), False), (Refused(Reason.OVERLOADED), True), (IndexingError("no memory"), True)],
)
async def test_large_crl_that_fails_leaves_the_held_one(scene: Scene, problem: Exception, again: bool) -> None:
    """A failure of ours is tried again, one of the CRL's is reported; in both cases the other CRLs answer."""
    await scene.bring(OLD, OTHER)
    scene.rows.large, scene.problem = {NEW}, problem  # type: ignore[assignment]
    await scene.bring(NEW, OTHER)
    scene.finish.set()
    await scene.loader.settled()
    assert OTHER in scene.store()
    assert len(scene.warnings) == 1
    scene.problem = None
    await asyncio.sleep(0)
    await scene.loader.bring(scene.revision)
    await scene.loader.settled()
    assert (NEW in scene.store()) is again


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


async def test_large_crl_whose_signers_key_is_not_known_is_read_all_the_same(scene: Scene) -> None:
    """An earlier version added it."""
    scene.rows.large, scene.rows.key = {OLD}, b""
    assert await scene.bring(OLD) == {OLD}
    assert scene.indexed == []


async def test_closed_loader_indexes_no_more(scene: Scene) -> None:
    """What was under way is given up."""
    scene.rows.large = {NEW}
    await scene.bring(NEW)
    await scene.loader.close()
    await scene.loader.settled()
