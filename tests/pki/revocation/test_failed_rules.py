"""Why a revocation status is unknown: of each CRL that is held the first rule that it failed."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from support.certificates import NOW, Authority, Minted, name, new_key, usage
from support.raw_der import crl_with_sha1
from support.revocation_world import (
    CA,
    EVERY,
    EXPIRED,
    LEAF,
    ONE,
    ROOT,
    TWO,
    UNKNOWN,
    at,
    forged,
    idp,
    points,
    prove,
)

from authz.errors import Refused
from authz.pki import DEFAULT_POLICY, Budget, Certificate, Crl, CrlStore, TrustStore, ValidationPolicy, verify_path
from authz.pki.revocation.failed_rules import MAX_EXAMINED, MAX_REPORTED
from authz.pki.x509.algorithms import AlgorithmRules

ODD = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
SHARD = CA.leaf("shard", extensions=points(at(ONE), at(TWO)))
OTHER_KEY = Authority.root("Elsewhere").intermediate("CA")
NO_CRL_SIGN = ROOT.intermediate("CA", extensions=[(usage("key_cert_sign"), True)])


def why(*crls: bytes, leaf: Minted = LEAF, **options: object) -> str:
    """What the operator reads; the root's CRL is held."""
    with pytest.raises(Refused) as refused:
        prove(leaf, [ROOT.crl(), *crls], **options)  # type: ignore[arg-type]
    assert refused.value.reason is UNKNOWN
    assert refused.value.path
    return refused.value.detail.partition("not revoked: ")[2]


SHA1 = crl_with_sha1(CA.crl(), CA.key)  # type: ignore[arg-type]
CRL = "the CRL 1 of 2026-05-31 12:00:00Z"


@pytest.mark.parametrize(
    ("crl", "expected"),
    [
        (SHA1, "has an algorithm that is not accepted: signature algorithm 1.2.840.10045.4.1"),
        (forged(CA.crl()), "has a signature that verifies under no known key of CN=CA"),
        (CA.crl(key=new_key()), "has a signature that verifies under no known key of CN=CA"),
        (CA.crl(extensions=idp(ONE)), f"is for the distribution point {ONE.value}, and the certificate names no"),
        (CA.crl(extensions=idp(only="cas")), "is for CA certificates alone"),
        (CA.crl(extensions=idp(only="attributes")), "is for attribute certificates alone"),
        (CA.crl(extensions=idp(reasons=EVERY[1:])), "covers only some of the reasons"),
        (CA.crl(extensions=[(ODD, True)]), "has critical extension 1.2.3.4"),
        (CA.crl(extensions=[(x509.DeltaCRLIndicator(1), True)]), "is a delta CRL, and no complete one of its scope"),
    ],
)
def test_first_rule_that_failed_is_reported(crl: bytes, expected: str) -> None:
    """Algorithm, signature, scope with its names, time; in this order."""
    assert f"{CRL} {expected}" in why(crl)


NO_REV_AVAIL = (x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.56"), b"\x05\x00"), False)


def test_certificate_that_says_there_is_no_crl_is_refused_with_a_sentence_that_names_it() -> None:
    """RFC 9608 would pass over the check."""
    leaf = CA.leaf("short", extensions=[NO_REV_AVAIL])
    assert "(noRevAvail, RFC 9608); that alone lets nothing pass; see [[crl.exception]]" in why(leaf=leaf)
    assert "noRevAvail" not in why(CA.crl(**EXPIRED), leaf=leaf)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("", "none is held, and the certificate names no distribution point to fetch one from"),
        (ONE.value, f"none is held; the certificate names {ONE.value}"),
        ("ldap:///CN=CA", "none is held, and none is fetched from ldap:///CN=CA: only from http and https"),
    ],
)
def test_what_is_not_held_is_reported_with_its_place(uri: str, expected: str) -> None:
    """A Windows CA names places of LDAP by default, which are not asked."""
    place = points(at(x509.UniformResourceIdentifier(uri))) if uri else []
    assert why(leaf=CA.leaf("placed", extensions=place)) == expected


def test_dates_are_reported_as_such() -> None:
    """A complete CRL that begins in a few minutes is no delta."""
    soon = {"this_update": NOW + timedelta(minutes=5)}
    assert why(CA.crl(**soon)) == "the CRL 1 of 2026-06-01 12:05:00Z begins on 2026-06-01 12:05:00Z"
    older = CA.crl(number=0, this_update=NOW - timedelta(days=10))
    assert why(older, CA.crl(**EXPIRED)) == (
        "the CRL 1 of 2026-05-23 12:00:00Z expired on 2026-05-31 12:00:00Z; "
        "the CRL 0 of 2026-05-22 12:00:00Z is older than the CRL 1 of 2026-05-23 12:00:00Z"
    )


