"""The audit log: who changed what, when, and through what; each entry is chained to the one before by SHA-256.

An entry is written in the transaction of its change. Entries are numbered from 1 without a gap, and each begins at the
revision at which the one before ended: what changed the directory without an entry leaves a gap between revisions.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

import orjson
import sqlalchemy as sa

from authz.directory.bulk import bound, bulk
from authz.directory.queries import behind
from authz.directory.schema import audit, directory_state, moment_of
from authz.errors import Problem, StoreError

NO_HASH: Final = bytes(32)
"""What stands before the first entry."""

BEGIN: Final = "begin"
"""The action of entry 1. It covers all that changed before there was a log, and is never pruned."""

PRUNE: Final = "prune"
"""The action of an entry that has the number and hash of the last entry that was removed before it."""

Value = dict[str, Any] | bytes | None
"""How something was described before or after a change: texts, booleans, integers up to 2^53, lists, and objects.

Or the canonical JSON of such an object.
"""


@dataclass(frozen=True, slots=True)
class Audited:
    """What is recorded of one change: what was done to what; None before it was there, and after it is gone."""

    action: str
    object: str
    organization: str | None = None
    before: Value = None
    after: Value = None


class Author(NamedTuple):
    """Who changes something, through what, when; `apply_id` is what the entries of one apply have in common."""

    actor: str
    via: str
    at: datetime
    apply_id: str | None = None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """An entry as its row has it; `before` and `after` are canonical JSON."""

    id: int
    at: datetime
    actor: str
    via: str
    action: str
    object: str
    organization: str | None
    before: str | None
    after: str | None
    apply_id: str | None
    revision_before: int
    revision_after: int
    previous: bytes
    hash: bytes

    @property
    def size(self) -> int:
        """Bytes that the entry takes, about: its texts, two hashes, and 64 for numbers."""
        texts = (self.actor, self.via, self.action, self.object, self.organization, self.before, self.after)
        return 128 + sum(len(text.encode()) for text in texts if text)

    @property
    def expected_hash(self) -> bytes:
        """SHA-256 of the previous entry's hash and this entry's canonical JSON (RFC 8785)."""
        value = {name: getattr(self, name) for name in _HASHED}
        value["at"] = self.at.astimezone(UTC).isoformat(timespec="microseconds")
        value |= {name: _fragment(getattr(self, name)) for name in ("before", "after")}
        return hashlib.sha256(self.previous + canonical(value)).digest()


_HASHED: Final = (
    "id", "actor", "via", "action", "object", "organization", "apply_id", "revision_before", "revision_after",
)  # fmt: skip


def canonical(value: object) -> bytes:
    """Canonical JSON (RFC 8785) of a value without floats, whose keys are ASCII.

    For such a value it is what orjson writes: no blanks, keys in their order, the shortest escapes (section 3.2.2.2).
    """
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _fragment(text: str | None) -> object:
    return None if text is None else orjson.Fragment(text)


def _json(value: Value) -> bytes | None:
    return value if value is None or isinstance(value, bytes) else canonical(value)


class Head(NamedTuple):
    """The end of the log: the last entry's number and hash, and the revision that it covers."""

    id: int
    hash: bytes
    revision: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The size and the last hash of a log at some moment; `origin`, the hash of its first entry, says of which log."""

    origin: str
    size: int
    head: str


class Pruned(NamedTuple):
    """How many entries were removed, and number and hash of the last of them."""

    removed: int
    last: int
    hash: str


def revision_for_change(connection: sa.Connection) -> int:
    """The directory's revision, for a transaction that changes it: no other writer comes between, see `open_writer`."""
    return int(connection.execute(sa.select(directory_state.c.revision)).scalar_one())


class Draft(NamedTuple):
    """An entry before its place in the log is known: its typed columns, and its JSON around what is missing."""

    columns: dict[str, Any]
    json: tuple[bytes, bytes, bytes]


class _Common(NamedTuple):
    """What many entries have in common: typed columns, and their canonical JSON around what differs."""

    columns: dict[str, Any]
    action: bytes
    apply_id: bytes
    organization: bytes
    via: bytes


