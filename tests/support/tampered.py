"""Certificates and CRLs that no builder would make: taken apart, changed, and signed again by their issuer."""

from __future__ import annotations

from collections.abc import Callable

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from support.certificates import Minted, tlv
from support.mutants import Node, forest

VERSION, SERIAL, EXTENSIONS = 0xA0, 0x02, 0xA3

Change = Callable[[Node], None]
"""Changes the signed part, in place."""


def reissued(one: Minted, issuer: Minted, change: Change) -> Minted:
    """The certificate, changed, with the key it had."""
    return Minted(x509.load_der_x509_certificate(signed_again(one.der, issuer, change)), one.key)


def signed_again(der: bytes, issuer: Minted, change: Change) -> bytes:
    """The certificate or CRL, changed."""
    signed, algorithm, _ = forest(der)[0].children
    change(signed)
    tbs = signed.encoded()
    return tlv(0x30, tbs + algorithm.encoded() + tlv(0x03, b"\0" + _sign(issuer, algorithm, tbs)))


SHA1_ALGORITHMS = {ec: "300906072a8648ce3d0401", rsa: "300d06092a864886f70d0101050500"}
"""The AlgorithmIdentifiers of SHA-1 with ECDSA and with RSA."""


def sha1_signed(der: bytes, issuer: Minted) -> bytes:
    """The certificate or CRL, signed with SHA-1 instead."""
    signed, algorithm, _ = forest(der)[0].children
    family = rsa if isinstance(issuer.key, rsa.RSAPrivateKey) else ec
    (weak,) = forest(bytes.fromhex(SHA1_ALGORITHMS[family]))
    places = [place for place, node in enumerate(signed.children) if node.encoded() == algorithm.encoded()]
    signed.children[places[0]] = weak
    digest = hashes.SHA1()  # noqa: S303 - for what is refused
    arguments = (padding.PKCS1v15(), digest) if family is rsa else (ec.ECDSA(digest),)
    signature = issuer.key.sign(signed.encoded(), *arguments)  # type: ignore[union-attr, call-arg, arg-type]
    return tlv(0x30, signed.encoded() + weak.encoded() + tlv(0x03, b"\0" + signature))


def pss_key(parameters: bytes = b"") -> Change:
    """A certificate whose RSA key is for RSASSA-PSS alone (RFC 4055 section 1.2), with these parameters."""

    def change(signed: Node) -> None:
        signed.children[6].children[0] = forest(tlv(0x30, bytes.fromhex("06092a864886f70d01010a") + parameters))[0]

    return change


def compressed_point(signed: Node) -> None:
    """A certificate whose key on a curve is given by one coordinate (SEC 1 section 2.3.3)."""
    key = load_der_public_key(signed.children[6].encoded())
    point = key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    signed.children[6].children[1].content = b"\0" + point


def with_key(key: PublicKeyTypes) -> Change:
    """A certificate of another key, whose private half need not be known."""

    def change(signed: Node) -> None:
        signed.children[6] = forest(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))[0]

    return change


def of_version_1(signed: Node) -> None:
    """A certificate without what version 3 has."""
    signed.children = [node for node in signed.children if node.tag not in {VERSION, EXTENSIONS}]


def of_serial(content: bytes) -> Change:
    """A certificate with another serial number, by the content of the INTEGER."""

    def change(signed: Node) -> None:
        next(node for node in signed.children if node.tag == SERIAL).content = content

    return change


def listing(content: bytes) -> Change:
    """A CRL whose first entry has another serial number."""

    def change(signed: Node) -> None:
        # version, signature, issuer, thisUpdate, nextUpdate, revokedCertificates
        signed.children[5].children[0].children[0].content = content

    return change


def _sign(issuer: Minted, algorithm: Node, tbs: bytes) -> bytes:
    """With SHA-256, and RSA as the algorithm has it: the parameters of RSA-PSS are a sequence."""
    key = issuer.key
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(tbs, ec.ECDSA(hashes.SHA256()))
    if isinstance(key, rsa.RSAPrivateKey):
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
        return key.sign(tbs, pss if algorithm.children[1].children else padding.PKCS1v15(), hashes.SHA256())
    return key.sign(tbs)
