"""Rows of the directory in memory until they change; bounded in bytes, shared fairly."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import Final
from weakref import WeakValueDictionary

from authz.directory.keys import ChangedKey, CrlKey, HostKey, OrganizationKey, TrustKey, UsersKey
from authz.errors import Refused
from authz.model import Organization, User
from authz.pki import TrustStore
from authz.pki.cache import CERTIFICATE_BYTES, Cache, SharedCache, weigh
from authz.pki.cache.shared import Entry
from authz.pki.path.trust_store import MAX_NARROWED
from authz.pki.revocation.crl_store import MAX_REMEMBERED

MISSING: Final = object()

STALE: Final = -1
"""The line of rows that changed."""

HOSTS_PART: Final = 10
"""The room of hosts, besides that of tenants: a tenth of it."""

TRUST_PART: Final = 4
"""The room of trust stores, likewise: a quarter."""

ROW_BYTES: Final = 192
"""A row."""

USER_BYTES: Final = 664
"""A user and the key of the row but for the letters of both names: what is read most often is not weighed in parts."""

NAME_BYTES: Final = 8
"""A letter of a user's name, at most: four bytes, in the row and in the key."""

TRUST_BYTES: Final = 8_192
"""A trust store without its certificates, and its tenant where nothing else is remembered of it."""

NARROWED_BYTES: Final = 400
"""A certificate of it in a store of one of its anchors (`TrustStore.only`), which shares all but its tables."""

DER_FACTOR: Final = 12
"""Bytes that each byte of an operator's own certificate takes once it is read: three times what usual ones take."""

MIN_SWEEP: Final = 64
"""Owners below which those without rows are not swept out; above, they are whenever the owners have doubled."""

UNKNOWN_HOSTS: Final = "unknown hosts"

RECENT: Final = 2
"""Readings whose rows are at hand whatever was evicted: one row may evict another that the same check needs."""


def tenants_memory(max_bytes: int) -> SharedCache:
    """The room of tenants if a worker may remember `max_bytes` in all: hosts, trust stores and CRLs have rooms, too."""
    return SharedCache(int((max_bytes - MAX_REMEMBERED) / (1 + 1 / HOSTS_PART + 1 / TRUST_PART)))


class CachedRow:
    """A value, and the line of changes in which it holds, or `STALE`.

    The hosts of an organization share one, so that a change of the organization takes one step for all of them.
    """

    __slots__ = ("__weakref__", "line", "value")

    def __init__(self, line: int, value: object) -> None:
        self.line = line
        self.value = value


class OwnerRows(Cache[Hashable, CachedRow]):
    """Rows of one owner."""

    __slots__ = ()


