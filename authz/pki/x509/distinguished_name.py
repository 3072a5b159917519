"""Distinguished names, compared as RFC 5280 section 7.1 says and not byte for byte.

Attribute values that are character strings are compared as RFC 4518 prepares them: case folded,
compatibility normalized, without invisible characters, inner white space squeezed; values of any other
kind are compared byte for byte, and so is a PrintableString that holds more than ASCII: whatever letters its issuer
meant, it equals no other string. The attributes of an RDN have no order.
"""

from __future__ import annotations

import itertools
import re
import struct
import unicodedata
from functools import cached_property
from typing import TYPE_CHECKING, Final, Self

from cryptography import x509

from authz.pki.x509 import der
from authz.pki.x509.tolerated import PRINTABLE_STRING, TELETEX_STRING, teletex

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# RFC 5280 section 7.1 compares PrintableString and UTF8String by stringprep; the other character
# strings, which section 4.1.2.4 keeps for old certificates, are folded likewise, so that the path
# of a CA that re-encoded its name is still found. By tag (X.680 section 8.4), with the encoding of each.
_CHARACTER_STRINGS: Final = {
    0x0C: "utf-8",  # UTF8String
    0x12: "ascii",  # NumericString
    PRINTABLE_STRING: "ascii",
    TELETEX_STRING: "",  # implementations disagree on its letters: see `tolerated.teletex`
    0x16: "ascii",  # IA5String
    0x1A: "ascii",  # VisibleString
    0x1C: "utf-32-be",  # UniversalString
    0x1E: "utf-16-be",  # BMPString
}

_LATIN: Final = {**_CHARACTER_STRINGS, TELETEX_STRING: "latin-1"}

EMAIL_ADDRESS: Final = "1.2.840.113549.1.9.1"
COMMON_NAME: Final = "2.5.4.3"

# RFC 4514 section 3, and others that certificates use; any other type is written as its number.
_SHORT_NAMES: Final = {
    COMMON_NAME: "CN",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.6": "C",
    "2.5.4.9": "STREET",
    "0.9.2342.19200300.100.1.25": "DC",
    "0.9.2342.19200300.100.1.1": "UID",
    EMAIL_ADDRESS: "E",
}

_SPECIAL: Final = re.compile(r'([\\",+;<>]|^[ #]|(?<!^) $)')
"""The characters that RFC 4514 section 2.4 escapes, besides NUL."""


def _spaces_and_deleted() -> dict[int, str | None]:
    """RFC 4518 section 2.2: the code points that become a space, and those that are deleted."""
    spaces = [*range(0x09, 0x0E), 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000]
    deleted = [
        *range(0x09), *range(0x0E, 0x20), *range(0x7F, 0x85), *range(0x86, 0xA0), 0xAD, 0x034F, 0x06DD, 0x070F,
        0x1806, *range(0x180B, 0x180F), *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2064),
        *range(0x206A, 0x2070), *range(0xFE00, 0xFE10), 0xFEFF, *range(0xFFF9, 0xFFFD), *range(0x1D173, 0x1D17B),
        0xE0001, *range(0xE0020, 0xE0080),
    ]  # fmt: skip
    return {**dict.fromkeys(deleted), **dict.fromkeys(spaces, " ")}


MAX_MARKS: Final = 30
"""Consecutive non-starters (UAX #15 section 13, Stream-Safe); CPython sorts them in quadratic time."""

# The blocks with characters that decompose into marks or into many letters.
_BLOCKS: Final = ((0xA0, 0x3400), (0xA600, 0xAC00), (0xF900, 0x12000), (0x16000, 0x17000), (0x1B000, 0x20000))
_MARK: Final = "\u0301"


def _decompositions() -> dict[int, str]:
    """The decomposition of every character that is or contains a mark, or becomes more than four characters."""
    characters = [*map(chr, itertools.chain.from_iterable(itertools.starmap(range, _BLOCKS)))]
    decompositions = {}
    # Every other character is no mark, and its own decomposition.
    for character in {*filter(unicodedata.decomposition, characters), *filter(unicodedata.combining, characters)}:
        decomposed = unicodedata.normalize("NFKD", character)
        if len(decomposed) > 4 or any(map(unicodedata.combining, decomposed)):
            decompositions[ord(character)] = decomposed
    return decompositions


MAX_GROWTH: Final = 64
"""Letters that a value may gain from characters that expand to more than four: three of U+FDFA, which becomes 18."""

