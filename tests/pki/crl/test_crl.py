"""Reading CRLs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st
from support.certificates import NOW, Authority, entry, name, new_key, tlv
from support.raw_der import with_unused_bit

from authz.errors import Refused
from authz.pki.crl.crl import EXPIRED_WHEN_IT_CAME, Crl, puts_out
from authz.pki.crl.index import RevokedEntry
from authz.pki.x509.algorithms import verify_signature
from authz.pki.x509.distinguished_name import Name
from authz.pki.x509.distribution_points import ALL_REASONS
from authz.pki.x509.library import load_crl
from authz.reasons import Reason

CA = Authority.root("CA")
ISSUER, OTHER = Name(name("CA")), Name(name("Other"))
URI = x509.UniformResourceIdentifier("http://crl.example.test/1")
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")


def idp(
    *,
    full: list[x509.GeneralName] | None = None,
    users: bool = False,
    cas: bool = False,
    attributes: bool = False,
    reasons: frozenset[x509.ReasonFlags] | None = None,
    indirect: bool = False,
) -> tuple[x509.ExtensionType, bool]:
    """An issuing distribution point."""
    return x509.IssuingDistributionPoint(full, None, users, cas, reasons, indirect, attributes), True


Extensions = list[tuple[x509.ExtensionType, bool]]


@contextmanager
def malformed() -> Iterator[None]:
    """What is inside refuses the CRL as malformed."""
    with pytest.raises(Refused) as refusal:
        yield
    assert refusal.value.reason is Reason.CRL_MALFORMED


def edited(data: bytes, old: str, new: str) -> bytes:
    """The CRL with one piece of its DER, given in hex, replaced by another of the same length."""
    before, after = bytes.fromhex(old), bytes.fromhex(new)
    assert data.count(before) >= 1
    assert len(before) == len(after)
    return data.replace(before, after, 1)


def rebuilt(data: bytes, edit: Callable[[list[bytes]], list[bytes]]) -> bytes:
    """The CRL with the fields of its signed part edited, all lengths made anew; its signature is void."""
    outer = _fields(data)[1]
    tbs, *rest = outer
    return tlv(0x30, tlv(0x30, b"".join(edit(_fields(tbs)[1]))) + b"".join(rest))


def _fields(data: bytes) -> tuple[int, list[bytes]]:
    """Tag and children of an element with definite lengths."""
    size, at = data[1], 2
    if size >= 0x80:
        at += size & 0x7F
    children = []
    while at < len(data):
        step = data[at + 1]
        width = 2
        if step >= 0x80:
            width += step & 0x7F
            step = int.from_bytes(data[at + 2 : at + width], "big")
        children.append(data[at : at + width + step])
        at += width + step
    return data[0], children


def test_crl_says_what_its_issuer_wrote() -> None:
    """Issuer, number, dates and entries are read."""
    crl = Crl(CA.crl(5, number=7))
    assert (crl.issuer, crl.number, crl.base_number, crl.is_delta) == (ISSUER, 7, None, False)
    assert (crl.this_update, crl.next_update) == (NOW - timedelta(days=1), NOW + timedelta(days=6))
    assert (crl.scope, crl.names, crl.reasons, crl.unusable) == (b"", frozenset(), ALL_REASONS, "")


def test_crl_lists_its_entries() -> None:
    """Entries are found by serial number and issuer."""
    crl = Crl(CA.crl(5, entry(6, reason=x509.ReasonFlags.certificate_hold)))
    assert crl.index.find(5, ISSUER) == RevokedEntry()
    assert crl.index.find(6, ISSUER) == RevokedEntry(6)
    assert crl.index.find(7, ISSUER) is None


def test_crl_without_entries_is_empty() -> None:
    """A CRL may list no certificate."""
    assert len(Crl(CA.crl()).index) == 0


def test_crl_is_known_by_its_digest() -> None:
    """Its identity is the SHA-256 of its DER, and its name for people shows it."""
    crl = Crl(CA.crl())
    assert crl.sha256.hex() in repr(crl)
    assert len(crl.sha256) == 32


@pytest.mark.parametrize("kind", ["p256", "rsa2048", "ed25519"])
def test_signed_part_verifies_as_it_was_signed(kind: str) -> None:
    """The signature is over the raw bytes, cut from the DER."""
    ca = Authority.root(key=new_key(kind))
    verify_signature(ca.key.public_key(), Crl(ca.crl(5)).signed)


def test_signature_with_unused_bits_does_not_verify() -> None:
    """No signature covers their number: a changed number would make another CRL that verifies."""
    changed = Crl(with_unused_bit(CA.crl(5) for _ in range(99)))
    with pytest.raises(Refused) as refusal:
        verify_signature(CA.certificate.public_key(), changed.signed)
    assert refusal.value.reason is Reason.SIGNATURE_INVALID


def test_signed_part_with_weak_pss_parameters_refuses() -> None:
    """RSA-PSS parameters outside the tables refuse when the signature is asked for."""
    key = new_key("rsa2048")
    builder = x509.CertificateRevocationListBuilder().issuer_name(name("CA")).last_update(NOW).next_update(NOW)
    pss = padding.PSS(padding.MGF1(hashes.SHA512()), salt_length=32)
    crl = Crl(builder.sign(key, hashes.SHA256(), rsa_padding=pss).public_bytes(Encoding.DER))
    with pytest.raises(Refused) as refusal:
        crl.signed  # noqa: B018 - read for what it raises
    assert refusal.value.reason is Reason.ALGORITHM_NOT_ALLOWED


def test_scope_is_the_issuing_distribution_point() -> None:
    """Names and reasons of the issuing distribution point are read, and its bytes are the scope."""
    reasons = frozenset({x509.ReasonFlags.key_compromise})
    crl = Crl(CA.crl(extensions=[idp(full=[URI], users=True, reasons=reasons)]))
    assert (crl.names, crl.reasons, crl.indirect) == ({URI}, 0b10, False)
    assert crl.scope == idp(full=[URI], users=True, reasons=reasons)[0].public_bytes()


def test_scope_relative_to_the_issuer_is_made_full() -> None:
    """A name relative to the CRL issuer hangs from the issuer's."""
    relative = x509.RelativeDistinguishedName([x509.NameAttribute(x509.NameOID.COMMON_NAME, "shard")])
    point = x509.IssuingDistributionPoint(None, relative, False, False, None, False, False)
    crl = Crl(CA.crl(extensions=[(point, True)]))
    assert crl.names == {Name(x509.Name([*name("CA").rdns, relative]))}


