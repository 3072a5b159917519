"""What is known to lie above a leaf changes what a check costs, and nothing that it says."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed448, ed25519
from support.certificates import NOW, Authority, Minted, entry, san, usage
from support.outcomes import parsed
from support.random_chains import FEATURES, ROWS, draw
from support.raw_der import handmade, raw_name
from support.revocation_world import AHEAD, CA, EXPIRED, ROOT, at, idp, points
from support.scenarios import NOTHING, Scenario, signing

from authz.errors import Refused
from authz.pki import DEFAULT_POLICY, SERVICE_POLICY, Budget, Crl, CrlStore, ModeOf, RevocationMode, TrustStore
from authz.pki.cache.assurances import AssuranceCache
from authz.pki.cache.verified import MAX_KEY_OCTETS
from authz.pki.path.builder import VerifiedPath, verify_path
from authz.pki.validation_policy import CRL_SIGNER_POLICY, ValidationPolicy
from authz.pki.x509.algorithms import AlgorithmRules
from authz.reasons import Reason

R = Reason
DAY = timedelta(days=1)
EDWARDS = (ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey)
ALICE, BOB = (CA.leaf(one) for one in ("alice", "bob"))


def uri(number: int) -> x509.GeneralName:
    """A name of a distribution point."""
    return x509.UniformResourceIdentifier(f"http://crl.example.test/{number}")


class Known:
    """Anchors and CRLs that stay, so that what was learned counts."""

    def __init__(self, *crls: bytes, anchors: tuple[Minted, ...] = (ROOT,), without_crls: bool = False) -> None:
        self.trust = TrustStore(parsed(*anchors))
        self.crls = CrlStore(map(Crl, crls or (ROOT.crl(), CA.crl())))
        self.without_crls = without_crls

    def check(
        self,
        leaf: Minted | bytes,
        *pool: Minted | bytes,
        at: datetime = NOW,
        policy: ValidationPolicy = DEFAULT_POLICY,
        budget: Budget | None = None,
        mode_of: ModeOf | None = None,
    ) -> VerifiedPath:
        """The verified path."""
        bag = parsed(*(pool or (CA,)))
        crls = None if self.without_crls else self.crls
        return verify_path(parsed(leaf)[0], bag, self.trust, crls, at, policy, budget, mode_of)

    @property
    def assured(self) -> int:
        """How many assurances are remembered."""
        return len(self.crls.memory.part(self.trust.verified.owner, AssuranceCache))

    def reason(self, leaf: Minted | bytes, *pool: Minted | bytes, **options: object) -> Reason | None:
        """Why not, None for a path."""
        try:
            self.check(leaf, *pool, **options)  # type: ignore[arg-type]
        except Refused as refusal:
            return refusal.reason
        return None

    def searches(self, leaf: Minted | bytes, *pool: Minted | bytes, **options: object) -> bool:
        """Whether the check took a search: it alone takes steps."""
        budget = Budget()
        self.check(leaf, *pool, budget=budget, **options)  # type: ignore[arg-type]
        return budget.steps < Budget().steps


def test_another_leaf_of_a_known_issuer_costs_its_signature_alone() -> None:
    """The path and its proofs are those that the search gives."""
    known = Known()
    first = known.check(ALICE)
    budget = Budget()
    second = known.check(BOB, budget=budget)
    assert (Budget().steps - budget.steps, Budget().signatures - budget.signatures) == (0, 1)
    assert second.certificates == (*parsed(BOB), *first.certificates[1:])
    assert [one.crls for one in second.revocation] == [one.crls for one in first.revocation]
    assert [one.certificate for one in second.revocation] == list(second.certificates[:-1])
    assert not known.searches(BOB)


def test_issuer_that_is_not_presented_again_is_not_known() -> None:
    """That some client sent it once proves nothing for the next."""
    known = Known()
    known.check(ALICE)
    with pytest.raises(Refused) as caught:
        verify_path(parsed(ALICE)[0], (), known.trust, known.crls, NOW)
    assert caught.value.reason is R.ISSUER_UNKNOWN


@pytest.mark.parametrize(
    ("days", "expected"),
    [(8, R.REVOCATION_UNKNOWN), (400, R.CERTIFICATE_EXPIRED), (-400, R.CERTIFICATE_NOT_YET_VALID)],
)
def test_dates_are_looked_at_by_every_check(days: int, expected: Reason) -> None:
    """Of the leaf, of every CA, of every CRL."""
    known = Known()
    assert known.reason(ALICE) is None
    assert known.reason(ALICE, at=NOW + days * DAY) is expected
    assert known.reason(ALICE) is None


def test_leaf_that_expired_is_known_no_longer() -> None:
    """Though the CA above it, and all CRLs, live on."""
    known = Known()
    leaf = known.trust.parse(CA.leaf("short", not_after=NOW + DAY).der)
    for _ in range(2):
        assert verify_path(leaf, parsed(CA), known.trust, known.crls, NOW).leaf is leaf
    with pytest.raises(Refused) as caught:
        verify_path(leaf, parsed(CA), known.trust, known.crls, NOW + 2 * DAY)
    assert caught.value.reason is R.CERTIFICATE_EXPIRED


def test_ca_that_expired_ends_what_was_known() -> None:
    """Though the leaf says that it lives on."""
    short = ROOT.intermediate("Short", not_after=NOW + DAY)
    leaf = short.leaf(not_after=NOW + 9 * DAY)
    known = Known(ROOT.crl(next_update=NOW + 9 * DAY), short.crl(next_update=NOW + 9 * DAY))
    assert known.reason(leaf, short) is None
    assert known.reason(leaf, short, at=NOW + 2 * DAY) is R.CERTIFICATE_EXPIRED


@pytest.mark.parametrize("listed", ["leaf", "CA"])
def test_revoked_is_reported_at_once_with_the_next_store(listed: str) -> None:
    """Whatever was known of the last one."""
    known = Known()
    known.check(ALICE)
    newer = {"this_update": NOW - DAY / 2, "number": 9}
    by, one = (CA, ALICE) if listed == "leaf" else (ROOT, CA)
    known.crls = CrlStore([*known.crls, Crl(by.crl(one, **newer))])
    assert known.reason(ALICE) is R.CERTIFICATE_REVOKED


def test_leaf_that_a_known_crl_lists_is_revoked() -> None:
    """The CAs above it being good says nothing of the leaf."""
    known = Known(ROOT.crl(), CA.crl(BOB))
    assert known.reason(ALICE) is None
    assert known.reason(BOB) is R.CERTIFICATE_REVOKED


def test_signature_that_does_not_verify_is_tried_once() -> None:
    """The search that tells why knows of it already."""
    known = Known()
    known.check(ALICE)
    forged = bytearray(BOB.der)
    forged[-1] ^= 1
    budget = Budget()
    assert known.reason(bytes(forged), budget=budget) is R.SIGNATURE_INVALID
    assert Budget().signatures - budget.signatures == 1
    assert known.reason(BOB) is None


def test_path_of_another_policy_does_not_count() -> None:
    """The rules that were looked at are the other policy's."""
    known = Known()
    leaf = CA.leaf()
    known.check(leaf, policy=SERVICE_POLICY)
    assert known.searches(leaf, policy=replace(SERVICE_POLICY, max_path_length=1))
    assert known.reason(leaf, policy=replace(SERVICE_POLICY, max_path_length=0)) is R.PATH_LENGTH_EXCEEDED


