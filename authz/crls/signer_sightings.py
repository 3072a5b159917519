"""Who met what: which organizations' paths led to a distribution point, or through a CA, and when they did last."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Final

MET_FOR: Final = timedelta(days=1)
"""How long something counts as met. Workers tell of each path again every hour (`first_sight.TELL_AGAIN_SECONDS`)."""

COARSE: Final = timedelta(minutes=10)
"""A moment so little later than the one remembered is not worth remembering: each is written to disk."""

NO_ORGANIZATION: Final = 0
"""Stands for organizations that are not known, of what was kept by an earlier version: their numbers begin with 1."""


class Met:
    """By name: the location of a point, or the SHA-256 of a CA's key in hexadecimal. `changed` until it was written.

    `readable` says whether it was read from what an earlier process wrote.
    """

    def __init__(self) -> None:
        self.changed = False
        self.readable = False
        self._when: dict[str, dict[int, datetime]] = {}

    def note(self, organization: int, names: Iterable[str], now: datetime) -> None:
        """A path of the organization met these."""
        for name in names:
            when = self._when.setdefault(name, {})
            if organization not in when or abs(now - when[organization]) >= COARSE:
                when[organization] = now
                self.changed = True

    def by(self, name: str) -> Collection[int]:
        """The organizations that met it; `NO_ORGANIZATION` is none."""
        return self._when.get(name, {}).keys() - {NO_ORGANIZATION}

    def knows(self, name: str) -> bool:
        """Whether anything is known of it."""
        return name in self._when

    def lately(self, name: str, organizations: Collection[int], now: datetime) -> bool:
        """Whether any of the organizations met it within a day."""
        return any(now - at < MET_FOR for one, at in self._when.get(name, {}).items() if one in organizations)

    def keep(self, names: Collection[str], organizations: Collection[int]) -> None:
        """Forget every other name, and every other organization."""
        kept = {
            name: {one: at for one, at in when.items() if one in organizations}
            for name, when in self._when.items()
            if name in names
        }
        self._when = {name: when for name, when in kept.items() if when}

    def to_bytes(self, now: datetime) -> bytes:
        """In a form of its own; `changed` no more."""
        self.changed = False
        met = {name: {str(one): at.isoformat() for one, at in when.items()} for name, when in self._when.items()}
        return json.dumps({"at": now.isoformat(), "met": met}).encode()

    @classmethod
    def from_bytes(cls, data: bytes, now: datetime) -> Met:
        """What `to_bytes` made; nothing of anything else. The time in between, in which nobody was met, passes over."""
        made = cls()
        try:
            told = json.loads(data)
            passed = now - datetime.fromisoformat(told["at"])
            made._when = {
                str(name): {int(one): datetime.fromisoformat(at) + passed for one, at in when.items()}
                for name, when in told["met"].items()
            }
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            return cls()
        made.readable = True
        return made
