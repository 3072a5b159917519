"""What is compared of a row's moments, in SQL."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from support.certificates import NOW
from support.leaf_ends import DAY, moment
from support.sightings import add_registration

from authz.directory import Store
from authz.directory.end_columns import NEVER, first_end_of_row


@pytest.mark.parametrize(("retired", "until", "first"), [(1, 2, 1), (2, 1, 1), (None, 1, 1), (1, None, 1)])
def test_first_end_of_a_row_is_the_earlier_that_is_given(
    store: Store, retired: int | None, until: int | None, first: int
) -> None:
    """Of the moments of its retirement and of its own end."""
    ends = {"retired_at": retired, "valid_until": until}
    add_registration(store, "acme", "alice", NOW, **{name: day and NOW + day * DAY for name, day in ends.items()})
    with store.reading() as connection:
        assert moment(connection.execute(sa.select(first_end_of_row())).scalar_one()) == NOW + first * DAY


def test_row_without_an_end_ends_never(store: Store) -> None:
    """Behind every moment."""
    add_registration(store, "acme", "alice", NOW)
    with store.reading() as connection:
        assert connection.execute(sa.select(first_end_of_row())).scalar_one() == NEVER
