"""The history of decisions: what was refused, what `observe` let pass, and if wanted what was allowed.

It is written beside the checks, never by them.

A check leaves its record in a queue and goes on. A task of its own writes what has gathered, in a thread,
in one transaction; what finds the queue full, or the directory unable to take it, is counted as lost.
Queue and rows are bounded in bytes (`decision_rows.WEIGHT_BYTES`), rows by age as well. Each has two parts: a tenth for
requests whose user the directory does not have, which anybody can send (of those without any identity the ones alike
share one row a day, with a count); the rest for those of its users. In either, organizations share evenly, and in an
organization its users (or reasons): a flood of refusals drives out nothing but its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from operator import itemgetter
from typing import Any, Final

import sqlalchemy as sa

from authz.decision import Allow, Decision, Deny
from authz.directory.allowed_requests import AllowedRequests
from authz.directory.background_writer import BackgroundWriter
from authz.directory.database import insert_of
from authz.directory.decision_rows import kind_of, pack, row_of, weight_of
from authz.directory.fairness import FairQueue, surplus
from authz.directory.schema import decisions, organizations, presentations
from authz.errors import Refused
from authz.headers import replayable_headers
from authz.model import CheckRequest, KeptAllowed, Outcome, RecordedDecision
from authz.ports import Clock
from authz.reasons import Gate
from authz.text import MAX_SHOWN, shown
from authz.view import Listener

FLUSH_SECONDS: Final = 0.5
"""How long records gather: what was refused can be looked up a second later."""

MAX_QUEUED: Final = 2_000
"""The weight of what waits to be written, 8 MB: 4,000 refusals a second are kept, at a few per cent of a core."""

MAX_QUEUED_EACH: Final = 500
"""Of one organization, or of requests of none."""

STRANGERS: Final = 10
"""One in so many, of queue and rows, is for requests whose user the directory does not have: they cost no token."""

PRUNE_EVERY: Final = timedelta(minutes=1)
"""How often rows are counted, and those too old dropped, when few are written."""

MAX_HEADER_BYTES: Final = 16 * 1024
"""Certificate headers larger than this are not kept: a leaf with two intermediates takes 3 to 8 KB."""

MAX_TARGET: Final = 512
"""Characters of the request's path, and of its host, that are kept."""

MAX_USER: Final = 256
"""Characters of a user's name: no user has a longer one, nor one that would have to be escaped."""


@dataclass(frozen=True, slots=True)
class HistoryLimits:
    """How many decisions are kept, in all, and for how many days; and which of those that were allowed."""

    rows: int = 20_000
    days: int = 30
    allowed: KeptAllowed = KeptAllowed.NONE


