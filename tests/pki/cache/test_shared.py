"""One bound over all tenants: fair between them, and what is used stays."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Iterator
from weakref import ref

import pytest

from authz.pki.cache import shared
from authz.pki.cache.shared import (
    ENTRY_BYTES,
    IDLE_TICKS,
    SECOND_CHANCES,
    SMALL_PART,
    TENANT_BYTES,
    Cache,
    SharedCache,
    alone,
)

KEYS = 1_000
EACH = 1_000
"""What an entry of these tests weighs."""


def fill(cache: Cache[int, int], *numbers: int) -> None:
    """Remember these."""
    for number in numbers:
        cache.put(number, number, EACH - ENTRY_BYTES)


def made(whole: SharedCache, owner: object) -> Cache[int, int]:
    """A tenant's first cache."""
    return whole.part(owner, Cache)


def held(cache: Cache[int, int]) -> list[int]:
    """What is remembered, the oldest first."""
    return list(cache.entries)


def test_value_is_found_under_its_key_until_it_is_removed() -> None:
    """Another value under a key replaces the first, and only one is weighed."""
    cache: Cache[int, str] = Cache(alone())
    assert cache.get(1) is None
    cache.put(1, "a", 100)
    cache.put(1, "b", 200)
    assert cache.get(1) == "b"
    assert (len(cache), cache.weight) == (1, 200 + ENTRY_BYTES)
    cache.remove(2)
    cache.remove(1)
    assert (len(cache), cache.weight, cache.tenant.weight, cache.tenant.whole.weight) == (0, 0, 0, 0)


def test_weight_is_that_of_all_entries_and_tenants() -> None:
    """And a tenant that has nothing left weighs nothing."""
    whole = SharedCache()
    caches = [made(whole, owner) for owner in range(3)]
    for cache in caches:
        fill(cache, *range(10))
    assert whole.weight == 3 * (10 * EACH + TENANT_BYTES)
    assert len(whole) == 30
    for cache in caches:
        cache.clear()
    assert whole.weight == len(whole) == len(whole.tenants) == 0


def test_what_is_cleared_leaves_nothing_to_the_garbage_collector() -> None:
    """A tenant that holds nothing neither; and what is cleared may be filled again."""
    whole = SharedCache()
    for owner in "ab":
        cache: Cache[str, str] = Cache(whole.tenant(owner))
        if owner == "a":
            cache.put("key", "value", 1)
    gone = [ref(one) for one in (whole.tenant("a"), whole.tenant("b"))]
    del cache
    whole.clear()
    assert [one() for one in gone] == [None, None]
    assert (whole.weight, len(whole)) == (0, 0)
    Cache(whole.tenant("a")).put("key", "value", 1)
    assert len(whole) == 1


def test_bound_holds_and_the_oldest_unused_goes_first() -> None:
    """What is asked for stays, however much else comes."""
    whole = SharedCache(TENANT_BYTES + 10 * EACH)
    cache = made(whole, "o")
    for number in range(KEYS):
        fill(cache, number)
        assert cache.get(0) == 0
        assert whole.weight <= whole.max_bytes
    assert len(cache) == 10
    assert cache.get(1) is None
    assert cache.get(KEYS - 1) == KEYS - 1


def test_everything_in_use_gives_way_all_the_same() -> None:
    """The bound holds whatever is asked for between, and the search for what to evict ends."""
    whole = SharedCache(TENANT_BYTES + 50 * EACH)
    cache = made(whole, "o")
    for number in range(500):
        fill(cache, number)
        for key in held(cache):
            cache.get(key)
        assert whole.weight <= whole.max_bytes
    assert len(cache) == 50


@pytest.mark.parametrize("room", [1, SECOND_CHANCES + 1])
def test_what_came_in_is_there_for_the_check_that_asked_for_it(room: int) -> None:
    """Though it be more than the bound."""
    whole = SharedCache(TENANT_BYTES + room * EACH)
    for owner in range(5):
        for number in range(room + 3):
            fill(made(whole, owner), number)
            assert made(whole, owner).get(number) == number
    whole.max_bytes = 0
    fill(made(whole, "large"), 1)
    assert made(whole, "large").get(1) == 1


def test_flood_of_one_tenant_leaves_the_others_everything() -> None:
    """In whatever order they came, and whether or not theirs is used meanwhile."""
    whole = SharedCache(100 * EACH)
    quiet = [made(whole, owner) for owner in ("a", "b")]
    for cache in quiet:
        fill(cache, *range(10))
    fill(made(whole, "loud"), *range(KEYS))
    assert [held(cache) for cache in quiet] == [[*range(10)], [*range(10)]]
    fill(made(whole, "c"), *range(10))
    assert held(made(whole, "c")) == [*range(10)]


def test_tenants_that_all_want_room_get_alike() -> None:
    """The first tenant gives up what is above its share."""
    whole = SharedCache(10 * (TENANT_BYTES + 100 * EACH))
    caches = [made(whole, owner) for owner in range(10)]
    for cache in caches:
        fill(cache, *range(KEYS))
    for number in range(KEYS, 2 * KEYS):
        for cache in caches:
            fill(cache, number)
    assert all(80 <= len(cache) <= 125 for cache in caches), [len(cache) for cache in caches]


def test_tenant_that_came_late_gets_its_share() -> None:
    """From those that have more."""
    whole = SharedCache(5 * (TENANT_BYTES + 100 * EACH))
    for owner in range(4):
        fill(made(whole, owner), *range(KEYS))
    fill(made(whole, "late"), *range(KEYS))
    assert len(made(whole, "late")) >= 80


