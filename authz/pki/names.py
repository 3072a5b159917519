"""Distinguished names, compared as RFC 5280 section 7.1 says and not byte for byte.

Attribute values of the printable kinds are compared after case folding, compatibility normalization
(RFC 4518, the part that matters for certificates) and squeezing of white space; values of any other
kind, and types that differ, are compared as they stand. An RDN is a set.
"""

from __future__ import annotations

import unicodedata

from cryptography import x509
from cryptography.x509.name import _ASN1Type

# RFC 5280 section 7.1 compares PrintableString and UTF8String by stringprep; the other character
# strings, which section 4.1.2.4 keeps for old certificates, are folded alike, so that a CA that
# re-encoded its name still chains.
_CHARACTER_STRINGS = frozenset(
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

Rdn = frozenset[tuple[str, int, str | bytes]]
Key = tuple[Rdn, ...]


def prepare(text: str) -> str:
    """A character string as it is compared: NFKC, case folded, inner white space single, outer none."""
    return " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).split())


class Name:
    """A distinguished name: equal and hashed by its comparison key.

    `key` is a tuple of RDNs, most significant first; `text` is RFC 4514, for people only.
    """

    __slots__ = ("_hash", "_text", "_x509", "key")

    def __init__(self, parsed: x509.Name) -> None:
        self.key: Key = tuple(_rdn(one) for one in parsed.rdns)
        self._x509 = parsed
        self._hash = hash(self.key)

    @property
    def text(self) -> str:
        """The name as RFC 4514 writes it; may hold anything a certificate may, so escape it where it is shown."""
        return self._x509.rfc4514_string()

    @property
    def empty(self) -> bool:
        """Whether the name is an empty sequence."""
        return not self.key

    def within(self, base: Name) -> bool:
        """Whether this name lies in the subtree of `base` (RFC 5280 section 4.2.1.10, directoryName)."""
        return self.key[: len(base.key)] == base.key

    def extended(self, relative: x509.RelativeDistinguishedName) -> Name:
        """This name with one more RDN below it (a name relative to a CRL issuer, section 4.2.1.13)."""
        return Name(x509.Name([*self._x509.rdns, relative]))

    def email_addresses(self) -> list[str]:
        """The emailAddress attributes (PKCS#9), which name constraints of the e-mail kind also cover."""
        found = []
        for rdn in self._x509.rdns:
            found += [str(a.value) for a in rdn if a.oid.dotted_string == "1.2.840.113549.1.9.1"]
        return found

    def common_names(self) -> list[str]:
        """The values of commonName, as they stand."""
        return [str(a.value) for rdn in self._x509.rdns for a in rdn if a.oid.dotted_string == "2.5.4.3"]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Name) and self._hash == other._hash and self.key == other.key

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"Name({self.text!r})"


def _rdn(parsed: x509.RelativeDistinguishedName) -> Rdn:
    return frozenset(_attribute(one) for one in parsed)


def _attribute(one: x509.NameAttribute[str | bytes]) -> tuple[str, int, str | bytes]:
    if one._type in _CHARACTER_STRINGS and isinstance(one.value, str):  # noqa: SLF001 - the string type has no public name
        return (one.oid.dotted_string, -1, prepare(one.value))
    return (one.oid.dotted_string, one._type.value, one.value)  # noqa: SLF001 - likewise
