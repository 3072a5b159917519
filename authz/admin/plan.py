"""The plan of an apply: what documents want, compared with what the directory has, as steps in the order to take them.

What is wanted is kept in a temporary database, so that a million documents take no memory, and each step has the place
of its document. A plan reads the directory; `authz.admin.apply` changes it.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from functools import lru_cache, partial
from itertools import chain, groupby
from operator import itemgetter
from typing import Any, Final, NamedTuple

import orjson
import sqlalchemy as sa
from pydantic import ValidationError

from authz.admin.canary import CANARY
from authz.admin.document_reader import DocumentError, DocumentSource, Place, RawDocument
from authz.admin.documents import ADAPTER, Kind, RegistrationName, Wanted, moment, user_content
from authz.admin.held import Held, held
from authz.directory.crls import in_its_place, known_cas, signed_by
from authz.errors import AdvisedError, Refused
from authz.pki import Crl

MAX_ERRORS: Final = 1_000
"""Errors that are collected; so many that no reader wants more."""


Progress = Callable[[int], None]


MAX_KEYS: Final = 100
"""Keys of a mapping that are looked at: several times as many as any has."""

WRITTEN: Final = 500
"""Documents that are written into the temporary database together."""

MAX_NAMED: Final = 500
"""Organizations that one query names."""

MAX_SIGNERS: Final = 8
"""Keys whose CRLs are in memory at once, read once where documents do not take turns among more."""


class Action(IntEnum):
    """What a step does."""

    KEEP = 0
    ADD = 1
    CHANGE = 2
    REMOVE = 3


@dataclass(frozen=True, slots=True)
class Step:
    """A thing that is added, changed or removed; `wanted.content` is empty where it is removed.

    `before` is the content that the directory has, and `row` the id of its row, but for what is added.
    """

    action: Action
    wanted: Wanted
    before: bytes | None
    row: int | None
    place: Place | None


class Plan:
    """Collects what is wanted (`read`), compares it (`compare`), and lists the steps (`steps`)."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.executescript(_TABLES)
        self._files: list[str] = []
        self._count = 0
        self._wanted: list[tuple[Any, ...]] = []
        self._stored: list[tuple[int, bytes]] = []
        self.errors: list[AdvisedError] = []
        self.counts: Counter[Action] = Counter()

    def close(self) -> None:
        """Remove the temporary database."""
        self._db.close()

    # -- what is wanted ------------------------------------------------------------------------------

    def read(self, source: DocumentSource, progress: Progress = lambda _: None) -> None:
        """Take in every document of a source; what is wrong with any is in `errors`. Raises `ConfigError`.

        `progress` is called with the number of documents.
        """
        self._db.execute("BEGIN")
        count = 0
        for count, raw in enumerate(source.documents(), 1):
            if len(self.errors) >= MAX_ERRORS:
                break
            if isinstance(raw, DocumentError):
                self.errors.append(raw)
            else:
                self._take(raw, source)
            progress(count)
        self._write()
        # At once they are sorted, and cost half of what they cost row by row.
        for statement in _INDEXES:
            self._db.execute(statement)
        self._check_doubles()
        self._db.execute("COMMIT")

    def _take(self, raw: RawDocument, source: DocumentSource) -> None:
        try:
            _check_keys(raw)
            document = ADAPTER.validate_python(raw.data)
            wanted = document.wanted(lambda name: source.named_file(raw.place, name))
            self._add(wanted, raw.place)
        except ValidationError as error:
            wrong = error.errors(include_url=False, include_context=False, include_input=False)
            self.errors += map(_worded(raw), wrong[:MAX_ERRORS])
        except AdvisedError as error:
            self.errors.append(_at(raw.place, error))
        except (Refused, ValueError) as error:
            self.errors.append(DocumentError(raw.place, str(error)))

    def _add(self, wanted: Wanted, place: Place) -> None:
        if wanted.organization == CANARY:
            raise DocumentError(place, f"{CANARY} is not an organization's name: probes use it")
        if not self._files or self._files[-1] != place.file:
            self._files.append(place.file)
        self._count += 1
        self._wanted.append((self._count, *wanted.key, wanted.content, len(self._files) - 1, place.line))
        if wanted.stored:
            self._stored.append((self._count, wanted.stored))
        if len(self._wanted) == WRITTEN:
            self._write()

    def _write(self) -> None:
        self._db.executemany(_INSERT, self._wanted)
        self._db.executemany("INSERT INTO stored VALUES (?, ?)", self._stored)
        self._wanted.clear()
        self._stored.clear()

    def _check_doubles(self) -> None:
        """A thing stands in one document, but for registrations of different times."""
        for _, group in groupby(self._db.execute(_SAME_KEY), itemgetter(0, 1, 2, 3)):
            every = [_Written(*row) for row in group]
            for first, second in _doubles(every):
                place = Place(self._files[first.file], first.line)
                self._error(second.file, second.line, f"{name_of(second.wanted)} stands twice, first in {place}")

    # -- against what the directory has --------------------------------------------------------------

    def compare(
        self,
        connection: sa.Connection,
        now: datetime,
        progress: Callable[[int], None] = lambda _: None,
        *,
        prune: bool = False,
    ) -> None:
        """Find the steps; what cannot be done is in `errors`. May be called again when the directory has changed.

        With `prune` a name that is not written any more is another user's to have. `progress` is called with the number
        of things compared.
        """
        self._db.execute("BEGIN")
        self._db.execute(_FORGET)
        self._db.execute("DELETE FROM unmatched")
        self._db.execute("DELETE FROM present")
        names = self._organizations(connection)
        self._check_references(names)
        within = self._named()
        every = chain.from_iterable(held(connection, kind, within=within) for kind in Kind)
        for count, thing in enumerate(every, 1):
            self._match(thing)
            progress(count)
        self._pair(now)
        self._check_users(names)
        self._check_names(now, prune=prune)
        self._pair_crls(connection)
        self._scope()
        self._db.execute("COMMIT")
        self.counts = Counter({Action(action): number for action, number in self._db.execute(_COUNTS)})
        self.counts[Action.REMOVE] = self._db.execute("SELECT count(*) FROM unmatched").fetchone()[0]

    def _organizations(self, connection: sa.Connection) -> set[str]:
        """The organizations that there will be; users whose enforcement is left out get that of theirs."""
        every = {thing.wanted.organization: thing.wanted.content for thing in held(connection, Kind.ORGANIZATION)}
        every.update(self._db.execute("SELECT organization, content FROM wanted WHERE kind = 1"))
        for active in (True, False):
            open_content = user_content(None, active=active)
            named = self._db.execute(_WITH_CONTENT, (open_content,)).fetchall()
            for (name,) in named:
                if name in every:
                    content = user_content(orjson.loads(every[name])["enforcement"], active=active)
                    self._db.execute(_SET_CONTENT, (content, name, open_content))
        return set(every)

    def _named(self) -> set[str] | None:
        """The organizations whose users and registrations matter; None for all, and for too many to name in a query."""
        named = {name for (name,) in self._db.execute("SELECT DISTINCT organization FROM wanted")}
        return None if self._whole() or len(named) > MAX_NAMED else named

    def _whole(self) -> bool:
        """Whether organizations are written themselves, and so all of the directory."""
        return bool(self._db.execute("SELECT EXISTS (SELECT 1 FROM wanted WHERE kind = 1)").fetchone()[0])

    def _check_references(self, names: set[str]) -> None:
        for kind, name, file, line in self._db.execute(_REFERENCES).fetchall():
            if name not in names:
                message = f"there is no organization {name} for this {Kind(kind).name.lower()}"
                self._error(file, line, message, "write a document for it, or correct its name")

    def _check_users(self, organizations: set[str]) -> None:
        for name, organization, file, line in self._db.execute(_WITHOUT_USER).fetchall():
            if organization not in organizations:
                continue  # which is said already
            self._error(file, line, f"{organization} has no user {name}", "write a document for the user")

    def _check_names(self, now: datetime, *, prune: bool) -> None:
        """A name below one anchor is one user's at a time; one that moves is retired before it is added."""
        for name, user, organization, file, line, new, other in self._db.execute(_NAMES_OF_OTHERS, (prune,)):
            if _shared(new, other, now):
                message = f"{RegistrationName.of(name).identity} is registered for {user} of {organization}"
                hint = "a name below one anchor is one user's: retire that registration first, or prune it"
                self._error(file, line, message, hint)
        for statement in _MOVES:
            self._db.execute(statement)

    def _error(self, file: int, line: int, message: str, hint: str = "") -> None:
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(DocumentError(Place(self._files[file], line), message, hint))

    def _match(self, thing: Held) -> None:
        wanted = thing.wanted
        if wanted.kind is Kind.USER:
            self._db.execute("INSERT INTO present VALUES (?, ?) ON CONFLICT DO NOTHING", wanted.key[1:3])
        exact = self._db.execute(_EXACT, (*wanted.key, wanted.content)).fetchone()
        if exact is None:
            self._db.execute(_UNMATCHED, (thing.row, *wanted.key, wanted.content))
        else:
            self._db.execute("UPDATE wanted SET action = 0 WHERE id = ?", exact)

    def _pair(self, now: datetime) -> None:
        """Make a change of each thing that is otherwise in the directory; what has ended anyway is passed over.

        A key or a name is registered until it is retired, whatever its period.
        """
        for row, *key, before, _ in self._unmatched():
            ended = _end(before) if key[0] == Kind.CERTIFICATE else None
            lasting = ended is not None and _stands_alone(key[3]) and _moments(before)[2] is None
            for number, content, file, line in self._db.execute(_OPEN, key).fetchall():
                if ended is not None and not lasting and _begin(content, ended) >= ended:
                    continue
                if key[0] == Kind.CERTIFICATE and _brings_back(before, content):
                    retired = orjson.loads(before)["retired"]
                    hint = (
                        "write retired: with that moment, or take the document out; reinstating is a command of its own"
                    )
                    self._error(file, line, f"this certificate of {key[2]} was retired at {retired}", hint)
                self._db.execute(_PAIR, (row, before, number))
                self._db.execute("DELETE FROM unmatched WHERE kind = ? AND row = ?", (key[0], row))
                break
            else:
                wanted = lasting and self._db.execute(_WANTED_NAME, (key[1], key[3])).fetchone()
                if ended is not None and ended <= now and not wanted:
                    self._db.execute("DELETE FROM unmatched WHERE kind = ? AND row = ?", (key[0], row))

    def _unmatched(self) -> Iterator[tuple[Any, ...]]:
        for kind in Kind:
            yield from self._rows("SELECT * FROM unmatched WHERE kind = ? AND row > ? ORDER BY row LIMIT 1000", (kind,))

    def _pair_crls(self, connection: sa.Connection) -> None:
        """A CRL that a newer one replaced is not wanted back, and what stands in the place of a wanted one stays."""
        wanted = self._db.execute("SELECT id, data FROM wanted JOIN stored USING (id) WHERE kind = 6 AND action = 1")
        known, signed = None, lru_cache(MAX_SIGNERS)(partial(signed_by, connection))
        for number, der in wanted.fetchall():
            crl, known = Crl(der), known_cas(connection) if known is None else known
            for row, former in in_its_place(connection, crl, known, signed).items():
                self._db.execute("DELETE FROM unmatched WHERE kind = 6 AND row = ?", (row,))
                if former.is_delta == crl.is_delta and former.supersedes(crl):
                    self._db.execute("UPDATE wanted SET action = 0 WHERE id = ?", (number,))

    def _scope(self) -> None:
        """What is not written goes only in organizations that are named; if any is itself written, all are named.

        CRLs count for all organizations, and go only if one is written besides. What goes with its user or organization
        is no step of its own.
        """
        if not self._whole():
            self._db.execute(_OUT_OF_SCOPE)
        self._db.execute(_WITHOUT_CRLS)
        self._db.execute(_GOES_WITH_ORGANIZATION)
        self._db.execute(_GOES_WITH_USER)

    def total(self, *, prune: bool) -> int:
        """How many steps there are."""
        return self.counts[Action.ADD] + self.counts[Action.CHANGE] + (self.counts[Action.REMOVE] if prune else 0)

    # -- the steps -----------------------------------------------------------------------------------

    def steps(self, *, prune: bool) -> Iterator[Step]:
        """What is to be done: organizations and CAs first, then what is added, changed, and with `prune` removed."""
        for kind, action, moves in _ORDER:
            if action is not Action.REMOVE:
                rows = self._rows(_STEPS, (kind, action, moves))
            elif prune:
                rows = self._rows(_REMOVALS, (kind, moves))
            else:
                continue
            for row in rows:
                yield self._step(action, kind, row)

    def _rows(self, query: str, values: tuple[int, ...]) -> Iterator[tuple[Any, ...]]:
        """The rows of a query, in the order of their number, of which a thousand at a time are in memory."""
        last = -1
        while batch := self._db.execute(query, (*values, last)).fetchall():
            yield from batch
            last = batch[-1][0]

    def _step(self, action: Action, kind: Kind, row: tuple[Any, ...]) -> Step:
        _, organization, user, name, content, stored, before, number, file, line = row
        wanted = Wanted(kind, organization, user, name, content or b"", stored or b"")
        place = None if file is None else Place(self._files[file], line)
        return Step(action, wanted, before, number, place)


