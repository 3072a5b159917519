"""What complete CRLs and their deltas say together."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from support.certificates import NOW, Authority, entry

from authz.pki.crl.crl import Crl
from authz.pki.revocation.crl_with_deltas import CrlSet, StatusAnswer, current
from authz.pki.x509.certificate import Certificate

CA = Authority.root("CA")
SERIAL = 0x77
LEAF = Certificate.parse(CA.leaf(serial=SERIAL).der)
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")

REVOKED = entry(SERIAL, reason=x509.ReasonFlags.key_compromise)
HELD = entry(SERIAL, reason=x509.ReasonFlags.certificate_hold)
REMOVED = entry(SERIAL, reason=x509.ReasonFlags.remove_from_crl)


def complete(
    *listed: x509.RevokedCertificate,
    number: int | None = 3,
    issued: float = -3,
    until: float = 3,
    unknown: bool = False,
) -> Crl:
    """A complete CRL; times in days from now."""
    return _crl(listed, number, issued, until, [(UNKNOWN, True)] if unknown else [])


def delta(
    *listed: x509.RevokedCertificate,
    number: int | None = 5,
    base: int = 3,
    issued: float = -1,
    until: float = 1,
    unknown: bool = False,
) -> Crl:
    """A delta CRL; times in days from now."""
    extensions: list[tuple[x509.ExtensionType, bool]] = [(x509.DeltaCRLIndicator(base), True)]
    return _crl(listed, number, issued, until, [*extensions, (UNKNOWN, True)] if unknown else extensions)


def _crl(
    listed: tuple[x509.RevokedCertificate, ...],
    number: int | None,
    issued: float,
    until: float,
    extensions: list[tuple[x509.ExtensionType, bool]],
) -> Crl:
    this_update, next_update = NOW + timedelta(days=issued), NOW + timedelta(days=until)
    data = CA.crl(*listed, number=number, this_update=this_update, next_update=next_update, extensions=extensions)
    return Crl(data)


def ask(*crls: Crl) -> StatusAnswer:
    """What the group says of the leaf now."""
    return CrlSet.of(crls).ask(LEAF, NOW)


def good(*crls: Crl) -> bool:
    """Whether the group proves the leaf good."""
    answer = ask(*crls)
    return answer.listed is None and not answer.problem


def revoked(*crls: Crl) -> bool:
    """Whether the group says now that the leaf is revoked."""
    answer = ask(*crls)
    return answer.listed is not None and not answer.stale


def test_complete_crl_without_the_certificate_proves_it_good() -> None:
    """A current CRL that does not list it is all it takes."""
    crl = complete(entry(SERIAL + 1))
    assert ask(crl) == StatusAnswer((crl,), None, stale=False, problem="")


def test_complete_crl_with_the_certificate_revokes_it() -> None:
    """The entry is reported with the CRL it is in."""
    crl = complete(REVOKED)
    listed = ask(crl).listed
    assert listed is not None
    assert (listed[0], listed[1].reason) == (crl, 1)


def test_removal_in_a_complete_crl_is_a_listing() -> None:
    """RemoveFromCRL has its meaning in delta CRLs only (RFC 5280 section 5.3.1)."""
    assert revoked(complete(REMOVED))


def test_older_crl_never_answers_for_a_newer_one() -> None:
    """An older CRL without the certificate changes nothing, in whichever order they come."""
    old, new = complete(number=2, issued=-4), complete(REVOKED)
    assert revoked(old, new)
    assert revoked(new, old)


def test_newer_crl_that_no_longer_lists_proves_good() -> None:
    """A hold that was lifted is gone from the newer CRL."""
    assert good(complete(HELD, number=2, issued=-4), complete())


def test_newer_crl_that_expired_is_not_replaced_by_an_older_one() -> None:
    """Though the older one runs longer, what it says is out of date."""
    assert ask(complete(number=2, issued=-5, until=9), complete(until=-1)).problem


@pytest.mark.parametrize("newest", [0, 1])
def test_number_and_date_that_disagree_need_all_to_agree(newest: int) -> None:
    """Where the order is unclear, one CRL that lists the certificate is enough."""
    crls = [complete(number=4, issued=-5), complete(number=3, issued=-3)]
    assert good(*crls)
    crls[newest] = complete(REVOKED, number=crls[newest].number, issued=-5 + 2 * newest)
    assert revoked(*crls)


def test_number_and_date_that_disagree_need_all_to_be_current() -> None:
    """Where the order is unclear, one that expired leaves the answer open."""
    assert ask(complete(number=4, issued=-5, until=-1), complete(number=3, issued=-3)).problem


def test_expired_crl_that_lists_says_what_was_known_last() -> None:
    """Its entry is reported, but not as what is known now."""
    answer = ask(complete(REVOKED, until=-1))
    assert (answer.listed is not None, answer.stale, bool(answer.problem)) == (True, True, True)


def test_current_listing_is_not_hidden_by_an_expired_one() -> None:
    """Of two that disagree about their order, the current one's entry counts as current."""
    assert revoked(complete(REVOKED, number=4, issued=-5, until=-1), complete(REVOKED, number=3, issued=-3))


