"""Name constraints gathered down a path: permitted intersect, excluded unite, and emptiness permits."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from support.certificates import Authority, Minted, name, san
from support.outcomes import parsed, reason, refusal
from support.raw_der import sequence, tlv

from authz.errors import Refused
from authz.pki.budget import Budget
from authz.pki.path.name_constraints import NameConstraints
from authz.pki.x509.general_names import KINDS, comparable_names
from authz.reasons import Reason

ROOT = Authority.root()
DNS, MAIL, URI, DIRECTORY = x509.DNSName, x509.RFC822Name, x509.UniformResourceIdentifier, x509.DirectoryName
UPN = x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c\x01a")
UTF8_MAIL = x509.OtherName(x509.ObjectIdentifier("1.3.6.1.5.5.7.8.9"), b"\x0c\x0c\xc3\xa9@evil.test")
XMPP = x509.OtherName(x509.ObjectIdentifier("1.3.6.1.5.5.7.8.5"), b"\x0c\x01a")
PEOPLE = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "People")])
ALICE = x509.Name([*PEOPLE, x509.NameAttribute(NameOID.COMMON_NAME, "alice")])
EVE = x509.Name([*PEOPLE, x509.NameAttribute(NameOID.COMMON_NAME, "Ev\u00ade")])
MAILED = x509.Name([x509.NameAttribute(NameOID.EMAIL_ADDRESS, "a@evil.test")])
OUT, UNSUPPORTED = Reason.NAME_CONSTRAINT_VIOLATED, Reason.NAME_CONSTRAINT_UNSUPPORTED


def constrained(
    permitted: Sequence[x509.GeneralName] = (), excluded: Sequence[x509.GeneralName] = (), above: Authority = ROOT
) -> Authority:
    """A CA with name constraints."""
    value = x509.NameConstraints(list(permitted) or None, list(excluded) or None)
    return above.intermediate("CA" + "'" * len(above.chain), extensions=[(value, True)])


def named(issuer: Authority, *names: str | x509.GeneralName, subject: str | x509.Name = "x") -> Minted:
    """A leaf with these alternative names."""
    return issuer.leaf(subject, extensions=[(san(*names), False)] if names else [])


@pytest.mark.parametrize(
    ("names", "base", "expected"),
    [
        ("300787050102030405", DNS("a.test"), None),
        ("300a8203612e7487050102030405", DNS("a.test"), OUT),
        ("ff", DNS("a.test"), OUT),
        ("3002a300", DNS("a.test"), OUT),
        ("3003a00130", MAIL("a.test"), OUT),
        ("3003a00130", DNS("a.test"), None),
    ],
)
@pytest.mark.parametrize("permitted", [True, False])
def test_names_that_cannot_be_read_count_against_constraints_of_their_kinds(
    names: str,
    base: x509.GeneralName,
    expected: Reason | None,
    permitted: bool,
) -> None:
    """Of every kind, where kinds cannot be distinguished; permitted or excluded."""
    ca = constrained([base], []) if permitted else constrained([], [base])
    unread = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.17"), bytes.fromhex(names))
    leaf = ca.leaf("x y", extensions=[(unread, False)], without=[x509.SubjectAlternativeName])
    assert parsed(leaf)[0].san_names == frozenset()
    assert reason(leaf, ca, anchors=[ROOT]) is expected


@pytest.mark.parametrize(
    ("permitted", "excluded", "names", "subject", "expected"),
    [
        ([DNS("a.test")], [], ["a.test"], "x", None),
        ([DNS("a.test")], [], ["a.test", "b.test"], "x", OUT),
        ([DNS("a.test"), DNS("b.test")], [], ["x.b.test"], "x", None),
        ([DNS("a.test")], [], [MAIL("u@b.test"), UTF8_MAIL], "x", None),
        ([MAIL("evil.test")], [], [UTF8_MAIL], "x", None),
        ([MAIL("a.test")], [], [UTF8_MAIL], "x", OUT),
        ([], [MAIL("evil.test")], [UTF8_MAIL], "x", OUT),
        ([UTF8_MAIL], [], [UTF8_MAIL], "x", UNSUPPORTED),
        ([], [DNS("a.test")], ["b.test"], "x", None),
        ([], [DNS("b.test"), DNS("a.test")], ["a.test"], "x", OUT),
        ([DNS("a.test")], [DNS("b.a.test")], ["b.a.test"], "x", OUT),
        ([DNS("a.test")], [], [".a.test"], "x", OUT),
        ([], [DNS("a.test")], [".b.test"], "x", OUT),
        ([DNS("a b")], [], ["b.a.test"], "x", UNSUPPORTED),
        ([DNS("a.test"), DNS("a b")], [], ["a.test"], "x", UNSUPPORTED),
        ([], [URI("https://a.test")], [URI("https://b.test")], "x", UNSUPPORTED),
        ([], [URI("a.test")], [URI("urn:b")], "x", OUT),
        ([DNS("a.test")], [], [URI("urn:b")], "x", None),
        ([DIRECTORY(PEOPLE)], [], [DIRECTORY(ALICE)], ALICE, None),
        ([DIRECTORY(PEOPLE)], [], [DIRECTORY(name("x"))], ALICE, OUT),
        ([DIRECTORY(PEOPLE)], [], ["a.test"], "x", OUT),
        ([], [DIRECTORY(x509.Name([*PEOPLE, x509.NameAttribute(NameOID.COMMON_NAME, "eve")]))], [], EVE, OUT),
        ([MAIL("host.test")], [], [], MAILED, OUT),
        ([MAIL("host.test")], [], [MAIL("a@host.test")], MAILED, OUT),
        ([DNS("a.test")], [], ["a.test"], MAILED, None),
        ([UPN], [], [UPN], "x", UNSUPPORTED),
        ([], [UPN], [UPN], "x", UNSUPPORTED),
        ([UPN], [], [XMPP, "a.test"], "x", None),
        ([], [x509.RegisteredID(x509.ObjectIdentifier("1.2.3"))], ["a.test"], "x", None),
        ([], [], ["a.test"], "x", None),
    ],
)
def test_constraints_decide(
    permitted: list[x509.GeneralName],
    excluded: list[x509.GeneralName],
    names: list[str | x509.GeneralName],
    subject: str | x509.Name,
    expected: Reason | None,
) -> None:
    """A constraint speaks of names of its own kind, wherever they stand; what it cannot compare refuses."""
    issuer = constrained(permitted, excluded) if permitted or excluded else ROOT.intermediate("CA")
    assert reason(named(issuer, *names, subject=subject), issuer, anchors=[ROOT]) is expected


@pytest.mark.parametrize(("host", "expected"), [("x.a.test", None), ("y.a.test", OUT), ("x.b.test", OUT)])
def test_permitted_of_two_cas_intersect(host: str, expected: Reason | None) -> None:
    """Each CA may only narrow what the one above it allowed."""
    upper = constrained([DNS("a.test")])
    lower = constrained([DNS("x.a.test"), DNS("x.b.test")], above=upper)
    assert reason(named(lower, host), lower, upper, anchors=[ROOT]) is expected


@pytest.mark.parametrize(
    ("tag", "address", "expected"),
    [
        (0xA0, "10.9.9.9", None),
        (0xA0, "10.1.2.3", None),
        (0xA0, "11.1.2.3", OUT),
        (0xA1, "10.9.9.9", OUT),
        (0xA1, "10.1.2.3", OUT),
        (0xA1, "11.1.2.3", None),
    ],
)
def test_range_of_addresses_with_bits_beyond_its_mask_is_the_whole_range(
    tag: int, address: str, expected: Reason | None
) -> None:
    """As OpenSSL and Go have it; of an excluded one, no other reading excludes more."""
    value = sequence(tlv(tag, sequence(tlv(0x87, bytes.fromhex("0a010203ff000000")))))
    odd = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.30"), value)
    ca = ROOT.intermediate("CA", extensions=[(odd, True)])
    leaf = named(ca, x509.IPAddress(ip_address(address)))
    assert reason(leaf, ca, anchors=[ROOT]) is expected


def test_excluded_of_two_cas_unite() -> None:
    """What one excluded stays so."""
    upper, lower = constrained(excluded=[DNS("a.test")]), None
    lower = constrained(excluded=[DNS("b.test")], above=upper)
    assert reason(named(lower, "a.test"), lower, upper, anchors=[ROOT]) is OUT
    assert reason(named(lower, "b.test"), lower, upper, anchors=[ROOT]) is OUT
    assert reason(named(lower, "c.test"), lower, upper, anchors=[ROOT]) is None


def test_constraints_of_the_anchor_hold() -> None:
    """Its own extension counts like any CA's."""
    root = Authority.root(extensions=[(x509.NameConstraints([DNS("a.test")], None), True)])
    assert reason(named(root, "b.test"), anchors=[root]) is OUT
    assert reason(named(root, "a.test"), anchors=[root]) is None