def name_of(wanted: Wanted) -> str:
    """How plans and the audit log call a thing: `user alice`, `certificate 3f2a…`, `organization`."""
    if wanted.kind is Kind.CERTIFICATE and " " in wanted.name:
        return wanted.name
    kind = wanted.kind.name.lower()
    return f"{kind} {wanted.name or wanted.user}".rstrip()


def _check_keys(raw: RawDocument) -> None:
    """Raise `DocumentError` where keys are so many that the errors of the unknown ones would fill the memory."""
    inner = (((key,), value) for key, value in raw.data.items() if isinstance(value, dict))
    for path, mapping in (((), raw.data), *inner):
        if len(mapping) > MAX_KEYS:
            raise DocumentError(raw.at(path), f"{len(mapping)} keys, of which at most {MAX_KEYS} can be known")


def _at(place: Place, error: AdvisedError) -> AdvisedError:
    """The error with its place before it, whatever its advice."""
    if isinstance(error, DocumentError):
        return error
    placed = DocumentError(place, str(error), error.hint)
    placed.kind, placed.about = error.kind, error.about
    return placed


def _worded(raw: RawDocument) -> Callable[[Any], DocumentError]:
    """Makes an error with its line of one of the library's."""

    def worded(error: Any) -> DocumentError:
        path = tuple(part for part in error["loc"] if part not in _KINDS)
        where = ".".join(map(str, path))
        message = error["msg"].removeprefix("Value error, ")
        return DocumentError(raw.at(path), f"{where}: {message}" if where else message)

    return worded


