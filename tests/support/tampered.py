"""Certificates and CRLs that no builder would make: taken apart, changed, and signed again by their issuer."""

from __future__ import annotations

from collections.abc import Callable

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

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
