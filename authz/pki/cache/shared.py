"""One bound in bytes over the caches of all tenants.

    SharedCache 1 -- * Tenant 1 -- * Cache 1 -- * Entry

When the bound is reached, a new entry evicts another one, in this order:

1. of a tenant without a check during the last `IDLE_TICKS`, the one idle longest first;
2. else of the tenant that holds most, to an eighth: no tenant loses an entry while another holds more by that;
3. but if even that one holds less than a part of `SMALL_PART`, of the tenant idle longest, if it had no check during
   the last `QUIET_TICKS`. So many are in use then that to level them would leave each without what its next check
   needs, those in constant use first. Where all are in constant use, in turns, each would find its own evicted.

Of the tenant's caches the heaviest evicts: the oldest entry that was not used since it was last looked at (the clock
algorithm, second chance). Every step is bounded by a constant, but for `max` over the classes of weight, of which
there are eight for each doubling.
"""

from __future__ import annotations

from collections import OrderedDict
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

ENTRY_BYTES: Final = 320
"""What remembering costs besides key and value: an `Entry`, its place in an ordered dictionary that has just grown."""

TENANT_BYTES: Final = 5_120
"""What a tenant costs that has remembered one thing: its dozen of caches, empty, and its places in the whole."""

SECOND_CHANCES: Final = 8
"""Entries in use that one eviction passes over before it takes one all the same."""

IDLE_TICKS: Final = 3_000
"""Ticks (see `SharedCache.age`) without a check after which a tenant is idle: ten minutes of 200 ms."""

SMALL_PART: Final = 256
"""A tenant that holds one part in so many of the bound is small: of 64 MiB that is what four clients of it need."""

QUIET_TICKS: Final = 5
"""Ticks without a check after which a small tenant gives way to those in constant use: a second."""

DEFAULT_BYTES: Final = 64 * 1024 * 1024
"""Where no bound is set: for callers of the library, and commands."""

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")


class Entry(Generic[V]):
    """A value, its weight in bytes, and whether it was used since eviction last looked at it."""

    __slots__ = ("used", "value", "weight")

    def __init__(self, value: V, weight: int) -> None:
        self.value = value
        self.weight = weight
        self.used = False


