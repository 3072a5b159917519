"""The gates in order, the table of the design, and a neighbour who tries to get in."""

from __future__ import annotations

import hashlib
import json
import os
import random
from base64 import urlsafe_b64encode
from dataclasses import replace
from datetime import timedelta

import pytest
from support.certificates import NOW, Authority, Minted, san
from support.decision_world import (
    ACME,
    ALICE,
    BOB,
    CA,
    EVIL_ALICE,
    EVIL_CA,
    REVOKED,
    ROOT,
    STRANGER,
    Says,
    decide,
    request,
    standard_view,
)

from authz.decision import Allow, Deny, evaluate
from authz.errors import NotLoaded
from authz.headers import escaped_pem
from authz.identity.payload import PayloadHeader
from authz.model import (
    BindingScope,
    CertificateForm,
    CheckRequest,
    Enforcement,
    HeaderRules,
    Identity,
    IndicatorForm,
    PathSettings,
    TokenSettings,
)
from authz.pki import Certificate, Exemption, RevocationMode, TrustStore, service_policy
from authz.reasons import Reason
from authz.view import Listener, TrustedProxy

FOREIGN = Authority.root("Foreign").leaf("alice")
EXPIRED = CA.leaf("expired", not_after=NOW - timedelta(days=1))


def reported(decision: Allow | Deny) -> str:
    """The reason of a denial, else the binding as the header says it."""
    if isinstance(decision, Deny):
        return decision.reason.value
    return "" if decision.binding is None else str(decision.binding)


R = Reason
TABLE = [
    # user, chain, reason of the denial or None, binding as the header says it
    ("alice", (), R.CERTIFICATE_REQUIRED, None),
    ("alice", (ALICE, CA), None, "bound"),
    ("alice", (BOB, CA), R.CERTIFICATE_OF_ANOTHER_USER, None),
    ("alice", (STRANGER, CA), R.CERTIFICATE_NOT_REGISTERED, None),
    ("alice", (REVOKED, CA), R.CERTIFICATE_REVOKED, None),
    ("alice", (EXPIRED, CA), R.CERTIFICATE_EXPIRED, None),
    ("alice", (FOREIGN,), R.ISSUER_UNKNOWN, None),
    ("oscar", (), None, "certificate_required"),
    ("oscar", (ALICE, CA), None, "certificate_of_another_user"),
    ("oscar", (STRANGER, CA), None, "certificate_not_registered"),
    ("oscar", (REVOKED, CA), R.CERTIFICATE_REVOKED, None),
    ("oscar", (FOREIGN,), R.ISSUER_UNKNOWN, None),
    ("olga", (), None, ""),
    ("olga", (ALICE, CA), None, ""),
    ("olga", (STRANGER, CA), None, ""),
    ("olga", (REVOKED, CA), R.CERTIFICATE_REVOKED, None),
    ("olga", (EXPIRED, CA), R.CERTIFICATE_EXPIRED, None),
    ("olga", (FOREIGN,), R.ISSUER_UNKNOWN, None),
]


@pytest.mark.parametrize(("user", "chain", "reason", "binding"), TABLE)
def test_table_of_the_design_holds(
    user: str, chain: tuple[Minted, ...], reason: Reason | None, binding: str | None
) -> None:
    """Enforcement against certificate: allowed or denied, and why."""
    decision = decide(request(*chain), user)
    assert isinstance(decision, Allow) is (reason is None)
    assert reported(decision) == (binding if reason is None else reason.value)


def test_policy_of_the_organization_is_the_checks() -> None:
    """It stands with the anchors; the other organization has its own."""
    view = standard_view()
    demanding = service_policy(PathSettings(purpose="1.2.3.4"))
    view.stores[1] = TrustStore([Certificate.parse(ROOT.der)], policy=demanding)
    assert reported(decide(request(ALICE, CA), view=view)) == R.EXTENDED_KEY_USAGE_NOT_ALLOWED.value


def test_allow_names_organization_user_and_certificate() -> None:
    """What the identity headers are made of."""
    decision = decide(request(ALICE, CA))
    assert isinstance(decision, Allow)
    assert (decision.organization, decision.user.name, decision.certificate) == (ACME, "alice", ALICE.sha256)


