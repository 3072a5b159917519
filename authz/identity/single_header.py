"""Reads a header of which there must be exactly one: an identity that arrived twice is nobody's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from authz.errors import Refused
from authz.model import fold
from authz.reasons import Reason

if TYPE_CHECKING:
    from authz.model import CheckRequest

MAX_NAME_BYTES: Final = 255
"""Longest user name in octets of UTF-8: what the directory stores."""


def one_value(check: CheckRequest, header: str) -> bytes:
    """The value of `header` (lower case).

    Raises `Refused`: identity_missing when it is absent or empty, identity_ambiguous when it arrived
    twice or beside an underscore twin, which servers fold into it.
    """
    name, folded = fold(header)
    found = check.alike.get(folded, ())
    if len(found) > 1 or (found and found[0][0] != name):
        raise Refused(Reason.IDENTITY_AMBIGUOUS, f"{header} arrived {len(found)} times, twins included")
    if not found or not found[0][1]:
        raise Refused(Reason.IDENTITY_MISSING, f"{header} is absent or empty")
    return found[0][1]


def is_name(text: str) -> bool:
    """Whether `text` can be a user name: printable, at most 255 octets of UTF-8, no space at its ends.

    Nothing is folded or normalized: names compare octet for octet.
    """
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError:
        return False
    return 0 < size <= MAX_NAME_BYTES and text.isprintable() and text == text.strip()
