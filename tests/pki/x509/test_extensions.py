"""Extensions become plain values at once, and every error of the parser a refusal (RFC 5280 section 4.2)."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from support.certificates import Authority, usage
from support.outcomes import parsed
from support.raw_der import extensions_of, handmade, raw_name, sequence, tlv

from authz.errors import Refused
from authz.pki.x509.certificate import Certificate
from authz.pki.x509.extensions import MAX_ELEMENTS, Extensions, check_counts, counted
from authz.reasons import Reason

ROOT = Authority.root()
Extension = tuple[x509.ExtensionType, bool]


def raw(oid: str, value: str, *, critical: bool = True) -> Extension:
    """An extension in octets of one's choice."""
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), bytes.fromhex(value)), critical


def read(*extensions: Extension) -> Extensions:
    """The extensions of a leaf that has these besides its own, or instead of them."""
    return parsed(ROOT.leaf(extensions=list(extensions)))[0].extensions


def test_extensions_that_are_absent_are_none_or_empty() -> None:
    """A certificate of version 3 without any."""
    found = Certificate.parse(handmade(ROOT.key, issuer=raw_name(b"Root"), subject=raw_name(b"x"))).extensions  # type: ignore[arg-type]
    assert (found.ca, found.path_length, found.key_usage, found.extended_key_usage) == (False, None, None, None)
    assert (found.names, found.policies, found.mappings, found.unknown_critical) == ((), None, (), ())
    assert not found.constrains_names


def test_extensions_of_a_ca_are_read() -> None:
    """Basic constraints, key usage, identifiers."""
    found = parsed(ROOT.intermediate(path_length=2))[0].extensions
    root = parsed(ROOT)[0].extensions
    assert (found.ca, found.path_length, found.key_usage) == (True, 2, {"keyCertSign", "cRLSign"})
    assert found.authority_key_id == root.subject_key_id != found.subject_key_id


def test_authority_key_identifier_in_words_says_nothing_about_the_key() -> None:
    """Issuer and serial number of the issuer's certificate; the signature proves more."""
    name = x509.DirectoryName(ROOT.certificate.subject)
    assert read((x509.AuthorityKeyIdentifier(None, [name], 7), False)).authority_key_id is None


BITS = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign",
)  # fmt: skip


@pytest.mark.parametrize("bit", BITS)
def test_key_usage_bits_have_their_names(bit: str) -> None:
    """As RFC 5280 section 4.2.1.3 writes them."""
    found = read((usage(bit), True)).key_usage
    assert found is not None
    assert {one.lower() for one in found} == {bit.replace("_", "")}


def test_subtree_is_read_alike_with_its_minimum_of_zero_written_out() -> None:
    """The default (RFC 5280 section 4.2.1.10), as programs of Microsoft write it; any other distance is refused."""

    def constraints(distance: str) -> Extensions:
        base, more = tlv(0x82, b"a.test"), bytes.fromhex(distance)
        fields = tlv(0xA0, sequence(base, more)), tlv(0xA1, sequence(base, more), sequence(base))
        return read(raw("2.5.29.30", sequence(*fields).hex()))

    plain, written = constraints(""), constraints("800100")
    assert len(plain.permitted) == 1
    assert (written.permitted, written.excluded) == (plain.permitted, plain.excluded)
    with pytest.raises(Refused) as caught:
        constraints("800101")
    assert caught.value.reason is Reason.NAME_CONSTRAINT_UNSUPPORTED


def test_purposes_names_and_points_are_read() -> None:
    """As the library has them, dotted where they are identifiers."""
    purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])
    names = [x509.DNSName("a.test"), x509.UniformResourceIdentifier("https://a.test")]
    point = x509.DistributionPoint([x509.UniformResourceIdentifier("https://a.test/crl")], None, None, None)
    found = read(
        (purposes, True),
        (x509.SubjectAlternativeName(names), False),
        (x509.CRLDistributionPoints([point]), False),
        (x509.FreshestCRL([point]), False),
    )
    assert found.extended_key_usage == {"1.3.6.1.5.5.7.3.2", "2.5.29.37.0"}
    assert found.names == tuple(names)
    assert found.distribution_points == found.freshest_crl == (point,)


