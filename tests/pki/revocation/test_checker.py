"""Whether certificates are known not to be revoked, and every way to be wrong about it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from hypothesis import given
from hypothesis import strategies as st
from support.certificates import NOW, Authority, Minted, entry, name, new_key, usage
from support.revocation_world import (
    AHEAD,
    CA,
    CRL_SIGNER,
    EXPIRED,
    GOOD,
    LEAF,
    ONE,
    REVOKED,
    ROOT,
    TWO,
    UNKNOWN,
    Extensions,
    at,
    check,
    forged,
    idp,
    points,
    prove,
    refusal,
)
from support.tampered import sha1_signed

from authz.errors import Refused
from authz.pki import (
    Budget,
    Certificate,
    Crl,
    CrlStore,
    Exemption,
    NotRevoked,
    RevocationMode,
    TrustStore,
    Validation,
    ValidationPolicy,
    verify_path,
)
from authz.pki.path.builder import revocation_checker
from authz.pki.path.candidates import CandidateIssuers
from authz.pki.revocation.crl_signers import PathPosition
from authz.pki.validation_policy import SERVICE_POLICY
from authz.pki.x509.algorithms import DEFAULT_ALGORITHMS, DEFAULT_SIGNATURES, SHA1_SIGNATURES, AlgorithmRules
from authz.reasons import Reason

# -- One complete CRL each -----------------------------------------------------------------------------


def test_path_listed_nowhere_is_proven_good() -> None:
    """There is a proof for each certificate below the anchor, with the CRL that was asked."""
    crls = [Crl(ROOT.crl()), Crl(CA.crl(5))]
    proofs = prove(LEAF, [one.der for one in crls]).revocation
    assert [one.certificate.der for one in proofs] == [LEAF.der, CA.der]
    assert [[crl.sha256 for crl in one.crls] for one in proofs] == [[crls[1].sha256], [crls[0].sha256]]


def test_proof_is_made_by_the_check_alone() -> None:
    """No other can say that a certificate is not revoked."""
    with pytest.raises(TypeError):
        NotRevoked(object(), Certificate.parse(LEAF.der), ())


@pytest.mark.parametrize(
    ("crls", "expected", "about"),
    [
        pytest.param([ROOT.crl(), CA.crl(LEAF)], REVOKED, LEAF, id="leaf revoked"),
        pytest.param([ROOT.crl(CA), CA.crl()], REVOKED, CA, id="intermediate revoked"),
        pytest.param([ROOT.crl()], UNKNOWN, LEAF, id="no CRL of the leaf's issuer"),
        pytest.param([CA.crl()], UNKNOWN, CA, id="no CRL of the intermediate's issuer"),
        pytest.param([], UNKNOWN, LEAF, id="no CRL at all"),
        pytest.param([CA.crl(LEAF)], REVOKED, LEAF, id="leaf revoked, intermediate unknown"),
        pytest.param([ROOT.crl(CA)], REVOKED, CA, id="intermediate revoked, leaf unknown"),
        pytest.param([ROOT.crl(), CA.crl(**EXPIRED)], UNKNOWN, LEAF, id="expired"),
        pytest.param([ROOT.crl(), CA.crl(LEAF, **EXPIRED)], REVOKED, LEAF, id="expired, and listed there"),
        pytest.param([ROOT.crl(), CA.crl(**AHEAD)], UNKNOWN, LEAF, id="from the future"),
        pytest.param([ROOT.crl(), CA.crl(LEAF, **AHEAD)], UNKNOWN, LEAF, id="from the future, and listed there"),
        pytest.param([ROOT.crl(), CA.crl(), CA.crl(number=2, **AHEAD)], GOOD, None, id="a newer one from the future"),
        pytest.param([ROOT.crl(), CA.crl(issuer=name("Other"))], UNKNOWN, LEAF, id="another issuer name"),
        pytest.param([ROOT.crl(), CA.crl(key=new_key())], UNKNOWN, LEAF, id="another key"),
        pytest.param([ROOT.crl(), forged(CA.crl())], UNKNOWN, LEAF, id="a signature that is not right"),
        pytest.param([ROOT.crl(), CA.crl(LEAF, number=1), CA.crl(number=2)], GOOD, None, id="a hold lifted"),
        pytest.param([ROOT.crl(), CA.crl(number=1), CA.crl(LEAF, number=2)], REVOKED, LEAF, id="an older one beside"),
    ],
)
def test_complete_crls_decide(crls: list[bytes], expected: str, about: Minted | None) -> None:
    """The most useful outcome is reported, about the certificate it concerns."""
    assert refusal(LEAF, crls) == (expected, None if about is None else about.der)


def test_crl_by_a_key_that_may_not_sign_crls_is_silent() -> None:
    """A CA's key usage without cRLSign leaves its certificates unknown."""
    ca = ROOT.intermediate("CA", extensions=[(usage("key_cert_sign"), True)])
    assert check(ca.leaf(), [ROOT.crl(), ca.crl()], pool=[ca]) is UNKNOWN


