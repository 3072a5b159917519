"""Mints every certificate and CRL of the tests: `Authority.root("R").intermediate("I").leaf("alice")`.

Each recipe takes keywords that break one thing at a time; what no keyword covers is added through
`extensions=[(extension, critical), ...]`, which replaces a default extension of the same type.
Keys are P-256 unless `key=` is given.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes as PrivateKey

NOW = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)
"""The moment at which, by default, everything minted here is valid."""

_serials = itertools.count(0x1000)


def new_key(kind: str = "p256") -> PrivateKey:
    """A fresh key: p256, p384, p521, bp256, bp384, bp512, rsa2048, rsa1024, rsa4096, ed25519, ed448, rsa8192 (one)."""
    if kind == "rsa8192":
        return _rsa8192()
    if kind.startswith("rsa"):
        return rsa.generate_private_key(65537, int(kind[3:]))
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind == "ed448":
        return ed448.Ed448PrivateKey.generate()
    return ec.generate_private_key(_CURVES[kind]())


_CURVES = {
    "p256": ec.SECP256R1, "p384": ec.SECP384R1, "p521": ec.SECP521R1,
    "bp256": ec.BrainpoolP256R1, "bp384": ec.BrainpoolP384R1, "bp512": ec.BrainpoolP512R1,
}  # fmt: skip


def _rsa8192() -> rsa.RSAPrivateKey:
    """The product of two published primes: to find two of 4,096 bits takes ten seconds, and now and then a minute."""
    # In units of 2^-4096: pi by Machin's formula, e by its series.
    one = 1 << 4096
    pi = 4 * (4 * _arctangent_of_inverse(5, one) - _arctangent_of_inverse(239, one))
    euler = sum(
        itertools.takewhile(bool, itertools.accumulate(itertools.count(1), lambda left, n: left // n, initial=one))
    )
    # RFC 3526 section 5, and RFC 7919 appendix A.3.
    base = (1 << 4096) - (1 << 4032) - 1
    p = base + (((pi >> 130) + 240_904) << 64)
    q = base + (((euler >> 130) + 5_736_041) << 64)
    d = pow(65537, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(65537, p * q)
    numbers = rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), public)
    return numbers.private_key(unsafe_skip_rsa_key_validation=True)


def _arctangent_of_inverse(number: int, one: int) -> int:
    """The arctangent of 1/number, in units of 1/one."""
    powers = itertools.accumulate(itertools.repeat(number * number), lambda left, by: left // by, initial=one // number)
    terms = enumerate(itertools.takewhile(bool, powers))
    return sum((-1) ** at * (power // (2 * at + 1)) for at, power in terms)


def name(text: str | x509.Name) -> x509.Name:
    """A distinguished name: a plain text becomes a common name, an `x509.Name` stays."""
    if isinstance(text, x509.Name):
        return text
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def usage(*bits: str) -> x509.KeyUsage:
    """A key usage with the named bits set, e.g. `usage("key_cert_sign", "crl_sign")`."""
    names = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{bit: bit in bits for bit in names})


def san(*names: str | x509.GeneralName) -> x509.SubjectAlternativeName:
    """Subject alternative names: a plain text becomes a DNS name."""
    return x509.SubjectAlternativeName([x509.DNSName(n) if isinstance(n, str) else n for n in names])


def digest_for(key: PrivateKey) -> hashes.HashAlgorithm | None:
    """The digest a CA of this key signs with by default: none for the Edwards curves, else SHA-256."""
    return None if isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey) else hashes.SHA256()


@dataclass(frozen=True)
class Minted:
    """A certificate with its private key."""

    certificate: x509.Certificate
    key: PrivateKey

    @property
    def der(self) -> bytes:
        """The certificate in DER."""
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> str:
        """The certificate in PEM, 64-character lines, with the newline at the end."""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")

    @property
    def sha256(self) -> bytes:
        """SHA-256 of the DER."""
        return self.certificate.fingerprint(hashes.SHA256())

    @property
    def key_pem(self) -> str:
        """The private key in unencrypted PKCS#8 PEM."""
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode("ascii")