def test_of_many_small_tenants_the_one_that_was_used_last_stays() -> None:
    """Though it holds most: to level them would take from it, at each check, what its next check needs."""
    whole = SharedCache(2 * SMALL_PART * (TENANT_BYTES + 5 * EACH))
    busy = made(whole, "busy")
    fill(busy, *range(10))
    for owner in range(3 * SMALL_PART):
        whole.age()
        assert made(whole, "busy").get(0) == 0
        fill(made(whole, owner), *range(5))
    assert held(busy) == [*range(10)]
    assert whole.weight <= whole.max_bytes
    assert 0 not in whole.tenants
    assert len(made(whole, 3 * SMALL_PART - 1)) == 5


def test_small_tenants_in_turns_do_not_evict_each_other_just_before_their_own() -> None:
    """A few more than there is room for, each asked within the second: most of what they need stays."""
    whole, count = SharedCache(2 * SMALL_PART * (TENANT_BYTES + 5 * EACH)), 2 * SMALL_PART + 20
    missed: list[tuple[int, int]] = []
    for _ in range(3):
        missed.clear()
        for owner in range(count):
            mine = made(whole, owner)
            missing = [key for key in range(5) if mine.get(key) is None]
            fill(mine, *missing)
            missed += [(owner, key) for key in missing]
    assert len(missed) <= count  # one of five each


def test_tenant_that_holds_much_gives_before_many_small_ones() -> None:
    """A flood takes one part in `SMALL_PART` of the bound from the others, and no more."""
    whole = SharedCache(2 * SMALL_PART * (TENANT_BYTES + 5 * EACH))
    for owner in range(2 * SMALL_PART):
        fill(made(whole, owner), *range(5))
        whole.age()
    fill(made(whole, "loud"), *range(KEYS))
    assert whole.weight <= whole.max_bytes
    small = whole.max_bytes / SMALL_PART
    assert made(whole, "loud").tenant.weight < 1.13 * small + EACH
    assert sum(5 - len(made(whole, owner)) for owner in range(2 * SMALL_PART)) * EACH < 1.3 * small


def test_idle_tenant_gives_first_though_it_holds_least() -> None:
    """The one idle longest first; but only time makes idle, not what others put in."""
    whole = SharedCache(103 * EACH)
    for owner in ("first", "second"):
        fill(made(whole, owner), *range(5))
        whole.age()
    for _ in range(IDLE_TICKS):
        whole.age()
        made(whole, "loud")
    fill(made(whole, "loud"), *range(90))
    assert "first" not in whole.tenants
    assert 0 < len(made(whole, "second")) < 5
    fill(made(whole, "loud"), *range(90, KEYS))
    assert len(made(whole, "second")) > 0  # it asked, two lines above


def test_heaviest_cache_of_a_tenant_gives() -> None:
    """One kind of things drives out itself."""
    whole = SharedCache(100 * EACH)
    leaves, crls = made(whole, "o"), Cache[int, int](whole.tenant("o"))
    fill(crls, *range(10))
    fill(leaves, *range(KEYS))
    assert len(crls) == 10


def test_tenant_is_one_while_anything_refers_to_it() -> None:
    """What was kept of it puts into what is looked up; and nothing keeps one that has nothing."""
    whole = SharedCache()
    cache = made(whole, "o")
    assert whole.tenant("o") is cache.tenant
    assert "o" not in whole.tenants
    fill(cache, 1)
    cache.clear()
    fill(cache, 2)
    assert made(whole, "o").get(2) == 2
    cache.clear()
    del cache
    gc.collect()
    assert len(made(whole, "o").tenant.caches) == 1


def calls(whole: SharedCache, owner: object) -> Iterator[int]:
    """The calls that one more entry takes, for many of them."""
    for number in range(200):
        counted = 0

        def count(_frame: object, event: str, _argument: object) -> None:
            nonlocal counted
            counted += event in {"call", "c_call"}

        cache = made(whole, owner)
        sys.setprofile(count)
        fill(cache, number)
        sys.setprofile(None)
        yield counted


def test_one_more_entry_costs_the_same_however_many_tenants_there_are() -> None:
    """Nothing is looked through: neither tenants nor entries."""
    costs = []
    for tenants in (10, 1_000):
        whole = SharedCache(tenants * (TENANT_BYTES + 5 * EACH))
        for owner in range(tenants):
            fill(made(whole, owner), *range(20))
        costs.append(max(calls(whole, "late")))
    assert costs[1] <= costs[0] + 10


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 5, 86, 1_366])
def test_entry_and_tenant_weigh_what_they_take(count: int) -> None:
    """Where a dictionary has just grown as well."""
    whole = SharedCache()
    owners = max(1, 2_000 // count)
    keys = [object() for _ in range(count)]
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for owner in range(owners):
        for _ in range(12):
            Cache[object, None](whole.tenant(owner)).put(None, None, 0)
        cache = whole.tenant(owner).caches[0]
        for key in keys:
            cache.put(key, None, 0)
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert taken <= whole.weight
    assert whole.weight <= 3 * taken


@pytest.mark.slow
def test_cache_that_gave_most_away_gives_its_dictionary_away_too() -> None:
    """Else the room of its largest day would stay, and count for nothing."""
    cache: Cache[int, None] = Cache(alone())
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(20_000):
        cache.put(number, None, 0)
    for number in range(19_990):
        cache.remove(number)
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert taken < 20_000
    assert held(cache) == [*range(19_990, 20_000)]  # type: ignore[arg-type]


def test_classes_of_weight_are_in_order_and_few() -> None:
    """Eight to each doubling: a tenant that gives holds nearly as much as any."""
    levels = [shared._level(weight) for weight in range(100_000)]
    assert levels == sorted(levels)
    assert levels[-1] < 8 * 17
    for level in range(16, levels[-1]):
        members = range(levels.index(level), levels.index(level) + levels.count(level))
        assert members[-1] < 1.13 * members[0]
