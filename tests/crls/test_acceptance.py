"""Which CRL may take the place of which."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from support.certificates import NOW, Authority

from authz.crls.acceptance import MAX_DELTAS, SignedCrl, accept
from authz.crls.failures import FailureKind, FetchFailed
from authz.pki import Certificate, Crl
from authz.pki.crl.crl import MAX_EVIDENCE

CA = Authority.root("CA")
SIGNER = Certificate.parse(CA.der).spki_sha256
UNREADABLE = [(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)]


def held(
    number: int | None, hours: float, *, base: int | None = None, signer: bytes = SIGNER, **more: object
) -> SignedCrl:
    """A CRL of that number, issued so many hours ago; a delta if it has a base."""
    extensions = [*more.pop("extensions", ())]  # type: ignore[misc]
    if base is not None:
        extensions.append((x509.DeltaCRLIndicator(base), True))
    made = CA.crl(number=number, this_update=NOW - timedelta(hours=hours), extensions=extensions, **more)  # type: ignore[arg-type]
    return SignedCrl(Crl(made), signer)


def refused(new: SignedCrl, *old: SignedCrl) -> FailureKind:
    """Why `new` is not accepted."""
    with pytest.raises(FetchFailed) as caught:
        accept(new, old, NOW)
    assert "CN=CA" in caught.value.detail
    return caught.value.kind


def test_first_crl_replaces_nothing() -> None:
    """There is nothing to go back against."""
    assert accept(held(1, 5), [], NOW) == []


def test_newer_crl_replaces_the_one_held() -> None:
    """Newer by number and date, or by date alone where one has no number."""
    old = held(1, 5)
    assert accept(held(2, 4), [old], NOW) == [old]
    assert accept(held(None, 4), [old], NOW) == [old]


def test_crl_that_is_held_already_replaces_itself() -> None:
    """Fetched again it changes nothing, even when its time has not come or it could not be accepted anew."""
    old = held(1, 5)
    assert accept(SignedCrl(old.crl, SIGNER), [old], NOW) == [old]


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (held(1, 6), FailureKind.OLDER),
        (held(3, 6), FailureKind.DISAGREES),
        (held(1, 4), FailureKind.DISAGREES),
        (held(None, 6), FailureKind.OLDER),
        (held(2, 5, next_update=NOW + timedelta(days=9)), FailureKind.DISAGREES),
        (held(3, -1), FailureKind.NOT_YET),
        (held(1, 4, extensions=UNREADABLE), FailureKind.DISAGREES),
    ],
)
def test_crl_that_goes_back_is_refused(new: SignedCrl, expected: FailureKind) -> None:
    """In number, in date, or in one of the two; also one that can prove no certificate good."""
    assert refused(new, held(2, 5)) == expected


@pytest.mark.parametrize(
    ("new", "gone"),
    [
        (held(1, 4), "all"),
        (held(1, 6), None),
        (held(1, 5), None),
        (held(1, 4, base=1), None),
        (held(1, 4, extensions=UNREADABLE), None),
        (held(1, 4, next_update=NOW - timedelta(hours=1)), None),
        (held(7, 6), None),
    ],
    ids=["later", "earlier", "of the same date", "a delta", "unusable", "expired", "higher but earlier"],
)
def test_ca_that_counts_anew_begins_with_a_current_complete_crl_of_later_date(new: SignedCrl, gone: str | None) -> None:
    """All that was held goes, deltas and evidence too; nothing from before can pass for it."""
    old = [held(5, 5), held(6, 4.5, base=5), held(4, 5, extensions=UNREADABLE)]
    if gone is None:
        with pytest.raises(FetchFailed):
            accept(new, old[:2], NOW, old)
        return
    assert accept(new, old, NOW, old) == old


def test_numbers_count_of_what_is_not_said_to_be_of_the_count_before() -> None:
    """One that an operator added, or that began since."""
    old = held(5, 5)
    with pytest.raises(FetchFailed) as caught:
        accept(held(1, 4), [old, held(6, 4.5)], NOW, [old])
    assert caught.value.kind is FailureKind.DISAGREES
    assert accept(held(6, 4), [old], NOW, [old]) == [old]


OVER = {"next_update": NOW - timedelta(hours=1)}


@pytest.mark.parametrize("more", [{"extensions": UNREADABLE}, OVER])
def test_crl_that_proves_no_certificate_good_replaces_none(more: dict[str, object]) -> None:
    """With an unknown critical extension, or expired, it is evidence beside the good one."""
    new = held(3, 4, **more)
    assert accept(new, [held(2, 5)], NOW) == []
    assert new.crl.unusable


def test_expired_crl_replaces_one_that_has_expired_too() -> None:
    """And takes an empty place: nothing becomes worse by it."""
    old, new = held(2, 5, **OVER), held(3, 4, **OVER)
    assert (accept(new, [old], NOW), accept(held(3, 4, **OVER), [], NOW), new.crl.unusable) == ([old], [], "")


def test_evidence_that_comes_again_stays_evidence() -> None:
    """Though it is read anew, and though the one that it was compared with has gone."""
    new = held(3, 4, **OVER)
    accept(new, [held(2, 5)], NOW)
    again = SignedCrl(Crl(new.crl.der or b""), SIGNER)
    assert (accept(again, [new], NOW), again.crl.unusable) == ([new], new.crl.unusable)


def test_newer_complete_crl_replaces_the_evidence_before_it() -> None:
    """One that is older than the evidence takes the other's place, and leaves the evidence."""
    old, evidence = held(2, 5), held(5, 3, extensions=UNREADABLE)
    assert accept(held(6, 2), [old, evidence], NOW) == [old, evidence]
    assert accept(held(3, 4), [old, evidence], NOW) == [old]
    assert accept(held(6, 2, base=2), [old, evidence], NOW) == []


