"""What things weigh is what they take at most, and not much more: measured with the worst of each kind."""

from __future__ import annotations

import ipaddress
import tracemalloc
from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from support.certificates import Authority, Minted, policies_mapped, san
from support.outcomes import parsed

from authz.model import Enforcement, Organization
from authz.pki.cache.extensions import KnownIssuer
from authz.pki.cache.shared import Cache, alone
from authz.pki.cache.verified import weight_of
from authz.pki.cache.weights import points_weight, weigh
from authz.pki.x509.certificate import Certificate, _late
from authz.pki.x509.distinguished_name import Name
from authz.pki.x509.distribution_points import points_of

ROOT = Authority.root()
LATE = [name for name, value in vars(Certificate).items() if isinstance(value, _late)]


def oid(number: int) -> x509.ObjectIdentifier:
    """One of many object identifiers, short ones."""
    return x509.ObjectIdentifier(f"1.2.{number}")


def url(number: int) -> x509.UniformResourceIdentifier:
    """One of many URLs, short ones."""
    return x509.UniformResourceIdentifier(f"a://b{number}")


def directory_name(attributes: int, text: str = "a", kind: x509.ObjectIdentifier = NameOID.COMMON_NAME) -> x509.Name:
    """A name of so many RDNs."""
    return x509.Name([x509.NameAttribute(kind, f"{text}{number}") for number in range(attributes)])


def stated(**options: object) -> x509.DistributionPoint:
    """A distribution point."""
    fields = dict.fromkeys(("full_name", "relative_name", "reasons", "crl_issuer"))
    return x509.DistributionPoint(**{**fields, **options})  # type: ignore[arg-type]


def extended(*extensions: x509.ExtensionType) -> Callable[[int], Minted]:
    """Leaves with these extensions."""
    return lambda number: ROOT.leaf(f"leaf{number}", extensions=[(one, False) for one in extensions])


COUNT = 60
KINDS: dict[str, Callable[[int], Minted]] = {
    "plain": extended(),
    "purposes": extended(x509.ExtendedKeyUsage([oid(number) for number in range(300)])),
    "policies": extended(x509.CertificatePolicies([x509.PolicyInformation(oid(one), None) for one in range(200)])),
    "mappings": lambda number: ROOT.leaf(f"leaf{number}", extensions=policies_mapped(12)),
    "DNS names": extended(san(*(f"a{number}" for number in range(COUNT)))),
    "addresses": extended(san(*(x509.RFC822Name(f"a@b{number}") for number in range(COUNT)))),
    "URIs": extended(san(*map(url, range(COUNT)))),
    "IP addresses": extended(san(*(x509.IPAddress(ipaddress.ip_address(one + 1)) for one in range(COUNT)))),
    "identifiers": extended(san(*(x509.RegisteredID(oid(one)) for one in range(COUNT)))),
    "other names": extended(san(*(x509.OtherName(oid(one), b"\x05\x00") for one in range(COUNT)))),
    "directory names": extended(san(*(x509.DirectoryName(directory_name(1, f"{one}")) for one in range(30)))),
    "RDNs of one": extended(san(x509.DirectoryName(directory_name(40)))),
    "wide text": extended(san(x509.DirectoryName(directory_name(20, "\U0001f600" + "x" * 55)))),
    "one long name": extended(san("a." * 100 + "test")),
    "subtrees": extended(x509.NameConstraints([x509.DNSName(f"a{number}") for number in range(COUNT)], None)),
    "points": extended(x509.CRLDistributionPoints([stated(full_name=[url(one)]) for one in range(30)])),
    "names of a point": extended(x509.CRLDistributionPoints([stated(full_name=[*map(url, range(60))])])),
    "reasons": extended(
        x509.CRLDistributionPoints(
            [stated(full_name=[url(1)], reasons=frozenset({x509.ReasonFlags.key_compromise})) for _ in range(30)]
        )
    ),
    "delta points": extended(x509.FreshestCRL([stated(full_name=[url(one)]) for one in range(40)])),
    "RDNs": lambda number: ROOT.leaf(directory_name(60, f"{number}-")),
    "e-mail RDNs": lambda number: ROOT.leaf(directory_name(60, f"{number}@", NameOID.EMAIL_ADDRESS)),
    "wide RDNs": lambda number: ROOT.leaf(directory_name(10, f"{number}\U0001f600" + "x" * 55)),
    "unknown": extended(x509.UnrecognizedExtension(oid(1), b"\x04\x82\x13\x88" + bytes(5_000))),
}


def read(der: bytes, issuers: Cache[bytes, KnownIssuer]) -> Certificate:
    """The certificate with everything read that can be, as it is remembered."""
    one = Certificate.parse(der, issuers)
    for name in LATE:
        getattr(one, name)
    str(one.subject.text)
    one.let_go()
    return one


@pytest.mark.slow
@pytest.mark.parametrize("recalled", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_certificate_weighs_what_it_takes_at_most(kind: str, recalled: bool) -> None:
    """Every attribute read; and where its extensions are another's, its own names too."""
    issuers: Cache[bytes, KnownIssuer] = Cache(alone())
    ders = [KINDS[kind](number).der for number in range(12)]
    first = read(ders[0], issuers)
    if recalled:
        first.introduce_issuer(issuers)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    found = [read(bytes(bytearray(der)), issuers) for der in ders]
    taken = (tracemalloc.get_traced_memory()[0] - before) / len(ders)
    tracemalloc.stop()
    weight = max(map(weight_of, found))
    assert taken <= weight
    assert weight <= 12 * taken


def test_usual_certificate_weighs_a_few_kilobytes() -> None:
    """Of 400 bytes of DER; an issuer and what its leaves say likewise."""
    (leaf,) = parsed(ROOT.leaf())
    issuers: Cache[bytes, KnownIssuer] = Cache(alone())
    leaf.introduce_issuer(issuers)
    assert 3_000 < weight_of(leaf) < 10_000
    assert 1_000 < issuers.weight < 6_000


def test_points_weigh_what_they_take() -> None:
    """As they are worked with."""
    issuer = Name(ROOT.certificate.subject)
    for many in (0, 1, 20):
        given = [[stated(full_name=[url(100 * one + at)]) for at in range(many)] for one in range(50)]
        points_of(given[0], issuer)
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        found = [points_of(one, issuer) for one in given]
        taken = (tracemalloc.get_traced_memory()[0] - before) / len(found)
        tracemalloc.stop()
        assert taken <= points_weight(found[0])


def test_plain_values_weigh_what_they_are_made_of() -> None:
    """And no more is added up than was asked for."""
    organization = Organization(1, "acme", ("a.test", "b.test"), default_enforcement=Enforcement.OFF)
    assert 500 < weigh(organization) < 2_000
    assert weigh({"a": ["b" * 1_000]}) > weigh({"a": ["b"]}) + 900
    assert weigh([0] * 10_000) > 300_000
    assert weigh([0] * 10_000, 1_000) < 90_000
