"""What each role may do, and what neither may: set a revision, write the log, switch a trigger off."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from support.certificates import NOW
from support.directory import DirectoryStore, execute
from support.postgresql import new_database, server

from authz.directory.databases import database_of
from authz.directory.postgresql.grants import READ, ROLES, WRITE
from authz.directory.schema import metadata
from authz.errors import StoreError
from authz.model import Organization

pytestmark = pytest.mark.slow


@pytest.fixture
def name() -> Iterator[str]:
    """A directory with the roles, a user of each and one of none."""
    made = new_database()
    database = database_of(server().url(made))
    assert database.grant() == list(ROLES)
    assert database.grant() == list(ROLES)
    for user, role in (("checks", READ), ("command", WRITE), ("nobody", None)):
        server().psql(f"CREATE ROLE {user} LOGIN {f'IN ROLE {role}' if role else ''}")
    yield made
    server().psql("DROP ROLE checks; DROP ROLE command; DROP ROLE nobody")


def url(name: str, user: str) -> str:
    """A user's."""
    return server().url(name, user)


ORGANIZATION = "organizations (name, active, binding_scope, default_enforcement, token_user_claim)"
INSERT = f"INSERT INTO {ORGANIZATION} VALUES ('a', true, 'user', 'off', 'sub')"
CLOSED = (
    "UPDATE directory_state SET revision = 99",
    "UPDATE directory_state SET lineage = x''",
    "DELETE FROM directory_state",
    "INSERT INTO directory_changes (revision, lineage, at) VALUES (1, x'', 0)",
    "DELETE FROM directory_changes",
    "UPDATE alembic_version SET version_num = '9999'",
    "TRUNCATE users CASCADE",
    "ALTER TABLE users DISABLE TRIGGER ALL",
    "DROP TRIGGER log_users_delete ON users",
    "CREATE OR REPLACE FUNCTION take_turn() RETURNS void LANGUAGE sql AS ''",
    "SELECT forget_changes(1000000)",
    "SET session_replication_role = replica",
    "CREATE TABLE public.directory_state_2 (id bigint)",
)


@pytest.mark.parametrize("statement", CLOSED)
@pytest.mark.parametrize("user", ["checks", "command", "nobody"])
def test_what_numbers_and_logs_changes_is_the_owners_alone(name: str, user: str, statement: str) -> None:
    """Whatever role it has."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        execute(url(name, user), statement)


def test_service_takes_numbers_of_its_own_tables_alone(name: str) -> None:
    """Else one that was taken over could use up those of registrations."""
    sequences = execute(url(name, "checks"), "SELECT relname FROM pg_class WHERE relkind = 'S'")
    query = "SELECT has_sequence_privilege('{}', 'USAGE')"
    usable = {
        sequence for (sequence,) in sequences if execute(url(name, "checks"), query.format(sequence)) == [(True,)]
    }
    assert usable == {"decisions_id_seq", "presentations_id_seq"}
    assert all(execute(url(name, "command"), query.format(sequence)) == [(True,)] for (sequence,) in sequences)


def test_service_reads_all_and_writes_what_has_no_revision(name: str) -> None:
    """It cannot register anything, though it be taken over."""
    assert execute(url(name, "checks"), *(f"SELECT * FROM {table}" for table in metadata.tables)) == []
    execute(url(name, "checks"), "INSERT INTO presentations (sha256, headers) VALUES (x'', x'')")
    execute(url(name, "checks"), "DELETE FROM presentations")
    for statement in (INSERT, "SELECT take_turn()", "DELETE FROM users", "INSERT INTO audit DEFAULT VALUES"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            execute(url(name, "checks"), statement)


def test_command_writes_by_the_triggers_alone(name: str) -> None:
    """Without any right to the state they number what it changes; the history it can read, and not change."""
    store = DirectoryStore(url(name, "command"))
    store.add_organization(Organization(0, "acme", ("acme.example.test",)))
    store.close()
    execute(url(name, "command"), INSERT)
    assert execute(url(name, "command"), "SELECT revision FROM directory_state") == [(3,)]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        execute(url(name, "command"), "DELETE FROM decisions")


def test_only_the_command_says_that_a_ca_counts_anew(name: str) -> None:
    """A service that was taken over cannot have a lower number taken."""
    execute(
        url(name, "checks"),
        "INSERT INTO crl_sources (location, kind, failures, outcome, detail) VALUES ('a', 'url', 0, '', '')",
    )
    store = DirectoryStore(url(name, "command"))
    store.renumber_source("a", NOW)
    store.renumber_source("a", NOW)
    store.close()
    for statement in ("INSERT INTO renumbered_sources VALUES ('b', 0)", "UPDATE renumbered_sources SET until = 0"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            execute(url(name, "checks"), statement)


def test_temporary_table_takes_no_triggers_place(name: str) -> None:
    """A function of the owner looks for its tables in the directory alone."""
    temporary = "CREATE TEMPORARY TABLE directory_state (id bigint, revision bigint, lineage bytea)"
    execute(url(name, "command"), temporary, INSERT)
    assert execute(url(name, "command"), "SELECT revision FROM directory_state") == [(1,)]


def test_error_of_a_role_says_whom_to_call_as(name: str) -> None:
    """With what was refused."""
    store = DirectoryStore(url(name, "checks"))
    with pytest.raises(StoreError, match="permission denied") as caught:
        store.add_organization(Organization(0, "acme", ()))
    store.close()
    assert WRITE in caught.value.hint
    with pytest.raises(StoreError, match="permission denied"):
        DirectoryStore(url(name, "nobody"))
