"""The schema: made by the first process that comes, numbered by triggers, matching the tables in the code."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from support.directory import make_directory

from authz.directory.schema import BINDING_KINDS, metadata
from authz.directory.sqlite.engine import open_engine
from authz.directory.sqlite.migrate import _upgrade, migrate
from authz.directory.sqlite.migrations.versions import v0004_lineage
from authz.errors import ConfigError, StoreError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A migrated database."""
    path = tmp_path / "a.db"
    make_directory(path)
    return path


def test_schema_of_the_migrations_is_the_codes(file: Path) -> None:
    """No table or column of one is missing in the other."""
    engine = open_engine(f"sqlite:///{file}")
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()
    structural = {"add_table", "remove_table", "add_column", "remove_column"}
    assert [one for one in differences if isinstance(one, tuple) and one[0] in structural] == []


def test_migration_again_changes_nothing(file: Path) -> None:
    """The second start finds everything done."""
    before = schema_of(file)
    migrate(f"sqlite:///{file}")
    assert schema_of(file) == before


def schema_of(file: Path) -> list[tuple[str]]:
    """Every statement that made the schema."""
    with sqlite3.connect(file) as connection:
        found = connection.execute("SELECT sql FROM sqlite_master ORDER BY name").fetchall()
    connection.close()
    return found


def test_new_database_is_its_owners_alone(tmp_path: Path) -> None:
    """No other user reads who must show which certificate."""
    file = tmp_path / "new.db"
    migrate(f"sqlite:///{file}")
    assert file.stat().st_mode & 0o077 == 0


@pytest.mark.slow
def test_simultaneous_starts_all_succeed(tmp_path: Path) -> None:
    """Six processes at once: one migrates, the others wait."""
    url = f"sqlite:///{tmp_path / 'many.db'}"
    code = f"from authz.directory.sqlite.migrate import migrate; migrate({url!r})"
    started = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) for _ in range(6)]
    errors = [process.communicate(timeout=60)[1] for process in started]
    assert [process.returncode for process in started] == [0] * 6, errors


def test_migration_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """Half a schema is worse than none."""
    path = tmp_path / "half.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE crls (id INTEGER)")
    connection.close()
    with pytest.raises(StoreError):
        migrate(f"sqlite:///{path}")
    assert schema_of(path) == [("CREATE TABLE crls (id INTEGER)",)]


@pytest.mark.parametrize("content", [b"not a database at all, but long enough to be looked at" * 20])
def test_file_that_is_no_database_is_an_error(tmp_path: Path, content: bytes) -> None:
    """A clear sentence, and the file stays as it is."""
    path = tmp_path / "x.db"
    path.write_bytes(content)
    with pytest.raises(StoreError):
        migrate(f"sqlite:///{path}")
    assert path.read_bytes() == content


def test_database_of_a_later_version_is_an_error(file: Path) -> None:
    """An older program does not guess."""
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(StoreError):
        migrate(f"sqlite:///{file}")


@pytest.mark.parametrize(
    "url", ["postgresql://x/y", "sqlite://", "sqlite:///:memory:", "nonsense", "sqlite:////no/such/folder/a.db"]
)
def test_url_that_cannot_be_used_is_a_configuration_error(url: str) -> None:
    """With the way it is written."""
    with pytest.raises(ConfigError) as caught:
        migrate(url)
    assert caught.value.hint


CHANGES = [
    (
        "INSERT INTO organizations (name, active, binding_scope, default_enforcement, token_user_claim) "
        "VALUES ('z', 1, 'user', 'off', 'sub')",
        "organizations_revision", None,
    ),
    ("UPDATE organizations SET active = 0 WHERE id = 1", "organizations_revision", None),
    ("UPDATE organizations SET token_type = 'at+jwt' WHERE id = 1", "organizations_revision", None),
    ("UPDATE organizations SET token_audience_claim = 'azp' WHERE id = 1", "organizations_revision", None),
    ("UPDATE organizations SET binding_kinds = 'certificate key' WHERE id = 1", "organizations_revision", None),
    ("UPDATE organizations SET path_min_rsa_bits = 3072 WHERE id = 1", "organizations_revision", "trust_revision"),
    ("INSERT INTO hosts VALUES ('h', 1)", "organizations_revision", None),
    ("INSERT INTO users (organization_id, name, enforcement, active) VALUES (1, 'u', 'off', 1)", None, "revision"),
    ("UPDATE users SET active = 0", None, "revision"),
    ("DELETE FROM users", None, "revision"),
    ("INSERT INTO anchors (organization_id, sha256, der) VALUES (1, x'01', x'01')", "trust_revision", "trust_revision"),
    ("INSERT INTO anchors (organization_id, sha256, der) VALUES (NULL, x'01', x'01')", "trust_revision", None),
    (
        "INSERT INTO intermediates (organization_id, sha256, der) VALUES (1, x'01', x'01')",
        "trust_revision", "trust_revision",
    ),
    ("INSERT INTO crls (sha256, signer, der, added_at) VALUES (x'01', x'01', x'01', 0)", "crls_revision", None),
]  # fmt: skip


