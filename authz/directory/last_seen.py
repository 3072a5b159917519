"""Which certificates users present, when first and when last: written beside the checks, never by them.

A check leaves a note in memory: one for each user and leaf, until a task of its own writes what has gathered, in a
thread, in small transactions. Only certificates count whose path was verified, of users that the directory has, so that
a stranger leaves nothing. Each user keeps the newest leaves, and notes are bounded for each organization.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cache, partial
from typing import Any, Final

import sqlalchemy as sa

from authz.decision import Decision, Deny
from authz.directory.background_writer import BackgroundWriter
from authz.directory.database import insert_of
from authz.directory.schema import last_seen, users
from authz.directory.seen_cas import MAX_DER, keep_seen_cas
from authz.model import CheckRequest, PresentedChain, User
from authz.pki import VerifiedPath
from authz.pki.cache import weigh
from authz.ports import Clock
from authz.view import Listener

FLUSH_SECONDS: Final = 30.0
"""How long notes gather."""

MAX_BYTES: Final = 32 * 1024 * 1024
"""What all notes may take; those beyond are lost, and counted. At half of a bound they are written at once."""

MAX_EACH: Final = MAX_BYTES // 4
"""What one organization's may take."""

NOTE_BYTES: Final = 1_000
"""A note without the issuer's name and the path, which all leaves of one CA share."""

LEAVES_EACH: Final = 8
"""Leaves of one user that are kept, those seen last."""

AT_ONCE: Final = 500
"""Rows of one transaction, some 10 ms, which is as long as a writer waits for it."""


@dataclass(slots=True)
class Note:
    """What a leaf of a user did since the last writing: how its last check ended, and how many were refused.

    `leaf` has the columns that its path determines. `first_at` and `last_at` are when it was checked: they say
    whether a user passed before or after a refusal, which the history has. `matched` is the kind of the registration
    that matched, `refused_by` the reason for which `required` refuses; both are empty where enforcement is off.
    """

    leaf: dict[str, Any]
    listener: str
    first_at: datetime
    last_at: datetime
    matched: str = ""
    refused_by: str = ""
    refusals: int = 0

    def row(self) -> dict[str, Any]:
        """As the table has it."""
        said = {name: getattr(self, name) for name in ("listener", "matched", "refused_by", "refusals")}
        return {**self.leaf, **said, "first_seen": self.first_at, "last_seen": self.last_at}


class LastSeen(BackgroundWriter):
    """Implements `authz.ports.Observer`: keeps what was seen in the directory at `url`; see `BackgroundWriter`."""

    def __init__(self, url: str, clock: Clock, *, lost: Callable[[int], None], warn: Callable[[str], None]) -> None:
        super().__init__(url, clock, what="what was seen last", seconds=FLUSH_SECONDS, lost=lost, warn=warn)
        self._notes: dict[tuple[int, bytes], Note] = {}
        self._shared: dict[bytes, bytes] = {}
        self._each: Counter[int] = Counter()
        self._cas: dict[tuple[int, bytes], bytes] = {}

    def decided(self, check: CheckRequest, listener: Listener, decision: Decision, seconds: float) -> None:  # noqa: ARG002
        """Note the leaf of a decision; see `authz.ports.Observer`."""
        evidence = decision.evidence
        user, path = evidence.user, evidence.path
        if user is None or path is None:
            return
        key, now = (user.id, path.certificates[0].sha256), self._clock.now()
        note = self._notes.get(key)
        if note is None:
            columns = _columns(user, path, evidence.presented)
            if not self._has_room(user.organization_id, columns, path):
                self._lost(1)
                return
            note = self._notes[key] = Note(columns, listener.name, now, now)
        note.matched, note.refused_by = _outcome(decision)
        note.refusals += bool(note.refused_by)
        note.listener, note.last_at = listener.name, now

    def _has_room(self, owner: int, columns: dict[str, Any], path: VerifiedPath) -> bool:
        """Whether a note fits into what its organization and all may take; then it counts, with what it shares."""
        new = {columns[name] for name in ("issuer", "path")} - self._shared.keys()
        cas = {(owner, ca.sha256): ca.der for ca in path.certificates[1:-1] if len(ca.der) <= MAX_DER}
        new_cas = [cas[key] for key in cas.keys() - self._cas.keys()]
        weight, whole = NOTE_BYTES + 2 * sum(map(weigh, (*new, *new_cas))), self._each.total()
        if whole + weight > MAX_BYTES or self._each[owner] + weight > MAX_EACH:
            return False
        self._each[owner] += weight
        if whole + weight > MAX_BYTES // 2 or self._each[owner] > MAX_EACH // 2:
            self._full.set()
        for name in ("issuer", "path"):
            columns[name] = self._shared.setdefault(columns[name], columns[name])
        self._cas |= cas
        return True

    async def flush(self) -> None:
        """Write everything that was noted; see `BackgroundWriter`."""
        async with self._writing:
            # In one order: processes that write the same rows in another wait for each other (PostgreSQL: deadlock).
            notes, self._notes = [note for _, note in sorted(self._notes.items())], {}
            cas, self._cas = [(*key, der) for key, der in self._cas.items()], {}
            self._each.clear()
            self._shared = {}
            self._full.clear()
            now = self._clock.now()
            for start in range(0, max(len(notes), len(cas)), AT_ONCE):
                part = notes[start : start + AT_ONCE]
                error = await self._attempt(partial(self._write, part, cas[start : start + AT_ONCE], now))
                # A server that does not answer would be waited for again with each part.
                if isinstance(error, sa.exc.OperationalError):
                    self._lost(len(notes[start:]))
                    return
                if error is not None:
                    self._lost(len(part))

    def _write(self, notes: list[Note], cas: list[tuple[int, bytes, bytes]], now: datetime) -> None:
        rows = [note.row() for note in notes]
        with self._engine.begin() as connection:
            if rows:
                connection.execute(_seen(insert_of(connection)), rows)
                of_users = [{"of_user": user} for user in dict.fromkeys(row["user_id"] for row in rows)]
                connection.execute(_FORGET, of_users)
            if cas:
                keep_seen_cas(connection, cas, now)