def test_number_that_went_back_is_reported() -> None:
    """Beside an expired CRL with a greater number, one that is later does not count."""
    assert why(CA.crl(number=0), CA.crl(**EXPIRED)).startswith(
        "the CRL 0 of 2026-05-31 12:00:00Z is neither newer nor older, by number and date, than the CRL 1 of 2026-05-23"
    )


def test_key_usage_without_crl_sign_is_reported() -> None:
    """Of the CA whose key signed the CRL."""
    leaf = NO_CRL_SIGN.leaf()
    assert "CN=CA, whose key usage lacks cRLSign" in why(NO_CRL_SIGN.crl(), leaf=leaf, pool=[NO_CRL_SIGN])


def test_names_of_both_sides_are_reported() -> None:
    """And a CRL for users is not one for CAs."""
    other = x509.UniformResourceIdentifier("http://crl.example.test/3")
    expected = f"is for the distribution point {other.value}, and the certificate names {ONE.value}, {TWO.value}"
    assert expected in why(CA.crl(extensions=idp(other)), leaf=SHARD)
    with pytest.raises(Refused, match="is for users' certificates alone, and this is a CA's"):
        prove(LEAF, [ROOT.crl(extensions=idp(only="users")), CA.crl()])


def test_directory_names_are_reported_as_text() -> None:
    """Three of them at most."""
    names = [x509.DirectoryName(name(text)) for text in "DCBA"]
    assert "point CN=A, CN=B, CN=C, …, and" in why(CA.crl(extensions=idp(*names)))


def test_signer_without_a_path_is_reported() -> None:
    """Another key of the CA's name, which another CA certified."""
    found = why(OTHER_KEY.crl(), pool=[CA, OTHER_KEY])
    assert "signed by another key, which has no path of its own from the same CA" in found
    delegated = CA.leaf("delegated", extensions=points(at(ONE, by="Signer")))
    signer = CA.intermediate("Signer")
    crl = signer.crl(extensions=idp(ONE))
    assert "is of CN=Signer, and not indirect" in why(
        CA.crl(extensions=idp(only="cas")), crl, leaf=delegated, pool=[CA, signer]
    )


def test_algorithms_of_the_policy_are_reported() -> None:
    """Those of the tables are more than the policy accepts."""
    ca, p384 = Authority.root("CA", key=new_key("p384")), new_key("p384")
    leaf = ca.leaf(key=p384, digest=hashes.SHA384())
    with pytest.raises(Refused) as refused:
        prove(leaf, [ca.crl()], pool=[], anchor=ca, policy=P384_KEYS)
    assert "signature algorithm 1.2.840.10045.4.3.2" in refused.value.detail


P384_KEYS = ValidationPolicy(algorithms=AlgorithmRules(frozenset({"1.2.840.10045.4.3.3"}), frozenset({"secp384r1"})))


def test_report_begins_with_what_came_furthest_and_is_bounded() -> None:
    """What is left out is counted."""
    until = NOW - timedelta(days=1)
    days = range(2, MAX_EXAMINED + 2)
    stale = [CA.crl(number=day, this_update=NOW - timedelta(days=day), next_update=until) for day in days]
    found = why(SHA1, *stale)
    assert found.startswith("the CRL 2 of 2026-05-30 12:00:00Z expired")
    assert found.endswith(f"; and {MAX_EXAMINED - MAX_REPORTED} more")


def test_crls_of_strangers_are_counted_and_cost_nothing() -> None:
    """Another tenant's CA of the same name has its own key, and its CRLs are not looked at."""
    strangers = [Crl(OTHER_KEY.crl(number=number)) for number in range(9)]
    keys = {crl.sha256: Certificate.parse(OTHER_KEY.der).spki_sha256 for crl in strangers}
    root = Crl(ROOT.crl())
    leaf, chain, budgets = Certificate.parse(LEAF.der), [Certificate.parse(CA.der)], [Budget(), Budget()]
    for crls, budget in zip(([root], [root, *strangers]), budgets, strict=True):
        trust, store = TrustStore([Certificate.parse(ROOT.der)]), CrlStore(crls, keys)
        with pytest.raises(Refused) as refused:
            verify_path(leaf, chain, trust, store, NOW, DEFAULT_POLICY, budget)
    assert refused.value.detail.endswith("9 of that name signed by keys that are not known to be its CA's")
    assert budgets[0].signatures == budgets[1].signatures


def test_used_up_budget_reports_what_was_found() -> None:
    """The refusal stays what it was."""
    leaf, crls = NO_CRL_SIGN.leaf(), [NO_CRL_SIGN.crl(number=number) for number in range(9)]
    found = why(*crls, leaf=leaf, pool=[NO_CRL_SIGN], budget=Budget(signatures=5))
    assert found.count("lacks cRLSign") == 2
