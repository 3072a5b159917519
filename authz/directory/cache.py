"""Rows of the directory in memory, tagged with the state they were read in; bounded in bytes, shared fairly."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

from authz.errors import Refused
from authz.pki import TrustStore
from authz.pki.cache import CERTIFICATE_BYTES, Cache, SharedCache, weigh
from authz.pki.revocation.crl_store import MAX_REMEMBERED

MISSING: Final = object()

HOSTS_PART: Final = 10
"""The room of hosts, besides that of tenants: a tenth of it."""

TRUST_PART: Final = 4
"""The room of trust stores, likewise: a quarter."""

ROW_BYTES: Final = 192
"""A row's tag, and the tuple they are in."""

TRUST_BYTES: Final = 8_192
"""A trust store without its certificates, and its tenant where nothing else is remembered of it."""

DER_FACTOR: Final = 12
"""Bytes that each byte of an operator's own certificate takes once it is read: three times what usual ones take."""

MIN_SWEEP: Final = 64
"""Owners below which those without rows are not swept out; above, they are whenever the owners have doubled."""

UNKNOWN_HOSTS: Final = "unknown hosts"


def tenants_memory(max_bytes: int) -> SharedCache:
    """The room of tenants if a worker may remember `max_bytes` in all: hosts, trust stores and CRLs have rooms, too."""
    return SharedCache(int((max_bytes - MAX_REMEMBERED) / (1 + 1 / HOSTS_PART + 1 / TRUST_PART)))


class OwnerRows(Cache[Hashable, "tuple[Hashable, object]"]):
    """Rows of one owner, each with its tag."""

    __slots__ = ()


class RowCache:
    """Values by owner (an organization's id, "hosts" or "trust") and key, each with a tag that names a state.

    A row answers only while its tag equals (`!=` refuses) the one asked for. Rows of an organization count as its
    part of `memory` (see `authz.pki.cache.shared` for what goes first). Hosts, which strangers ask for, have a room of
    their own, a tenth of it for unknown ones, which drive out each other alone; so have trust stores, so that what a
    check needs is there when its user has been read.
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
        self._sweep_at = MIN_SWEEP

    def get(self, owner: Hashable, key: Hashable, tag: Hashable) -> object:
        """The value, or `MISSING` without one of that tag."""
        rows = self._rows.get(owner)
        entry = None if rows is None else rows.entries.get(key)
        if entry is not None and entry.value[0] == tag:
            entry.used = True
            return entry.value[1]
        return self.get(UNKNOWN_HOSTS, key, tag) if owner == "hosts" else MISSING

    def outdated(self, owner: Hashable, key: Hashable) -> object:
        """The value of any tag, which decides nothing, or `MISSING`."""
        rows = self._rows.get(owner)
        entry = None if rows is None else rows.entries.get(key)
        return MISSING if entry is None else entry.value[1]

    def put(self, owner: Hashable, key: Hashable, tag: Hashable, value: object) -> None:
        """Keep a value read in the state that `tag` names."""
        owner = UNKNOWN_HOSTS if owner == "hosts" and value is None else owner
        rows = self._rooms.get(owner, self._memory).part(owner, OwnerRows)
        rows.put(key, (tag, value), ROW_BYTES + weigh(key) + _weight(value))
        if len(self._rows) >= self._sweep_at:
            self._rows = {name: part for name, part in self._rows.items() if len(part)}
            self._sweep_at = max(MIN_SWEEP, 2 * len(self._rows))
        self._rows[owner] = rows

    def clear(self) -> None:
        """Forget every row."""
        for rows in self._rows.values():
            rows.clear()

    def __len__(self) -> int:
        return sum(map(len, self._rows.values()))


def _weight(value: object) -> int:
    if isinstance(value, TrustStore):
        return TRUST_BYTES + sum(CERTIFICATE_BYTES + DER_FACTOR * len(der) for der in value.known)
    if isinstance(value, Refused):
        return TRUST_BYTES + len(value.certificate or b"")
    return weigh(value)
