"""Names are what their bytes are, in every dialect: case, blanks, Unicode and NUL."""

from __future__ import annotations

import pytest
from support.directory import execute

from authz.directory import Store
from authz.directory.keys import HostKey, RowKey, UserKey
from authz.directory.row_log import State
from authz.directory.session import Session
from authz.errors import StoreError

ALIKE = ("a", "A", "á", "a\u0301", "ａ", "ª", "ß", "ss", "SS", "ı", "i", "I", "İ", "ab", "ﬁ", "fi", "a b", "a  b")  # noqa: RUF001
"""Each is another one's equal in some collation: of case, accents, width, compatibility, blanks, or none."""


def test_every_spelling_is_a_user_of_its_own(store: Store, url: str) -> None:
    """Written, found, listed in the order of its bytes, and logged."""
    session = Session(url)
    known = session.read(State()).state
    for name in ALIKE:
        store.add_user("acme", name)
    reading = session.read(known, [UserKey(1, name) for name in ALIKE])
    assert reading.changed == {UserKey(1, name) for name in ALIKE}
    found = [reading.found[UserKey(1, name)] for name in ALIKE]
    assert [user.name for user in found] == list(ALIKE)  # type: ignore[attr-defined]
    listed = [user.name for user in store.users("acme")]
    assert listed == sorted([*ALIKE, "alice"], key=str.encode)
    session.close()


@pytest.mark.parametrize("name", ["Alice", "ALICE", "alice ", " alice", "alice\0", "\0", "alice\u200b", "al\u00efce"])
def test_another_spelling_is_no_user(store: Store, url: str, name: str) -> None:
    """Nor any answer that the database cannot give: what was asked for beside it is read."""
    assert store.user("acme", "alice")
    session = Session(url)
    reading = session.read(State(), [UserKey(1, name), UserKey(1, "alice")])
    assert reading.found[UserKey(1, name)] is None
    assert reading.found[UserKey(1, "alice")] == store.user("acme", "alice")
    assert reading.failed == {}
    session.close()


@pytest.mark.parametrize("host", ["ACME.example.test", "acme.example.test.", "acme.example.test\0", "acme.example.tes"])
def test_another_spelling_is_no_host(store: Store, url: str, host: str) -> None:
    """A host is canonical before it is asked for."""
    session = Session(url)
    keys: list[RowKey] = [HostKey(host), HostKey("acme.example.test")]
    found = session.read(State(), keys).found
    assert found[keys[0]] is None
    assert found[keys[1]] is not None
    session.close()


@pytest.mark.parametrize("name", ["a\0", "\0", "a\nb", "\ud800"])
def test_name_that_no_header_can_carry_is_stored_nowhere(store: Store, name: str) -> None:
    """Before any database refuses it in its own way."""
    with pytest.raises(StoreError, match="cannot name a"):
        store.add_user("acme", name)


def test_order_of_a_list_is_that_of_bytes(store: Store, url: str) -> None:
    """So that a page goes on where the one before ended, whatever the server's locale."""
    for name in ("b", "A", "á", "_", "Z"):
        store.add_user("acme", name)
    names = [user.name for user in store.users("acme")]
    assert names == ["A", "Z", "_", "alice", "b", "á"]
    assert [user.name for user in store.users("acme", "Z")] == names[2:]
    assert execute(url, "SELECT count(*) FROM users") == [(6,)]
