"""The search for a path: unordered bags, back-tracking, a budget, and the reason why there is no way."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from support.certificates import NOW, Authority, Minted, new_key
from support.outcomes import PLAIN, parsed, path_of, reason, refusal
from support.raw_der import extensions_of, handmade, raw_name
from support.tampered import sha1_signed

from authz.errors import Refused
from authz.pki.budget import Budget
from authz.pki.cache.issuer_chains import CertificateSource
from authz.pki.cache.verified import VerifiedCache
from authz.pki.crl.crl import Crl
from authz.pki.path.builder import VerifiedPath, verify_path
from authz.pki.path.trust_store import TrustStore
from authz.pki.revocation.crl_store import CrlStore
from authz.pki.revocation.mode import Exemption, RevocationMode
from authz.pki.validation_policy import ValidationPolicy
from authz.pki.x509.algorithms import DEFAULT_SIGNATURES, SHA1_SIGNATURES, AlgorithmRules
from authz.pki.x509.trust_anchor import TrustAnchor
from authz.reasons import Reason

R = Reason
DAY = timedelta(days=1)
ROOT = Authority.root("Root")
CA = ROOT.intermediate("CA")
ALICE, BOB = CA.leaf("alice"), CA.leaf("bob")


def crossed(subject: Authority, by: Authority, **options: object) -> Authority:
    """The CA `subject`, certified by another one: same name, same key."""
    return by.intermediate(subject.certificate.subject, key=subject.key, **options)


def test_proof_can_be_made_by_the_search_alone() -> None:
    """There are no unverified ones."""
    with pytest.raises(TypeError, match="verify_path"):
        VerifiedPath(object(), (), TrustAnchor(parsed(ROOT)[0]), (), ())


def test_path_runs_from_the_leaf_to_the_anchor() -> None:
    """Each certificate with the place it was found in."""
    path = path_of(ALICE, CA, anchors=[ROOT])
    assert [one.der for one in path.certificates] == [ALICE.der, CA.der, ROOT.der]
    assert path.origins == (CertificateSource.PRESENTED, CertificateSource.PRESENTED, CertificateSource.ANCHOR)
    assert path.between == (CertificateSource.PRESENTED,)
    assert (path.leaf.der, path.anchor.certificate.der, path.revocation) == (ALICE.der, ROOT.der, ())


def test_known_intermediate_completes_the_path() -> None:
    """And is reported as ours even when the client sent it too."""
    trust = TrustStore(parsed(ROOT), parsed(CA))
    for pool in ([], parsed(CA)):
        path = verify_path(parsed(ALICE)[0], pool, trust, None, NOW)
        assert path.origins == (CertificateSource.PRESENTED, CertificateSource.KNOWN, CertificateSource.ANCHOR)
        assert path.between == (CertificateSource.KNOWN,)


def test_bag_in_any_order_with_strangers_and_copies_verifies() -> None:
    """What clients send."""
    deep = CA.intermediate("A").intermediate("B").intermediate("C")
    stranger = Authority.root("Stranger").intermediate("CA")
    bag = [*deep.chain, *deep.chain, ROOT, stranger, ALICE, deep.leaf("other")]
    for seed in range(5):
        random.Random(seed).shuffle(bag)
        assert len(path_of(deep.leaf(), *bag, anchors=[ROOT]).certificates) == 6


def test_unreadable_stranger_in_the_bag_does_no_harm() -> None:
    """It is reported only when nothing better can be."""
    key = new_key()
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    odd = handmade(key, issuer=raw_name(b"CA"), subject=raw_name(b"\xe9"))
    worse = handmade(
        key, issuer=raw_name(b"Root"), subject=raw_name(b"CA"), inner=bytes.fromhex("300a06082a8648ce3d040303")
    )
    assert reason(ALICE, odd, worse, CA, anchors=[ROOT]) is None
    twice = extensions_of(*[(bytes.fromhex("551d0f"), True, bytes.fromhex("03020204"))] * 2)
    last = handmade(key, issuer=raw_name(b"Root"), subject=raw_name(b"CA"), extensions=twice)
    assert reason(ALICE, last, CA, anchors=[ROOT]) is None
    assert reason(ALICE, odd, anchors=[ROOT]) is R.CERTIFICATE_MALFORMED
    assert reason(ALICE, worse, anchors=[ROOT]) is not None


def test_leaf_that_cannot_be_read_is_malformed() -> None:
    """Its subject is read, though no rule asks for it; the refusal tells the path it was met on."""
    assert isinstance(CA.key, ec.EllipticCurvePrivateKey)
    good, unreadable = CA.certificate.subject.public_bytes(), raw_name(b"\xe9")
    for issuer, subject in ((good, unreadable), (unreadable, good)):
        odd = handmade(CA.key, issuer=issuer, subject=subject)
        refused = refusal(odd, CA, anchors=[ROOT])
        assert refused is not None
        assert (refused.reason, refused.certificate, refused.path) == (R.CERTIFICATE_MALFORMED, odd, (odd,))


@pytest.mark.parametrize("good_first", [True, False])
def test_search_turns_back_from_a_dead_end(good_first: bool) -> None:
    """Two certificates of one CA: one from a stranger, one from the anchor."""
    stranger, good = crossed(CA, Authority.root("Stranger")), CA
    pool = [good, stranger] if good_first else [stranger, good]
    assert path_of(ALICE, *pool, anchors=[ROOT]).certificates[1].der == good.der


def test_search_turns_back_from_an_expired_or_constrained_branch() -> None:
    """Whatever is wrong with one way, another may be good."""
    expired = crossed(CA, ROOT, not_after=NOW - DAY)
    narrow = crossed(CA, ROOT, extensions=[(x509.NameConstraints([x509.DNSName("other.test")], None), True)])
    short = ROOT.intermediate("Upper", path_length=0)
    assert reason(ALICE, expired, narrow, short, crossed(CA, short), CA, anchors=[ROOT]) is None


def test_cas_that_signed_one_another_lead_to_the_anchor() -> None:
    """In a circle, with the way out at its far end."""
    a, b = Authority.root("A"), Authority.root("B")
    pool = [crossed(a, b), crossed(b, a), crossed(b, ROOT)]
    path = path_of(a.leaf(), *pool, anchors=[ROOT])
    assert [one.subject.text for one in path.certificates[1:]] == ["CN=A", "CN=B", "CN=Root"]


def test_ca_that_rolled_its_key_over_chains_through_its_old_one() -> None:
    """Same name, two keys, a self-issued certificate between them."""
    rolled = CA.intermediate("CA")
    assert len(path_of(rolled.leaf(), rolled, CA, anchors=[ROOT]).certificates) == 4


def test_matching_key_identifier_is_tried_first() -> None:
    """One signature for the leaf and one for the right CA, out of twenty of its name; identifiers only order."""
    wrong = [Authority.root("CA") for _ in range(20)]
    budget = Budget()
    path = path_of(ALICE, *wrong, CA, anchors=[ROOT], budget=budget)
    assert path.certificates[1].der == CA.der
    assert Budget().signatures - budget.signatures == 2
    unmarked = CA.leaf(without=[x509.AuthorityKeyIdentifier])
    assert reason(unmarked, *wrong, CA, anchors=[ROOT]) is None
    bare = ROOT.intermediate("CA", key=CA.key, without=[x509.SubjectKeyIdentifier])
    assert reason(ALICE, *wrong, bare, anchors=[ROOT]) is None


def test_anchor_is_preferred_to_a_longer_way() -> None:
    """A cross-certificate of the anchor leads further, and is not needed."""
    old = Authority.root("Old")
    assert len(path_of(ROOT.leaf(), crossed(ROOT, old), anchors=[old, ROOT]).certificates) == 2


def test_trust_anchor_as_leaf_is_self_signed() -> None:
    """A registered root is no proof, and neither is a copy of its name and key."""
    assert reason(ROOT.leaf("Root", key=ROOT.key), anchors=[ROOT]) is R.CERTIFICATE_SELF_SIGNED
    assert reason(Authority.root("Selfish").leaf("Selfish"), anchors=[ROOT]) is R.CERTIFICATE_SELF_SIGNED


OLD = ROOT.intermediate("CA", not_after=NOW - DAY)
YOUNG = ROOT.intermediate("CA", not_before=NOW + DAY)


@pytest.mark.parametrize(
    ("pool", "expected", "about", "length"),
    [
        ([], R.ISSUER_UNKNOWN, ALICE, 1),
        ([ROOT], R.ISSUER_UNKNOWN, ALICE, 1),
        ([Authority.root("CA")], R.SIGNATURE_INVALID, ALICE, 2),
        ([crossed(CA, Authority.root("Stranger"))], R.ISSUER_UNKNOWN, None, 2),
        ([crossed(CA, ROOT, not_after=NOW - DAY), Authority.root("CA")], R.CERTIFICATE_EXPIRED, None, 2),
        ([crossed(CA, ROOT, not_before=NOW + DAY), Authority.root("CA")], R.CERTIFICATE_NOT_YET_VALID, None, 2),
    ],
)
def test_most_useful_reason_is_reported_with_its_path(
    pool: Sequence[Minted], expected: Reason, about: Minted | None, length: int
) -> None:
    """The intermediate that expired, not the stranger whose key was wrong."""
    refused = refusal(ALICE, *pool, anchors=[ROOT])
    assert refused is not None
    assert (refused.reason, refused.certificate) == (expected, (about or pool[0]).der)
    assert (refused.path[0], len(refused.path)) == (ALICE.der, length)


def test_path_longer_than_the_depth_is_left() -> None:
    """Another way may be shorter."""
    deep = ROOT
    for number in range(5):
        deep = deep.intermediate(f"CA {number}")
    assert reason(deep.leaf(), *deep.chain, anchors=[ROOT], budget=Budget(depth=6)) is None
    assert reason(deep.leaf(), *deep.chain, anchors=[ROOT], budget=Budget(depth=5)) is R.PATH_LENGTH_EXCEEDED


def test_too_many_certificates_are_refused_before_the_search() -> None:
    """Copies, the leaf and what is known do not count."""
    pool = parsed(*(ROOT.intermediate(f"CA {number}") for number in range(11)))
    trust = TrustStore(parsed(ROOT), parsed(CA))
    leaf = parsed(ALICE)[0]
    verify_path(leaf, [*pool[:10], pool[0], leaf, *parsed(CA, ROOT)], trust, None, NOW, budget=Budget.service())
    with pytest.raises(Refused) as caught:
        verify_path(leaf, pool, trust, None, NOW, budget=Budget.service())
    assert caught.value.reason is R.TOO_MANY_CERTIFICATES


def test_memory_is_filled_by_completed_paths_alone() -> None:
    """What verified on the way to nowhere is forgotten."""
    verified = VerifiedCache()
    trust = TrustStore(parsed(ROOT), verified=verified)
    stranger = Authority.root("Stranger").intermediate("CA")
    with pytest.raises(Refused):
        verify_path(parsed(stranger.leaf())[0], parsed(stranger), trust, None, NOW)
    assert len(verified) == 0
    verify_path(parsed(ALICE)[0], parsed(CA, crossed(CA, Authority.root("Stranger"))), trust, None, NOW)
    assert len(verified) == 4


def test_known_signature_is_not_verified_again() -> None:
    """A search costs its steps all the same; time, names and the rest are looked at again."""
    trust, leaf, pool = TrustStore(parsed(ROOT)), parsed(ALICE)[0], parsed(CA)
    verify_path(leaf, pool, trust, None, NOW + timedelta(microseconds=1))
    for bag, steps in ((pool, 0), (parsed(CA, Authority.root("Stranger")), 2)):
        budget = Budget()
        verify_path(leaf, bag, trust, None, NOW, budget=budget)
        assert (budget.signatures, budget.steps) == (Budget().signatures, Budget().steps - steps)
    with pytest.raises(Refused) as caught:
        verify_path(leaf, pool, trust, None, NOW + 400 * DAY)
    assert caught.value.reason is R.CERTIFICATE_EXPIRED


def test_what_lies_above_a_leaf_is_searched_once() -> None:
    """The next leaf costs its signature, and is looked at like the first."""
    trust, crls, pool = TrustStore(parsed(ROOT)), CrlStore(map(Crl, (ROOT.crl(), CA.crl(BOB)))), parsed(CA)
    first = verify_path(parsed(ALICE)[0], pool, trust, crls, NOW)
    budget = Budget()
    verify_path(parsed(CA.leaf())[0], pool, trust, crls, NOW, budget=budget)
    assert (budget.steps, budget.signatures) == (Budget().steps, Budget().signatures - 1)
    again = verify_path(parsed(ALICE)[0], pool, trust, crls, NOW)
    for _ in range(2):
        assert (again.certificates, again.between) == (first.certificates, first.between)
    demanding = CA.leaf(
        extensions=[(x509.PolicyConstraints(require_explicit_policy=0, inhibit_policy_mapping=None), True)]
    )
    with pytest.raises(Refused) as caught:
        verify_path(parsed(demanding)[0], pool, trust, crls, NOW)
    assert caught.value.reason is R.POLICY_NOT_ALLOWED
    forged = bytearray(ALICE.der)
    forged[-1] ^= 1
    for leaf, expected in ((BOB.der, R.CERTIFICATE_REVOKED), (bytes(forged), R.SIGNATURE_INVALID)):
        with pytest.raises(Refused) as caught:
            verify_path(parsed(leaf)[0], pool, trust, crls, NOW)
        assert caught.value.reason is expected
    with pytest.raises(Refused) as caught:
        verify_path(parsed(CA.leaf("old", not_after=NOW - DAY))[0], pool, trust, crls, NOW)
    assert caught.value.reason is R.CERTIFICATE_EXPIRED


def test_what_lies_above_is_learned_once_for_each_store() -> None:
    """And again for leaves with other distribution points, and for dates that were not looked at."""
    trust, pool = TrustStore(parsed(ROOT)), parsed(CA)
    point = x509.DistributionPoint([x509.UniformResourceIdentifier("http://crl.test/")], None, None, None)
    pointed = parsed(CA.leaf(extensions=[(x509.CRLDistributionPoints([point]), False)]))[0]
    late = ROOT.crl(this_update=NOW - DAY, next_update=NOW + 2 * DAY), CA.crl(next_update=NOW + 9 * DAY)
    for crls in (CrlStore(map(Crl, (ROOT.crl(), CA.crl()))), CrlStore(map(Crl, late))):
        for leaf in (parsed(ALICE)[0], pointed):
            for steps in (True, False):
                budget = Budget()
                verify_path(leaf, pool, trust, crls, NOW, budget=budget)
                assert (budget.steps < Budget().steps) is steps
    with pytest.raises(Refused) as caught:
        verify_path(parsed(ALICE)[0], pool, trust, crls, NOW + 3 * DAY)
    assert caught.value.reason is R.REVOCATION_UNKNOWN
    assert len(trust.verified.issuer_chains) == 1


def test_revoked_leaf_is_final_and_revoked_outranks_unknown() -> None:
    """Another way to another anchor does not bring it back; of a revoked CA it may."""
    other = Authority.root("Other")
    twin = crossed(CA, other)
    crls = CrlStore(Crl(one) for one in (ROOT.crl(CA), other.crl(), CA.crl()))
    trust = TrustStore(parsed(ROOT, other))
    assert verify_path(parsed(ALICE)[0], parsed(CA, twin), trust, crls, NOW).anchor.certificate == parsed(other)[0]
    for lists, expected in (((ROOT.crl(), CA.crl(ALICE)), ALICE), ((ROOT.crl(CA), CA.crl()), CA)):
        with pytest.raises(Refused) as caught:
            verify_path(parsed(ALICE)[0], parsed(CA, twin), trust, CrlStore(map(Crl, lists)), NOW)
        assert (caught.value.reason, caught.value.certificate) == (R.CERTIFICATE_REVOKED, expected.der)


def test_signer_of_a_crl_needs_a_path_of_its_own() -> None:
    """Another key of the same CA signs its CRL; it verifies through the same search."""
    signer = ROOT.intermediate("CA")
    crls = CrlStore(Crl(one) for one in (ROOT.crl(), signer.crl()))
    trust = TrustStore(parsed(ROOT), parsed(signer))
    path = verify_path(parsed(ALICE)[0], parsed(CA), trust, crls, NOW)
    assert [len(one.crls) for one in path.revocation] == [1, 1]
    expired = TrustStore(parsed(ROOT), parsed(crossed(signer, ROOT, not_after=NOW - DAY)))
    with pytest.raises(Refused) as caught:
        verify_path(parsed(ALICE)[0], parsed(CA), expired, crls, NOW)
    assert caught.value.reason is R.REVOCATION_UNKNOWN


# -- Hostile bags: the counters say what they cost, `make bench` how long it takes ------------------------


def mesh(size: int) -> tuple[Minted, list[Authority]]:
    """A leaf, and `size` certificates of CAs that signed one another; no way leads out."""
    cas = [Authority.root(f"M{number}") for number in range(10)]
    pairs = [(one, other) for step in range(1, 10) for one, other in zip(cas, cas[step:] + cas[:step], strict=True)]
    return cas[0].leaf(), [crossed(one, other) for one, other in pairs[:size]]


@pytest.mark.parametrize("size", [30, 90])
@pytest.mark.parametrize("steps", [200, 5_000])
def test_mesh_of_cross_signed_cas_ends_within_the_budget(size: int, steps: int) -> None:
    """However many ways there are: steps are bounded, and each signature is verified once."""
    leaf, pool = mesh(size)
    budget = Budget(steps=steps)
    assert reason(leaf, *pool, anchors=[ROOT], budget=budget) is R.BUDGET_EXCEEDED
    assert budget.steps == -1
    assert Budget().signatures - budget.signatures <= size + 1


def test_mesh_with_a_way_out_is_left_through_it() -> None:
    """Hostile to the search, and honest in the end."""
    leaf, pool = mesh(30)
    out = ROOT.intermediate("M1", key=pool[0].parent.key)  # type: ignore[union-attr]
    assert reason(leaf, *pool, out, anchors=[ROOT]) is None


def test_140_issuers_of_one_name_end_within_the_budget() -> None:
    """Without identifiers each has to be tried, and none is twice."""
    unmarked = CA.leaf(without=[x509.AuthorityKeyIdentifier])
    wrong = [Authority.root("CA") for _ in range(140)]
    budget = Budget()
    assert reason(unmarked, *wrong, anchors=[ROOT], budget=budget) is R.SIGNATURE_INVALID
    assert (Budget().steps - budget.steps, Budget().signatures - budget.signatures) == (140, 140)
    assert reason(unmarked, *wrong, anchors=[ROOT], budget=Budget(signatures=60)) is R.BUDGET_EXCEEDED


@pytest.mark.slow
def test_large_keys_cost_what_they_take() -> None:
    """Eight units a signature of 8,192 bits."""
    key = new_key("rsa8192")
    root = Authority.root("Large", key=key)
    issuer, pool = root, []
    for number in range(9):
        issuer = issuer.intermediate(f"CA {number}", key=key)
        pool.append(issuer)
    budget = Budget()
    assert reason(issuer.leaf(), *pool, anchors=[root], budget=budget) is None
    assert Budget().signatures - budget.signatures == 80
    assert reason(issuer.leaf(), *pool, anchors=[root], budget=Budget(signatures=79)) is R.BUDGET_EXCEEDED


def test_octets_of_leaf_and_bag_are_bounded() -> None:
    """What is known does not count, and what comes twice counts once."""
    octets = len(ALICE.der) + len(CA.der)
    assert reason(ALICE, CA, CA, ROOT, anchors=[ROOT], budget=Budget(octets=octets)) is None
    assert reason(ALICE, CA, anchors=[ROOT], budget=Budget(octets=octets - 1)) is R.BUDGET_EXCEEDED


def test_policy_default_is_the_librarys() -> None:
    """And a budget that is not given is the library's too."""
    trust = TrustStore(parsed(ROOT))
    assert verify_path(parsed(ALICE)[0], parsed(CA), trust, None, NOW, PLAIN).leaf.der == ALICE.der


