"""What the rules of `authz doctor` call a fault of Envoy is one in a real Envoy, and as shipped it is not there."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
import urllib.request
from collections.abc import Iterator

import pytest
from cryptography import x509
from support.certificates import Authority, san
from support.clients import bearer
from support.doctor_lab import SHOWN, Lab, arrived, values
from test_spoofing import alices_header

from authz.demo import Stage
from authz.demo.client import Connection, ask, client_context
from authz.demo.mint import HOST
from authz.demo.processes import running
from authz.doctor.findings import SEEN
from authz.doctor.lint import lint
from authz.doctor.rules import ENVOY_RULES

pytestmark = pytest.mark.envoy

SERVED = {
    "envoy-failure-mode-allow": "/",
    "envoy-check-sampled": "/",
    "envoy-check-shadow": "/",
    "envoy-check-off": "/",
    "envoy-check-conditional": "/",
    "envoy-cache-before-check": "/",
    "envoy-no-check": "/",
    "envoy-route-unchecked": "/opened",
    "envoy-path-unchecked": "/health",
    "envoy-route-checked-elsewhere": "/",
    "envoy-service-cleartext": "/",
    "envoy-service-unverified": "/",
}
"""Where nobody, without token and certificate, is served."""

ARRIVES = {
    "envoy-identity-not-taken": ("x-authz-user", "root", "root"),
    "envoy-identity-survives": ("x-roles", "root", "root"),
    "envoy-identity-rewritten": ("x-user", "root", "root"),
    "envoy-identity-appended": ("x-authz-user", "root", "root,alice"),
    "envoy-underscores": ("x_authz_user", "root", "root"),
    "envoy-forwarded-host": ("x-forwarded-host", "evil.test", "evil.test"),
    "envoy-certificate-headers": ("x-ssl-client-cert", "mine", "mine"),
    "envoy-client-address": ("x-forwarded-for", "8.8.8.8", "8.8.8.8"),
}
"""What a client writes into which header, and what the application sees."""

REFUSED = (
    "envoy-certificate-not-handed-over",
    "envoy-certificate-hash-only",
    "envoy-certificate-not-sent",
    "envoy-no-certificate-request",
)
"""Where alice, with her certificate, is refused."""

ALONE = {
    "envoy-way-around",
    "envoy-code-before-check",
    "envoy-upgrade-unchecked",
    "envoy-tunnel-around",
    "envoy-cluster-from-client",
    "envoy-host-from-client",
    "envoy-route-by-identity",
    "envoy-route-by-validation",
    "envoy-paths-ambiguous",
    "envoy-identity-removed-late",
    "envoy-payload-from-client",
    "envoy-headers-joined",
    "envoy-word-from-client",
    "envoy-certificate-forwarded",
    "envoy-certificate-names",
    "envoy-require-ignored",
    "envoy-require-unsaid",
    "envoy-untrusted-accepted",
    "envoy-crl-empty",
    "envoy-listener-cleartext",
    "envoy-tls-old",
    "envoy-admin-open",
}
"""What has a test of its own below."""


@pytest.fixture(scope="module")
def lab(patch: None, stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The Envoy with all the faults."""
    made = Lab(stage, tmp_path_factory.mktemp("doctor"))
    with running(*made.parts):
        yield made


def test_every_rule_that_says_seen_is() -> None:
    """Here."""
    assert {*SERVED, *ARRIVES, *REFUSED, *ALONE} == {rule.id for rule in ENVOY_RULES if rule.proof == SEEN}


@pytest.mark.parametrize("rule", SERVED)
def test_no_request_is_served(lab: Lab, rule: str) -> None:
    """The application answers a client that has nothing; mended, or as shipped, it hears of no such request."""
    assert lab.served(lambda: lab.nobody(rule, SERVED[rule]))
    twin = f"{rule}, mended"
    twin = twin if twin in lab.ports and "-service-" not in rule else "shipped"
    assert not lab.served(lambda: lab.nobody(twin, SERVED[rule]))


@pytest.mark.parametrize("rule", ARRIVES)
def test_header_of_the_client_arrives(lab: Lab, rule: str) -> None:
    """Alice's request reaches the application with what she wrote; as shipped it does not, or she is refused."""
    name, value, seen = ARRIVES[rule]
    application = "x-authz-user" if name == "x-user" else name
    assert arrived(lab.user(rule, "alice", (name, value)), application) == seen
    assert arrived(lab.user(f"{rule}, mended", "alice", (name, value)), application) != seen


@pytest.mark.parametrize("rule", REFUSED)
def test_right_certificate_is_refused(lab: Lab, rule: str) -> None:
    """No client can be let in; mended, alice is."""
    assert lab.user(rule).status == 403
    assert lab.user(f"{rule}, mended").status == 200


