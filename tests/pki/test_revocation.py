"""Whether certificates are known not to be revoked, and every way to be wrong about it."""

from __future__ import annotations

import pytest
from cryptography import x509
from pki_factory import NOW, Authority, Minted, entry, name, new_key, usage
from revocation_world import (
    AHEAD,
    CA,
    CRL_SIGNER,
    EVERY,
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
    days,
    idp,
    points,
    prove,
    refusal,
)

from authz.errors import Refused
from authz.pki import Budget, Certificate, Crl, CrlStore, NotRevoked, TrustStore, verify_path
from authz.reasons import Reason

# -- One complete CRL each -----------------------------------------------------------------------------


def test_path_listed_nowhere_is_proven_good() -> None:
    """There is a proof for each certificate below the anchor, with the CRL that was asked."""
    crls = [Crl(ROOT.crl()), Crl(CA.crl(5))]
    proofs = prove(LEAF, [one.der for one in crls]).revocation
    assert [one.certificate.der for one in proofs] == [LEAF.der, CA.der]
    assert [[crl.sha256 for crl in one.crls] for one in proofs] == [[crls[1].sha256], [crls[0].sha256]]


def test_proof_is_made_by_the_check_alone() -> None:
    """Nobody else can say that a certificate is not revoked."""
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
        pytest.param([ROOT.crl(), CA.crl()[:-1] + b"\0"], UNKNOWN, LEAF, id="a signature that is not right"),
        pytest.param([ROOT.crl(), CA.crl(LEAF, number=1), CA.crl(number=2)], GOOD, None, id="a hold lifted"),
        pytest.param([ROOT.crl(), CA.crl(number=1), CA.crl(LEAF, number=2)], REVOKED, LEAF, id="an older one beside"),
    ],
)
def test_complete_crls_decide(crls: list[bytes], expected: str, about: Minted | None) -> None:
    """The most useful outcome is told, about the certificate it concerns."""
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


def test_listing_by_a_crl_with_an_unknown_critical_extension_counts() -> None:
    """It proves nobody good, and what it lists is listed."""
    odd = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    assert check(LEAF, [ROOT.crl(), CA.crl(extensions=[(odd, True)])]) is UNKNOWN
    assert check(LEAF, [ROOT.crl(), CA.crl(LEAF, extensions=[(odd, True)])]) is REVOKED
    assert check(LEAF, [ROOT.crl(), CA.crl(entry(9, extensions=[(odd, True)]))]) is UNKNOWN


# -- Scope: distribution points, kinds of certificates, reasons ----------------------------------------


@pytest.mark.parametrize(
    ("scope", "for_leaf", "for_ca"),
    [
        (idp(only="users"), GOOD, UNKNOWN),
        (idp(only="cas"), UNKNOWN, GOOD),
        (idp(only="attributes"), UNKNOWN, UNKNOWN),
        (idp(ONE), UNKNOWN, UNKNOWN),
        (idp(indirect=True), GOOD, GOOD),
    ],
)
def test_scope_limits_whom_a_crl_speaks_for(scope: Extensions, for_leaf: str, for_ca: str) -> None:
    """A CRL for users, CAs, attribute certificates or one distribution point says nothing about others."""
    assert check(LEAF, [ROOT.crl(), CA.crl(extensions=scope)]) == for_leaf
    assert check(LEAF, [ROOT.crl(extensions=scope), CA.crl()]) == for_ca


SHARD = CA.leaf("shard", extensions=points(at(ONE)))
HANGING = x509.RelativeDistinguishedName([x509.NameAttribute(x509.NameOID.COMMON_NAME, "shard 1")])
FULL = x509.DirectoryName(x509.Name([*name("CA").rdns, HANGING]))
RELATIVE = CA.leaf("relative", extensions=points(x509.DistributionPoint(None, HANGING, None, None)))
RELATIVE_SCOPE: Extensions = [(x509.IssuingDistributionPoint(None, HANGING, False, False, None, False, False), True)]


