"""Room that organizations share, and in each its accounts: what flows over is taken from the one that holds most."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable, Iterator, Mapping
from itertools import count
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class FairQueue(Generic[T]):
    """Records that wait, each of an owner and of one of the owner's accounts; `bound` and `each_owner` are weights.

    Where one owner has more than `each_owner`, or all together more than `bound`, the fullest account (of the fullest
    owner) gives up its oldest record. So a flood drives out nothing but its own.
    """

    def __init__(self, bound: int, each_owner: int) -> None:
        self._bound = bound
        self._each = each_owner
        self._numbers = count()
        self._clear()

    def _clear(self) -> None:
        self._accounts: dict[Hashable, dict[Hashable, deque[tuple[int, int, T]]]] = {}
        self._owners: Counter[Hashable] = Counter()
        self._total = 0
        self._weights: Counter[tuple[Hashable, Hashable]] = Counter()

    def put(self, owner: Hashable, account: Hashable, record: T, weight: int) -> list[T]:
        """Let `record` wait; the records that give way, itself perhaps among them."""
        queue = self._accounts.setdefault(owner, {}).setdefault(account, deque())
        queue.append((next(self._numbers), weight, record))
        self._total += weight
        self._owners[owner] += weight
        self._weights[owner, account] += weight
        lost = []
        while self._owners[owner] > self._each:
            lost.append(self._give_way(owner))
        while self._total > self._bound:
            lost.append(self._give_way(self._fullest()))
        return lost

    def is_full(self, owner: Hashable, account: Hashable) -> bool:
        """Whether a record put into that account would drive out one of the same account."""
        if self._owners[owner] < self._each and (self._total < self._bound or self._fullest() != owner):
            return False
        return self._fullest_of(owner) == account

    def _fullest(self) -> Hashable:
        return max(self._owners, key=self._owners.__getitem__)

    def _fullest_of(self, owner: Hashable) -> Hashable:
        return max(self._accounts[owner], key=lambda account: self._weights[owner, account])

    def _give_way(self, owner: Hashable) -> T:
        accounts, account = self._accounts[owner], self._fullest_of(owner)
        _, weight, record = accounts[account].popleft()
        self._total -= weight
        self._owners[owner] -= weight
        self._weights[owner, account] -= weight
        if not accounts[account]:
            del accounts[account], self._weights[owner, account]
        if not accounts:
            del self._accounts[owner], self._owners[owner]
        return record

    def drain(self) -> list[T]:
        """Everything that waits, in the order it came; then nothing does."""
        waiting = [entry for accounts in self._accounts.values() for queue in accounts.values() for entry in queue]
        self._clear()
        return [record for _, _, record in sorted(waiting, key=lambda entry: entry[0])]


def surplus(sizes: Mapping[K, int], bound: int) -> Iterator[tuple[K, int]]:
    """How much each gives up, so that all come down to `bound`: the largest come down to one level first.

    What does not divide is left to the last of those that stand at the level, in the order of `sizes`.
    """
    excess = sum(sizes.values()) - bound
    if excess <= 0:
        return
    largest = sorted(sizes.items(), key=lambda item: -item[1])
    together = 0
    for number, (_, size) in enumerate(largest, 1):
        together += size
        level, left = divmod(together - excess, number)
        if number == len(largest) or level >= largest[number][1]:
            for place, (name, amount) in enumerate(largest[:number]):
                keeps = level + (place >= number - left)
                if amount > keeps:
                    yield name, amount - keeps
            return
