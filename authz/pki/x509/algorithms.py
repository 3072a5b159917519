"""The signature algorithms and keys that can be read, as tables, and the only place that verifies a signature.

Whether one is accepted, `AlgorithmRules` decide. Outside the tables, and so refused under every policy: MD2 and MD5
(collisions), DSA, RSA keys below 1,024 bits and above 8,192 (the cost of one verification), curves other than the NIST
and brainpool primes, curves with explicit parameters instead of a name (RFC 5480 section 2.1.1).
SHA-1 and RSA keys below 2,048 bits (NIST SP 800-131A) are readable, and at most accepted in certificates that the
operator stored: a client may have made the one that it brings collide with another one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from authz.errors import Refused
from authz.pki.x509 import der
from authz.pki.x509.library import named
from authz.reasons import Reason

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes as PublicKey

    Parsed = x509.Certificate | x509.CertificateRevocationList

MIN_RSA_BITS: Final = 2048
MIN_STORED_RSA_BITS: Final = 1024
"""The smallest RSA key that can be read: 768 bits were factored in 2009 (RSA-768)."""
MAX_RSA_BITS: Final = 8192

MAX_EXPONENT_BITS: Final = 32
"""Bits of an RSA exponent, with which the cost of a verification grows: 65537 has 17; Go accepts up to 31 bits."""

_SHA2: Final = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}
_SHA1: Final = hashes.SHA1()  # noqa: S303 - read, and refused by default
_PKCS1: Final = padding.PKCS1v15()


class Scheme:
    """A signature scheme: the kind of key, the digest (None if it is part of the scheme), RSA's padding.

    `arguments` are those of the key's `verify` after the signature and the data, `prehashed` those after the
    signature and the data's digest.
    """

    __slots__ = ("arguments", "digest", "key_type", "prehashed")

    def __init__(
        self,
        key_type: type,
        digest: hashes.HashAlgorithm | None = None,
        padding: padding.AsymmetricPadding | None = None,
    ) -> None:
        self.key_type = key_type
        self.digest = digest
        self.arguments: tuple[object, ...] = ()
        self.prehashed: tuple[object, ...] = ()
        if digest is not None:
            self.arguments, self.prehashed = (
                (ec.ECDSA(algorithm),) if padding is None else (padding, algorithm)
                for algorithm in (digest, Prehashed(digest))
            )


# RFC 8017 appendix A.2 (RSA), RFC 3279 section 2.2.3 and RFC 5758 section 3.2 (ECDSA), RFC 8410 section 3 (Edwards).
RSA_PSS: Final = "1.2.840.113549.1.1.10"
_SIGNATURES: Final = {
    "1.2.840.113549.1.1.11": Scheme(rsa.RSAPublicKey, _SHA2["sha256"], _PKCS1),
    "1.2.840.113549.1.1.12": Scheme(rsa.RSAPublicKey, _SHA2["sha384"], _PKCS1),
    "1.2.840.113549.1.1.13": Scheme(rsa.RSAPublicKey, _SHA2["sha512"], _PKCS1),
    "1.2.840.10045.4.3.2": Scheme(ec.EllipticCurvePublicKey, _SHA2["sha256"]),
    "1.2.840.10045.4.3.3": Scheme(ec.EllipticCurvePublicKey, _SHA2["sha384"]),
    "1.2.840.10045.4.3.4": Scheme(ec.EllipticCurvePublicKey, _SHA2["sha512"]),
    "1.3.101.112": Scheme(ed25519.Ed25519PublicKey),
    "1.3.101.113": Scheme(ed448.Ed448PublicKey),
    RSA_PSS: Scheme(rsa.RSAPublicKey),  # with the parameters that the certificate or CRL states
    "1.2.840.113549.1.1.5": Scheme(rsa.RSAPublicKey, _SHA1, _PKCS1),
    "1.2.840.10045.4.1": Scheme(ec.EllipticCurvePublicKey, _SHA1),
}
SHA1_SIGNATURES: Final = frozenset(oid for oid, scheme in _SIGNATURES.items() if scheme.digest is _SHA1)
DEFAULT_SIGNATURES: Final = frozenset(_SIGNATURES) - SHA1_SIGNATURES


class Key(NamedTuple):
    """A public key: its kind, its size in bits (0 if the kind implies it) and the cost of a verification."""

    kind: str
    bits: int
    cost: int


# The AlgorithmIdentifier of a SubjectPublicKeyInfo, byte for byte: the kind of key, and the cost of one verification
# in units of one with P-256 (measured: 60, 400, 370, 150 and 160 us, brainpool 270, 560 and 750; that of RSA
# depends on its size).
_KEYS: Final = {
    bytes.fromhex("300d06092a864886f70d0101010500"): Key("rsa", 0, 1),  # RFC 3279 section 2.3.1: with NULL
    bytes.fromhex("300b06092a864886f70d010101"): Key("rsa", 0, 1),  # without it, tolerated
    bytes.fromhex("301306072a8648ce3d020106082a8648ce3d030107"): Key("secp256r1", 0, 1),  # RFC 5480 section 2.1.1.1
    bytes.fromhex("301006072a8648ce3d020106052b81040022"): Key("secp384r1", 0, 8),
    bytes.fromhex("301006072a8648ce3d020106052b81040023"): Key("secp521r1", 0, 8),
    bytes.fromhex("300506032b6570"): Key("ed25519", 0, 3),  # RFC 8410 section 3: without parameters
    bytes.fromhex("300506032b6571"): Key("ed448", 0, 3),
    # RFC 5639 section 4.1
    bytes.fromhex("301406072a8648ce3d020106092b2403030208010107"): Key("brainpoolP256r1", 0, 5),
    bytes.fromhex("301406072a8648ce3d020106092b240303020801010b"): Key("brainpoolP384r1", 0, 10),
    bytes.fromhex("301406072a8648ce3d020106092b240303020801010d"): Key("brainpoolP512r1", 0, 13),
}
RSASSA_PSS: Final = "rsassa-pss"
"""The kind of RSA keys that are for PSS alone (RFC 4055 section 1.2); their AlgorithmIdentifiers vary."""

DEFAULT_KEYS: Final = frozenset({"rsa", "secp256r1", "secp384r1", "secp521r1", "ed25519", "ed448"})
KEYS: Final = frozenset({RSASSA_PSS, *(key.kind for key in _KEYS.values())})

_PSS_KEY: Final = bytes.fromhex("06092a864886f70d01010a")
_MGF1: Final = bytes.fromhex("06092a864886f70d010108")


def _pss_digest(digest: bytes) -> bytes:
    """RSASSA-PSS-params (RFC 4055 section 3.1) up to the salt, with that AlgorithmIdentifier throughout."""
    mask = der.tlv(der.SEQUENCE, _MGF1, digest)
    return der.tlv(0xA0, digest) + der.tlv(0xA1, mask)


# RFC 4055 section 2.1: users accept NULL and absent parameters of a digest alike.
_PSS_DIGESTS: Final = {
    _pss_digest(der.tlv(der.SEQUENCE, bytes.fromhex(f"0609608648016503040{number}"), null)): name
    for number, name in (("201", "sha256"), ("202", "sha384"), ("203", "sha512"))
    for null in (b"\x05\x00", b"")
}

_COMPRESSED: Final = frozenset({b"\x02", b"\x03"})
"""The first byte of a point of which only one coordinate is given (SEC 1 section 2.3.3)."""


class Curve(NamedTuple):
    """A curve y^2 = x^3 + ax + b over the prime field of `prime`; a coordinate has `size` bytes."""

    size: int
    library: ec.EllipticCurve
    prime: int
    a: int
    b: int


# FIPS 186-4 appendix D.1.2, RFC 5639 section 3.
_CURVES: Final = {
    "secp256r1": Curve(
        32,
        ec.SECP256R1(),
        2**256 - 2**224 + 2**192 + 2**96 - 1,
        -3,
        0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B,
    ),
    "secp384r1": Curve(
        48,
        ec.SECP384R1(),
        2**384 - 2**128 - 2**96 + 2**32 - 1,
        -3,
        0xB3312FA7E23EE7E4988E056BE3F82D19181D9C6EFE8141120314088F5013875AC656398D8A2ED19D2A85C8EDD3EC2AEF,
    ),
    "secp521r1": Curve(
        66,
        ec.SECP521R1(),
        2**521 - 1,
        -3,
        int(
            "51953eb9618e1c9a1f929a21a0b68540eea2da725b99b315f3b8b489918ef109e"
            "156193951ec7e937b1652c0bd3bb1bf073573df883d2c34f1ef451fd46b503f00",
            16,
        ),
    ),
    "brainpoolP256r1": Curve(
        32,
        ec.BrainpoolP256R1(),
        0xA9FB57DBA1EEA9BC3E660A909D838D726E3BF623D52620282013481D1F6E5377,
        0x7D5A0975FC2C3057EEF67530417AFFE7FB8055C126DC5C6CE94A4B44F330B5D9,
        0x26DC5C6CE94A4B44F330B5D9BBD77CBF958416295CF7E1CE6BCCDC18FF8C07B6,
    ),
    "brainpoolP384r1": Curve(
        48,
        ec.BrainpoolP384R1(),
        0x8CB91E82A3386D280F5D6F7E50E641DF152F7109ED5456B412B1DA197FB71123ACD3A729901D1A71874700133107EC53,
        0x7BC382C63D8C150C3C72080ACE05AFA0C2BEA28E4FB22787139165EFBA91F90F8AA5814A503AD4EB04A8C7DD22CE2826,
        0x04A8C7DD22CE28268B39B55416F0447C2FB77DE107DCD2A62E880EA53EEB62D57CB4390295DBC9943AB78696FA504C11,
    ),
    "brainpoolP512r1": Curve(
        64,
        ec.BrainpoolP512R1(),
        int(
            "aadd9db8dbe9c48b3fd4e6ae33c9fc07cb308db3b3c9d20ed6639cca70330871"
            "7d4d9b009bc66842aecda12ae6a380e62881ff2f2d82c68528aa6056583a48f3",
            16,
        ),
        int(
            "7830a3318b603b89e2327145ac234cc594cbdd8d3df91610a83441caea9863bc"
            "2ded5d5aa8253aa10a2ef1c98b9ac8b57f1117a72bf2c7b9e7c1ac4d77fc94ca",
            16,
        ),
        int(
            "3df91610a83441caea9863bc2ded5d5aa8253aa10a2ef1c98b9ac8b57f1117a7"
            "2bf2c7b9e7c1ac4d77fc94cadc083e67984050b75ebae5dd2809bd638016f723",
            16,
        ),
    ),
}
_EDWARDS: Final = {"ed25519": 32, "ed448": 57}
"""Bytes of a key; the library accepts any of this length (RFC 8032 sections 5.1.5 and 5.2.5)."""

# OpenSSL reports a key that it cannot use late, as ValueError or UnsupportedAlgorithm.
LATE_ERRORS: Final = (ValueError, TypeError, OverflowError, UnsupportedAlgorithm)
_NOT_VERIFIED: Final = (InvalidSignature, *LATE_ERRORS)


@dataclass(frozen=True, slots=True)
class AlgorithmRules:
    """The signature algorithms (dotted) and kinds of keys that a policy accepts; others than the tables' never count.

    SHA-1 among `signatures`, and a `min_rsa_bits` below 2,048, count in certificates that the operator stored, alone.
    """

    signatures: frozenset[str] = DEFAULT_SIGNATURES
    keys: frozenset[str] = DEFAULT_KEYS
    min_rsa_bits: int = MIN_RSA_BITS
    max_rsa_bits: int = MAX_RSA_BITS

    def check_signature(self, algorithm: str, certificate: bytes, *, stored: bool) -> None:
        """Whether the algorithm of a certificate's signature is accepted, whatever the key.

        `stored`: by the operator. Raises `Refused` (algorithm_not_allowed), about that `certificate` (DER).
        """
        if algorithm not in self.signatures or (algorithm in SHA1_SIGNATURES and not stored):
            raise _not_allowed(algorithm, certificate)

    def check_key(self, key: Key, certificate: bytes, *, stored: bool) -> None:
        """The same for the certificate's key. Raises `Refused` (algorithm_not_allowed, key_size_not_allowed)."""
        if key.kind not in self.keys:
            raise Refused(Reason.ALGORITHM_NOT_ALLOWED, f"a key of the kind {key.kind}", certificate=certificate)
        smallest = self.min_rsa_bits if stored else max(self.min_rsa_bits, MIN_RSA_BITS)
        if key.bits and not smallest <= key.bits <= self.max_rsa_bits:
            raise Refused(Reason.KEY_SIZE_NOT_ALLOWED, f"RSA key of {key.bits} bits", certificate=certificate)