def test_path_reports_the_first_exemption_that_a_certificate_needed() -> None:
    """None where all are known to be good."""
    chain = (*parsed(ALICE), parsed(CA), TrustStore(parsed(ROOT)))

    def exemption(*crls: bytes) -> Exemption | None:
        return verify_path(*chain, CrlStore(map(Crl, crls)), NOW, mode_of=lambda _: RevocationMode(soft=True)).exemption

    assert exemption(CA.crl()) is Exemption.SOFT_FAIL
    assert exemption(CA.crl(), ROOT.crl()) is None


# -- What only stored certificates may use ------------------------------------------------------------------

OLD = ValidationPolicy(algorithms=AlgorithmRules(DEFAULT_SIGNATURES | SHA1_SIGNATURES, min_rsa_bits=1024))
WEAK = ROOT.intermediate("Weak", key=new_key("rsa1024"))
SHA1_CA = sha1_signed(CA.der, ROOT)


def stored_reason(
    leaf: Minted | bytes, *pool: Minted | bytes, stored: Sequence[Minted | bytes], policy: ValidationPolicy = OLD
) -> Reason | None:
    """Why a leaf is refused where the operator stored these intermediates below `ROOT`."""
    try:
        verify_path(parsed(leaf)[0], parsed(*pool), TrustStore(parsed(ROOT), parsed(*stored)), None, NOW, policy)
    except Refused as refused:
        return refused.reason
    return None