def test_path_longer_than_a_budget_does_not_count() -> None:
    """What a larger budget found is not found with a smaller one; octets count too."""
    known = Known()
    known.check(ALICE)
    assert known.reason(ALICE, budget=Budget(depth=1)) is R.PATH_LENGTH_EXCEEDED
    assert known.reason(ALICE, budget=Budget(octets=len(ALICE.der))) is R.BUDGET_EXCEEDED
    assert known.reason(CA.leaf(), budget=Budget(signatures=0)) is R.BUDGET_EXCEEDED


def test_path_behind_a_dead_end_is_not_remembered() -> None:
    """The search might go another way at another time."""
    old = ROOT.intermediate("CA", key=CA.key, not_after=NOW - DAY)
    known = Known()
    for _ in range(2):
        assert known.searches(ALICE, old, CA)
    assert len(known.trust.verified.issuer_chains) == 0


def test_leaf_with_the_name_of_a_ca_above_is_left_to_the_search() -> None:
    """There it may meet itself."""
    known = Known()
    known.check(ALICE)
    assert known.searches(CA.leaf("Root"))


def test_path_past_a_copy_of_the_leaf_is_not_remembered() -> None:
    """For the next leaf, that certificate of the leaf's name and key is an issuer like any other."""
    copy = ROOT.intermediate("CA")
    leaf = CA.leaf("CA", key=copy.key, without=[x509.AuthorityKeyIdentifier])
    known = Known()
    for _ in range(2):
        assert known.searches(leaf, copy, CA)
    assert len(known.trust.verified.issuer_chains) == 0
    assert known.searches(leaf, CA)
    assert len(known.trust.verified.issuer_chains) == 1