def draft(author: Author, change: Audited, dialect: sa.Dialect) -> Draft:
    """An entry as far as it can be made outside of the transaction of its change."""
    common = _common(author, change.action, change.organization, dialect)
    before, after = _json(change.before), _json(change.after)
    columns = {
        **common.columns,
        "object": change.object,
        "before": None if before is None else before.decode(),
        "after": None if after is None else after.decode(),
    }
    # The keys are in their order; between these parts stand the number of the entry and its revisions.
    first = b"%b%b%b%b" % (common.action, after or b"null", common.apply_id, before or b"null")
    middle = b"%b%b" % (canonical(change.object), common.organization)
    return Draft(columns, (first + b',"id":', b',"object":' + middle, common.via))


@lru_cache(1_024)
def _common(author: Author, action: str, organization: str | None, dialect: sa.Dialect) -> _Common:
    columns = {**author._asdict(), "action": action, "organization": organization}
    at = author.at.astimezone(UTC).isoformat(timespec="microseconds")
    texts = {name: canonical(value) for name, value in (columns | {"at": at}).items()}
    return _Common(
        bulk(_INSERT, dialect).typed(columns),
        b'{"action":%b,"actor":%b,"after":' % (texts["action"], texts["actor"]),
        b',"apply_id":%b,"at":%b,"before":' % (texts["apply_id"], texts["at"]),
        b',"organization":%b,"revision_after":' % texts["organization"],
        b',"via":%b}' % texts["via"],
    )


def append(connection: sa.Connection, drafts: Iterable[Draft], before: int, author: Author) -> None:
    """Record the changes of this transaction, which began at the revision `before`, in their order.

    The first of them covers all revisions of the transaction.
    """
    after = revision_for_change(connection)
    head, rows = _head(connection), []
    if head is None:
        begin = Audited(BEGIN, "audit log", after={"origin": secrets.token_hex(16)})
        first = draft(author._replace(apply_id=None), begin, connection.dialect)
        rows.append(_row(first, Head(0, NO_HASH, 0), before))
        head = Head(1, rows[0]["hash"], before)
    # What the log did not see is left between the revisions.
    head = head._replace(revision=before)
    for entry in drafts:
        rows.append(_row(entry, head, after))
        head = Head(rows[-1]["id"], rows[-1]["hash"], after)
    if rows:
        statement = bulk(_INSERT, connection.dialect)
        statement.execute(connection, statement.ordered(rows))


_INSERT: Final = sa.insert(audit).values(bound(audit, [column.name for column in audit.c]))


def _row(entry: Draft, head: Head, after: int) -> dict[str, Any]:
    """The row of the entry behind `head`."""
    first, middle, last = entry.json
    revisions = b'%d,"revision_before":%d' % (after, head.revision)
    digest = hashlib.sha256(head.hash + first + b"%d" % (head.id + 1) + middle + revisions + last).digest()
    return {
        **entry.columns,
        "id": head.id + 1,
        "revision_before": head.revision,
        "revision_after": after,
        "previous": head.hash,
        "hash": digest,
    }


def _head(connection: sa.Connection) -> Head | None:
    """The end of the log; of a last entry that was changed by hand as much as makes sense."""
    row = connection.execute(_stored(connection).order_by(audit.c.id.desc()).limit(1)).first()
    return None if row is None else Head(row.id, _entry(row).hash, _entry(row).revision_after)


def checkpoint(connection: sa.Connection) -> Checkpoint | None:
    """The state of the log, for where it cannot be changed with the directory; None before the first entry."""
    head = _head(connection)
    if head is None:
        return None
    origin = _entry(connection.execute(_stored(connection).order_by(audit.c.id).limit(1)).one()).hash
    return Checkpoint(origin.hex(), head.id, head.hash.hex())


