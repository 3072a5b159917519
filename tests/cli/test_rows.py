"""Things as they are printed: the columns of a table, the keys of JSON."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from support.certificates import NOW

from authz.cli.rows import crl_source_row, fetched_crl_row, registration_row
from authz.directory.registrations import StoredRegistration
from authz.model import CrlSourceKind, CrlSourceState, FetchedCrl, Registration

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


def test_certificate_that_cannot_be_read_any_more_says_so() -> None:
    """Where none was stored there is nothing to say."""
    stored = StoredRegistration("acme", "alice", Registration(1, 1, 1, b"s" * 32, "", der=b"\x30\x00"), None)
    assert registration_row(stored, NOW)["subject"] == "(cannot be read)"
    without = replace(stored, registration=replace(stored.registration, der=b""))
    assert registration_row(without, NOW)["subject"] == ""