class Cache(Generic[K, V]):
    """One kind of values of one tenant; `entries` are for look-ups that must not cost a call."""

    __slots__ = ("_most", "entries", "tenant", "weight")

    def __init__(self, tenant: Tenant) -> None:
        self.entries: OrderedDict[K, Entry[V]] = OrderedDict()
        self.tenant = tenant
        self.weight = 0
        self._most = 0
        tenant.caches.append(self)

    def get(self, key: K) -> V | None:
        """The value of the key, or None."""
        entry = self.entries.get(key)
        if entry is None:
            return None
        entry.used = True
        return entry.value

    def put(self, key: K, value: V, weight: int) -> None:
        """Set the value of the key; `weight` is what both take, in bytes."""
        if key in self.entries:
            self.remove(key)
        entry = self.entries[key] = Entry(value, weight + ENTRY_BYTES)
        self._most = max(self._most, len(self.entries))
        self.weight += entry.weight
        self.tenant.weigh(entry.weight)
        whole = self.tenant.whole
        if whole.weight > whole.max_bytes:
            whole.make_room(entry)

    def remove(self, key: K) -> None:
        """Remove the key, if it is there."""
        entry = self.entries.pop(key, None)
        if entry is not None:
            self._lighten(entry)

    def clear(self) -> None:
        """Remove every entry."""
        while self.entries:
            self._lighten(self.entries.popitem()[1])

    def give(self, kept: Entry[Any]) -> bool:
        """Evict one entry, but not `kept`; False without another."""
        for chance in range(SECOND_CHANCES, -1, -1):
            key, entry = self.entries.popitem(last=False)
            if entry is not kept and not (entry.used and chance):
                self._lighten(entry)
                return True
            entry.used = False
            self.entries[key] = entry
        return False

    def _lighten(self, entry: Entry[V]) -> None:
        self.weight -= entry.weight
        self.tenant.weigh(-entry.weight)
        if len(self.entries) < self._most // 4:
            # A dictionary keeps the memory of its largest size.
            self.entries = OrderedDict(self.entries)
            self._most = len(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


_weight: Final = attrgetter("weight")


class Tenant:
    """The caches of one tenant: `parts` by what made them, each with one or more of the `caches`."""

    __slots__ = ("__weakref__", "caches", "level", "owner", "parts", "seen", "weight", "whole")

    def __init__(self, whole: SharedCache, owner: Hashable) -> None:
        self.whole = whole
        self.owner = owner
        self.parts: dict[object, Any] = {}
        self.caches: list[Cache[Any, Any]] = []
        self.weight = 0
        self.level = 0
        self.seen = -1

    def weigh(self, change: int) -> None:
        """An entry came or went: its weight changes by `change` bytes."""
        if not self.weight:
            change += TENANT_BYTES
        elif self.weight + change == TENANT_BYTES:
            change = -self.weight
        self.weight += change
        self.whole.weigh(self, change)

    def give(self, kept: Entry[Any]) -> bool:
        """Evict one entry of the heaviest cache, but not `kept`; False without another."""
        return max(self.caches, key=_weight).give(kept)


class SharedCache:
    """The caches of all tenants, at most `max_bytes`, or a few entries more."""

    __slots__ = ("_classes", "_known", "_tick", "max_bytes", "tenants", "weight")

    def __init__(self, max_bytes: int = DEFAULT_BYTES) -> None:
        self.max_bytes = max_bytes
        self.weight = 0
        self.tenants: OrderedDict[Hashable, Tenant] = OrderedDict()
        """Tenants with entries; the one idle longest first."""
        self._known: WeakValueDictionary[Hashable, Tenant] = WeakValueDictionary()
        self._classes: dict[int, OrderedDict[Tenant, None]] = {}
        self._tick = 0

    def tenant(self, owner: Hashable) -> Tenant:
        """The tenant of that key, which is in use now; always the same object while anything refers to it."""
        tenant = self.tenants.get(owner)
        if tenant is None:
            tenant = self._known.get(owner)
            if tenant is None:
                tenant = self._known[owner] = Tenant(self, owner)
        elif tenant.seen != self._tick:
            self.tenants.move_to_end(owner)
        tenant.seen = self._tick
        return tenant

    def part(self, owner: Hashable, make: Callable[[Tenant], T]) -> T:
        """What `make` made for the tenant of that key, which is in use now; made once."""
        tenant = self.tenants.get(owner)
        if tenant is None or tenant.seen != self._tick:
            tenant = self.tenant(owner)
        part: T | None = tenant.parts.get(make)
        if part is None:
            part = tenant.parts[make] = make(tenant)
        return part

    def age(self) -> None:
        """A fifth of a second went by, by a clock: a flood of checks must not age tenants."""
        self._tick += 1

    def weigh(self, tenant: Tenant, change: int) -> None:
        """A tenant's weight changed: it moves to its class, or leaves when it is empty."""
        self.weight += change
        level = _level(tenant.weight)
        if level != tenant.level:
            self._leave_class(tenant)
            tenant.level = level
            if level:
                self._classes.setdefault(level, OrderedDict())[tenant] = None
                self.tenants.setdefault(tenant.owner, tenant)
            else:
                del self.tenants[tenant.owner]

    def _leave_class(self, tenant: Tenant) -> None:
        """Remove the tenant from its class, and the class when it is empty."""
        if tenant.level:
            members = self._classes[tenant.level]
            del members[tenant]
            if not members:
                del self._classes[tenant.level]

    def make_room(self, kept: Entry[Any]) -> None:
        """Evict until the bound holds, but never `kept`: the check that added it needs it."""
        while self.weight > self.max_bytes and self._victim().give(kept):
            continue

    def clear(self) -> None:
        """Remove everything. Tenants and their caches refer to each other, and would wait for the garbage collector."""
        for tenant in list(self._known.values()):
            tenant.caches.clear()
            tenant.parts.clear()
            tenant.weight = tenant.level = 0
        self.tenants.clear()
        self._classes.clear()
        self.weight = 0

    def _victim(self) -> Tenant:
        """The tenant to evict from next; tenants of one class take turns."""
        longest_ago = next(iter(self.tenants.values()))
        if longest_ago.seen < self._tick - IDLE_TICKS:
            return longest_ago
        members = self._classes[max(self._classes)]
        tenant = next(iter(members))
        if tenant.weight * SMALL_PART < self.max_bytes and longest_ago.seen < self._tick - QUIET_TICKS:
            return longest_ago
        members.move_to_end(tenant)
        return tenant

    def __len__(self) -> int:
        return sum(len(cache) for tenant in self.tenants.values() for cache in tenant.caches)


def _level(weight: int) -> int:
    """The class of a weight: eight to each doubling."""
    shift = max(weight.bit_length() - 4, 0)
    return (shift << 3) + (weight >> shift)


def alone() -> Tenant:
    """A tenant without neighbours, for a process that serves one."""
    return SharedCache().tenant(None)
