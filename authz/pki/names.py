"""Distinguished names, compared as RFC 5280 section 7.1 says and not byte for byte.

Attribute values that are character strings are compared as RFC 4518 prepares them: case folded,
compatibility normalized, without what is invisible, inner white space squeezed; values of any other
kind, and types that differ, are compared as they stand. The attributes of an RDN have no order.
"""

from __future__ import annotations

import unicodedata
from typing import Final, Self

from cryptography import x509
from cryptography.x509.name import _ASN1Type

# RFC 5280 section 7.1 compares PrintableString and UTF8String by stringprep; the other character
# strings, which section 4.1.2.4 keeps for old certificates, are folded alike, so that a CA that
# re-encoded its name still chains.
_CHARACTER_STRINGS: Final = frozenset(
    {
        _ASN1Type.UTF8String,
        _ASN1Type.PrintableString,
        _ASN1Type.T61String,
        _ASN1Type.IA5String,
        _ASN1Type.VisibleString,
        _ASN1Type.UniversalString,
        _ASN1Type.BMPString,
        _ASN1Type.NumericString,
    }
)

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

    _x509: x509.Name

    def __new__(cls, parsed: x509.Name) -> Self:
        """The name that the library read. Raises `ValueError` where it reads on first use only."""
        self = super().__new__(cls, b"".join([_rdn(one) for one in parsed.rdns]))
        self._x509 = parsed
        return self

    @property
    def text(self) -> str:
        """The name as RFC 4514 writes it; may hold anything a certificate may, so escape it where it is shown."""
        return self._x509.rfc4514_string()

    def within(self, base: Name) -> bool:
        """Whether this name lies in the subtree of `base` (RFC 5280 section 4.2.1.10, directoryName)."""
        return self.startswith(base)

    def extended(self, relative: x509.RelativeDistinguishedName) -> Name:
        """This name with one more RDN below it (a name relative to a CRL issuer, section 4.2.1.13)."""
        return Name(x509.Name([*self._x509.rdns, relative]))

    def email_addresses(self) -> list[str]:
        """The emailAddress attributes (PKCS#9), which name constraints of the e-mail kind also cover."""
        return self._values(EMAIL_ADDRESS)

    def common_names(self) -> list[str]:
        """The values of commonName, as they stand."""
        return self._values(COMMON_NAME)

    def _values(self, oid: str) -> list[str]:
        return [str(one.value) for one in self._x509 if one.oid.dotted_string == oid]

    def __repr__(self) -> str:
        return f"Name({self.text!r})"


def _rdn(parsed: x509.RelativeDistinguishedName) -> bytes:
    attributes = [_attribute(one) for one in parsed]
    if len(attributes) > 1:
        attributes.sort()
    return _measured(b"".join(attributes))


def _attribute(one: x509.NameAttribute[str | bytes]) -> bytes:
    """Type, kind of value and value; character strings are of one kind."""
    kind, value = one._type, one.value  # noqa: SLF001 - the string type has no public name
    oid = one.oid.dotted_string.encode("ascii")
    if isinstance(value, str) and kind in _CHARACTER_STRINGS:
        return _measured(b"%b s %b" % (oid, prepare(value).encode("utf-8", "surrogatepass")))
    octets = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
    return _measured(b"%b %d %b" % (oid, kind.value, octets))


def _measured(content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + content
