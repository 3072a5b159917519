"""A directory that is taken back while a service reads it: what was remembered of the other life is not good now."""

from __future__ import annotations

import asyncio
import random
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Hashable
from datetime import datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from support.certificates import NOW, Authority
from support.directory import new_store
from support.requirements import need

from authz.decision import Allow
from authz.directory import DirectoryReader, reader, session
from authz.directory.keys import RowKey, UserKey
from authz.directory.sqlite.engine import open_engine
from authz.directory.sqlite.migrate import _upgrade, migrate
from authz.errors import Refused
from authz.identity.header import UserNameHeader
from authz.model import CheckRequest, Enforcement, Organization
from authz.pki import Certificate, Crl, CrlStore, ModeOf
from authz.service import Service
from authz.view import Listener

ROOT = Authority.root()
DOOR = Listener("test", (UserNameHeader("x-user"),))
HOST = "acme.example.test"


class Clock:
    """A clock that stands."""

    def now(self) -> datetime:
        """The moment."""
        return NOW

    def monotonic(self) -> float:
        """The counter."""
        return 0.0


class Crls:
    """A keeper of CRLs that notes what it hears."""

    def __init__(self) -> None:
        self.states: list[Hashable] = []

    def crls(self) -> CrlStore:
        """See the protocol."""
        return CrlStore()

    def mode_of(self, organization: Organization) -> ModeOf | None:
        """See the protocol."""

    def request_crls(self, organization: Organization, path: tuple[bytes, ...]) -> None:
        """See the protocol."""

    def directory_read(self, revision: Hashable) -> None:
        """See the protocol."""
        self.states.append(revision)


class Scene:
    """A directory with alice, who is required, and bob, and a service that reads it."""

    def __init__(self, folder: Path) -> None:
        self.file, self.copy = folder / "a.db", folder / "b.db"
        url = f"sqlite:///{self.file}"
        self.store = new_store(url)
        self.acme = self.store.add_organization(Organization(0, "acme", (HOST,)))
        self.store.add_user("acme", "alice", Enforcement.REQUIRED)
        self.store.add_user("acme", "bob", Enforcement.OFF)
        self.warnings: list[str] = []
        self.crls = Crls()
        self.reader = DirectoryReader(url, self.crls, monotonic=Clock().monotonic, warn=self.warnings.append)
        self.service = Service(self.reader, Clock())

    def shell(self, *words: str, file: Path | None = None) -> None:
        """Have the plain `sqlite3` do each word, as an operator would."""
        need("sqlite3", found=shutil.which("sqlite3") is not None)
        # The options of no file that the user has; the shell's own defaults.
        command = ["sqlite3", "-init", "/dev/null", "-bail", str(file or self.file), ".timeout 5000", *words]
        subprocess.run(command, check=True, capture_output=True, timeout=60)

    async def passes(self, user: str) -> bool:
        """Whether a request of `user` without a certificate is allowed."""
        check = CheckRequest("id", HOST, ((b"x-user", user.encode()),))
        return isinstance(await self.service.check(check, DOOR), Allow)

    async def polled(self) -> None:
        """Until the directory was read once more, from beginning to end."""
        count = len(self.crls.states)
        async with asyncio.timeout(20):
            while len(self.crls.states) < count + 2:
                await asyncio.sleep(0.005)


@pytest.fixture
async def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    """A started one, which polls often."""
    monkeypatch.setattr(reader, "POLL_SECONDS", 0.02)
    # What is proven here is what was read, not how soon: a machine may stand still for some seconds.
    monkeypatch.setattr(reader, "READ_SECONDS", 60)
    made = Scene(tmp_path)
    await made.reader.start()
    yield made
    await made.reader.close()
    made.store.close()


@pytest.mark.slow
async def test_restored_copy_whose_numbers_rise_again_at_once_is_another_directory(scene: Scene) -> None:
    """Twenty times at random moments: what the life that was taken back allowed is refused, and what came is seen."""
    moments = random.Random(14)
    for _ in range(20):
        scene.shell(
            "UPDATE users SET active = 1, enforcement = iif(name = 'alice', 'required', 'off')", f".backup {scene.copy}"
        )
        scene.shell("UPDATE users SET enforcement = 'off' WHERE name = 'alice'")
        await scene.polled()
        assert await scene.passes("alice")
        assert await scene.passes("bob")
        before = scene.reader.revision
        await asyncio.sleep(moments.random() / 20)
        scene.shell(f".restore {scene.copy}", "UPDATE users SET active = 0 WHERE name = 'bob'")
        await scene.polled()
        assert scene.reader.revision == before
        assert not await scene.passes("alice")
        assert not await scene.passes("bob")
    assert len(scene.warnings) >= 20


async def test_very_same_file_restored_leaves_everything_at_hand(scene: Scene) -> None:
    """It is the same state, by number and lineage."""
    assert await scene.passes("bob")
    scene.shell(f".backup {scene.copy}", f".restore {scene.copy}")
    await scene.polled()
    assert scene.reader.user(scene.acme, "bob") is not None
    assert scene.warnings == []


