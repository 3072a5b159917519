"""What an operator lets pass where revocation is unknown, and what it never does."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from support.revocation_world import CA, EXPIRED, GOOD, LEAF, REVOKED, ROOT, UNKNOWN, Extensions, check, prove

from authz.pki import HARD_FAIL, Certificate, Exemption, RevocationMode, ValidationPolicy
from authz.pki.x509.algorithms import AlgorithmRules

DAY, SHORT, LONG = timedelta(days=1), timedelta(hours=23), timedelta(hours=25)
GRACE, SOFT = RevocationMode(grace=LONG), RevocationMode(soft=True)
UNREADABLE: Extensions = [(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)]


def exempted(crls: list[bytes], mode: RevocationMode) -> list[Exemption | None]:
    """What leaf and CA needed to pass."""
    return [one.exemption for one in prove(LEAF, crls, mode_of=lambda _: mode).revocation]


def judged(crls: list[bytes], mode: RevocationMode) -> str:
    """The reason that was reported, or "good"."""
    return check(LEAF, crls, mode_of=lambda _: mode)


def test_nothing_passes_by_default() -> None:
    """Neither without mode nor with the hard one."""
    crls = [ROOT.crl(), CA.crl(**EXPIRED)]
    assert check(LEAF, crls) == judged(crls, HARD_FAIL) == UNKNOWN


@pytest.mark.parametrize(("grace", "expected"), [(SHORT, UNKNOWN), (DAY, GOOD), (LONG, GOOD)])
def test_expired_crl_counts_for_as_long_as_the_grace(grace: timedelta, expected: str) -> None:
    """One that expired a day ago; the last moment belongs to the time, as with nextUpdate itself."""
    assert judged([ROOT.crl(), CA.crl(**EXPIRED)], RevocationMode(grace=grace)) == expected


def test_grace_is_reported_for_those_who_needed_it() -> None:
    """And not of a certificate whose CRL is current."""
    assert exempted([ROOT.crl(), CA.crl(**EXPIRED)], GRACE) == [Exemption.GRACE, None]
    assert exempted([ROOT.crl(), CA.crl()], GRACE) == [None, None]


def test_path_tells_what_was_let_pass() -> None:
    """The first of it; a path that needed nothing tells nothing."""
    late = prove(LEAF, [ROOT.crl(), CA.crl(**EXPIRED)], mode_of=lambda _: GRACE)
    assert late.exemption is Exemption.GRACE
    assert prove(LEAF, [ROOT.crl(), CA.crl()], mode_of=lambda _: GRACE).exemption is None


@pytest.mark.parametrize("crls", [[ROOT.crl()], [], [ROOT.crl(), CA.crl(**EXPIRED)]])
def test_missing_or_stale_crl_passes_softly(crls: list[bytes]) -> None:
    """And it is reported."""
    assert exempted(crls, SOFT)[0] is Exemption.SOFT_FAIL


@pytest.mark.parametrize("mode", [GRACE, SOFT, RevocationMode(LONG, soft=True)])
def test_listed_certificate_never_passes(mode: RevocationMode) -> None:
    """By a current CRL or by one that has expired, of the leaf or of its CA."""
    serial = LEAF.certificate.serial_number
    for crls in (
        [ROOT.crl(), CA.crl(serial)],
        [ROOT.crl(), CA.crl(serial, **EXPIRED)],
        [CA.crl(serial)],
        [ROOT.crl(CA.certificate.serial_number), CA.crl()],
    ):
        assert judged(crls, mode) == REVOKED


def test_certificate_with_no_rev_avail_needs_what_another_needs() -> None:
    """RFC 9608 is not followed: neither does the extension let it pass, nor does it pass by it what lists it."""
    said = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.56"), b"\x05\x00")
    leaf = CA.leaf("short", extensions=[(said, False)])
    assert check(leaf, [ROOT.crl()]) == UNKNOWN
    assert check(leaf, [ROOT.crl(), CA.crl()]) == GOOD
    assert check(leaf, [ROOT.crl(), CA.crl(leaf)]) == REVOKED
    assert check(leaf, [ROOT.crl()], mode_of=lambda _: SOFT) == GOOD
    assert check(leaf, [ROOT.crl(), CA.crl(leaf)], mode_of=lambda _: SOFT) == REVOKED


@pytest.mark.parametrize("mode", [GRACE, SOFT])
def test_crl_that_cannot_be_used_is_no_missing_one(mode: RevocationMode) -> None:
    """With a critical extension that is unknown it speaks, and says what cannot be understood."""
    assert judged([ROOT.crl(), CA.crl(extensions=UNREADABLE)], mode) == UNKNOWN


def test_crl_with_an_algorithm_the_policy_refuses_is_no_missing_one() -> None:
    """Certificates here are signed with what the policy accepts, CRLs are not."""
    policy = ValidationPolicy(algorithms=AlgorithmRules(signatures=frozenset({"1.2.840.10045.4.3.2"})))
    crls = [one.crl(digest=hashes.SHA384()) for one in (ROOT, CA)]
    assert check(LEAF, crls, policy=policy, mode_of=lambda _: SOFT) == UNKNOWN


def test_soft_fail_is_for_its_issuer_alone() -> None:
    """The CA's own CRL, which the root issues, stays demanded."""
    softened = {Certificate.parse(CA.der).subject: SOFT}

    def mode_of(one: Certificate) -> RevocationMode:
        return softened.get(one.issuer, HARD_FAIL)

    assert check(LEAF, [ROOT.crl()], mode_of=mode_of) == GOOD
    assert check(LEAF, [CA.crl()], mode_of=mode_of) == UNKNOWN