def _outcome(decision: Decision) -> tuple[str, str]:
    """The kind of the registration that matched, or why `required` refuses the leaf."""
    binding = decision.evidence.binding
    if binding is not None and binding.registration is not None:
        return binding.registration.kind.value, ""
    refusal = None if binding is None else binding.refusal
    if isinstance(decision, Deny):
        refusal = decision.reason
    return "", "" if refusal is None else refusal.value


def _columns(user: User, path: VerifiedPath, presented: PresentedChain | None) -> dict[str, Any]:
    leaf, *cas = path.certificates
    return {
        "organization_id": user.organization_id,
        "user_id": user.id,
        "sha256": leaf.sha256,
        "not_after": leaf.not_after,
        "issuer": leaf.issuer_der,
        "spki_sha256": leaf.spki_sha256,
        "anchor_sha256": cas[-1].sha256,
        "path": b"".join(ca.sha256 for ca in cas),
        "with_others": presented is not None and bool(presented.intermediates),
    }


# A user that went meanwhile leaves nothing.
_VALUES = sa.select(*(sa.bindparam(column.name, type_=column.type) for column in last_seen.c))
_LIVING = (users.c.id == sa.bindparam("user_id")) & (users.c.organization_id == sa.bindparam("organization_id"))
_LAST = ("path", "anchor_sha256", "listener", "matched", "refused_by", "with_others")
_MINE = last_seen.c.user_id == sa.bindparam("of_user")
_NEWEST = sa.select(last_seen.c.sha256).where(_MINE).order_by(last_seen.c.last_seen.desc()).limit(LEAVES_EACH)
_FORGET = sa.delete(last_seen).where(_MINE, last_seen.c.sha256.not_in(_NEWEST))


@cache
def _seen(insert: Callable[[sa.Table], Any]) -> sa.Insert:
    """Adds a row, or moves the end of the one that is there: another worker's clock may be behind."""
    statement = insert(last_seen).from_select(last_seen.c.keys(), _VALUES.where(sa.exists().where(_LIVING)))
    new = statement.excluded
    later = new.last_seen >= last_seen.c.last_seen
    added: sa.Insert = statement.on_conflict_do_update(
        index_elements=[last_seen.c.user_id, last_seen.c.sha256],
        set_={
            "last_seen": sa.case((later, new.last_seen), else_=last_seen.c.last_seen),
            "refusals": last_seen.c.refusals + new.refusals,
            **{name: sa.case((later, new[name]), else_=last_seen.c[name]) for name in _LAST},
        },
    )
    return added
