"""What lists of extensions say, remembered: the leaves of one CA differ in little but key identifier and names.

A list is known by its octets without subjectKeyIdentifier and subjectAltName. These are passed over only in the
plainest form they come in, of which nothing is to be refused; anything else, and any list not met on a verified
path, is for `authz.pki.x509.extensions`, which alone says what an extension means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from authz.pki.x509 import der
from authz.pki.x509.extensions import MAX_ELEMENTS, Extensions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from authz.pki.x509.distribution_points import Points

_KEY_ID: Final = bytes.fromhex("0603551d0e")
_NAMES: Final = bytes.fromhex("0603551d11")

_PLAIN_NAMES: Final = frozenset({0x81, 0x82, 0x86})
"""rfc822Name, dNSName and URI, all of them IA5String (RFC 5280 section 4.2.1.6)."""

_TAGS: Final = [bytes([tag]) for tag in _PLAIN_NAMES]

MAX_LISTS: Final = 16
"""Lists remembered for one issuer: as many kinds of certificates as a CA has profiles."""

MAX_OCTETS: Final = 2 * MAX_ELEMENTS
"""Octets of a field that is recalled: twice what those in use have, and too few for more elements than are read."""


def shared_part(field: bytes) -> bytes | None:
    """The octets of all extensions but the two, in DER that a strict parser accepted as an extensions field.

    None where there is no such field, or a large one, or where one of the two is there twice, critical, or in
    another form.
    """
    if field[:1] != b"\xa3" or len(field) > MAX_OCTETS:
        return None
    at, end = der.content(field, der.content(field, 0)), len(field)
    shared = []
    identified = named = False
    while at < end:
        start, length = at, field[at + 1]
        body = at + 2
        if length >= 0x80:
            body = der.content(field, at)
            length = der.after(field, at) - body
        at = body + length
        kind = field[body : body + 5]
        if kind == _KEY_ID:
            size = at - body - 9
            # An OCTET STRING inside the OCTET STRING, both shorter than 128 octets; no "critical" before them.
            if identified or not 0 <= size <= 125 or field[body + 5 : body + 9] != bytes((4, size + 2, 4, size)):
                return None
            identified = True
        elif kind == _NAMES:
            if named or not _plain(field, body + 5, at):
                return None
            named = True
        else:
            shared.append(field[start:at])
    return b"".join(shared)


def _plain(field: bytes, at: int, end: int) -> bool:
    """Whether an OCTET STRING holds GeneralNames that are a few plain strings."""
    try:
        start, end = der.only(field, der.SEQUENCE, *der.only(field, der.OCTET_STRING, at, end))
        if start == end:
            return False
        while start < end:
            tag, begin, start = der.element(field, start, end)
            if tag not in _PLAIN_NAMES or begin == start or not field[begin:start].isascii():
                return False
    except ValueError:
        return False
    return True


def tags(data: bytes) -> int:
    """How many bytes could be the tag of a name that is passed over; a name itself, being ASCII, holds none."""
    return sum(map(data.count, _TAGS))


def recalled(field: bytes, known: Mapping[bytes, Extensions]) -> Extensions | None:
    """What the field says but for key identifier and alternative names, if all that is not read here is known."""
    shared = shared_part(field)
    return None if shared is None else known.get(shared)


def learn(field: bytes, said: Extensions, points: Points | None, known: dict[bytes, Extensions]) -> None:
    """Remember what the field of a certificate on a verified path was found to say, and its CRL points if they are."""
    shared = shared_part(field)
    if shared is None:
        return
    like = known[shared] = Extensions()
    vars(like).update(vars(said))
    like.recalled, like.names, like.subject_key_id, like.points = True, (), None, points
    like.like_tags = tags(shared)
    if len(known) > MAX_LISTS:
        del known[next(iter(known))]
