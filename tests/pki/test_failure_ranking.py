"""Which of two refusals is reported: the one that brings its reader furthest."""

from __future__ import annotations

import pytest

from authz.errors import Refused
from authz.pki.failure_ranking import MOST_SPECIFIC_FIRST, most_specific
from authz.reasons import Gate, Reason


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (Reason.CERTIFICATE_REVOKED, Reason.REVOCATION_UNKNOWN),
        (Reason.REVOCATION_UNKNOWN, Reason.CERTIFICATE_EXPIRED),
        (Reason.CERTIFICATE_EXPIRED, Reason.SIGNATURE_INVALID),
        (Reason.CERTIFICATE_EXPIRED, Reason.ISSUER_UNKNOWN),
        (Reason.SIGNATURE_INVALID, Reason.ISSUER_UNKNOWN),
        (Reason.CERTIFICATE_MALFORMED, Reason.SIGNATURE_INVALID),
        (Reason.BUDGET_EXCEEDED, Reason.CERTIFICATE_REVOKED),
        (Reason.ISSUER_UNKNOWN, Reason.HEADER_MALFORMED),
    ],
)
def test_more_useful_reason_is_reported(better: Reason, worse: Reason) -> None:
    """In whatever order they are met."""
    one, other = Refused(better), Refused(worse)
    assert most_specific(one, other) is one
    assert most_specific(other, one) is one


def test_first_refusal_is_the_most_useful_so_far() -> None:
    """There is nothing to compare it with."""
    one = Refused(Reason.ISSUER_UNKNOWN)
    assert most_specific(None, one) is one


def test_of_equal_reasons_the_longer_path_is_reported_then_the_first_met() -> None:
    """It came closer to an anchor."""
    short = Refused(Reason.CERTIFICATE_EXPIRED, path=(b"a", b"b"))
    long = Refused(Reason.CERTIFICATE_EXPIRED, path=(b"a", b"b", b"c"))
    same = Refused(Reason.CERTIFICATE_EXPIRED, path=(b"a", b"b", b"d"))
    assert most_specific(short, long) is long
    assert most_specific(long, short) is long
    assert most_specific(long, same) is long


def test_every_reason_of_a_path_has_its_rank() -> None:
    """Those beyond the table are raised before any path is looked for."""
    beyond = {
        Reason.TOO_MANY_CERTIFICATES,
        Reason.TRUST_ANCHORS_MISSING,
        Reason.TRUST_ANCHORS_UNUSABLE,
        Reason.CRL_MALFORMED,
    }
    told = {one for one in Reason if one.gate in {Gate.CERTIFICATE, Gate.REVOCATION}}
    assert told - beyond == set(MOST_SPECIFIC_FIRST)
    assert len(set(MOST_SPECIFIC_FIRST)) == len(MOST_SPECIFIC_FIRST)
