"""Requests that are decided as the service does, and kept in the history."""

from __future__ import annotations

from authz.app.config import Settings
from authz.app.crls import CrlSnapshot
from authz.clock import SystemClock
from authz.decision import evaluate
from authz.directory import DirectoryReader, History, HistoryLimits
from authz.errors import NotLoaded, Refused
from authz.model import CheckRequest, Identity, KeptAllowed, Organization
from authz.reasons import Reason
from authz.view import Listener
from support.directory import new_store


class Anonymous:
    """An identity source without an identity."""

    def __init__(self, reason: Reason = Reason.IDENTITY_MISSING) -> None:
        self._reason = reason

    def identify(self, check: CheckRequest, organization: Organization, now: object) -> Identity:
        """Refuse."""
        raise Refused(self._reason)


async def decide_and_keep(check: CheckRequest, listener: Listener, url: str = "sqlite:///test.db") -> None:
    """Decide by the directory at `url`, and write what the history keeps of it."""
    clock = SystemClock()
    store = new_store(url)
    crls = CrlSnapshot(Settings(database=url), store.crl_store())
    store.close()
    reader = DirectoryReader(url, crls, monotonic=clock.monotonic, warn=print)
    history = History(url, clock, HistoryLimits(allowed=KeptAllowed.ALL), lost=print, warn=print)
    await reader.start()
    while True:
        try:
            decision = evaluate(check, listener, reader.view(), clock.now())
            break
        except NotLoaded as missing:
            await reader.load(missing.key)
    history.decided(check, listener, decision, 0.0)
    await history.close()
    await reader.close()
