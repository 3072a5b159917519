"""CRLs that are added: signed by a known key, and never older than the one they replace."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa
from cryptography.x509 import DeltaCRLIndicator, ObjectIdentifier, UnrecognizedExtension
from support.certificates import NOW, Authority, Minted, new_key, usage
from support.other_keys import other_key
from support.raw_der import crl_with_sha1
from support.tampered import compressed_point, reissued, sha1_signed, with_key

from authz.directory import CrlStatusTables, Store
from authz.directory.schema import crls
from authz.errors import Problem, StoreError
from authz.model import FetchedCrl
from authz.pki import Certificate, Crl
from authz.pki.crl.crl import MAX_EVIDENCE
from authz.pki.x509.algorithms import verify_signature

ROOT = Authority.root()
CA = ROOT.intermediate()
ALICE = CA.leaf("alice")
NO_CRL_SIGN = Authority.root("Silent", extensions=[(usage("key_cert_sign"), True)])
DAY = timedelta(days=1)


def parsed(minted: Minted) -> Certificate:
    """A minted certificate, read."""
    return Certificate.parse(minted.der)


def test_crl_of_an_unknown_ca_is_refused(store: Store) -> None:
    """A CRL is kept only if a known key signed it."""
    with pytest.raises(StoreError) as caught:
        store.add_crl(Crl(ROOT.crl()), NOW)
    assert caught.value.kind is Problem.CRL_SIGNER_UNKNOWN


def test_crl_of_the_same_name_and_another_key_is_refused(store: Store) -> None:
    """The name alone says nothing."""
    store.add_anchors("acme", [parsed(ROOT)])
    with pytest.raises(StoreError):
        store.add_crl(Crl(Authority.root().crl()), NOW)


def test_crl_with_a_weak_algorithm_takes_no_place(store: Store) -> None:
    """One with SHA-1 replaces none that is good, and a CA with a small RSA key signs none."""
    weak = Authority.root("Weak", key=new_key("rsa1024"))
    store.add_anchors("acme", [parsed(ROOT), parsed(weak)])
    good = store.add_crl(Crl(ROOT.crl(number=1)), NOW)
    for data in (sha1_signed(ROOT.crl(number=2, this_update=NOW), ROOT), weak.crl()):
        with pytest.raises(StoreError):
            store.add_crl(Crl(data), NOW)
    assert [held.crl.sha256 for held in store.crls()] == [good.crl.sha256]


def test_crl_newer_replaces_the_one_held(store: Store) -> None:
    """And an older, or the same, is refused."""
    store.add_anchors("acme", [parsed(ROOT)])
    first, second = Crl(ROOT.crl(number=1)), Crl(ROOT.crl(number=2, this_update=NOW))
    store.add_crl(first, NOW)
    store.add_crl(second, NOW)
    for old in (first, second):
        with pytest.raises(StoreError):
            store.add_crl(old, NOW)
    assert [one.crl.number for one in store.crls()] == [2]


def test_crl_whose_number_and_date_disagree_is_refused(store: Store) -> None:
    """Neither may go back."""
    store.add_anchors("acme", [parsed(ROOT)])
    store.add_crl(Crl(ROOT.crl(number=5)), NOW)
    with pytest.raises(StoreError):
        store.add_crl(Crl(ROOT.crl(number=4, this_update=NOW)), NOW)
    with pytest.raises(StoreError):
        store.add_crl(Crl(ROOT.crl(number=6, this_update=NOW - 3 * DAY)), NOW)


def test_crl_from_the_future_is_refused(store: Store) -> None:
    """It would say nothing yet, in place of the one that does."""
    store.add_anchors("acme", [parsed(ROOT)])
    store.add_crl(Crl(ROOT.crl()), NOW)
    with pytest.raises(StoreError):
        store.add_crl(Crl(ROOT.crl(number=2, this_update=NOW + DAY)), NOW)
    assert [one.crl.number for one in store.crls()] == [1]


def test_crl_delta_of_a_later_base_leaves_the_older_one(store: Store) -> None:
    """What was revoked between the two bases stands in the older delta alone, until a complete CRL ends behind it."""
    store.add_anchors("acme", [parsed(ROOT)])
    days = (NOW - 3 * DAY, NOW - 2 * DAY, NOW - DAY)
    deltas = [(5, [(DeltaCRLIndicator(3), True)]), (6, [(DeltaCRLIndicator(5), True)])]
    for this_update, (number, extensions) in zip(days, [(3, []), *deltas], strict=True):
        store.add_crl(Crl(ROOT.crl(number=number, this_update=this_update, extensions=extensions)), NOW)
    assert [one.crl.number for one in store.crls()] == [3, 5, 6]
    store.add_crl(Crl(ROOT.crl(number=7, this_update=NOW)), NOW)
    assert [one.crl.number for one in store.crls()] == [7]


def test_crl_of_a_ca_known_from_a_registration_is_kept(store: Store) -> None:
    """Stored chains count as known CAs."""
    store.register("acme", "alice", parsed(ALICE), [parsed(CA)], now=NOW)
    store.add_crl(Crl(CA.crl()), NOW)
    assert len(store.crl_store()) == 1


UNREADABLE = [(UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)]


def test_crl_that_proves_no_certificate_good_replaces_none(store: Store) -> None:
    """It stands beside the good one as evidence, which a newer good one replaces with it."""
    store.add_anchors("acme", [parsed(ROOT)])
    good, newer = Crl(ROOT.crl(number=1)), Crl(ROOT.crl(number=3, this_update=NOW))
    evidence = Crl(ROOT.crl(5, number=2, this_update=NOW - timedelta(hours=2), extensions=UNREADABLE))
    for crl in (evidence, good):
        store.add_crl(crl, NOW)
    assert [stored.crl.sha256 for stored in store.crls()] == [evidence.sha256, good.sha256]
    with pytest.raises(StoreError, match="held already"):
        store.add_crl(evidence, NOW)
    store.add_crl(newer, NOW)
    assert [stored.crl.sha256 for stored in store.crls()] == [newer.sha256]
    with pytest.raises(StoreError, match="not newer"):
        store.add_crl(evidence, NOW)


def test_crls_that_are_evidence_alone_are_bounded(store: Store) -> None:
    """The oldest goes first."""
    store.add_anchors("acme", [parsed(ROOT)])
    for number in range(MAX_EVIDENCE + 2):
        store.add_crl(Crl(ROOT.crl(number=number, extensions=UNREADABLE)), NOW)
    assert [stored.crl.number for stored in store.crls()] == list(range(2, MAX_EVIDENCE + 2))


def test_expired_crl_replaces_a_current_one_only_if_that_is_wanted(store: Store) -> None:
    """Every certificate of its CA would be refused."""
    store.add_anchors("acme", [parsed(ROOT)])
    expired = Crl(ROOT.crl(number=2, this_update=NOW - DAY / 2, next_update=NOW - DAY / 4))
    store.add_crl(Crl(ROOT.crl()), NOW)
    with pytest.raises(StoreError, match="has expired") as caught:
        store.add_crl(expired, NOW)
    assert caught.value.kind is Problem.CRL_EXPIRED
    assert [stored.crl.number for stored in store.crls()] == [1]
    store.add_crl(expired, NOW, anyway=True)
    assert [(stored.crl.number, stored.crl.unusable) for stored in store.crls()] == [(2, "")]


async def test_expired_crl_answers_for_a_fetched_one_only_if_that_is_wanted(url: str, store: Store) -> None:
    """Checks look at both; one that was fetched of another key, or later, or has expired too, is not put out."""
    store.add_anchors("acme", [parsed(ROOT)])
    expired = Crl(ROOT.crl(number=2, this_update=NOW - DAY / 2, next_update=NOW - DAY / 4))
    fetched = FetchedCrl(
        "a" * 64, "u", b"1", parsed(ROOT).spki_sha256, "CN=Root", "1", False, 0, NOW - DAY, NOW + DAY, NOW
    )
    ledger = CrlStatusTables(url, warn=print)
    await ledger.write([], [fetched])
    with pytest.raises(StoreError, match="has expired") as caught:
        store.add_crl(expired, NOW)
    assert caught.value.kind is Problem.CRL_EXPIRED
    store.add_crl(expired, NOW, anyway=True)
    for other in ({"signer": b"k"}, {"issuer": "CN=Other"}, {"this_update": NOW}, {"next_update": NOW - DAY / 4}):
        store.remove_crl(expired.sha256)
        await ledger.write([], [replace(fetched, **other)])
        store.add_crl(expired, NOW)
    await ledger.close()


def test_crl_is_removed_and_an_older_one_may_come(store: Store) -> None:
    """The one of that digest alone."""
    store.add_anchors("acme", [parsed(ROOT)])
    newer = Crl(ROOT.crl(number=2))
    store.add_crl(newer, NOW)
    with pytest.raises(StoreError, match="no CRL that was added"):
        store.remove_crl(bytes(32))
    store.remove_crl(newer.sha256)
    store.add_crl(Crl(ROOT.crl(number=1)), NOW)
    assert [stored.crl.number for stored in store.crls()] == [1]


@pytest.mark.parametrize(
    ("crl", "why", "hint"),
    [
        (crl_with_sha1(ROOT.crl(), ROOT.key), "signature algorithm 1.2.840.10045.4.1", "SHA-256"),  # type: ignore[arg-type]
        (NO_CRL_SIGN.crl(), "lacks cRLSign", "key usage"),
        (ROOT.crl(key=ALICE.key), "no known CA called CN=Root has the key that signed", ""),
    ],
)
def test_crl_is_refused_for_the_first_rule_that_it_failed(store: Store, crl: bytes, why: str, hint: str) -> None:
    """No CA is asked for that would change nothing."""
    store.add_anchors("acme", [parsed(ROOT), parsed(NO_CRL_SIGN)])
    with pytest.raises(StoreError) as caught:
        store.add_crl(Crl(crl), NOW)
    assert why in str(caught.value)
    assert hint in caught.value.hint
    assert (caught.value.kind is Problem.CRL_SIGNER_UNKNOWN) is not bool(hint)


def test_form_in_which_another_organization_states_a_key_makes_no_other_place(store: Store) -> None:
    """One CRL replaces the other, and an earlier version's, whichever certificate names its signer first."""
    store.add_intermediates("acme", [parsed(reissued(CA, ROOT, compressed_point))])
    stated = store.add_crl(Crl(CA.crl(number=1)), NOW)
    with store.transaction() as connection:
        key = store.intermediates("acme")[0].certificate.spki_sha256
        connection.execute(sa.update(crls).values(signer=key))
    store.add_intermediates("acme", [parsed(CA)])
    newer = store.add_crl(Crl(CA.crl(number=2, this_update=NOW)), NOW)
    assert newer.signer == stated.signer == parsed(CA).spki_sha256
    assert [row.crl.number for row in store.crls()] == [2]


