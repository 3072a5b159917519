"""A reader's memory beside any SQL, copies and restores: after each poll it has nothing that a new reader would not."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Hashable
from functools import cache
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from support.certificates import Authority
from support.postgresql import end_connections, new_database, server

from authz.directory import DirectoryReader
from authz.directory.keys import HostKey, RegistrationsKey, RowKey, TrustKey, UserKey
from authz.directory.row_log import State
from authz.directory.session import Session
from authz.directory.sqlite.migrate import migrate
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
    "UPDATE {or} registrations SET kind = '{kind}', spki_sha256 = x'0{n}', identity = 'dns:a', anchor_sha256 = x'0{n}' "
    "WHERE id = {n}",
    "UPDATE registrations SET tbs_sha256 = x'0{n}' WHERE id = {n}",
    "UPDATE organizations SET binding_kinds = '{kind}', revision = (SELECT revision + {bit} FROM directory_state)",
    "UPDATE registrations SET sha256 = CAST(sha256 AS TEXT) WHERE id = {n}",
    "DELETE FROM registrations WHERE user_id = {n}",
    f"INSERT {{or}} INTO {{table}} {CERTIFICATES} VALUES ({{n}}, {{n}}, x'0{{n}}', :root{{n}})",
    f"INSERT {{or}} INTO {{table}} {CERTIFICATES} VALUES ({{n}}, NULL, x'0{{n}}', :root{{n}})",
    "UPDATE {or} {table} SET id = {n}, organization_id = {n} WHERE id = {n}",
    "UPDATE {or} {table} SET sha256 = x'0{n}', organization_id = NULL WHERE id = {n}",
    "DELETE FROM {table} WHERE id = {n}",
    "DELETE FROM directory_changes WHERE revision % 3 = {bit}",
    "UPDATE directory_state SET revision = revision + {n}",
    "PRAGMA wal_checkpoint(TRUNCATE)",
)
POSTGRESQL_EDITS = (
    "INSERT INTO users VALUES ({n}, {n}, 'u{n}', 'off', {flag}) ON CONFLICT DO NOTHING",
    "INSERT INTO users (organization_id, name, enforcement, active) VALUES ({n}, 'u{n}', '{mode}', {flag})",
    "INSERT INTO users VALUES ({n}, {n}, 'u{n}', 'off', {flag}) ON CONFLICT (id) DO UPDATE SET organization_id = {n}",
    "INSERT INTO users SELECT {n} + n, {n}, 'u' || n, 'off', {flag} FROM generate_series(1, 3) AS n "
    "ON CONFLICT (organization_id, name) DO UPDATE SET active = {flag}, id = {n}",
    "UPDATE users SET id = {n} WHERE id = {n}",
    "UPDATE users SET name = 'u{n}', organization_id = {n} WHERE id = {n}",
    "UPDATE users SET active = {flag}, enforcement = '{mode}' WHERE organization_id = {n}",
    "DELETE FROM users WHERE id = {n}",
    "WITH gone AS (DELETE FROM users WHERE id = {n}) UPDATE users SET active = NOT active WHERE id = {n}",
    "WITH come AS (INSERT INTO users VALUES ({n}, {n}, 'u{n}', 'off', {flag}) ON CONFLICT DO NOTHING) "
    "UPDATE hosts SET organization_id = {n} WHERE host = '{host}'",
    "MERGE INTO users USING (VALUES ({n}), ({n} + 10)) AS new (id) ON users.id = new.id "
    "WHEN MATCHED AND active THEN DELETE WHEN MATCHED THEN UPDATE SET active = NOT active "
    "WHEN NOT MATCHED THEN INSERT VALUES (new.id, {n}, 'u{n}', 'off', {flag})",
    "TRUNCATE users CASCADE",
    f"INSERT INTO {ORGANIZATION} VALUES ({{n}}, 'o{{n}}', {{flag}}, 'user', 'off', 'sub') "
    "ON CONFLICT (name) DO UPDATE SET active = {flag}",
    "UPDATE organizations SET id = {n} + 10 WHERE id = {n}",
    "UPDATE organizations SET name = 'o{n}' WHERE id = {n}",
    "UPDATE organizations SET token_type = 't{n}', revision = revision + {n} WHERE id = {n}",
    "UPDATE organizations SET active = NOT active, trust_revision = trust_revision + 1",
    "UPDATE organizations SET binding_kinds = '{kind}', revision = (SELECT revision + {n} FROM directory_state)",
    "UPDATE organizations SET path_{flags}",
    "UPDATE organizations SET token_audience_claim = 't{n}' WHERE id = {n}",
    "DELETE FROM organizations WHERE id = {n}",
    "TRUNCATE organizations CASCADE",
    "INSERT INTO hosts VALUES ('{host}', {n}) ON CONFLICT (host) DO UPDATE SET organization_id = {n}",
    "UPDATE hosts SET host = '{host}' WHERE organization_id = {n}",
    "UPDATE hosts SET organization_id = {n} WHERE host = '{host}'",
    "DELETE FROM hosts WHERE host = '{host}'",
    f"INSERT INTO {REGISTRATION} VALUES ({{n}}, {{n}}, {{n}}, x'0{{n}}', x'', x'', '{{n}}', 0)",
    "UPDATE registrations SET id = {n}, sha256 = x'0{n}' WHERE id = {n}",
    "UPDATE registrations SET organization_id = {n}, user_id = {n} WHERE sha256 = x'0{n}'",
    "UPDATE registrations SET kind = '{kind}', spki_sha256 = x'0{n}', identity = 'dns:a', anchor_sha256 = x'0{n}' "
    "WHERE id = {n}",
    "UPDATE registrations SET retired_at = NULLIF({n}, 2) WHERE organization_id = {n}",
    "DELETE FROM registrations WHERE user_id = {n}",
    f"INSERT INTO {{table}} {CERTIFICATES} VALUES ({{n}}, {{n}}, x'0{{n}}', :root{{n}}) "
    "ON CONFLICT (id) DO UPDATE SET organization_id = {n}, der = :root{n}",
    f"INSERT INTO {{table}} {CERTIFICATES} VALUES ({{n}}, NULL, x'0{{n}}', :root{{n}})",
    "UPDATE {table} SET id = {n}, organization_id = {n} WHERE id = {n}",
    "UPDATE {table} SET sha256 = x'0{n}', organization_id = NULL WHERE id = {n}",
    "DELETE FROM {table} WHERE id = {n}",
    "TRUNCATE {table}",
    "DELETE FROM directory_changes WHERE mod(revision, 3) = {n} - 1",
    "UPDATE directory_state SET revision = revision + {n}",
)
WORDS = {
    "flags": ("min_rsa_bits = {n}072", "explicit_policy = {flag}", "policies = '1.2.{n}'", "purpose = '1.3.{n}'"),
    "flag": ("true", "false"),
    "setting": ("min_rsa_bits = {n}072", "explicit_policy = {bit}", "policies = '1.2.{n}'", "purpose = '1.3.{n}'"),
    "or": ("OR REPLACE", "OR REPLACE", "OR IGNORE", ""),
    "bit": ("0", "1"),
    "host": HOSTS,
    "kind": ("certificate", "key", "identity"),
    "mode": ("off", "required"),
    "table": ("anchors", "intermediates"),
    "n": ("1", "2", "3"),
}


def first(number: int) -> tuple[str, ...]:
    """One row of each kind, for there is more to displace then."""
    return (
        f"INSERT INTO {ORGANIZATION} VALUES ({number}, 'o{number}', true, 'user', 'off', 'sub')",
        f"INSERT INTO hosts (host, organization_id) VALUES ('{HOSTS[number - 1]}', {number})",
        f"INSERT INTO users VALUES ({number}, {number}, 'u{number}', 'off', true)",
        f"INSERT INTO {REGISTRATION} VALUES ({number}, {number}, {number}, x'0{number}', x'', x'', '', 0)",
        f"INSERT INTO anchors {CERTIFICATES} VALUES ({number}, {number}, x'0{number}', :root{number})",
    )


@st.composite
def statements(draw: st.DrawFn, edits: tuple[str, ...]) -> str:
    """One edit with its words, each place drawn on its own."""
    text = draw(st.sampled_from(edits))
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
    """A directory that is edited, and a reader beside it that remembers every row that there can be."""

    edits: tuple[str, ...]
    url: str

    def __init__(self) -> None:
        super().__init__()
        self.copies: list[str] = []
        self.loop = asyncio.new_event_loop()
        self.reader = DirectoryReader(self.url, Crls(), monotonic=lambda: 0.0, warn=lambda _: None)
        self.read(())
        self.edit([statement for number in IDS for statement in first(number)])
        self.poll()

    def read(self, keys: tuple[RowKey, ...] | list[RowKey]) -> None:
        """One reading, as the poller and checks do it."""
        self.loop.run_until_complete(self.reader._read(keys))

    def edit(self, lines: list[str], *, keys: bool = True, recursive: bool = False, commit: bool = True) -> None:
        """What a statement of a transaction that is refused changes is undone, the others count."""
        raise NotImplementedError

    @rule(
        data=st.data(),
        keys=st.booleans(),
        recursive=st.booleans(),
        commit=st.booleans(),
    )
    def change(self, data: st.DataObject, keys: bool, recursive: bool, commit: bool) -> None:
        """Any statements, in one transaction."""
        lines = data.draw(st.lists(statements(self.edits), min_size=1, max_size=6))
        self.edit(lines, keys=keys, recursive=recursive, commit=commit)

    @rule()
    def copy(self) -> None:
        """As a backup does."""
        raise NotImplementedError

    @precondition(lambda self: self.copies)
    @rule(number=st.integers(0, 9), moved=st.booleans())
    def restore(self, number: int, moved: bool) -> None:
        """Put a copy in the place of the directory."""
        raise NotImplementedError

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


class SqliteMachine(DirectoryMachine):
    """A file."""

    edits = EDITS

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.file = Path(self.folder.name, "a.db")
        self.url = f"sqlite:///{self.file}"
        shutil.copy(template(), self.file)
        super().__init__()

    def edit(self, lines: list[str], *, keys: bool = True, recursive: bool = False, commit: bool = True) -> None:
        """See `DirectoryMachine`."""
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

    @rule()
    def copy(self) -> None:
        """As `.backup` does."""
        self.copies.append(str(self.file.with_name(f"{len(self.copies)}.db")))
        self.duplicate(self.file, Path(self.copies[-1]))

    @precondition(lambda self: self.copies)
    @rule(number=st.integers(0, 9), moved=st.booleans())
    def restore(self, number: int, moved: bool) -> None:
        """As `.restore` does, or by another file in the place of this one."""
        source = Path(self.copies[number % len(self.copies)])
        self.duplicate(source, self.file.with_name("new.db") if moved else self.file)
        if moved:
            for end in ("-wal", "-shm"):
                self.file.with_name(self.file.name + end).unlink(missing_ok=True)
            self.file.with_name("new.db").replace(self.file)

    def duplicate(self, source: Path, target: Path) -> None:
        """Make one file's content the other's."""
        with contextlib.closing(sqlite3.connect(source)) as old, contextlib.closing(sqlite3.connect(target)) as new:
            old.backup(new)

    def teardown(self) -> None:
        """Close everything."""
        super().teardown()
        self.folder.cleanup()


class PostgresqlMachine(DirectoryMachine):
    """A database of the tests' server."""

    edits = POSTGRESQL_EDITS

    def __init__(self) -> None:
        self.name = new_database()
        self.url = server().url(self.name)
        super().__init__()

    def edit(self, lines: list[str], *, keys: bool = True, recursive: bool = False, commit: bool = True) -> None:
        """See `DirectoryMachine`."""
        roots = {f"root{number}": ROOTS[number - 1] for number in IDS}
        with contextlib.closing(psycopg.connect(self.url, autocommit=True)) as connection:
            connection.execute("BEGIN")
            for line in lines:
                text = re.sub(r"x'(\w*)'", r"'\\x\1'::bytea", line.format(bit="true", host=HOSTS[0], mode="off"))
                connection.execute("SAVEPOINT line")
                try:
                    connection.execute(re.sub(r":(root\d)", r"%(\1)s", text), roots)
                except (psycopg.errors.IntegrityError, psycopg.errors.CardinalityViolation):
                    connection.execute("ROLLBACK TO line")
            connection.execute("COMMIT" if commit else "ROLLBACK")

    @rule()
    def copy(self) -> None:
        """A database whose template is this one, which nothing may use meanwhile."""
        self.copies.append(f"{self.name}_{len(self.copies)}")
        end_connections(self.name)
        server().administrator.execute(f"CREATE DATABASE {self.copies[-1]} TEMPLATE {self.name} STRATEGY FILE_COPY")
        self.lose()

    @precondition(lambda self: self.copies)
    @rule(number=st.integers(0, 9), moved=st.booleans())
    def restore(self, number: int, moved: bool) -> None:
        """Likewise; with a dump, or with the files themselves, is the same to a reader."""
        server().administrator.execute(f"DROP DATABASE {self.name} WITH (FORCE)")
        server().administrator.execute(f"CREATE DATABASE {self.name} TEMPLATE {self.copies[number % len(self.copies)]}")
        self.lose()

    def lose(self) -> None:
        """A reading that finds its connection cut fails, and the next one has another."""
        with contextlib.suppress(Refused):
            self.read(())

    def teardown(self) -> None:
        """Close everything."""
        super().teardown()
        for name in (self.name, *self.copies):
            server().administrator.execute(f"DROP DATABASE {name} WITH (FORCE)")


def seen(value: object) -> object:
    """A row as `DirectoryMachine.known` gives it."""
    if hasattr(value, "anchors"):
        ders = frozenset(one.der for one in (*value.anchors, *value.intermediates))
        return (ders, value.policy) if value.anchors else "trust_anchors_missing"
    return value.reason if isinstance(value, Refused) else value


@pytest.mark.fuzz
@pytest.mark.parametrize(("machine", "examples"), [(SqliteMachine, 100), (PostgresqlMachine, 5)])
def test_nothing_that_changed_is_remembered(machine: type[DirectoryMachine], examples: int) -> None:
    """Inserted, replaced, moved, renumbered, cascaded, restored: a missed drop would be a false accept."""
    if machine is PostgresqlMachine:
        server()
    count = int(os.environ.get("FUZZ", "1"))
    profile = settings(
        max_examples=examples * count,
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=profile)
