"""What a search may climb on: presented certificates and known ones, by name, within the budget."""

from __future__ import annotations

import pytest
from support.certificates import Authority
from support.outcomes import parsed
from support.raw_der import handmade, raw_name

from authz.errors import Refused
from authz.pki.budget import Budget
from authz.pki.path.candidates import CandidateIssuers
from authz.pki.path.trust_store import TrustStore
from authz.pki.x509.certificate import Certificate
from authz.pki.x509.distinguished_name import Name
from authz.reasons import Reason

ROOT = Authority.root("Root")
CA, TWIN = ROOT.intermediate("CA"), ROOT.intermediate("CA")
(LEAF,) = parsed(CA.leaf())
NAME = Name(CA.certificate.subject)


def pool(*presented: Certificate, known: Authority | None = None, budget: Budget | None = None) -> CandidateIssuers:
    """A pool below the root."""
    trust = TrustStore(parsed(ROOT), parsed(known) if known else ())
    return CandidateIssuers(presented, LEAF, trust, budget or Budget())


def test_known_certificates_come_before_presented_ones() -> None:
    """Of one name both are found; of another none."""
    (ca,), (twin,) = parsed(CA), parsed(TWIN)
    assert pool(ca).certificates(NAME) == [ca]
    assert pool(known=TWIN).certificates(NAME) == [twin]
    assert pool(ca, known=TWIN).certificates(NAME) == [twin, ca]
    assert pool(ca).certificates(LEAF.subject) == []


def test_anchor_is_distinguished() -> None:
    """It ends a path."""
    (root,) = parsed(ROOT)
    ((found, anchor),) = pool().named(root.subject)
    assert (found, anchor is not None) == (root, True)


def test_copies_the_leaf_and_what_is_known_do_not_count() -> None:
    """Neither in number nor in octets."""
    (ca,) = parsed(CA)
    found = pool(ca, ca, LEAF, *parsed(TWIN, ROOT), known=TWIN, budget=Budget(certificates=1))
    assert (found.taken, found.octets) == (1, len(ca.der))
    with pytest.raises(Refused) as caught:
        pool(ca, *parsed(TWIN), budget=Budget(certificates=1))
    assert caught.value.reason is Reason.TOO_MANY_CERTIFICATES


def test_weight_of_all_is_bounded_before_a_name_is_read() -> None:
    """The leaf and what is known do not count."""
    presented = parsed(CA, TWIN)
    weight = sum(one.weight for one in presented)
    found = pool(*presented, LEAF, *parsed(ROOT), budget=Budget(reading=weight))
    assert found.weight == weight
    again = parsed(CA, TWIN)
    with pytest.raises(Refused) as caught:
        pool(*again, budget=Budget(reading=weight - 1))
    assert caught.value.reason is Reason.BUDGET_EXCEEDED
    assert ["subject" in vars(one) for one in again] == [True, False]


def test_stranger_that_cannot_be_read_is_kept_to_be_reported() -> None:
    """The first of them."""
    odd = [
        Certificate.parse(handmade(CA.key, issuer=raw_name(b"x"), subject=raw_name(text)))  # type: ignore[arg-type]
        for text in (b"\xe9", b"\xe8")
    ]
    found = pool(*odd, *parsed(CA))
    assert found.unreadable is not None
    assert found.unreadable.certificate == odd[0].der
    assert len(found.certificates(NAME)) == 1