def test_policies_and_constraints_are_read() -> None:
    """Identifiers, mappings, counters."""
    policies = [x509.PolicyInformation(x509.ObjectIdentifier(one), None) for one in ("1.2.3", "1.2.4")]
    found = read(
        (x509.CertificatePolicies(policies), False),
        raw("2.5.29.33", "300a300806022a0306022a04"),
        (x509.PolicyConstraints(1, 2), True),
        (x509.InhibitAnyPolicy(3), True),
    )
    assert (found.policies, found.mappings) == ({"1.2.3", "1.2.4"}, (("1.2.3", "1.2.4"),))
    counters = (found.require_explicit_policy, found.inhibit_policy_mapping, found.inhibit_any_policy)
    assert counters == (1, 2, 3)


def test_subtrees_are_read() -> None:
    """Permitted and excluded."""
    a, b = x509.DNSName("a.test"), x509.DNSName("b.test")
    found = read((x509.NameConstraints([a], [b]), True))
    assert (found.permitted, found.excluded, found.constrains_names) == ((a,), (b,), True)


def test_critical_extensions_that_are_not_known_are_listed() -> None:
    """Others are passed over."""
    found = read(
        raw("1.2.3.4", "0500"), raw("1.2.3.5", "0500", critical=False), raw("1.3.6.1.5.5.7.1.24", "3003020105")
    )
    assert found.unknown_critical == ("1.2.3.4", "1.3.6.1.5.5.7.1.24")


@pytest.mark.parametrize(
    ("oid", "value"),
    [
        ("2.5.29.19", "0500"),
        ("2.5.29.15", "0500"),
        ("2.5.29.37", "3000"),
        ("2.5.29.17", "30038201ff"),
        ("2.5.29.17", "3002a300"),
        ("2.5.29.17", "300b87090102030400000000"),
        ("2.5.29.30", "3000"),
        ("2.5.29.30", "3002a000"),
        ("2.5.29.30", "300ea00c300a870801020304ff00ff00"),
        ("2.5.29.32", "300c300406022a03300406022a03"),
        ("2.5.29.33", "3000"),
        ("2.5.29.33", "3006300406022a03"),
        ("2.5.29.33", "300a310806022a0306022a04"),
        ("2.5.29.33", "300a300804022a0306022a04"),
        ("2.5.29.33", "300a300806022a0306022a0400"),
        ("2.5.29.36", "3000"),
        ("2.5.29.54", "0201ff"),
    ],
)
def test_extension_that_cannot_be_read_is_malformed(oid: str, value: str) -> None:
    """Nothing of what the parser finds wrong is passed over."""
    content = b"\x55\x1d" + bytes([int(oid.rpartition(".")[2])])  # all of them lie below 2.5.29
    extensions = extensions_of((content, True, bytes.fromhex(value)))
    odd = Certificate.parse(handmade(ROOT.key, issuer=raw_name(b"Root"), subject=raw_name(b"x"), extensions=extensions))  # type: ignore[arg-type]
    with pytest.raises(Refused) as caught:
        odd.extensions  # noqa: B018 - read on first use
    assert caught.value.reason is Reason.CERTIFICATE_MALFORMED


def test_extension_given_twice_is_malformed() -> None:
    """RFC 5280 section 4.2."""
    twice = extensions_of(*[(bytes.fromhex("551d0f"), True, bytes.fromhex("03020780"))] * 2)
    odd = Certificate.parse(
        handmade(ROOT.key, issuer=raw_name(b"Root"), subject=raw_name(b"x"), extensions=twice)  # type: ignore[arg-type]
    )
    with pytest.raises(Refused) as caught:
        odd.extensions  # noqa: B018 - read on first use
    assert (caught.value.reason, caught.value.certificate) == (Reason.CERTIFICATE_MALFORMED, odd.der)


@pytest.mark.parametrize("size", [125, 126, 127, 128, 300])
def test_long_subtree_is_read_and_its_distance_seen(size: int) -> None:
    """Around the length from which on DER writes lengths otherwise."""
    base = tlv(0x86, b"a" * size)
    near, far = (sequence(tlv(0xA0, sequence(base, end), sequence(base))) for end in (b"", bytes.fromhex("800101")))
    assert len(read(raw("2.5.29.30", near.hex())).permitted) == 2
    with pytest.raises(Refused) as caught:
        read(raw("2.5.29.30", far.hex()))
    assert caught.value.reason is Reason.NAME_CONSTRAINT_UNSUPPORTED


@pytest.mark.parametrize("distance", ["800101", "810101", "810100", "80020000", "800100800100", "800100810100", "8000"])
def test_subtree_with_a_distance_is_unsupported(distance: str) -> None:
    """Minimum and maximum (section 4.2.1.10), which the library reads past."""
    base = tlv(0x82, b"a.test")
    value = sequence(tlv(0xA1, sequence(base), sequence(base, bytes.fromhex(distance))))
    with pytest.raises(Refused) as caught:
        read(raw("2.5.29.30", value.hex()))
    assert caught.value.reason is Reason.NAME_CONSTRAINT_UNSUPPORTED