@pytest.mark.slow
def test_key_that_another_organization_computed_from_a_crl_does_not_take_it_from_the_ca(store: Store) -> None:
    """It verifies this one CRL, and the CA's own key signed others."""
    store.add_intermediates("acme", [parsed(CA)])
    first = store.add_crl(Crl(CA.crl(number=1)), NOW)
    for number in range(2, 8):
        crl = Crl(CA.crl(number=number, this_update=NOW))
        forged = other_key(crl.signed.signature, crl.signed.tbs, CA.key.public_key())
        (ca,) = store.add_intermediates("acme", [parsed(reissued(CA, ROOT, with_key(forged)))])
        verify_signature(ca.public_key, crl.signed)
        assert store.add_crl(crl, NOW).signer == first.signer


def test_first_crl_of_a_ca_is_filed_under_the_key_that_was_stored_first(store: Store) -> None:
    """Not under one that another organization computed from it: the CA's users would be refused until the next CRL."""
    for number in range(4):
        ca = ROOT.intermediate(f"CA {number}")
        store.add_intermediates("acme", [parsed(ca)])
        crl = Crl(ca.crl())
        forged = other_key(crl.signed.signature, crl.signed.tbs, ca.key.public_key())  # type: ignore[arg-type]
        store.add_intermediates("acme", [parsed(reissued(ca, ROOT, with_key(forged)))])
        assert store.add_crl(crl, NOW).signer == parsed(ca).plain_spki_sha256