@pytest.mark.parametrize(
    ("check", "user", "reason"),
    [
        (request(ALICE, CA, host="unknown.example.test"), "alice", R.ORGANIZATION_UNKNOWN),
        (request(ALICE, CA, host=""), "alice", R.HOST_MALFORMED),
        (request(ALICE, CA), "nobody", R.USER_UNKNOWN),
        (request(ALICE, CA), "Alice", R.USER_UNKNOWN),
        (CheckRequest("", "acme.example.test", ((b"client-cert", b"x"),)), "alice", R.HEADER_UNEXPECTED),
        (CheckRequest("", "acme.example.test", ((b"x-forwarded-client-cert", b"x"),)), "alice", R.HEADER_MALFORMED),
    ],
)
def test_gate_that_refuses_first_is_reported(check: CheckRequest, user: str, reason: Reason) -> None:
    """Header, organization and user come before any certificate is decoded."""
    assert reported(decide(check, user)) == reason


def test_organization_and_user_are_settled_before_a_header_is_decoded() -> None:
    """A stranger cannot make us decode."""
    garbage = ((b"x-forwarded-client-cert", b"garbage"),)
    assert reported(decide(CheckRequest("", "unknown.example.test", garbage))) == R.ORGANIZATION_UNKNOWN
    assert reported(decide(CheckRequest("", "acme.example.test", garbage), "nobody")) == R.USER_UNKNOWN


def test_organization_switched_off_is_refused() -> None:
    """For everybody in it."""
    view = standard_view()
    view.organizations["acme.example.test"] = replace(ACME, active=False)
    assert reported(decide(request(ALICE, CA), view=view)) == R.ORGANIZATION_INACTIVE


def test_user_switched_off_is_refused() -> None:
    """Whatever the user shows."""
    view = standard_view()
    view.users = [replace(one, active=False) for one in view.users]
    assert reported(decide(request(ALICE, CA), view=view)) == R.USER_INACTIVE


def test_organization_that_the_listener_does_not_serve_is_refused() -> None:
    """A listener serves whom it names."""
    listener = Listener("d", (Says("alice"),), organizations=frozenset({"evil"}))
    assert reported(decide(request(ALICE, CA), listener=listener)) == R.ORGANIZATION_NOT_SERVED


@pytest.mark.parametrize(
    ("sources", "reason"),
    [
        ((), R.IDENTITY_MISSING),
        ((Says("alice"), Says("olga")), R.IDENTITY_SOURCES_DISAGREE),
        ((Says("alice", ALICE.sha256), Says("alice", BOB.sha256)), R.IDENTITY_SOURCES_DISAGREE),
        ((Says("alice"), Says("alice", BOB.sha256)), R.TOKEN_BOUND_TO_ANOTHER_CERTIFICATE),
        ((Says("alice", BOB.sha256), Says("alice")), R.TOKEN_BOUND_TO_ANOTHER_CERTIFICATE),
        ((Says("alice", ALICE.sha256), Says("alice")), None),
        ((Says("alice"), Says("alice", ALICE.sha256)), None),
        ((Says("alice"), Says("alice")), None),
    ],
)
def test_identity_sources_must_all_agree(sources: tuple[Says, ...], reason: Reason | None) -> None:
    """One user, and no binding of any source is lost."""
    decision = decide(request(ALICE, CA), listener=Listener("d", sources))
    assert reported(decision) == (reason or "bound")


@pytest.mark.parametrize("chain", [(), (BOB, CA)])
def test_bound_token_without_its_certificate_is_refused(chain: tuple[Minted, ...]) -> None:
    """Even for a user of whom nothing is demanded."""
    decision = decide(request(*chain), "olga", confirmation=ALICE.sha256)
    assert reported(decision) == R.TOKEN_BOUND_TO_ANOTHER_CERTIFICATE


def test_bound_token_with_its_certificate_is_allowed() -> None:
    """RFC 8705's happy end."""
    assert isinstance(decide(request(ALICE, CA), confirmation=ALICE.sha256), Allow)


@pytest.mark.parametrize(
    ("host", "chain", "reason"),
    [
        ("acme.example.test", (EVIL_ALICE, EVIL_CA), R.SIGNATURE_INVALID),
        ("evil.example.test", (ALICE, CA), R.SIGNATURE_INVALID),
        ("evil.example.test", (EVIL_ALICE, EVIL_CA), None),
    ],
)
def test_neighbour_with_equal_names_stays_outside(host: str, chain: tuple[Minted, ...], reason: Reason | None) -> None:
    """CA names, user names and serial numbers collide; keys do not."""
    assert reported(decide(request(*chain, host=host))) == (reason or "bound")