class RowCache:
    """Values by owner (an organization's id, "hosts" or "trust") and key, each of one line of changes.

    A row answers only in its own line, and until `drop` is called for what changed of it. Rows of an organization
    count as its part of `memory` (see `authz.pki.cache.shared` for what goes first). Hosts, which strangers ask for,
    have a room of their own, a tenth of it for unknown ones, which drive out each other alone; so have trust stores,
    so that what a check needs is there when its user has been read.
    """

    def __init__(self, memory: SharedCache) -> None:
        self._memory = memory
        hosts, trust = memory.max_bytes // HOSTS_PART, SharedCache(memory.max_bytes // TRUST_PART)
        unknown = hosts // HOSTS_PART
        self._rooms: dict[Hashable, SharedCache] = {
            "hosts": SharedCache(hosts - unknown),
            UNKNOWN_HOSTS: SharedCache(unknown),
            "trust": trust,
        }
        self._rows: dict[Hashable, OwnerRows] = {}
        self._organizations: WeakValueDictionary[int | None, CachedRow] = WeakValueDictionary()
        self._sweep_at = MIN_SWEEP
        self._recent: deque[dict[tuple[Hashable, Hashable], CachedRow]] = deque(maxlen=RECENT)

    def get(self, owner: Hashable, key: Hashable, line: int) -> object:
        """The value, or `MISSING` without one of that line."""
        rows = self._rows.get(owner)
        entry = None if rows is None else rows.entries.get(key)
        if entry is not None and entry.value.line == line:
            entry.used = True
            return entry.value.value
        for recent in self._recent:
            row = recent.get((owner, key))
            if row is not None and row.line == line:
                return row.value
        return self.get(UNKNOWN_HOSTS, key, line) if owner == "hosts" else MISSING

    def begin(self) -> None:
        """Rows of one reading follow: the check that asked for them has them once, however full the cache is."""
        self._recent.appendleft({})

    def outdated(self, owner: Hashable, key: Hashable) -> object:
        """The value of any line, or a stale one, which decides nothing, or `MISSING`."""
        rows = self._rows.get(owner)
        entry = None if rows is None else rows.entries.get(key)
        return MISSING if entry is None else entry.value.value

    def has(self, owner: Hashable, key: Hashable, line: int) -> bool:
        """Whether `get` would return a value."""
        rows = self._rows.get(owner)
        entry = None if rows is None else rows.entries.get(key)
        return entry is not None and entry.value.line == line

    def put(self, owner: Hashable, key: Hashable, line: int, value: object) -> None:
        """Keep a value that holds in that line, from now on."""
        owner = UNKNOWN_HOSTS if owner == "hosts" and value is None else owner
        row = self._shared(line, value) if owner in {"hosts", UNKNOWN_HOSTS} else CachedRow(line, value)
        rows = self._rooms.get(owner, self._memory).part(owner, OwnerRows)
        rows.put(key, row, ROW_BYTES + _weight(key, value))
        if len(self._rows) >= self._sweep_at:
            self._rows = {name: part for name, part in self._rows.items() if len(part)}
            self._sweep_at = max(MIN_SWEEP, 2 * len(self._rows))
        self._rows[owner] = rows
        if self._recent:
            self._recent[0][owner, key] = row

    def _shared(self, line: int, organization: object) -> CachedRow:
        """The row of all hosts of an organization; that of None of all unknown hosts."""
        number = organization.id if isinstance(organization, Organization) else None
        row = self._organizations.get(number)
        if row is None or row.line != line:
            row = self._organizations[number] = CachedRow(line, organization)
        return row

    def drop(self, key: ChangedKey) -> None:
        """Forget what changed; hosts are `outdated` from now on."""
        self._recent.clear()
        match key:
            case OrganizationKey():
                # An unknown host may be one of an organization that came.
                for number in (key.organization, None):
                    if (row := self._organizations.pop(number, None)) is not None:
                        row.line = STALE
                # What its paths must satisfy is in its row, and counts with its anchors.
                self.drop(TrustKey(key.organization))
            case HostKey():
                for entry in self._entries(key.host, "hosts", UNKNOWN_HOSTS):
                    entry.value = CachedRow(STALE, entry.value.value)
            case CrlKey():
                pass
            case _:
                rows = self._rows.get("trust" if isinstance(key, TrustKey) else key.organization)
                if rows is not None and (isinstance(key, UsersKey) or key == TrustKey(0)):
                    rows.clear()
                elif rows is not None:
                    rows.remove(key)

    def _entries(self, key: Hashable, *owners: str) -> list[Entry[CachedRow]]:
        found = (self._rows[owner].entries.get(key) for owner in owners if owner in self._rows)
        return [entry for entry in found if entry is not None]

    def __len__(self) -> int:
        return sum(map(len, self._rows.values()))


def _weight(key: Hashable, value: object) -> int:
    if isinstance(value, User):
        return USER_BYTES + NAME_BYTES * len(value.name)
    if isinstance(value, TrustStore):
        narrowed = NARROWED_BYTES * (min(len(value.anchors), MAX_NARROWED) if len(value.anchors) > 1 else 0)
        certificates = sum(CERTIFICATE_BYTES + narrowed + DER_FACTOR * len(der) for der in value.known)
        return weigh(key) + TRUST_BYTES + certificates
    if isinstance(value, Refused):
        return weigh(key) + TRUST_BYTES + len(value.certificate or b"")
    return weigh(key) + weigh(value)