def test_delta_is_reported_by_its_indicator() -> None:
    """A delta CRL says which complete one it starts from."""
    crl = Crl(CA.crl(number=9, extensions=[(x509.DeltaCRLIndicator(4), True)]))
    assert (crl.is_delta, crl.base_number, crl.number) == (True, 4, 9)


def test_indirect_crl_attributes_entries_to_the_issuer_named_last() -> None:
    """A certificate issuer holds until the next one; before the first, it is the CRL's own issuer."""
    other, third = name("Other"), Name(name("Third"))
    listed = [entry(1), entry(2, issuer=other), entry(3), entry(4, issuer=name("Third")), entry(5)]
    index = Crl(CA.crl(*listed, extensions=[idp(indirect=True)])).index
    found = {(serial, who) for serial in range(1, 6) for who in (ISSUER, OTHER, third) if index.find(serial, who)}
    assert found == {(1, ISSUER), (2, OTHER), (3, OTHER), (4, third), (5, third)}


def test_indirect_crl_keeps_the_reasons() -> None:
    """Reasons stand beside certificate issuers."""
    listed = entry(2, issuer=name("Other"), reason=x509.ReasonFlags.superseded)
    assert Crl(CA.crl(listed, extensions=[idp(indirect=True)])).index.find(2, OTHER) == RevokedEntry(4)