def test_neighbours_crl_revokes_no_certificate_here() -> None:
    """A CRL speaks for a key: the other CA of the same name lists alice's serial in vain."""
    view = standard_view()
    view.crl_ders = (*view.crl_ders[:3], EVIL_CA.crl(EVIL_ALICE, number=99))
    assert isinstance(decide(request(ALICE, CA), view=view), Allow)
    assert reported(decide(request(EVIL_ALICE, EVIL_CA, host="evil.example.test"), view=view)) == R.CERTIFICATE_REVOKED


def test_registration_in_the_other_organization_does_not_count() -> None:
    """The same leaf may be registered there, for a user of the same id."""
    view = standard_view()
    view.registered = [replace(view.registered[0], organization_id=2)]
    assert reported(decide(request(ALICE, CA), view=view)) == R.CERTIFICATE_NOT_REGISTERED


def test_binding_scope_organization_takes_a_colleagues_certificate() -> None:
    """The model's own rule, where the organization chose it."""
    view = standard_view()
    view.organizations["acme.example.test"] = replace(ACME, binding_scope=BindingScope.ORGANIZATION)
    assert isinstance(decide(request(BOB, CA), view=view), Allow)


def test_anchors_missing_deny_users_who_show_a_certificate() -> None:
    """Without an anchor none is trusted; users who show none are not asked."""
    view = standard_view()
    view.anchors = {}
    assert reported(decide(request(ALICE, CA), "olga", view=view)) == R.TRUST_ANCHORS_MISSING
    assert isinstance(decide(request(), "olga", view=view), Allow)


@pytest.mark.parametrize("kept", [(0,), (1,), ()])
def test_crl_missing_for_any_certificate_is_unknown(kept: tuple[int, ...]) -> None:
    """Every CA on the path needs one, and none at all is not good either."""
    view = standard_view()
    view.crl_ders = tuple(view.crl_ders[one] for one in kept)
    assert reported(decide(request(ALICE, CA), "olga", view=view)) == R.REVOCATION_UNKNOWN


def test_leaf_alone_is_completed_from_the_stored_chain() -> None:
    """For proxies that hand over the leaf and nothing else; the evidence says so."""
    view = standard_view()
    assert reported(decide(request(ALICE), view=view)) == R.ISSUER_UNKNOWN
    view.registered = [replace(view.registered[0], chain=(CA.der,))]
    decision = decide(request(ALICE), view=view)
    assert isinstance(decision, Allow)
    assert decision.evidence.stored_chain


def test_leaf_alone_is_completed_from_known_intermediates() -> None:
    """What the operator added serves everybody."""
    view = standard_view()
    view.intermediates = {1: [CA]}
    assert isinstance(decide(request(ALICE), view=view), Allow)


UPPER = ROOT.intermediate("Upper")
LOWER = UPPER.intermediate("Lower")
DEEP = LOWER.leaf("deep")


@pytest.mark.parametrize(
    ("sent", "stored", "known", "told_as"),
    [
        ((LOWER, UPPER), (), (), "presented"),
        ((LOWER, UPPER), (LOWER, UPPER), (), "presented"),
        ((), (UPPER, LOWER), (), "stored"),
        ((), (), (LOWER, UPPER), "known"),
        ((), (LOWER,), (UPPER,), "stored+known"),
        ((), (UPPER,), (LOWER,), "known+stored"),
        ((LOWER,), (UPPER,), (UPPER,), "presented+known"),
        ((), (LOWER, UPPER), (LOWER, UPPER), "known"),
        ((LOWER,), (UPPER,), (), None),
        ((), (LOWER,), (), None),
    ],
)
def test_evidence_says_where_the_path_was_completed_from(
    sent: tuple[Minted, ...], stored: tuple[Minted, ...], known: tuple[Minted, ...], told_as: str | None
) -> None:
    """The stored chain stands in only for a proxy that hands over the leaf alone; intermediates serve always."""
    view = standard_view()
    view.intermediates = {1: list(known)}
    view.crl_ders = (*view.crl_ders, UPPER.crl(), LOWER.crl())
    view.registered = [replace(view.registered[0], sha256=DEEP.sha256, chain=tuple(one.der for one in stored))]
    decision = decide(request(DEEP, *sent), view=view)
    assert isinstance(decision, Allow) is (told_as is not None)
    assert decision.evidence.completed_by == (told_as or "")


def test_path_without_intermediates_needs_no_completion() -> None:
    """The anchor issued the leaf itself."""
    direct = ROOT.leaf("direct")
    decision = decide(request(direct), "olga")
    assert isinstance(decision, Allow)
    assert decision.evidence.completed_by == ""