@pytest.mark.parametrize(
    ("oid", "value"), [("2.5.29.14", "ff"), ("2.5.29.35", "ff"), ("2.5.29.46", "ff"), ("2.5.29.17", "3002a300")]
)
def test_hint_that_cannot_be_read_is_absent_unless_it_is_critical(oid: str, value: str) -> None:
    """Section 4.2; alternative names may be of any kind then."""
    without = [x509.AuthorityKeyIdentifier, x509.SubjectAlternativeName]
    plain, critical = (
        parsed(ROOT.leaf("x y", extensions=[raw(oid, value, critical=says)], without=without))[0]
        for says in (False, True)
    )
    assert (plain.extensions.subject_key_id, plain.extensions.authority_key_id) == (None, None)
    assert (plain.extensions.names, plain.extensions.freshest_crl) == ((), ())
    assert bool(plain.extensions.unread_kinds) is (oid == "2.5.29.17")
    assert plain.unread_kinds == plain.extensions.unread_kinds
    with pytest.raises(Refused):
        critical.extensions  # noqa: B018 - read on first use


@pytest.mark.parametrize(("value", "kinds"), [("300787050102030405", {x509.IPAddress}), ("ff", 7), ("3002a300", 7)])
def test_kinds_of_names_that_cannot_be_read(value: str, kinds: set[type] | int) -> None:
    """By their tags, every kind where these are not known."""
    leaf = ROOT.leaf("x y", extensions=[raw("2.5.29.17", value, critical=False)], without=[x509.SubjectAlternativeName])
    found = parsed(leaf)[0].extensions.unread_kinds
    assert (len(found) if isinstance(kinds, int) else found) == kinds


def test_names_in_another_spelling_are_read() -> None:
    """Beside an extension that needs none; one that is still refused then refuses."""
    name = sequence(tlv(0xA4, raw_name(b"a@b", 0x13)))
    purpose = raw("2.5.29.37", "300406022a03", critical=False)
    without = [x509.ExtendedKeyUsage, x509.SubjectAlternativeName]
    leaf = ROOT.leaf("x", extensions=[raw("2.5.29.17", name.hex()), purpose], without=without)
    found = parsed(leaf)[0].extensions
    assert (len(found.names), found.extended_key_usage) == (1, {"1.2.3"})


@pytest.mark.parametrize(
    ("oid", "value"),
    [
        ("2.5.29.19", "30060201050101ff"),
        ("2.5.29.19", "30060101ff0201ff"),
        ("2.5.29.15", "03020781"),
        ("2.5.29.32", "300430020500"),
    ],
)
def test_value_that_is_not_what_it_should_be_is_malformed(oid: str, value: str) -> None:
    """A BOOLEAN behind a path length, a negative one, unused bits that are set, a policy without an identifier."""
    leaf = ROOT.leaf(extensions=[raw(oid, value)], without=[x509.BasicConstraints, x509.KeyUsage])
    with pytest.raises(Refused):
        parsed(leaf)[0].extensions  # noqa: B018 - read on first use


def test_qualifier_of_a_critical_policy_must_be_known() -> None:
    """Section 4.2.1.4: a CPS or a notice, whatever is in it."""
    for kind, unknown in (("2b06010505070202", ()), ("2b06010505070203", ("2.5.29.32 with another qualifier",))):
        qualifier = sequence(tlv(6, bytes.fromhex(kind)), tlv(5))
        value = sequence(sequence(tlv(6, b"\x2a\3"), sequence(qualifier)))
        assert read(raw("2.5.29.32", value.hex())).unknown_critical == unknown
        assert read(raw("2.5.29.32", value.hex(), critical=False)).policies == {"1.2.3"}


def test_extensions_in_version_1_are_malformed() -> None:
    """Section 4.1.2.1; the library reads them, and one that says CA would make one."""
    ca = extensions_of((b"\x55\x1d\x13", True, bytes.fromhex("30030101ff")))
    odd = handmade(ROOT.key, issuer=raw_name(b"Root"), subject=raw_name(b"CA"), extensions=ca, version=b"")  # type: ignore[arg-type]
    with pytest.raises(Refused) as caught:
        Certificate.parse(odd).extensions  # noqa: B018 - read on first use
    assert caught.value.reason is Reason.CERTIFICATE_MALFORMED


