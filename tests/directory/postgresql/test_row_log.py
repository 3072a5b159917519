"""What the triggers of PostgreSQL log of changes made by the plain `psql`: what changed, and no more."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import psycopg
import pytest
from support.directory import execute, new_store
from support.postgresql import new_database, new_url, server

from authz.directory.keys import (
    ChangedKey,
    CrlKey,
    HostKey,
    OrganizationKey,
    RegistrationsByKey,
    RegistrationsKey,
    TrustKey,
    UserKey,
)
from authz.directory.row_log import State
from authz.directory.session import Session

pytestmark = pytest.mark.slow

ORGANIZATION = "organizations (id, name, active, binding_scope, default_enforcement, token_user_claim)"
REGISTRATION = "registrations (id, organization_id, user_id, sha256, der, chain, label, created_at)"
CERTIFICATE = "(id, organization_id, sha256, der)"
TWO = "".join(
    f"""
    INSERT INTO {ORGANIZATION} VALUES ({n}, 'o{n}', true, 'user', 'off', 'sub');
    INSERT INTO hosts VALUES ('h{n}', {n});
    INSERT INTO users VALUES ({n}, {n}, 'u{n}', 'off', true);
    INSERT INTO {REGISTRATION} VALUES ({n}, {n}, {n}, '\\x0{n}', '', '', '', 0);
    INSERT INTO anchors {CERTIFICATE} VALUES ({n}, {n}, '\\x0{n}', '');
    INSERT INTO crls (id, sha256, signer, der, added_at) VALUES ({n}, '\\x0{n}', '', '', 0);
    """
    for n in (1, 2)
)
USERS, LEAVES = {UserKey(1, "u1"), UserKey(2, "u2")}, {RegistrationsKey(1, b"\1"), RegistrationsKey(2, b"\2")}
HOSTS, ORGANIZATIONS = {HostKey("h1"), HostKey("h2")}, {OrganizationKey(1), OrganizationKey(2)}

# Statement, and what is logged of it.
CHANGES: list[tuple[str, set[ChangedKey]]] = [
    ("UPDATE users SET active = false WHERE id = 1", {UserKey(1, "u1")}),
    ("UPDATE users SET active = false WHERE id = 9", set()),
    ("DELETE FROM users", USERS | LEAVES),
    ("UPDATE users SET organization_id = 2 WHERE id = 1", {UserKey(1, "u1"), UserKey(2, "u1")}),
    ("UPDATE users SET name = 'é' WHERE id = 1", {UserKey(1, "u1"), UserKey(1, "é")}),
    ("INSERT INTO users VALUES (1, 2, 'x', 'off', true) ON CONFLICT (id) DO UPDATE SET name = 'y'",
     {UserKey(1, "u1"), UserKey(1, "y")}),
    ("INSERT INTO users VALUES (1, 2, 'x', 'off', true) ON CONFLICT DO NOTHING", set()),
    ("MERGE INTO users USING (VALUES (1), (9)) AS new (id) ON users.id = new.id WHEN MATCHED THEN DELETE "
     "WHEN NOT MATCHED THEN INSERT VALUES (9, 2, 'x', 'off', true)",
     {UserKey(1, "u1"), RegistrationsKey(1, b"\1"), UserKey(2, "x")}),
    ("WITH gone AS (DELETE FROM hosts WHERE host = 'h1') UPDATE users SET active = false WHERE id = 2",
     {HostKey("h1"), UserKey(2, "u2")}),
    ("COPY users FROM PROGRAM 'echo 9,1,x,off,t' (FORMAT csv)",
     {UserKey(1, "x")}),
    ("UPDATE registrations SET retired_at = 1", LEAVES),
    ("UPDATE registrations SET tbs_sha256 = '\\x07' WHERE id = 1",
     {RegistrationsKey(1, b"\1"), RegistrationsByKey(1, "tbs", b"\x07")}),
    (
        "UPDATE registrations SET spki_sha256 = '\\x08' WHERE id = 2",
        {RegistrationsKey(2, b"\2"), RegistrationsByKey(2, "key", b"\x08")},
    ),
    ("UPDATE registrations SET kind = 'key', spki_sha256 = '\\x08' WHERE id = 1",
     {RegistrationsKey(1, b"\1"), RegistrationsByKey(1, "key", b"\x08")}),
    ("UPDATE registrations SET kind = 'identity', identity = 'dns:é', anchor_sha256 = '' WHERE id = 1",
     {RegistrationsKey(1, b"\1"), RegistrationsByKey(1, "identity", "dns:é".encode())}),
    ("UPDATE hosts SET host = 'h3' WHERE host = 'h1'", {HostKey("h1"), HostKey("h3")}),
    ("UPDATE organizations SET active = false WHERE id = 1", {OrganizationKey(1)}),
    ("UPDATE organizations SET binding_kinds = 'certificate key' WHERE id = 1", {OrganizationKey(1)}),
    ("UPDATE organizations SET revision = 99, trust_revision = 99", set()),
    ("UPDATE organizations SET active = false, revision = 99 WHERE id = 1", {OrganizationKey(1)}),
    ("DELETE FROM organizations WHERE id = 1",
     {OrganizationKey(1), HostKey("h1"), UserKey(1, "u1"), RegistrationsKey(1, b"\1"), TrustKey(1)}),
    ("UPDATE anchors SET organization_id = NULL WHERE id = 1", {TrustKey(1), TrustKey(0)}),
    ("DELETE FROM anchors", {TrustKey(1), TrustKey(2)}),
    (f"INSERT INTO intermediates {CERTIFICATE} VALUES (1, 1, '', '')", {TrustKey(1)}),
    ("DELETE FROM crls WHERE id = 1", {CrlKey(b"\1")}),
    ("UPDATE decisions SET detail = ''", set()),
    ("ALTER TABLE organizations ADD COLUMN later varchar; UPDATE organizations SET later = 'x' WHERE id = 1",
     {OrganizationKey(1)}),
]  # fmt: skip


class Shell:
    """A directory with two organizations, `psql`, and what a reader knows of it."""

    def __init__(self) -> None:
        self.name = new_database()
        server().psql(TWO, self.name)
        self.session = Session(server().url(self.name))
        self.known = self.session.read(State()).state

    def changed(self) -> object:
        """What the reader finds changed since."""
        return self.session.read(self.known).changed


@pytest.fixture
def shell() -> Iterator[Shell]:
    """A new one."""
    made = Shell()
    yield made
    made.session.close()


@pytest.mark.parametrize(("statement", "keys"), CHANGES, ids=[statement for statement, _ in CHANGES])
def test_every_row_that_changed_is_logged_and_no_other(shell: Shell, statement: str, keys: set[ChangedKey]) -> None:
    """Moved (both keys), renamed, cascaded, merged, copied: in one row of the log each, as over SQLite."""
    server().psql(statement, shell.name)
    assert set(shell.changed() or ()) == keys  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "statement",
    [
        "TRUNCATE users CASCADE",
        "TRUNCATE anchors",
        "UPDATE directory_state SET revision = revision + 1",
        "UPDATE users SET active = false; DELETE FROM directory_changes WHERE kind = 'user'",
    ],
)
def test_log_that_does_not_say_all_says_nothing(shell: Shell, statement: str) -> None:
    """Then everything is read anew: TRUNCATE names no rows."""
    server().psql(statement, shell.name)
    assert shell.changed() is None


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE directory_state SET revision = revision - 1",
        "DELETE FROM directory_state",
        "TRUNCATE directory_state",
        "INSERT INTO directory_state (id) VALUES (1)",
    ],
)
def test_state_only_rises(shell: Shell, statement: str) -> None:
    """For the owner, too: a number that was used already would name another state."""
    with pytest.raises(psycopg.errors.RaiseException, match="only rise"):
        execute(server().url(shell.name), statement)


def test_lineage_is_another_with_each_change(shell: Shell) -> None:
    """Sixteen random bytes, also where the number was set by hand."""
    url, seen = server().url(shell.name), set()
    for statement in ("UPDATE users SET active = false", "UPDATE directory_state SET revision = revision + 1") * 2:
        [(lineage,)] = execute(url, statement, "SELECT lineage FROM directory_state")
        seen.add(lineage)
        assert len(lineage) == 16  # type: ignore[arg-type]
    assert len(seen) == 4


def test_log_shrinks_by_age_and_by_number(shell: Shell) -> None:
    """With each change some of the oldest go."""
    url = server().url(shell.name)
    execute(url, "UPDATE directory_changes SET at = 0")
    [(before,)] = execute(url, "SELECT count(*) FROM directory_changes")
    execute(url, "UPDATE users SET active = false WHERE id = 1")
    assert execute(url, "SELECT count(*) FROM directory_changes") == [(before - 1,)]  # type: ignore[operator]
    execute(url, "UPDATE directory_changes SET at = 2::bigint ^ 62")
    execute(url, "INSERT INTO directory_changes (id, revision, lineage, at) VALUES (200000, 0, '', 4e18)")
    execute(url, "UPDATE users SET active = false")
    assert execute(url, "SELECT min(id) FROM directory_changes") == [(7,)]


def test_statement_costs_one_revision_and_its_rows_no_time_of_each_other(shell: Shell) -> None:
    """Twenty thousand users at once: by the row it would be twenty thousand revisions."""
    url = server().url(shell.name)
    execute(url, "INSERT INTO users SELECT n, 1, 'n' || n, 'off', true FROM generate_series(3, 20000) AS n")
    [(revision,)] = execute(url, "SELECT revision FROM directory_state")
    assert revision == shell.known.revision + 1


def test_numbers_appear_in_the_order_of_commits() -> None:
    """Four writers and a reader that takes what is behind the last number: nothing is missed."""
    url = new_url()
    execute(url, f"INSERT INTO {ORGANIZATION} VALUES (1, 'o', true, 'user', 'off', 'sub')")
    store = new_store(url)

    def write(writer: int) -> None:
        for number in range(25):
            execute(
                url,
                "INSERT INTO users (organization_id, name, enforcement, active) "
                f"VALUES (1, 'u{writer}-{number}', 'off', true)",
            )

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    last, seen = 1, 0
    while any(thread.is_alive() for thread in threads) or seen < 100:
        new = execute(url, f"SELECT revision FROM directory_changes WHERE revision > {last} ORDER BY revision")
        seen += len(new)
        last = new[-1][0] if new else last  # type: ignore[assignment]
    assert (seen, last) == (100, 101)
    store.close()
