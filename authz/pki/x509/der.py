"""A strict reader of DER (X.690), for parts that the certificate parser does not expose: CRL entries, policy mappings.

Definite lengths in their shortest form, tags of one byte, nothing left over. Anything else is a `ValueError`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

BOOLEAN = 0x01
INTEGER = 0x02
BIT_STRING = 0x03
OCTET_STRING = 0x04
OID = 0x06
ENUMERATED = 0x0A
UTF8_STRING = 0x0C
UTC_TIME = 0x17
GENERALIZED_TIME = 0x18
SEQUENCE = 0x30
SET = 0x31
EXTENSIONS = 0xA3  # of a certificate (RFC 5280 section 4.1)
IP_ADDRESS = 0x87  # of a GeneralName (section 4.2.1.6)
CONSTRUCTED = 0x20

MAX_OID = 63
"""Bytes of an object identifier's content: the limit of the library's own parser; reading one takes quadratic time."""

Element = tuple[int, int, int]
"""(tag, start of the content, end of the content), as offsets into the data."""


def element(data: bytes, at: int, end: int) -> Element:
    """The element that begins at offset `at` and must end at or before `end`."""
    if at + 2 > end:
        raise ValueError("DER: the data ends inside an element")
    tag = data[at]
    if tag & 0x1F == 0x1F:
        raise ValueError("DER: a tag of several bytes")
    length = data[at + 1]
    start = at + 2
    if length >= 0x80:
        octets = length & 0x7F
        # X.690 section 10.1: the length is definite and in the shortest form.
        if not 1 <= octets <= 4 or start + octets > end:
            raise ValueError("DER: not a definite length")
        length = int.from_bytes(data[start : start + octets], "big")
        start += octets
        if length < 0x80 or length >> (8 * (octets - 1)) == 0:
            raise ValueError("DER: a length that is not in its shortest form")
    if start + length > end:
        raise ValueError("DER: the data ends inside an element")
    return tag, start, start + length


def content(data: bytes, at: int) -> int:
    """Where the content of the element at offset `at` begins, in data that a strict parser has accepted already."""
    length = data[at + 1]
    return at + 2 if length < 0x80 else at + 2 + (length & 0x7F)


def after(data: bytes, at: int) -> int:
    """Where the element that begins at offset `at` ends, in data that a strict parser has accepted already."""
    length = data[at + 1]
    if length < 0x80:
        return at + 2 + length
    start = at + 2 + (length & 0x7F)
    return start + int.from_bytes(data[at + 2 : start], "big")


def row(data: bytes, at: int, count: int) -> list[int]:
    """The start of each of `count` consecutive elements, the first at offset `at`, and the end of the last.

    In data that a strict parser has accepted already.
    """
    offsets = [at]
    for _ in range(count):
        length = data[at + 1]
        if length >= 0x80:
            size = length & 0x7F
            at += size
            length = int.from_bytes(data[at + 2 - size : at + 2], "big")
        at += 2 + length
        offsets.append(at)
    return offsets


def unused_bits(data: bytes, at: int) -> int:
    """The number of unused bits of the BIT STRING at offset `at`, in data that a strict parser has accepted."""
    return data[content(data, at)]


def elements(data: bytes, at: int, end: int) -> Iterator[Element]:
    """The elements that fill the bytes from `at` to `end`."""
    while at < end:
        child = element(data, at, end)
        yield child
        at = child[2]


def only(data: bytes, tag: int, at: int = 0, end: int | None = None) -> tuple[int, int]:
    """Start and end of the content of the single element of `tag` that fills the bytes from `at` to `end`."""
    end = len(data) if end is None else end
    found_tag, start, stop = element(data, at, end)
    if found_tag != tag or stop != end:
        raise ValueError(f"DER: not one element of tag {tag:#04x}")
    return start, stop


def signed_part(data: bytes) -> tuple[int, int, int]:
    """The start of the to-be-signed element of a certificate or CRL, the start of its content, and the end of both.

    Both are SEQUENCE { tbs SEQUENCE, signatureAlgorithm, signature } (RFC 5280 sections 4.1 and 5.1).
    """
    start, end = only(data, SEQUENCE)
    tag, tbs_start, tbs_end = element(data, start, end)
    if tag != SEQUENCE:
        raise ValueError("DER: the signed part is not a sequence")
    return start, tbs_start, tbs_end


Extension = tuple[bytes, bool, int, int]
"""(content of the OID, critical, start of the value, end of the value), as offsets into the field."""


def extensions(field: bytes) -> Iterator[Extension]:
    """The extensions of a certificate (RFC 5280 section 4.1), their values undecoded.

    `field` is everything after the key of a certificate that a strict parser has accepted: unique identifiers, if
    there are any, and the extensions.
    """
    at, end = 0, len(field)
    while at < end and field[at] != EXTENSIONS:
        at = after(field, at)
    return extension_list(field, content(field, at) if at < end else end)


def extension_list(field: bytes, at: int) -> Iterator[Extension]:
    """The extensions in the SEQUENCE at offset `at`, with which `field` ends, if it is not at its end already."""
    end = len(field)
    if at < end:
        at = content(field, at)
    while at < end:
        oid, stop = content(field, at), after(field, at)
        critical = value = after(field, oid)
        if field[critical] == BOOLEAN:
            value = after(field, critical)
        # FALSE that is written out is not DER, and tolerated (`authz.pki.x509.tolerated`).
        stated = critical != value and field[value - 1] != 0
        yield field[content(field, oid) : critical], stated, content(field, value), stop
        at = stop


def count(data: bytes, at: int, end: int, most: int) -> int:
    """The number of elements from `at` to `end`, at every depth; counting ends above `most`.

    An IP address counts as six, for the time that the library takes for it. Content that is not DER is skipped:
    the library does not read it either.
    """
    total, inside = 0, [(at, end)]
    while inside:
        at, end = inside.pop()
        while at + 1 < end and total <= most:
            tag, length = data[at], data[at + 1]
            at += 2
            if length >= 0x80:
                start = at
                at += length & 0x7F
                length = int.from_bytes(data[start : min(at, end)], "big")
            total += 6 if tag == IP_ADDRESS else 1
            if tag & CONSTRUCTED:
                inside.append((at, min(at + length, end)))
            at += length
    return total


def tlv(tag: int, *parts: bytes) -> bytes:
    """The element of `tag` whose content is `parts`, joined."""
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    width = (size.bit_length() + 7) // 8
    return bytes((tag, 0x80 | width)) + size.to_bytes(width, "big") + content


def integer(content: bytes) -> int:
    """The value of an INTEGER's content, which must be in its shortest form (X.690 section 8.3.2)."""
    if not content or (len(content) > 1 and content[0] in (0, 0xFF) and (content[0] ^ content[1]) < 0x80):
        raise ValueError("DER: an integer that is not in its shortest form")
    return int.from_bytes(content, "big", signed=True)


def is_oid(content: bytes) -> bool:
    """Whether the content of an OBJECT IDENTIFIER is complete and in its shortest form (X.690 section 8.19)."""
    return len(content) <= MAX_OID and _ARCS.fullmatch(content) is not None


_ARCS = re.compile(rb"(?:(?!\x80)[\x80-\xff]*+[\x00-\x7f])++")


def oid(content: bytes) -> str:
    """The dotted form of an OBJECT IDENTIFIER's content (X.690 section 8.19)."""
    if not is_oid(content):
        raise ValueError("DER: an object identifier that is incomplete, too long or not in its shortest form")
    arcs: list[int] = []
    value = 0
    for octet in content:
        value = value << 7 | octet & 0x7F
        if not octet & 0x80:
            arcs.append(value)
            value = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, [first, arcs[0] - 40 * first, *arcs[1:]]))