def test_certificate_directly_below_the_anchor_is_checked() -> None:
    """An anchor's CRL speaks for what it issued."""
    leaf = ROOT.leaf("bob")
    assert check(leaf, [ROOT.crl()]) == GOOD
    assert check(leaf, [ROOT.crl(leaf)]) is REVOKED
    assert check(leaf, []) is UNKNOWN


def test_serial_of_another_issuer_is_another_certificate() -> None:
    """The same number on the root's list says nothing about the intermediate's leaf."""
    assert check(LEAF, [ROOT.crl(LEAF), CA.crl()]) == GOOD


def test_evidence_counts_for_the_key_that_signed_it_alone() -> None:
    """A neighbour's CA of the same name lists no certificate of this one, and neither does a forged CRL."""
    odd = [(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)]
    twin = Authority.root("Elsewhere").intermediate("CA")
    foreign = twin.crl(LEAF, number=2, extensions=odd)
    own = CA.crl(LEAF, number=2, this_update=NOW - timedelta(hours=1), extensions=odd)
    assert check(LEAF, [ROOT.crl(), CA.crl(), foreign], pool=[CA, twin]) == GOOD
    assert check(LEAF, [ROOT.crl(), CA.crl(), own]) is REVOKED
    assert check(LEAF, [ROOT.crl(), CA.crl(), forged(own)]) == GOOD


def test_soft_fail_does_not_take_evidence_for_a_missing_crl() -> None:
    """What it says of others is not known."""
    odd = [(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)]
    soft = RevocationMode(soft=True)
    crls = [ROOT.crl(), CA.crl(number=0, **EXPIRED)]
    assert check(LEAF, crls, mode_of=lambda _: soft) == GOOD
    assert check(LEAF, [*crls, CA.crl(extensions=odd)], mode_of=lambda _: soft) is UNKNOWN


def test_listing_by_a_crl_with_an_unknown_critical_extension_counts() -> None:
    """It proves no certificate good, and what it lists is listed."""
    odd = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    assert check(LEAF, [ROOT.crl(), CA.crl(extensions=[(odd, True)])]) is UNKNOWN
    assert check(LEAF, [ROOT.crl(), CA.crl(LEAF, extensions=[(odd, True)])]) is REVOKED
    assert check(LEAF, [ROOT.crl(), CA.crl(entry(9, extensions=[(odd, True)]))]) is UNKNOWN


# -- Deltas ---------------------------------------------------------------------------------------------

DELTA: Extensions = [(x509.DeltaCRLIndicator(1), True)]
HOLD = entry(LEAF.certificate.serial_number, reason=x509.ReasonFlags.certificate_hold)
LIFT = entry(LEAF.certificate.serial_number, reason=x509.ReasonFlags.remove_from_crl)


@pytest.mark.parametrize(
    ("crls", "expected"),
    [
        pytest.param([CA.crl(), CA.crl(LEAF, number=2, extensions=DELTA)], REVOKED, id="listed since"),
        pytest.param([CA.crl(HOLD), CA.crl(LIFT, number=2, extensions=DELTA)], GOOD, id="hold lifted"),
        pytest.param(
            [CA.crl(HOLD), CA.crl(LIFT, number=2, extensions=[*DELTA, *idp(only="users")])], REVOKED, id="other scope"
        ),
        pytest.param([CA.crl(HOLD), CA.crl(LIFT, number=2, extensions=DELTA, key=new_key())], REVOKED, id="forged"),
        pytest.param([CA.crl(HOLD), CA.crl(LIFT, number=2, extensions=DELTA, **AHEAD)], REVOKED, id="from the future"),
        pytest.param([CA.crl(number=2, extensions=DELTA)], UNKNOWN, id="without a complete CRL"),
    ],
)
def test_delta_counts_beside_its_complete_crl(crls: list[bytes], expected: str) -> None:
    """A delta is combined with a complete CRL of the same issuer, key and scope, and with no other."""
    assert check(LEAF, [ROOT.crl(), *crls]) == expected