STATED = HeaderRules(indicator_header="x-authz-peer", indicator=IndicatorForm.ENVOY_FINGERPRINT)


@pytest.mark.parametrize(
    ("chain", "statement", "reason"),
    [
        ((), b"sha256=", None),
        ((), b"sha256=" + ALICE.sha256.hex().encode(), R.PROXY_STATEMENT_CONTRADICTS),
        ((), None, R.PROXY_STATEMENT_MISSING),
        ((ALICE, CA), b"sha256=" + ALICE.sha256.hex().encode(), None),
        ((ALICE, CA), b"sha256=", R.PROXY_STATEMENT_CONTRADICTS),
    ],
)
def test_silence_counts_only_if_the_proxy_says_so(
    chain: tuple[Minted, ...], statement: bytes | None, reason: Reason | None
) -> None:
    """A certificate header that got lost is not a client without a certificate."""
    headers = () if statement is None else ((b"x-authz-peer", statement),)
    decision = decide(request(*chain, headers=headers), listener=Listener("d", (Says("olga"),), STATED))
    assert reported(decision) == (reason or "")


NGINX = HeaderRules(
    "x-ssl-client-cert",
    CertificateForm.ESCAPED_PEM,
    indicator_header="x-authz-peer",
    indicator=IndicatorForm.NGINX_VERIFY,
)


def by_nginx(leaf: Minted | None, statement: bytes | None) -> CheckRequest:
    """A request as nginx asks: the leaf alone, and what nginx says of it."""
    headers = [] if leaf is None else [(b"x-ssl-client-cert", escaped_pem.format((leaf.der,)))]
    headers += [] if statement is None else [(b"x-authz-peer", statement)]
    return CheckRequest("", "acme.example.test", tuple(headers))


@pytest.mark.parametrize(
    ("leaf", "statement", "reason"),
    [
        (None, b"NONE", R.CERTIFICATE_REQUIRED),
        (None, b"SUCCESS", R.PROXY_STATEMENT_CONTRADICTS),
        (None, b"FAILED:self-signed certificate", R.PROXY_STATEMENT_CONTRADICTS),
        (None, None, R.PROXY_STATEMENT_MISSING),
        (ALICE, b"SUCCESS", None),
        (ALICE, b"FAILED:unable to get local issuer certificate", None),
        (ALICE, b"NONE", R.PROXY_STATEMENT_CONTRADICTS),
        (ALICE, None, R.PROXY_STATEMENT_MISSING),
        (REVOKED, b"SUCCESS", R.CERTIFICATE_REVOKED),
        (FOREIGN, b"SUCCESS", R.ISSUER_UNKNOWN),
    ],
)
def test_nginx_says_whether_a_certificate_was_shown_and_nothing_else(
    leaf: Minted | None, statement: bytes | None, reason: Reason | None
) -> None:
    """Its verdict counts for nothing in either direction; its silence refuses."""
    view = standard_view()
    view.intermediates = {1: [CA]}
    decision = decide(by_nginx(leaf, statement), view=view, listener=Listener("nginx", (Says("alice"),), NGINX))
    assert reported(decision) == (reason or "bound")


GATEWAYS = Authority.root("Gateways")
GATEWAY = GATEWAYS.leaf("gateway", extensions=[(san("gateway.example.test"), False)])
IMPOSTOR = GATEWAYS.leaf("impostor", extensions=[(san("impostor.example.test"), False)])
HOP = TrustedProxy(TrustStore([Certificate.parse(GATEWAYS.der)]), frozenset({"gateway.example.test"}))


def chained(*chains: tuple[Minted, ...]) -> CheckRequest:
    """A header of several elements, the nearest proxy's last."""
    values = [request(*chain).values("x-forwarded-client-cert")[0] for chain in chains]
    return CheckRequest("", "acme.example.test", ((b"x-forwarded-client-cert", b",".join(values)),))