def test_bag_with_a_stranger_that_cannot_be_read_is_not_remembered() -> None:
    """It may be reported."""
    odd = handmade(CA.key, issuer=raw_name(b"CA"), subject=raw_name(b"\xe9"))  # type: ignore[arg-type]
    known = Known()
    for _ in range(2):
        assert known.searches(ALICE, CA, odd)


@pytest.mark.parametrize("copies", [1, 50])
def test_bag_that_is_too_large_is_not_remembered(copies: int) -> None:
    """For it would be part of the key: duplicates count, too."""
    strangers = [Authority.root("S" * 60, key=CA.key) for _ in range(MAX_KEY_OCTETS // 400 // copies + 1)] * copies
    known = Known()
    assert known.searches(ALICE, CA, *strangers)
    assert len(known.trust.verified.issuer_chains) == 0


def test_leaf_that_was_forgotten_is_remembered_again() -> None:
    """Though its signature still is."""
    known = Known()
    known.check(ALICE)
    known.trust.verified._certificates.clear()
    known.check(ALICE)
    assert known.trust.verified.holds(parsed(ALICE)[0])


# -- What a path stands for, one date and one rule at a time ------------------------------------------------

FAR: dict[str, object] = {"next_update": NOW + 300 * DAY}
NARROW = ValidationPolicy(algorithms=AlgorithmRules(signatures=frozenset({"1.2.840.10045.4.3.2"})))


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (ValidationPolicy(algorithms=AlgorithmRules(keys=frozenset({"secp384r1"}))), R.ALGORITHM_NOT_ALLOWED),
        (ValidationPolicy(require_explicit_policy=True), R.POLICY_NOT_ALLOWED),
        (ValidationPolicy(extended_key_usage="1.2.3"), R.EXTENDED_KEY_USAGE_NOT_ALLOWED),
        (ValidationPolicy(max_path_length=0), R.PATH_LENGTH_EXCEEDED),
    ],
    ids=["algorithms", "explicit policy", "purpose", "path length"],
)
def test_known_leaf_is_refused_once_its_organization_demands_more(policy: ValidationPolicy, expected: Reason) -> None:
    """The trust read anew shares every cache with the one before, and so does a policy that is given for one check."""
    known = Known()
    before = known.trust
    assert not [known.searches(ALICE) for _ in range(3)][-1]
    known.trust = TrustStore(before.anchors, (), before.verified, policy)
    assert [known.reason(ALICE, policy=known.trust.policy) for _ in range(2)] == [expected] * 2
    known.trust = before
    assert [known.reason(ALICE), known.reason(ALICE, policy=policy), known.reason(ALICE)] == [None, expected, None]


