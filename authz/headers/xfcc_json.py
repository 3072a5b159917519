"""Envoy's x-forwarded-client-cert in the JSON form of 1.40.

    xfcc    = [ element, … ]                   ; one element per proxy, the nearest last
    element = { "hash": hex, "cert": PEM, "chain": [ PEM, … ], "by": […], "subject": "…", "uri": […], "dns": […],
                "issuer": "…" }                ; absent keys are empty

The same rules apply as for the text form: only cert, chain and hash count, each once; a repeated or unknown
key, another type, or any other JSON refuses the whole header. Names are quoted here, so a client's name
cannot forge anything; the caller checks the number of elements all the same.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from authz.errors import Refused
from authz.headers import pem
from authz.headers.element import MAX_ELEMENTS, presented
from authz.reasons import Reason

if TYPE_CHECKING:
    from authz.model import HeaderRules, PresentedChain

_LISTS: Final = frozenset({"by", "chain", "uri", "dns"})
_TEXTS: Final = frozenset({"hash", "cert", "subject", "issuer"})
_ONCE: Final = frozenset({"hash", "cert", "chain"})

MAX_DEPTH: Final = 3
"""An array of objects of arrays of strings; Envoy nests no deeper."""

# An unterminated string extends to the end of the text, and nothing is tried twice: the time stays linear.
_STRING: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)


def decode(value: bytes, rules: HeaderRules) -> tuple[PresentedChain, ...]:
    """The chain of each element, in the order of the header. Raises `Refused` with a header reason."""
    return tuple(_decode(element, rules) for element in parse(value))


def parse(value: bytes) -> list[dict[str, Any]]:
    """The elements of a header value.

    Raises `Refused`: header_malformed, header_ambiguous, header_elements_unexpected.
    """
    try:
        text = value.decode("utf-8")
        _check_depth(text)
        elements = json.loads(text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_constant)
    except (ValueError, RecursionError) as error:
        raise Refused(Reason.HEADER_MALFORMED, f"JSON: {error}") from error
    if not isinstance(elements, list) or not elements or not all(isinstance(element, dict) for element in elements):
        raise Refused(Reason.HEADER_MALFORMED, "not a JSON array of objects")
    if len(elements) > MAX_ELEMENTS:
        raise Refused(Reason.HEADER_ELEMENTS_UNEXPECTED, f"more than {MAX_ELEMENTS} elements")
    for element in elements:
        _check_types(element)
    return elements


def _check_depth(text: str) -> None:
    """Raises `ValueError` for nesting that is too deep for the parser; brackets in strings do not count."""
    depth = 0
    for character in _STRING.sub("", text):
        depth += (character in "[{") - (character in "]}")
        if depth > MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for key, value in pairs:
        if key in members:
            reason = Reason.HEADER_AMBIGUOUS if key in _ONCE else Reason.HEADER_MALFORMED
            raise Refused(reason, f"{key} is repeated in one element")
        members[key] = value
    return members


def _constant(text: str) -> None:
    raise ValueError(f"{text} is not allowed")


def _check_types(element: dict[str, Any]) -> None:
    for key, value in element.items():
        if key in _TEXTS and isinstance(value, str):
            continue
        if key in _LISTS and isinstance(value, list) and all(isinstance(text, str) for text in value):
            continue
        raise Refused(Reason.HEADER_MALFORMED, f"{key} is unknown, or of another type")


def _decode(element: dict[str, Any], rules: HeaderRules) -> PresentedChain:
    digest = element.get("hash")
    pem.check_number(len(element.get("chain", ())))
    chain = [pem.single(_ascii(text)) for text in element.get("chain", ())]
    leaf = None
    if "cert" in element:
        # Envoy repeats the leaf at the head of the chain: it need not be decoded twice.
        repeated = bool(chain) and element["chain"][0] == element["cert"]
        leaf = chain[0] if repeated else pem.single(_ascii(element["cert"]))
    return presented(leaf, chain, rules, digest=None if digest is None else _ascii(digest))


def _ascii(text: str) -> bytes:
    r"""PEM and hexadecimal as bytes: both are ASCII, while JSON can hold text that no encoding has (`"\ud800"`)."""
    try:
        return text.encode("ascii")
    except UnicodeEncodeError as error:
        raise Refused(Reason.HEADER_MALFORMED, "a value that is not ASCII") from error