DEFAULT_ALGORITHMS: Final = AlgorithmRules()


def _not_allowed(algorithm: str, certificate: bytes | None = None) -> Refused:
    return Refused(Reason.ALGORITHM_NOT_ALLOWED, f"signature algorithm {named(algorithm)}", certificate=certificate)


# The library's kinds of keys are abstract base classes, whose `issubclass` is slow.
_is_kind = lru_cache(64)(issubclass)


class _Signature:
    """A signature of algorithm `oid`.

    With `unused_bits` it verifies under no key: signatures are whole bytes (RFC 3279 section 2.2). The library
    ignores the unsigned count of unused bits, so that changing it would make another certificate that verifies.

    That of a CRL verifies under no RSA key below 2,048 bits: what only stored certificates may use counts in no CRL.

    Raises `Refused` (algorithm_not_allowed) for an algorithm outside the table, for SHA-1 in a CRL, and for RSA-PSS
    with parameters outside RFC 4055 section 3.1.
    """

    __slots__ = ("_of_crl", "_scheme", "_unused_bits", "oid", "signature")

    def __init__(self, parsed: Parsed, unused_bits: int) -> None:
        self._unused_bits = unused_bits
        self.oid = parsed.signature_algorithm_oid.dotted_string
        self.signature = parsed.signature
        scheme = _SIGNATURES.get(self.oid)
        self._of_crl = isinstance(parsed, x509.CertificateRevocationList)
        if scheme is None or (self._of_crl and scheme.digest is _SHA1):
            raise _not_allowed(self.oid)
        self._scheme = _pss(parsed) if self.oid == RSA_PSS else scheme

    def _require_kind(self, key: PublicKey) -> None:
        if self._unused_bits or not _is_kind(type(key), self._scheme.key_type):
            raise InvalidSignature
        if self._of_crl and self._scheme.key_type is rsa.RSAPublicKey:
            of_its_kind: Any = key
            if of_its_kind.key_size < MIN_RSA_BITS:
                raise InvalidSignature