@pytest.mark.parametrize(
    ("leaf", "ca", "expected"),
    [(ALICE, SHA1_CA, R.ALGORITHM_NOT_ALLOWED), (WEAK.leaf(), WEAK, R.KEY_SIZE_NOT_ALLOWED)],
    ids=["SHA-1", "RSA of 1,024 bits"],
)
def test_weak_ca_counts_if_it_is_stored_and_a_policy_accepts_it(
    leaf: Minted, ca: Minted | bytes, expected: Reason
) -> None:
    """A copy that the client brings is the stored certificate, byte for byte; without the stored one it is nothing."""
    assert stored_reason(leaf, stored=[ca]) is None
    assert stored_reason(leaf, ca, stored=[ca]) is None
    assert stored_reason(leaf, ca, stored=[]) is expected
    assert stored_reason(leaf, ca, stored=[ca], policy=PLAIN) is expected


def test_certificate_that_collides_with_a_stored_one_is_not_that() -> None:
    """The same name and key, another signature with SHA-1: other bytes, and the stored one need not be there at all."""
    again = sha1_signed(ROOT.intermediate("CA", key=CA.key).der, ROOT)
    assert stored_reason(ALICE, again, stored=[WEAK]) is R.ALGORITHM_NOT_ALLOWED
    other = ROOT.intermediate("Other")
    assert stored_reason(other.leaf(), sha1_signed(other.der, ROOT), stored=[SHA1_CA]) is R.ALGORITHM_NOT_ALLOWED