def covered(connection: sa.Connection) -> tuple[int, int]:
    """The revision at which the last entry ended, and the directory's: equal unless something changed without one."""
    head = _head(connection)
    revision = int(connection.execute(sa.select(directory_state.c.revision)).scalar_one())
    return (revision if head is None else head.revision), revision


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries are wanted; None asks for all. `object` is the beginning of an object, such as "user alice"."""

    organization: str | None = None
    actor: str | None = None
    object: str | None = None
    apply_id: str | None = None
    since: datetime | None = None
    before: int | None = None


def list_entries(connection: sa.Connection, wanted: AuditFilter | None = None) -> Iterator[AuditEntry]:
    """The entries that a filter lets through, the newest first."""
    wanted = wanted or AuditFilter()
    query = _stored(connection).order_by(audit.c.id.desc())
    for column in ("organization", "actor", "apply_id"):
        if (value := getattr(wanted, column)) is not None:
            query = query.where(audit.c[column] == value)
    if wanted.object is not None:
        query = query.where(audit.c.object.startswith(wanted.object, autoescape=True))
    if wanted.since is not None:
        query = query.where(audit.c.at >= wanted.since)
    if wanted.before is not None:
        query = query.where(audit.c.id < wanted.before)
    return map(_entry, connection.execute(query))


def walk(connection: sa.Connection) -> Iterator[AuditEntry]:
    """Every entry, in the order of its number."""
    return map(_entry, connection.execute(behind(_stored(connection), audit.c.id, None)))


def get_entry(connection: sa.Connection, number: int) -> AuditEntry:
    """One entry by its number. Raises `StoreError`."""
    row = connection.execute(_stored(connection).where(audit.c.id == number)).first()
    if row is None:
        raise StoreError(f"the audit log has no entry {number}", kind=Problem.AUDIT_ENTRY_UNKNOWN)
    return _entry(row)


def _stored(connection: sa.Connection) -> sa.Select[Any]:
    """The rows as they are: SQLite holds whatever was written by hand, also texts that are not UTF-8."""
    columns: list[sa.ColumnElement[Any]] = [sa.type_coerce(audit.c.at, sa.BigInteger).label("at")]
    for column in audit.c:
        if connection.dialect.name == "sqlite" and isinstance(column.type, sa.String):
            # A text as its bytes, and anything else as what no text can be: also the bytes that a text would have.
            stored = sa.case(
                (sa.func.typeof(column) == "text", sa.cast(column, sa.LargeBinary)), (column.is_not(None), 0)
            )
            columns.append(sa.type_coerce(stored, sa.types.NullType()).label(column.name))
        elif column.name != "at":
            columns.append(column)
    return sa.select(*columns)


_BLANK: Final = AuditEntry(0, datetime(1970, 1, 1, tzinfo=UTC), "", "", "", "", "", "", "", "", 0, 0, b"", b"")


def _entry(row: sa.Row[Any]) -> AuditEntry:
    """An entry; what is of another type than any command writes is blank, and so is the hash of an entry with that.

    Or with a text that is not UTF-8, of which another may be shown.
    """
    values: dict[str, Any] = {}
    sound = True
    for name in AuditEntry.__slots__:
        value, blank = getattr(row, name), getattr(_BLANK, name)
        if name == "at":
            value = _moment(value)
        elif isinstance(value, bytes) and isinstance(blank, str):
            stored, value = value, value.decode(errors="replace")
            sound = sound and value.encode() == stored
        if isinstance(value, type(blank)) or (value is None and name in _OPTIONAL):
            values[name] = value
        else:
            values[name], sound = blank, False
    return AuditEntry(**(values if sound else values | {"hash": b""}))


def _moment(value: object) -> datetime | None:
    try:
        return moment_of(value) if isinstance(value, int) else None
    except OverflowError:
        return None


_OPTIONAL: Final = frozenset({"organization", "before", "after", "apply_id"})


def prune(connection: sa.Connection, last: int) -> Pruned | None:
    """Remove the entries from 2 to `last`; None if there are none.

    The newest stays: its hash is the log's head.
    """
    newest = sa.select(sa.func.max(audit.c.id)).scalar_subquery()
    here = (audit.c.id > 1) & (audit.c.id <= last) & (audit.c.id < newest)
    row = connection.execute(sa.select(audit.c.id, audit.c.hash).where(here).order_by(audit.c.id.desc())).first()
    if row is None:
        return None
    removed = connection.execute(sa.delete(audit).where(here)).rowcount
    return Pruned(removed, row.id, row.hash.hex())