def field(*extensions: tuple[str, bytes]) -> bytes:
    """An extensions field of these, by the content of their OIDs in hex."""
    return extensions_of(*[(bytes.fromhex(oid), False, value) for oid, value in extensions])


def names(count: int) -> bytes:
    """So many alternative names."""
    return sequence(tlv(0x82, b"a") * count)


def test_elements_are_counted_by_extension() -> None:
    """Three an extension, and what is inside; of one that comes twice together."""
    twice = ("551d11", names(4))
    assert counted(field(twice, ("551d0f", bytes.fromhex("03020780")), twice)) == {b"U\x1d\x11": 16, b"U\x1d\x0f": 4}
    assert counted(b"") == {}


def test_counting_ends_where_it_is_too_much() -> None:
    """What is behind is not looked at."""
    found = counted(field(("551d11", names(9_000)), ("551d0f", bytes.fromhex("03020780"))))
    assert list(found) == [b"U\x1d\x11"]
    assert sum(found.values()) < MAX_ELEMENTS + 10


@pytest.mark.parametrize(
    ("oid", "value", "what"),
    [
        ("551d11", names(MAX_ELEMENTS), "subject alternative names"),
        ("551d11", sequence(tlv(0x87, b"\1\2\3\4") * 176), "subject alternative names"),
        ("551d11", sequence(tlv(0xA4, raw_name(b"a")) * 176), "subject alternative names"),
        ("551d1e", sequence(tlv(0xA0, sequence(tlv(0x82, b"a")) * 525)), "subtrees of name constraints"),
        ("551d1f", sequence(sequence(tlv(0xA0, tlv(0xA0, tlv(0x86, b"a")))) * 262), "CRL distribution points"),
        ("551d20", sequence(sequence(tlv(0x06, b"\x2a")) * 525), "certificate policies and qualifiers"),
        ("551d21", sequence(sequence(tlv(0x06, b"\x2a") * 2) * 350), "policy mappings"),
        ("551d25", sequence(tlv(0x06, b"\x2a") * 1050), "extended key usages"),
        ("551d13", sequence(tlv(0x02, b"\0") * MAX_ELEMENTS), "elements in 2.5.29.19"),
    ],
)
def test_what_there_is_too_much_of_is_named(oid: str, value: bytes, what: str) -> None:
    """Beside what is innocent; and one list shorter it passes."""
    innocent = ("551d0f", bytes.fromhex("03020780"))
    with pytest.raises(Refused, match=f"too many {what}") as caught:
        check_counts(counted(field(innocent, (oid, value), innocent)))
    assert caught.value.reason is Reason.CERTIFICATE_MALFORMED


def test_elements_up_to_the_bound_are_read() -> None:
    """All extensions together."""
    most = counted(field(("551d11", names(MAX_ELEMENTS - 8)), ("551d0f", b"\5\0")))
    assert sum(most.values()) == MAX_ELEMENTS
    check_counts(most)
    with pytest.raises(Refused):
        check_counts(counted(field(("551d11", names(MAX_ELEMENTS - 7)), ("551d0f", b"\5\0"))))
    check_counts(counted(field(("551d09", names(9_000)), ("2a03", names(9_000)))))  # which are not read


def test_extensions_without_elements_are_counted_too() -> None:
    """Each costs something to walk over."""
    many = [(f"2a{number:02x}", b"") for number in range(100)]
    check_counts(counted(field(*many)))
    with pytest.raises(Refused, match="too many elements in"):
        check_counts(counted(field(*many * 4)))


def test_mapping_of_a_long_identifier_is_read_when_asked_for() -> None:
    """And what is no identifier at once."""
    long = b"\x2a" + b"\xff" * 61 + b"\x7f"
    found = read(raw("2.5.29.33", sequence(sequence(tlv(6, long), tlv(6, b"\x2a"))).hex()))
    assert found.mapped == ((long, b"\x2a"),)
    assert found.mappings[0][1] == "1.2"
    with pytest.raises(Refused) as caught:
        read(raw("2.5.29.33", sequence(sequence(tlv(6, b"\x80\1"), tlv(6, b"\x2a"))).hex()))
    assert caught.value.reason is Reason.CERTIFICATE_MALFORMED


def test_issuer_alternative_names_are_read() -> None:
    """They are names of the implied distribution point (RFC 5280 section 6.3.3)."""
    names = [x509.DNSName("ca.example.test")]
    assert read((x509.IssuerAlternativeName(names), False)).issuer_names == tuple(names)
    assert read(raw("2.5.29.18", "ff", critical=False)).issuer_names == ()