def test_code_before_the_check_answers(lab: Lab) -> None:
    """Before anybody was asked."""
    assert lab.nobody("envoy-code-before-check").body == b"lua"


def test_upgrade_with_filters_of_its_own_is_not_asked_about(lab: Lab) -> None:
    """A client that asks for a websocket reaches the application; without that it does not, nor as shipped."""
    rule, upgrade = "envoy-upgrade-unchecked", (("connection", "upgrade"), ("upgrade", "websocket"))
    assert lab.served(lambda: lab.nobody(rule, "/", *upgrade))
    assert not lab.served(lambda: lab.nobody(rule))
    assert not lab.served(lambda: lab.nobody("shipped", "/", *upgrade))


def _plain(lab: Lab, rule: str, *headers: tuple[str, str]) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", lab.ports[rule], timeout=15)
    with contextlib.closing(connection):
        connection.request("GET", "/", headers=dict([("host", HOST), *headers]))
        answer = connection.getresponse()
        answer.text = answer.read()  # type: ignore[attr-defined]
        return answer


@pytest.mark.parametrize("rule", ["envoy-way-around", "envoy-tunnel-around"])
def test_other_way_to_the_application_hands_everything_on(lab: Lab, rule: str) -> None:
    """An identity header that the client wrote among it."""
    answer = _plain(lab, rule, ("x-authz-user", "root"))
    assert ["x-authz-user", "root"] in json.loads(answer.text)["headers"]  # type: ignore[attr-defined]


def test_listener_without_tls_takes_tokens_in_the_clear(lab: Lab) -> None:
    """Of a user who needs no certificate."""
    assert _plain(lab, "envoy-listener-cleartext", *bearer(lab.stage, "olga")).status == 200


def test_client_names_the_cluster(lab: Lab) -> None:
    """Any that Envoy knows, by a header."""
    assert lab.user("envoy-cluster-from-client", "alice", ("x-cluster", "stranger")).body == b"yes"
    assert lab.user("shipped", "alice", ("x-cluster", "stranger")).seen["x-authz-user"] == "alice"


def test_client_names_the_host(lab: Lab) -> None:
    """That the application sees, of another organization than the service judged."""
    spoof = ("x-host", "globex.example.test")
    seen = lab.user("envoy-host-from-client", "alice", spoof).seen
    assert (seen["host"], seen["x-authz-organization"]) == ("globex.example.test", "acme")
    assert lab.user("shipped", "alice", spoof).seen["host"] == HOST


def test_client_chooses_the_route_by_an_identity_header(lab: Lab) -> None:
    """Alice takes the route of root."""
    spoof = ("x-authz-user", "root")
    assert lab.user("envoy-route-by-identity", "alice", spoof).body == b"yes"
    assert lab.user("shipped", "alice", spoof).seen["x-authz-user"] == "alice"


def test_resumed_session_is_not_validated(lab: Lab) -> None:
    """The route is there in the first handshake, and gone when the same client resumes."""
    folder = lab.stage.world.folder
    context = client_context(folder / "roots.pem", folder / "alice.pem")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    port = lab.ports["envoy-route-by-validation"]
    with contextlib.closing(Connection(port, context, HOST)) as first:
        assert first.get(headers=bearer(lab.stage, "alice")).status == 200
        session = first.tls.session
    with contextlib.closing(Connection(port, context, HOST, session=session)) as second:
        assert second.tls.session_reused
        assert second.get(headers=bearer(lab.stage, "alice")).status == 404


def test_path_passes_the_rule_that_it_means(lab: Lab) -> None:
    """/x/../admin is not below /admin to Envoy, and the application gets it."""
    rule = "envoy-paths-ambiguous"
    assert lab.user(rule, path="/admin").body == b"yes"
    assert lab.user(rule, path="/x/../admin").seen["x-authz-user"] == "alice"


def test_identity_header_removed_late_is_the_services_own(lab: Lab) -> None:
    """The application sees no user."""
    assert "x-authz-user" not in lab.user("envoy-identity-removed-late").seen
    assert lab.user("shipped").seen["x-authz-user"] == "alice"


def test_client_writes_the_payload_of_a_token(lab: Lab) -> None:
    """And is olga, who needs no certificate; mended, or as shipped, the client is no user."""
    rule, spoof = "envoy-payload-from-client", ("x-authz-payload", lab.stage.token("olga").split(".")[1])
    answer = lab.nobody(rule, "/", spoof)
    assert (answer.status, lab.stage.reason(answer)) == (200, "")
    assert answer.seen["x-authz-user"] == "olga"
    assert lab.nobody(f"{rule}, mended", "/", spoof).status == 401
    assert lab.nobody("shipped", "/", spoof).status == 401


