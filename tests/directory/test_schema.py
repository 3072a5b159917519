"""The tables: how moments are kept. That the migrations make these very tables is tested with them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy.dialects import sqlite

from authz.directory.schema import Moment, metadata

DIALECT = sqlite.dialect()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    "moment",
    [
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2026, 7, 1, 12, 0, 0, 1, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    ],
    ids=str,
)
def test_moment_comes_back_to_the_microsecond(moment: datetime) -> None:
    """Before 1970, at the end of time, and from another offset: as UTC."""
    number = Moment().process_bind_param(moment, DIALECT)
    back = Moment().process_result_value(number, DIALECT)
    assert back == moment
    assert back.tzinfo is UTC


def test_naive_moment_is_refused() -> None:
    """Nothing says in which place it was noon."""
    with pytest.raises(TypeError):
        Moment().process_bind_param(datetime(2026, 7, 1), DIALECT)  # noqa: DTZ001 - that is the point


def test_what_belongs_to_an_organization_goes_with_it() -> None:
    """By the database itself: every reference to an organization cascades."""
    references = [
        key
        for table in metadata.tables.values()
        for key in table.foreign_keys
        if key.column.table.name == "organizations"
    ]
    assert len(references) >= 5
    assert {key.ondelete for key in references} == {"CASCADE"}
