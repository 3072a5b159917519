"""What may be written to the directory, value by value."""

from __future__ import annotations

from datetime import timedelta

import pytest
from support.certificates import NOW, Authority

from authz.directory.limits import check_name, check_order, overlaps, stored_host
from authz.errors import StoreError
from authz.model import Registration
from authz.pki import Crl

DAY = timedelta(days=1)


@pytest.mark.parametrize("name", ["", " a", "a ", "a\n", "a\u202e", "\u00fc" * 128])
def test_name_that_identity_headers_cannot_carry_is_refused(name: str) -> None:
    """Empty, with space at its ends, not printable, longer than 255 bytes."""
    with pytest.raises(StoreError):
        check_name("user", name)


def test_name_is_counted_in_bytes() -> None:
    """255 of them are allowed."""
    check_name("user", "\u00fc" * 127 + "x")


def test_host_is_stored_in_one_spelling() -> None:
    """And refused where it has none."""
    assert stored_host("API.Acme.Test.") == "api.acme.test"
    with pytest.raises(StoreError):
        stored_host("a b")
    for url in ("https://API.acme.test/v1", "http://api.acme.test:8080"):
        with pytest.raises(StoreError) as refused:
            stored_host(url)
        assert refused.value.hint == "write it as api.acme.test"


@pytest.mark.parametrize(
    ("valid_from", "valid_until", "expected"),
    [
        (None, None, True),
        (NOW + 2 * DAY, None, False),
        (NOW + DAY, None, True),
        (None, NOW, False),
        (None, NOW + timedelta(seconds=1), True),
    ],
    ids=["always", "from its end on", "before its end", "until it begins", "into it"],
)
def test_periods_overlap_if_both_are_active_at_one_moment(
    valid_from: object, valid_until: object, expected: bool
) -> None:
    """The end is no part of a period; a retirement ends one before its time."""
    present = Registration(1, 1, 1, b"", valid_from=NOW, valid_until=NOW + 3 * DAY, retired_at=NOW + 2 * DAY)
    assert overlaps(present, valid_from, valid_until, NOW) is expected  # type: ignore[arg-type]


def test_crl_is_in_order_only_if_it_is_newer_in_number_and_date() -> None:
    """The same one, or one that goes back in either, is refused."""
    root = Authority.root()
    former = Crl(root.crl(number=5, this_update=NOW - DAY))
    check_order(Crl(root.crl(number=6, this_update=NOW)), former)
    for number, this_update in ((5, NOW - DAY), (4, NOW), (6, NOW - 2 * DAY)):
        with pytest.raises(StoreError):
            check_order(Crl(root.crl(number=number, this_update=this_update)), former)
