"""Registrations of an earlier version are read in steps, which an interruption leaves where they are."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from unittest.mock import Mock

import pytest
from support.certificates import NOW, Authority
from support.directory import DirectoryStore, new_store

from authz.directory.leaf_columns import read_columns
from authz.directory.sqlite import leaf_fill
from authz.directory.sqlite.engine import open_engine
from authz.directory.sqlite.leaf_fill import fill
from authz.directory.sqlite.migrate import _upgrade, migrate
from authz.directory.sqlite.version import has_unread_leaves
from authz.errors import StoreError
from authz.model import Organization
from authz.pki import Certificate, Crl

ROOT = Authority.root()
LEAVES = [ROOT.leaf(f"leaf {number}") for number in range(5)]
READ = "SELECT id, tbs_sha256, spki_sha256, issuer, serial, authority_key_id, chain_sha256 FROM registrations"


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of the version before with five registrations, the third of which cannot be read; batches of two."""
    monkeypatch.setattr(leaf_fill, "BATCH", 2)
    path = tmp_path / "old.db"
    engine = open_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        _upgrade(connection, "0010")
    engine.dispose()
    with closing(sqlite3.connect(path)) as connection, connection:
        columns = "(id, name, active, binding_scope, default_enforcement, token_user_claim)"
        connection.execute(f"INSERT INTO organizations {columns} VALUES (1, 'acme', 1, 'user', 'off', 'sub')")
        connection.execute("INSERT INTO users VALUES (1, 1, 'alice', 'off', 1)")
        columns = "(organization_id, user_id, sha256, der, chain, label, created_at)"
        for leaf in LEAVES:
            values = (leaf.sha256, "no DER" if leaf is LEAVES[2] else leaf.der, ROOT.der)
            connection.execute(f"INSERT INTO registrations {columns} VALUES (1, 1, ?, ?, ?, '', 0)", values)
        values = (Crl(ROOT.crl()).sha256, ROOT.crl())
        connection.execute("INSERT INTO crls (sha256, signer, der, added_at) VALUES (?, x'', ?, 0)", values)
        connection.execute("INSERT INTO crls (sha256, signer, der, added_at) VALUES (x'', x'', 'no DER', 0)")
    return path


def test_registrations_of_the_version_before_are_read(old: Path) -> None:
    """As those are that are added now; one that cannot be read keeps its digest alone."""
    done: list[int] = []
    migrate(f"sqlite:///{old}", done.append)
    assert done == [2, 4, 5]
    with closing(sqlite3.connect(old)) as connection:
        rows = {row[0]: row[1:] for row in connection.execute(READ)}
        issuers = connection.execute("SELECT issuer FROM crls ORDER BY id").fetchall()
    names = ("tbs_sha256", "spki_sha256", "issuer", "serial", "authority_key_id", "chain_sha256")
    ders = [b"no DER" if leaf is LEAVES[2] else leaf.der for leaf in LEAVES]
    expected = [read_columns(der, ROOT.der) for der in ders]
    assert rows == {number: tuple(row[name] for name in names) for number, row in enumerate(expected, 1)}
    assert issuers == [(ROOT.certificate.subject.public_bytes(),), (None,)]


def test_interrupted_reading_goes_on_where_it_was(old: Path) -> None:
    """Until it has ended no process opens the directory, for a certificate that was taken away might be let in."""
    with pytest.raises(KeyboardInterrupt):
        migrate(f"sqlite:///{old}", Mock(side_effect=KeyboardInterrupt))
    assert has_unread_leaves(old)
    with pytest.raises(StoreError, match="interrupted") as caught:
        DirectoryStore(f"sqlite:///{old}")
    assert "authz db upgrade" in caught.value.hint
    with closing(sqlite3.connect(old)) as connection:
        assert [row[0] for row in connection.execute(READ) if row[1] is not None] == [1, 2]
    done: list[int] = []
    migrate(f"sqlite:///{old}", done.append)
    assert done == [2, 3]
    assert not has_unread_leaves(old)
    DirectoryStore(f"sqlite:///{old}").close()


def test_directory_that_was_read_is_not_read_again(old: Path) -> None:
    """And nothing of it is written."""
    migrate(f"sqlite:///{old}")
    with closing(sqlite3.connect(old)) as connection:
        before = connection.execute("SELECT revision, lineage FROM directory_state").fetchall()
        fill(f"sqlite:///{old}", Mock(side_effect=AssertionError))
        assert connection.execute("SELECT revision, lineage FROM directory_state").fetchall() == before


def test_registration_that_is_added_is_read_at_once(tmp_path: Path) -> None:
    """A new directory has nothing to be read."""
    url = f"sqlite:///{tmp_path / 'new.db'}"
    with closing(new_store(url)) as store:
        store.add_organization(Organization(0, "acme", ()))
        store.add_user("acme", "alice")
        store.register("acme", "alice", Certificate.parse(LEAVES[0].der), [Certificate.parse(ROOT.der)], now=NOW)
    with closing(sqlite3.connect(tmp_path / "new.db")) as connection:
        (row,) = connection.execute(READ)
    assert None not in row


def test_directory_that_cannot_be_written_says_so(old: Path) -> None:
    """As for any other verb."""
    migrate(f"sqlite:///{old}")
    with closing(sqlite3.connect(old)) as connection, connection:
        connection.execute("DROP TABLE crls")
    with pytest.raises(StoreError):
        fill(f"sqlite:///{old}")