def test_delta_of_a_scope_without_a_complete_crl_is_heard() -> None:
    """A certificate it lists is revoked, though a complete CRL of another scope does not know yet."""
    delta = CA.crl(LEAF, number=2, extensions=[*DELTA, *idp(only="users")])
    assert check(LEAF, [ROOT.crl(), CA.crl(), delta]) is REVOKED
    assert check(LEAF, [ROOT.crl(), CA.crl(), CA.crl(number=2, extensions=[*DELTA, *idp(only="users")])]) == GOOD


def test_delta_by_another_key_of_the_ca_lifts_nothing() -> None:
    """Number and base order CRLs of one key only."""
    other = ROOT.intermediate("CA")
    crls = [ROOT.crl(), CA.crl(HOLD), other.crl(LIFT, number=2, extensions=DELTA)]
    assert check(LEAF, crls, pool=[CA, other]) is REVOKED


AGENT = ROOT.intermediate("Agent", extensions=CRL_SIGNER)
DELEGATED = CA.leaf("delegated", extensions=points(at(ONE, by="Agent")))
INDIRECT = idp(ONE, indirect=True)


def test_agent_beside_the_path_is_found_among_strangers() -> None:
    """Others of its name, who signed nothing that speaks, change nothing."""
    strangers = [ROOT.intermediate("Agent", extensions=CRL_SIGNER), Authority.root("Agent")]
    crls = [ROOT.crl(), AGENT.crl(extensions=INDIRECT), strangers[0].crl(extensions=idp(TWO, indirect=True))]
    assert check(DELEGATED, crls, pool=[CA, *strangers, AGENT]) == GOOD
    assert check(DELEGATED, [ROOT.crl(AGENT), *crls[1:]], pool=[CA, *strangers, AGENT]) is UNKNOWN


# -- What it costs --------------------------------------------------------------------------------------


def test_signature_of_a_crl_is_verified_once() -> None:
    """The second check pays for its steps alone."""
    trust = TrustStore([Certificate.parse(ROOT.der)])
    crls, spent = [ROOT.crl(), CA.crl()], []
    for _ in range(2):
        budget = Budget()
        prove(LEAF, crls, trust=trust, budget=budget)
        spent.append(Budget().signatures - budget.signatures)
    assert spent[0] > spent[1] == 0


def test_signature_that_does_not_verify_is_tried_once() -> None:
    """CRLs of another CA of the same name cost their verification once for each key."""
    trust = TrustStore([Certificate.parse(ROOT.der)])
    crls = [ROOT.crl(), CA.crl(), *(Authority.root("CA").crl() for _ in range(3))]
    prove(LEAF, crls, trust=trust)
    prove(LEAF, crls, trust=trust, budget=Budget(signatures=0))


@pytest.mark.parametrize("budget", [{"steps": 3}, {"signatures": 2}])
def test_budget_bounds_the_search_for_signers(budget: dict[str, int]) -> None:
    """Steps and signatures spent on revocation come from the same budget, and running out is final."""
    strangers = [Authority.root("Agent", extensions=CRL_SIGNER) for _ in range(9)]
    crls = [ROOT.crl(), AGENT.crl(extensions=INDIRECT)]
    outcome = check(DELEGATED, crls, pool=[CA, *strangers], budget=Budget(**budget))
    assert outcome is Reason.BUDGET_EXCEEDED


def test_signer_remembered_wrongly_silences_the_crl() -> None:
    """What a store knows about signers narrows, and never proves."""
    crls = [Crl(ROOT.crl()), Crl(CA.crl())]
    parse = Certificate.parse
    keys = {crls[0].sha256: parse(ROOT.der).spki_sha256, crls[1].sha256: parse(CA.der).spki_sha256}
    trust = TrustStore([parse(ROOT.der)])
    assert verify_path(parse(LEAF.der), [parse(CA.der)], trust, CrlStore(crls, keys), NOW).revocation
    forged = Crl(CA.crl(key=new_key()))
    for wrong in (CrlStore(crls, {**keys, crls[1].sha256: b"x"}), CrlStore([crls[0], forged], {forged.sha256: b"x"})):
        with pytest.raises(Refused) as refused:
            verify_path(parse(LEAF.der), [parse(CA.der)], trust, wrong, NOW)
        assert refused.value.reason is UNKNOWN