@pytest.mark.parametrize(
    ("check", "reason"),
    [
        (chained((ALICE, CA), (GATEWAY,)), None),
        (chained((GATEWAY,)), R.CERTIFICATE_REQUIRED),
        (chained((ALICE, CA)), R.HOP_NOT_TRUSTED),
        (chained((ALICE, CA), (IMPOSTOR,)), R.HOP_NOT_TRUSTED),
        (chained((ALICE, CA), (BOB, CA)), R.HOP_NOT_TRUSTED),
        (chained((ALICE, CA), (ALICE, CA), (GATEWAY,)), R.HEADER_ELEMENTS_UNEXPECTED),
        (request(), R.HEADER_ELEMENTS_UNEXPECTED),
    ],
)
def test_hop_is_skipped_only_by_its_own_proof(check: CheckRequest, reason: Reason | None) -> None:
    """A gateway's element counts when its certificate verifies and is allowed; a count alone proves nothing."""
    decision = decide(check, listener=Listener("d", (Says("alice"),), trusted_proxies=(HOP,)))
    assert reported(decision) == (reason or "bound")


def test_header_of_gateways_alone_is_remembered_once_they_proved_themselves() -> None:
    """Each request of a client without a certificate has it; that of a gateway which is not trusted is not."""
    listener = Listener("d", (Says("olga"),), trusted_proxies=(HOP,))
    assert decide(chained((GATEWAY,)), listener=listener).evidence.decoded is not None
    assert decide(chained((IMPOSTOR,)), listener=listener).evidence.decoded is None


LATE = {"this_update": NOW - timedelta(days=9), "next_update": NOW - timedelta(days=1)}
INNER = GATEWAYS.intermediate("Inner gateways")
BEHIND = INNER.leaf("behind", extensions=[(san("gateway.example.test"), False)])
NAMESAKE = Authority.root("Gateways")


@pytest.mark.parametrize(
    ("chain", "crls", "passes", "passes_if_required"),
    [
        ((GATEWAY,), (), True, False),
        ((GATEWAY,), (GATEWAYS.crl(),), True, True),
        ((GATEWAY,), (GATEWAYS.crl(IMPOSTOR),), True, True),
        ((GATEWAY,), (GATEWAYS.crl(GATEWAY),), False, False),
        ((GATEWAY,), (GATEWAYS.crl(**LATE),), True, False),
        ((GATEWAY,), (GATEWAYS.crl(GATEWAY, **LATE),), False, False),
        ((GATEWAY,), (NAMESAKE.crl(GATEWAY),), True, False),
        ((GATEWAY,), (NAMESAKE.crl(),), True, False),
        ((BEHIND, INNER), (), True, False),
        ((BEHIND, INNER), (INNER.crl(),), True, False),
        ((BEHIND, INNER), (INNER.crl(), GATEWAYS.crl()), True, True),
        ((BEHIND, INNER), (INNER.crl(BEHIND),), False, False),
        ((BEHIND, INNER), (INNER.crl(), GATEWAYS.crl(INNER)), False, False),
    ],
)
def test_gateway_that_a_crl_lists_hands_nothing_over(
    chain: tuple[Minted, ...], crls: tuple[bytes, ...], *, passes: bool, passes_if_required: bool
) -> None:
    """Itself or the CA above it, whatever the client shows; where no current CRL speaks, the hop says what follows."""
    for required, good in ((False, passes), (True, passes_if_required)):
        view = standard_view()
        view.crl_ders = (*view.crl_ders, *crls)
        listener = Listener("d", (Says("alice"),), trusted_proxies=(replace(HOP, crl_required=required),))
        decision = decide(chained((ALICE, CA), chain), listener=listener, view=view)
        assert reported(decision) == ("bound" if good else R.HOP_NOT_TRUSTED)
        bare = decide(chained(chain), listener=replace(listener, identity=(Says("olga"),)), view=view)
        assert reported(bare) == ("" if good else R.HOP_NOT_TRUSTED)


def test_second_element_without_hops_is_refused() -> None:
    """Exactly one, unless gateways are named."""
    assert reported(decide(chained((ALICE, CA), (ALICE, CA)))) == R.HEADER_ELEMENTS_UNEXPECTED


def test_remembered_path_is_checked_again_at_every_time() -> None:
    """What was allowed now is refused later: no verdict is kept."""
    view = standard_view()
    assert isinstance(decide(request(ALICE, CA), view=view), Allow)
    assert reported(decide(request(ALICE, CA), view=view, at=NOW + timedelta(days=7))) == R.REVOCATION_UNKNOWN
    assert reported(decide(request(ALICE, CA), view=view, at=NOW + timedelta(days=400))) == R.CERTIFICATE_EXPIRED


def test_row_not_loaded_is_not_a_decision() -> None:
    """The caller loads it and asks again."""
    view = standard_view()
    view.missing = {("user", "alice")}
    with pytest.raises(NotLoaded):
        decide(request(ALICE, CA), view=view)