_KINDS: Final = {"Organization", "Anchor", "Intermediate", "User", "Certificate", "Crl"}


def _moments(content: bytes) -> tuple[Any, Any, Any]:
    """From when, until when, and when it was retired."""
    fields = orjson.loads(content)
    return tuple(moment(fields[name]) for name in ("from", "until", "retired"))  # type: ignore[return-value]


def _end(content: bytes) -> datetime | None:
    ends = [end for end in _moments(content)[1:] if end is not None]
    return min(ends, default=None)


def _begin(content: bytes, before: datetime) -> datetime:
    """When it begins; for one without a beginning, a moment before that one."""
    begin = _moments(content)[0]
    return datetime.min.replace(tzinfo=before.tzinfo) if begin is None else begin


def _stands_alone(name: str) -> bool:
    """Whether a registration is of a key or a name, of which a user has one that is not retired."""
    return " " in name


class _Written(NamedTuple):
    """A document of a key that stands in several."""

    kind: int
    organization: str
    user: str
    name: str
    content: bytes
    file: int
    line: int
    number: int

    @property
    def wanted(self) -> Wanted:
        return Wanted(Kind(self.kind), *self[1:5])


def _doubles(every: list[_Written]) -> Iterator[tuple[_Written, _Written]]:
    """Pairs of one key that cannot both be wanted, in the order of their documents.

    Each is compared with two others alone, for one key may stand in thousands of documents: of those that begin before,
    with the one that ends last, and with one that is not retired.
    """
    if every[0].kind != Kind.CERTIFICATE:
        yield from ((every[0], second) for second in every[1:])
        return
    never = datetime.max.replace(tzinfo=UTC)
    last: _Written | None = None
    lasting: _Written | None = None
    for written in sorted(every, key=lambda each: (_begin(each.content, never), each.number)):
        for other in (last, lasting):
            if other is not None and _overlap(written.name, written.content, other.content):
                first, second = sorted((written, other), key=lambda each: each.number)
                yield first, second
                break
        if last is None or (_end(written.content) or never) > (_end(last.content) or never):
            last = written
        if _moments(written.content)[2] is None:
            lasting = written