@pytest.mark.parametrize(
    ("leaf", "crls", "expected"),
    [
        pytest.param(SHARD, [CA.crl(extensions=idp(ONE))], GOOD, id="its own part"),
        pytest.param(SHARD, [CA.crl(extensions=idp(TWO, ONE))], GOOD, id="one name in common"),
        pytest.param(SHARD, [CA.crl(extensions=idp(TWO))], UNKNOWN, id="another part"),
        pytest.param(SHARD, [CA.crl(SHARD, extensions=idp(ONE))], REVOKED, id="listed in its own part"),
        pytest.param(
            SHARD, [CA.crl(extensions=idp(TWO), number=9), CA.crl(SHARD, extensions=idp(ONE))], REVOKED, id="newer part"
        ),
        pytest.param(SHARD, [CA.crl()], GOOD, id="a CRL for all"),
        pytest.param(
            SHARD, [CA.crl(**days(3)), CA.crl(SHARD, extensions=idp(ONE), number=2)], REVOKED, id="a CRL for all beside"
        ),
        pytest.param(
            SHARD, [CA.crl(SHARD), CA.crl(extensions=idp(ONE), number=2)], REVOKED, id="listed in the CRL for all"
        ),
        pytest.param(
            SHARD, [CA.crl(SHARD, extensions=idp(ONE), **EXPIRED), CA.crl()], GOOD, id="listed in an expired part"
        ),
        pytest.param(RELATIVE, [CA.crl(extensions=RELATIVE_SCOPE)], GOOD, id="relative names"),
        pytest.param(RELATIVE, [CA.crl(extensions=idp(FULL))], GOOD, id="a relative and a full name"),
        pytest.param(SHARD, [CA.crl(extensions=RELATIVE_SCOPE)], UNKNOWN, id="a relative name of another point"),
    ],
)
def test_distribution_points_find_their_crl(leaf: Minted, crls: list[bytes], expected: str) -> None:
    """A CRL for one part of the certificates answers for that part, and one for all answers beside it."""
    assert check(leaf, [ROOT.crl(), *crls]) == expected


TWO_PARTS = CA.leaf("parts", extensions=points(at(ONE, reasons=EVERY[:3]), at(TWO, reasons=EVERY[3:])))


@pytest.mark.parametrize(
    ("leaf", "crls", "expected"),
    [
        (LEAF, [idp(reasons=EVERY[:3]), idp(reasons=EVERY[3:])], GOOD),
        (LEAF, [idp(reasons=EVERY[:3]), idp(reasons=EVERY[4:])], UNKNOWN),
        (LEAF, [idp(reasons=EVERY[1:])], UNKNOWN),
        (LEAF, [idp(reasons=EVERY)], GOOD),
        (TWO_PARTS, [idp(ONE), idp(TWO)], GOOD),
        (TWO_PARTS, [idp(ONE)], UNKNOWN),
        (TWO_PARTS, [idp(ONE), idp(TWO, reasons=EVERY[4:])], UNKNOWN),
        (TWO_PARTS, [idp(ONE, TWO)], GOOD),
    ],
)
def test_reasons_add_up_to_all_or_the_status_is_unknown(leaf: Minted, crls: list[Extensions], expected: str) -> None:
    """CRLs for some reasons prove a certificate good together only (RFC 5280 section 6.3.3)."""
    assert check(leaf, [ROOT.crl(), *(CA.crl(extensions=one) for one in crls)]) == expected


@pytest.mark.parametrize("listing", [0, 1])
def test_listing_for_any_reason_revokes(listing: int) -> None:
    """Whichever of the CRLs lists the certificate, it is revoked."""
    scopes = [idp(reasons=EVERY[:3]), idp(reasons=EVERY[3:])]
    crls = [CA.crl(*([LEAF] if at == listing else []), extensions=one) for at, one in enumerate(scopes)]
    assert check(LEAF, [ROOT.crl(), *crls]) is REVOKED
    assert check(LEAF, [ROOT.crl(), CA.crl(), *crls]) is REVOKED