@pytest.mark.parametrize("who", ["CA", "anchor"])
def test_end_of_a_ca_counts_without_crls_too(who: str) -> None:
    """As for the gateways of hops."""
    root = Authority.root("Root", not_after=NOW + DAY) if who == "anchor" else ROOT
    ca = root.intermediate("Short", not_after=NOW + (DAY if who == "CA" else 9 * DAY))
    known = Known(anchors=(root,), without_crls=True)
    leaf = ca.leaf()
    assert known.reason(leaf, ca) is None
    assert known.reason(leaf, ca, at=NOW + 2 * DAY) is R.CERTIFICATE_EXPIRED


def test_ca_as_leaf_has_crls_of_its_own() -> None:
    """The same issuer, the same distribution points: another scope."""
    sub = CA.intermediate("Sub", extensions=[(usage("key_cert_sign", "crl_sign", "digital_signature"), True)])
    known = Known(ROOT.crl(), CA.crl(extensions=idp(only="users")), CA.crl(sub, extensions=idp(only="cas")))
    assert known.reason(ALICE) is None
    assert known.reason(sub) is R.CERTIFICATE_REVOKED


def test_delta_that_took_a_ca_off_hold_ends() -> None:
    """From then on the hold counts."""
    off = entry(CA.certificate.serial_number, reason=x509.ReasonFlags.remove_from_crl)
    dates = {"this_update": NOW - DAY / 2, "next_update": NOW + DAY}
    delta = ROOT.crl(off, number=2, extensions=[(x509.DeltaCRLIndicator(1), True)], **dates)
    hold = ROOT.crl(CA, reason=x509.ReasonFlags.certificate_hold, **FAR)
    known = Known(hold, delta, CA.crl(**FAR))
    assert known.reason(ALICE) is None
    assert known.reason(ALICE, at=NOW + 2 * DAY) is R.CERTIFICATE_REVOKED


def test_clock_before_the_crl_of_a_ca_finds_nothing_known() -> None:
    """The CRL has not begun."""
    known = Known(ROOT.crl(), CA.crl(this_update=NOW - 9 * DAY))
    assert known.reason(ALICE) is None
    assert known.reason(ALICE, at=NOW - 2 * DAY) is R.REVOCATION_UNKNOWN


def test_crl_of_the_uppermost_ca_that_ends_first_counts() -> None:
    """The others hold on."""
    low = CA.intermediate("Low")
    known = Known(ROOT.crl(next_update=NOW + DAY), CA.crl(**FAR), low.crl(**FAR))
    leaf = low.leaf()
    assert known.reason(leaf, low, CA) is None
    assert known.reason(leaf, low, CA, at=NOW + 2 * DAY) is R.REVOCATION_UNKNOWN


def test_names_that_the_anchors_certificate_excludes_are_looked_at() -> None:
    """They are the leaf's."""
    excluded = x509.NameConstraints(None, [x509.DNSName("bad.example.test")])
    root = Authority.root("Root", extensions=[(excluded, True)])
    ca = root.intermediate("CA")
    known = Known(anchors=(root,), without_crls=True)
    assert known.reason(ca.leaf("good"), ca) is None
    assert known.reason(ca.leaf("bad"), ca) is R.NAME_CONSTRAINT_VIOLATED


def test_narrow_policy_holds_for_the_leafs_crls() -> None:
    """For one that begins later, too."""
    later = CA.crl(number=2, this_update=NOW + DAY, digest=hashes.SHA384(), **FAR)
    known = Known(ROOT.crl(**FAR), CA.crl(**FAR), later)
    assert known.reason(ALICE, policy=NARROW) is None
    assert known.reason(ALICE, policy=NARROW, at=NOW + 2 * DAY) is R.REVOCATION_UNKNOWN


