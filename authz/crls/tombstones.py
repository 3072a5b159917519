"""What outlives a CRL that is held no more: its rank, so that an older one cannot take its place.

A copy goes when no organization needs it, and when it is set aside as corrupt. An attacker in the place of the CRL's
server could then replay an older CRL, in which a certificate is not yet listed. Pure: the time is an argument.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, Self

from authz.crls.acceptance import SignedCrl
from authz.crls.disk_store import copy_name
from authz.crls.failures import FailureKind, FetchFailed
from authz.pki.crl.crl import is_newer

FORGET_AFTER: Final = timedelta(days=30)
"""How long after its nextUpdate, and the longest grace, a copy or its tombstone is thrown away."""

MAX_TOMBSTONES: Final = 10_000
"""Of all organizations: 3 MB on disk. One organization's points give 2,048 CRLs at most."""

_UNREADABLE: Final = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)


def place_of(signed: SignedCrl, key: bytes) -> str:
    """Issuer, signing key (SubjectPublicKeyInfo, DER), scope, and whether it is a delta: what a CRL is ordered within.

    64 hexadecimal digits. Unlike a copy's name it does not tell deltas of different bases apart.
    """
    return copy_name(bytes(signed.crl.issuer), key, signed.crl.scope, delta=signed.crl.is_delta)


@dataclass(frozen=True, slots=True)
class Tombstone:
    """The rank of a CRL: `place` as in `place_of`, its number, its date, its SHA-256, and when it is out of date."""

    place: str
    number: int | None
    this_update: datetime
    expires: datetime
    sha256: bytes

    @classmethod
    def of(cls, signed: SignedCrl, key: bytes) -> Self:
        """That of a CRL which `key` signed."""
        crl = signed.crl
        expires = crl.next_update or crl.this_update
        return cls(place_of(signed, key), crl.number, crl.this_update, expires, crl.sha256)

    def to_json(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "place": self.place,
            "number": self.number,
            "this_update": self.this_update.isoformat(),
            "expires": self.expires.isoformat(),
            "sha256": self.sha256.hex(),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any] | None) -> Self | None:
        """What `to_json` made; None for anything else."""
        if document is None:
            return None
        try:
            number = None if document["number"] is None else int(document["number"])
            moments = [datetime.fromisoformat(document[field]) for field in ("this_update", "expires")]
            if None in (moment.tzinfo for moment in moments):
                return None
            return cls(str(document["place"]), number, moments[0], moments[1], bytes.fromhex(document["sha256"]))
        except _UNREADABLE:
            return None

    def check(self, new: SignedCrl) -> None:
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

    def check(self, new: SignedCrl, key: bytes, renumbered: datetime | None = None) -> None:
        """Raises `FetchFailed` (older, disagrees) for a CRL that goes back.

        Of those that began no later than `renumbered` the date alone counts. One that was held may come again, unless
        another of later date was held: where a CA counts anew, neither supersedes the other.
        """
        same_place = self._all.get(place_of(new, key), {})
        again = new.crl.sha256 in {tombstone.sha256 for tombstone in same_place}
        for tombstone in same_place:
            if again and tombstone.this_update <= new.crl.this_update:
                continue
            by_date = again or (renumbered is not None and tombstone.this_update <= renumbered)
            (replace(tombstone, number=None) if by_date else tombstone).check(new)

    def add(self, tombstone: Tombstone, organizations: Iterable[int] = ()) -> None:
        """From now on nothing older takes that place; of those it supersedes nothing is needed."""
        same_place = self._all.setdefault(tombstone.place, {})
        for older in [older for older in same_place if is_newer(tombstone, older)]:
            del same_place[older]
        same_place[tombstone] = frozenset(organizations) | same_place.get(tombstone, frozenset())

    def trim(self) -> None:
        """Down to `MAX_TOMBSTONES`: the organization with most gives first, what would be forgotten first.

        One that several organizations share counts for that which has fewest: none can crowd out another's.
        """
        if len(self) <= MAX_TOMBSTONES:
            return
        counted = Counter(
            organization for same_place in self._all.values() for by in same_place.values() for organization in by
        )
        owned: defaultdict[int, list[Tombstone]] = defaultdict(list)
        for same_place in self._all.values():
            for tombstone, by in same_place.items():
                owned[min(by, key=lambda organization: counted[organization], default=0)].append(tombstone)
        sizes = [len(tombstones) for tombstones in owned.values()]
        levels = range(MAX_TOMBSTONES + 1)
        limit = bisect_right(levels, MAX_TOMBSTONES, key=lambda level: sum(min(size, level) for size in sizes)) - 1
        for tombstones in owned.values():
            for tombstone in sorted(tombstones, key=lambda each: each.expires, reverse=True)[limit:]:
                self._remove(tombstone)

    def _remove(self, tombstone: Tombstone) -> None:
        del self._all[tombstone.place][tombstone]
        if not self._all[tombstone.place]:
            del self._all[tombstone.place]

    def forget(self, due: datetime) -> None:
        """Those whose CRL was out of date `FORGET_AFTER` before `due`."""
        tombstones = [tombstone for same_place in self._all.values() for tombstone in same_place]
        # A CRL may end with the last moment that can be represented, and nothing can be added to that.
        for tombstone in tombstones:
            if due - tombstone.expires > FORGET_AFTER:
                self._remove(tombstone)

    def to_bytes(self) -> bytes:
        """In a form of its own."""
        entries = (entry for same_place in self._all.values() for entry in same_place.items())
        return json.dumps([tombstone.to_json() | {"by": sorted(by)} for tombstone, by in entries]).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """What `to_bytes` made, without what cannot be read of it."""
        made = cls()
        try:
            entries = json.loads(data)
            for entry in entries:
                tombstone = Tombstone.from_json(entry)
                if tombstone is not None:
                    made.add(tombstone, map(int, entry["by"]))
        except _UNREADABLE:
            return made
        return made
