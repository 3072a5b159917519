"""Which CRLs speak for a certificate, by scope and by delegation."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from support.certificates import NOW, Authority, Minted, entry, name, new_key
from support.revocation_world import (
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
)

from authz.pki import Certificate, Crl, TrustStore
from authz.pki.revocation.crl_scope import ApplicableCrls
from authz.pki.x509.distribution_points import ALL_REASONS

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
    """Its issuer has a status of its own."""
    assert check(DELEGATED, [ROOT.crl(AGENT), AGENT.crl(extensions=INDIRECT)], pool=[CA, AGENT]) is UNKNOWN


def test_indirect_crl_of_an_agent_below_another_anchor_is_silent() -> None:
    """Its path leads to the anchor of the certificate's own path (RFC 5280 section 6.3.3 (f))."""
    other = Authority.root("Other root")
    stranger = other.intermediate("Agent", extensions=CRL_SIGNER)
    trust = TrustStore([Certificate.parse(ROOT.der), Certificate.parse(other.der)])
    crls = [ROOT.crl(), other.crl(), stranger.crl(extensions=INDIRECT)]
    assert check(DELEGATED, crls, pool=[CA, stranger], trust=trust) is UNKNOWN


def test_cas_own_crl_that_lists_is_heard_beside_the_agents() -> None:
    """A delegated certificate that the CA itself lists is revoked."""
    crls = [ROOT.crl(), AGENT.crl(extensions=INDIRECT), CA.crl(DELEGATED)]
    assert check(DELEGATED, crls, pool=[CA, AGENT]) is REVOKED


def test_agent_named_by_no_directory_name_is_no_delegate() -> None:
    """A cRLIssuer that cannot be compared delegates to no issuer; the CA's own CRL for all still counts."""
    point = x509.DistributionPoint([ONE], None, None, [TWO])
    leaf = CA.leaf(extensions=points(point))
    assert check(leaf, [ROOT.crl(), CA.crl(extensions=idp(ONE))]) is UNKNOWN
    assert check(leaf, [ROOT.crl(), CA.crl()]) == GOOD


# -- Voices ---------------------------------------------------------------------------------------------


def test_voice_leaves_out_what_has_not_begun() -> None:
    """Which CRLs count is decided by the time that is asked about."""
    now, later = Crl(CA.crl()), Crl(CA.crl(number=2, this_update=NOW + timedelta(hours=1)))
    voice = ApplicableCrls.of(ALL_REASONS, [now, later])
    assert list(voice.at(NOW).complete) == [now]
    assert list(voice.at(NOW + timedelta(hours=1)).complete) == [later]


def test_voice_has_the_reasons_of_point_and_crl_in_common() -> None:
    """What either leaves out, the two together do not cover."""
    crl = Crl(CA.crl(extensions=idp(reasons=EVERY[:2])))
    assert ApplicableCrls.of(ALL_REASONS, [crl]).reasons == crl.reasons
    assert ApplicableCrls.of(crl.reasons, [Crl(CA.crl())]).reasons == crl.reasons
    assert ApplicableCrls.of(ALL_REASONS & ~crl.reasons, [crl]).reasons == 0


def test_crls_of_one_point_are_ordered_however_its_uri_is_spelled() -> None:
    """The newer one lists the leaf, and has expired: the older one does not answer for it."""
    spelled = x509.UniformResourceIdentifier("HTTP://crl.EXAMPLE.test/1")
    dates = {"this_update": NOW - timedelta(hours=9), "next_update": NOW - timedelta(hours=1)}
    newer = CA.crl(SHARD, number=2, extensions=idp(spelled), **dates)
    assert check(SHARD, [ROOT.crl(), CA.crl(extensions=idp(ONE)), newer]) is REVOKED
