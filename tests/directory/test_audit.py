"""Entries of the audit log are numbered, chained, and cover every revision of their transaction."""

from __future__ import annotations

import json
import time
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.certificates import NOW
from support.decision_world import MemoryView

from authz.directory import DirectoryReader, Store
from authz.directory.audit import (
    BEGIN,
    NO_HASH,
    Audited,
    AuditEntry,
    AuditFilter,
    Author,
    append,
    canonical,
    checkpoint,
    covered,
    draft,
    get_entry,
    list_entries,
    prune,
    revision_for_change,
    walk,
)
from authz.errors import Problem, StoreError
from authz.model import Enforcement

AUTHOR = Author("local:7 test", "test", NOW)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abcxyz_", max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_canonical_json_is_that_of_rfc_8785(value: object) -> None:
    """No blanks, keys in order, the shortest escapes: written here character by character (section 3.2)."""
    assert canonical(value).decode() == reference(value)


def reference(value: object) -> str:
    """RFC 8785 section 3.2 for values without floats whose keys are ASCII."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{reference(key)}:{reference(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(reference, value)) + "]"
    if isinstance(value, str):
        return '"' + "".join(map(escaped, value)) + '"'
    return (
        {None: "null", True: "true", False: "false"}[value]
        if value is None or (value in (True, False) and isinstance(value, bool))
        else str(value)
    )  # type: ignore[index]


def escaped(character: str) -> str:
    """Section 3.2.2.2."""
    short = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", '"': '\\"', "\\": "\\\\"}
    return short.get(character) or (f"\\u{ord(character):04x}" if ord(character) < 0x20 else character)


def entries(store: Store) -> list[AuditEntry]:
    """All of them, the oldest first."""
    with store.reading() as connection:
        return list(walk(connection))


def record(store: Store, *changes: Audited, users: int = 0, author: Author = AUTHOR) -> None:
    """Record changes in a transaction that adds so many users."""
    with store.transaction() as connection:
        before = revision_for_change(connection)
        for number in range(users):
            change_user(store, connection, number)
        append(connection, [draft(author, change, connection.dialect) for change in changes], before, author)


def change_user(store: Store, connection: object, number: int) -> None:
    """Change alice, which takes one revision."""
    enforcement = list(Enforcement)[number % 3]
    connection.exec_driver_sql(f"UPDATE users SET enforcement = '{enforcement}'")  # type: ignore[attr-defined]


def test_first_entry_covers_what_was_before_and_makes_logs_distinct(store: Store) -> None:
    """It begins at revision 0, and holds a random number."""
    with store._reader.connect() as connection:
        revision = covered(connection)[1]
    record(store, Audited("add", "user bob", "acme", None, {"active": True}))
    first, second = entries(store)
    assert (first.id, first.action, first.revision_before, first.previous) == (1, BEGIN, 0, NO_HASH)
    assert first.revision_after == second.revision_before == revision
    assert len(json.loads(first.after or "")["origin"]) == 32


def test_each_entry_is_chained_to_the_one_before(store: Store) -> None:
    """By its hash, which is over the whole entry."""
    record(store, Audited("add", "user a", "acme"), Audited("add", "user b", "acme"))
    record(store, Audited("remove", "user a", "acme", {"active": True}))
    every = entries(store)
    assert [entry.previous for entry in every] == [NO_HASH, *(entry.hash for entry in every[:-1])]
    assert all(entry.hash == entry.expected_hash for entry in every)
    assert [entry.id for entry in every] == [1, 2, 3, 4]


def test_first_entry_of_a_transaction_covers_all_its_revisions(store: Store) -> None:
    """The others begin where it ends."""
    record(store, Audited("a", "x"), Audited("b", "y"), users=3)
    _, first, second = entries(store)
    assert first.revision_after == first.revision_before + 3
    assert (second.revision_before, second.revision_after) == (first.revision_after, first.revision_after)


def test_transaction_that_fails_leaves_no_entry(store: Store) -> None:
    """Neither the change nor its entry."""

    def fail() -> None:
        with store.transaction() as connection:
            append(
                connection,
                [draft(AUTHOR, Audited("a", "x"), connection.dialect)],
                revision_for_change(connection),
                AUTHOR,
            )
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert entries(store) == []


@pytest.mark.parametrize("name", [name for name in AuditEntry.__slots__ if name != "hash"])
def test_hash_is_over_every_field(store: Store, name: str) -> None:
    """An entry with another value has another hash."""
    record(store, Audited("change", "user a", "acme", {"x": 1}, {"x": 2}), author=AUTHOR._replace(apply_id="7"))
    entry = entries(store)[-1]
    other = {
        "id": 99, "at": NOW + timedelta(microseconds=1), "revision_before": 77, "revision_after": 77,
        "previous": b"x" * 32, "before": "{}", "after": None,
    }.get(name, "other")  # fmt: skip
    values = {slot: getattr(entry, slot) for slot in AuditEntry.__slots__} | {name: other}
    assert AuditEntry(**values).expected_hash != entry.hash


def test_checkpoint_names_the_log_its_size_and_its_end(store: Store) -> None:
    """Nothing before the first entry."""
    with store.reading() as connection:
        assert checkpoint(connection) is None
    record(store, Audited("a", "x"))
    first, last = entries(store)
    with store.reading() as connection:
        state = checkpoint(connection)
    assert state is not None
    assert (state.origin, state.size, state.head) == (first.hash.hex(), 2, last.hash.hex())


def test_entries_are_found_by_what_they_are_about(store: Store) -> None:
    """Organization, actor, the beginning of an object, apply, moment, and those behind one."""
    record(store, Audited("add", "user alice", "acme"), Audited("add", "user al%", "b"))
    record(store, Audited("add", "crl 12"), author=Author("local:8", "apply", NOW + timedelta(days=1), "f00"))
    cases = {
        AuditFilter(organization="acme"): [2],
        AuditFilter(actor="local:8"): [4],
        AuditFilter(object="user al"): [3, 2],
        AuditFilter(object="user al%"): [3],
        AuditFilter(apply_id="f00"): [4],
        AuditFilter(since=NOW + timedelta(hours=1)): [4],
        AuditFilter(before=3): [2, 1],
    }
    for wanted, numbers in cases.items():
        with store.reading() as connection:
            assert [entry.id for entry in list_entries(connection, wanted)] == numbers


def test_entry_that_is_missing_is_an_error(store: Store) -> None:
    """By its number."""
    with store.reading() as connection, pytest.raises(StoreError) as caught:
        get_entry(connection, 5)
    assert caught.value.kind is Problem.AUDIT_ENTRY_UNKNOWN


def test_pruning_leaves_the_first_and_the_last(store: Store) -> None:
    """Whatever it is asked to remove; it returns number and hash of the last that went."""
    record(store, *(Audited("a", str(number)) for number in range(4)))
    every = entries(store)
    with store.transaction() as connection:
        pruned = prune(connection, 99)
    assert pruned == (3, 4, every[3].hash.hex())
    assert [entry.id for entry in entries(store)] == [1, 5]
    with store.transaction() as connection:
        assert prune(connection, 99) is None


async def test_service_reads_the_checkpoint(store: Store, url: str) -> None:
    """As the writer sees it, in the reader's thread; none before the first entry."""
    reader = DirectoryReader(url, MemoryView(), monotonic=time.monotonic, warn=print)
    assert await reader.audit_checkpoint() is None
    record(store, Audited("a", "x"))
    with store.reading() as connection:
        assert await reader.audit_checkpoint() == checkpoint(connection)
    await reader.close()