def test_denial_carries_what_was_seen() -> None:
    """Log and history read the evidence of a refusal."""
    decision = decide(request(REVOKED, CA))
    assert isinstance(decision, Deny)
    assert decision.evidence.certificate == hashlib.sha256(REVOKED.der).digest()
    assert decision.evidence.identity == Identity("alice")
    assert decision.certificate == REVOKED.der
    assert decision.path[-1] == ROOT.der or CA.der in decision.path


def test_enforcement_is_read_from_the_user_of_this_organization() -> None:
    """A user who is off elsewhere is required here."""
    view = standard_view()
    view.users = [replace(one, enforcement=Enforcement.OFF) if one.organization_id == 2 else one for one in view.users]
    assert reported(decide(request(), view=view)) == R.CERTIFICATE_REQUIRED


@pytest.mark.fuzz
def test_mutated_request_is_decided_whatever_is_in_it() -> None:
    """10,000 requests in CI, certificate and payload mutated together: a reason or the genuine user, never an error."""
    drawn, allowed = random.Random(5), 0
    view, listener = standard_view(), Listener("fuzz", (PayloadHeader("x-payload"),))
    token = TokenSettings(issuer="i", audience="a")
    view.organizations = {"acme.example.test": replace(ACME, token=token)}
    claims = json.dumps({"iss": "i", "aud": "a", "sub": "alice", "exp": NOW.timestamp() + 60}).encode()
    payload = urlsafe_b64encode(claims).rstrip(b"=")
    value = request(ALICE, CA).headers[0][1]
    for number in range(10_000 * int(os.environ.get("FUZZ", "1"))):
        # A part stays whole now and then, so that the gates behind it are reached.
        headers = (
            (b"x-forwarded-client-cert", value if number % 3 == 0 else mutated(drawn, value)),
            (b"x-payload", payload if number % 3 == 1 else mutated(drawn, payload)),
        )
        host = "acme.example.test" if number % 7 else mutated(drawn, b"acme.example.test").decode("latin-1")
        decision = evaluate(CheckRequest("id", host, headers), listener, view, NOW)
        if isinstance(decision, Allow):
            allowed += 1
            assert (decision.user.name, decision.certificate) == ("alice", ALICE.sha256)
        else:
            assert decision.reason.status in {401, 403}
    assert allowed > 0


def mutated(drawn: random.Random, value: bytes) -> bytes:
    """Up to three octets changed, put in or left out; sometimes none."""
    for _ in range(drawn.randint(0, 3)):
        at = drawn.randrange(len(value))
        value = value[:at] + drawn.choice((b"", drawn.randbytes(1), value[at : at + 1] * 2)) + value[at + 1 :]
    return value


def test_unknown_revocation_asks_for_the_crls_of_a_path_that_verified() -> None:
    """The whole path, from leaf to anchor."""
    view = standard_view()
    view.crl_ders = ()
    assert reported(decide(request(ALICE, CA), view=view)) == R.REVOCATION_UNKNOWN
    assert view.sought == [(ALICE.der, CA.der, ROOT.der)]


@pytest.mark.parametrize("chain", [(FOREIGN,), (EXPIRED, CA), (ALICE,), (REVOKED, CA), (EVIL_ALICE, EVIL_CA)])
def test_path_that_does_not_verify_asks_for_nothing(chain: tuple[Minted, ...]) -> None:
    """Nor one whose leaf is revoked: a stranger's certificate sends us nowhere."""
    view = standard_view()
    if chain[0] is not REVOKED:
        view.crl_ders = ()
    decide(request(*chain), view=view)
    assert view.sought == []


@pytest.mark.parametrize("soft", [False, True])
def test_crl_that_may_be_had_is_waited_for(soft: bool) -> None:
    """Also where its absence would be let pass."""
    view = standard_view()
    view.crl_ders, view.mode, view.missing = (), RevocationMode(soft=soft), {"crls"}
    with pytest.raises(NotLoaded):
        decide(request(ALICE, CA), view=view)


def test_absent_crl_passes_softly_once_it_was_sought() -> None:
    """And the path says what was let pass."""
    view = standard_view()
    view.crl_ders, view.mode = (), RevocationMode(soft=True)
    decision = decide(request(ALICE, CA), view=view)
    assert isinstance(decision, Allow)
    assert len(view.sought) == 1
    assert decision.evidence.path is not None
    assert decision.evidence.path.exemption is Exemption.SOFT_FAIL
