"""A log that was changed, cut, reordered or written beside is not whole, and the verification says where."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.certificates import NOW
from support.directory import new_store

from authz.admin.audit import Unrecorded, Verified, listed, parse_checkpoint, prune_audit, verify
from authz.admin.audited_store import AuditedStore
from authz.admin.users import add_user
from authz.directory.audit import AuditEntry, AuditFilter, Checkpoint, checkpoint, walk
from authz.errors import ConfigError
from authz.model import Organization


def filled(path: Path, entries: int = 6) -> AuditedStore:
    """A directory whose log has so many entries behind the first, an hour apart."""
    store = new_store(f"sqlite:///{path / 'a.db'}", written(entries))
    store._now = lambda: NOW + timedelta(hours=entries - 1)  # type: ignore[misc]
    return store


@cache
def written(entries: int) -> Callable[[AuditedStore], None]:
    """What writes them."""

    def fill(store: AuditedStore) -> None:
        store.add_organization(Organization(0, "acme", ()))
        for number in range(entries):
            store._now = lambda number=number: NOW + timedelta(hours=number)  # type: ignore[misc]
            add_user(store, "acme", f"user {number}")

    return fill


@pytest.fixture
def log(tmp_path: Path) -> AuditedStore:
    """A log of seven entries."""
    return filled(tmp_path)


def sql(store: AuditedStore, statement: str, **values: object) -> None:
    """Change the file by hand."""
    with store.transaction() as connection:
        connection.exec_driver_sql(statement, values)


def set_back(store: AuditedStore) -> None:
    """Take away the newest user, its entry and its revision, for which a trigger goes, too."""
    sql(store, "DELETE FROM users WHERE id = (SELECT max(id) FROM users)")
    sql(store, "DELETE FROM audit WHERE id = (SELECT max(id) FROM audit)")
    with store.reading() as connection:
        query = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND sql LIKE '%only rise%'"
        triggers = connection.exec_driver_sql(query).scalars().all()
    for trigger in triggers:
        sql(store, f"DROP TRIGGER {trigger}")
    sql(store, "UPDATE directory_state SET revision = (SELECT max(revision_after) FROM audit)")
    sql(store, "DELETE FROM directory_changes WHERE revision > (SELECT revision FROM directory_state)")


def present(store: AuditedStore) -> Checkpoint:
    """The checkpoint now."""
    with store.reading() as connection:
        state = checkpoint(connection)
    assert state is not None
    return state


def test_log_that_nothing_touched_is_sound(log: AuditedStore) -> None:
    """And its checkpoint is its end."""
    assert verify(log) == Verified(7, present(log), [])
    assert verify(log, present(log)).problems == []


def test_directory_without_a_log_is_sound(tmp_path: Path) -> None:
    """Nothing was changed by a command yet."""
    assert verify(filled(tmp_path, 0)) == Verified(0, None, [])


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("UPDATE audit SET actor = 'local:1' WHERE id = 4", "entry 4 is not as it was written"),
        ("UPDATE audit SET after = NULL WHERE id = 4", "entry 4 is not as it was written"),
        ("UPDATE audit SET action = 'prune', after = '{' WHERE id = 4", "entry 4 is not as it was written"),
        ("UPDATE audit SET at = at + 1 WHERE id = 1", "entry 1 is not as it was written"),
        ("UPDATE audit SET hash = zeroblob(32) WHERE id = 4", "entry 5 does not follow the entry before it"),
        ("DELETE FROM audit WHERE id = 4", "entries 4 to 4 are missing"),
        ("DELETE FROM audit WHERE id IN (2, 3)", "entries 2 to 3 are missing, and no entry says that they were pruned"),
        ("DELETE FROM audit WHERE id < 3", "entries 1 to 2 are missing"),
        ("UPDATE users SET active = 0 WHERE name = 'user 1'", "changed the directory without an entry"),
        ("DELETE FROM audit WHERE id > 5", "changed the directory without an entry"),
    ],
)
def test_change_by_hand_is_reported(log: AuditedStore, statement: str, problem: str) -> None:
    """Of the log itself, or of the directory beside it."""
    sql(log, statement)
    assert any(problem in found for found in verify(log).problems), verify(log).problems


@pytest.mark.parametrize(
    "change",
    [
        "at = 'x'", "at = 1 << 62", "actor = x'ff'", "actor = CAST(x'ff' AS TEXT)", "via = 'ü' || x'00'",
        "previous = 'x'", "hash = 'x'", "revision_before = 'x'", "revision_after = 1.5", "after = CAST(x'ff' AS TEXT)",
        "actor = CAST(actor AS BLOB)", "after = CAST(after AS BLOB)",
    ],
)  # fmt: skip
@pytest.mark.parametrize("row", [4, 7])
def test_value_of_another_type_is_reported_and_stops_nothing(log: AuditedStore, change: str, row: int) -> None:
    """SQLite holds what was written by hand: the rest is still read, and the next change is recorded."""
    sql(log, f"UPDATE audit SET {change} WHERE id = {row}")
    problems = [problem for problem in verify(log).problems if f"entry {row} is not as it was written" in problem]
    assert len(problems) == 1
    with log.reading() as connection:
        assert sum(isinstance(each, AuditEntry) for each in listed(connection, AuditFilter())) == 7
    add_user(log, "acme", "later")
    assert verify(log).entries == 8


def test_byte_that_is_shown_as_the_one_before_it_is_reported(log: AuditedStore) -> None:
    """What is not UTF-8 is shown as U+FFFD, which a text may have, too."""
    add_user(log, "acme", "\ufffd")
    sql(log, "UPDATE audit SET object = CAST(x'7573657220ff' AS TEXT) WHERE id = 8")
    assert verify(log).problems == ["entry 8 is not as it was written"]


def test_entries_that_changed_places_are_reported(log: AuditedStore) -> None:
    """Each has a number that is a part of its hash."""
    for statement in ("UPDATE audit SET id = 99 WHERE id = 4", "UPDATE audit SET id = 4 WHERE id = 5"):
        sql(log, statement)
    sql(log, "UPDATE audit SET id = 5 WHERE id = 99")
    assert "entry 4 is not as it was written" in verify(log).problems


def test_end_that_was_cut_shows_against_a_checkpoint(log: AuditedStore) -> None:
    """Also when the revision was set back with it, so that the rest agrees with itself."""
    kept = present(log)
    set_back(log)
    assert verify(log).problems == []
    assert verify(log, kept).problems == ["entries 7 to 7 are missing: the log ended later once"]


def test_end_that_was_written_anew_shows_against_a_checkpoint(log: AuditedStore) -> None:
    """As long as before, and chained rightly."""
    kept = present(log)
    set_back(log)
    add_user(log, "acme", "mallory")
    assert verify(log).problems == []
    assert verify(log, kept).problems == ["entry 7 is not the one that the checkpoint names"]


def test_log_that_was_begun_anew_shows_against_a_checkpoint(log: AuditedStore) -> None:
    """It has another origin."""
    kept = present(log)
    sql(log, "DELETE FROM audit")
    add_user(log, "acme", "mallory")
    assert verify(log).problems == []
    assert verify(log, kept).problems == ["the checkpoint is that of another log"]


@pytest.fixture(scope="module")
def kept_log(tmp_path_factory: pytest.TempPathFactory) -> AuditedStore:
    """A log whose changes are taken back."""
    return filled(tmp_path_factory.mktemp("log"))


COLUMNS = [name for name in AuditEntry.__slots__ if name != "id"]


@given(st.integers(1, 7), st.sampled_from(COLUMNS), st.integers(0, 2**16))
def test_any_value_that_is_changed_is_found(kept_log: AuditedStore, row: int, name: str, place: int) -> None:
    """In any entry, in any column, in any byte."""
    with kept_log.reading() as connection:
        former = connection.exec_driver_sql(f"SELECT {name} FROM audit WHERE id = {row}").scalar()
    sql(kept_log, f"UPDATE audit SET {name} = :value WHERE id = {row}", value=changed(former, place))
    assert verify(kept_log).problems != []
    sql(kept_log, f"UPDATE audit SET {name} = :value WHERE id = {row}", value=former)
    assert verify(kept_log).problems == []


def changed(former: object, place: int) -> object:
    """Another value of that type, in which one byte or one bit is another."""
    match former:
        case bytes():
            at = place % len(former)
            return former[:at] + bytes([former[at] ^ 1 << place % 8]) + former[at + 1 :]
        case str():
            at = place % len(former)
            return former[:at] + chr(ord(former[at]) ^ 1) + former[at + 1 :]
        case int():
            return former ^ 1 << place % 40
    return "x"


def test_pruned_log_is_sound_and_says_what_went(log: AuditedStore) -> None:
    """With the last hash that was removed; again and again."""
    for hours, left in ((2, [1, 4, 5, 6, 7, 8]), (4, [1, 6, 7, 8, 9])):
        assert prune_audit(log, before=NOW + timedelta(hours=hours)) == 2
        with log.reading() as connection:
            every = list(walk(connection))
        assert [entry.id for entry in every] == left
        assert verify(log).problems == []
        after = json.loads(every[-1].after or "")
        assert (every[-1].action, after["last"], after["hash"]) == ("prune", left[1] - 1, every[1].previous.hex())


def test_pruning_by_size_leaves_the_newest(log: AuditedStore) -> None:
    """What is beyond so many bytes goes, the oldest first."""
    with log.reading() as connection:
        sizes = [entry.size for entry in walk(connection)]
    assert prune_audit(log, max_bytes=sum(sizes[-2:])) == 4
    with log.reading() as connection:
        assert [entry.id for entry in walk(connection)] == [1, 6, 7, 8]
    assert prune_audit(log, max_bytes=10**6) == 0
    assert verify(log).problems == []


def test_more_than_was_pruned_cannot_be_removed(log: AuditedStore) -> None:
    """The entry says up to which hash."""
    prune_audit(log, before=NOW + timedelta(hours=2))
    sql(log, "DELETE FROM audit WHERE id = 4")
    assert verify(log).problems == ["entries 2 to 4 are missing, and no entry says that they were pruned"]


def test_checkpoint_from_before_a_pruning_still_holds(log: AuditedStore) -> None:
    """Where its entry went with the last that was removed, that hash is compared."""
    kept = present(log)
    add_user(log, "acme", "late")
    prune_audit(log, before=NOW + timedelta(hours=99))
    assert verify(log, kept).problems == []


def test_checkpoint_whose_entry_was_pruned_with_later_ones_proves_nothing(log: AuditedStore) -> None:
    """Else a pruning, or an entry that says so, would make every checkpoint from before it hold."""
    kept = present(log)
    for name in ("late", "later"):
        add_user(log, "acme", name)
    prune_audit(log, before=NOW + timedelta(hours=99))
    gone = "entry 7, which the checkpoint names, is gone: it says nothing of what is left"
    assert verify(log, kept).problems == [gone]
    assert verify(log, present(log)).problems == []


@pytest.mark.parametrize(
    "line",
    [
        lambda state: json.dumps(
            {"event": "audit_checkpoint", "origin": state.origin, "size": state.size, "head": state.head}
        ),
        lambda state: f"{state.origin} {state.size} {state.head}\n",
    ],
)
def test_checkpoint_is_read_as_the_log_has_it_or_bare(log: AuditedStore, line: Callable[[Checkpoint], str]) -> None:
    """Origin, size and head."""
    assert parse_checkpoint(line(present(log))) == present(log)


@pytest.mark.parametrize(
    "line", ["", "x", "[]", "{}", '{"origin": "a", "size": 1, "head": "b"}', "null", "1 2 3", "{" * 99]
)
def test_anything_else_is_no_checkpoint(line: str) -> None:
    """An error, not a log that is sound."""
    with pytest.raises(ConfigError, match="not a checkpoint"):
        parse_checkpoint(line)


def test_list_shows_where_something_changed_without_an_entry(log: AuditedStore) -> None:
    """Between two entries, and after the last; not where a filter leaves entries out."""
    sql(log, "UPDATE users SET active = 0 WHERE name = 'user 1'")
    add_user(log, "acme", "late")
    sql(log, "UPDATE users SET active = 1 WHERE name = 'user 1'")
    with log.reading() as connection:
        every = list(listed(connection, AuditFilter()))
        some = list(listed(connection, AuditFilter(organization="acme")))
    gaps = [(number, gap.before) for number, gap in enumerate(every) if isinstance(gap, Unrecorded)]
    assert gaps == [(0, None), (2, 8)]
    assert not any(isinstance(entry, Unrecorded) for entry in some)
