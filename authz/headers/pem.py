"""PEM (RFC 7468): CERTIFICATE blocks and nothing else.

Base64 is canonical and DER complete, so that a certificate has one spelling. Envoy's PEM is read in the strict form, as
any deviation was written by somebody else; in other headers each proxy has line ends and escapes of its own.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final

from authz.errors import Refused
from authz.reasons import Reason

# RFC 7468 section 3, stricttextualmsg; lines may have any length up to 76.
_BEGIN: Final = b"-----BEGIN CERTIFICATE-----\n"
_END: Final = b"-----END CERTIFICATE-----\n"
_MAX_LINE: Final = 76
_LINE: Final = 64
"""Characters of a line as section 2 has them generated, and as all proxies do."""

# All that Envoy and nginx escape in PEM: any other percent sign is not theirs.
_PERCENT: Final = ((b"%0A", b"\n"), (b"%2B", b"+"), (b"%2F", b"/"), (b"%3D", b"="), (b"%20", b" "))

# What other proxies escape besides, in PEM and in lists of base64, in either case of hexadecimal.
_PERCENT_ANY: Final = (*_PERCENT, (b"%0D", b"\r"), (b"%2C", b","))

MAX_CERTIFICATES: Final = 256
"""In one header, repeated ones too: 64 KB hold no more of 190 bytes, and a certificate for Ed25519 has 250.

A listener's own limit counts when duplicates are dropped, behind the decoding of up to 24,000 empty elements.
"""

_ESCAPED_BEGIN: Final = b"-----BEGIN%20CERTIFICATE-----%0A"
_ESCAPED_END: Final = b"-----END%20CERTIFICATE-----%0A"


def certificates(pem: bytes) -> tuple[bytes, ...]:
    """The DER of each block of `pem`, in order.

    Raises `Refused`: header_malformed for anything but one or more complete CERTIFICATE blocks, too_many_certificates.
    """
    ders = []
    at = 0
    while at < len(pem):
        start = at + len(_BEGIN)
        stop = pem.find(_END, start)
        if stop < 0 or not pem.startswith(_BEGIN, at):
            raise Refused(Reason.HEADER_MALFORMED, "not PEM of certificates and nothing else")
        *lines, rest = pem[start:stop].split(b"\n")
        if rest or not _are_lines(lines):
            raise Refused(Reason.HEADER_MALFORMED, "PEM whose lines are empty, too long, or do not end")
        ders.append(decode_base64(b"".join(lines)))
        check_number(len(ders))
        at = stop + len(_END)
    if not ders:
        raise Refused(Reason.HEADER_MALFORMED, "PEM without a certificate")
    return tuple(ders)


def escaped_certificates(text: bytes) -> tuple[bytes, ...]:
    """As `certificates(unescape(text))`, but faster for the output of Envoy and nginx. Raises `Refused`."""
    return _regular(text) or certificates(unescape(text))


def wrapped_certificates(text: bytes) -> tuple[bytes, ...]:
    """As `escaped_certificates`, with any line ends or blanks between the lines, escaped or not. Raises `Refused`."""
    return _regular(text) or certificates(_relined(unescape_any(text)))


def _relined(pem: bytes) -> bytes:
    """The PEM with line feeds in place of all its blanks and line ends, but for those in the delimiters."""
    words = b"\n".join((*pem.split(), b""))
    return words.replace(b"-----BEGIN\nCERTIFICATE", b"-----BEGIN CERTIFICATE").replace(
        b"-----END\nCERTIFICATE", b"-----END CERTIFICATE"
    )


def _regular(text: bytes) -> tuple[bytes, ...] | None:
    """The DER of each block, if the text is in full lines as Envoy and nginx escape them; else None."""
    ders = []
    at = 0
    while at < len(text):
        start = at + len(_ESCAPED_BEGIN)
        stop = text.find(_ESCAPED_END, start)
        delimited = stop >= 0 and text.startswith(_ESCAPED_BEGIN, at)
        base64 = _in_full_lines(text[start:stop]) if delimited else None
        if base64 is None:
            break
        ders.append(decode_base64(base64))
        check_number(len(ders))
        at = stop + len(_ESCAPED_END)
    else:
        return tuple(ders)
    return None


def _in_full_lines(body: bytes) -> bytes | None:
    """The base64 in the escaped lines of a block, if all lines but the last are full; else None.

    A body with dashes may hold a delimiter in another spelling; one with line feeds, lines that are not escaped.
    """
    if b"-" in body or b"\n" in body:
        return None
    # Line ends are replaced last, so that joining lines cannot produce an escape. After that no percent sign is
    # left: each was a line end, after 64 characters or at the end of the body.
    lines = body.replace(b"%2B", b"+").replace(b"%2F", b"/")
    if lines.endswith(b"%3D%0A"):
        lines = lines.replace(b"%3D", b"=")
    base64 = lines.replace(b"%0A", b"")
    if b"%" in base64:
        return None
    full, rest = divmod(len(base64), _LINE)
    ends = full + (rest > 0)
    fits = len(lines) == len(base64) + 3 * ends and lines[_LINE :: _LINE + 3] == b"%" * full
    return base64 if fits and lines.endswith(b"%0A") else None


def write(ders: Iterable[bytes]) -> bytes:
    """The PEM of certificates, in lines of 64 characters."""
    blocks = []
    for der in ders:
        text = encode_base64(der)
        lines = b"".join(text[at : at + _LINE] + b"\n" for at in range(0, len(text), _LINE))
        blocks.append(b"-----BEGIN CERTIFICATE-----\n" + lines + b"-----END CERTIFICATE-----\n")
    return b"".join(blocks)


def unescape(text: bytes) -> bytes:
    """The PEM in its percent-encoded form `text`. Raises `Refused` (header_malformed) for any other escape."""
    for escaped, character in _PERCENT:
        text = text.replace(escaped, character)
    if b"%" in text:
        raise Refused(Reason.HEADER_MALFORMED, "a percent sign that the proxy does not write")
    return text


def unescape_any(text: bytes) -> bytes:
    """The text without any proxy's escapes, read once. Raises `Refused` (header_malformed) for any other escape."""
    # In any order: what an escape stands for is never part of another.
    for escaped, character in _PERCENT_ANY if b"%" in text else ():
        text = text.replace(escaped, character).replace(escaped.lower(), character)
    if b"%" in text:
        raise Refused(Reason.HEADER_MALFORMED, "a percent sign that the proxy does not write")
    return text