def test_expired_crl_for_some_reasons_leaves_them_open() -> None:
    """What one CRL does not cover, an expired one does not cover either."""
    crls = [CA.crl(extensions=idp(reasons=EVERY[:3])), CA.crl(extensions=idp(reasons=EVERY[3:]), **EXPIRED)]
    assert check(LEAF, [ROOT.crl(), *crls]) is UNKNOWN


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


def test_delta_by_another_key_of_the_ca_lifts_nothing() -> None:
    """Number and base order CRLs of one key only."""
    other = ROOT.intermediate("CA")
    crls = [ROOT.crl(), CA.crl(HOLD), other.crl(LIFT, number=2, extensions=DELTA)]
    assert check(LEAF, crls, pool=[CA, other]) is REVOKED


# -- Indirect CRLs --------------------------------------------------------------------------------------

AGENT = ROOT.intermediate("Agent", extensions=CRL_SIGNER)
DELEGATED = CA.leaf("delegated", extensions=points(at(ONE, by="Agent")))
SERIAL = DELEGATED.certificate.serial_number
INDIRECT = idp(ONE, indirect=True)


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        pytest.param([], GOOD, id="nobody"),
        pytest.param([entry(SERIAL)], GOOD, id="the agent's own certificate of that number"),
        pytest.param([entry(SERIAL, issuer=name("CA"))], REVOKED, id="listed"),
        pytest.param([entry(1, issuer=name("CA")), entry(SERIAL)], REVOKED, id="listed by the issuer named last"),
        pytest.param([entry(1, issuer=name("CA")), entry(SERIAL, issuer=name("Root"))], GOOD, id="another issuer's"),
        pytest.param(
            [entry(1, issuer=name("Root")), entry(2, issuer=name("CA")), entry(3), entry(SERIAL)], REVOKED, id="sticky"
        ),
    ],
)
def test_indirect_crl_lists_by_issuer(listed: list[x509.RevokedCertificate], expected: str) -> None:
    """A certificate is on an indirect CRL only with its own issuer's name, stated or carried over."""
    crls = [ROOT.crl(), AGENT.crl(*listed, extensions=INDIRECT)]
    assert check(DELEGATED, crls, pool=[CA, AGENT]) == expected


@pytest.mark.parametrize(
    ("leaf", "crl", "expected"),
    [
        pytest.param(DELEGATED, AGENT.crl(extensions=idp(ONE)), UNKNOWN, id="not indirect"),
        pytest.param(DELEGATED, AGENT.crl(), UNKNOWN, id="no issuing distribution point"),
        pytest.param(DELEGATED, AGENT.crl(extensions=idp(TWO, indirect=True)), UNKNOWN, id="another point"),
        pytest.param(DELEGATED, AGENT.crl(extensions=idp(indirect=True)), GOOD, id="for every point"),
        pytest.param(DELEGATED, AGENT.crl(extensions=INDIRECT, key=new_key()), UNKNOWN, id="forged"),
        pytest.param(LEAF, AGENT.crl(extensions=idp(indirect=True)), UNKNOWN, id="not delegated"),
        pytest.param(SHARD, AGENT.crl(extensions=INDIRECT), UNKNOWN, id="same point, not delegated"),
        pytest.param(DELEGATED, CA.crl(), GOOD, id="the CA's own, for all"),
        pytest.param(DELEGATED, CA.crl(extensions=idp(ONE)), UNKNOWN, id="the CA's own, for the agent's point"),
    ],
)
def test_indirect_crl_needs_to_be_delegated(leaf: Minted, crl: bytes, expected: str) -> None:
    """It counts for certificates that name its issuer, at their point, if it says that it is indirect."""
    assert check(leaf, [ROOT.crl(), crl], pool=[CA, AGENT]) == expected


