"""The history of decisions: what was refused, and what `observe` let pass; written beside the checks, never by them.

A check leaves its record in a queue and goes on. A task of its own writes what has gathered, in a thread,
in one transaction; what finds the queue full, or the directory unable to take it, is counted as lost.
Rows are bounded by number and age, the queue and the rows per organization too: one tenant's flood of
refusals does not drive out what is kept of another.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from authz.decision import Allow, Decision, Deny
from authz.directory.engine import open_engine
from authz.directory.recorded import pack, row_of
from authz.directory.schema import decisions, presentations
from authz.errors import Refused
from authz.headers import evidence
from authz.model import CheckRequest, Outcome, Recorded
from authz.ports import Clock
from authz.reasons import Gate
from authz.text import shown
from authz.view import Door

FLUSH_SECONDS: Final = 0.5
"""How long records gather: what was refused can be looked up a second later."""

MAX_QUEUED: Final = 2_000
"""Records that wait to be written: 4,000 refusals a second are kept, at a few per cent of a core."""

MAX_QUEUED_EACH: Final = 500
"""Of one organization, or of requests of none."""

MAX_HEADER_BYTES: Final = 16 * 1024
"""Certificate headers larger than this are not kept: a leaf with two intermediates takes 3 to 8 KB."""

MAX_TARGET: Final = 512
"""Characters of the request's path, and of its host, that are kept."""

MAX_USER: Final = 256
"""Characters of a user's name: no user has a longer one, nor one that would have to be escaped."""


@dataclass(frozen=True, slots=True)
class HistoryLimits:
    """How many decisions are kept, in all, and for how many days."""

    rows: int = 20_000
    days: int = 30


