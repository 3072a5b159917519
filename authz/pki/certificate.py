"""A certificate as the validator uses it: DER that was read once, with every late error turned into a refusal."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from cryptography import x509

from authz.errors import Refused
from authz.pki import der as asn1
from authz.pki.algorithms import Signed, check_key
from authz.pki.distribution_point import Point, points_of
from authz.pki.extensions import PARSE_ERRORS, Extensions, read_extensions
from authz.pki.names import Name
from authz.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes as PublicKey

T = TypeVar("T")


class Certificate:
    """One X.509 certificate. Immutable; equal when the DER is; read as far as it is asked.

    `der` and `sha256` (32 bytes) are its identity. Attributes that the parser reads late raise `Refused`
    (certificate_malformed, or the algorithm's reason) on first use.
    """

    def __init__(self, der: bytes, parsed: x509.Certificate) -> None:
        self.der = der
        self.x509 = parsed
        self.sha256 = self.fingerprint(der)

    @classmethod
    def parse(cls, der: bytes) -> Certificate:
        """The certificate that `der` is. Raises `Refused` (certificate_malformed) for anything but one in DER."""
        try:
            parsed = x509.load_der_x509_certificate(der)
            parsed.version  # noqa: B018 - read to have an unknown version refused here
        except PARSE_ERRORS as error:
            raise Refused(Reason.CERTIFICATE_MALFORMED, str(error), certificate=der) from error
        return cls(der, parsed)

    @staticmethod
    def fingerprint(der: bytes) -> bytes:
        """SHA-256 of a certificate's DER: 32 bytes."""
        return hashlib.sha256(der).digest()

    def _read(self, reader: Callable[[], T]) -> T:
        try:
            return reader()
        except Refused as refusal:
            raise Refused(refusal.reason, refusal.detail, certificate=self.der) from refusal
        except PARSE_ERRORS as error:
            raise Refused(Reason.CERTIFICATE_MALFORMED, str(error), certificate=self.der) from error

    @cached_property
    def subject(self) -> Name:
        """The subject's distinguished name."""
        return self._read(lambda: Name(self.x509.subject))

    @cached_property
    def issuer(self) -> Name:
        """The issuer's distinguished name."""
        return self._read(lambda: Name(self.x509.issuer))

    @cached_property
    def extensions(self) -> Extensions:
        """All extensions, as plain values."""
        return self._read(lambda: read_extensions(self.x509))

    @cached_property
    def public_key(self) -> PublicKey:
        """The subject's public key, of a kind and size that policy accepts."""
        key = self._read(self.x509.public_key)
        self._read(lambda: check_key(key))
        return key

    @cached_property
    def key_cost(self) -> int:
        """What verifying one signature under this key costs, in units of one with P-256."""
        return check_key(self.public_key)

    @cached_property
    def _layout(self) -> tuple[bytes, bytes]:
        return self._read(lambda: _layout(self.der))

    @cached_property
    def spki(self) -> bytes:
        """SHA-256 of the SubjectPublicKeyInfo's DER, parameters included: 32 bytes that identify the key."""
        return hashlib.sha256(self._layout[1]).digest()

    @cached_property
    def signed(self) -> Signed:
        """What the issuer signed, and how."""
        return self._read(lambda: Signed(self.x509, self._layout[0]))

    @cached_property
    def serial(self) -> int:
        """The serial number, which may be zero or negative (RFC 5280 section 4.1.2.2 asks to cope)."""
        return self._read(lambda: self.x509.serial_number)

    @cached_property
    def not_before(self) -> datetime:
        """The first moment of validity, inclusive."""
        return self._read(lambda: self.x509.not_valid_before_utc)

    @cached_property
    def not_after(self) -> datetime:
        """The last moment of validity, inclusive."""
        return self._read(lambda: self.x509.not_valid_after_utc)

    @cached_property
    def v3(self) -> bool:
        """Whether the certificate is of version 3, the only one that can say what a CA is."""
        return self.x509.version is x509.Version.v3

    @cached_property
    def self_issued(self) -> bool:
        """Whether issuer and subject are the same name (RFC 5280 section 6.1)."""
        return self.subject == self.issuer

    @cached_property
    def crl_points(self) -> tuple[Point, ...]:
        """The distribution points of the CRLs that may list it, the implied one last."""
        return self._read(lambda: points_of(self.extensions.distribution_points, self.issuer))

    @cached_property
    def san_names(self) -> frozenset[str]:
        """The DNS and URI subject alternative names, as they stand."""
        wanted = (x509.DNSName, x509.UniformResourceIdentifier)
        return frozenset(one.value for one in self.extensions.names if isinstance(one, wanted))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Certificate) and self.der == other.der

    def __hash__(self) -> int:
        return hash(self.sha256)

    def __repr__(self) -> str:
        return f"Certificate({self.sha256.hex()})"


def _layout(data: bytes) -> tuple[bytes, bytes]:
    """The raw to-be-signed part and the raw SubjectPublicKeyInfo (RFC 5280 section 4.1).

    The library would serialize both anew; the bytes that were signed are the ones meant. Raises
    `ValueError` when the algorithm inside differs from the one outside (section 4.1.1.2).
    """
    tbs, start, end = asn1.signed_part(data)
    fields = list(asn1.elements(data, start, end))
    first = 1 if fields[0][0] == 0xA0 else 0  # version [0], absent in version 1
    algorithm, subject, key = fields[first + 1], fields[first + 4], fields[first + 5]
    _, outer_start, outer_end = asn1.element(data, end, len(data))
    if data[algorithm[1] : algorithm[2]] != data[outer_start:outer_end]:
        raise ValueError("the signature algorithms inside and outside differ")
    return tbs, data[subject[2] : key[2]]
