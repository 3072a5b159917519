"""What lists of extensions say, remembered: the leaves of one CA differ in little but key identifier and names.

A list is known by its octets without subjectKeyIdentifier and subjectAltName, which are read here. They are read
only in the plainest form they come in; anything else, and any list not met on a verified path, is for
`authz.pki.extensions`, which alone says what an extension means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from authz.pki import der
from authz.pki.extensions import Extensions

if TYPE_CHECKING:
    from collections.abc import Mapping

_KEY_ID: Final = bytes.fromhex("0603551d0e")
_NAMES: Final = bytes.fromhex("0603551d11")

_PLAIN_NAMES: Final = frozenset({0x81, 0x82, 0x86})
"""rfc822Name, dNSName and URI, all of them IA5String (RFC 5280 section 4.2.1.6)."""

MAX_LISTS: Final = 64
"""Lists remembered for one issuer: as many kinds of certificates as a CA has profiles."""


MAX_OCTETS: Final = 2_048
"""Octets of a list that is remembered: four times what lists in use have."""


class Parts(NamedTuple):
    """A list of extensions: the octets of the others, the key identifier, whether there are alternative names."""

    others: bytes
    key_id: bytes | None
    named: bool


def parts_of(field: bytes) -> Parts | None:
    """The parts of the extensions field of a certificate, in DER that a strict parser accepted as such.

    None where there is no such field, or where one of the two extensions is there twice, critical, or in another form.
    """
    if field[:1] != b"\xa3":
        return None
    at, end = der.content(field, der.content(field, 0)), len(field)
    others = []
    key_id, named = None, False
    while at < end:
        start, at = at, der.after(field, at)
        body = der.content(field, start)
        kind = field[body : body + 5]
        if kind == _KEY_ID:
            key_id, twice = field[body + 9 : at], key_id is not None
            size = len(key_id)
            # An OCTET STRING inside the OCTET STRING, both shorter than 128 octets; no "critical" before them.
            plain = size <= 125 and field[body + 5 : body + 9] == bytes((4, size + 2, 4, size))
            if twice or not plain:
                return None
        elif kind == _NAMES:
            if named or not _plain(field, body + 5, at):
                return None
            named = True
        else:
            others.append(field[start:at])
    return Parts(b"".join(others), key_id, named)


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


def recalled(field: bytes, known: Mapping[bytes, Extensions]) -> Extensions | None:
    """What the field says, if all in it that is not read here is known; its alternative names are left unread."""
    parts = parts_of(field)
    like = None if parts is None else known.get(parts.others)
    if parts is None or like is None:
        return None
    found = Extensions()
    found.__dict__.update(like.__dict__)
    found.subject_key_id = parts.key_id
    found.names = None if parts.named else ()
    found.recalled = True
    return found


def learn(field: bytes, said: Extensions, known: dict[bytes, Extensions]) -> None:
    """Remember what the field of a certificate on a verified path was found to say."""
    parts = parts_of(field)
    if parts is not None and len(parts.others) <= MAX_OCTETS and len(known) < MAX_LISTS:
        known[parts.others] = said