class Signed(_Signature):
    """A signature over the raw bytes `tbs`."""

    __slots__ = ("tbs",)

    def __init__(self, parsed: Parsed, unused_bits: int, tbs: bytes | memoryview) -> None:
        super().__init__(parsed, unused_bits)
        self.tbs = tbs

    def digest(self) -> bytes:
        """The digest of `tbs` by the signature's algorithm; empty if the digest is part of the scheme."""
        digest = self._scheme.digest
        return b"" if digest is None else hashlib.new(digest.name, self.tbs).digest()

    def verify(self, key: PublicKey) -> None:
        """Raises `InvalidSignature`, or what the library raises for a key or signature that it cannot read."""
        self._require_kind(key)
        of_its_kind: Any = key
        of_its_kind.verify(self.signature, self.tbs, *self._scheme.arguments)


class SignedDigest(_Signature):
    """A signature over bytes of which only the `digest` is at hand, as `Signed.digest` returned it.

    On Edwards curves the digest is part of the scheme and covers key and signature, too (RFC 8032 section 5.1.7):
    there the process that had the bytes names the `keys` (SHA-256 of SubjectPublicKeyInfo) that verified it.
    """

    __slots__ = ("digest", "keys")

    def __init__(self, parsed: Parsed, unused_bits: int, digest: bytes, keys: Collection[bytes]) -> None:
        super().__init__(parsed, unused_bits)
        self.digest = digest
        self.keys = keys

    def verify(self, key: PublicKey) -> None:
        """Raises as `Signed.verify` does."""
        self._require_kind(key)
        if self._scheme.digest is not None:
            cast("Any", key).verify(self.signature, self.digest, *self._scheme.prehashed)
        elif _identity(key) not in self.keys:
            raise InvalidSignature


