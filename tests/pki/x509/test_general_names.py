"""How each kind of name lies inside a subtree (RFC 5280 section 4.2.1.10), narrow where the section is silent."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from support.certificates import name
from support.raw_der import tlv

from authz.pki.x509.distinguished_name import Name
from authz.pki.x509.general_names import (
    _DNS_NAME,
    _LABELS,
    _MAILBOX,
    _SUBTREE,
    _URI,
    KINDS,
    comparable_names,
    names_of,
)

DNS, MAIL, URI = x509.DNSName, x509.RFC822Name, x509.UniformResourceIdentifier
UPN = x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c\x01a")

Row = tuple[type[x509.GeneralName], Any, Any, bool, bool]

# kind, name, subtree, whether it permits, whether it excludes
ROWS: list[Row] = [
    (DNS, "a.test", "a.test", True, True),
    (DNS, "x.a.test", "a.test", True, True),
    (DNS, "X.A.Test.", "a.test", True, True),
    (DNS, "xa.test", "a.test", False, False),
    (DNS, "a.test", "x.a.test", False, False),
    (DNS, "x.a.test", ".a.test", True, True),
    (DNS, "a.test", ".a.test", False, True),
    (DNS, "xa.test", ".a.test", False, False),
    (DNS, "anything.test", "", True, True),
    (DNS, "*.a.test", "a.test", True, True),
    (DNS, "*.a.test", "x.a.test", False, True),
    (DNS, "*.a.test", ".x.a.test", False, True),
    (DNS, "*.a.test", "x.y.a.test", False, False),
    (DNS, "*.a.test", "x.b.test", False, False),
    (MAIL, "u@host.test", "host.test", True, True),
    (MAIL, "u@HOST.test.", "host.TEST", True, True),
    (MAIL, "u@sub.host.test", "host.test", False, False),
    (MAIL, "u@sub.host.test", ".host.test", True, True),
    (MAIL, "u@host.test", ".host.test", False, False),
    (MAIL, "u@host.test", "u@host.test", True, True),
    (MAIL, "U@host.test", "u@host.test", False, False),
    (MAIL, "u@host.test", "u@Host.test", True, True),
    (MAIL, "u@host.test", "", False, True),
    (URI, "https://host.test/x", "host.test", True, True),
    (URI, "https://HOST.test.:443?x", "host.test", True, True),
    (URI, "https://u:p@host.test#x", "host.test", True, True),
    (URI, "https://a.host.test", "host.test", False, False),
    (URI, "https://a.host.test", ".host.test", True, True),
    (URI, "https://host.test", ".host.test", False, False),
    (URI, "spiffe://trust.test/workload", "trust.test", True, True),
    (URI, "https://host.test", "", False, True),
    (x509.IPAddress, ip_address("10.1.2.3"), ip_network("10.0.0.0/8"), True, True),
    (x509.IPAddress, ip_address("11.1.2.3"), ip_network("10.0.0.0/8"), False, False),
    (x509.IPAddress, ip_address("fd00::1"), ip_network("fd00::/8"), True, True),
    (x509.IPAddress, ip_address("fd00::1"), ip_network("0.0.0.0/0"), False, False),
    (x509.DirectoryName, Name(name("a")), Name(name("A")), True, True),
    (x509.DirectoryName, Name(name("a")), Name(x509.Name([])), True, True),
    (x509.DirectoryName, Name(x509.Name([])), Name(name("a")), False, False),
]


@pytest.mark.parametrize(("kind", "one", "base", "permitted", "excluded"), ROWS)
def test_name_lies_in_a_subtree_or_not(
    kind: type[x509.GeneralName], one: object, base: object, permitted: object, excluded: object
) -> None:
    """The table of every kind; permitting is the narrow reading, excluding the wide one."""
    rules = KINDS[kind]
    value, subtree = rules.name(one), rules.subtree(base)
    assert rules.permits(value, subtree) is permitted
    assert rules.excludes(value, subtree) is excluded


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (DNS, ""),
        (DNS, ".a.test"),
        (DNS, "a..test"),
        (DNS, "a b.test"),
        (DNS, "f*.a.test"),
        (DNS, "a.*.test"),
        (DNS, "a.test\n"),
        (DNS, "a.test\0.b.test"),
        (DNS, "x" * 64 + ".test"),
        (MAIL, "u"),
        (MAIL, "@host.test"),
        (MAIL, "a@b@host.test"),
        (MAIL, '"a@b"@host.test'),
        (MAIL, "u@[10.0.0.1]"),
        (MAIL, "*@.host.test"),
        (URI, "urn:x"),
        (URI, "//host.test/"),
        (URI, "https://"),
        (URI, "https://127.0.0.1/"),
        (URI, "https://[::1]/"),
        (URI, "https://host%2etest/"),
        (URI, "https://evil.test\\@host.test/"),
        (URI, "https://host.test:x/"),
        (URI, "https://a b/"),
        (x509.IPAddress, ip_network("10.0.0.0/8")),
    ],
)
def test_name_that_is_not_what_its_kind_says_is_an_error(kind: type[x509.GeneralName], value: object) -> None:
    """It could be read in several ways; under a constraint of its kind it is refused."""
    with pytest.raises(ValueError, match=r"is no|has no"):
        KINDS[kind].name(value)


@pytest.mark.parametrize(
    ("kind", "value"),
    [(DNS, "*.a.test"), (DNS, "."), (DNS, "a b"), (MAIL, "@host.test"), (MAIL, "a b"), (URI, "https://a.test/")],
)
def test_subtree_that_is_not_well_formed_is_an_error(kind: type[x509.GeneralName], value: str) -> None:
    """What it means cannot be known."""
    with pytest.raises(ValueError, match="not well-formed"):
        KINDS[kind].subtree(value)


def test_names_of_a_certificate_are_alternatives_subject_and_its_addresses() -> None:
    """An address in the subject counts beside one among the alternative names, too."""
    subject = Name(x509.Name([x509.NameAttribute(NameOID.EMAIL_ADDRESS, "s@host.test")]))
    found = names_of([MAIL("a@host.test"), x509.DirectoryName(name("d"))], subject)
    assert [one.text for one in found] == ["a@host.test", "CN=d", "E=s@host.test", "s@host.test"]
    assert names_of([], Name(x509.Name([]))) == ()


def mailbox(value: bytes) -> x509.OtherName:
    """An SmtpUTF8Mailbox of that value, in DER."""
    return x509.OtherName(x509.ObjectIdentifier("1.3.6.1.5.5.7.8.9"), value)


def test_address_beyond_ascii_is_an_address_too() -> None:
    """RFC 9598 section 6: constraints of the e-mail kind apply to it; a host that is not in A-labels is in none."""
    address = "\u533b\u751f@host.test"
    found = names_of([mailbox(tlv(0x0C, address.encode()))], Name(x509.Name([])))
    assert [one.kind[0] for one in found] == [x509.OtherName, MAIL]
    assert KINDS[MAIL].name(found[1].value) == ("\u533b\u751f", "host.test")
    with pytest.raises(ValueError, match="not well-formed"):
        KINDS[MAIL].name("u@\u533b.test")


@pytest.mark.parametrize("value", [b"", b"\x16\x01a", b"\x0c\x01\xff", b"\x0c\x01aa"])
def test_address_beyond_ascii_of_another_form_is_an_error(value: bytes) -> None:
    """RFC 9598 section 3: one UTF8String."""
    with pytest.raises(ValueError, match=r"DER|utf-8"):
        names_of([mailbox(value)], Name(x509.Name([])))


def test_other_names_are_of_the_kind_of_their_type() -> None:
    """Two types of otherName have nothing to do with one another."""
    other = x509.OtherName(x509.ObjectIdentifier("1.2.3"), b"\x0c\x01a")
    one, two, three = comparable_names([UPN, other, UPN])
    assert one.kind == three.kind != two.kind
    assert x509.OtherName not in KINDS


BACKTRACKING = r"(?:[A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}"


@given(
    st.text("aB0_-.*@:/?#", max_size=20) | st.sampled_from(["a" * 63, "a" * 64, "a." * 70, f"{'a' * 63}.{'b' * 64}"])
)
def test_labels_are_matched_as_by_a_pattern_that_tries_every_way(text: str) -> None:
    """The possessive one gives up at once, and finds the same."""
    for pattern in (_DNS_NAME, _SUBTREE, _MAILBOX, _URI):
        slow = re.compile(pattern.pattern.replace(_LABELS, BACKTRACKING))
        found, expected = pattern.match(text), slow.match(text)
        assert (found and found.groups()) == (expected and expected.groups())
