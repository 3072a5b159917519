"""Mints the PKI of the demonstration: roots, CAs, all certificates, CRLs, and the token issuer's key."""

from __future__ import annotations

import json
import os
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from jwt.algorithms import ECAlgorithm

ISSUER = "https://issuer.example.test"
AUDIENCE = "api"
HOST = "acme.example.test"
NEIGHBOUR_HOST = "globex.example.test"
POOL_HOST = "initech.example.test"


def write_secret(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write a file created with this mode; an existing file of that name is removed first."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)


@dataclass(frozen=True)
class Party:
    """A certificate, its key, and the CA certificates its holder sends along; for a CA also the URL of its CRL."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    chain: tuple[x509.Certificate, ...] = ()
    published: str | None = None

    def chain_pem(self) -> bytes:
        """Leaf first, then the CAs: what a client's certificate file holds."""
        return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in (self.certificate, *self.chain))

    def key_pem(self) -> bytes:
        """The private key, not encrypted."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def write(self, folder: Path, name: str) -> None:
        """`name.pem` and `name.key`, the key for its owner alone."""
        (folder / f"{name}.pem").write_bytes(self.chain_pem())
        write_secret(folder / f"{name}.key", self.key_pem())


class Mint:
    """Issues certificates, CRLs and tokens relative to the moment at which it was made.

    No certificate is valid for longer than `longest`.
    """

    def __init__(self, longest: timedelta = timedelta.max) -> None:
        self._longest = longest
        self.now = datetime.now(UTC).replace(microsecond=0)
        self._serial = 0x1000
        self._token_key = ec.generate_private_key(ec.SECP256R1())

    def authority(self, name: str, parent: Party | None = None, *, published: str | None = None) -> Party:
        """A CA: a root without a parent, else an intermediate that may issue no further CAs.

        `published` is the URL of its CRL, which its certificates name.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        length = None if parent is None else 0
        extensions: list[tuple[x509.ExtensionType, bool]] = [
            (x509.BasicConstraints(ca=True, path_length=length), True),
            (_usage(sign_certificates=True), True),
        ]
        certificate = self._sign(name, key, parent, extensions, timedelta(days=365))
        chain = () if parent is None else (certificate, *parent.chain)
        return Party(certificate, key, chain, published)

    def client(self, name: str, issuer: Party | None, *, expired: bool = False, crls: Sequence[str] = ()) -> Party:
        """A user's certificate for client authentication; without an issuer it is signed by its own key.

        `crls` are the URLs of its distribution points.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        extensions: list[tuple[x509.ExtensionType, bool]] = [
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (_usage(sign_certificates=False), True),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False),
        ]
        if crls:
            names = [[x509.UniformResourceIdentifier(url)] for url in crls]
            points = [x509.DistributionPoint(name, None, None, None) for name in names]
            extensions.append((x509.CRLDistributionPoints(points), False))
        life = timedelta(hours=-1) if expired else timedelta(days=30)
        chain = () if issuer is None else issuer.chain
        return Party(self._sign(name, key, issuer, extensions, life), key, chain)

    def server(self, issuer: Party, *hosts: str) -> Party:
        """A server's certificate, for these hosts; without any, the proxy's, for the demonstration's hosts."""
        key = ec.generate_private_key(ec.SECP256R1())
        hosts = hosts or (HOST, NEIGHBOUR_HOST, POOL_HOST, "unknown.example.test", "localhost")
        names = [x509.DNSName(host) for host in hosts]
        extensions: list[tuple[x509.ExtensionType, bool]] = [
            (x509.SubjectAlternativeName(names), False),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        ]
        return Party(self._sign(hosts[0], key, issuer, extensions, timedelta(days=30)), key, issuer.chain)

    def crl(self, issuer: Party, *revoked: Party, number: int = 1, until: datetime | None = None) -> bytes:
        """A CRL of `issuer` in DER, valid `until` then, by default for a week."""
        builder = x509.CertificateRevocationListBuilder().issuer_name(issuer.certificate.subject)
        # Later numbers are later moments, so that a CRL published within the same second is newer.
        this_update = self.now - timedelta(minutes=10) + timedelta(seconds=number)
        builder = builder.last_update(this_update).next_update(until or self.now + timedelta(days=7))
        for party in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(party.certificate.serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(self.now - timedelta(minutes=10)).build())
        builder = builder.add_extension(x509.CRLNumber(number), critical=False)
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())
        return (
            builder.add_extension(identifier, critical=False)
            .sign(issuer.key, hashes.SHA256())
            .public_bytes(Encoding.DER)
        )

    def jwks(self) -> str:
        """The token issuer's key set."""
        key = json.loads(ECAlgorithm.to_jwk(self._token_key.public_key()))
        return json.dumps({"keys": [{**key, "kid": "demo", "alg": "ES256", "use": "sig"}]})

    def token(self, user: str, *, lifetime: timedelta = timedelta(hours=12), **claims: object) -> str:
        """A signed token for `user`."""
        payload = {"iss": ISSUER, "aud": AUDIENCE, "sub": user, "iat": self.now, "exp": self.now + lifetime, **claims}
        payload = {key: value for key, value in payload.items() if value is not None}
        return jwt.encode(payload, self._token_key, algorithm="ES256", headers={"kid": "demo"})

    def _sign(
        self,
        name: str,
        key: ec.EllipticCurvePrivateKey,
        issuer: Party | None,
        extensions: list[tuple[x509.ExtensionType, bool]],
        life: timedelta,
    ) -> x509.Certificate:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signer = key if issuer is None else issuer.key
        self._serial += 1
        builder = x509.CertificateBuilder(
            issuer_name=subject if issuer is None else issuer.certificate.subject,
            subject_name=subject,
            public_key=key.public_key(),
            serial_number=self._serial,
            not_valid_before=self.now - timedelta(days=1),
            not_valid_after=self.now + min(life, self._longest),
        )
        identifiers: list[tuple[x509.ExtensionType, bool]] = [
            (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False),
        ]
        if issuer is not None and issuer.published is not None:
            place = x509.DistributionPoint([x509.UniformResourceIdentifier(issuer.published)], None, None, None)
            identifiers.append((x509.CRLDistributionPoints([place]), False))
        for extension, critical in (*extensions, *identifiers):
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(signer, hashes.SHA256())


def thumbprint(certificate: x509.Certificate) -> str:
    """`x5t#S256` of RFC 8705 section 3.1: base64url of the SHA-256 of the DER, without padding."""
    return urlsafe_b64encode(certificate.fingerprint(hashes.SHA256())).rstrip(b"=").decode("ascii")


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )
