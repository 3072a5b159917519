"""A root, a CA, a leaf, and short words for the CRLs that speak of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

from cryptography import x509

from authz.errors import Refused
from authz.pki import (
    DEFAULT_POLICY,
    Budget,
    Certificate,
    Crl,
    CrlStore,
    ModeOf,
    TrustStore,
    ValidationPolicy,
    VerifiedPath,
    verify_path,
)
from authz.reasons import Reason
from support.certificates import NOW, Authority, Minted, name, usage

ROOT = Authority.root("Root")
CA = ROOT.intermediate("CA")
LEAF = CA.leaf("alice")

GOOD, REVOKED, UNKNOWN = "good", Reason.CERTIFICATE_REVOKED, Reason.REVOCATION_UNKNOWN

Extensions = list[tuple[x509.ExtensionType, bool]]
ONE, TWO = (x509.UniformResourceIdentifier(f"http://crl.example.test/{number}") for number in (1, 2))
CRL_SIGNER: Extensions = [(usage("crl_sign"), True), (x509.BasicConstraints(ca=False, path_length=None), True)]


def forged(crl: bytes) -> bytes:
    """The CRL with another signature, which does not verify."""
    return crl[:-1] + bytes([crl[-1] ^ 1])


def prove(
    leaf: Minted,
    crls: Iterable[bytes],
    *,
    pool: Sequence[Minted] = (CA,),
    anchor: Minted = ROOT,
    known: Sequence[Minted] = (),
    trust: TrustStore | None = None,
    budget: Budget | None = None,
    policy: ValidationPolicy = DEFAULT_POLICY,
    mode_of: ModeOf | None = None,
) -> VerifiedPath:
    """The verified path of `leaf`."""
    parse = Certificate.parse
    trust = trust or TrustStore([parse(anchor.der)], [parse(one.der) for one in known])
    store = CrlStore(map(Crl, crls))
    bag = [parse(one.der) for one in pool]
    return verify_path(parse(leaf.der), bag, trust, store, NOW, policy, budget=budget, mode_of=mode_of)


def check(leaf: Minted, crls: Iterable[bytes], **options: object) -> str:
    """The reason of the refusal, or "good"."""
    return refusal(leaf, crls, **options)[0]


def refusal(leaf: Minted, crls: Iterable[bytes], **options: object) -> tuple[str, bytes | None]:
    """The reason of the refusal, and the certificate it is about."""
    try:
        prove(leaf, crls, **options)  # type: ignore[arg-type]
    except Refused as refused:
        return refused.reason, refused.certificate
    return GOOD, None


def points(*stated: x509.DistributionPoint) -> Extensions:
    """Distribution points of a certificate."""
    return [(x509.CRLDistributionPoints(stated), False)]


def at(*names: x509.GeneralName, reasons: Sequence[str] = (), by: str | None = None) -> x509.DistributionPoint:
    """One distribution point: its names, its reasons, the name of its CRL issuer."""
    issuer = None if by is None else [x509.DirectoryName(name(by))]
    return x509.DistributionPoint(list(names) or None, None, flags(*reasons), issuer)


def idp(*names: x509.GeneralName, reasons: Sequence[str] = (), indirect: bool = False, only: str = "") -> Extensions:
    """An issuing distribution point; `only` is "users", "cas" or "attributes"."""
    point = x509.IssuingDistributionPoint(
        list(names) or None, None, only == "users", only == "cas", flags(*reasons), indirect, only == "attributes"
    )
    return [(point, True)]


def flags(*reasons: str) -> frozenset[x509.ReasonFlags] | None:
    """Reasons by name; None stands for all."""
    return frozenset(x509.ReasonFlags[one] for one in reasons) or None


def days(number: float) -> dict[str, object]:
    """A CRL issued so many days ago."""
    return {"this_update": NOW - timedelta(days=number)}


EXPIRED = {"this_update": NOW - timedelta(days=9), "next_update": NOW - timedelta(days=1)}
AHEAD = {"this_update": NOW + timedelta(days=1), "next_update": NOW + timedelta(days=9)}

EVERY = [one.name for one in x509.ReasonFlags if one.name not in {"unspecified", "remove_from_crl"}]
