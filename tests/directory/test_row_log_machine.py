"""A reader's memory beside any SQL, copies and restores: after each poll it has nothing that a new reader would not."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Hashable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from support.certificates import Authority

from authz.directory import DirectoryReader
from authz.directory.keys import HostKey, RegistrationsKey, RowKey, TrustKey, UserKey
from authz.directory.row_log import State
from authz.directory.sqlite.migrate import migrate
from authz.directory.sqlite.session import Session
from authz.errors import NotLoaded, Refused
from authz.model import Organization
from authz.pki import CrlStore, ModeOf

IDS = (1, 2, 3)
HOSTS = ("a.test", "b.test", "c.test")
ROOTS = [Authority.root(f"root {number}").der for number in IDS]
KEYS: tuple[RowKey, ...] = (
    *map(HostKey, HOSTS),
    *(UserKey(owner, f"u{number}") for owner in IDS for number in IDS),
    *(RegistrationsKey(owner, bytes([number])) for owner in IDS for number in IDS),
    *map(TrustKey, IDS),
)
ORGANIZATION = "organizations (id, name, active, binding_scope, default_enforcement, token_user_claim)"
REGISTRATION = "registrations (id, organization_id, user_id, sha256, der, chain, label, created_at)"
CERTIFICATES = "(id, organization_id, sha256, der)"
EDITS = (
    "INSERT {or} INTO users (id, organization_id, name, enforcement, active) VALUES ({n}, {n}, 'u{n}', 'off', {bit})",
    "INSERT {or} INTO users (organization_id, name, enforcement, active) VALUES ({n}, 'u{n}', '{mode}', {bit})",
    "INSERT INTO users VALUES ({n}, {n}, 'u{n}', 'off', 1) ON CONFLICT (id) DO UPDATE SET organization_id = {n}",
    "INSERT INTO users VALUES ({n}, {n}, 'u{n}', 'off', 1) ON CONFLICT DO UPDATE SET active = 0, id = {n}",
    "UPDATE {or} users SET id = {n} WHERE id = {n}",
    "UPDATE {or} users SET _rowid_ = 4 - id, organization_id = 4 - organization_id",
    "UPDATE {or} users SET name = 'u{n}', organization_id = {n} WHERE id = {n}",
    "UPDATE users SET active = {bit}, enforcement = '{mode}' WHERE organization_id = {n}",
    "DELETE FROM users WHERE id = {n}",
    f"INSERT {{or}} INTO {ORGANIZATION} VALUES ({{n}}, 'o{{n}}', {{bit}}, 'user', 'off', 'sub')",
    "UPDATE {or} organizations SET id = {n} WHERE id = {n}",
    "UPDATE {or} organizations SET name = 'o{n}' WHERE id = {n}",
    "UPDATE organizations SET token_type = 't{n}', revision = revision + {bit} WHERE id = {n}",
    "UPDATE organizations SET active = 1 - active, trust_revision = trust_revision + 1",
    "UPDATE organizations SET active = 1 - active, revision = (SELECT revision + {bit} FROM directory_state)",
    "UPDATE organizations SET id = 0 WHERE id = {n}",
    "UPDATE organizations SET path_{setting}",
    "UPDATE organizations SET token_audience_claim = 't{n}' WHERE id = {n}",
    "DELETE FROM organizations WHERE id = {n}",
    "INSERT {or} INTO hosts VALUES ('{host}', {n})",
    "INSERT {or} INTO hosts (rowid, host, organization_id) VALUES ({n}, '{host}', {n})",
    "UPDATE {or} hosts SET rowid = {n} WHERE host = '{host}'",
    "UPDATE {or} hosts SET host = '{host}' WHERE organization_id = {n}",
    "UPDATE hosts SET organization_id = {n} WHERE rowid = {n}",
    "UPDATE hosts SET organization_id = 0 WHERE host = '{host}'",
    "DELETE FROM hosts WHERE host = '{host}'",
    f"INSERT {{or}} INTO {REGISTRATION} VALUES ({{n}}, {{n}}, {{n}}, x'0{{n}}', x'', x'', '{{bit}}', 0)",
    "UPDATE {or} registrations SET id = {n}, sha256 = x'0{n}' WHERE id = {n}",
    "UPDATE registrations SET organization_id = {n}, user_id = {n} WHERE sha256 = x'0{n}'",
    "UPDATE registrations SET kind = '{kind}', spki_sha256 = x'0{n}', identity = 'dns:a' WHERE id = {n}",
    "UPDATE registrations SET sha256 = CAST(sha256 AS TEXT) WHERE id = {n}",
    "DELETE FROM registrations WHERE user_id = {n}",
    f"INSERT {{or}} INTO {{table}} {CERTIFICATES} VALUES ({{n}}, {{n}}, x'0{{n}}', :root{{n}})",
    f"INSERT {{or}} INTO {{table}} {CERTIFICATES} VALUES ({{n}}, NULL, x'0{{n}}', :root{{n}})",
    "UPDATE {or} {table} SET id = {n}, organization_id = {n} WHERE id = {n}",
    "UPDATE {or} {table} SET sha256 = x'0{n}', organization_id = NULL WHERE id = {n}",
    "DELETE FROM {table} WHERE id = {n}",
    "DELETE FROM directory_changes WHERE id % 3 = {bit}",
    "UPDATE directory_state SET revision = revision + {n}",
    "PRAGMA wal_checkpoint(TRUNCATE)",
)
WORDS = {
    "setting": ("min_rsa_bits = {n}072", "explicit_policy = {bit}", "policies = '1.2.{n}'", "purpose = '1.3.{n}'"),
    "or": ("OR REPLACE", "OR REPLACE", "OR IGNORE", ""),
    "bit": ("0", "1"),
    "host": HOSTS,
    "kind": ("leaf", "key", "identity"),
    "mode": ("off", "required"),
    "table": ("anchors", "intermediates"),
    "n": ("1", "2", "3"),
}


def first(number: int) -> tuple[str, ...]:
    """One row of each kind, for there is more to displace then."""
    return (
        f"INSERT INTO {ORGANIZATION} VALUES ({number}, 'o{number}', 1, 'user', 'off', 'sub')",
        f"INSERT INTO hosts (rowid, host, organization_id) VALUES ({number}, '{HOSTS[number - 1]}', {number})",
        f"INSERT INTO users VALUES ({number}, {number}, 'u{number}', 'off', 1)",
        f"INSERT INTO {REGISTRATION} VALUES ({number}, {number}, {number}, x'0{number}', x'', x'', '', 0)",
        f"INSERT INTO anchors {CERTIFICATES} VALUES ({number}, {number}, x'0{number}', :root{number})",
    )


@st.composite
def statements(draw: st.DrawFn) -> str:
    """One edit with its words, each place drawn on its own."""
    text = draw(st.sampled_from(EDITS))
    for word, values in WORDS.items():
        while f"{{{word}}}" in text:
            text = text.replace(f"{{{word}}}", draw(st.sampled_from(values)), 1)
    return text


class Crls:
    """A keeper of CRLs that keeps none."""

    def crls(self) -> CrlStore:
        """See the protocol."""
        return CrlStore()

    def mode_of(self, organization: Organization) -> ModeOf | None:
        """See the protocol."""

    def request_crls(self, organization: Organization, path: tuple[bytes, ...]) -> None:
        """See the protocol."""

    def directory_read(self, revision: Hashable) -> None:
        """See the protocol."""


@cache
def template() -> Path:
    """An empty directory, made once; it goes with the process."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    path = Path(folder.name, "a.db")
    migrate(f"sqlite:///{path}")
    return path