def test_proofs_of_another_policy_do_not_count() -> None:
    """Though the path above is known under this one."""
    known = Known(ROOT.crl(digest=hashes.SHA384()), CA.crl())
    verify_path(parsed(ALICE)[0], parsed(CA), known.trust, None, NOW, NARROW)
    assert known.reason(ALICE) is None
    assert known.reason(ALICE, policy=NARROW) is R.REVOCATION_UNKNOWN


def test_signer_beside_the_path_is_asked_every_time() -> None:
    """It may speak today and not tomorrow."""
    other = ROOT.intermediate("CA")
    trust_too = (CA, other)
    known = Known(ROOT.crl(), CA.crl(), other.crl(ALICE))
    assert known.reason(BOB, *trust_too) is None
    assert known.searches(BOB, *trust_too)
    assert known.reason(ALICE, *trust_too) is R.CERTIFICATE_REVOKED


def test_leaf_whose_issuer_cannot_be_read_is_left_to_the_search() -> None:
    """Which says why."""
    odd = handmade(CA.key, issuer=raw_name(b"\xe9"), subject=raw_name(b"alice"))  # type: ignore[arg-type]
    assert Known().reason(odd) is R.CERTIFICATE_MALFORMED


def test_policies_of_the_leaf_are_looked_at_by_the_search() -> None:
    """They are about the whole path."""
    known = Known()
    leaf = CA.leaf(extensions=[(x509.PolicyConstraints(require_explicit_policy=0, inhibit_policy_mapping=None), True)])
    assert known.reason(ALICE) is None
    assert known.reason(leaf) is R.POLICY_NOT_ALLOWED


def test_path_of_a_ca_that_is_too_large_once_read_is_not_remembered() -> None:
    """Its leaves are searched for each time, and good."""
    names = san(*(f"{number:060}.{'a' * 60}.{'b' * 60}.test" for number in range(90)))
    large = ROOT.intermediate("CA", key=CA.key, extensions=[(names, False)])
    known = Known()
    for _ in range(2):
        assert known.searches(ALICE, large)
    assert len(known.trust.verified.issuer_chains) == 0


def test_leaves_with_long_lists_of_distribution_points_are_left_to_the_search() -> None:
    """Nothing is remembered of them."""
    known = Known()
    leaf = CA.leaf(extensions=points(at(*(uri(number) for number in range(50)))))
    for _ in range(2):
        assert known.searches(leaf)
    assert known.assured == 0


def test_assurance_says_nothing_about_leaves_that_were_not_asked_about() -> None:
    """One with other points, or of a CA, is another kind: the search knows."""
    known = Known()
    assert known.searches(ALICE)
    assert not known.searches(BOB)
    assert known.searches(CA.leaf(extensions=points(at(uri(1)))))


@pytest.mark.parametrize("crl", [ROOT.crl(**EXPIRED), ROOT.crl(**AHEAD)], ids=["expired", "ahead"])
def test_crl_without_a_current_date_assures_nothing(crl: bytes) -> None:
    """What is let pass meanwhile is asked about by every check."""
    known = Known(crl, CA.crl())
    assert known.assured == 0
    if known.reason(ALICE, mode_of=lambda _: RevocationMode(soft=True)) is None:
        assert known.searches(ALICE, mode_of=lambda _: RevocationMode(soft=True))
    assert known.assured == 0
    assert known.reason(ALICE) is R.REVOCATION_UNKNOWN


# -- Whatever was learned before: the same answer as without any memory -------------------------------------


def drawn_crls(scene: Scenario, drawn: random.Random) -> list[bytes]:
    """Its CRLs, and more of its CAs: with other dates, other algorithms, listing somebody."""
    more = []
    for ca in (scene.anchor, *scene.cas):
        begun = NOW + drawn.choice((-9, -3, -1, 2)) * DAY
        dates = {"this_update": begun, "next_update": begun + drawn.choice((2, 5, 30)) * DAY}
        digest = {} if isinstance(ca.key, EDWARDS) else {"digest": drawn.choice((hashes.SHA256(), hashes.SHA384()))}
        some = [one for one in (*scene.cas, scene.user) if one.certificate.serial_number > 0]
        listed = drawn.sample(some, drawn.choice((0, 0, 0, 1)))
        if drawn.random() < 0.5 and not signing(ca.key):
            more.append(ca.crl(*listed, number=drawn.randint(1, 9), **dates, **digest))
    return scene.crls + more


