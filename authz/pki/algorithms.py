"""Which signature algorithms and keys are accepted, as a table, and the one place that verifies a signature.

Refused by policy, whoever signed: MD2, MD5 and SHA-1 (collisions), DSA, RSA keys below 2,048 bits
(NIST SP 800-131A) and above 8,192 (the cost of one verification), curves other than the three NIST primes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa

from authz.errors import Refused
from authz.reasons import Reason

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes as PublicKey

MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 8192

_RSA: Final = rsa.RSAPublicKey
_ECDSA: Final = ec.EllipticCurvePublicKey
_SHA2: Final = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}

# RFC 8017 appendix A.2 (RSA), RFC 5758 section 3.2 (ECDSA), RFC 8410 section 3 (Edwards curves).
RSA_PSS: Final = "1.2.840.113549.1.1.10"
_TABLE: Final[dict[str, tuple[type, hashes.HashAlgorithm | None]]] = {
    "1.2.840.113549.1.1.11": (_RSA, _SHA2["sha256"]),
    "1.2.840.113549.1.1.12": (_RSA, _SHA2["sha384"]),
    "1.2.840.113549.1.1.13": (_RSA, _SHA2["sha512"]),
    "1.2.840.10045.4.3.2": (_ECDSA, _SHA2["sha256"]),
    "1.2.840.10045.4.3.3": (_ECDSA, _SHA2["sha384"]),
    "1.2.840.10045.4.3.4": (_ECDSA, _SHA2["sha512"]),
    "1.3.101.112": (ed25519.Ed25519PublicKey, None),
    "1.3.101.113": (ed448.Ed448PublicKey, None),
}
_CURVES: Final = {"secp256r1": 1, "secp384r1": 4, "secp521r1": 6}
"""The curves accepted, with the cost of a verification in units of one P-256 (measured 88, 350 and 500 us)."""

MAX_SALT: Final = 64
"""Longest PSS salt in octets: RFC 4055 section 3.1 recommends the digest's length, and SHA-512's is 64."""

# OpenSSL's verdict on a key it cannot use is a ValueError or UnsupportedAlgorithm, late.
LATE_ERRORS: Final = (ValueError, TypeError, OverflowError, UnsupportedAlgorithm)


class Signed:
    """What a signature is made of: the raw bytes `tbs` under algorithm `oid`, `signature` over them.

    `pss` holds RSA-PSS's parameters and `identifier` tells one algorithm with parameters from another
    in a memo. Raises `Refused` (algorithm_not_allowed) for PSS parameters outside RFC 4055 section 3.1.
    """

    __slots__ = ("digest", "identifier", "oid", "pss", "signature", "tbs")

    def __init__(self, parsed: x509.Certificate | x509.CertificateRevocationList, tbs: bytes) -> None:
        self.oid = parsed.signature_algorithm_oid.dotted_string
        self.signature = parsed.signature
        self.tbs = tbs
        self.pss: padding.PSS | None = None
        self.digest: hashes.HashAlgorithm | None = None
        self.identifier = self.oid.encode("ascii")
        if self.oid == RSA_PSS:
            self._read_pss(parsed)

    def _read_pss(self, parsed: x509.Certificate | x509.CertificateRevocationList) -> None:
        """RFC 4055 section 3.1: SHA-2 throughout, MGF1 over the same digest, and a salt no longer than a digest."""
        try:
            pss, digest = parsed.signature_algorithm_parameters, parsed.signature_hash_algorithm
        except LATE_ERRORS as error:
            raise Refused(Reason.ALGORITHM_NOT_ALLOWED, f"RSA-PSS parameters: {error}") from error
        mgf = pss.mgf if isinstance(pss, padding.PSS) else None
        inner = mgf._algorithm if isinstance(mgf, padding.MGF1) else None  # noqa: SLF001 - has no public name
        salt = pss._salt_length if isinstance(pss, padding.PSS) else None  # noqa: SLF001 - has no public name
        if digest is None or digest.name not in _SHA2 or inner is None or inner.name != digest.name:
            raise Refused(Reason.ALGORITHM_NOT_ALLOWED, "RSA-PSS with other digests than one of SHA-2 throughout")
        if not isinstance(pss, padding.PSS) or not isinstance(salt, int) or not 0 <= salt <= MAX_SALT:
            raise Refused(Reason.ALGORITHM_NOT_ALLOWED, f"RSA-PSS with a salt of {salt} octets")
        self.pss, self.digest = pss, digest
        self.identifier = f"{self.oid}/{digest.name}/{salt}".encode("ascii")


def check_key(key: PublicKey) -> int:
    """The cost of one verification under `key`, in units of one with P-256.

    Raises `Refused` (algorithm_not_allowed, key_size_not_allowed) for a key that policy does not accept.
    """
    if isinstance(key, _RSA):
        if not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
            raise Refused(Reason.KEY_SIZE_NOT_ALLOWED, f"RSA key of {key.key_size} bits")
        # Verification grows with the square of the modulus: 30 us at 2,048 bits, a third of P-256's.
        return max(1, (key.key_size // 2048) ** 2 // 2)
    if isinstance(key, _ECDSA):
        if key.curve.name not in _CURVES:
            raise Refused(Reason.ALGORITHM_NOT_ALLOWED, f"elliptic curve {key.curve.name}")
        return _CURVES[key.curve.name]
    if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
        return 4
    raise Refused(Reason.ALGORITHM_NOT_ALLOWED, f"key of type {type(key).__name__}")


def check_algorithm(signed: Signed) -> None:
    """Raises `Refused` (algorithm_not_allowed) unless policy accepts the signature algorithm, whatever the key."""
    if signed.pss is None and signed.oid not in _TABLE:
        raise Refused(Reason.ALGORITHM_NOT_ALLOWED, f"signature algorithm {signed.oid}")


def verify_signature(key: PublicKey, signed: Signed) -> None:
    """Verify one signature under a key that `check_key` accepted.

    Raises `Refused`: algorithm_not_allowed for an algorithm that is not accepted, signature_invalid for
    an algorithm of another kind of key and for a signature that does not verify.
    """
    check_algorithm(signed)
    try:
        _verify(key, signed)
    except (InvalidSignature, *LATE_ERRORS) as error:
        raise Refused(Reason.SIGNATURE_INVALID, f"the signature does not verify ({signed.oid})") from error


def _verify(key: PublicKey, signed: Signed) -> None:
    if signed.pss is not None and signed.digest is not None and isinstance(key, _RSA):
        return key.verify(signed.signature, signed.tbs, signed.pss, signed.digest)
    kind, digest = _TABLE.get(signed.oid, (type(None), None))
    if not isinstance(key, kind):
        raise InvalidSignature
    if isinstance(key, _RSA) and digest is not None:
        return key.verify(signed.signature, signed.tbs, padding.PKCS1v15(), digest)
    if isinstance(key, _ECDSA) and digest is not None:
        return key.verify(signed.signature, signed.tbs, ec.ECDSA(digest))
    if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
        return key.verify(signed.signature, signed.tbs)
    raise InvalidSignature