@pytest.mark.parametrize(
    ("narrow", "listed", "digest", "expected"),
    [
        (False, [], hashes.SHA384(), GOOD),
        (True, [], hashes.SHA256(), GOOD),
        (True, [], hashes.SHA384(), UNKNOWN),
        (True, [LEAF], hashes.SHA384(), REVOKED),
    ],
)
def test_algorithm_that_a_policy_leaves_out_proves_no_certificate_good(
    narrow: bool, listed: list[Minted], digest: hashes.HashAlgorithm, expected: str
) -> None:
    """A policy that narrows signature algorithms narrows them for CRLs; what such a CRL lists is listed."""
    rules = AlgorithmRules(signatures=frozenset({"1.2.840.10045.4.3.2"})) if narrow else DEFAULT_ALGORITHMS
    crls = [ROOT.crl(), CA.crl(*listed, digest=digest)]
    assert check(LEAF, crls, policy=ValidationPolicy(algorithms=rules)) == expected


OLD = AlgorithmRules(DEFAULT_SIGNATURES | SHA1_SIGNATURES, min_rsa_bits=1024)


def test_crl_of_a_weak_stored_ca_proves_no_certificate_good() -> None:
    """Not even where a policy accepts the CA: neither its RSA key of 1,024 bits, nor SHA-1 by a strong one."""
    weak, policy = Authority.root("Weak", key=new_key("rsa1024")), ValidationPolicy(algorithms=OLD)
    assert check(weak.leaf(), [weak.crl()], anchor=weak, policy=policy) is UNKNOWN
    assert check(LEAF, [ROOT.crl(), sha1_signed(CA.crl(), CA)], policy=policy) is UNKNOWN


def test_delta_with_sha1_takes_no_certificate_off_a_list() -> None:
    """It does not count as the CA's, and changes nothing."""
    lift = sha1_signed(CA.crl(LIFT, number=2, extensions=DELTA, this_update=NOW - timedelta(hours=1)), CA)
    policy = ValidationPolicy(algorithms=OLD)
    assert check(LEAF, [ROOT.crl(), CA.crl(HOLD), lift], policy=policy) is REVOKED
    assert check(LEAF, [ROOT.crl(), CA.crl(), lift], policy=policy) == GOOD


def test_key_of_a_crl_beside_the_path_is_judged_by_the_policy_of_the_check() -> None:
    """All tenants share a CRL: it counts where the policy accepts its signer."""
    signer = ROOT.intermediate("CA", key=new_key("bp256"), extensions=CRL_SIGNER)
    wide = ValidationPolicy(algorithms=AlgorithmRules(keys=frozenset({"secp256r1", "brainpoolP256r1"})))
    assert check(LEAF, [ROOT.crl(), signer.crl()], pool=[CA, signer], policy=wide) == GOOD
    assert check(LEAF, [ROOT.crl(), signer.crl()], pool=[CA, signer]) is UNKNOWN


# -- What is remembered ---------------------------------------------------------------------------------


def remembering(*crls: bytes) -> Callable[..., str]:
    """Checks against one store of CRLs and one trust store, which remember what they may."""
    trust, store = TrustStore([Certificate.parse(ROOT.der)]), CrlStore(map(Crl, crls))

    def run(leaf: Minted, *pool: Minted, at: datetime = NOW) -> str:
        bag = [Certificate.parse(one.der) for one in pool]
        try:
            verify_path(Certificate.parse(leaf.der), bag, trust, store, at)
        except Refused as refused:
            return refused.reason
        return GOOD

    return run


def test_plan_that_is_remembered_holds_no_verdict() -> None:
    """Time decides anew: before it begins, while it holds, and after."""
    run = remembering(ROOT.crl(), CA.crl(this_update=NOW - timedelta(hours=1), next_update=NOW + timedelta(hours=1)))
    told = [run(LEAF, CA, at=NOW + timedelta(hours=hours)) for hours in (0, -2, 0, 2, 0)]
    assert told == [GOOD, UNKNOWN, GOOD, UNKNOWN, GOOD]


def test_plan_that_is_remembered_lets_a_newer_crl_begin() -> None:
    """A CRL that was from the future at first revokes when its time has come."""
    run = remembering(ROOT.crl(), CA.crl(), CA.crl(LEAF, number=2, this_update=NOW + timedelta(hours=1)))
    assert [run(LEAF, CA, at=NOW + timedelta(hours=hours)) for hours in (0, 2, 0)] == [GOOD, REVOKED, GOOD]


