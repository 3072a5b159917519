"""Distinguished names, compared as RFC 5280 section 7.1 says and not byte for byte.

Attribute values that are character strings are compared as RFC 4518 prepares them: case folded,
compatibility normalized, without what is invisible, inner white space squeezed; values of any other
kind, and types that differ, are compared as they stand. The attributes of an RDN have no order.
"""

from __future__ import annotations

import unicodedata
from typing import Final, Self

from cryptography import x509

from authz.pki import der

# RFC 5280 section 7.1 compares PrintableString and UTF8String by stringprep; the other character
# strings, which section 4.1.2.4 keeps for old certificates, are folded alike, so that a CA that
# re-encoded its name still chains. By tag (X.680 section 8.4), with the encoding of each.
_CHARACTER_STRINGS: Final = {
    0x0C: "utf-8",  # UTF8String
    0x12: "ascii",  # NumericString
    0x13: "ascii",  # PrintableString
    # TeletexString: nobody agrees on its letters; what is UTF-8, as the library reads it too, is taken for that.
    0x14: "utf-8",
    0x16: "ascii",  # IA5String
    0x1A: "ascii",  # VisibleString
    0x1C: "utf-32-be",  # UniversalString
    0x1E: "utf-16-be",  # BMPString
}

EMAIL_ADDRESS: Final = "1.2.840.113549.1.9.1"
COMMON_NAME: Final = "2.5.4.3"


def _spaces_and_nothing() -> dict[int, str | None]:
    """RFC 4518 section 2.2: the code points that become a space, and those that become nothing."""
    spaces = [*range(0x09, 0x0E), 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000]
    nothing = [
        *range(0x09), *range(0x0E, 0x20), *range(0x7F, 0x85), *range(0x86, 0xA0), 0xAD, 0x034F, 0x06DD, 0x070F,
        0x1806, *range(0x180B, 0x180F), *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2064),
        *range(0x206A, 0x2070), *range(0xFE00, 0xFE10), 0xFEFF, *range(0xFFF9, 0xFFFD), *range(0x1D173, 0x1D17B),
        0xE0001, *range(0xE0020, 0xE0080),
    ]  # fmt: skip
    return {**dict.fromkeys(nothing), **dict.fromkeys(spaces, " ")}


_MAPPED: Final = _spaces_and_nothing()


def prepare(text: str) -> str:
    """A character string as it is compared (RFC 4518 section 2): mapped, folded, NFKC, white space squeezed."""
    if text.isascii() and text.isprintable():
        return " ".join(text.lower().split())
    folded = unicodedata.normalize("NFKC", text.translate(_MAPPED)).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).translate(_MAPPED).split())


class Name(bytes):
    """A distinguished name: the octets by which it is compared and hashed.

    They hold the RDNs from the most significant on, each behind its length, so that a name lies below
    another exactly when its octets begin with the other's. Falsy when the name is an empty sequence.
    """

    der: bytes

    def __new__(cls, parsed: x509.Name) -> Self:
        """The name that the library read. Raises `ValueError` for one with characters that its type does not have."""
        return cls.read(parsed.public_bytes())

    @classmethod
    def read(cls, data: bytes) -> Self:
        """The name that `data` is, in DER that a strict parser has accepted. Raises `ValueError` likewise."""
        end = len(data)
        at = _content(data, 0)
        rdns = b""
        while at < end:
            stop = der.after(data, at)
            rdns += _rdn(data, _content(data, at), stop)
            at = stop
        self = super().__new__(cls, rdns)
        self.der = data
        return self

    @property
    def text(self) -> str:
        """The name as RFC 4514 writes it; may hold anything a certificate may, so escape it where it is shown."""
        try:
            return self._parsed.rfc4514_string()
        except ValueError:
            return f"#{self.der.hex()}"

    @property
    def _parsed(self) -> x509.Name:
        return x509.Name.from_bytes(self.der)

    def within(self, base: Name) -> bool:
        """Whether this name lies in the subtree of `base` (RFC 5280 section 4.2.1.10, directoryName)."""
        return self.startswith(base)

    def extended(self, relative: x509.RelativeDistinguishedName) -> Name:
        """This name with one more RDN below it (a name relative to a CRL issuer, section 4.2.1.13)."""
        return Name(x509.Name([*self._parsed.rdns, relative]))

    def email_addresses(self) -> list[str]:
        """The emailAddress attributes (PKCS#9), which name constraints of the e-mail kind also cover."""
        return self._values(EMAIL_ADDRESS)

    def common_names(self) -> list[str]:
        """The values of commonName, as they stand."""
        return self._values(COMMON_NAME)

    def _values(self, oid: str) -> list[str]:
        return [str(one.value) for one in self._parsed if one.oid.dotted_string == oid]

    def __repr__(self) -> str:
        return f"Name({self.text!r})"


def _content(data: bytes, at: int) -> int:
    """Where the content of the element at offset `at` begins."""
    length = data[at + 1]
    return at + 2 if length < 0x80 else at + 2 + (length & 0x7F)


def _rdn(data: bytes, at: int, end: int) -> bytes:
    """RelativeDistinguishedName ::= SET OF AttributeTypeAndValue; a set is compared without regard to its order."""
    attributes = []
    while at < end:
        stop = der.after(data, at)
        attributes.append(_attribute(data, _content(data, at), stop))
        at = stop
    attributes.sort()
    return _measured(b"".join(attributes))


def _attribute(data: bytes, at: int, end: int) -> bytes:
    """AttributeTypeAndValue ::= SEQUENCE { type, value }: the type, and the value as it is compared.

    Character strings are of one kind; anything else keeps its tag.
    """
    value = der.after(data, at)
    encoding = _CHARACTER_STRINGS.get(data[value])
    if encoding is None:
        return _measured(data[at:end])
    text = data[_content(data, value) : end].decode(encoding)
    return _measured(data[at:value] + b"\0" + prepare(text).encode("utf-8", "surrogatepass"))


def _measured(content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + content
