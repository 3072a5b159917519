"""A certificate as the validator uses it: its DER is read once, and every late parser error becomes `Refused`."""

from __future__ import annotations

import hashlib
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

from cryptography import x509

from authz.errors import Refused
from authz.pki.cache.extensions import KnownIssuer, get_extensions, put_extensions
from authz.pki.x509 import der as asn1
from authz.pki.x509.algorithms import Key, Signed, plain_spki, read_key, restricted
from authz.pki.x509.distinguished_name import Name
from authz.pki.x509.distribution_points import Points, points_of
from authz.pki.x509.extensions import NO_REV_AVAIL, Extensions, check_counts, counted, read_extensions
from authz.pki.x509.general_names import Comparable, comparable_names, names_of
from authz.pki.x509.library import load_certificate, parser_error
from authz.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes as PublicKey
    from cryptography.x509 import GeneralName

    from authz.pki.cache.shared import Cache

    KnownIssuers = Mapping[bytes, KnownIssuer] | Cache[bytes, KnownIssuer]

T = TypeVar("T")


class _late(Generic[T]):  # noqa: N801 - used like @cached_property
    """An attribute that is read on first use and kept; parser errors become `Refused` for the certificate."""

    def __init__(self, reader: Callable[[Certificate], T]) -> None:
        self.read = reader
        self.name = reader.__name__
        self.__doc__ = reader.__doc__

    def __get__(self, certificate: Certificate, owner: type[Certificate]) -> T:
        try:
            value = self.read(certificate)
        except Refused as refusal:
            raise Refused(refusal.reason, refusal.detail, certificate=certificate.der) from refusal
        except BaseException as error:
            detail = str(parser_error(error))
            raise Refused(Reason.CERTIFICATE_MALFORMED, detail, certificate=certificate.der) from error
        # Not a data descriptor: from now on Python finds the instance's own attribute first.
        setattr(certificate, self.name, value)
        return value


class CertificateLayout(NamedTuple):
    """Pieces of the DER: the to-be-signed part, the content of the serial number, names, key, extensions.

    `spki` is the SubjectPublicKeyInfo, `extensions` everything after it (empty before version 3), `after_key` the
    place of that in the DER in any version. `unused_bits` of the signature: zero, if it is valid.
    """

    tbs: bytes
    serial: bytes
    issuer: bytes
    subject: bytes
    spki: bytes
    extensions: bytes
    after_key: slice
    unused_bits: int


NO_ISSUERS: Final[Mapping[bytes, KnownIssuer]] = MappingProxyType({})


