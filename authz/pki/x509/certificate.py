"""A certificate as the validator uses it: DER that was read once, with every late error turned into a refusal."""

from __future__ import annotations

import hashlib
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

from cryptography import x509

from authz.errors import Refused
from authz.pki.cache import extensions_weight, name_weight
from authz.pki.cache.extensions import learn, recalled
from authz.pki.x509 import der as asn1
from authz.pki.x509.algorithms import Key, Signed, read_key
from authz.pki.x509.distinguished_name import Name
from authz.pki.x509.distribution_points import Points, points_of
from authz.pki.x509.extensions import PARSE_ERRORS, Extensions, check_counts, counted, read_extensions
from authz.pki.x509.general_names import Comparable, comparable_names, names_of
from authz.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes as PublicKey
    from cryptography.x509 import GeneralName

    from authz.pki.cache import Cache

    KnownIssuers = Mapping[bytes, "KnownIssuer"] | Cache[bytes, "KnownIssuer"]

T = TypeVar("T")


class _late(Generic[T]):  # noqa: N801 - stands where @cached_property would
    """An attribute read on first use and kept; what the parser raises then is a refusal about the certificate."""

    def __init__(self, reader: Callable[[Certificate], T]) -> None:
        self.read = reader
        self.name = reader.__name__
        self.__doc__ = reader.__doc__

    def __get__(self, certificate: Certificate, owner: type[Certificate]) -> T:
        try:
            value = self.read(certificate)
        except Refused as refusal:
            raise Refused(refusal.reason, refusal.detail, certificate=certificate.der) from refusal
        except PARSE_ERRORS as error:
            raise Refused(Reason.CERTIFICATE_MALFORMED, str(error), certificate=certificate.der) from error
        # No data descriptor: from now on the instance's own attribute is found first.
        setattr(certificate, self.name, value)
        return value


class Layout(NamedTuple):
    """Raw DER: the to-be-signed part, the content of the serial number, the names, the SubjectPublicKeyInfo.

    Then the extensions of version 3 alone; where in the DER all lies that stands behind the key, the extensions in any
    version among it; and the signature's unused bits, of which there should be none.
    """

    tbs: bytes
    serial: bytes
    issuer: bytes
    subject: bytes
    key: bytes
    extensions: bytes
    behind: slice
    unused_bits: int


class KnownIssuer(NamedTuple):
    """A name that issued certificates on verified paths, and what the extensions of such say."""

    name: Name
    extensions: dict[bytes, Extensions]

    @property
    def weight(self) -> int:
        """What it takes in memory, in bytes."""
        lists = (600 + len(shared) + extensions_weight(said) for shared, said in self.extensions.items())
        return 600 + name_weight(self.name) + sum(lists)


NO_ISSUERS: Final[Mapping[bytes, KnownIssuer]] = MappingProxyType({})