COPIES = {
    "backup": lambda scene: scene.shell(f".backup {scene.copy}"),
    "vacuum into": lambda scene: scene.shell(f"VACUUM INTO '{scene.copy}'"),
    "dump": lambda scene: (
        scene.shell(f".output {scene.copy}.sql", ".dump") or scene.shell(f".read {scene.copy}.sql", file=scene.copy)
    ),
}


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("moved", [False, True], ids=["restored", "moved"])
@pytest.mark.slow
async def test_however_a_copy_was_made_and_came_back_it_is_read_anew(
    scene: Scene, copy: Callable[[Scene], None], *, moved: bool
) -> None:
    """Also with as many changes in either life, several of them between two polls."""
    copy(scene)
    scene.shell("UPDATE users SET enforcement = 'off'")
    await scene.polled()
    assert await scene.passes("alice")
    scene.shell("UPDATE users SET active = 0 WHERE name = 'bob'", file=scene.copy)
    if moved:
        scene.shell("PRAGMA wal_checkpoint(TRUNCATE)", file=scene.copy)
        scene.shell("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.move(scene.copy, scene.file)
    else:
        scene.shell(f".restore {scene.copy}")
    await scene.polled()
    assert not await scene.passes("alice")
    assert not await scene.passes("bob")
    assert scene.warnings


async def test_copy_written_over_the_file_is_read_anew_where_sqlite_reads_it(scene: Scene) -> None:
    """`cp` onto it, with an empty log."""
    scene.shell(f".backup {scene.copy}", "UPDATE users SET enforcement = 'off'", "PRAGMA wal_checkpoint(TRUNCATE)")
    await scene.polled()
    assert await scene.passes("alice")
    shutil.copyfile(scene.copy, scene.file)
    await scene.polled()
    assert not await scene.passes("alice")


async def test_restored_amid_a_reading_tags_no_row_of_before_with_the_state_after(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The transaction sees one life to its end, and the next poll the other."""
    scene.shell(f".backup {scene.copy}", "UPDATE users SET enforcement = 'off'")
    await scene.polled()
    await scene.passes("nobody")
    whole = session.read_rows
    restored: list[RowKey] = []

    def restore_and_read(connection: sa.Connection, keys: list[RowKey], wanted: set[int]) -> object:
        if not restored:
            scene.shell(f".restore {scene.copy}", "UPDATE users SET active = 0 WHERE name = 'bob'")
            restored.extend(keys)
        return whole(connection, keys, wanted)

    monkeypatch.setattr(session, "read_rows", restore_and_read)
    assert await scene.reader.load(UserKey(scene.acme.id, "alice"))
    await scene.polled()
    assert restored
    assert not await scene.passes("alice")
    assert not await scene.passes("bob")


async def test_state_that_the_log_no_longer_has_is_read_anew(scene: Scene) -> None:
    """A worker that was stopped for longer than the log is kept."""
    assert await scene.passes("bob")
    scene.shell("BEGIN", "DELETE FROM directory_changes", "UPDATE users SET active = 0 WHERE name = 'bob'", "COMMIT")
    await scene.polled()
    assert not await scene.passes("bob")
    assert len(scene.warnings) == 1


@pytest.mark.slow
async def test_change_in_the_same_life_leaves_other_organizations_rows(scene: Scene) -> None:
    """Nothing is read anew without need."""
    other = scene.store.add_organization(Organization(0, "b", ("b.test",)))
    await scene.polled()
    assert await scene.passes("bob")
    for number in range(50):
        scene.store.add_user("b", f"u{number}")
    await scene.polled()
    assert scene.reader.user(scene.acme, "bob") is not None
    assert other.id != scene.acme.id
    assert scene.warnings == []


async def test_directory_of_an_earlier_version_restored_is_not_confirmed_until_it_is_brought_up_to_date(
    scene: Scene, tmp_path: Path
) -> None:
    """And then it is another one: what a command does first, `authz org list` say."""
    assert await scene.passes("bob")
    engine = open_engine(f"sqlite:///{tmp_path / 'old.db'}")
    with engine.begin() as connection:
        _upgrade(connection, "0003")
    engine.dispose()
    scene.shell(f".restore {tmp_path / 'old.db'}")
    with pytest.raises(Refused):
        await scene.reader._read(())
    migrate(f"sqlite:///{scene.file}")
    await scene.polled()
    assert not await scene.passes("bob")
    assert scene.warnings


async def test_crls_listed_in_a_life_between_two_polls_are_listed_again(scene: Scene) -> None:
    """Else a list of CRLs without the newest would pass for that of the state before and after."""
    scene.store.add_anchors("acme", [Certificate.parse(ROOT.der)])
    scene.shell(f".backup {scene.copy}.old")
    scene.store.add_crl(Crl(ROOT.crl()), NOW)
    scene.shell(f".backup {scene.copy}")
    await scene.polled()
    known = scene.crls.states[-1]
    for one in scene.reader._tasks:
        one.cancel()
    scene.shell(f".restore {scene.copy}.old")
    assert await scene.reader.listed() == []
    scene.shell(f".restore {scene.copy}")
    await scene.reader._read(())
    between, after = scene.crls.states[-2:]
    assert len({known, between, after}) == 3
    assert len(await scene.reader.listed()) == 1