def fresh_and_known(scene: Scenario, drawn: random.Random, rounds: int) -> list[tuple[object, object]]:
    """What checks say with a memory that grows, and without one."""
    policy = ValidationPolicy(**scene.inputs) if scene.inputs else DEFAULT_POLICY  # type: ignore[arg-type]
    crls = [Crl(one) for one in drawn_crls(scene, drawn)]
    leaves = [scene.der, *(scene.issuer.leaf(name, **{**signing(scene.issuer.key), **scene.leaf}).der for name in "bc")]
    leaves.append(scene.issuer.intermediate("Low", **signing(scene.issuer.key)).der)
    trust, store = TrustStore(parsed(scene.anchor)), CrlStore(crls)
    honest = [one.der for one in (*scene.cas, *scene.others)]
    answers = []
    for _ in range(rounds):
        leaf = drawn.choice((*leaves, *leaves, *honest[:1]))
        pool = drawn.choice((honest, honest, honest, honest[::-1], honest[1:], scene.pool, scene.pool[::-1]))
        at = NOW + drawn.choice((0, 0, 0, 0, -400, -2, -1, 1, 3, 8, 400)) * DAY
        rules = drawn.choice((policy, policy, SERVICE_POLICY, CRL_SIGNER_POLICY, NARROW))
        mode_of = drawn.choice((None, None, lambda _: RevocationMode(2 * DAY), lambda _: RevocationMode(soft=True)))
        revocation = drawn.random() < 0.8
        if drawn.random() < 0.1:
            store = CrlStore(drawn.sample(crls, max(1, len(crls) - 1)))

        def said(trust: TrustStore, store: CrlStore) -> object:
            try:
                leaf_, *bag = [trust.parse(one) for one in (leaf, *pool)]  # noqa: B023 - called at once
                asked = store if revocation else None  # noqa: B023
                found = verify_path(leaf_, bag, trust, asked, at, rules, Budget(), mode_of)  # noqa: B023
            except Refused as refusal:
                return refusal.reason, refusal.detail, refusal.certificate, refusal.path
            proofs = [(one.certificate, one.crls, one.exemption) for one in found.revocation]
            places = found.origins, found.between
            return found.certificates, found.anchor.certificate, places, found.exemption, proofs

        answers.append((said(trust, store), said(TrustStore(parsed(scene.anchor)), CrlStore(store))))
    return answers


@pytest.mark.fuzz
@pytest.mark.parametrize(("feature", "broken"), ROWS)
def test_memory_changes_no_answer(feature: str, broken: str) -> None:
    """Of chains of every feature, whole and broken, in any order, at any time, under any policy."""
    for number in range(2 * int(os.environ.get("FUZZ", "1"))):
        drawn = random.Random(f"{feature} {broken} {number}")
        scene = draw(drawn, feature, broken)
        for known, fresh in fresh_and_known(scene, drawn, 12):
            assert known == fresh, (feature, broken, number)


def test_memory_is_used_by_chains_of_most_features() -> None:
    """Otherwise the test above would show nothing."""
    used = set()
    for feature in FEATURES:
        scene = draw(random.Random(feature), feature, NOTHING)
        known = Known(*scene.crls, anchors=(scene.anchor,))
        bag = [*scene.cas, *scene.others]
        policy = ValidationPolicy(**scene.inputs)  # type: ignore[arg-type]
        known.check(scene.der, *bag, policy=policy)
        if not known.searches(scene.der, *bag, policy=policy):
            used.add(feature)
    assert used >= {"plain", "names respelled", "reasons split", "delta CRL", "distribution point"}
    assert not used & {"name constraints", "policies", "CRL by another key", "indirect CRL"}