class Certificate:
    """One X.509 certificate. What it says is immutable; equal when the DER is; read as far as it is asked.

    `below` is the mark of a path above it, if one is known, below which it satisfies everything but dates and
    revocation: the mark and not the path, which must not live as long as everybody below it.
    `der` and `sha256` (32 bytes) are its identity. Attributes that the parser reads late raise `Refused`
    (certificate_malformed, or the algorithm's reason) on first use.
    """

    def __init__(self, der: bytes, parsed: x509.Certificate, issuers: KnownIssuers) -> None:
        self.der = der
        self.sha256 = hashlib.sha256(der).digest()
        self._parsed: x509.Certificate | None = parsed
        self._issuers = issuers
        self.below: object = None

    @classmethod
    def parse(cls, der: bytes, issuers: KnownIssuers = NO_ISSUERS) -> Certificate:
        """The certificate that `der` is. Raises `Refused` (certificate_malformed) for anything but one in DER.

        `issuers` spares reading the name of an issuer again, by its DER.
        """
        try:
            parsed = x509.load_der_x509_certificate(der)
        except PARSE_ERRORS as error:
            raise Refused(Reason.CERTIFICATE_MALFORMED, str(error), certificate=der) from error
        return cls(der, parsed, issuers)

    def read_ahead(self) -> None:
        """Read at once what every path needs of a leaf, if its extensions are known, which keeps it cheap.

        What cannot be read is told when it is asked for.
        """
        try:
            known = self._issuers.get(self._layout.issuer)
            if known is not None and self.extensions.recalled:
                self._read_below(known)
        except (Refused, *PARSE_ERRORS):
            return

    def _read_below(self, issuer: KnownIssuer) -> None:
        """What the attributes of these names would read, each by itself and later."""
        layout, parsed, subject = self._layout, self.x509, Name.read(self._layout.subject)
        signed = Signed(parsed, layout.unused_bits, layout.tbs)
        vars(self).update(
            issuer=issuer.name,
            subject=subject,
            key=read_key(layout.key),
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
        """The certificate as the library has it, made anew once it was let go."""
        return self._parsed or x509.load_der_x509_certificate(self.der)

    def let_go(self) -> None:
        """Let go of what takes several times the room of what was read from it, and can be made anew."""
        self._parsed = None
        _drop(self, "_layout")
        _drop(self, "_counted")
        _drop(self, "signed")

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
        """All extensions, as plain values."""
        known = self._issuers.get(self._layout.issuer)
        found = None if known is None else recalled(self._layout.extensions, known.extensions)
        return self._read_extensions() if found is None else found

    @_late
    def own_extensions(self) -> Extensions:
        """The same with what no other certificate shares: its key identifier and alternative names."""
        return self._read_extensions() if self.extensions.recalled else self.extensions

    def _read_extensions(self) -> Extensions:
        check_counts(self._counted)  # before the library makes objects of them
        return read_extensions(self.x509, self.der[self._layout.behind])

    @_late
    def _counted(self) -> dict[bytes, int]:
        return counted(self.der[self._layout.behind])

    @_late
    def weight(self) -> int:
        """What reading its extensions and names costs, in elements of extensions; four bytes of a name are one."""
        layout = self._layout
        return sum(self._counted.values()) + (len(layout.issuer) + len(layout.subject)) // 4

    @property
    def subject_key_id(self) -> bytes | None:
        """The identifier of its key, if it states one."""
        return self.own_extensions.subject_key_id

    @property
    def alternative_names(self) -> tuple[GeneralName, ...]:
        """The subject alternative names, which nothing needs as long as nobody constrains them."""
        return self.own_extensions.names

    @_late
    def key(self) -> Key:
        """What kind of key the subject's is, how large, and what verifying one signature under it costs."""
        return read_key(self._layout.key)

    @_late
    def public_key(self) -> PublicKey:
        """The subject's public key, of a kind and size that the tables of `authz.pki.x509.algorithms` hold."""
        self.key  # noqa: B018 - what is not in the tables is not loaded
        return self.x509.public_key()

    @property
    def key_cost(self) -> int:
        """What verifying one signature under this key costs, in units of one with P-256."""
        return self.key.cost

    @_late
    def _layout(self) -> Layout:
        return _layout(self.der)

    @_late
    def spki_sha256(self) -> bytes:
        """SHA-256 of the SubjectPublicKeyInfo's DER, parameters included: 32 bytes that identify the key."""
        return hashlib.sha256(self._layout.key).digest()

    @property
    def spki_der(self) -> bytes:
        """The SubjectPublicKeyInfo, in DER. Raises `Refused` (certificate_malformed)."""
        return self._layout.key

    @_late
    def signed(self) -> Signed:
        """What the issuer signed, and how."""
        return Signed(self.x509, self._layout.unused_bits, self._layout.tbs)

    @_late
    def signature_algorithm(self) -> str:
        """The algorithm of the issuer's signature, dotted: one that the tables of `authz.pki.x509.algorithms` hold."""
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
        """Whether the certificate is of version 3, the only one that can say what a CA is."""
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
        """The distribution points of the CRLs that may list it, the implied one last."""
        said = self.extensions
        points = said.points or points_of(said.distribution_points, self.issuer)
        if said.recalled:
            said.points = points
        return points

    def introduce_issuer(self, issuers: Cache[bytes, KnownIssuer]) -> None:
        """Remember the issuer's name, and what was read of these extensions, in `issuers`: not what was recalled."""
        der = self._layout.issuer
        known = issuers.get(der) or KnownIssuer(self.issuer, {})
        learn(self._layout.extensions, self.extensions, vars(self).get("crl_points"), known.extensions)
        issuers.put(der, known, len(der) + known.weight)

    @_late
    def san_names(self) -> frozenset[str]:
        """The DNS and URI subject alternative names, as they stand."""
        wanted = (x509.DNSName, x509.UniformResourceIdentifier)
        return frozenset(one.value for one in self.alternative_names if isinstance(one, wanted))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Certificate) and self.der == other.der

    def __hash__(self) -> int:
        return hash(self.sha256)

    def __repr__(self) -> str:
        return f"Certificate({self.sha256.hex()})"


def _drop(certificate: Certificate, name: str) -> None:
    try:
        delattr(certificate, name)
    except AttributeError:  # it was not read
        return


def _layout(data: bytes) -> Layout:
    """The parts of a certificate as they stand in its DER (RFC 5280 section 4.1).

    The library would serialize them anew; the bytes that were signed are the ones meant. Raises
    `ValueError` when the algorithm inside differs from the one outside (section 4.1.1.2).
    """
    start, end, signature = asn1.row(data, asn1.content(data, 0), 2)
    at = asn1.content(data, start)
    v3 = data[at : at + 5] == b"\xa0\x03\x02\x01\x02"
    # The version [0] in front is absent in version 1.
    *_, serial, algorithm, issuer, validity, subject, key, rest = asn1.row(data, at, 7 if data[at] == 0xA0 else 6)
    if data[algorithm:issuer] != data[end:signature]:
        raise ValueError("the signature algorithms inside and outside differ")
    return Layout(
        data[start:end],
        data[asn1.content(data, serial) : algorithm],
        data[issuer:validity],
        data[subject:key],
        data[key:rest],
        data[rest:end] if v3 else b"",
        slice(rest, end),
        asn1.unused_bits(data, signature),
    )