class DirectoryMachine(RuleBasedStateMachine):
    """A file that is edited, and a reader beside it that remembers every row that there can be."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.file = Path(self.folder.name, "a.db")
        self.url = f"sqlite:///{self.file}"
        shutil.copy(template(), self.file)
        self.copies: list[Path] = []
        self.loop = asyncio.new_event_loop()
        self.reader = DirectoryReader(self.url, Crls(), monotonic=lambda: 0.0, warn=lambda _: None)
        self.read(())
        self.edit([statement for number in IDS for statement in first(number)], keys=True)
        self.poll()

    def read(self, keys: tuple[RowKey, ...] | list[RowKey]) -> None:
        """One reading, as the poller and checks do it."""
        self.loop.run_until_complete(self.reader._read(keys))

    def edit(self, lines: list[str], *, keys: bool, recursive: bool = False, commit: bool = True) -> None:
        """What a statement of a transaction that is refused changes is undone, the others count."""
        with contextlib.closing(sqlite3.connect(self.file, isolation_level=None)) as connection:
            connection.execute(f"PRAGMA foreign_keys = {keys:d}")
            connection.execute(f"PRAGMA recursive_triggers = {recursive:d}")
            transaction = not any("PRAGMA" in line for line in lines)
            connection.execute("BEGIN" if transaction else "SELECT 1")
            for line in lines:
                with contextlib.suppress(sqlite3.IntegrityError):
                    roots = {f"root{number}": ROOTS[number - 1] for number in IDS}
                    connection.execute(line.format(bit=1, host=HOSTS[0], mode="off"), roots)
            if transaction:
                connection.execute("COMMIT" if commit else "ROLLBACK")

    @rule(
        lines=st.lists(statements(), min_size=1, max_size=6),
        keys=st.booleans(),
        recursive=st.booleans(),
        commit=st.booleans(),
    )
    def change(self, lines: list[str], keys: bool, recursive: bool, commit: bool) -> None:
        """Any statements, in one transaction."""
        self.edit(lines, keys=keys, recursive=recursive, commit=commit)

    @rule()
    def copy(self) -> None:
        """As `.backup` does."""
        self.copies.append(self.file.with_name(f"{len(self.copies)}.db"))
        self.duplicate(self.file, self.copies[-1])

    @precondition(lambda self: self.copies)
    @rule(number=st.integers(0, 9), moved=st.booleans())
    def restore(self, number: int, moved: bool) -> None:
        """As `.restore` does, or by another file in the place of this one."""
        source = self.copies[number % len(self.copies)]
        self.duplicate(source, self.file.with_name("new.db") if moved else self.file)
        if moved:
            for end in ("-wal", "-shm"):
                self.file.with_name(self.file.name + end).unlink(missing_ok=True)
            self.file.with_name("new.db").replace(self.file)

    def duplicate(self, source: Path, target: Path) -> None:
        """Make one file's content the other's."""
        with contextlib.closing(sqlite3.connect(source)) as old, contextlib.closing(sqlite3.connect(target)) as new:
            old.backup(new)

    @rule()
    def poll(self) -> None:
        """What is at hand is what a new reader reads; then every row is at hand again."""
        self.read(())
        session = Session(self.url)
        fresh = session.read(State(), KEYS)
        session.close()
        assert not fresh.failed or all(isinstance(key, RegistrationsKey) for key in fresh.failed)
        for key in KEYS:
            if (known := self.known(key)) is not None:
                assert known == (seen(fresh.found.get(key)),), key
        self.read([key for key in KEYS if self.known(key) is None])
        for key in filter(fresh.found.__contains__, KEYS):
            assert self.known(key) == (seen(fresh.found[key]),), key

    def known(self, key: RowKey) -> tuple[object] | None:
        """What the reader answers without reading."""
        owner = Organization(key.organization, "any", ())
        try:
            match key:
                case HostKey():
                    return (self.reader.organization(key.host),)
                case UserKey():
                    return (self.reader.user(owner, key.name),)
                case RegistrationsKey():
                    return (self.reader.registrations(owner, key.sha256),)
                case TrustKey():
                    return ((frozenset((trust := self.reader.trust(owner)).known), trust.policy),)
        except NotLoaded:
            return None
        except Refused as refusal:
            return (refusal.reason,)

    def teardown(self) -> None:
        """Close everything."""
        self.loop.run_until_complete(self.reader.close())
        self.loop.close()
        self.folder.cleanup()


def seen(value: object) -> object:
    """A row as `DirectoryMachine.known` gives it."""
    if hasattr(value, "anchors"):
        ders = frozenset(one.der for one in (*value.anchors, *value.intermediates))
        return (ders, value.policy) if value.anchors else "trust_anchors_missing"
    return value.reason if isinstance(value, Refused) else value


@pytest.mark.fuzz
def test_nothing_that_changed_is_remembered() -> None:
    """Inserted, replaced, moved, renumbered, cascaded, restored: a missed drop would be a false accept."""
    count = int(os.environ.get("FUZZ", "1"))
    profile = settings(
        max_examples=100 * count,
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(DirectoryMachine, settings=profile)
