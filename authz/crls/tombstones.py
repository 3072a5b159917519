"""What outlives a CRL that is held no more: its rank, so that an older one cannot take its place.

A copy goes when no organization needs it, and when it is set aside as corrupt. An attacker in the place of the CRL's
server could then replay an older CRL, in which a certificate is not yet listed. Pure: the time is an argument.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Self

from authz.crls.acceptance import Held
from authz.crls.disk_store import name_of
from authz.crls.failures import FailureKind, FetchFailed
from authz.pki.crl.crl import is_newer

FORGET_AFTER: Final = timedelta(days=30)
"""How long after its nextUpdate, and the longest grace, a copy or its tombstone is thrown away."""

MAX_TOMBSTONES: Final = 10_000
"""Of all organizations: 3 MB on disk. One organization's points give 2,048 CRLs at most."""

_UNREADABLE: Final = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)


def place_of(held: Held, key: bytes) -> str:
    """Issuer, signing key (SubjectPublicKeyInfo, DER), scope, and whether it is a delta: what a CRL is ordered within.

    64 hexadecimal digits. Unlike a copy's name it does not tell deltas of different bases apart.
    """
    return name_of(bytes(held.crl.issuer), key, held.crl.scope, delta=held.crl.is_delta)


@dataclass(frozen=True, slots=True)
class Tombstone:
    """The rank of a CRL: `place` as in `place_of`, its number, its date, its SHA-256, and when it is out of date."""

    place: str
    number: int | None
    this_update: datetime
    expires: datetime
    sha256: bytes

    @classmethod
    def of(cls, held: Held, key: bytes) -> Self:
        """That of a CRL which `key` signed."""
        crl = held.crl
        expires = crl.next_update or crl.this_update
        return cls(place_of(held, key), crl.number, crl.this_update, expires, crl.sha256)

    def told(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "place": self.place,
            "number": self.number,
            "this_update": self.this_update.isoformat(),
            "expires": self.expires.isoformat(),
            "sha256": self.sha256.hex(),
        }

    @classmethod
    def from_told(cls, told: Mapping[str, Any] | None) -> Self | None:
        """What `told` made; None for anything else."""
        if told is None:
            return None
        try:
            number = None if told["number"] is None else int(told["number"])
            moments = [datetime.fromisoformat(told[one]) for one in ("this_update", "expires")]
            if None in (one.tzinfo for one in moments):
                return None
            return cls(str(told["place"]), number, moments[0], moments[1], bytes.fromhex(told["sha256"]))
        except _UNREADABLE:
            return None

    def check(self, new: Held) -> None:
        """As `acceptance.check_newer` does against a CRL that is held. Raises `FetchFailed` (older, disagrees)."""
        if is_newer(new.crl, self):
            return
        before = f"the one of {self.this_update:%Y-%m-%d %H:%M:%SZ} that was held before"
        if is_newer(self, new.crl):
            raise FetchFailed(FailureKind.OLDER, f"{new.known_as} is older than {before}")
        raise FetchFailed(FailureKind.DISAGREES, f"{new.known_as} is neither newer nor older than {before}")


class Tombstones:
    """Those that count, each with the organizations that the CRL was held for."""

    def __init__(self) -> None:
        self._all: dict[str, dict[Tombstone, frozenset[int]]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._all.values()))

    def check(self, new: Held, key: bytes) -> None:
        """Raises `FetchFailed` (older, disagrees) for a CRL that goes back; one that was held may come again."""
        same_place = self._all.get(place_of(new, key), {})
        if new.crl.sha256 not in (one.sha256 for one in same_place):
            for one in same_place:
                one.check(new)

    def add(self, tombstone: Tombstone, organizations: Iterable[int] = ()) -> None:
        """From now on nothing older takes that place; of those it supersedes nothing is needed."""
        same_place = self._all.setdefault(tombstone.place, {})
        for one in [one for one in same_place if is_newer(tombstone, one)]:
            del same_place[one]
        same_place[tombstone] = frozenset(organizations) | same_place.get(tombstone, frozenset())

    def trim(self) -> None:
        """Down to `MAX_TOMBSTONES`: the organization with most gives first, what would be forgotten first.

        One that several organizations share counts for that which has fewest: none can crowd out another's.
        """
        if len(self) <= MAX_TOMBSTONES:
            return
        counted = Counter(each for same_place in self._all.values() for by in same_place.values() for each in by)
        owned: defaultdict[int, list[Tombstone]] = defaultdict(list)
        for same_place in self._all.values():
            for one, by in same_place.items():
                owned[min(by, key=lambda each: counted[each], default=0)].append(one)
        sizes = [len(one) for one in owned.values()]
        levels = range(MAX_TOMBSTONES + 1)
        each = bisect_right(levels, MAX_TOMBSTONES, key=lambda level: sum(min(size, level) for size in sizes)) - 1
        for tombstones in owned.values():
            for one in sorted(tombstones, key=lambda one: one.expires, reverse=True)[each:]:
                self._remove(one)

    def _remove(self, tombstone: Tombstone) -> None:
        del self._all[tombstone.place][tombstone]
        if not self._all[tombstone.place]:
            del self._all[tombstone.place]

    def forget(self, due: datetime) -> None:
        """Those whose CRL was out of date `FORGET_AFTER` before `due`."""
        every = [one for same_place in self._all.values() for one in same_place]
        # A CRL may end with the last moment that can be told, and nothing can be added to that.
        for one in every:
            if due - one.expires > FORGET_AFTER:
                self._remove(one)

    def to_bytes(self) -> bytes:
        """In a form of its own."""
        every = (entry for same_place in self._all.values() for entry in same_place.items())
        return json.dumps([one.told() | {"by": sorted(by)} for one, by in every]).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """What `to_bytes` made, without what cannot be read of it."""
        made = cls()
        try:
            entries = json.loads(data)
            for told in entries:
                tombstone = Tombstone.from_told(told)
                if tombstone is not None:
                    made.add(tombstone, map(int, told["by"]))
        except _UNREADABLE:
            return made
        return made