AnySigned = Signed | SignedDigest


def _identity(key: PublicKey) -> bytes:
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()


def _pss(parsed: Parsed) -> Scheme:
    """RFC 4055 section 3.1: SHA-2 throughout, and MGF1 with the same digest.

    The modulus bounds the salt (RFC 8017 section 9.1.2): OpenSSL 3.0 makes it as long as it can, 222 of 256 bytes.
    """
    try:
        # For this algorithm the library returns these two, or raises.
        pss = cast("padding.PSS", parsed.signature_algorithm_parameters)
        digest = cast("hashes.HashAlgorithm", parsed.signature_hash_algorithm)
    except LATE_ERRORS as error:
        raise Refused(Reason.ALGORITHM_NOT_ALLOWED, f"RSA-PSS parameters: {error}") from error
    inner = pss.mgf._algorithm  # noqa: SLF001 - it has no public name
    if digest.name not in _SHA2 or inner.name != digest.name:
        raise Refused(Reason.ALGORITHM_NOT_ALLOWED, "RSA-PSS with other digests than one of SHA-2 throughout")
    return Scheme(rsa.RSAPublicKey, digest, pss)


def read_key(spki_der: bytes) -> Key:
    """The key in a SubjectPublicKeyInfo (RFC 5280 section 4.1), read without loading it into the library.

    `spki_der` is DER that a strict parser has accepted as such. Raises `Refused` (algorithm_not_allowed,
    key_size_not_allowed) for a key outside the tables, `ValueError` for a malformed one.
    """
    # SEQUENCE { algorithm AlgorithmIdentifier, subjectPublicKey BIT STRING }
    start = der.content(spki_der, 0)
    stop = der.after(spki_der, start)
    algorithm = spki_der[start:stop]
    key = _KEYS.get(algorithm)
    if key is None:
        _pss_terms(algorithm)
        key = Key(RSASSA_PSS, 0, 1)
    elif key.kind != "rsa":
        point = spki_der[der.content(spki_der, stop) :]
        _check_point(key.kind, point)
        # A compressed point takes a square root here, and another where the library loads it.
        compressed = key.kind in _CURVES and point[1:2] in _COMPRESSED
        return key._replace(cost=2 * key.cost) if compressed else key
    first, last = der.only(spki_der, der.BIT_STRING, stop)
    bits = _rsa_bits(spki_der[first:last])
    # Verification takes time quadratic in the modulus: 20 us at 2,048 bits, 64 at 4,096, 240 at 8,192, and reading
    # the key as well (70 at 8,192). Nine keys of that size exceed the service's budget, which stays below 5 ms.
    if not MIN_STORED_RSA_BITS <= bits <= MAX_RSA_BITS:
        raise Refused(Reason.KEY_SIZE_NOT_ALLOWED, f"RSA key of {bits} bits")
    return Key(key.kind, bits, -(-bits * bits // 2900**2))


def _pss_terms(algorithm: bytes) -> tuple[str, int]:
    """The digest (empty: any) and the shortest salt that a key for RSASSA-PSS demands (RFC 4055 section 3.3).

    Raises `Refused` (algorithm_not_allowed) for another algorithm, and for other digests than one of SHA-2 throughout.
    """
    at = der.content(algorithm, 0)
    begin = at + len(_PSS_KEY)
    if algorithm[at:begin] == _PSS_KEY:
        if begin == len(algorithm):
            return "", 0
        start, stop = der.only(algorithm, der.SEQUENCE, begin)
        for digest, name in _PSS_DIGESTS.items():
            if algorithm.startswith(digest, start):
                return name, _salt(algorithm[start + len(digest) : stop])
    raise Refused(Reason.ALGORITHM_NOT_ALLOWED, f"a key of the algorithm {_named_algorithm(algorithm, at)}")


def _named_algorithm(algorithm: bytes, at: int) -> str:
    """The identifiers in an AlgorithmIdentifier whose content begins at `at`: of the algorithm, and of a curve."""
    try:
        parts = list(der.elements(algorithm, at, len(algorithm)))
        oids = [named(der.oid(algorithm[start:stop])) for tag, start, stop in parts if tag == der.OID]
    except ValueError:
        oids = []
    return ", ".join(oids) or algorithm.hex()


def _salt(field: bytes) -> int:
    """The field saltLength [2] DEFAULT 20, which is the last one: of the trailer there is only the default."""
    if not field:
        return 20
    start, stop = der.only(field, der.INTEGER, *der.only(field, 0xA2))
    return der.integer(field[start:stop])


class PssKey:
    """An RSA key that verifies RSASSA-PSS alone, with its `digest` (empty: any) and no shorter `salt`."""

    __slots__ = ("_digest", "_key", "_salt", "key_size")

    def __init__(self, key: rsa.RSAPublicKey, digest: str, salt: int) -> None:
        self._key = key
        self._digest = digest
        self._salt = salt
        self.key_size = key.key_size

    def verify(self, signature: bytes, data: bytes, scheme: padding.AsymmetricPadding, digest: Any) -> None:
        """RFC 4055 section 3.3. Raises `InvalidSignature`, or what the library raises."""
        if not isinstance(scheme, padding.PSS) or cast("int", scheme._salt_length) < self._salt:  # noqa: SLF001 - no public name
            raise InvalidSignature
        if self._digest not in {"", scheme.mgf._algorithm.name}:  # noqa: SLF001 - no public name
            raise InvalidSignature
        self._key.verify(signature, data, scheme, digest)


rsa.RSAPublicKey.register(PssKey)


def restricted(key: PublicKey, spki_der: bytes) -> PublicKey:
    """The key as it may be used: one for RSASSA-PSS, which the library loads like any RSA key, as a `PssKey`.

    `spki_der` is its SubjectPublicKeyInfo, which `read_key` accepted.
    """
    start = der.content(spki_der, 0)
    algorithm = spki_der[start : der.after(spki_der, start)]
    if algorithm in _KEYS:
        return key
    return cast("PublicKey", PssKey(cast("rsa.RSAPublicKey", key), *_pss_terms(algorithm)))


def plain_spki(spki_der: bytes) -> bytes:
    """The key of a SubjectPublicKeyInfo in one form: its point not compressed, an RSA key for any scheme.

    CRLs are filed under it: another CA can certify a CA's key in another form.
    """
    return load_der_public_key(spki_der).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _check_point(kind: str, point: bytes) -> None:
    """Raises `ValueError` unless `point`, the content of a BIT STRING, is a public key of that kind.

    A leaf's key is never loaded, as that costs more than reading everything else; still no invalid key may pass.
    """
    curve = _CURVES.get(kind)
    fits = len(point) == 1 + _EDWARDS[kind] if curve is None else _on_curve(curve, point)
    if not fits or point[0]:
        raise ValueError(f"not a public key of the kind {kind}")


def _on_curve(curve: Curve, point: bytes) -> bool:
    """Whether a point (SEC 1 section 2.3.3) of the curve follows the first byte, compressed or not."""
    size, library, prime, a, b = curve
    form, x = point[1:2], int.from_bytes(point[2 : 2 + size], "big")
    square = ((x * x + a) * x + b) % prime
    if form == b"\x04" and len(point) == 2 + 2 * size:
        y = int.from_bytes(point[2 + size :], "big")
        return x < prime and y < prime and y * y % prime == square
    if form in _COMPRESSED and len(point) == 2 + size:
        # The root of a square: five times as quick in the library as by `pow`.
        with suppress(ValueError):
            return bool(ec.EllipticCurvePublicKey.from_encoded_point(library, point[1:]))
    return False


def _rsa_bits(bit_string: bytes) -> int:
    """RSAPublicKey ::= SEQUENCE { modulus, publicExponent } (RFC 8017 appendix A.1.1), without unused bits."""
    integers = list(der.elements(bit_string, *der.only(bit_string, der.SEQUENCE, 1)))
    if bit_string[0] or [tag for tag, _, _ in integers] != [der.INTEGER, der.INTEGER]:
        raise ValueError("an RSA key that is not modulus and exponent")
    modulus, exponent = (der.integer(bit_string[start:stop]) for _, start, stop in integers)
    if modulus % 2 == 0 or exponent % 2 == 0 or not 3 <= exponent < modulus:
        raise ValueError("an RSA key with an invalid modulus or exponent")
    if exponent.bit_length() > MAX_EXPONENT_BITS:
        raise Refused(Reason.KEY_SIZE_NOT_ALLOWED, f"RSA exponent of {exponent.bit_length()} bits")
    return modulus.bit_length()


def signature_failure(key: PublicKey, signed: AnySigned) -> str:
    """Why a signature does not verify under a key that `read_key` accepted; empty if it does.

    Its kind may be another than the key's.
    """
    try:
        signed.verify(key)
    except _NOT_VERIFIED:
        return f"the signature does not verify ({signed.oid})"
    return ""


def verify_signature(key: PublicKey, signed: AnySigned) -> None:
    """Verify one signature under a key that `read_key` accepted.

    Raises `Refused` (signature_invalid) for a signature that does not verify, or that is of another kind than the key.
    """
    failure = signature_failure(key, signed)
    if failure:
        raise Refused(Reason.SIGNATURE_INVALID, failure)