def _overlap(name: str, first: bytes, second: bytes) -> bool:
    """Whether two registrations of one thing for one user are in force at the same time, or cannot both be stored."""
    contents = first, second
    if _stands_alone(name) and all(_moments(content)[2] is None for content in contents):
        return True
    begins, ends = zip(*((_moments(content)[0], _end(content)) for content in contents), strict=True)
    return all(
        end is None or begin is None or begin < end for begin, end in ((begins[0], ends[1]), (begins[1], ends[0]))
    )


def _shared(new: bytes, other: bytes, now: datetime) -> bool:
    """Whether two users would have one name at one time, from now on, or both without a retirement."""
    if _moments(new)[2] is None and _moments(other)[2] is None:
        return True
    ends = _end(new), _end(other)
    begins = (max(_moments(content)[0] or now, now) for content in (other, new))
    return all(end is None or end > begin for end, begin in zip(ends, begins, strict=True))


def _brings_back(before: bytes, content: bytes) -> bool:
    """Whether a registration that was retired would be so later, or no more."""
    was, is_now = _moments(before)[2], _moments(content)[2]
    return was is not None and (is_now is None or is_now > was)


_TABLES: Final = """
    PRAGMA journal_mode = OFF;
    PRAGMA synchronous = OFF;
    PRAGMA cache_size = -65536;
    CREATE TABLE wanted (
        id INTEGER PRIMARY KEY, kind INTEGER, organization TEXT, user TEXT, name TEXT, content BLOB,
        file INTEGER, line INTEGER, action INTEGER DEFAULT 1, row INTEGER, before BLOB, moves INTEGER DEFAULT 0
    );
    CREATE TABLE stored (id INTEGER PRIMARY KEY, data BLOB);
    CREATE TABLE present (organization TEXT, name TEXT, PRIMARY KEY (organization, name)) WITHOUT ROWID;
    CREATE TABLE unmatched (
        row INTEGER, kind INTEGER, organization TEXT, user TEXT, name TEXT, content BLOB, moves INTEGER,
        PRIMARY KEY (kind, row)
    ) WITHOUT ROWID;
"""
_BY_KEY: Final = "kind = ? AND organization = ? AND user = ? AND name = ?"
_INDEXES: Final = (
    "CREATE INDEX IF NOT EXISTS wanted_steps ON wanted (kind, action)",
    "CREATE INDEX IF NOT EXISTS wanted_key ON wanted (kind, organization, user, name)",
)
_SAME_KEY: Final = """
    SELECT kind, organization, user, name, content, file, line, id FROM wanted
    JOIN (SELECT kind, organization, user, name FROM wanted GROUP BY 1, 2, 3, 4 HAVING count(*) > 1)
    USING (kind, organization, user, name) ORDER BY kind, organization, user, name, id
"""
_INSERT: Final = """
    INSERT INTO wanted (id, kind, organization, user, name, content, file, line) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
_UNMATCHED: Final = "INSERT INTO unmatched VALUES (?, ?, ?, ?, ?, ?, 0)"
_FORGET: Final = "UPDATE wanted SET action = 1, row = NULL, before = NULL, moves = 0 WHERE action <> 1 OR moves"
_PAIR: Final = "UPDATE wanted SET action = 2, row = ?, before = ? WHERE id = ?"
_EXACT: Final = f"SELECT id FROM wanted WHERE {_BY_KEY} AND action = 1 AND content = ? LIMIT 1"  # noqa: S608 - our words
_OPEN: Final = f"SELECT id, content, file, line FROM wanted WHERE {_BY_KEY} AND action = 1 ORDER BY id"  # noqa: S608
_COUNTS: Final = "SELECT action, count(*) FROM wanted GROUP BY action"
_WITH_CONTENT: Final = "SELECT DISTINCT organization FROM wanted WHERE kind = 4 AND content = ?"
_SET_CONTENT: Final = "UPDATE wanted SET content = ? WHERE kind = 4 AND organization = ? AND content = ?"
_REFERENCES: Final = (
    "SELECT kind, organization, file, min(line) FROM wanted WHERE kind > 1 AND organization <> '' GROUP BY 1, 2, 3"
)
_WITHOUT_USER: Final = """
    SELECT user, organization, file, line FROM wanted AS c WHERE kind = 5
    AND NOT EXISTS (SELECT 1 FROM wanted AS u WHERE u.kind = 4 AND u.organization = c.organization AND u.user = c.user)
    AND NOT EXISTS (SELECT 1 FROM present AS p WHERE p.organization = c.organization AND p.name = c.user) LIMIT 1000