class Certificate:
    """One X.509 certificate: immutable, equal if the DER is, its attributes read on first use.

    `known_issuer_chain` is the mark of the `IssuerChain` under which it passed every check but dates and revocation,
    if any. It stands here, and not in a cache, because it must cost no look-up; the mark does not keep the chain alive.
    `der` and `sha256` (32 bytes) are its identity. Attributes that the parser reads late raise `Refused`
    (certificate_malformed, or the algorithm's reason) on first use.
    """

    def __init__(self, der: bytes, parsed: x509.Certificate, issuers: KnownIssuers) -> None:
        self.der = der
        self.sha256 = hashlib.sha256(der).digest()
        self._parsed: x509.Certificate | None = parsed
        self._issuers = issuers
        self.known_issuer_chain: object = None

    @classmethod
    def parse(cls, der: bytes, issuers: KnownIssuers = NO_ISSUERS) -> Certificate:
        """The certificate in `der`. Raises `Refused` (certificate_malformed) for anything but one certificate in DER.

        `issuers` has the names of issuers that were read before, by their DER.
        """
        try:
            parsed = load_certificate(der)
        except ValueError as error:
            raise Refused(Reason.CERTIFICATE_MALFORMED, str(error), certificate=der) from error
        return cls(der, parsed, issuers)

    def read_ahead(self) -> None:
        """Read all that every path needs of a leaf at once, if its extensions are cached: that is cheaper.

        An attribute that cannot be read raises when it is used.
        """
        try:
            layout = _layout(self.der)
            known = self._issuers.get(layout.issuer)
            extensions = vars(self).get("extensions")
            if known is not None and extensions is None:
                extensions = get_extensions(layout.extensions, known.extensions)
            if known is not None and extensions is not None and extensions.recalled:
                self._read_with(layout, known, extensions)
        except BaseException as error:  # noqa: BLE001 - likewise
            parser_error(error)

    def _read_with(self, layout: CertificateLayout, issuer: KnownIssuer, extensions: Extensions) -> None:
        """Set the attributes that would otherwise be read later, one by one."""
        parsed, subject = self._parsed or self.x509, Name.read(layout.subject)
        signed = Signed(parsed, layout.unused_bits, layout.tbs)
        vars(self).update(
            _layout=layout,
            extensions=extensions,
            issuer=issuer.name,
            subject=subject,
            key=read_key(layout.spki),
            signed=signed,
            signature_algorithm=signed.oid,
            serial=int.from_bytes(layout.serial, "big", signed=True),
            not_before=parsed.not_valid_before_utc,
            not_after=parsed.not_valid_after_utc,
            self_issued=subject == issuer.name,
        )

    @staticmethod
    def fingerprint(der: bytes) -> bytes:
        """SHA-256 of a certificate's DER: 32 bytes."""
        return hashlib.sha256(der).digest()

    @property
    def x509(self) -> x509.Certificate:
        """The library's object of the certificate, parsed again after `let_go`; its DER may be another spelling."""
        return self._parsed or load_certificate(self.der)

    def let_go(self) -> None:
        """Drop what takes several times the memory of the values read from it, and can be read again."""
        self._parsed = None
        for attribute in ("_layout", "_counted", "signed"):
            vars(self).pop(attribute, None)

    @_late
    def subject(self) -> Name:
        """The subject's distinguished name."""
        return Name.read(self._layout.subject)

    @_late
    def issuer(self) -> Name:
        """The issuer's distinguished name."""
        known = self._issuers.get(self._layout.issuer)
        return Name.read(self._layout.issuer) if known is None else known.name

    @_late
    def extensions(self) -> Extensions:
        """All extensions, as plain values; those from a cache lack key identifier and alternative names."""
        known = self._issuers.get(self._layout.issuer)
        cached = None if known is None else get_extensions(self._layout.extensions, known.extensions)
        return self._read_extensions() if cached is None else cached

    @_late
    def own_extensions(self) -> Extensions:
        """The same with what certificates do not share: key identifier and alternative names."""
        return self._read_extensions() if self.extensions.recalled else self.extensions

    def _read_extensions(self) -> Extensions:
        check_counts(self._counted)  # before the library makes objects of the elements
        return read_extensions(self.der[self._layout.after_key], v3=self.v3)

    @_late
    def _counted(self) -> dict[bytes, int]:
        return counted(self.der[self._layout.after_key])

    @_late
    def weight(self) -> int:
        """The cost of reading its extensions and names, in elements of extensions; four bytes of a name are one."""
        layout = self._layout
        return sum(self._counted.values()) + (len(layout.issuer) + len(layout.subject)) // 4

    @property
    def no_rev_avail(self) -> bool:
        """Whether its CA says that it publishes nothing about its revocation (RFC 9608), for reports."""
        return NO_REV_AVAIL in self._counted

    @property
    def subject_key_id(self) -> bytes | None:
        """The subject key identifier, if there is one."""
        return self.own_extensions.subject_key_id

    @property
    def alternative_names(self) -> tuple[GeneralName, ...]:
        """The subject alternative names, which are read only if name constraints apply to them."""
        return self.own_extensions.names

    @property
    def unread_kinds(self) -> frozenset[type[GeneralName]]:
        """The kinds of alternative names that it may have besides, in an extension that cannot be read."""
        return self.own_extensions.unread_kinds

    @_late
    def key(self) -> Key:
        """The subject's key: its kind, its size, and the cost of verifying one signature."""
        return read_key(self._layout.spki)

    @_late
    def public_key(self) -> PublicKey:
        """The subject's public key, of a kind and size in the tables of `authz.pki.x509.algorithms`."""
        self.key  # noqa: B018 - raises for a key outside the tables, which is not loaded
        return restricted(self.x509.public_key(), self._layout.spki)

    @property
    def key_cost(self) -> int:
        """The cost of verifying one signature under this key, in units of one with P-256."""
        return self.key.cost

    @_late
    def _layout(self) -> CertificateLayout:
        return _layout(self.der)

    @_late
    def spki_sha256(self) -> bytes:
        """SHA-256 of the SubjectPublicKeyInfo's DER, parameters included: 32 bytes that identify the key."""
        return hashlib.sha256(self._layout.spki).digest()

    @property
    def spki_der(self) -> bytes:
        """The SubjectPublicKeyInfo, in DER. Raises `Refused` (certificate_malformed)."""
        return self._layout.spki

    @property
    def plain_spki(self) -> bytes:
        """The key in the one form of `algorithms.plain_spki`."""
        return plain_spki(self._layout.spki)

    @_late
    def plain_spki_sha256(self) -> bytes:
        """SHA-256 of `plain_spki`, under which the CRLs that the key signed are filed."""
        return hashlib.sha256(self.plain_spki).digest()

    @_late
    def tbs_sha256(self) -> bytes:
        """SHA-256 of the signed part, tbsCertificate: 32 bytes that no other encoding of the signature changes."""
        return hashlib.sha256(self._layout.tbs).digest()

    @property
    def issuer_der(self) -> bytes:
        """The issuer's distinguished name, in DER. Raises `Refused` (certificate_malformed)."""
        return self._layout.issuer

    @_late
    def signed(self) -> Signed:
        """The issuer's signature and the bytes signed."""
        return Signed(self.x509, self._layout.unused_bits, self._layout.tbs)

    @_late
    def signature_algorithm(self) -> str:
        """The algorithm of the issuer's signature, dotted: one of the tables of `authz.pki.x509.algorithms`."""
        return self.signed.oid

    @_late
    def serial(self) -> int:
        """The serial number, which may be zero or negative (RFC 5280 section 4.1.2.2 asks to cope)."""
        return int.from_bytes(self._layout.serial, "big", signed=True)

    @_late
    def not_before(self) -> datetime:
        """The first moment of validity, inclusive."""
        return self.x509.not_valid_before_utc

    @_late
    def not_after(self) -> datetime:
        """The last moment of validity, inclusive."""
        return self.x509.not_valid_after_utc

    @_late
    def v3(self) -> bool:
        """Whether the certificate is of version 3, the only one with basic constraints."""
        return self.x509.version is x509.Version.v3

    @_late
    def self_issued(self) -> bool:
        """Whether issuer and subject are the same name (RFC 5280 section 6.1)."""
        return self.subject == self.issuer

    @_late
    def constrained_names(self) -> tuple[Comparable, ...]:
        """Every name that name constraints apply to."""
        return names_of(self.alternative_names, self.subject)

    @_late
    def permitted(self) -> tuple[Comparable, ...]:
        """The permitted subtrees of its name constraints."""
        return comparable_names(self.extensions.permitted)

    @_late
    def excluded(self) -> tuple[Comparable, ...]:
        """The excluded subtrees of its name constraints."""
        return comparable_names(self.extensions.excluded)

    @_late
    def crl_points(self) -> Points:
        """The distribution points of CRLs that apply to it, the implied one last."""
        extensions = self.extensions
        points = extensions.points or points_of(extensions.distribution_points, self.issuer, extensions.issuer_names)
        if extensions.recalled:
            extensions.points = points
        return points

    def introduce_issuer(self, issuers: Cache[bytes, KnownIssuer]) -> None:
        """Put the issuer's name and these extensions into `issuers`, unless the extensions came from there."""
        der = self._layout.issuer
        known = issuers.get(der) or KnownIssuer(self.issuer, {})
        put_extensions(self._layout.extensions, self.extensions, vars(self).get("crl_points"), known.extensions)
        issuers.put(der, known, len(der) + known.weight)

    @_late
    def san_names(self) -> frozenset[str]:
        """The DNS and URI subject alternative names, unchanged."""
        wanted = (x509.DNSName, x509.UniformResourceIdentifier)
        return frozenset(name.value for name in self.alternative_names if isinstance(name, wanted))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Certificate) and self.der == other.der

    def __hash__(self) -> int:
        return hash(self.sha256)

    def __repr__(self) -> str:
        return f"Certificate({self.sha256.hex()})"


def _layout(data: bytes) -> CertificateLayout:
    """The pieces of a certificate as they are in its DER (RFC 5280 section 4.1).

    The library would re-encode them, and the signature covers the original bytes. Raises `ValueError` if the
    algorithm inside the signed part differs from the one outside (section 4.1.1.2).
    """
    start, end, signature = asn1.row(data, asn1.content(data, 0), 2)
    at = asn1.content(data, start)
    v3 = data[at : at + 5] == b"\xa0\x03\x02\x01\x02"
    # The version [0] in front is absent in version 1.
    *_, serial, algorithm, issuer, validity, subject, key, rest = asn1.row(data, at, 7 if data[at] == 0xA0 else 6)
    if data[algorithm:issuer] != data[end:signature]:
        raise ValueError("the signature algorithms inside and outside differ")
    return CertificateLayout(
        data[start:end],
        data[asn1.content(data, serial) : algorithm],
        data[issuer:validity],
        data[subject:key],
        data[key:rest],
        data[rest:end] if v3 else b"",
        slice(rest, end),
        asn1.unused_bits(data, signature),
    )