_DECOMPOSED: Final = _decompositions()
_DELETED_AND_SPACES: Final = _spaces_and_deleted()
_SHAPES: Final = _DELETED_AND_SPACES | {
    code: "".join([_MARK if unicodedata.combining(character) else "x" for character in decomposed])
    for code, decomposed in _DECOMPOSED.items()
}
_MAPPED: Final = _DELETED_AND_SPACES | {
    code: unicodedata.normalize("NFKC", decomposed) for code, decomposed in _DECOMPOSED.items() if len(decomposed) > 4
}


def prepare(text: str) -> str:
    """A character string as it is compared (RFC 4518 section 2): mapped, folded, NFKC, white space squeezed.

    Mapped once: folding and NFKC produce no character that would be mapped. Takes time linear in `text`. Raises
    `ValueError` for more than `MAX_MARKS` consecutive non-starters after mapping and decomposition (folding adds no
    others), and for a string that gains more than `MAX_GROWTH` letters.
    """
    if text.isascii() and text.isprintable():
        return " ".join(text.lower().split())
    if _MARK * (MAX_MARKS + 1) in text.translate(_SHAPES):
        raise ValueError(f"more than {MAX_MARKS} combining marks in a row")
    mapped = text.translate(_MAPPED)
    if len(mapped) > len(text) + MAX_GROWTH:
        raise ValueError(f"normalizing adds more than {MAX_GROWTH} letters")
    folded = unicodedata.normalize("NFKC", mapped).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


MAX_NAME: Final = 2_048
"""Bytes of a name: the longest in 300 real certificates has 607, and all attributes of RFC 5280 appendix A.1 at
their upper bounds have 900 characters."""

MAX_PARTS: Final = 64
"""RDNs of a name, and attributes of an RDN: RFC 5280 asks for sixteen types, and a deep directory has twenty RDNs."""


class Name(bytes):
    """A distinguished name, as the bytes by which it is compared and hashed.

    They hold the RDNs from the most significant on, each after its length, so that a name is below another
    exactly if it begins with the other's bytes. Falsy if the name is an empty sequence.
    """

    rdns: tuple[bytes, ...]

    def __new__(cls, parsed: x509.Name) -> Self:
        """The name that the library read. Raises `ValueError` for characters that are not allowed in a value's type."""
        return cls.read(parsed.public_bytes())

    @classmethod
    def read(cls, data: bytes) -> Self:
        """The name in `data`, in DER that a strict parser has accepted.

        Raises `ValueError` likewise, and for a name that exceeds `MAX_NAME` or `MAX_PARTS`.
        """
        if len(data) > MAX_NAME:
            raise ValueError(f"a name of {len(data)} bytes, {MAX_NAME} are the limit")
        return cls._of(_elements(data))

    @classmethod
    def _of(cls, rdns: Sequence[bytes]) -> Self:
        self = super().__new__(cls, b"".join(map(_rdn, rdns)))
        self.rdns = tuple(rdns)
        return self

    @property
    def size(self) -> int:
        """Bytes that it takes: the form that is compared, and the DER of its RDNs."""
        return len(self) + sum(map(len, self.rdns))

    @cached_property
    def text(self) -> str:
        """The name as RFC 4514 writes it; escape it where it is shown, as it may hold anything."""
        rdns = [[_written(attribute) for attribute in _elements(rdn)] for rdn in reversed(self.rdns)]
        return ",".join("+".join(rdn) for rdn in rdns)

    def within(self, base: Name) -> bool:
        """Whether this name lies in the subtree of `base` (RFC 5280 section 4.2.1.10, directoryName).

        If either holds a TeletexString, under both of its readings (section 4.1.2.4).
        """
        return self.startswith(base) and self.latin.startswith(base.latin)

    def may_be_within(self, base: Name) -> bool:
        """The same under any reading of either, and whatever an opaque string of this name stands for."""
        bases = (base, base.latin)
        if any(reading.startswith(bases) for reading in (self, self.latin)):
            return True
        return len(base.rdns) <= len(self.rdns) and any(one.startswith(self._before_opaque) for one in bases)

    @cached_property
    def latin(self) -> bytes:
        """The name as it is compared if every TeletexString is read as latin-1; without one, the name itself."""
        if not any(bytes([TELETEX_STRING]) in rdn for rdn in self.rdns):
            return self
        return b"".join([_rdn(rdn, _LATIN) for rdn in self.rdns])

    @cached_property
    def _before_opaque(self) -> tuple[bytes, ...]:
        """The RDNs above the first one with an opaque string, under both readings; none without such a string."""
        for number, rdn in enumerate(self.rdns):
            if any(map(_is_opaque, _elements(rdn))):
                return tuple(
                    b"".join([_rdn(above, encodings) for above in self.rdns[:number]])
                    for encodings in (_CHARACTER_STRINGS, _LATIN)
                )
        return ()

    def extended(self, relative: x509.RelativeDistinguishedName) -> Name:
        """This name with one more RDN below it (a name relative to a CRL issuer, section 4.2.1.13)."""
        return Name._of(self.rdns + Name(x509.Name([relative])).rdns)

    def email_addresses(self) -> list[str]:
        """The emailAddress attributes (PKCS#9), to which name constraints for e-mail addresses apply as well."""
        attributes = [attribute for rdn in self.rdns for attribute in _elements(rdn)]
        addresses = [value for oid, value in map(_type_and_value, attributes) if oid == EMAIL_ADDRESS]
        # What is no text is no address: under constraints of addresses it refuses.
        return [_text(value) or _hex(value) for value in addresses]

    def __repr__(self) -> str:
        return f"Name({self.text!r})"