@pytest.mark.parametrize(
    "names",
    [
        [x509.DNSName("ca.example.test")],
        [x509.DirectoryName(name("One")), x509.DirectoryName(name("Two"))],
    ],
)
def test_indirect_crl_with_an_unclear_certificate_issuer_refuses(names: list[x509.GeneralName]) -> None:
    """An entry belongs to exactly one directory name, or its owner is unknown."""
    listed = entry(1, extensions=[(x509.CertificateIssuer(names), True)])
    with malformed():
        Crl(CA.crl(listed, extensions=[idp(indirect=True)]))


def test_certificate_issuer_in_a_direct_crl_refuses() -> None:
    """Entries of other issuers stand in indirect CRLs only."""
    with malformed():
        Crl(CA.crl(entry(1, issuer=name("Other"))))


@pytest.mark.parametrize("extensions", [[], [idp(indirect=True)]])
def test_unknown_critical_extension_of_an_entry_leaves_it_listed(
    extensions: Extensions,
) -> None:
    """Such an entry lists its certificate; the CRL as a whole can prove no certificate good."""
    crl = Crl(CA.crl(entry(5, extensions=[(UNKNOWN, True)]), extensions=extensions))
    assert crl.index.find(5, ISSUER) == RevokedEntry()
    assert crl.unusable == "critical extension 1.2.3.4 of an entry"


def test_unknown_critical_extension_makes_the_crl_unusable() -> None:
    """A CRL with a critical extension that is unknown can prove no certificate good."""
    assert Crl(CA.crl(extensions=[(UNKNOWN, True)])).unusable == "critical extension 1.2.3.4"


@pytest.mark.parametrize(
    "extension",
    [
        (UNKNOWN, False),
        (x509.IssuerAlternativeName([x509.DNSName("ca.example.test")]), True),
        (x509.FreshestCRL([x509.DistributionPoint([URI], None, None, None)]), True),
        (x509.AuthorityKeyIdentifier(b"1", None, None), True),
        (x509.CRLNumber(3), True),
    ],
)
def test_other_extensions_leave_the_crl_usable(extension: tuple[x509.ExtensionType, bool]) -> None:
    """What is known, or not critical, makes no CRL unusable."""
    assert Crl(CA.crl(entry(5, extensions=[(UNKNOWN, False)]), extensions=[extension])).unusable == ""


def test_extension_given_twice_refuses() -> None:
    """Of two extensions of one kind, neither is believed."""
    number = CA.crl(number=0x11, extensions=[(x509.DeltaCRLIndicator(0x12), False)])
    with malformed():
        Crl(edited(number, "0603551d1b", "0603551d14"))


@pytest.mark.parametrize("crl", [edited(CA.crl(number=0x12), "0403020112", "0403020192"), CA.crl(number=2**1024)])
def test_number_out_of_range_refuses(crl: bytes) -> None:
    """A CRL number is not negative (RFC 5280 section 5.2.3), and can be shown in decimals."""
    with malformed():
        Crl(crl)


def test_number_of_twenty_octets_is_read() -> None:
    """The largest number that must be handled is."""
    assert Crl(CA.crl(number=2**160 - 1)).number == 2**160 - 1


def version_1(data: bytes) -> bytes:
    """The CRL without a version, and without extensions of its own."""
    return rebuilt(data, lambda fields: fields[1:-1])


def test_version_1_without_extensions_is_read() -> None:
    """What old tools make by default counts, ordered by its dates alone."""
    crl = Crl(version_1(CA.crl(5)))
    assert (crl.number, crl.index.find(5, ISSUER)) == (None, RevokedEntry())


def test_version_1_with_an_extension_refuses() -> None:
    """Extensions need version 2 (RFC 5280 section 5.1.2.1)."""
    with malformed():
        Crl(rebuilt(CA.crl(), lambda fields: fields[1:]))


def test_version_1_with_an_extension_in_an_entry_refuses() -> None:
    """Neither may its entries have any."""
    with malformed():
        Crl(version_1(CA.crl(5, reason=x509.ReasonFlags.superseded)))


@pytest.mark.parametrize("version", ["00", "02"])
def test_unknown_version_is_refused(version: str) -> None:
    """There are versions 1 and 2 only."""
    with malformed():
        Crl(edited(CA.crl(), "020101", "0201" + version))


