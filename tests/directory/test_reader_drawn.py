"""A reader beside a directory that is edited by drawn SQL, copied and restored: it answers what is in the file."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import TypeVar

import pytest
from support.directory import new_store

from authz.directory import DirectoryReader, reader
from authz.errors import NotLoaded
from authz.model import Organization
from authz.pki import CrlStore, ModeOf

T = TypeVar("T")

IDS = range(1, 4)
HOSTS = ("a.test", "b.test")

ORGANIZATION = "organizations (id, name, active, binding_scope, default_enforcement, token_user_claim)"
REGISTRATION = "registrations (id, organization_id, user_id, sha256, der, chain, label, created_at)"
EDITS = (
    "INSERT OR REPLACE INTO users VALUES ({n}, {n}, 'u{n}', 'off', {bit})",
    "UPDATE OR REPLACE users SET id = {n} WHERE id = {n}",
    "UPDATE OR REPLACE users SET rowid = {n}, organization_id = {n} WHERE id = {n}",
    "UPDATE OR IGNORE users SET name = 'u{n}', active = {bit}",
    "DELETE FROM users WHERE id = {n}",
    f"INSERT OR REPLACE INTO {ORGANIZATION} VALUES ({{n}}, 'o{{n}}', {{bit}}, 'user', 'off', 'sub')",
    "UPDATE OR REPLACE organizations SET rowid = {n} WHERE id = {n}",
    "DELETE FROM organizations WHERE id = {n}",
    "INSERT OR REPLACE INTO hosts VALUES ('{host}', {n})",
    "UPDATE hosts SET organization_id = {n}",
    f"INSERT OR REPLACE INTO {REGISTRATION} VALUES ({{n}}, {{n}}, {{n}}, x'0{{n}}', x'', x'', '{{bit}}', 0)",
    "UPDATE OR REPLACE registrations SET oid = {n} WHERE id = {n}",
    "UPDATE registrations SET sha256 = x'0{n}'",
    "REPLACE INTO directory_state (id, revision) VALUES (1, {n})",
    "UPDATE directory_state SET revision = {n}",
    "PRAGMA wal_checkpoint(TRUNCATE)",
)


class Crls:
    """A keeper of CRLs that counts the readings."""

    def __init__(self) -> None:
        self.readings = 0

    def crls(self) -> CrlStore:
        """See the protocol."""
        return CrlStore()

    def mode_of(self, organization: Organization) -> ModeOf | None:
        """See the protocol."""

    def request_crls(self, organization: Organization, path: tuple[bytes, ...]) -> None:
        """See the protocol."""

    def directory_read(self, revision: Hashable) -> None:
        """See the protocol."""
        self.readings += 1


class Scene:
    """A directory that is edited, its copies, and a reader beside it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.drawn = random.Random(seed)
        self.file = folder / "a.db"
        url = f"sqlite:///{self.file}"
        new_store(url).close()
        self.copies: list[Path] = []
        self.crls = Crls()
        self.reader = DirectoryReader(url, self.crls, monotonic=lambda: 0.0, warn=lambda _: None)

    def step(self) -> None:
        """Copy the directory, take an older copy back, or edit it; often two of that between two polls."""
        with contextlib.closing(sqlite3.connect(self.file, isolation_level=None)) as connection:
            kind = self.drawn.random()
            if kind < 0.15:
                self.copies.append(self.file.with_name(f"{len(self.copies)}.db"))
                copy(connection, self.copies[-1])
            elif kind < 0.35 and self.copies:
                with contextlib.closing(sqlite3.connect(self.drawn.choice(self.copies))) as other:
                    other.backup(connection)
            for setting in ("foreign_keys", "recursive_triggers"):
                connection.execute(f"PRAGMA {setting} = {self.drawn.choice(('ON', 'OFF'))}")
            for _ in range(self.drawn.randrange(6)):
                with contextlib.suppress(sqlite3.IntegrityError):
                    connection.execute(self.edit())

    def edit(self) -> str:
        """A statement with numbers, each drawn anew; half of them insert."""
        inserts = [one for one in EDITS if one.startswith("INSERT")]
        parts = self.drawn.choice(self.drawn.choice((EDITS, inserts))).split("{n}")
        whole = "".join(f"{part}{self.drawn.choice(IDS)}" for part in parts[:-1]) + parts[-1]
        return whole.format(bit=self.drawn.randrange(2), host=self.drawn.choice(HOSTS))

    async def polled(self) -> None:
        """Until the directory was read once more, from beginning to end."""
        wanted = self.crls.readings + 2
        async with asyncio.timeout(20):
            while self.crls.readings < wanted:
                await asyncio.sleep(0.002)

    async def loaded(self, look: Callable[[], T]) -> T:
        """Look, loading what is missing, as the service does."""
        while True:
            try:
                return look()
            except NotLoaded as missing:
                await self.reader.load(missing.key)

    async def seen(self, living: set[int]) -> list[object]:
        """Every row that the reader gives of the organizations that there are."""
        found: list[object] = []
        for host in HOSTS:
            owner = await self.loaded(lambda host=host: self.reader.organization(host))  # type: ignore[misc]
            found.append(owner and (owner.id, owner.name, owner.active))
        for number in sorted(living):
            mine = Organization(number, "any", ())
            for each in IDS:
                user = await self.loaded(lambda mine=mine, each=each: self.reader.user(mine, f"u{each}"))  # type: ignore[misc]
                found.append(user and (user.id, user.active))
                leaf = bytes([each])
                rows = await self.loaded(lambda mine=mine, leaf=leaf: self.reader.registrations(mine, leaf))  # type: ignore[misc]
                found.append([(one.id, one.user_id, one.label) for one in rows])
        return found

    def held(self) -> tuple[set[int], list[object]]:
        """The organizations that there are, and the same rows as the file has them."""
        with contextlib.closing(sqlite3.connect(self.file)) as connection:
            ask = connection.execute
            living = {one for (one,) in ask("SELECT id FROM organizations")}
            of_host = (
                "SELECT o.id, o.name, o.active FROM organizations o JOIN hosts ON organization_id = o.id WHERE host = ?"
            )
            found: list[object] = [ask(of_host, (host,)).fetchone() for host in HOSTS]
            registered = (
                "SELECT id, user_id, label FROM registrations WHERE organization_id = ? AND sha256 = ? ORDER BY id"
            )
            for number in sorted(living):
                for each in IDS:
                    named = "SELECT id, active FROM users WHERE organization_id = ? AND name = ?"
                    found.append(ask(named, (number, f"u{each}")).fetchone())
                    found.append(ask(registered, (number, bytes([each]))).fetchall())
            return living, found


def copy(connection: sqlite3.Connection, path: Path) -> None:
    """As `.backup` does."""
    with contextlib.closing(sqlite3.connect(path)) as other:
        connection.backup(other)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
async def test_reader_answers_what_the_file_has_whatever_was_done_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Restored, edited by any statement, foreign keys and recursive triggers on or off: memory changes no answer."""
    monkeypatch.setattr(reader, "POLL_SECONDS", 0.002)
    scene = Scene(tmp_path, seed)
    await scene.reader.start()
    seen_rows = 0
    for _ in range(80):
        scene.step()
        if scene.drawn.randrange(2):
            await scene.polled()
            living, held = scene.held()
            assert await scene.seen(living) == held
            seen_rows += sum(bool(one) for one in held)
    assert seen_rows > 20
    await scene.reader.close()