class History(BackgroundWriter):
    """Implements `authz.ports.Observer`: keeps decisions in the directory at `url`; see `BackgroundWriter`."""

    def __init__(
        self,
        url: str,
        clock: Clock,
        limits: HistoryLimits,
        *,
        lost: Callable[[int], None],
        warn: Callable[[str], None],
    ) -> None:
        super().__init__(url, clock, what="the history", seconds=FLUSH_SECONDS, lost=lost, warn=warn)
        self._limits = limits
        strangers, each_stranger = MAX_QUEUED // STRANGERS, MAX_QUEUED_EACH // STRANGERS
        self._strangers: FairQueue[RecordedDecision] = FairQueue(strangers, each_stranger)
        self._users: FairQueue[RecordedDecision] = FairQueue(MAX_QUEUED - strangers, MAX_QUEUED_EACH - each_stranger)
        kept = limits.allowed
        first_only = kept is KeptAllowed.FIRST_PER_DAY
        self._allowed = None if kept is KeptAllowed.NONE else AllowedRequests(clock, first_only=first_only)
        self._repeats: dict[tuple[int | None, str, str], int] = {}
        self._written = 0
        self._prune_at = clock.now()

    # -- beside the check ----------------------------------------------------------------------------

    def decided(self, check: CheckRequest, listener: Listener, decision: Decision, seconds: float) -> None:  # noqa: ARG002
        """Queue what the history keeps of a decision; see `authz.ports.Observer`."""
        if isinstance(decision, Allow) and (decision.binding is None or decision.binding.refusal is None):
            if self._allowed is not None:
                self._allowed.note(check, listener, decision)
            return
        if not isinstance(decision, Allow) and decision.reason.status == 503:
            return  # not decided, and nothing about the request
        seen = decision.evidence
        owner = None if seen.organization is None else seen.organization.id
        reason = "" if isinstance(decision, Allow) else decision.reason.value
        like = owner, listener.name, reason
        if like in self._repeats and seen.identity is None:
            self._repeats[like] += 1
            return
        queue, account = (self._strangers, reason) if seen.user is None else (self._users, seen.user.name)
        if queue.is_full(owner, account):
            self._lost(1)
            return
        record = _recorded(check, listener, decision, self._clock.now())
        if seen.identity is None:
            self._repeats[like] = 1
        lost = queue.put(owner, account, record, weight_of(record))
        if lost:
            self._lost(sum(self._counted(dropped).repeats for dropped in lost))

    def _counted(self, record: RecordedDecision) -> RecordedDecision:
        """The record, which leaves the queue, with the number of those like it that came while it waited."""
        like = record.organization_id, record.listener, record.reason
        return record if kind_of(record) is None else replace(record, repeats=self._repeats.pop(like, 1))

    # -- beside the loop -----------------------------------------------------------------------------

    async def flush(self) -> None:
        """Write everything that is queued now; see `BackgroundWriter`."""
        async with self._writing:
            batch = [self._counted(record) for record in self._strangers.drain()] + self._users.drain()
            batch += self._taken()
            if not batch:
                return
            if await self._attempt(lambda: self._write(batch)):
                self._lost(sum(record.repeats for record in batch))
                if self._allowed is not None:
                    self._allowed.forget_users()

    def _taken(self) -> list[RecordedDecision]:
        """The allowed requests that were noted."""
        notes, lost = ([], 0) if self._allowed is None else self._allowed.take()
        if lost:
            self._lost(lost)
        return [_recorded(*note) for note in notes]

    def _write(self, batch: Sequence[RecordedDecision]) -> None:
        """One transaction: add the headers that are new and the decisions, delete what is too old or too much."""
        with self._engine.begin() as connection:
            living = self._new(connection, _of_the_living(connection, batch))
            _write_headers(connection, living)
            rows = [self._row_of(record) for record in living]
            for statement, counted in zip(_inserts(insert_of(connection)), (False, True), strict=True):
                # In one order, so that no two replicas wait for each other.
                chosen = [row for row in rows if (row["kind"] is not None and row["proven"] is False) is counted]
                if chosen:
                    connection.execute(statement, sorted(chosen, key=lambda row: row["kind"] or ""))
            self._prune(connection, len(living))

    def _new(self, connection: sa.Connection, batch: Sequence[RecordedDecision]) -> list[RecordedDecision]:
        """But for allowed requests whose row another process wrote: their headers would be of no row, and stay."""
        kinds = {kind for record in batch if (kind := self._first_of_day(record)) is not None}
        query = sa.select(decisions.c.kind).where(decisions.c.kind.in_(kinds))
        known = set(connection.execute(query).scalars()) if kinds else set()
        return [record for record in batch if self._first_of_day(record) not in known]

    def _row_of(self, record: RecordedDecision) -> dict[str, Any]:
        row = _row(record)
        return row | {"kind": self._first_of_day(record) or row["kind"]}

    def _first_of_day(self, record: RecordedDecision) -> str | None:
        """The kind of an allowed request of which a user has one a day; that of none without an identity is like it."""
        if record.outcome is not Outcome.ALLOWED or self._allowed is None or not self._allowed.first_only:
            return None
        return f"{record.at:%Y-%m-%d} {record.organization_id} {record.outcome} {record.user}"

    def _prune(self, connection: sa.Connection, written: int) -> None:
        """Down to the bounds, where a hundredth of them was written since the last time, or a minute has passed."""
        now = self._clock.now()
        self._written += written
        if self._written * 100 < self._limits.rows and now < self._prune_at:
            return
        if not self._database.may_prune(connection):
            return
        self._written, self._prune_at = 0, now + PRUNE_EVERY
        # One of an organization that went while this was written, by another than the one that removed it.
        owner = decisions.c.organization_id
        gone = owner.is_not(None) & owner.not_in(sa.select(organizations.c.id))
        old = decisions.c.at < now - timedelta(days=self._limits.days)
        connection.execute(sa.delete(decisions).where(old | gone))
        strangers = -(-self._limits.rows // STRANGERS)
        for proven, bound in ((False, strangers), (True, self._limits.rows - strangers)):
            for organization, account, excess in _too_much(connection, proven=proven, bound=bound):
                which = {"proven": proven, "organization": organization, "account": account, "excess": excess}
                connection.execute(_FORGET_OLDEST, which)


def _of_the_living(connection: sa.Connection, batch: Sequence[RecordedDecision]) -> list[RecordedDecision]:
    """Decisions of no organization, and of organizations that still exist: nothing outlives its organization."""
    query = sa.select(organizations.c.id, organizations.c.name)
    owners = {record.organization_id for record in batch}
    names = {row.id: row.name for row in connection.execute(query.where(organizations.c.id.in_(owners - {None})))}
    return [record for record in batch if names.get(record.organization_id, "") == record.organization]


def _write_headers(connection: sa.Connection, batch: Sequence[RecordedDecision]) -> None:
    packed = {pack(record.headers) for record in batch if record.headers is not None}
    if packed:
        new = [{"sha256": hashlib.sha256(headers).digest(), "headers": headers} for headers in packed]
        statement = insert_of(connection)(presentations).on_conflict_do_nothing()
        connection.execute(statement, sorted(new, key=itemgetter("sha256")))


def _row(record: RecordedDecision) -> dict[str, Any]:
    digest = None if record.headers is None else hashlib.sha256(pack(record.headers)).digest()
    return row_of(record) | {"presentation": digest}


def _too_much(connection: sa.Connection, *, proven: bool, bound: int) -> Iterator[tuple[int | None, str, int]]:
    """Which accounts give up how much: the organizations with most come down first, in each the accounts with most."""
    sizes: dict[int | None, dict[str, int]] = {}
    for row in connection.execute(_SIZES, {"proven": proven}):
        sizes.setdefault(row.organization_id, {})[row.account] = row.weight
    totals = {owner: sum(accounts.values()) for owner, accounts in sizes.items()}
    for owner, excess in surplus(totals, bound):
        for account, part in surplus(sizes[owner], totals[owner] - excess):
            yield owner, account, part


_HEADERS = sa.select(presentations.c.id).where(presentations.c.sha256 == sa.bindparam("presentation"))
_KEPT = {"id", "first_at", "kind"}


@cache
def _inserts(insert: Callable[[sa.Table], Any]) -> tuple[sa.Insert, sa.Insert]:
    """Of decisions that each have a row, and of those that share one, which counts them."""
    statement = insert(decisions).values(presentation_id=_HEADERS.scalar_subquery())
    new = statement.excluded
    values = {column.name: new[column.name] for column in decisions.c if column.name not in _KEPT}
    values["repeats"] = decisions.c.repeats + new.repeats
    shared = statement.on_conflict_do_update(index_elements=[decisions.c.kind], set_=values)
    return statement.on_conflict_do_nothing(), shared


_NEWEST = sa.func.max(decisions.c.id)
_SIZES = (
    sa.select(decisions.c.organization_id, decisions.c.account, sa.func.sum(decisions.c.weight).label("weight"))
    .where(decisions.c.proven == sa.bindparam("proven"))
    .group_by(decisions.c.organization_id, decisions.c.account)
    # Where accounts are equal, the one that was quiet for longest gives way.
    .order_by(_NEWEST)
)
_MINE = (
    sa.select(decisions.c.id, decisions.c.weight)
    .where(
        decisions.c.proven == sa.bindparam("proven"),
        decisions.c.organization_id.is_not_distinct_from(sa.bindparam("organization")),
        decisions.c.account == sa.bindparam("account"),
    )
    # Each weighs 1 at least: the oldest of an account are found without a look at the others.
    .order_by(decisions.c.id)
    .limit(sa.bindparam("excess"))
    .subquery()
)
_BEFORE = sa.func.sum(_MINE.c.weight).over(order_by=_MINE.c.id) - _MINE.c.weight
_OLDEST = sa.select(_MINE.c.id, _BEFORE.label("before")).subquery()
_FORGET_OLDEST = sa.delete(decisions).where(
    decisions.c.id.in_(sa.select(_OLDEST.c.id).where(_OLDEST.c.before < sa.bindparam("excess")))
)


def _recorded(check: CheckRequest, listener: Listener, decision: Decision, at: datetime) -> RecordedDecision:
    seen = decision.evidence
    headers = replayable_headers(check, listener.header) if _can_be_replayed(decision) else ()
    small = sum(len(name) + len(value) for name, value in headers) <= MAX_HEADER_BYTES
    if isinstance(decision, Allow):
        outcome, reason, detail, limit = Outcome.ALLOWED, "", "", MAX_SHOWN
        if decision.binding is not None and decision.binding.refusal is not None:
            outcome, reason, detail = Outcome.OBSERVED, str(decision.binding), decision.binding.detail
    else:
        outcome, reason, detail = Outcome.DENIED, decision.reason.value, decision.detail
        limit = decision.detail_limit
    return RecordedDecision(
        decision_id=check.decision_id,
        at=at,
        listener=listener.name,
        outcome=outcome,
        reason=reason,
        detail=_bounded(detail, limit),
        # The host decides again when the request is replayed, so it is kept as it came.
        host=check.host[:MAX_TARGET],
        method=_bounded(check.method, 16),
        target=_bounded(_without_query(check.target), MAX_TARGET),
        organization="" if seen.organization is None else seen.organization.name,
        organization_id=None if seen.organization is None else seen.organization.id,
        proven=seen.user is not None,
        first_at=at,
        user="" if seen.identity is None else _bounded(seen.identity.user, MAX_USER),
        confirmation=None if seen.identity is None else seen.identity.confirmation,
        certificate=seen.certificate,
        subject=_subject(decision),
        headers=headers if small else None,
    )


def _bounded(text: str, limit: int) -> str:
    """What is shown of `text`, at most `limit` characters of it, escapes included."""
    return shown(text, limit)[:limit]


def _can_be_replayed(decision: Decision) -> bool:
    """Whether the headers change anything when the request is decided again.

    Without a user, whose token is not kept, a replay ends before it looks into the certificate. So a stranger,
    who needs no token to be refused, cannot fill the disk with certificates.
    """
    if isinstance(decision, Deny) and decision.reason.gate is Gate.HEADER:
        return True
    return decision.evidence.identity is not None


def _without_query(target: str) -> str:
    """RFC 6750 section 2.3 puts tokens into the query, and applications put passwords there: no value of it is kept."""
    path, mark, _ = target.partition("?")
    return path + mark


def _subject(decision: Decision) -> str:
    leaf = decision.evidence.leaf
    try:
        return "" if leaf is None else _bounded(leaf.subject.text, MAX_SHOWN)
    except Refused:
        return ""