class History:
    """Implements `authz.ports.Observer`: keeps decisions in the directory at `url`.

    `lost` is told how many records were dropped, `warn` why they could not be written.
    """

    def __init__(
        self,
        url: str,
        clock: Clock,
        limits: HistoryLimits,
        *,
        lost: Callable[[int], None],
        warn: Callable[[str], None],
    ) -> None:
        self._engine = open_engine(url)
        self._clock = clock
        self._limits = limits
        self._lost = lost
        self._warn = warn
        self._failing = False
        self._queue: deque[Recorded] = deque()
        self._queued: Counter[str] = Counter()
        self._task: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()

    # -- beside the check ----------------------------------------------------------------------------

    def decided(self, check: CheckRequest, door: Door, decision: Decision, seconds: float) -> None:  # noqa: ARG002
        """Queue what the history keeps of a decision; see `authz.ports.Observer`."""
        if isinstance(decision, Allow) and (decision.binding is None or decision.binding.refusal is None):
            return
        if not isinstance(decision, Allow) and decision.reason.status == 503:
            return  # not decided, and nothing about the request
        organization = decision.evidence.organization
        owner = "" if organization is None else organization.name
        if len(self._queue) >= MAX_QUEUED or self._queued[owner] >= MAX_QUEUED_EACH:
            self._lost(1)
            return
        self._queued[owner] += 1
        self._queue.append(_recorded(check, door, decision, self._clock.now()))

    def failed(self, check: CheckRequest, door: Door, error: BaseException) -> None:
        """Nothing: a failure inside is no decision about the request."""

    # -- beside the loop -----------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to write what is queued."""
        self._task = asyncio.create_task(self._run(), name="history")

    async def close(self) -> None:
        """Write what is left, and give the database back."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self.flush()
        self._engine.dispose()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            # A cancelled task must not leave a batch half accounted for.
            await asyncio.shield(self.flush())

    async def flush(self) -> None:
        """Write everything that is queued now; what cannot be written is lost, and counted."""
        async with self._writing:
            if not self._queue:
                return
            batch, self._queue = self._queue, deque()
            self._queued.clear()
            try:
                await asyncio.to_thread(self._write, batch)
                self._failing = False
            except (sa.exc.SQLAlchemyError, OSError, ValueError) as error:
                self._lost(len(batch))
                if not self._failing:
                    self._warn(f"the history cannot be written: {getattr(error, 'orig', None) or error}")
                self._failing = True

    def _write(self, batch: Sequence[Recorded]) -> None:
        """One transaction: the headers that are new, the decisions, and away with what is too old or too much."""
        packed = [None if one.headers is None else pack(one.headers) for one in batch]
        shas = [None if one is None else hashlib.sha256(one).digest() for one in packed]
        new = [{"sha256": sha, "headers": one} for sha, one in zip(shas, packed, strict=True) if one is not None]
        held = sa.select(presentations.c.id).where(presentations.c.sha256 == sa.bindparam("presentation"))
        rows = [row_of(one) | {"presentation": sha} for one, sha in zip(batch, shas, strict=True)]
        with self._engine.begin() as connection:
            if new:
                connection.execute(insert(presentations).on_conflict_do_nothing(), new)
            adding = insert(decisions).values(presentation_id=held.scalar_subquery()).on_conflict_do_nothing()
            connection.execute(adding, rows)
            self._prune(connection)

    def _prune(self, connection: sa.Connection) -> None:
        oldest = self._clock.now() - timedelta(days=self._limits.days)
        gone = connection.execute(sa.delete(decisions).where(decisions.c.at < oldest)).rowcount
        owner = decisions.c.organization
        sizes: dict[str, int] = {
            row.organization: row.rows
            for row in connection.execute(sa.select(owner, sa.func.count().label("rows")).group_by(owner))
        }
        for name, surplus in _surplus(sizes, self._limits.rows):
            first = sa.select(decisions.c.id).where(owner == name).order_by(decisions.c.id).limit(surplus)
            gone += connection.execute(sa.delete(decisions).where(decisions.c.id.in_(first))).rowcount
        if gone:
            used = sa.select(decisions.c.id).where(decisions.c.presentation_id == presentations.c.id)
            connection.execute(sa.delete(presentations).where(~used.exists()))


def _surplus(sizes: dict[str, int], bound: int) -> Iterator[tuple[str, int]]:
    """How many rows each organization gives up: those with the most come down to one level first."""
    excess = sum(sizes.values()) - bound
    if excess <= 0:
        return
    largest = sorted(sizes.items(), key=lambda one: -one[1])
    together = 0
    for number, (_, size) in enumerate(largest, 1):
        together += size
        level = max(0, (together - excess) // number)
        if number == len(largest) or level >= largest[number][1]:
            yield from ((name, rows - level) for name, rows in largest[:number] if rows > level)
            return


def _recorded(check: CheckRequest, door: Door, decision: Decision, at: datetime) -> Recorded:
    seen = decision.evidence
    headers = evidence(check, door.header) if _can_be_replayed(decision) else ()
    small = sum(len(name) + len(value) for name, value in headers) <= MAX_HEADER_BYTES
    if isinstance(decision, Allow):
        outcome, reason, detail = Outcome.OBSERVED, str(decision.binding), ""
    else:
        outcome, reason, detail = Outcome.DENIED, decision.reason.value, decision.detail
    return Recorded(
        decision_id=check.decision_id,
        at=at,
        door=door.name,
        outcome=outcome,
        reason=reason,
        detail=shown(detail),
        # The host decides again when the request is replayed, so it is kept as it came.
        host=check.host[:MAX_TARGET],
        method=shown(check.method, 16),
        target=shown(_without_query(check.target), MAX_TARGET),
        organization="" if seen.organization is None else seen.organization.name,
        user="" if seen.identity is None else shown(seen.identity.user, MAX_USER),
        confirmation=None if seen.identity is None else seen.identity.confirmation,
        certificate=seen.certificate,
        subject=_subject(decision),
        headers=headers if small else None,
    )


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
        return "" if leaf is None else shown(leaf.subject.text)
    except Refused:
        return ""
