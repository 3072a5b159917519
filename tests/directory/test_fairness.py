"""Room that is shared: a flood drives out nothing but its own."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from authz.directory.fairness import FairQueue, surplus


def test_records_come_out_in_the_order_they_came() -> None:
    """Of whatever owner and account; then none is left."""
    queue: FairQueue[int] = FairQueue(100, 50)
    for number in range(20):
        assert queue.put(number % 3, number % 2, number, 1) == []
    assert queue.drain() == list(range(20))
    assert queue.drain() == []


def test_fullest_account_of_an_owner_gives_way_to_a_small_one() -> None:
    """The oldest first; a record heavier than the whole room is given up itself."""
    queue: FairQueue[str] = FairQueue(100, 5)
    for number in range(5):
        queue.put("o", "loud", f"loud{number}", 1)
    assert queue.put("o", "quiet", "quiet", 1) == ["loud0"]
    assert queue.put("o", "huge", "huge", 6) == ["huge"]
    assert queue.drain() == ["loud1", "loud2", "loud3", "loud4", "quiet"]


def test_account_is_full_where_its_own_records_would_give_way() -> None:
    """Another one is not: it is let in, and takes the place of the fullest."""
    queue: FairQueue[int] = FairQueue(6, 4)
    assert not queue.is_full("o", "a")
    for number in range(4):
        queue.put("o", "a", number, 1)
    assert queue.is_full("o", "a")
    assert not queue.is_full("o", "b")
    for number in range(2):
        queue.put("p", "a", number, 1)
    assert not queue.is_full("p", "a")
    assert queue.put("p", "a", 9, 1) == [0]


records = st.tuples(st.sampled_from("abcde"), st.sampled_from("xyz"), st.integers(1, 4))


@given(st.lists(records, max_size=200))
def test_queue_is_bounded_and_an_account_below_an_even_share_loses_nothing(put: list[tuple[str, str, int]]) -> None:
    """By weight, in all and each."""
    bound, each = 60, 20
    queue: FairQueue[tuple[str, str, int]] = FairQueue(bound, each)
    lost = [one for record in put for one in queue.put(record[0], record[1], record, record[2])]
    left = queue.drain()
    assert Counter(left) + Counter(lost) == Counter(put)
    weights, asked = Counter[str](), Counter[str]()
    for owner, _, weight in left:
        weights[owner] += weight
    for owner, _, weight in put:
        asked[owner] += weight
    assert weights.total() <= bound
    assert max(weights.values(), default=0) <= each
    share = bound // 5
    assert all(weights[owner] == asked[owner] for owner in asked if asked[owner] <= share - 4)


def test_of_many_equal_ones_the_first_give_way() -> None:
    """And no more of them than must."""
    assert list(surplus(dict.fromkeys(range(100), 1), 90)) == [(number, 1) for number in range(10)]


@given(st.dictionaries(st.text(max_size=3), st.integers(1, 50), max_size=8), st.integers(0, 200))
def test_surplus_brings_the_largest_down_to_one_level(sizes: dict[str, int], bound: int) -> None:
    """The bound is met, and no account below the level gives anything."""
    left = dict(sizes)
    for name, given_up in surplus(sizes, bound):
        left[name] -= given_up
    assert min(left.values(), default=0) >= 0
    assert sum(left.values()) <= bound
    if sum(sizes.values()) > bound:
        level = max(left.values())
        assert all(left[name] == size for name, size in sizes.items() if size < level)
        assert sum(left.values()) == bound
    else:
        assert left == sizes