@pytest.mark.parametrize("stored", [True, False])
def test_leaf_never_counts_as_stored(stored: bool) -> None:
    """Neither its signature nor its key, even if the operator stored the same certificate as an intermediate."""
    for leaf, expected in (
        (sha1_signed(ALICE.der, CA), R.ALGORITHM_NOT_ALLOWED),
        (CA.leaf(key=WEAK.key), R.KEY_SIZE_NOT_ALLOWED),
    ):
        assert stored_reason(leaf, stored=[CA, leaf] if stored else [CA]) is expected


def test_weak_stored_ca_hides_no_other_way() -> None:
    """Where a policy refuses the stored certificate, the one of the same CA that a client brings is tried."""
    assert stored_reason(ALICE, CA, stored=[SHA1_CA], policy=PLAIN) is None


def test_weak_anchor_needs_a_policy_too() -> None:
    """Its key; its signature is not verified."""
    root = Authority.root("Weak", key=new_key("rsa1024"))
    assert reason(root.leaf(), anchors=[root]) is R.KEY_SIZE_NOT_ALLOWED
    assert reason(root.leaf(), anchors=[root], policy=OLD) is None


def test_store_of_crls_serves_policies_that_differ() -> None:
    """The one that accepts a brainpool CA finds its CRL; what it proves changes nothing for the other, nor back."""
    root = Authority.root("Shared")
    ca = root.intermediate("CA", key=new_key("bp256"))
    wide = ValidationPolicy(algorithms=AlgorithmRules(keys=frozenset({"secp256r1", "brainpoolP256r1"})))
    trust, crls = TrustStore(parsed(root)), CrlStore([Crl(root.crl()), Crl(ca.crl())])
    leaf, chain = parsed(ca.leaf())[0], parsed(ca)
    for policy, expected in ((PLAIN, R.ALGORITHM_NOT_ALLOWED), (wide, None)) * 3:
        try:
            found = verify_path(leaf, chain, trust, crls, NOW, policy) and None
        except Refused as refused:
            found = refused.reason
        assert found is expected