def test_plan_that_is_remembered_is_of_one_path() -> None:
    """The same leaf below another certificate of its CA has another plan."""
    silent = ROOT.intermediate("CA", key=CA.key, extensions=[(usage("key_cert_sign"), True)])
    run = remembering(ROOT.crl(), CA.crl())
    assert [run(LEAF, one) for one in (CA, silent, CA, silent)] == [GOOD, UNKNOWN, GOOD, UNKNOWN]


def test_plan_that_is_remembered_still_asks_for_signers_beside_the_path() -> None:
    """Who is presented may differ from check to check."""
    signer = ROOT.intermediate("CA", extensions=CRL_SIGNER)
    run = remembering(ROOT.crl(), signer.crl())
    assert [run(LEAF, CA, *beside) for beside in ((), (signer,), (), (signer,))] == [UNKNOWN, GOOD, UNKNOWN, GOOD]


def test_plan_of_a_signer_who_is_being_proven_is_not_remembered() -> None:
    """That it may speak for itself then lends it nothing when it comes as a client."""
    bits = usage("crl_sign", "digital_signature")
    agent = ROOT.intermediate("Agent", extensions=[(bits, True), CRL_SIGNER[1], *points(at(by="Agent"))])
    run = remembering(ROOT.crl(extensions=idp(only="cas")), agent.crl(extensions=idp(indirect=True)))
    leaf = CA.leaf(extensions=points(at(by="Agent")))
    assert [run(leaf, CA, agent), run(agent), run(leaf, CA, agent)] == [GOOD, UNKNOWN, GOOD]


LISTING = CA.crl(LEAF)


@given(st.lists(st.tuples(st.integers(0, len(LISTING) - 1), st.integers(1, 255)), min_size=1, max_size=4))
def test_mutated_crl_that_lists_the_leaf_never_proves_it_good(flips: list[tuple[int, int]]) -> None:
    """Whatever an attacker makes of the bytes, the leaf stays revoked, or its status unknown."""
    changed = bytearray(LISTING)
    for offset, by in flips:
        changed[offset] ^= by
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert check(LEAF, [ROOT.crl(), bytes(changed)]) in {REVOKED, UNKNOWN, Reason.CRL_MALFORMED}


def test_soft_fail_lets_a_late_or_missing_crl_pass_and_says_so() -> None:
    """What it means in full is in the tests of `authz.pki.revocation.mode`."""
    late = RevocationMode(grace=timedelta(days=2))
    crls = [ROOT.crl(), CA.crl(**EXPIRED)]
    said = [one.exemption for one in prove(LEAF, crls, mode_of=lambda _: late).revocation]
    assert said == [Exemption.GRACE, None]
    assert (
        prove(LEAF, crls[:1], mode_of=lambda _: RevocationMode(soft=True)).revocation[0].exemption
        is Exemption.SOFT_FAIL
    )
    assert prove(LEAF, [ROOT.crl(), CA.crl()], mode_of=lambda _: late).revocation[0].exemption is None


# -- What lists a certificate, whatever it proves besides ------------------------------------------------


def test_each_scope_has_its_own_listing_of_a_certificate() -> None:
    """Those that have begun; a CRL without the certificate has none."""
    reasons = x509.ReasonFlags.superseded, x509.ReasonFlags.key_compromise
    by_reason = [Crl(CA.crl(LEAF, reason=each, extensions=idp(reasons=(each.name,)))) for each in reasons]
    others = [Crl(CA.crl(5)), Crl(CA.crl(LEAF, reason=reasons[1], extensions=idp(only="users"), **AHEAD))]
    leaf, ca, root = (Certificate.parse(one.der) for one in (LEAF, CA, ROOT))
    store, trust = CrlStore([*by_reason, *others]), TrustStore([root])
    validation = Validation(NOW, SERVICE_POLICY, Budget(), store)
    checker = revocation_checker(CandidateIssuers([ca], leaf, trust, Budget()), trust, validation, store)
    listed = list(checker.listed(PathPosition(leaf, (ca, root), trust.anchors[0])))
    assert {(crl.sha256, entry.reason) for crl, entry in listed} == {(by_reason[0].sha256, 4), (by_reason[1].sha256, 1)}