@pytest.mark.parametrize(("statement", "state", "organization"), CHANGES, ids=[one[0][:30] for one in CHANGES])
def test_every_change_is_numbered_by_the_database_itself(
    file: Path, statement: str, state: str | None, organization: str | None
) -> None:
    """No writer can forget it, not even one with a shell."""
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(CHANGES[0][0].replace("'z'", "'first'"))
        connection.execute("INSERT INTO users (organization_id, name, enforcement, active) VALUES (1, 'a', 'off', 1)")
        before = connection.execute("SELECT revision FROM directory_state").fetchone()[0]
        connection.execute(statement)
        after = connection.execute("SELECT revision FROM directory_state").fetchone()[0]
        assert after == before + 1
        if state:
            assert connection.execute(f"SELECT {state} FROM directory_state").fetchone()[0] == after
        if organization:
            assert connection.execute(f"SELECT {organization} FROM organizations WHERE id = 1").fetchone()[0] == after
    connection.close()


@pytest.mark.slow
@pytest.mark.parametrize("version", [f"{number:04}" for number in range(1, 11)])
def test_directory_of_an_earlier_version_is_brought_up_to_date(tmp_path: Path, version: str) -> None:
    """With everything in it, its triggers changed, and its state named."""
    path = of_version(tmp_path / "old.db", version)
    with sqlite3.connect(path) as connection:
        connection.execute(CHANGES[0][0])
        before = connection.execute("SELECT revision FROM directory_state").fetchone()[0]
    connection.close()
    migrate(f"sqlite:///{path}")
    fresh = tmp_path / "new.db"
    migrate(f"sqlite:///{fresh}")
    assert schema_of(path) == schema_of(fresh)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT name FROM organizations").fetchall() == [("z",)]
        revision, lineage = connection.execute("SELECT revision, lineage FROM directory_state").fetchone()
        newest = "SELECT revision, lineage FROM directory_changes ORDER BY id DESC LIMIT 1"
        assert connection.execute(newest).fetchone() == (revision, lineage)
        assert (revision >= before, len(lineage)) == (True, 16)
    connection.close()


def of_version(path: Path, version: str) -> Path:
    """A database as an earlier version left it."""
    engine = open_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        _upgrade(connection, version)
    engine.dispose()
    return path


def test_history_of_an_earlier_version_goes_to_the_organization_of_its_name(tmp_path: Path) -> None:
    """In its part of the room, with its weight; an organization that is gone takes its own along."""
    path = of_version(tmp_path / "old.db", "0003")
    columns = "decision_id, at, door, outcome, reason, detail, host, method, target, organization, user_name, subject"
    with sqlite3.connect(path) as connection:
        connection.execute(CHANGES[0][0])
        connection.execute("INSERT INTO presentations VALUES (1, x'01', zeroblob(9000)), (2, x'02', x'02')")
        for number, (organization, user, reason, presentation) in enumerate(
            (
                ("z", "u", "certificate_expired", 1),
                ("z", "v", "user_unknown", None),
                ("gone", "w", "other", 2),
                ("", "", "host", None),
            )
        ):
            values = (str(number), number, "d", "denied", reason, "", "", "", "", organization, user, "", presentation)
            marks = ", ".join("?" * len(values))
            connection.execute(f"INSERT INTO decisions ({columns}, presentation_id) VALUES ({marks})", values)
    connection.close()
    migrate(f"sqlite:///{path}")
    with sqlite3.connect(path) as connection:
        query = "SELECT decision_id, organization_id, proven, account, weight FROM decisions ORDER BY id"
        assert connection.execute(query).fetchall() == [
            ("0", 1, 1, "u", 3),
            ("1", 1, 0, "user_unknown", 1),
            ("3", None, 0, "host", 1),
        ]
        assert connection.execute("SELECT id FROM presentations").fetchall() == [(1,)]
    connection.close()


