"""The extensions of a CA's leaves, remembered by their bytes: they differ in little but key identifier and names.

A list is identified by its bytes without subjectKeyIdentifier and subjectAltName. These are passed over only in the
plainest form, which no rule refuses. Any other form, and any list that was neither on a verified path nor, for an
apply, in an operator's documents, is read by `authz.pki.x509.extensions`, which alone defines what an extension means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from authz.pki.cache.weights import extensions_weight, name_weight
from authz.pki.x509 import der
from authz.pki.x509.extensions import MAX_ELEMENTS, Extensions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from authz.pki.x509.distinguished_name import Name
    from authz.pki.x509.distribution_points import Points

_KEY_ID: Final = bytes.fromhex("0603551d0e")
_NAMES: Final = bytes.fromhex("0603551d11")

_PLAIN_NAMES: Final = frozenset({0x81, 0x82, 0x86})
"""rfc822Name, dNSName and URI, all of them IA5String (RFC 5280 section 4.2.1.6)."""

_TAGS: Final = [bytes([tag]) for tag in _PLAIN_NAMES]

MAX_LISTS: Final = 16
"""Lists remembered for one issuer: as many kinds of certificates as a CA has profiles."""

MAX_OCTETS: Final = 2 * MAX_ELEMENTS
"""Bytes of a field that is looked up: twice what those in use have, and too few for more elements than are read."""


def shared_part(field: bytes) -> bytes | None:
    """The bytes of all extensions but the two, in DER that a strict parser accepted as an extensions field.

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
            # An OCTET STRING inside the OCTET STRING, both shorter than 128 bytes; no "critical" before them.
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
    size = end - at - 4
    try:
        # Shorter than 128 bytes, as most are; else the lengths are read.
        if 0 < size <= 125 and field[at : at + 4] == bytes((der.OCTET_STRING, size + 2, der.SEQUENCE, size)):
            start = at + 4
        else:
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


class KnownIssuer(NamedTuple):
    """The name of an issuer on verified paths, and the extensions of its leaves by their shared bytes."""

    name: Name
    extensions: dict[bytes, Extensions]

    @property
    def weight(self) -> int:
        """What it takes in memory, in bytes."""
        lists = (600 + len(shared) + extensions.weight for shared, extensions in self.extensions.items())
        return 600 + name_weight(self.name) + sum(lists)


def tags(data: bytes) -> int:
    """How many bytes could be the tag of a name that is passed over; a name itself, being ASCII, holds none."""
    return sum(map(data.count, _TAGS))


def get_extensions(field: bytes, known: Mapping[bytes, Extensions]) -> Extensions | None:
    """The extensions of the field but key identifier and alternative names; None if its shared part is unknown."""
    shared = shared_part(field)
    return None if shared is None else known.get(shared)


def put_extensions(field: bytes, extensions: Extensions, points: Points | None, known: dict[bytes, Extensions]) -> None:
    """Remember the extensions read from the field of a certificate on a verified path, and its CRL points if read."""
    shared = shared_part(field)
    if shared is None:
        return
    like = known[shared] = Extensions()
    vars(like).update(vars(extensions))
    like.recalled, like.names, like.subject_key_id, like.points = True, (), None, points
    like.unread_kinds = frozenset()
    like.like_tags = tags(shared)
    like.weight = extensions_weight(like)
    if len(known) > MAX_LISTS:
        del known[next(iter(known))]