def test_joined_headers_look_like_one(lab: Lab) -> None:
    """The service cannot see that there were two."""
    twice = [("x-authz-payload", "one"), ("x-authz-payload", "two")]
    rule, name = "envoy-headers-joined", "x-forwarded-client-cert"
    (asked,) = lab.asked(lambda: lab.user(rule, "alice", *twice))
    assert len(values(asked, name)) == 1


def test_header_that_the_service_goes_by_is_the_clients(lab: Lab) -> None:
    """Through a mutation; mended it is not sent."""
    rule = "envoy-word-from-client"
    for name, sent in ((rule, ["root"]), (f"{rule}, mended", [])):
        (asked,) = lab.asked(lambda name=name: lab.user(name, "alice", ("x-mine", "root")))
        assert values(asked, "x-user") == sent


def test_certificate_header_of_the_client_is_the_word(lab: Lab) -> None:
    """Bob shows one certificate and writes alice's; as shipped the service is handed the one shown."""
    spoof = ("x-forwarded-client-cert", alices_header(lab.stage))
    for rule, believed in (("envoy-certificate-forwarded", True), ("shipped, stranger asked", False)):
        (asked,) = lab.asked(lambda rule=rule: lab.user(rule, "bob", spoof))
        assert (values(asked, spoof[0]) == [spoof[1]]) is believed


def test_name_in_a_certificate_forges_the_header(lab: Lab) -> None:
    """A self-made certificate writes a pair of its own; as shipped it does not."""
    forged = 'spiffe://x;Cert="INJECTED"'
    from_stranger = Authority.root("Mallory").leaf(
        "mallory", extensions=[(san(x509.UniformResourceIdentifier(forged)), False)]
    )
    folder = lab.stage.world.folder
    (folder / "mallory.pem").write_text(from_stranger.pem)
    (folder / "mallory.key").write_text(from_stranger.key_pem)
    for rule, injected in (("envoy-certificate-names", True), ("shipped, stranger asked", False)):
        (asked,) = lab.asked(lambda rule=rule: lab.user(rule, "alice", certificate="mallory"))
        assert ("INJECTED" in "".join(values(asked, "x-forwarded-client-cert"))) is injected


def test_demanded_certificate_is_not_demanded(lab: Lab) -> None:
    """Olga, without one, is let in."""
    assert lab.user("envoy-require-ignored", "olga", certificate=None).status == 200


def test_envoy_warns_that_the_default_will_change(lab: Lab) -> None:
    """It says so in its log."""
    assert "deprecated insecure default" in lab.log.read_text(errors="replace")


def test_untrusted_certificate_arrives(lab: Lab) -> None:
    """Only the service refuses it; as shipped Envoy does."""
    answer = lab.user("envoy-untrusted-accepted", certificate="self-signed")
    assert (answer.status, lab.stage.reason(answer)) == (403, "certificate_self_signed")
    assert lab.user("shipped", certificate="self-signed").alert


def test_empty_crl_revokes_no_certificate(lab: Lab) -> None:
    """Envoy lets a revoked certificate pass; only the service refuses it."""
    answer = lab.user("envoy-crl-empty", certificate="revoked")
    assert (answer.status, lab.stage.reason(answer)) == (403, "certificate_revoked")


def test_old_tls_is_spoken(lab: Lab) -> None:
    """TLS 1.0; as shipped the handshake fails."""
    folder = lab.stage.world.folder
    context = client_context(folder / "roots.pem", folder / "alice.pem")
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1
    headers = bearer(lab.stage, "alice")
    assert ask(lab.ports["envoy-tls-old"], context, HOST, headers).status == 200
    assert ask(lab.ports["shipped"], context, HOST, headers).alert


def test_administration_answers_anybody(lab: Lab) -> None:
    """At another address of the machine than loopback's first."""
    with urllib.request.urlopen(f"http://127.0.0.2:{lab.ports['admin']}/listeners", timeout=15) as answer:
        assert b"shipped" in answer.read()


def test_running_envoy_is_judged_by_its_dump(lab: Lab) -> None:
    """Each fault of this Envoy is found in what it says of itself, by the same rule."""
    report = lint([], admin=f"http://127.0.0.1:{lab.ports['admin']}")
    found = {finding.rule for finding in report.findings}
    # Other listeners of this Envoy ask; and its service is on loopback.
    others_do = {"envoy-no-check", "envoy-no-certificate-request", "envoy-service-cleartext"}
    assert set(SHOWN) - others_do <= found
    assert report.not_understood == ()
