"""Things as they are printed: the columns of a table, the keys of JSON."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from support.certificates import NOW

from authz.cli.rows import crl_source_row, fetched_crl_row
from authz.model import CrlSourceKind, CrlSourceState, FetchedCrl

CRL = FetchedCrl(
    "a" * 64, "http://ca/", b"s" * 32, b"k" * 32, "CN=CA", "7", False, 3, NOW - timedelta(hours=1), NOW, NOW
)


@pytest.mark.parametrize(
    ("left", "shown"),
    [
        (timedelta(days=9), "9 d"),
        (timedelta(hours=47, minutes=59), "47 h"),
        (timedelta(hours=2), "2 h"),
        (timedelta(minutes=119), "119 min"),
        (timedelta(seconds=59), "0 min"),
        (timedelta(seconds=-1), "expired"),
    ],
)
def test_time_that_is_left_is_in_the_largest_unit_of_which_there_are_two(left: timedelta, shown: str) -> None:
    """Days, hours, minutes."""
    assert fetched_crl_row(replace(CRL, next_update=NOW + left), None, NOW)["left"] == shown


def test_crl_that_ends_never_says_so() -> None:
    """Its age is known all the same."""
    row = fetched_crl_row(replace(CRL, next_update=None), None, NOW)
    assert (row["age"], row["left"]) == ("60 min", "no nextUpdate")


def test_source_row_has_the_keys_of_a_crl() -> None:
    """Both are rows of one table."""
    source = CrlSourceState("http://ca/", CrlSourceKind.URL)
    assert set(crl_source_row(source)) == set(fetched_crl_row(CRL, source, NOW))