def test_indirect_crl_goes_by_the_name_of_its_issuer_where_the_point_has_none() -> None:
    """A point without a name of its own has its CRL issuer's (RFC 5280 section 6.3.3 (b) (2) (i))."""
    leaf = CA.leaf(extensions=points(at(by="Agent")))
    by_name = idp(x509.DirectoryName(name("Agent")), indirect=True)
    assert check(leaf, [ROOT.crl(), AGENT.crl(extensions=by_name)], pool=[CA, AGENT]) == GOOD
    assert check(leaf, [ROOT.crl(), AGENT.crl(extensions=INDIRECT)], pool=[CA, AGENT]) is UNKNOWN


def test_indirect_crl_of_a_ca_on_the_path_needs_no_other_path() -> None:
    """An ancestor that the certificate names may list it."""
    leaf = CA.leaf(extensions=points(at(by="Root")))
    listed = entry(leaf.certificate.serial_number, issuer=name("CA"))
    assert check(leaf, [ROOT.crl(extensions=idp(indirect=True))]) == GOOD
    assert check(leaf, [ROOT.crl(listed, extensions=idp(indirect=True))]) is REVOKED


def test_indirect_crl_of_a_revoked_agent_is_silent() -> None:
    """Whoever issues it has a status of his own."""
    assert check(DELEGATED, [ROOT.crl(AGENT), AGENT.crl(extensions=INDIRECT)], pool=[CA, AGENT]) is UNKNOWN


def test_indirect_crl_of_an_agent_below_another_anchor_is_silent() -> None:
    """His path leads to the anchor of the certificate's own path (RFC 5280 section 6.3.3 (f))."""
    other = Authority.root("Other root")
    stranger = other.intermediate("Agent", extensions=CRL_SIGNER)
    trust = TrustStore([Certificate.parse(ROOT.der), Certificate.parse(other.der)])
    crls = [ROOT.crl(), other.crl(), stranger.crl(extensions=INDIRECT)]
    assert check(DELEGATED, crls, pool=[CA, stranger], trust=trust) is UNKNOWN


def test_cas_own_crl_that_lists_is_heard_beside_the_agents() -> None:
    """A delegated certificate that the CA itself lists is revoked."""
    crls = [ROOT.crl(), AGENT.crl(extensions=INDIRECT), CA.crl(DELEGATED)]
    assert check(DELEGATED, crls, pool=[CA, AGENT]) is REVOKED


def test_agent_named_by_no_directory_name_is_nobody() -> None:
    """A cRLIssuer that cannot be compared delegates to nobody; the CA's own CRL for all still counts."""
    point = x509.DistributionPoint([ONE], None, None, [TWO])
    leaf = CA.leaf(extensions=points(point))
    assert check(leaf, [ROOT.crl(), CA.crl(extensions=idp(ONE))]) is UNKNOWN
    assert check(leaf, [ROOT.crl(), CA.crl()]) == GOOD


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
    """What a store is told about signers narrows, and never proves."""
    crls = [Crl(ROOT.crl()), Crl(CA.crl())]
    parse = Certificate.parse
    keys = {crls[0].sha256: parse(ROOT.der).spki, crls[1].sha256: parse(CA.der).spki}
    trust = TrustStore([parse(ROOT.der)])
    assert verify_path(parse(LEAF.der), [parse(CA.der)], trust, CrlStore(crls, keys), NOW).revocation
    forged = Crl(CA.crl(key=new_key()))
    for wrong in (CrlStore(crls, {**keys, crls[1].sha256: b"x"}), CrlStore([crls[0], forged], {forged.sha256: b"x"})):
        with pytest.raises(Refused) as refused:
            verify_path(parse(LEAF.der), [parse(CA.der)], trust, wrong, NOW)
        assert refused.value.reason is UNKNOWN


def test_unknown_tells_how_many_crls_of_the_name_are_held() -> None:
    """So that the operator sees a CRL that does not speak from one that is missing."""
    with pytest.raises(Refused) as refused:
        prove(LEAF, [ROOT.crl(), CA.crl(key=new_key())])
    assert refused.value.detail.count("1") == 1