def test_self_issued_ca_is_exempt_and_a_self_issued_leaf_is_not() -> None:
    """6.1.3 (b): a CA that rolls its key over keeps its name; the last certificate has no such excuse."""
    upper = constrained([DIRECTORY(PEOPLE)])
    rolled = upper.intermediate(upper.certificate.subject)
    assert reason(rolled.leaf(ALICE), rolled, upper, anchors=[ROOT]) is None
    assert reason(upper.leaf(upper.certificate.subject), upper, anchors=[ROOT]) is OUT


def test_intermediate_outside_the_constraints_is_refused() -> None:
    """Names of CAs are constrained as well; the refusal is about the CA."""
    upper = constrained([DIRECTORY(PEOPLE)])
    lower = upper.intermediate("Elsewhere")
    refused = refusal(lower.leaf(ALICE), lower, upper, anchors=[ROOT])
    assert refused is not None
    assert (refused.reason, refused.certificate) == (OUT, lower.der)


@pytest.mark.parametrize(("written", "expected"), [("a.test", None), ("b.a.test", OUT), ("c.test", OUT)])
def test_subtree_with_its_minimum_of_zero_constrains_like_another(written: str, expected: Reason | None) -> None:
    """The default, which programs of Microsoft write out: permitted and excluded."""
    permitted, excluded = (sequence(tlv(0x82, text), bytes.fromhex("800100")) for text in (b"a.test", b"b.a.test"))
    value = sequence(tlv(0xA0, permitted), tlv(0xA1, excluded))
    odd = ROOT.intermediate(extensions=[(x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.30"), value), True)])
    assert reason(named(odd, written), odd, anchors=[ROOT]) is expected


@pytest.mark.parametrize("distance", [bytes.fromhex("800101"), bytes.fromhex("810101")])
def test_subtree_with_minimum_or_maximum_is_refused(distance: bytes) -> None:
    """Section 4.2.1.10 has them processed or refused; the library reads past them."""
    value = sequence(tlv(0xA0, sequence(tlv(0x82, b"a.test"), distance)))
    odd = ROOT.intermediate(
        "CA", extensions=[(x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.30"), value), True)]
    )
    assert reason(named(odd, "a.test"), odd, anchors=[ROOT]) is UNSUPPORTED


def test_comparisons_are_paid_for() -> None:
    """Names times subtrees."""
    constraints, budget = NameConstraints(), Budget(name_comparisons=10)
    constraints.add(comparable_names([DNS("a.test")] * 3), comparable_names([DNS("b.test")] * 2))
    leaf = parsed(named(ROOT, "a.test"))[0]
    constraints.check(leaf, budget)
    assert budget.name_comparisons == 0
    with pytest.raises(Refused) as caught:
        constraints.check(leaf, budget)
    assert caught.value.reason is Reason.BUDGET_EXCEEDED


def test_nothing_added_is_nothing_to_check() -> None:
    """So that most paths skip the names."""
    constraints = NameConstraints()
    constraints.add((), ())
    assert not constraints.any
    constraints.add((), comparable_names([DNS("b.test")]))
    assert constraints.any


def test_names_beyond_the_budget_are_not_even_read() -> None:
    """Their number is known before they are made comparable."""
    leaf, budget = parsed(named(constrained([DNS("a.test")]), "a.test", "b.test"))[0], Budget(name_comparisons=1)
    constraints = NameConstraints()
    constraints.add(comparable_names([DNS("a.test")]), ())
    with pytest.raises(Refused) as caught:
        constraints.check(leaf, budget)
    assert caught.value.reason is Reason.BUDGET_EXCEEDED
    assert "constrained_names" not in vars(leaf)


def test_subtree_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the number of names that are compared with it."""
    asked = []
    kind = KINDS[DNS]._replace(subtree=lambda value: asked.append(value) or value)
    monkeypatch.setitem(KINDS, DNS, kind)
    constraints = NameConstraints()
    constraints.add(comparable_names([DNS("a.test")]), comparable_names([DNS("b.test")]))
    constraints.check(parsed(named(ROOT, *[f"{number}.a.test" for number in range(9)]))[0], Budget())
    assert sorted(asked) == ["a.test", "b.test"]