"""
_NAME: Final = "kind = 5 AND name >= 'identity ' AND name < 'identity!'"
_RETIRED: Final = "json_extract(CAST(content AS TEXT), '$.retired') IS NOT NULL"
_NAMES_OF_OTHERS: Final = f"""
    WITH others AS (
        SELECT organization, user, name, content FROM wanted WHERE {_NAME}
        UNION ALL SELECT organization, user, name, content FROM unmatched WHERE NOT ? AND {_NAME}
    ), new AS (SELECT * FROM wanted WHERE {_NAME} AND action <> 0)
    SELECT new.name, others.user, new.organization, new.file, new.line, new.content, others.content
    FROM new JOIN others
    ON others.organization = new.organization AND others.name = new.name AND others.user <> new.user
"""  # noqa: S608 - our words
_WANTED_NAME: Final = f"SELECT 1 FROM wanted WHERE organization = ? AND name = ? AND {_NAME} AND action = 1"  # noqa: S608
_ADDED_NAMES: Final = f"(organization, name) IN (SELECT organization, name FROM wanted WHERE action = 1 AND {_NAME})"  # noqa: S608
_MOVES: Final = (
    f"UPDATE wanted SET moves = 1 WHERE action = 2 AND {_NAME} AND {_RETIRED} AND {_ADDED_NAMES}",  # noqa: S608
    f"UPDATE unmatched SET moves = 1 WHERE {_NAME} AND {_ADDED_NAMES}",  # noqa: S608 - our words
    f"UPDATE wanted SET moves = 1 WHERE action = 1 AND {_NAME}",  # noqa: S608 - our words
)
"""Marks the names that are added, and before them what ends of the same names, now or later."""
_OUT_OF_SCOPE: Final = """
    DELETE FROM unmatched WHERE kind = 1 OR organization = ''
    OR organization NOT IN (SELECT DISTINCT organization FROM wanted)
