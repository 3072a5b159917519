"""The cache of rows: tagged, and bounded per owner and in all."""

from __future__ import annotations

import pytest

from authz.directory.cache import MISSING, RowCache


def test_row_answers_for_its_own_revision_only() -> None:
    """Newer or older, another revision is another truth."""
    cache = RowCache()
    cache.put("o", "k", 5, "v")
    assert cache.get("o", "k", 5) == "v"
    assert cache.get("o", "k", 4) is MISSING
    assert cache.get("o", "k", 6) is MISSING
    assert cache.get("p", "k", 5) is MISSING


def test_flood_of_one_owner_leaves_anothers_rows() -> None:
    """Who has most gives up his oldest."""
    cache = RowCache(max_rows=10)
    cache.put("quiet", "k", 1, "v")
    for number in range(100):
        cache.put("loud", number, 1, number)
    assert cache.get("quiet", "k", 1) == "v"
    assert cache.get("loud", 99, 1) == 99
    assert cache.get("loud", 0, 1) is MISSING
    assert len(cache) == 10


def test_owner_has_a_bound_of_his_own() -> None:
    """Even when there is room."""
    cache = RowCache(max_each=3)
    for number in range(10):
        cache.put("o", number, 1, number)
    assert len(cache) == 3


@pytest.mark.parametrize("rounds", [1, 5])
def test_row_put_again_is_counted_once(rounds: int) -> None:
    """A new revision replaces the old."""
    cache = RowCache()
    for revision in range(rounds):
        cache.put("o", "k", revision, revision)
    assert len(cache) == 1
    cache.clear()
    assert len(cache) == 0
    assert cache.get("o", "k", rounds - 1) is MISSING
