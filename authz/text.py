"""Outside text made safe to show: bounded, on one line, without anything that could trick a terminal or a reader."""

from __future__ import annotations

from urllib.parse import quote

MAX_SHOWN = 200
"""Characters of one outside string that are shown."""

MAX_REPORT = 1_500
"""Characters of a report of what each of a few CRLs failed."""

# RFC 9110 section 5.5: VCHAR and inner space, without the percent sign, so that the encoding is unambiguous.
_HEADER_SAFE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


def shown(text: str, limit: int = MAX_SHOWN) -> str:
    r"""`text` with everything unprintable (controls, line ends, bidirectional marks, odd spaces) as `\u` escapes."""
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else f"\\u{ord(character):04x}" for character in text)


def header_value(text: str) -> str:
    """`text` as a header value: printable ASCII unchanged, everything else and `%` percent-encoded as UTF-8."""
    if text.isascii() and text.isprintable() and "%" not in text:
        return text
    return quote(text, safe=_HEADER_SAFE)


def key_id(spki_sha256: bytes) -> str:
    """The beginning of a key's SHA-256, in hexadecimal: it distinguishes two CAs of one name."""
    return spki_sha256[:8].hex()


def media_type(typ: str) -> str:
    """A `typ` in comparable form: without "application/" (RFC 7515 section 4.1.9), in lower case (RFC 2045, 5.1)."""
    return typ.lower().removeprefix("application/") if typ.isascii() else typ
