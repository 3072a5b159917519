"""Names by which a renewed certificate is recognized: typed, exact, alone of their type, and wholly read."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from cryptography import x509
from support.certificates import Authority, san, tlv

from authz.pki import Certificate, identities_of
from authz.pki.x509.identities import UPN

ROOT = Authority.root()
URI = x509.UniformResourceIdentifier
MAIL = x509.RFC822Name


def upn(value: bytes) -> x509.OtherName:
    """A user principal name whose value is this DER."""
    return x509.OtherName(x509.ObjectIdentifier(UPN), value)


def identities(*names: str | x509.GeneralName, critical: bool = False) -> tuple[str, ...]:
    """Those of a leaf with these alternative names."""
    leaf = ROOT.leaf("the subject counts never", extensions=[(san(*names), critical)])
    return identities_of(Certificate.parse(leaf.der))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["client.example"], {"dns:client.example"}),
        (["CLIENT.example"], {"dns:CLIENT.example"}),
        (["client.example."], {"dns:client.example."}),
        (["*.client.example"], {"dns:*.client.example"}),
        ([URI("spiffe://acme/alice")], {"uri:spiffe://acme/alice"}),
        ([URI("spiffe://acme/alice"), "client.example"], {"uri:spiffe://acme/alice", "dns:client.example"}),
        ([MAIL("Alice@example.test")], {"email:Alice@example.test"}),
        ([upn(tlv(0x0C, "älice@corp".encode()))], {"upn:älice@corp"}),
        (["client.example", "client.example"], {"dns:client.example"}),
    ],
)
def test_name_is_its_type_and_its_value_unchanged(names: list[str | x509.GeneralName], expected: set[str]) -> None:
    """Nothing is folded, cut or unescaped."""
    assert set(identities(*names)) == expected


@pytest.mark.parametrize(
    "names",
    [
        ["a.example", "b.example"],
        ["a.example", "A.example"],
        [URI("spiffe://acme/alice"), URI("spiffe://acme/bob")],
        [MAIL("a@example.test"), MAIL("b@example.test")],
        [upn(tlv(0x0C, b"a")), upn(tlv(0x0C, b"b"))],
        [upn(tlv(0x0C, b"a")), upn(tlv(0x16, b"a"))],
        [upn(tlv(0x16, b"a"))],
        [upn(tlv(0x1E, b"\x00a"))],
        [upn(tlv(0x0C, b"\xff"))],
        [upn(tlv(0x0C, b""))],
        [x509.IPAddress(ip_address("10.0.0.1"))],
        [x509.RegisteredID(x509.ObjectIdentifier("1.2.3"))],
        [x509.OtherName(x509.ObjectIdentifier("1.3.6.1.5.5.7.8.9"), tlv(0x0C, b"a@b"))],
        [x509.DirectoryName(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "alice")]))],
    ],
)
def test_name_that_stands_twice_or_is_of_another_type_names_nothing(names: list[str | x509.GeneralName]) -> None:
    """Of two values neither is the one that was registered."""
    assert identities(*names) == ()


def test_common_name_is_no_identity() -> None:
    """Not even one that looks like a host."""
    leaf = ROOT.leaf("client.example", without=[x509.SubjectAlternativeName])
    assert identities_of(Certificate.parse(leaf.der)) == ()


def test_names_that_cannot_be_read_whole_name_nothing() -> None:
    """A name of a kind that was read stands beside one that was not."""
    raw = tlv(0x30, tlv(0x82, b"client.example") + tlv(0x86, b"\xff\xfe"))
    unread = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.17"), raw)
    leaf = ROOT.leaf("alice", without=[x509.SubjectAlternativeName], extensions=[(unread, False)])
    assert identities_of(Certificate.parse(leaf.der)) == ()


def test_names_of_a_critical_extension_that_cannot_be_read_name_nothing() -> None:
    """No path verifies with it; asked before, it has no name, and raises nothing."""
    raw = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.17"), tlv(0x30, tlv(0x86, b"\xff\xfe")))
    leaf = ROOT.leaf("alice", without=[x509.SubjectAlternativeName], extensions=[(raw, True)])
    assert identities_of(Certificate.parse(leaf.der)) == ()