def test_next_update_is_the_last_moment() -> None:
    """A CRL is current up to and including its nextUpdate."""
    assert good(complete(until=0))
    assert not good(complete(until=-1 / 86400))


def test_missing_next_update_proves_nothing() -> None:
    """Without nextUpdate it is unknown how long the CRL holds (RFC 5280 section 5.1.2.5 requires it)."""
    crl = complete()
    crl.next_update = None
    assert ask(crl).problem


def test_unknown_critical_extension_proves_nothing_and_still_lists() -> None:
    """Such a CRL cannot say "good", and its entries count."""
    assert not good(complete(unknown=True))
    assert revoked(complete(REVOKED, unknown=True))


def test_delta_that_lists_revokes() -> None:
    """What was revoked since the base counts."""
    assert revoked(complete(), delta(REVOKED))


def test_delta_that_lists_no_certificate_leaves_the_certificate_good() -> None:
    """Both CRLs are named as asked."""
    crls = (complete(), delta())
    assert ask(*crls) == StatusAnswer(crls, None, stale=False, problem="")


def test_delta_lifts_a_hold() -> None:
    """RemoveFromCRL takes the certificate off the complete CRL."""
    assert good(complete(HELD), delta(REMOVED))


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(delta(REMOVED, base=4), id="starts behind the complete CRL"),
        pytest.param(delta(REMOVED, number=3, base=2), id="ends with the complete CRL"),
        pytest.param(delta(REMOVED, number=2, base=1), id="ends before the complete CRL"),
        pytest.param(delta(REMOVED, number=None), id="has no number"),
        pytest.param(delta(REMOVED, until=-0.5), id="expired"),
        pytest.param(delta(REMOVED, issued=-4), id="is dated before the complete CRL"),
    ],
)
def test_removal_that_does_not_combine_counts_for_nothing(other: Crl) -> None:
    """Only a delta that may be combined with the complete CRL lifts a hold (RFC 5280 section 5.2.4)."""
    assert revoked(complete(HELD), other)


def test_removal_with_an_unnumbered_complete_crl_counts_for_nothing() -> None:
    """Without a number, nothing says that the delta starts early enough."""
    assert revoked(complete(HELD, number=None), delta(REMOVED))


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(delta(REVOKED, base=4), id="starts behind the complete CRL"),
        pytest.param(delta(REVOKED, number=None), id="has no number"),
        pytest.param(delta(REVOKED, until=-0.5), id="expired"),
        pytest.param(delta(REVOKED, issued=-4), id="newer by its number only"),
        pytest.param(delta(REVOKED, number=2, base=1), id="newer by its date only"),
    ],
)
def test_listing_that_does_not_combine_counts_all_the_same(other: Crl) -> None:
    """A delta that is newer in any way is heard when it lists somebody."""
    assert revoked(complete(), other)


def test_delta_older_than_the_complete_crl_is_not_heard() -> None:
    """A hold that both knew, and the newer complete CRL lifted, is lifted."""
    assert good(complete(), delta(HELD, number=2, base=1, issued=-5))


def test_newer_delta_supersedes_an_older_one() -> None:
    """The newest delta that combines knows everything since its base."""
    older, newer = delta(HELD, number=4, issued=-2), delta(REMOVED, number=5)
    assert good(complete(HELD), older, newer)
    assert revoked(complete(HELD), delta(REMOVED, number=4, issued=-2), delta(HELD, number=5))


def test_newer_delta_of_a_later_base_does_not_silence_an_older_one() -> None:
    """What was revoked between the two bases stands in the older delta only."""
    assert revoked(complete(), delta(REVOKED, number=4, issued=-2), delta(number=6, base=5))


def test_newer_delta_of_a_later_base_revokes_again() -> None:
    """A hold lifted by one delta and set again by the next is set."""
    assert revoked(complete(HELD), delta(REMOVED, number=4, issued=-2), delta(HELD, number=6, base=5))


