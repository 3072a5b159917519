"""One bound in bytes over what all tenants have remembered.

    SharedCache 1 -- * Tenant 1 -- * Cache 1 -- * Entry

When the whole is full, one entry goes for what came in. Whose, in this order:

1. a tenant's that asked for nothing during the last `IDLE_TICKS`, the one that asked longest ago first;
2. else the one's that holds most, to an eighth: a tenant gives nothing while another holds more than that above it.

Of a tenant its heaviest cache gives: what was not used since this was last looked at, the oldest first (the clock
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

DEFAULT_BYTES: Final = 64 * 1024 * 1024
"""For whoever sets no bound: a library's caller, a command."""

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")


class Entry(Generic[V]):
    """Something remembered, what it takes, and whether it was used since it was last looked at."""

    __slots__ = ("used", "value", "weight")

    def __init__(self, value: V, weight: int) -> None:
        self.value = value
        self.weight = weight
        self.used = False


class Cache(Generic[K, V]):
    """One kind of things that one tenant has remembered; `entries` are for look-ups that must not cost a call."""

    __slots__ = ("_most", "entries", "tenant", "weight")

    def __init__(self, tenant: Tenant) -> None:
        self.entries: OrderedDict[K, Entry[V]] = OrderedDict()
        self.tenant = tenant
        self.weight = 0
        self._most = 0
        tenant.caches.append(self)

    def get(self, key: K) -> V | None:
        """What is remembered under the key."""
        entry = self.entries.get(key)
        if entry is None:
            return None
        entry.used = True
        return entry.value

    def put(self, key: K, value: V, weight: int) -> None:
        """Remember it, in place of what was there; `weight` is what key and value take, in bytes."""
        self.remove(key)
        entry = self.entries[key] = Entry(value, weight + ENTRY_BYTES)
        self._most = max(self._most, len(self.entries))
        self.weight += entry.weight
        self.tenant.weigh(entry.weight)
        self.tenant.whole.make_room(entry)

    def remove(self, key: K) -> None:
        """Forget it, if it is remembered."""
        entry = self.entries.pop(key, None)
        if entry is not None:
            self._lighten(entry)

    def clear(self) -> None:
        """Forget everything."""
        while self.entries:
            self._lighten(self.entries.popitem()[1])

    def give(self, kept: Entry[Any]) -> bool:
        """Forget one entry, but not `kept`; False where there was no other."""
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
            # A dictionary that gave things up keeps the room of its largest day.
            self.entries = OrderedDict(self.entries)
            self._most = len(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


_weight: Final = attrgetter("weight")


class Tenant:
    """What one tenant has remembered: `parts` by what made them, each with one or more of the `caches`."""

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
        """Something came or went."""
        if not self.weight:
            change += TENANT_BYTES
        elif self.weight + change == TENANT_BYTES:
            change = -self.weight
        self.weight += change
        self.whole.weigh(self, change)

    def give(self, kept: Entry[Any]) -> bool:
        """Forget one entry of the heaviest cache, but not `kept`; False where there was no other."""
        return max(self.caches, key=_weight).give(kept)


class SharedCache:
    """What all tenants have remembered, at most `max_bytes`, or a few entries more."""

    __slots__ = ("_classes", "_known", "_tick", "max_bytes", "tenants", "weight")

    def __init__(self, max_bytes: int = DEFAULT_BYTES) -> None:
        self.max_bytes = max_bytes
        self.weight = 0
        self.tenants: OrderedDict[Hashable, Tenant] = OrderedDict()
        """Those that have anything remembered; the one that asked longest ago first."""
        self._known: WeakValueDictionary[Hashable, Tenant] = WeakValueDictionary()
        self._classes: dict[int, OrderedDict[Tenant, None]] = {}
        self._tick = 0

    def tenant(self, owner: Hashable) -> Tenant:
        """The tenant of that key, who is asking for something; always the same object while anything refers to it."""
        found = self.tenants.get(owner)
        if found is None:
            found = self._known.get(owner)
            if found is None:
                found = self._known[owner] = Tenant(self, owner)
        elif found.seen != self._tick:
            self.tenants.move_to_end(owner)
        found.seen = self._tick
        return found

    def part(self, owner: Hashable, make: Callable[[Tenant], T]) -> T:
        """What `make` makes for the tenant of that key, who is asking for it; made once."""
        tenant = self.tenants.get(owner)
        if tenant is None or tenant.seen != self._tick:
            tenant = self.tenant(owner)
        found: T | None = tenant.parts.get(make)
        if found is None:
            found = tenant.parts[make] = make(tenant)
        return found

    def age(self) -> None:
        """A fifth of a second went by: time is told, for no flood must make it pass."""
        self._tick += 1

    def weigh(self, tenant: Tenant, change: int) -> None:
        """A tenant's weight changed: it moves to its class, or leaves the whole."""
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
        """A class that nobody is in is none."""
        if tenant.level:
            members = self._classes[tenant.level]
            del members[tenant]
            if not members:
                del self._classes[tenant.level]

    def make_room(self, kept: Entry[Any]) -> None:
        """Evict until the bound holds; but never what came in, which the check that asks for it needs."""
        while self.weight > self.max_bytes and self._victim().give(kept):
            continue

    def _victim(self) -> Tenant:
        """Whoever gives next; among those that hold alike they take turns."""
        longest_ago = next(iter(self.tenants.values()))
        if longest_ago.seen < self._tick - IDLE_TICKS:
            return longest_ago
        members = self._classes[max(self._classes)]
        tenant = next(iter(members))
        members.move_to_end(tenant)
        return tenant

    def __len__(self) -> int:
        return sum(len(cache) for tenant in self.tenants.values() for cache in tenant.caches)


def _level(weight: int) -> int:
    """The class of a weight: eight to each doubling."""
    shift = max(weight.bit_length() - 4, 0)
    return (shift << 3) + (weight >> shift)


def alone() -> Tenant:
    """The tenant of whoever serves but one."""
    return SharedCache().tenant(None)
