"""Strict PEM (RFC 7468, the strict form): CERTIFICATE blocks and nothing else.

Proxies write it themselves, so every departure is somebody else's writing.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Sequence
from typing import Final

from authz.errors import Refused
from authz.reasons import Reason

# RFC 7468 section 3, stricttextualmsg; how long a line is, up to 76, or all in one, is left to the writer.
_BEGIN: Final = b"-----BEGIN CERTIFICATE-----\n"
_END: Final = b"-----END CERTIFICATE-----\n"
_MAX_LINE: Final = 76
_LINE: Final = 64
"""Characters of a line as section 2 has them generated, and as everybody does."""

# What Envoy and nginx escape in PEM, and nothing else: a per cent sign that is left over is not theirs.
_PERCENT: Final = ((b"%0A", b"\n"), (b"%2B", b"+"), (b"%2F", b"/"), (b"%3D", b"="), (b"%20", b" "))


_ESCAPED_BEGIN: Final = b"-----BEGIN%20CERTIFICATE-----%0A"
_ESCAPED_END: Final = b"-----END%20CERTIFICATE-----%0A"


def certificates(pem: bytes) -> tuple[bytes, ...]:
    """The DER of each block of `pem`, in order.

    Raises `Refused` (header_malformed) when anything but whole CERTIFICATE blocks is in it, or nothing.
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
        at = stop + len(_END)
    if not ders:
        raise Refused(Reason.HEADER_MALFORMED, "PEM without a certificate")
    return tuple(ders)


def escaped_certificates(text: bytes) -> tuple[bytes, ...]:
    """What `certificates` reads in `unescape(text)`, found sooner in what Envoy and nginx write. Raises `Refused`."""
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
        at = stop + len(_ESCAPED_END)
    else:
        if ders:
            return tuple(ders)
    return certificates(unescape(text))


def _in_full_lines(body: bytes) -> bytes | None:
    """The base64 in the escaped lines of a block, if it fills them all but the last; None where it is another's.

    With dashes a delimiter might be in it, written otherwise; with line feeds, lines that are not escaped.
    """
    if b"-" in body or b"\n" in body:
        return None
    # Line ends go last, so that nothing becomes an escape by what is put together. After them no per cent sign is
    # left: each was a line's end, and stood behind 64 characters or at the end of all.
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
    """The PEM that its per cent encoding says. Raises `Refused` (header_malformed) for any other escape."""
    for escaped, octet in _PERCENT:
        text = text.replace(escaped, octet)
    if b"%" in text:
        raise Refused(Reason.HEADER_MALFORMED, "a per cent sign that the proxy does not write")
    return text


def escape(pem: bytes) -> bytes:
    """The per cent encoding of PEM, octet for octet as Envoy and nginx write it."""
    for escaped, octet in _PERCENT:
        pem = pem.replace(octet, escaped)
    return pem


def single(pem: bytes) -> bytes:
    """The DER of PEM that holds exactly one certificate. Raises `Refused` (header_malformed)."""
    return only(certificates(pem))


def _are_lines(lines: list[bytes]) -> bool:
    """Whether none is empty, none but the last is too long, and none but the last ends in padding."""
    above = lines[:-1]
    padded = bool(above) and above[-1].endswith(b"=")
    return all(lines) and not padded and max(map(len, above), default=0) <= _MAX_LINE


def only(ders: Sequence[bytes]) -> bytes:
    """The one certificate there is. Raises `Refused` (header_malformed)."""
    if len(ders) != 1:
        raise Refused(Reason.HEADER_MALFORMED, f"{len(ders)} certificates where one belongs")
    return ders[0]


def decode_base64(text: bytes) -> bytes:
    """The octets of canonical base64 that are one DER SEQUENCE of exactly their length.

    Raises `Refused` (header_malformed). That the SEQUENCE is a certificate is not said here.
    """
    try:
        der = binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error as error:
        raise Refused(Reason.HEADER_MALFORMED, f"base64: {error}") from error
    # What strict decoding leaves open: padding behind a whole quantum, and spare bits of the last character. Either
    # would let one certificate be written in several ways.
    spare = len(der) % 3
    complete = len(text) == (len(der) + 2) // 3 * 4
    if not complete or (spare and encode_base64(der[-spare:]) != text[-4:]) or not _is_sequence(der):
        raise Refused(Reason.HEADER_MALFORMED, "base64 that is not canonical, or no DER in it")
    return der


def encode_base64(der: bytes) -> bytes:
    """The canonical base64 of `der`, in one line."""
    return binascii.b2a_base64(der, newline=False)


def _is_sequence(der: bytes) -> bool:
    if len(der) < 2 or der[0] != 0x30:
        return False
    if der[1] < 0x80:
        return len(der) == 2 + der[1]
    octets = der[1] & 0x7F
    return len(der) == 2 + octets + int.from_bytes(der[2 : 2 + octets], "big")