def test_algorithms_that_differ_refuse() -> None:
    """The algorithm inside the signed part is the one outside (RFC 5280 section 5.1.1.2)."""
    with malformed():
        Crl(edited(CA.crl(), "2a8648ce3d040302", "2a8648ce3d040303"))


def test_missing_next_update_is_distinguished() -> None:
    """A CRL without nextUpdate can be read; that it is of no use is for the check to say."""
    assert Crl(rebuilt(CA.crl(), lambda fields: [*fields[:4], *fields[5:]])).next_update is None


@pytest.mark.parametrize("data", [b"", b"\x30\x00", CA.der, CA.crl() + b"\0", CA.crl()[:-1], CA.pem.encode()])
def test_bytes_that_are_no_crl_refuse(data: bytes) -> None:
    """Anything but one CRL in DER is refused."""
    with malformed():
        Crl(data)


SAMPLES = [
    CA.crl(5, entry(6, reason=x509.ReasonFlags.certificate_hold)),
    CA.crl(entry(1, issuer=name("Other")), entry(2), extensions=[idp(full=[URI], indirect=True)]),
    CA.crl(entry(3, extensions=[(UNKNOWN, True)]), number=9, extensions=[(x509.DeltaCRLIndicator(4), True)]),
]


@given(st.sampled_from(SAMPLES), st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 255)), min_size=1))
def test_mutated_crl_is_read_or_refused(data: bytes, flips: list[tuple[int, int]]) -> None:
    """Whatever becomes of the bytes, the outcome is a CRL or a refusal with a reason."""
    changed = bytearray(data)
    for at, by in flips:
        changed[at % len(data)] ^= by
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert outcome(bytes(changed)) in {"read", Reason.CRL_MALFORMED}


def test_critical_that_is_one_is_read_as_true() -> None:
    """A tolerated BOOLEAN, which the library alone does not read."""
    data = bytearray(SAMPLES[2])
    at = bytes(data).rindex(bytes.fromhex("0101ff")) + 2
    data[at] = 1
    assert outcome(bytes(data)) == "read"
    assert Crl(bytes(data)).base_number == 4


def outcome(data: bytes) -> str:
    """What reading the bytes comes to."""
    try:
        crl = Crl(data)
    except Refused as refusal:
        return refusal.reason
    # Tolerated encodings, such as a BOOLEAN of one, are no DER for the library itself.
    return "read" if len(crl.index) <= sum(1 for _ in load_crl(data)) else "more entries than there are"


def numbered(number: int | None, days: int) -> Crl:
    """A CRL of that number, issued so many days from now."""
    return Crl(CA.crl(number=number, this_update=NOW + timedelta(days=days)))


@pytest.mark.parametrize(
    ("new", "old", "newer"),
    [
        ((2, 0), (1, -1), True),
        ((2, 0), (2, -1), True),
        ((2, 0), (1, 0), True),
        ((None, 0), (1, -1), True),
        ((1, 0), (None, -1), True),
        ((1, 0), (2, -1), False),
        ((2, -1), (1, 0), False),
        ((1, 0), (1, 0), False),
        ((None, 0), (1, 0), False),
        ((1, 0), (None, 0), False),
        ((1, -1), (2, 0), False),
    ],
)
def test_supersedes_needs_number_and_date(
    new: tuple[int | None, int], old: tuple[int | None, int], newer: bool
) -> None:
    """Neither may go back and one must go on; where they disagree, neither CRL is the newer one."""
    assert numbered(*new).supersedes(numbered(*old)) is newer


def of_kind(number: int | None, days: int, base: int | None) -> Crl:
    """A CRL of that number, issued so many days from now; a delta if it has a base."""
    extensions: Extensions = [] if base is None else [(x509.DeltaCRLIndicator(base), True)]
    return Crl(CA.crl(number=number, this_update=NOW + timedelta(days=days), extensions=extensions))