"""
_WITHOUT_CRLS: Final = "DELETE FROM unmatched WHERE kind = 6 AND NOT EXISTS (SELECT 1 FROM wanted WHERE kind = 6)"
_GOES_WITH_ORGANIZATION: Final = """
    DELETE FROM unmatched WHERE kind > 1
    AND organization IN (SELECT organization FROM unmatched WHERE kind = 1)
"""
_GOES_WITH_USER: Final = """
    DELETE FROM unmatched WHERE kind = 5 AND NOT moves
    AND (organization, user) IN (SELECT organization, user FROM unmatched WHERE kind = 4)
"""
_STEPS: Final = """
    SELECT id, organization, user, name, content, data, before, row, file, line
    FROM wanted LEFT JOIN stored USING (id) WHERE kind = ? AND action = ? AND moves = ? AND id > ?
    ORDER BY id LIMIT 1000
"""
_REMOVALS: Final = """
    SELECT row, organization, user, name, NULL, NULL, content, row, NULL, NULL
    FROM unmatched WHERE kind = ? AND moves = ? AND row > ? ORDER BY row LIMIT 1000
"""
_FIRST: Final = (Kind.ORGANIZATION, Kind.ANCHOR, Kind.INTERMEDIATE)
_ORDER: Final = (
    *((kind, action, False) for action in (Action.ADD, Action.CHANGE) for kind in _FIRST),
    (Kind.USER, Action.ADD, False),
    (Kind.CERTIFICATE, Action.CHANGE, True),
    (Kind.CERTIFICATE, Action.REMOVE, True),
    (Kind.CERTIFICATE, Action.ADD, True),
    (Kind.CERTIFICATE, Action.ADD, False),
    (Kind.CRL, Action.ADD, False),
    (Kind.USER, Action.CHANGE, False),
    (Kind.CERTIFICATE, Action.CHANGE, False),
    *((kind, Action.REMOVE, False) for kind in reversed(Kind)),
)
"""Kinds, what is done, and whether to names that move: of a name, what ends comes before what is added."""
