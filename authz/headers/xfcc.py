r"""Envoy's x-forwarded-client-cert in its text form.

    xfcc    = element *( "," element )          ; one element per proxy, the nearest last
    element = pair *( ";" pair )
    pair    = key "=" ( quoted / bare )
    key     = "By" / "Hash" / "Cert" / "Chain" / "Subject" / "URI" / "DNS" / "Issuer"   ; any case
    quoted  = DQUOTE *( %x20-21 / %x23-5B / %x5D-7E / "\" %x20-7E ) DQUOTE
    bare    = *( %x20-21 / %x23-2B / %x2D-3A / %x3C-5B / %x5D-7E )   ; no DQUOTE , ; or backslash

Cert, Chain, Subject and Issuer are quoted, the others bare. Envoy escapes neither URI nor DNS nor By,
so a client can inject pairs and elements through a name in its certificate. Therefore only Cert, Chain
and Hash count, a repeated one refuses the header, the caller checks the number of elements, and an
unexpected character refuses the whole header.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from authz.errors import Refused
from authz.headers import pem
from authz.headers.element import MAX_ELEMENTS, presented
from authz.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from authz.model import HeaderRules, PresentedChain
    from authz.pki.cache import Cache

_QUOTED: Final = frozenset({"Cert", "Chain", "Subject", "Issuer"})
_KEYS: Final = {
    key.lower().encode("ascii"): key for key in ("By", "Hash", "Cert", "Chain", "Subject", "URI", "DNS", "Issuer")
}
_ONCE: Final = frozenset({"Hash", "Cert", "Chain"})

_DETAILS: Final = {key: key.lower() for key in ("Subject", "URI", "DNS", "Issuer")}
"""The names of the client's certificate, and the members of `set_current_client_cert_details` that hand them over."""

MAX_PAIRS: Final = 1_024
"""More than any certificate has names, each of which is a pair; reading 64 KB of pairs would take 16 ms."""

_ENDS: Final = frozenset({b",", b";", b""})
_PRINTABLE: Final = bytes(range(0x20, 0x7F))
_TEXT: Final = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)
_ANY_KEY: Final = re.compile(rb"(?<![^;,])(" + b"|".join(_KEYS) + rb")=", re.IGNORECASE)
_BARE: Final = re.compile(rb'[^",;\\]*')


class Element(NamedTuple):
    """The pairs of one element, in order: canonical key and unescaped value."""

    pairs: tuple[tuple[str, bytes], ...]

    def counting(self) -> dict[str, bytes]:
        """The values that count, by key. Raises `Refused` (header_ambiguous) for a repeated key."""
        values: dict[str, bytes] = {}
        for key, value in self.pairs:
            if key in _ONCE:
                if key in values:
                    raise Refused(Reason.HEADER_AMBIGUOUS, f"{key} is repeated in one element")
                values[key] = value
        return values


def parse(value: bytes) -> tuple[Element, ...]:
    """The elements of a header value.

    Raises `Refused`: header_malformed, header_elements_unexpected, header_too_large.
    """
    foreign = value.translate(None, _PRINTABLE)
    if foreign:
        at = value.index(foreign[0])
        raise Refused(Reason.HEADER_MALFORMED, f"byte {foreign[0]:#04x} at {at}{_advice_at(value, at)}")
    elements: list[Element] = []
    pairs: list[tuple[str, bytes]] = []
    at = 0
    for _ in range(MAX_PAIRS):
        pair, at = _pair(value, at)
        pairs.append(pair)
        end = value[at : at + 1]
        at += 1
        if end == b";":
            continue
        elements.append(Element(tuple(pairs)))
        pairs = []
        if len(elements) > MAX_ELEMENTS:
            raise Refused(Reason.HEADER_ELEMENTS_UNEXPECTED, f"more than {MAX_ELEMENTS} elements")
        if not end:
            return tuple(elements)
    raise Refused(Reason.HEADER_TOO_LARGE, f"more than {MAX_PAIRS} pairs")


def _pair(value: bytes, at: int) -> tuple[tuple[str, bytes], int]:
    """The pair that begins at `at`, and its end: before a comma, a semicolon or the end of the value."""
    equals = value.find(b"=", at)
    key = _KEYS.get(value[at:equals].lower()) if equals > at else None
    if key is None:
        detail = f"no pair of a known key and a value at {at}{_advice_at(value, at)}"
        raise Refused(Reason.HEADER_MALFORMED, detail)
    start = equals + 1
    quoted = value[start : start + 1] == b'"'
    if quoted is not (key in _QUOTED):
        detail = f"{key} is {'quoted' if quoted else 'not quoted'}{_advice_at(value, at)}"
        raise Refused(Reason.HEADER_MALFORMED, detail)
    if quoted:
        text, stop = _quoted(value, start + 1)
    else:
        stop = _BARE.match(value, start).end()  # type: ignore[union-attr] # it always matches
        text = value[start:stop]
    if value[stop : stop + 1] not in _ENDS:
        raise Refused(Reason.HEADER_MALFORMED, f"{key} does not end at {stop}{_advice({key})}")
    return (key, text), stop