@pytest.mark.parametrize(
    ("new", "old", "replaced"),
    [
        pytest.param((2, 0, None), (1, -1, None), True, id="a newer complete one"),
        pytest.param((1, 0, None), (2, -1, None), False, id="no order"),
        pytest.param((6, 0, 3), (5, -1, 3), True, id="a newer delta of the same base"),
        pytest.param((6, 0, 2), (5, -1, 3), True, id="a newer delta of an earlier base"),
        pytest.param((6, 0, 5), (5, -1, 3), False, id="a newer delta of a later base"),
        pytest.param((5, -1, 3), (6, 0, 3), False, id="an older delta"),
        pytest.param((5, 0, None), (5, 0, 3), True, id="a complete one issued with the delta"),
        pytest.param((6, 0, None), (5, -1, 3), True, id="a complete one behind the delta"),
        pytest.param((4, 0, None), (5, -1, 3), False, id="a complete one before the delta by number"),
        pytest.param((6, -2, None), (5, -1, 3), False, id="a complete one before the delta by date"),
        pytest.param((None, 0, None), (5, -1, 3), False, id="a complete one without a number"),
        pytest.param((6, 0, None), (None, -1, 3), False, id="a delta without a number"),
        pytest.param((5, 0, 3), (4, -1, None), False, id="a delta beside a complete one"),
    ],
)
def test_replaces_what_is_of_no_more_use(
    new: tuple[int | None, int, int | None], old: tuple[int | None, int, int | None], replaced: bool
) -> None:
    """Nothing is let go that still knows of a revocation."""
    assert of_kind(*new).replaces(of_kind(*old)) is replaced


def test_crl_says_what_it_takes() -> None:
    """In each process with every entry and its own bytes, and in the memory that processes share."""
    none, many = Crl(CA.crl()), Crl(CA.crl(*range(2**64, 2**64 + 100)))
    assert (none.shared, many.shared) == (len(none.der or b""), len(many.der or b""))
    assert many.memory - none.memory > 100 * 200 + many.shared - none.shared


def test_unusable_crl_supersedes_and_replaces_none() -> None:
    """And only a newer complete and usable CRL replaces it."""
    odd: Extensions = [(UNKNOWN, True)]
    delta: Extensions = [(x509.DeltaCRLIndicator(1), True)]
    old, new = of_kind(1, -1, None), Crl(CA.crl(number=2, this_update=NOW, extensions=odd))
    assert not new.supersedes(old)
    assert not new.replaces(old)
    assert not new.replaces(of_kind(2, -1, 1))
    last = NOW + timedelta(hours=1)
    assert Crl(CA.crl(number=3, this_update=last)).replaces(new)
    assert not Crl(CA.crl(number=3, this_update=last, extensions=delta)).replaces(new)
    assert not Crl(CA.crl(number=3, this_update=last, extensions=odd)).replaces(new)
    assert not old.replaces(new)


def test_crl_that_had_expired_when_it_came_is_marked() -> None:
    """What it cannot be used for by itself stays."""
    good, odd = Crl(CA.crl()), Crl(CA.crl(extensions=[(UNKNOWN, True)]))
    for crl in (good, odd):
        crl.mark_expired(when_it_came=True)
    assert (good.unusable, odd.unusable) == (EXPIRED_WHEN_IT_CAME, "critical extension 1.2.3.4")
    for crl in (good, odd):
        crl.mark_expired(when_it_came=False)
    assert (good.unusable, odd.unusable) == ("", "critical extension 1.2.3.4")


def test_expired_crl_puts_out_the_current_ones_that_it_would_replace() -> None:
    """Not those that have expired themselves, or that it does not replace."""
    now = NOW + timedelta(days=1)
    until = {"next_update": now - timedelta(hours=1)}
    new, stale = Crl(CA.crl(number=2, this_update=NOW, **until)), Crl(CA.crl(**until))
    assert puts_out(new, [stale, of_kind(1, -1, None)], now)
    assert not puts_out(new, [stale], now)
    assert not puts_out(new, [of_kind(3, 0, None)], now)
    assert not puts_out(of_kind(2, 0, None), [of_kind(1, -1, None)], now)
