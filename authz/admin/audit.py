"""Whether the audit log is whole: nothing in it changed, removed or reordered, and nothing changed beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import orjson
import sqlalchemy as sa

from authz.admin.audited_store import AuditedStore
from authz.directory import Store
from authz.directory.audit import (
    NO_HASH,
    PRUNE,
    AuditEntry,
    AuditFilter,
    Checkpoint,
    checkpoint,
    covered,
    list_entries,
    prune,
    walk,
)
from authz.errors import ConfigError

CHECKPOINT_EVENT: Final = "audit_checkpoint"
"""How the service's log names the line that has a checkpoint."""

_PLAIN: Final = re.compile(r"([0-9a-f]{64})[ :](\d{1,18})[ :]([0-9a-f]{64})").fullmatch


@dataclass(slots=True)
class Verified:
    """What was read of the log, its last checkpoint, and what is wrong with it; sound if there is no problem."""

    entries: int = 0
    checkpoint: Checkpoint | None = None
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Unrecorded:
    """Revisions at which something changed without an entry, and the entry before which that was; None at the end."""

    first: int
    last: int
    before: int | None

    def __str__(self) -> str:
        where = "after the last entry" if self.before is None else f"before entry {self.before}"
        return f"revisions {self.first} to {self.last} changed the directory without an entry ({where})"


def parse_checkpoint(line: str) -> Checkpoint:
    """The checkpoint in a line of the service's log, or `ORIGIN SIZE HEAD` alone. Raises `ConfigError`."""
    text = line.strip()
    if match := _PLAIN(text):
        return Checkpoint(match[1], int(match[2]), match[3])
    try:
        fields = json.loads(text)
        state = Checkpoint(str(fields["origin"]), int(fields["size"]), str(fields["head"]))
        if _PLAIN(f"{state.origin} {state.size} {state.head}"):
            return state
    except (ValueError, KeyError, TypeError):
        pass
    hint = f"give the line with the event {CHECKPOINT_EVENT} of the service's log, or its origin, size and head"
    raise ConfigError("this is not a checkpoint of an audit log", hint=hint)


def verify(store: Store, expected: Checkpoint | None = None) -> Verified:
    """Read the whole log, and compare it with a checkpoint that was kept elsewhere. Raises `StoreError`."""
    with store.reading() as connection:
        chain = _Chain(expected)
        for entry in walk(connection):
            chain.add(entry)
        end, revision = covered(connection)
        problems = [*chain.problems, *chain.missing(), *chain.against_checkpoint()]
        if end != revision:
            problems.append(_beside(end, revision, None))
        return Verified(chain.count, checkpoint(connection), problems)


class _Chain:
    """The log as far as it was read."""

    def __init__(self, expected: Checkpoint | None) -> None:
        self._expected = expected
        self._first: AuditEntry | None = None
        self._last: AuditEntry | None = None
        self._gap: tuple[int, str] | None = None
        self._pruned: dict[int, str] = {}
        self._at_checkpoint: str | None = None
        self.count = 0
        self.problems: list[str] = []

    def add(self, entry: AuditEntry) -> None:
        """Compare the next entry with itself and with the one before it."""
        self.count += 1
        if entry.expected_hash != entry.hash:
            self.problems.append(f"entry {entry.id} is not as it was written")
        self._link(entry)
        if entry.action == PRUNE and entry.after is not None:
            self._remember(entry.after)
        if self._expected is not None and entry.id == self._expected.size:
            self._at_checkpoint = entry.hash.hex()
        self._first, self._last = self._first or entry, entry

    def _link(self, entry: AuditEntry) -> None:
        last = self._last
        number, digest, revision = (0, NO_HASH, 0) if last is None else (last.id, last.hash, last.revision_after)
        if entry.id == 1 + number:
            if entry.previous != digest:
                self.problems.append(f"entry {entry.id} does not follow the entry before it")
            if entry.revision_before != revision:
                self.problems.append(_beside(revision, entry.revision_before, entry.id))
        elif number == 1 and self._gap is None:
            self._gap = entry.id - 1, entry.previous.hex()
        else:
            self.problems.append(f"entries {number + 1} to {entry.id - 1} are missing")

    def _remember(self, after: str) -> None:
        """The last entry that a pruning removed, and its hash; what is no such object was reported by its hash."""
        try:
            value = orjson.loads(after)
        except ValueError:
            return
        if isinstance(value, dict) and isinstance(value.get("last"), int):
            self._pruned[value["last"]] = str(value.get("hash"))

    def missing(self) -> Iterator[str]:
        """Entries behind the first that are gone, unless a later entry has removed them up to this very hash."""
        if self._gap is not None and self._pruned.get(self._gap[0]) != self._gap[1]:
            yield f"entries 2 to {self._gap[0]} are missing, and no entry says that they were pruned"

    def against_checkpoint(self) -> Iterator[str]:
        """What the log has lost since the checkpoint."""
        expected = self._expected
        if expected is None:
            return
        if self._first is None or self._first.hash.hex() != expected.origin:
            yield "the checkpoint is that of another log"
        elif self._last is not None and self._last.id < expected.size:
            yield f"entries {self._last.id + 1} to {expected.size} are missing: the log ended later once"
        elif (kept := self._at_checkpoint or self._pruned.get(expected.size)) is None:
            yield f"entry {expected.size}, which the checkpoint names, is gone: it says nothing of what is left"
        elif kept != expected.head:
            yield f"entry {expected.size} is not the one that the checkpoint names"


def _beside(before: int, after: int, entry: int | None) -> str:
    if after < before:
        return f"the directory's revision went back from {before} to {after}"
    return str(Unrecorded(before + 1, after, entry))


def listed(connection: sa.Connection, wanted: AuditFilter) -> Iterator[AuditEntry | Unrecorded]:
    """The entries that a filter lets through, the newest first; where it lets all through, what changed without any."""
    newer: AuditEntry | None = None
    whole = wanted == AuditFilter(before=wanted.before)
    if whole and wanted.before is None:
        end, revision = covered(connection)
        if end < revision:
            yield Unrecorded(end + 1, revision, None)
    for entry in list_entries(connection, wanted):
        if whole and newer is not None and newer.id == entry.id + 1 and entry.revision_after < newer.revision_before:
            yield Unrecorded(entry.revision_after + 1, newer.revision_before, newer.id)
        yield entry
        newer = entry


def prune_audit(store: AuditedStore, *, before: datetime | None = None, max_bytes: int | None = None) -> int:
    """Remove the oldest entries: those before a moment, and those beyond so many bytes. Returns how many went.

    The first entry stays, and so does the last; what is removed is recorded with the last hash of it.
    """
    with store.change() as change:
        oldest = 0 if before is None else _last_before(change.connection, before)
        beyond = 0 if max_bytes is None else _last_beyond(change.connection, max_bytes)
        pruned = prune(change.connection, max(oldest, beyond))
        if pruned is None:
            return 0
        change.record(PRUNE, "audit log", after=pruned._asdict())
    return pruned.removed


def _last_before(connection: sa.Connection, moment: datetime) -> int:
    """The last of the oldest entries, all of which were written before a moment."""
    last = 0
    for entry in walk(connection):
        if entry.at >= moment:
            break
        last = entry.id
    return last


def _last_beyond(connection: sa.Connection, max_bytes: int) -> int:
    """The newest entry that does not fit into so many bytes, counted from the newest."""
    total = 0
    for entry in list_entries(connection):
        total += entry.size
        if total > max_bytes:
            return entry.id
    return 0
