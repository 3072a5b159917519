"""What ends within a period, in the tests of what reads it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from authz.directory import Store
from authz.directory.endings import LeafEnd, leaf_ends, owners
from support.certificates import NOW

DAY = timedelta(days=1)
CA, ANCHOR, OTHER = b"c" * 32, b"a" * 32, b"b" * 32
END = NOW + 5 * DAY
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def ending(store: Store, days: int = 30) -> list[LeafEnd]:
    """What ends within so many days."""
    with store.reading() as connection:
        return list(leaf_ends(connection, owners(connection), NOW, NOW + days * DAY))


def moment(micros: int) -> datetime:
    """Of a column."""
    return EPOCH + timedelta(microseconds=micros)