def test_evidence_is_bounded() -> None:
    """The oldest goes first."""
    evidence = [held(9, 40 - number, extensions=UNREADABLE) for number in range(MAX_EVIDENCE)]
    assert accept(held(9, 1, extensions=UNREADABLE), evidence, NOW) == evidence[:1]
    assert accept(held(9, 1, extensions=UNREADABLE), evidence[1:], NOW) == []


def test_crl_of_another_key_or_scope_is_another() -> None:
    """It neither goes back nor replaces."""
    point = x509.IssuingDistributionPoint(
        [x509.UniformResourceIdentifier("http://crl.example.test/1")], None, False, False, None, False, False
    )
    assert accept(held(1, 9), [held(2, 5, signer=b"another")], NOW) == []
    assert accept(held(1, 9, extensions=[(point, True)]), [held(2, 5)], NOW) == []


def test_delta_leaves_the_complete_crl() -> None:
    """And replaces the older delta that starts no earlier."""
    complete, older, wider = held(1, 5), held(2, 4, base=1), held(3, 3, base=0)
    assert accept(held(3, 3, base=1), [complete, older], NOW) == [older]
    assert accept(held(4, 2, base=1), [complete, wider], NOW) == []


def test_complete_crl_replaces_the_deltas_that_end_with_it() -> None:
    """A delta that goes on further stays."""
    old, ended, further = held(1, 5), held(2, 4, base=1), held(4, 2, base=1)
    assert accept(held(3, 3), [old, ended, further], NOW) == [old, ended]


def test_deltas_that_nothing_replaces_are_bounded() -> None:
    """Each with a later base: what was revoked between two bases stands in the earlier one alone."""
    deltas = [held(number + 1, 40 - number, base=number) for number in range(MAX_DELTAS)]
    assert refused(held(99, 1, base=98), *deltas) == FailureKind.TOO_MANY
    assert len(accept(held(99, 1, base=0), deltas, NOW)) == MAX_DELTAS