def _elements(data: bytes) -> list[bytes]:
    """The elements in the content of `data`, each with its tag and length."""
    at, end = der.content(data, 0), len(data)
    parts = []
    while at < end:
        stop = der.after(data, at)
        parts.append(data[at:stop])
        at = stop
    if len(parts) > MAX_PARTS:
        raise ValueError(f"{len(parts)} parts in a name, {MAX_PARTS} are the limit")
    return parts


def _rdn(rdn: bytes, encodings: Mapping[int, str] = _CHARACTER_STRINGS) -> bytes:
    """RelativeDistinguishedName ::= SET OF AttributeTypeAndValue, compared in any order."""
    at = der.content(rdn, 0)
    if at == len(rdn):  # SET SIZE (1..MAX), which the parser does not check
        raise ValueError("a relative distinguished name without attributes")
    if der.after(rdn, at) == len(rdn):
        only = _attribute(rdn, at, encodings)
        return _MEASURES.pack(len(only) + 4, len(only)) + only
    return _measured(b"".join(sorted([_measured(_attribute(attribute, 0, encodings)) for attribute in _elements(rdn)])))


def _attribute(data: bytes, at: int, encodings: Mapping[int, str]) -> bytes:
    """AttributeTypeAndValue ::= SEQUENCE { type, value }, at offset `at`, as it is compared.

    Character strings are all of one kind; any other value keeps its tag. They begin with a zero where other
    attributes have the tag of their type, so that one never equals the other.
    """
    at = der.content(data, at)
    value = der.after(data, at)
    text = _text(data, value, encodings)
    if text is None:
        return data[at:]
    return b"\0" + data[at:value] + prepare(text).encode("utf-8", "surrogatepass")


_MEASURES: Final = struct.Struct(">II")


def _measured(content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + content


def _type_and_value(attribute: bytes) -> tuple[str, bytes]:
    """An attribute's type, dotted, and the DER of its value."""
    at = der.content(attribute, 0)
    value = der.after(attribute, at)
    return der.oid(attribute[der.content(attribute, at) : value]), attribute[value:]


def _text(data: bytes, at: int = 0, encodings: Mapping[int, str] = _CHARACTER_STRINGS) -> str | None:
    """The character string in the value at offset `at`, with which `data` ends.

    None of a value that is compared byte for byte: of any other kind, or opaque.
    """
    encoding = encodings.get(data[at])
    if encoding is None:
        return None
    content = data[der.content(data, at) :]
    if not encoding:
        return teletex(content)
    return None if data[at] == PRINTABLE_STRING and not content.isascii() else content.decode(encoding)


def _is_opaque(attribute: bytes) -> bool:
    """Whether its value is a PrintableString that holds more than ASCII."""
    value = der.after(attribute, der.content(attribute, 0))
    return attribute[value] == PRINTABLE_STRING and not attribute[value:].isascii()


def _hex(value: bytes) -> str:
    """What is no text, as RFC 4514 section 2.4 writes it."""
    return f"#{value.hex()}"


def _written(attribute: bytes) -> str:
    """An attribute as RFC 4514 writes it."""
    oid, value = _type_and_value(attribute)
    text = _text(value)
    escaped = _hex(value) if text is None else _SPECIAL.sub(r"\\\1", text).replace("\0", "\\00")
    return f"{_SHORT_NAMES.get(oid, oid)}={escaped}"
