"""A header that must arrive exactly once, and the names that users can have."""

from __future__ import annotations

import pytest

from authz.errors import Refused
from authz.identity.single_header import MAX_NAME_BYTES, is_name, single_value
from authz.model import CheckRequest
from authz.reasons import Reason


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ([], Reason.IDENTITY_MISSING),
        ([(b"x-user", b"")], Reason.IDENTITY_MISSING),
        ([(b"x-user", b"alice"), (b"x-user", b"alice")], Reason.IDENTITY_AMBIGUOUS),
        ([(b"x-user", b"alice"), (b"x_user", b"alice")], Reason.IDENTITY_AMBIGUOUS),
        ([(b"x_user", b"alice")], Reason.IDENTITY_AMBIGUOUS),
    ],
)
def test_header_that_is_not_there_once_is_refused(headers: list[tuple[bytes, bytes]], reason: Reason) -> None:
    """Absent, empty, repeated, beside an underscore twin or replaced by one."""
    with pytest.raises(Refused) as caught:
        single_value(CheckRequest("", "", tuple(headers)), "x-user")
    assert caught.value.reason is reason


def test_header_that_is_there_once_has_its_value() -> None:
    """Unchanged; other headers do not matter."""
    assert single_value(CheckRequest("", "", ((b"x-user", b" a,b"), (b"xuser", b"c"))), "x-user") == b" a,b"


@pytest.mark.parametrize("text", ["a", "Zo\u00eb", "a b", "\u00e9" * (MAX_NAME_BYTES // 2), "a" * MAX_NAME_BYTES])
def test_printable_text_is_a_name(text: str) -> None:
    """Of up to 255 bytes."""
    assert is_name(text)


@pytest.mark.parametrize("text", ["", " a", "a ", "a\n", "a\0", "\u202ea", "\ud800", "\u00e9" * 128, "a" * 256])
def test_other_text_is_no_name(text: str) -> None:
    """Empty, spaces at the ends, unprintable, not encodable, too long in bytes."""
    assert not is_name(text)
