"""What the log says of changes made by the plain `sqlite3` shell, foreign keys off: what changed, and no more."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from support.directory import make_directory
from support.requirements import need

from authz.directory import row_log
from authz.directory.keys import (
    ChangedKey,
    CrlKey,
    HostKey,
    OrganizationKey,
    RegistrationsByKey,
    RegistrationsKey,
    TrustKey,
    UserKey,
    UsersKey,
)
from authz.directory.row_log import State
from authz.directory.session import Session
from authz.directory.sqlite.engine import open_engine
from authz.directory.sqlite.migrate import _upgrade, migrate

ORGANIZATION = "organizations (id, name, active, binding_scope, default_enforcement, token_user_claim)"
REGISTRATION = "registrations (id, organization_id, user_id, sha256, der, chain, label, created_at)"
CERTIFICATE = "(id, organization_id, sha256, der)"
TWO = [
    f"""
    INSERT INTO {ORGANIZATION} VALUES ({n}, 'o{n}', 1, 'user', 'off', 'sub');
    INSERT INTO hosts (rowid, host, organization_id) VALUES ({n}, 'h{n}', {n});
    INSERT INTO users VALUES ({n}, {n}, 'u{n}', 'off', 1);
    INSERT INTO {REGISTRATION} VALUES ({n}, {n}, {n}, x'0{n}', x'', x'', '', 0);
    INSERT INTO anchors {CERTIFICATE} VALUES ({n}, {n}, x'0{n}', x'');
    INSERT INTO crls (id, sha256, signer, der, added_at) VALUES ({n}, x'0{n}', x'', x'', 0);
    """
    for n in (1, 2)
]
USERS, LEAVES = {UserKey(1, "u1"), UserKey(2, "u2")}, {RegistrationsKey(1, b"\1"), RegistrationsKey(2, b"\2")}
LEAVES_OF_1 = {RegistrationsKey(1, b"\1")}
NAMED = "UPDATE registrations SET kind = 'identity', identity = 'dns:é', anchor_sha256 = x'01' WHERE id = 1"
HOSTS, ORGANIZATIONS = {HostKey("h1"), HostKey("h2")}, {OrganizationKey(1), OrganizationKey(2)}

# Statement, and what is logged of it.
CHANGES: list[tuple[str, set[ChangedKey]]] = [
    ("UPDATE users SET active = 0 WHERE id = 1", {UserKey(1, "u1")}),
    ("DELETE FROM users", USERS),
    ("UPDATE users SET organization_id = 2 WHERE id = 1", {UserKey(1, "u1"), UserKey(2, "u1")}),
    ("UPDATE users SET name = 'é' || char(0) WHERE id = 1", {UserKey(1, "u1"), UserKey(1, "é\0")}),
    ("INSERT OR REPLACE INTO users VALUES (1, 2, 'x', 'off', 1)", {UserKey(1, "u1"), UserKey(2, "x")}),
    ("INSERT OR REPLACE INTO users VALUES (9, 1, 'u1', 'off', 1)", {UserKey(1, "u1")}),
    ("REPLACE INTO users VALUES (1, 2, 'u2', 'off', 1)", USERS),
    ("UPDATE OR REPLACE users SET rowid = 1 WHERE id = 2", USERS),
    ("UPDATE OR REPLACE users SET oid = 3 - id", USERS),
    ("INSERT INTO users VALUES (1, 2, 'x', 'off', 1) ON CONFLICT DO UPDATE SET name = 'y'",
     {UserKey(1, "u1"), UserKey(1, "y")}),
    (f"REPLACE INTO {REGISTRATION} VALUES (1, 2, 2, x'09', x'', x'', '', 0)",
     {RegistrationsKey(1, b"\1"), RegistrationsKey(2, b"\t")}),
    ("UPDATE OR REPLACE registrations SET id = 1 WHERE id = 2", LEAVES),
    ("UPDATE registrations SET retired_at = 1", LEAVES),
    ("UPDATE registrations SET tbs_sha256 = x'07' WHERE id = 1", {*LEAVES_OF_1, RegistrationsByKey(1, "tbs", b"\x07")}),
    ("UPDATE registrations SET kind = 'key', spki_sha256 = x'08' WHERE id = 1",
     {*LEAVES_OF_1, RegistrationsByKey(1, "key", b"\x08")}),
    (f"{NAMED}; UPDATE registrations SET retired_at = 1 WHERE id = 1",
     {*LEAVES_OF_1, RegistrationsByKey(1, "identity", "dns:é".encode())}),
    (f"{NAMED}; REPLACE INTO registrations (id, organization_id, user_id, kind, label, created_at, identity, "
     "anchor_sha256) VALUES (9, 1, 1, 'identity', '', 0, 'dns:é', x'01')",
     {*LEAVES_OF_1, RegistrationsByKey(1, "identity", "dns:é".encode())}),
    ("REPLACE INTO hosts (rowid, host, organization_id) VALUES (1, 'h3', 2)", {HostKey("h1"), HostKey("h3")}),
    ("UPDATE OR REPLACE hosts SET rowid = 1 WHERE host = 'h2'", HOSTS),
    ("REPLACE INTO hosts VALUES ('h1', 2)", {HostKey("h1")}),
    ("INSERT INTO hosts VALUES (NULL, 1)", {HostKey("")}),
    ("UPDATE organizations SET active = 0 WHERE id = 1", {OrganizationKey(1)}),
    ("DELETE FROM anchors WHERE id = 1; UPDATE organizations SET active = 0 WHERE id = 1",
     {TrustKey(1), OrganizationKey(1)}),
    ("UPDATE organizations SET token_type = 'x', revision = revision + 1 WHERE id = 1", {OrganizationKey(1)}),
    ("UPDATE organizations SET binding_kinds = 'key', revision = (SELECT revision FROM directory_state) WHERE id = 1",
     {OrganizationKey(1)}),
    ("UPDATE organizations SET active = 0, revision = (SELECT revision FROM directory_state)", ORGANIZATIONS),
    ("UPDATE organizations SET active = 0, trust_revision = (SELECT revision + 1 FROM directory_state)", ORGANIZATIONS),
    (f"REPLACE INTO {ORGANIZATION} VALUES (3, 'o1', 1, 'user', 'off', 'sub')",
     {OrganizationKey(1), OrganizationKey(3)}),
    (f"REPLACE INTO {ORGANIZATION} VALUES (1, 'o2', 1, 'user', 'off', 'sub')", ORGANIZATIONS),
    ("UPDATE OR REPLACE organizations SET name = 'o1' WHERE id = 2", ORGANIZATIONS),
    ("UPDATE OR REPLACE organizations SET rowid = 1 WHERE id = 2", ORGANIZATIONS),
    ("DELETE FROM organizations WHERE id = 1", {OrganizationKey(1)}),
    ("PRAGMA foreign_keys = ON; DELETE FROM organizations WHERE id = 1",
     {OrganizationKey(1), HostKey("h1"), UserKey(1, "u1"), RegistrationsKey(1, b"\1"), TrustKey(1)}),
    ("PRAGMA foreign_keys = ON; DELETE FROM users WHERE id = 1", {UserKey(1, "u1"), RegistrationsKey(1, b"\1")}),
    (f"PRAGMA foreign_keys = ON; REPLACE INTO {ORGANIZATION} VALUES (3, 'o1', 1, 'user', 'off', 'sub')",
     {OrganizationKey(1), OrganizationKey(3), HostKey("h1"), UserKey(1, "u1"), RegistrationsKey(1, b"\1"),
      TrustKey(1)}),
    ("UPDATE anchors SET organization_id = NULL WHERE id = 1", {TrustKey(1), TrustKey(0)}),
    (f"REPLACE INTO anchors {CERTIFICATE} VALUES (1, 2, x'09', x'')", {TrustKey(1), TrustKey(2)}),
    ("UPDATE OR REPLACE anchors SET id = 1 WHERE id = 2", {TrustKey(1), TrustKey(2)}),
    ("DELETE FROM anchors WHERE id = 1", {TrustKey(1)}),
    (f"INSERT INTO intermediates {CERTIFICATE} VALUES (1, 1, x'', x'')", {TrustKey(1)}),
    ("DELETE FROM crls WHERE id = 1", {CrlKey(b"\1")}),
    ("UPDATE decisions SET detail = ''", set()),
    ("INSERT INTO users VALUES (9, 1, 'new', 'off', 1); DELETE FROM users WHERE id = 9", {UserKey(1, "new")}),
    ("UPDATE users SET name = CAST(x'ff' AS TEXT) WHERE id = 1",
     {UserKey(1, "u1"), UserKey(1, "\N{REPLACEMENT CHARACTER}")}),
    ("UPDATE registrations SET sha256 = 'text' WHERE id = 1",
     {RegistrationsKey(1, b"\1"), RegistrationsKey(1, b"text")}),
    ("BEGIN; UPDATE users SET active = 0; ROLLBACK", set()),
]  # fmt: skip


class Scene:
    """A directory with two organizations, its shell, and what a reader knows of it."""

    def __init__(self, file: Path) -> None:
        self.file = file
        make_directory(file)
        self.shell(*TWO)
        self.session = Session(f"sqlite:///{file}")
        self.known = self.session.read(State()).state

    def shell(self, *words: str) -> None:
        """Have the plain `sqlite3` do each word, as an operator would."""
        need("sqlite3", found=shutil.which("sqlite3") is not None)
        command = ["sqlite3", "-init", "/dev/null", "-bail", str(self.file), ".timeout 5000", *words]
        subprocess.run(command, check=True, capture_output=True, timeout=60)

    def changed(self) -> object:
        """What the reader finds changed since."""
        return self.session.read(self.known).changed


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """A new one."""
    return Scene(tmp_path / "a.db")


@pytest.mark.slow
@pytest.mark.parametrize(("statement", "keys"), CHANGES, ids=[statement for statement, _ in CHANGES])
def test_every_row_that_changed_is_logged_and_no_other(scene: Scene, statement: str, keys: set[ChangedKey]) -> None:
    """Replaced by any unique key, moved (both keys), renumbered, and cascades: no trigger fires for some that go."""
    scene.shell(statement)
    assert set(scene.changed() or ()) == keys  # type: ignore[call-overload]


@pytest.mark.parametrize("statement", [change[0] for change in CHANGES[:9]])
def test_recursive_triggers_log_no_less(scene: Scene, statement: str) -> None:
    """With them a DELETE trigger fires for a row that is replaced, too."""
    scene.shell("PRAGMA recursive_triggers = ON", statement)
    assert set(scene.changed()) == dict(CHANGES)[statement]  # type: ignore[call-overload]


OF_KIND = "REPLACE INTO registrations (organization_id, user_id, kind, label, created_at, identity, anchor_sha256, "
NAME = RegistrationsByKey(1, "identity", b"dns:a")
KEY = RegistrationsByKey(1, "key", b"\x08")
TBS = RegistrationsByKey(1, "tbs", b"\x07")


@pytest.mark.parametrize(
    ("present", "statement", "keys"),
    [
        ("1, 1, 'identity', '', 0, 'dns:a', x'01', x'08', x'07', NULL",
         f"{OF_KIND} retired_at) VALUES (1, 1, 'identity', '', 0, 'dns:a', x'01', NULL)", {NAME, KEY, TBS}),
        ("1, 1, 'identity', '', 0, 'dns:a', x'01', x'08', x'07', NULL",
         f"{OF_KIND} retired_at) VALUES (1, 1, 'identity', '', 0, 'dns:a', x'01', 1)", {NAME}),
        ("1, 1, 'identity', '', 0, 'dns:a', x'01', x'08', x'07', NULL",
         "UPDATE OR REPLACE registrations SET organization_id = 1, kind = 'identity', identity = 'dns:a', "
         "anchor_sha256 = x'01' WHERE id = 2", {RegistrationsKey(2, b"\2"), NAME, KEY, TBS}),
        ("1, 1, 'key', '', 0, NULL, NULL, x'08', x'07', NULL",
         f"{OF_KIND} spki_sha256) VALUES (1, 1, 'key', '', 0, NULL, NULL, x'08')", {KEY, TBS}),
        ("1, 1, 'key', '', 0, NULL, NULL, x'08', x'07', NULL",
         f"{OF_KIND} spki_sha256) VALUES (1, 2, 'key', '', 0, NULL, NULL, x'08')", {KEY}),
        ("1, 1, 'key', '', 0, NULL, NULL, x'08', x'07', NULL",
         "UPDATE OR REPLACE registrations SET organization_id = 1, user_id = 1, kind = 'key', spki_sha256 = x'08' "
         "WHERE id = 2", {RegistrationsKey(2, b"\2"), KEY, TBS}),
    ],
)  # fmt: skip
def test_registration_that_another_displaces_by_its_key_or_name_is_logged_under_all_its_keys(
    scene: Scene, present: str, statement: str, keys: set[ChangedKey]
) -> None:
    """What is remembered under a key that the new row does not have would go on admitting the leaf."""
    scene.shell(f"{OF_KIND} spki_sha256, tbs_sha256, retired_at) VALUES ({present})")
    scene.known = scene.session.read(State()).state
    scene.shell(statement)
    assert scene.changed() == keys


NOTHING_SAID: dict[str, tuple[str, ...]] = {
    "a revision without a row": ("UPDATE directory_state SET revision = revision + 1",),
    "a row of the log removed": ("UPDATE users SET active = 0", "DELETE FROM directory_changes WHERE key = x'7531'"),
    "the log emptied": ("UPDATE users SET active = 0", "DELETE FROM directory_changes"),
    "a kind of a later version": (
        "PRAGMA ignore_check_constraints = ON", "UPDATE registrations SET kind = 'later' WHERE id = 1",
    ),
    "text for a key": ("UPDATE users SET active = 0", "UPDATE directory_changes SET key = 'u1' WHERE key = x'7531'"),
    "the state known before has another lineage": (
        "UPDATE directory_changes SET lineage = x'00'", "UPDATE users SET active = 0",
    ),
}  # fmt: skip


@pytest.mark.parametrize("words", NOTHING_SAID.values(), ids=NOTHING_SAID)
def test_log_that_does_not_say_all_says_nothing(scene: Scene, words: tuple[str, ...]) -> None:
    """Then everything is read anew."""
    scene.shell(*words)
    assert scene.changed() is None


def test_more_changes_than_are_read_are_those_of_their_organizations(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An import of ten thousand users leaves what is remembered of its neighbours."""
    monkeypatch.setattr(row_log, "MAX_CHANGES", 3)
    scene.shell("UPDATE users SET active = 0 WHERE id = 1")
    assert scene.changed() == {UserKey(1, "u1")}
    scene.shell("UPDATE users SET active = 1 WHERE id = 1", "UPDATE registrations SET retired_at = 1 WHERE id = 1")
    scene.shell("UPDATE users SET active = 0 WHERE id = 1", "DELETE FROM hosts WHERE host = 'h2'")
    assert scene.changed() == {UsersKey(1), HostKey("h2")}
    scene.shell("DELETE FROM users", "UPDATE organizations SET active = 0")
    assert scene.changed() is None


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "UPDATE directory_state SET revision = revision + 1"),
        ("", "UPDATE directory_state SET lineage = x'00'"),
        ("", "DELETE FROM directory_changes WHERE id = (SELECT max(id) - 2 FROM directory_changes)"),
        ("UPDATE directory_changes SET lineage = x'00'", ""),
    ],
)
def test_log_of_many_changes_that_does_not_say_all_says_nothing(
    scene: Scene, before: str, after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one of few."""
    monkeypatch.setattr(row_log, "MAX_CHANGES", 3)
    scene.shell(before, *["UPDATE users SET active = 0 WHERE id = 1"] * 6, after)
    assert scene.changed() is None


def test_column_that_a_later_version_adds_is_logged_by_itself(scene: Scene) -> None:
    """Triggers on organizations name no columns."""
    scene.shell(
        "ALTER TABLE organizations ADD COLUMN later VARCHAR", "UPDATE organizations SET later = 'x' WHERE id = 1"
    )
    assert scene.changed() == {OrganizationKey(1)}


def test_directory_whose_text_is_not_utf8_is_read_anew_after_every_change(scene: Scene, tmp_path: Path) -> None:
    """Its keys are logged in other bytes than checks ask for."""
    other = Scene.__new__(Scene)
    other.file = tmp_path / "utf16.db"
    scene.shell(f".output {tmp_path / 'dump.sql'}", ".dump")
    other.shell("PRAGMA encoding = 'UTF-16'", f".read {tmp_path / 'dump.sql'}")
    other.session = Session(f"sqlite:///{other.file}")
    other.known = other.session.read(State()).state
    other.shell("UPDATE users SET active = 0 WHERE id = 1")
    assert other.changed() is None


def test_directory_of_the_version_before_is_read_anew_once(tmp_path: Path) -> None:
    """What it logged has no keys."""
    file = tmp_path / "old.db"
    engine = open_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        _upgrade(connection, "0007")
    engine.dispose()
    scene = Scene.__new__(Scene)
    scene.file = file
    scene.shell(*TWO)
    scene.session = Session(f"sqlite:///{file}")
    scene.known = scene.session.read(State()).state
    scene.shell("UPDATE users SET active = 0")
    migrate(f"sqlite:///{file}")
    assert scene.changed() is None