def _quoted(value: bytes, start: int) -> tuple[bytes, int]:
    """The text from `start` to the quote that ends it, unescaped, and the offset after that quote."""
    stop = value.find(b'"', start)
    text = value[start:stop]
    if stop >= 0 and b"\\" not in text:
        return text, stop + 1
    stop = _TEXT.match(value, start).end()  # type: ignore[union-attr] # it always matches
    if value[stop : stop + 1] != b'"':
        detail = f"a quoted value without an end at {start}{_advice_at(value, start)}"
        raise Refused(Reason.HEADER_MALFORMED, detail)
    return _unescaped(value[start:stop]), stop + 1


def _unescaped(text: bytes) -> bytes:
    """The text without the backslash before each escaped character, which may be a backslash itself."""
    return b"\\".join([part.replace(b"\\", b"") for part in text.split(b"\\\\")])


def _advice_at(value: bytes, at: int) -> str:
    """The advice about the last pair that begins before `at`, or at it."""
    keys = _ANY_KEY.findall(value, 0, at + len("Subject="))
    return _advice({_KEYS[keys[-1].lower()]}) if keys else ""


def _advice(keys: Iterable[str]) -> str:
    """What to set in the proxy where names of the client's certificate, which decide nothing, stop the reading."""
    names = [key for key in _DETAILS if key in keys]
    if not names:
        return ""
    subject, details = " and ".join(names), ", ".join(_DETAILS[name] for name in names)
    return f"; {subject} may hold unescaped characters: take {details} out of set_current_client_cert_details"


def format(elements: tuple[Element, ...]) -> bytes:  # noqa: A001 - the counterpart of parse
    """The header value that `parse` reads as `elements`, as Envoy would write it."""
    return b",".join(b";".join(_format_pair(*pair) for pair in element.pairs) for element in elements)


def _format_pair(key: str, value: bytes) -> bytes:
    name = key.encode("ascii")
    if key not in _QUOTED:
        return name + b"=" + value
    escaped = value.replace(b"\\", rb"\\").replace(b'"', rb"\"")
    return name + b'="' + escaped + b'"'


def present(leaf: bytes, intermediates: Sequence[bytes]) -> bytes:
    """The value that Envoy makes of a chain (DER), as if a client had presented it, for offline decisions."""
    digest = hashlib.sha256(leaf).hexdigest().encode("ascii")
    texts = [pem.escape(pem.write(ders)) for ders in ((leaf,), (leaf, *intermediates))]
    return format((Element((("Hash", digest), ("Cert", texts[0]), ("Chain", texts[1]))),))


def decode(
    value: bytes, rules: HeaderRules, cache: Cache[bytes, tuple[bytes, ...]] | None = None
) -> tuple[PresentedChain, ...]:
    """The chain of each element, in the order of the header. Raises `Refused` with a header reason.

    `cache` has the certificates after the leaf by their text: the few CAs are the same for all clients.
    """
    elements = parse(value)
    try:
        return tuple([_decode(element, rules, cache) for element in elements])
    except Refused as refusal:
        # A semicolon or comma in a name has made a pair, or an element, of what is behind it.
        if len(elements) == 1 and refusal.reason is not Reason.HEADER_AMBIGUOUS:
            raise
        keys = {key for element in elements for key, _ in element.pairs}
        raise Refused(refusal.reason, refusal.detail + _advice(keys)) from refusal


def _decode(element: Element, rules: HeaderRules, cache: Cache[bytes, tuple[bytes, ...]] | None) -> PresentedChain:
    values = element.counting()
    digest, leaf, chain = values.get("Hash"), values.get("Cert"), values.get("Chain")
    first = None if leaf is None else pem.only(pem.escaped_certificates(leaf))
    if first is None or leaf is None or chain is None or not chain.startswith(leaf):
        return presented(first, () if chain is None else pem.escaped_certificates(chain), rules, digest=digest)
    # Envoy repeats the leaf at the head of the chain: it need not be decoded twice.
    text = chain[len(leaf) :]
    known = cache.get(text) if cache is not None else None
    intermediates = pem.escaped_certificates(text) if known is None and text else known
    presented_chain = presented(first, (first, *(intermediates or ())), rules, digest=digest)
    if known is None and presented_chain.intermediates == intermediates:
        presented_chain.encoded_intermediates = text
    return presented_chain