@pytest.mark.slow
def test_two_copies_brought_up_to_date_are_two_directories(tmp_path: Path) -> None:
    """A backup of an earlier version is not what its file became."""
    states = []
    for name in ("a.db", "b.db"):
        migrate(f"sqlite:///{of_version(tmp_path / name, '0003')}")
        with sqlite3.connect(tmp_path / name) as connection:
            states.append(connection.execute("SELECT revision, lineage FROM directory_state").fetchone())
        connection.close()
    assert states[0] != states[1]


ORGANIZATION = "organizations (id, name, active, binding_scope, default_enforcement, token_user_claim)"
REGISTRATION = "registrations (id, organization_id, user_id, sha256, der, chain, label, created_at)"
HIDDEN = [
    ("INSERT OR REPLACE INTO users VALUES (1, 2, 'x', 'off', 1)", {1, 2}),
    ("INSERT OR REPLACE INTO users VALUES (9, 1, 'u1', 'off', 1)", {1}),
    ("INSERT INTO users VALUES (1, 2, 'x', 'off', 1) ON CONFLICT (id) DO UPDATE SET organization_id = 2", {1, 2}),
    ("UPDATE OR REPLACE users SET id = 1 WHERE id = 2", {1, 2}),
    ("UPDATE OR REPLACE users SET rowid = 1 WHERE id = 2", {1, 2}),
    ("UPDATE OR REPLACE users SET _rowid_ = 3 - id, organization_id = 3 - organization_id", {1, 2}),
    ("UPDATE users SET organization_id = 2 WHERE id = 1", {1, 2}),
    (f"INSERT OR REPLACE INTO {REGISTRATION} VALUES (1, 2, 2, x'02', x'', x'', '', 0)", {1, 2}),
    ("UPDATE OR REPLACE registrations SET oid = 1 WHERE id = 2", {1, 2}),
    ("DELETE FROM registrations", {1, 2}),
    (f"INSERT OR REPLACE INTO {ORGANIZATION} VALUES (1, 'one', 1, 'user', 'off', 'sub')", {1}),
    (f"INSERT OR REPLACE INTO {ORGANIZATION} VALUES (1, 'two', 1, 'user', 'off', 'sub')", {1}),
    ("UPDATE OR REPLACE organizations SET id = 2 WHERE id = 1", {2}),
    ("UPDATE organizations SET rowid = 7 WHERE id = 1", {7}),
    (f"DELETE FROM organizations; INSERT INTO {ORGANIZATION} VALUES (1, 'new', 1, 'user', 'off', 'sub')", {1}),
    ("DELETE FROM users; DELETE FROM registrations", {1, 2}),
]


@pytest.mark.parametrize("recursive", ["OFF", "ON"])
@pytest.mark.parametrize("keys", ["OFF", "ON"])
@pytest.mark.parametrize(("statements", "touched"), HIDDEN, ids=[one[0][:45] for one in HIDDEN])
def test_row_that_goes_by_any_statement_numbers_whose_it_was(
    file: Path, statements: str, touched: set[int], keys: str, recursive: str
) -> None:
    """`OR REPLACE` fires no DELETE trigger, `SET rowid` no `UPDATE OF id`: with or without foreign keys."""
    connection = sqlite3.connect(file, isolation_level=None)
    for number, name in ((1, "one"), (2, "two")):
        values = f"VALUES ({number}, '{name}', 1, 'user', 'off', 'sub')"
        connection.execute(f"INSERT INTO {ORGANIZATION} {values}")
        connection.execute("INSERT INTO users VALUES (?1, ?1, ?2, 'off', 1)", (number, f"u{number}"))
        connection.execute(f"INSERT INTO {REGISTRATION} VALUES (?1, ?1, ?1, x'01', x'', x'', '', 0)", (number,))
    connection.execute(f"PRAGMA foreign_keys = {keys}")
    connection.execute(f"PRAGMA recursive_triggers = {recursive}")
    revision, lineage = connection.execute("SELECT revision, lineage FROM directory_state").fetchone()
    try:
        connection.executescript(statements)
    except sqlite3.IntegrityError:
        assert keys == "ON"  # an organization with users cannot be given another id
        return
    after = connection.execute("SELECT revision, lineage FROM directory_state").fetchone()
    assert after[0] > revision
    assert after[1] != lineage
    changed = connection.execute("SELECT id FROM organizations WHERE revision > ?", (revision,)).fetchall()
    assert touched <= {one for (one,) in changed}
    connection.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE directory_state SET revision = revision",
        "UPDATE directory_state SET revision = revision - 1",
        "DELETE FROM directory_state",
        "INSERT OR REPLACE INTO directory_state (id, revision) VALUES (1, 99)",
        "UPDATE organizations SET revision = 0",
        "UPDATE organizations SET trust_revision = -1",
    ],
)
def test_revision_that_would_be_used_again_is_refused(file: Path, statement: str) -> None:
    """Rows that are remembered under it would be good again."""
    with sqlite3.connect(file) as connection:
        connection.execute(CHANGES[0][0])
        with pytest.raises(sqlite3.IntegrityError, match="only rise"):
            connection.execute(statement)
    connection.close()