def escape(pem: bytes) -> bytes:
    """The percent-encoded form of PEM, byte for byte as Envoy and nginx write it."""
    for escaped, character in _PERCENT:
        pem = pem.replace(character, escaped)
    return pem


def single(pem: bytes) -> bytes:
    """The DER of PEM that holds exactly one certificate. Raises `Refused` (header_malformed)."""
    return only(certificates(pem))


def _are_lines(lines: list[bytes]) -> bool:
    """Whether no line is empty, and no line but the last is too long or ends in padding."""
    full = lines[:-1]
    padded = bool(full) and full[-1].endswith(b"=")
    return all(lines) and not padded and max(map(len, full), default=0) <= _MAX_LINE


def only(ders: Sequence[bytes]) -> bytes:
    """The only certificate in `ders`. Raises `Refused` (header_malformed)."""
    if len(ders) != 1:
        raise Refused(Reason.HEADER_MALFORMED, f"{len(ders)} certificates where one is expected")
    return ders[0]


def decode_base64(text: bytes) -> bytes:
    """The bytes of canonical base64, which must be one complete DER SEQUENCE.

    Raises `Refused` (header_malformed). Whether the SEQUENCE is a certificate is not checked here.
    """
    return only(decode_several(text))


def decode_several(text: bytes) -> tuple[bytes, ...]:
    """As `decode_base64`, of one SEQUENCE or several in a row, as in HAProxy's `ssl_c_chain_der`.

    Raises `Refused` (header_malformed, too_many_certificates).
    """
    try:
        der = binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error as error:
        raise Refused(Reason.HEADER_MALFORMED, f"base64: {error}") from error
    # Strict decoding still accepts padding after a complete quantum, and spare bits in the last character: with
    # either, a certificate would have several spellings.
    spare = len(der) % 3
    complete = len(text) == (len(der) + 2) // 3 * 4
    if not complete or (spare and encode_base64(der[-spare:]) != text[-4:]):
        raise Refused(Reason.HEADER_MALFORMED, "base64 that is not canonical")
    ends = [0]
    while ends[-1] < len(der):
        check_number(len(ends))
        ends.append(ends[-1] + _size(der, ends[-1]))
    if ends[-1] != len(der) or not der:
        raise Refused(Reason.HEADER_MALFORMED, "base64 of something else than complete DER SEQUENCEs")
    return (der,) if len(ends) == 2 else tuple(der[start:end] for start, end in pairwise(ends))


def decode_list(texts: Iterable[bytes]) -> Iterator[bytes]:
    """The certificates in a list of base64, each of one or several. Raises `Refused` as `decode_several` does."""
    number = 0
    for text in texts:
        ders = decode_several(text)
        number += len(ders)
        check_number(number)
        yield from ders


def check_number(number: int) -> None:
    """Raises `Refused` (too_many_certificates) for more than a header can hold."""
    if number > MAX_CERTIFICATES:
        raise Refused(Reason.TOO_MANY_CERTIFICATES, f"more than {MAX_CERTIFICATES} in one header")


def encode_base64(der: bytes) -> bytes:
    """The canonical base64 of `der`, in one line."""
    return binascii.b2a_base64(der, newline=False)


def _size(der: bytes, at: int) -> int:
    """Bytes of the SEQUENCE that begins at `at`, its header included; more than there are for anything else."""
    if der[at] != 0x30 or at + 2 > len(der):
        return len(der) + 1
    length = der[at + 1]
    if length < 0x80:
        return 2 + length
    width = length & 0x7F
    return 2 + width + int.from_bytes(der[at + 2 : at + 2 + width], "big")
