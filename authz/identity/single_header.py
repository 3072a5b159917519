"""Reads a header that must arrive exactly once: a repeated identity is ambiguous."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from authz.errors import Refused
from authz.model import fold
from authz.reasons import Reason

if TYPE_CHECKING:
    from authz.model import CheckRequest

MAX_NAME_BYTES: Final = 255
"""Longest user name in bytes of UTF-8: the limit of the directory."""


def single_value(check: CheckRequest, header: str, missing: Reason = Reason.IDENTITY_MISSING) -> bytes:
    """The value of `header` (lower case).

    Raises `Refused`: `missing` if it is absent or empty, identity_ambiguous if it arrived twice, or with
    an underscore twin, which servers treat as the same header.
    """
    name, folded = fold(header)
    values = check.headers_by_folded_name.get(folded, ())
    if len(values) > 1 or (values and values[0][0] != name):
        raise Refused(Reason.IDENTITY_AMBIGUOUS, f"{header} arrived {len(values)} times, twins included")
    if not values or not values[0][1]:
        raise Refused(missing, f"{header} is absent or empty")
    return values[0][1]


def is_name(text: str) -> bool:
    """Whether `text` can be a user name: printable, at most 255 bytes of UTF-8, no space at its ends.

    Nothing is folded or normalized: names are compared byte for byte.
    """
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError:
        return False
    return 0 < size <= MAX_NAME_BYTES and text.isprintable() and text == text.strip()