def test_log_of_states_is_bounded_by_age_and_number(file: Path) -> None:
    """Two of the oldest go with each change, but none that a stopped worker may still know; the newest stays."""
    change = "UPDATE crls SET added_at = added_at + 1"
    with sqlite3.connect(file) as connection:
        connection.execute(CHANGES[-1][0])
        count = "SELECT count(*) FROM directory_changes"
        for _ in range(20):
            connection.execute(change)
        held = connection.execute(count).fetchone()[0]
        connection.execute("UPDATE directory_changes SET at = at - 600 * 1000000")
        connection.execute(change)
        assert connection.execute(count).fetchone()[0] == held + 1
        connection.execute("UPDATE directory_changes SET at = 0")  # the clock was set forward
        for _ in range(held + 1):
            connection.execute(change)
        kept = connection.execute("SELECT revision FROM directory_changes ORDER BY id").fetchall()
        assert len(kept) == held + 1
        assert kept[-1] == connection.execute("SELECT revision FROM directory_state").fetchone()
        newest = "(SELECT max(id) FROM directory_changes)"
        later = f"UPDATE directory_changes SET at = 1 << 60, id = id - ? WHERE id < {newest}"  # and back
        connection.execute(later, (v0004_lineage.KEPT_CHANGES,))
        connection.execute(change)
        assert connection.execute(count).fetchone()[0] == held
    connection.close()


NEW_REGISTRATION = """
    INSERT INTO registrations (organization_id, user_id, kind, label, created_at, sha256, der, chain, spki_sha256,
        identity, anchor_sha256) VALUES (1, {user}, '{kind}', '', 0, {values})
"""
CERTIFICATE = "x'01', x'', x'', NULL, NULL, NULL"
KEY = "NULL, NULL, NULL, x'01', NULL, NULL"
IDENTITY = "NULL, NULL, NULL, NULL, 'dns:a', x'01'"


