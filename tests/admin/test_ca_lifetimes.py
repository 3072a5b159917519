"""When certificates below CAs verify, by the dates of CAs and CRLs."""

from __future__ import annotations

from datetime import datetime, timedelta

from cryptography import x509
from support.certificates import NOW, Authority, new_key

from authz.admin.ca_lifetimes import (
    NOTHING,
    Below,
    CaLifetimes,
    CrlEnd,
    by_digest,
    is_issuer,
    micros,
    reached,
    read_cas,
    read_name,
)
from authz.directory.end_columns import SECOND
from authz.pki import Certificate

DAY = timedelta(days=1)
ROOT, OTHER = Authority.root("Root"), Authority.root("Other")
CA = ROOT.intermediate("CA")


def parsed(*cas: Authority) -> list[Certificate]:
    """As they are read."""
    return [Certificate.parse(ca.der) for ca in cas]


def below(ca: Authority, *beside: Authority, anchor: bytes | None = None, above: bool = False) -> Below:
    """A certificate of that CA."""
    [certificate] = parsed(ca)
    digests = tuple(each.sha256 for each in beside)
    return Below(certificate.subject, certificate.subject_key_id, digests, anchor, above)


def lifetimes(
    anchors: list[Authority], known: list[Authority], *crls: CrlEnd, brought: tuple[Authority, ...] = ()
) -> CaLifetimes:
    """Of an organization that has those."""
    by_signer: dict[bytes, list[CrlEnd]] = {}
    for crl in crls:
        by_signer.setdefault(crl.signer, []).append(crl)
    return CaLifetimes(parsed(*anchors), parsed(*known), by_digest(parsed(*brought)), by_signer)


def crl(ca: Authority, end: datetime, *, leaves: bool = True, cas: bool = True) -> CrlEnd:
    """A CRL of that CA."""
    return CrlEnd(parsed(ca)[0].plain_spki_sha256, micros(end), leaves, cas)


def test_path_lasts_through_the_last_second_of_each_ca() -> None:
    """And begins with the last to begin."""
    late = ROOT.intermediate("Late", not_before=NOW + DAY, not_after=NOW + 2 * DAY)
    of = lifetimes([ROOT], [late])
    begin, end = (micros(moment) for moment in (NOW + DAY, NOW + 2 * DAY))
    moments = (begin - 1, begin, end + SECOND - 1, end + SECOND)
    assert [of.live(below(late), moment) for moment in moments] == [False, True, True, False]
    assert of.stops(below(late), end + SECOND, late.sha256)
    assert not of.stops(below(late), begin, late.sha256)


def test_cross_certificate_is_another_way_until_it_ends_as_well() -> None:
    """To the anchor that signed it, and to no other one."""
    root = Authority.root("Root", key=ROOT.key, not_before=NOW - DAY, not_after=NOW + DAY)
    cross = OTHER.intermediate("Root", key=ROOT.key, not_before=NOW - DAY, not_after=NOW + 3 * DAY)
    of = lifetimes([root, OTHER], [cross, CA])
    first, second = (micros(NOW + days * DAY) + SECOND for days in (1, 3))
    assert [of.live(below(CA), at) for at in (first, second)] == [True, False]
    assert not of.live(below(CA, anchor=root.sha256), first)
    assert (of.stops(below(CA), first, root.sha256), of.stops(below(CA), second, cross.sha256)) == (False, True)
    assert not of.needs(below(CA), second, cross.sha256)


def test_certificate_that_is_not_known_may_stand_below_any_ca_that_lasts() -> None:
    """Of one anchor, where it has one: as a name has."""
    root = Authority.root("Root", not_before=NOW - DAY, not_after=NOW + DAY)
    of, end = lifetimes([root, OTHER], []), micros(NOW + DAY) + SECOND
    places = [Below(None, None, anchor=anchor, anywhere=True) for anchor in (None, root.sha256, OTHER.sha256)]
    assert [of.live(place, end - 1) for place in places] == [True, True, True]
    assert [of.live(place, end) for place in places] == [True, False, True]
    assert [of.stops(place, end, root.sha256) for place in places] == [False, True, False]


def test_crl_counts_for_what_it_is_about() -> None:
    """Of a CA that has one at all; the last of several to end."""
    end, later = micros(NOW + DAY), micros(NOW + 2 * DAY)
    for leaves, cas, good in ((True, False, True), (False, True, False)):
        of = lifetimes([ROOT], [CA], crl(ROOT, NOW + DAY, leaves=leaves, cas=cas))
        assert (of.live(below(CA), end - 1), of.live(below(CA), end)) == (True, good)
    first, second = crl(CA, NOW + DAY), crl(CA, NOW + 2 * DAY)
    of = lifetimes([ROOT], [CA], first, second)
    assert (of.live(below(CA), end), of.live(below(CA), later)) == (True, False)
    assert (of.stops(below(CA), later, second), of.needs(below(CA), later, second)) == (True, False)


def test_ca_that_came_with_a_certificate_serves_that_one_alone() -> None:
    """Others are below a CA that is not known here."""
    of = lifetimes([ROOT], [], brought=(CA,))
    assert of.live(below(CA, CA), micros(NOW))
    assert not of.live(below(CA), micros(NOW), NOTHING)


def test_certificate_below_an_unknown_ca_depends_on_what_is_known_around_it() -> None:
    """The CA above it, and those between, with their CRLs."""
    issuing = CA.intermediate("Issuing", not_after=NOW + DAY)
    of = lifetimes([ROOT], [CA], crl(CA, NOW + 2 * DAY, leaves=False), brought=(issuing,))
    end, later = micros(NOW + DAY) + SECOND, micros(NOW + 2 * DAY)
    place = below(CA, issuing, above=True)
    assert (of.live(place, end - 1), of.live(place, end)) == (True, False)
    assert (of.live(below(CA, above=True), end), of.live(below(CA, above=True), later)) == (True, False)


def test_issuer_is_known_by_name_and_key() -> None:
    """Where both have an identifier of it; a name that cannot be read is no one's."""
    [ca] = parsed(CA)
    name = read_name(Certificate.parse(CA.leaf().der).issuer_der)
    assert is_issuer(ca, name, ca.subject_key_id)
    assert is_issuer(ca, name, None)
    assert not is_issuer(ca, name, b"other")
    assert not is_issuer(ca, read_name(b"\x30\x01"), None)


def test_chain_is_read_as_far_as_it_goes() -> None:
    """What is no certificate, or cannot be read, is left out; what no certificates stand in has none."""
    odd = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.19"), b"no constraints")
    unreadable = ROOT.intermediate("Odd", extensions=[(odd, False)], without=[x509.BasicConstraints])
    assert read_cas(unreadable.der + CA.der) == parsed(CA)
    assert read_cas(CA.der + b"\x30\x00" + ROOT.der) == parsed(CA, ROOT)
    assert read_cas(CA.der[:-1]) == []


def test_ca_of_the_same_name_and_another_key_is_not_below() -> None:
    """The signature decides."""
    forged = Authority.root("Root", key=new_key()).intermediate("CA", key=CA.key)
    assert reached(parsed(ROOT), parsed(forged)) == parsed(ROOT)
    assert reached(parsed(ROOT), parsed(CA)) == parsed(ROOT, CA)