@dataclass(frozen=True)
class Authority(Minted):
    """A CA: issues CAs, leaves and CRLs. `chain` is its own certificate and those above it, without the root."""

    parent: Authority | None = field(default=None, repr=False)

    @classmethod
    def root(cls, subject: str | x509.Name = "Root", **options: object) -> Authority:
        """A self-signed trust anchor."""
        key = options.pop("key", None) or new_key()
        defaults = _ca_extensions(key, key, None)
        return cls(_mint(name(subject), name(subject), key, key, defaults, **options), key)  # type: ignore[arg-type]

    def intermediate(self, subject: str | x509.Name = "Intermediate", **options: object) -> Authority:
        """A CA certificate issued by this one; `path_length=N` limits how many CAs may follow."""
        key = options.pop("key", None) or new_key()
        defaults = _ca_extensions(key, self.key, options.pop("path_length", None))  # type: ignore[arg-type]
        issuer = options.pop("issuer", None) or self.certificate.subject
        return Authority(_mint(name(subject), issuer, key, self.key, defaults, **options), key, self)  # type: ignore[arg-type]

    def leaf(self, subject: str | x509.Name = "alice", **options: object) -> Minted:
        """A client certificate: digitalSignature, clientAuth, one DNS name made of the subject's text."""
        key = options.pop("key", None) or new_key()
        defaults: list[tuple[x509.ExtensionType, bool]] = [
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (usage("digital_signature"), True),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False),  # type: ignore[arg-type]
        ]
        if isinstance(subject, str) and subject.replace(" ", "").isalnum() and subject.isascii():
            defaults.append((san(f"{subject.replace(' ', '-').lower()}.example.test"), False))
        issuer = options.pop("issuer", None) or self.certificate.subject
        return Minted(_mint(name(subject), issuer, key, self.key, defaults, **options), key)  # type: ignore[arg-type]

    def crl(
        self,
        *revoked: Minted | int | x509.RevokedCertificate,
        number: int | None = 1,
        this_update: datetime = NOW - timedelta(days=1),
        next_update: datetime = NOW + timedelta(days=6),
        extensions: Iterable[tuple[x509.ExtensionType, bool]] = (),
        issuer: x509.Name | None = None,
        key: PrivateKey | None = None,
        digest: hashes.HashAlgorithm | None = None,
        reason: x509.ReasonFlags | None = None,
        rsa_padding: object = None,
    ) -> bytes:
        """A complete CRL of this CA in DER; `revoked` are certificates, serial numbers or entries (`entry`)."""
        signer = key or self.key
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(issuer or self.certificate.subject)
            .last_update(this_update)
            .next_update(next_update)
        )
        for one in revoked:
            if isinstance(one, x509.RevokedCertificate):
                builder = builder.add_revoked_certificate(one)
                continue
            serial = one if isinstance(one, int) else one.certificate.serial_number
            builder = builder.add_revoked_certificate(entry(serial, reason=reason, date=this_update))
        defaults: list[tuple[x509.ExtensionType, bool]] = [
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False)  # type: ignore[arg-type]
        ]
        if number is not None:
            defaults.append((x509.CRLNumber(number), False))
        for extension, critical in _merged(defaults, extensions):
            builder = builder.add_extension(extension, critical=critical)
        options = {"rsa_padding": rsa_padding} if rsa_padding is not None else {}
        signed = builder.sign(signer, digest or digest_for(signer), **options)  # type: ignore[arg-type]
        return signed.public_bytes(serialization.Encoding.DER)

    @property
    def chain(self) -> tuple[Authority, ...]:
        """This CA and those above it, nearest first, without the root."""
        return () if self.parent is None else (self, *self.parent.chain)


def entry(
    serial: int,
    *,
    reason: x509.ReasonFlags | None = None,
    issuer: x509.Name | None = None,
    extensions: Iterable[tuple[x509.ExtensionType, bool]] = (),
    date: datetime = NOW - timedelta(days=1),
) -> x509.RevokedCertificate:
    """An entry of a CRL; `issuer` is the certificate issuer that an indirect CRL names with it."""
    builder = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(date)
    if reason is not None:
        builder = builder.add_extension(x509.CRLReason(reason), critical=False)
    if issuer is not None:
        builder = builder.add_extension(x509.CertificateIssuer([x509.DirectoryName(issuer)]), critical=True)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.build()


def tlv(tag: int, content: bytes) -> bytes:
    """One element in DER, for what the library would not write."""
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + content


def policies_mapped(width: int) -> list[tuple[x509.ExtensionType, bool]]:
    """So many certificate policies, and a mapping of each to each (RFC 5280 sections 4.2.1.4 and 4.2.1.5)."""
    oids = [bytes.fromhex("06032a03") + bytes([number]) for number in range(width)]
    stated = [x509.PolicyInformation(x509.ObjectIdentifier(f"1.2.3.{number}"), None) for number in range(width)]
    pairs = b"".join(tlv(0x30, one + other) for one in oids for other in oids)
    mapped = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.33"), tlv(0x30, pairs))
    return [(x509.CertificatePolicies(stated), False), (mapped, True)]


def chain_pem(*certificates: Minted) -> str:
    """The PEM of several certificates in the order given, as a client's chain file holds them."""
    return "".join(one.pem for one in certificates)


def _ca_extensions(
    key: PrivateKey, issuer_key: PrivateKey, path_length: int | None
) -> list[tuple[x509.ExtensionType, bool]]:
    return [
        (x509.BasicConstraints(ca=True, path_length=path_length), True),
        (usage("key_cert_sign", "crl_sign"), True),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),  # type: ignore[arg-type]
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False),  # type: ignore[arg-type]
    ]


def _merged(
    defaults: Iterable[tuple[x509.ExtensionType, bool]], given: Iterable[tuple[x509.ExtensionType, bool]]
) -> list[tuple[x509.ExtensionType, bool]]:
    given = list(given)
    replaced = {type(extension) for extension, _ in given if not isinstance(extension, x509.UnrecognizedExtension)}
    return [pair for pair in defaults if type(pair[0]) not in replaced] + given


def _mint(
    subject: x509.Name,
    issuer: x509.Name,
    key: PrivateKey,
    issuer_key: PrivateKey,
    defaults: list[tuple[x509.ExtensionType, bool]],
    *,
    not_before: datetime = NOW - timedelta(days=30),
    not_after: datetime = NOW + timedelta(days=365),
    extensions: Iterable[tuple[x509.ExtensionType, bool]] = (),
    without: Iterable[type[x509.ExtensionType]] = (),
    digest: hashes.HashAlgorithm | None = None,
    rsa_padding: object = None,
    serial: int | None = None,
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())  # type: ignore[arg-type]
        .serial_number(next(_serials) if serial is None else serial)
        .not_valid_before(not_before)
        .not_valid_after(not_after)
    )
    unwanted = tuple(without)
    for extension, critical in _merged(defaults, extensions):
        if not isinstance(extension, unwanted):
            builder = builder.add_extension(extension, critical=critical)
    options = {"rsa_padding": rsa_padding} if rsa_padding is not None else {}
    return builder.sign(issuer_key, digest or digest_for(issuer_key), **options)  # type: ignore[arg-type]