def test_deltas_that_disagree_about_their_order_count_when_they_list() -> None:
    """Of a listing and a removal without an order, the listing counts."""
    assert revoked(complete(HELD), delta(REMOVED, number=5, issued=-2), delta(HELD, number=4, issued=-1))


def test_deltas_that_disagree_about_their_order_must_all_remove() -> None:
    """To one of the two nothing has changed since the complete CRL, which lists the leaf."""
    removes, silent = delta(REMOVED, number=6, issued=-2), delta(number=5, issued=-1)
    assert revoked(complete(HELD), removes, silent)
    assert revoked(complete(HELD), silent, removes)
    assert good(complete(HELD), removes, delta(REMOVED, number=5, issued=-1))


def test_delta_does_not_revive_an_expired_complete_crl() -> None:
    """The base itself must be current."""
    assert ask(complete(until=-1), delta()).problem


def test_delta_that_lists_counts_though_its_base_expired() -> None:
    """The delta is current, and says so now."""
    assert revoked(complete(until=-1), delta(REVOKED))


def test_listing_in_expired_crls_alone_is_what_was_known_last() -> None:
    """With delta and base expired, nothing is known now."""
    assert ask(complete(until=-1), delta(REVOKED, until=-0.5)).stale


def test_unusable_crl_is_no_successor() -> None:
    """The complete CRL before it goes on proving the others good."""
    assert good(complete(), complete(number=4, issued=-2, unknown=True))
    assert good(complete(), delta(unknown=True))


@pytest.mark.parametrize("more", [{}, {"until": -1}])
def test_unusable_crl_is_evidence(more: dict[str, float]) -> None:
    """What it lists is revoked, though it has expired, and whatever older CRL does not list it."""
    evidence = complete(REVOKED, number=5, issued=-2, unknown=True, **more)
    assert revoked(complete(), evidence)
    assert revoked(complete(number=4, issued=-2.5), evidence)
    assert revoked(complete(), delta(REVOKED, unknown=True, **more))


def test_evidence_ends_with_a_newer_complete_and_usable_crl() -> None:
    """Neither a delta nor another unusable CRL takes it back, and no removal in one that is unusable."""
    evidence = complete(HELD, number=4, issued=-2, unknown=True)
    assert good(complete(), evidence, complete(number=5, issued=-1))
    assert revoked(complete(), evidence, delta(REMOVED, number=5))
    assert revoked(complete(), evidence, complete(number=5, issued=-1, unknown=True))
    assert revoked(complete(HELD), delta(REMOVED, unknown=True))
    assert good(complete(), delta(REMOVED, unknown=True))


def test_evidence_that_disagrees_about_its_order_counts() -> None:
    """Newer by its number alone, or by its date alone, it is not superseded."""
    assert revoked(complete(), complete(REVOKED, number=4, issued=-4, unknown=True))
    assert revoked(complete(), complete(REVOKED, number=2, issued=-2, unknown=True))


def test_evidence_without_a_usable_complete_crl_leaves_the_answer_open() -> None:
    """And is among the CRLs asked, so that soft-fail does not take it for missing."""
    evidence = complete(unknown=True)
    assert evidence in ask(evidence).crls
    assert "critical extension" in ask(evidence, delta()).problem
    assert evidence in ask(complete(number=2, issued=-5, until=-1), evidence).crls


@pytest.mark.parametrize("crls", [[], [delta()]])
def test_group_without_a_complete_crl_proves_nothing(crls: list[Crl]) -> None:
    """Silence is no answer, and neither is a delta alone."""
    assert ask(*crls).problem


def test_delta_without_a_complete_crl_still_lists() -> None:
    """Whom it lists is revoked, and a removal says nothing."""
    assert revoked(delta(REVOKED))
    assert revoked(delta(REVOKED, base=5, number=6), delta(number=7, base=7, issued=-2))
    assert not revoked(delta(REMOVED))
    assert ask(delta(REVOKED, until=-0.5)).stale


def test_current_leaves_out_what_is_superseded() -> None:
    """Only the newest of an order remains."""
    crls = [Crl(CA.crl(number=n, this_update=NOW - timedelta(days=9 - n))) for n in (2, 3, 1)]
    assert current(crls) == [crls[1]]


def test_current_keeps_both_where_number_and_date_disagree() -> None:
    """Without an order, none is left out."""
    crls = [Crl(CA.crl(number=n, this_update=NOW - timedelta(days=n))) for n in (1, 2)]
    assert current(crls) == crls
