"""One check, from question to answer: the first place that may wait, the only one that catches everything."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from authz.decision import Decision, Deny, Evidence, evaluate
from authz.errors import NotLoaded, Refused
from authz.model import CheckRequest
from authz.ports import Clock, Directory, Observer, Source
from authz.reasons import Reason
from authz.view import Door


@dataclass(frozen=True, slots=True)
class Limits:
    """What one service takes on at once.

    `concurrent_checks` counts checks that wait for a row; beyond it the answer is 503 at once. `loads`
    bounds how often one check may ask for a row: organization, user, registrations, anchors, CRLs and
    keys once each, and once more for a directory that changes meanwhile. `seconds` bounds the waiting,
    below the 400 ms that the shipped proxy configurations give one try.
    """

    concurrent_checks: int = 1024
    loads: int = 12
    seconds: float = 0.3


class Service:
    """Decides checks over a directory; safe to share by every listener of one event loop."""

    def __init__(
        self,
        directory: Directory,
        clock: Clock,
        *observers: Observer,
        sources: Sequence[Source] = (),
        limits: Limits | None = None,
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._observers = observers
        self._sources = (directory, *sources)
        self._limits = limits or Limits()
        self._waiting = 0

    async def check(self, check: CheckRequest, door: Door) -> Decision:
        """The decision about `check` at `door`; never raises but for cancellation: whatever fails inside denies."""
        started = self._clock.monotonic()
        try:
            decision = await self._decide(check, door)
        except Refused as refusal:
            decision = Deny(refusal.reason, refusal.detail, Evidence())
        except Exception as error:  # noqa: BLE001 - fail closed: the one place that catches everything, and denies
            for observer in self._observers:
                observer.failed(check, door, error)
            decision = Deny(Reason.INTERNAL_ERROR, type(error).__name__, Evidence())
        seconds = self._clock.monotonic() - started
        for observer in self._observers:
            observer.decided(check, door, decision, seconds)
        return decision

    async def _decide(self, check: CheckRequest, door: Door) -> Decision:
        """Decide with what is at hand; else load what is missing, and start again with a fresh view and time."""
        try:
            return evaluate(check, door, self._directory.view(), self._clock.now())
        except NotLoaded as missing:
            key = missing.key
        if self._waiting >= self._limits.concurrent_checks:
            raise Refused(Reason.OVERLOADED, f"{self._waiting} checks wait already")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._limits.seconds):
                return await self._load_and_decide(check, door, key)
        except TimeoutError:
            raise Refused(Reason.DIRECTORY_UNAVAILABLE, f"no answer within {self._limits.seconds} s") from None
        finally:
            self._waiting -= 1

    async def _load_and_decide(self, check: CheckRequest, door: Door, key: object) -> Decision:
        for _ in range(self._limits.loads):
            await self._load(key)
            try:
                return evaluate(check, door, self._directory.view(), self._clock.now())
            except NotLoaded as missing:
                key = missing.key
        raise Refused(Reason.DIRECTORY_UNAVAILABLE, "the directory changes faster than it can be read")

    async def _load(self, key: object) -> None:
        for source in self._sources:
            if await source.load(key):
                return
        raise LookupError(f"no source loads {type(key).__name__}")
