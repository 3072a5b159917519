"""Rows of the directory in memory, tagged with the state they were read in; bounded per organization and in all."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

MAX_ROWS: Final = 50_000
"""Rows in all: a full garbage collection stalls 17 ms over 100,000 of them."""

MAX_ROWS_EACH: Final = 20_000
"""Rows of one organization, or of one pool such as unknown hosts."""

MISSING: Final = object()


class RowCache:
    """Values by owner (an organization's id, or any pool) and key, each with a tag that names a state.

    A row answers only while its tag equals the one asked for. When the cache is
    full, the owner that has most rows gives up its oldest: nobody's flood drives out another's.
    """

    def __init__(self, max_rows: int = MAX_ROWS, max_each: int = MAX_ROWS_EACH) -> None:
        self._owners: dict[Hashable, dict[Hashable, tuple[int, object]]] = {}
        self._max_rows = max_rows
        self._max_each = max_each
        self._rows = 0

    def get(self, owner: Hashable, key: Hashable, tag: int) -> object:
        """The value, or `MISSING` when there is none of that tag."""
        rows = self._owners.get(owner)
        if rows is None:
            return MISSING
        found = rows.get(key)
        if found is None or found[0] != tag:
            return MISSING
        return found[1]

    def put(self, owner: Hashable, key: Hashable, tag: int, value: object) -> None:
        """Keep a value read in the state that `tag` names."""
        rows = self._owners.setdefault(owner, {})
        if rows.pop(key, None) is None:
            self._rows += 1
        rows[key] = (tag, value)
        if len(rows) > self._max_each:
            self._drop_oldest(owner)
        elif self._rows > self._max_rows:
            self._drop_oldest(max(self._owners, key=lambda one: len(self._owners[one])))

    def _drop_oldest(self, owner: Hashable) -> None:
        rows = self._owners[owner]
        del rows[next(iter(rows))]
        self._rows -= 1
        if not rows:
            del self._owners[owner]

    def clear(self) -> None:
        """Forget everything."""
        self._owners.clear()
        self._rows = 0

    def __len__(self) -> int:
        return self._rows