@pytest.fixture
def acme(file: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a directory with one organization and two users, foreign keys on."""
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(CHANGES[0][0])
        for name in ("alice", "bob"):
            columns = "organization_id, name, enforcement, active"
            connection.execute(f"INSERT INTO users ({columns}) VALUES (1, ?, 'off', 1)", (name,))
        yield connection


def register(connection: sqlite3.Connection, kind: str, values: str, user: int = 1) -> None:
    """Insert a registration of that kind."""
    connection.execute(NEW_REGISTRATION.format(kind=kind, values=values, user=user))


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("certificate", KEY),
        ("certificate", "x'01', x'', NULL, NULL, NULL, NULL"),
        ("certificate", "x'01', NULL, x'', NULL, NULL, NULL"),
        ("key", CERTIFICATE),
        ("identity", KEY),
        ("identity", "NULL, NULL, NULL, NULL, 'dns:a', NULL"),
        ("leaf", CERTIFICATE),
    ],
)
def test_registration_without_what_its_kind_compares_is_refused(
    acme: sqlite3.Connection, kind: str, values: str
) -> None:
    """A certificate has its digest, DER and chain; a key its digest; an identity its name and anchor."""
    with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
        register(acme, kind, values)


@pytest.mark.parametrize(("kind", "values", "others"), [("key", KEY, True), ("identity", IDENTITY, False)])
def test_key_and_identity_are_registered_once_until_they_are_retired(
    acme: sqlite3.Connection, kind: str, values: str, others: bool
) -> None:
    """Of a key each user may have one registration, of a name below an anchor one user."""
    register(acme, kind, values)
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
        register(acme, kind, values)
    if others:
        register(acme, kind, values, user=2)
    else:
        with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
            register(acme, kind, values, user=2)
    acme.execute("UPDATE registrations SET retired_at = 1")
    register(acme, kind, values, user=2)
    register(acme, "certificate", CERTIFICATE)
    register(acme, "certificate", CERTIFICATE)


def test_organization_allows_kinds_of_a_closed_list(acme: sqlite3.Connection) -> None:
    """Certificates alone, unless it says more; each set of kinds has one spelling."""
    assert acme.execute("SELECT binding_kinds FROM organizations").fetchall() == [("certificate",)]
    for kinds in BINDING_KINDS:
        acme.execute("UPDATE organizations SET binding_kinds = ?", (kinds,))
    for kinds in ("", "certificate,key", "key certificate", "certificate certificate", "leaf"):
        with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
            acme.execute("UPDATE organizations SET binding_kinds = ?", (kinds,))


def test_what_was_seen_is_kept_once_a_leaf_and_goes_with_its_user(acme: sqlite3.Connection) -> None:
    """And is no change that a reader hears of."""
    before = acme.execute("SELECT revision FROM directory_state").fetchone()
    columns = (
        "organization_id, user_id, sha256, first_seen, last_seen, not_after, issuer, spki_sha256, anchor_sha256, path, "
        "listener"
    )
    seen = f"INSERT INTO last_seen ({columns}) VALUES (1, ?, x'01', 0, 0, 0, x'', x'', x'', x'', 'a')"
    acme.execute(seen, (1,))
    acme.execute(seen, (2,))
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
        acme.execute(seen, (2,))
    assert acme.execute("SELECT matched, refused_by, refusals FROM last_seen").fetchall() == [("", "", 0)] * 2
    assert acme.execute("SELECT revision FROM directory_state").fetchone() == before
    acme.execute("DELETE FROM users WHERE id = 2")
    assert acme.execute("SELECT user_id FROM last_seen").fetchall() == [(1,)]
    acme.execute("DELETE FROM organizations")
    assert acme.execute("SELECT count(*) FROM last_seen").fetchall() == [(0,)]


def test_audit_of_an_organization_stays_when_it_goes(acme: sqlite3.Connection) -> None:
    """It names the organization, and refers to no row."""
    columns = "at, actor, via, action, object, organization, revision_before, revision_after, previous, hash"
    acme.execute(f"INSERT INTO audit ({columns}) VALUES (0, 'a', 'command', 'x', 'y', 'z', 0, 1, x'', x'')")
    acme.execute("DELETE FROM organizations")
    assert acme.execute("SELECT organization, before FROM audit").fetchall() == [("z", None)]


def test_registrations_of_the_version_before_keep_what_they_have(tmp_path: Path) -> None:
    """A leaf is a certificate from now on; no id that was used is used again, and a running reader reads anew."""
    path = of_version(tmp_path / "old.db", "0010")
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(CHANGES[0][0])
        connection.execute("INSERT INTO users VALUES (1, 1, 'u', 'off', 1)")
        for number in range(1, 4):
            values = f"VALUES ({number}, 1, 1, x'0{number}', x'0{number}', x'30', 'l', 4)"
            connection.execute(f"INSERT INTO {REGISTRATION} {values}")
        connection.execute("UPDATE registrations SET valid_from = 1, valid_until = 2, retired_at = 3 WHERE id = 1")
        connection.execute("DELETE FROM registrations WHERE id = 3")
        revision = connection.execute("SELECT revision FROM directory_state").fetchone()[0]
    migrate(f"sqlite:///{path}")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        columns = "id, kind, sha256, der, chain, label, valid_from, valid_until, retired_at, created_at"
        assert connection.execute(f"SELECT {columns} FROM registrations ORDER BY id").fetchall() == [
            (1, "certificate", b"\1", b"\1", b"0", "l", 1, 2, 3, 4),
            (2, "certificate", b"\2", b"\2", b"0", "l", None, None, None, 4),
        ]
        register(connection, "certificate", CERTIFICATE)
        assert connection.execute("SELECT max(id) FROM registrations").fetchone() == (4,)
        unnamed = "SELECT count(*) FROM directory_changes WHERE revision > ? AND kind IS NULL"
        assert connection.execute(unnamed, (revision,)).fetchone() == (1,)
