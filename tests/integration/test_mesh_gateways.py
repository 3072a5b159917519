"""The gateways of deploy/istio and deploy/envoy-gateway, and the chains of docs/mesh.md, before the real service."""

from __future__ import annotations

import contextlib
import ssl
import subprocess
from collections.abc import Callable, Iterator

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from support.clients import bearer, stopped
from support.cluster_stage import GATEWAYS, ChainStage, ClusterStage, GatewayStage, OwnSidecarStage, proxy_headers
from support.mesh_translation import matchers
from support.worker_processes import until
from test_two_envoys import INJECTIONS

from authz.demo.client import ClientResponse, ask, client_context
from authz.demo.mint import HOST
from authz.demo.processes import envoy_binary, running
from authz.demo.rows import ROWS, Row
from authz.headers import KNOWN_HEADERS, present
from authz.web.answer import IDENTITY_HEADERS

pytestmark = pytest.mark.envoy

Beside = Callable[..., ClusterStage]
"""`beside(stage, …)`: other Envoys before a stage's service, started; what else is given says which."""
GIVEN_UP = {"istio": 503, "envoy gateway": 403}
"""What a client gets while the service cannot be asked."""


@pytest.fixture
def beside() -> Iterator[Beside]:
    """See `Beside`."""
    with contextlib.ExitStack() as stack:

        def start(stage: ClusterStage, *what: object, **options: object) -> ClusterStage:
            made = stage.beside(*what, **options)
            stack.enter_context(running(*made.envoys))
            return made

        yield start


@pytest.fixture(scope="module")
def cluster(envoy: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayStage]:
    """The service, with the settings that all gateways share; none of these is started."""
    made = GatewayStage(tmp_path_factory.mktemp("cluster"), "istio")
    with running(made.application, made.service):
        yield made


@pytest.fixture(scope="module", params=list(GATEWAYS))
def stage(cluster: GatewayStage, request: pytest.FixtureRequest) -> Iterator[GatewayStage]:
    """Each gateway as shipped."""
    made = cluster.beside(request.param)
    with running(*made.envoys):
        # Its first connection to the service: these gateways ask once, and no longer than the time that they are given.
        until(lambda: requested(made, "alice", "alice").status == 200)
        yield made


@pytest.fixture
def gateway(request: pytest.FixtureRequest, stage: GatewayStage) -> str:
    """Which of them."""
    return str(request.node.callspec.params["stage"])


def requested(
    stage: ClusterStage, user: str, certificate: str | None, *headers: tuple[str, str], path: str = "/"
) -> ClientResponse:
    """A client's request through the gateway."""
    folder = stage.world.folder
    context = client_context(folder / "roots.pem", None if certificate is None else folder / f"{certificate}.pem")
    return ask(stage.proxy.port, context, HOST, [*bearer(stage, user), *headers], path)


def outcome(stage: ClusterStage, answer: ClientResponse) -> tuple[int, str | None]:
    """The status, and the reason in the service's log."""
    decision_id = answer.headers.get("x-authz-decision-id") or answer.seen["x-authz-decision-id"]
    return answer.status, stage.service.decision(decision_id).get("reason")  # type: ignore[return-value]


AT_GATEWAY = [row.for_level(request_level=False) for row in ROWS if not row.ordinary]


@pytest.mark.parametrize("row", AT_GATEWAY, ids=lambda row: row.what.replace(" ", "_"))
def test_row_comes_out_as_expected(stage: GatewayStage, row: Row) -> None:
    """Status, reason in the log, and what the application sees; what is refused is not forwarded."""
    before = stage.application.requests
    answer, reason = stage.ask(row)
    assert row.holds(answer, reason), (answer, reason)
    assert stage.application.requests - before == (row.expected == 200)


def test_chain_is_what_the_gateway_hands_over(stage: GatewayStage, gateway: str) -> None:
    """Istio the leaf alone, unless the filter asks for more."""
    answer = requested(stage, "alice", "alice")
    line = stage.service.decision(answer.seen["x-authz-decision-id"])
    assert (answer.status, line.get("stored_chain", False)) == (200, gateway == "istio")


def alices(stage: ClusterStage) -> str:
    """The very header that Envoy makes of alice's certificate."""
    return present(stage.world.clients["alice"].certificate.public_bytes(Encoding.DER), []).decode()


@pytest.mark.parametrize("certificate", [None, "stranger", "bob"])
@pytest.mark.parametrize("statement", [None, "sha256=", "NONE"])
def test_certificate_header_of_a_client_is_not_believed(
    stage: GatewayStage, certificate: str | None, statement: str | None
) -> None:
    """Alice's certificate without her key, whatever it states besides."""
    spoofs = [("x-forwarded-client-cert", alices(stage))]
    spoofs += [] if statement is None else [("x-authz-peer", statement)]
    expected = {
        None: "certificate_required",
        "stranger": "certificate_not_registered",
        "bob": "certificate_of_another_user",
    }
    assert outcome(stage, requested(stage, "alice", certificate, *spoofs)) == (403, expected[certificate])
    assert requested(stage, "alice", "alice", *spoofs).status == 200


SPOOFED = [
    *IDENTITY_HEADERS,
    *sorted(KNOWN_HEADERS),
    "x-authz-peer",
    "x-authz-payload",
    "forwarded",
    "x-forwarded-host",
]


@pytest.mark.parametrize("copies", [1, 2])
def test_header_of_a_client_does_not_reach_the_application(stage: GatewayStage, copies: int) -> None:
    """Neither an identity, nor what some proxy would state; nor the token."""
    answer = requested(stage, "olga", None, *[(name, f"spoofed-{name}") for name in SPOOFED] * copies)
    assert answer.status == 200
    assert "spoofed" not in answer.body.decode()
    assert (answer.seen["x-authz-user"], answer.seen["x-authz-certificate"]) == ("olga", "")
    assert "authorization" not in answer.seen


def test_underscore_twin_reaches_the_application_behind_istio_alone(stage: GatewayStage, gateway: str) -> None:
    """As the page says: the filter refuses it, Envoy Gateway does so by itself."""
    answer = requested(stage, "olga", None, ("x_authz_user", "root"))
    assert answer.status == (200 if gateway == "istio" else 400)
    if answer.status == 200:
        assert (answer.seen["x_authz_user"], answer.seen["x-authz-user"]) == ("root", "olga")


@pytest.mark.parametrize("target", ["x-forwarded-client-cert", "x-authz-peer", "authorization"])
def test_hop_by_hop_removal_denies_at_worst(stage: GatewayStage, target: str) -> None:
    """A certificate that is lost does not become none."""
    answer = requested(stage, "olga", "revoked", ("connection", f"close, {target}"))
    assert answer.status in {400, 401, 403}


@pytest.mark.parametrize("what", INJECTIONS)
def test_name_of_a_client_forges_nothing(stage: GatewayStage, gateway: str, what: str) -> None:
    """Istio writes URI and DNS names, which Envoy does not escape; the service refuses what they forge."""
    text, reason = INJECTIONS[what]
    digest, cert = alices(stage).split(";")[:2]
    places = {"alice": alices(stage), "cert": cert.split('"')[1], "hash": digest.partition("=")[2]}
    stage.client("mallory", "spiffe://x" + text.format(**places))
    if what == "an element":  # it comes last, and is not the one that the gateway states
        reason = "proxy_statement_contradicts"
    expected = reason if gateway.startswith("istio") else "certificate_not_registered"
    assert outcome(stage, requested(stage, "alice", "mallory")) == (403, expected)


def test_configuration_validates(stage: GatewayStage) -> None:
    """Envoy finds nothing wrong with what the manifests become, the filter's fragment among it."""
    command = [str(envoy_binary()), "--mode", "validate", "--use-dynamic-base-id", "-c", str(stage.proxy._config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("gateway", GIVEN_UP)
def test_service_that_is_down_lets_no_request_in(cluster: GatewayStage, beside: Beside, gateway: str) -> None:
    """503 where the manifest can say so; the application is not reached, and all is well afterwards."""
    made = beside(cluster, gateway)
    assert requested(made, "alice", "alice").status == 200
    before = made.application.requests
    with stopped(made):
        for user, certificate in (("alice", "alice"), ("olga", None)):
            assert requested(made, user, certificate).status == GIVEN_UP[gateway]
        assert made.application.requests == before
    assert requested(made, "alice", "alice").status == 200


@pytest.mark.parametrize("gateway", GIVEN_UP)
def test_proxy_of_another_name_lets_no_request_in(cluster: GatewayStage, beside: Beside, gateway: str) -> None:
    """Of the same CA: the service turns it away."""
    made = beside(cluster, gateway, own="stranger")
    before, said = made.application.requests, len(made.service.log)
    assert requested(made, "alice", "alice").status == GIVEN_UP[gateway]
    assert made.application.requests == before
    until(lambda: any("no allowed name, but: stranger" in one for one in made.service.log[said:]))


@pytest.mark.parametrize("gateway", GIVEN_UP)
def test_service_of_another_name_is_not_asked(cluster: GatewayStage, beside: Beside, gateway: str) -> None:
    """What the DestinationRule and the BackendTLSPolicy verify is verified."""
    made = beside(cluster, gateway, changes={"name": "other.authz.svc.cluster.local"})
    before = made.application.requests
    assert requested(made, "alice", "alice").status == GIVEN_UP[gateway]
    assert made.application.requests == before


@pytest.mark.parametrize("mode", ["APPEND_FORWARD", "FORWARD_ONLY", "ALWAYS_FORWARD_ONLY"])
def test_gateway_with_another_mode_is_refused(cluster: GatewayStage, beside: Beside, mode: str) -> None:
    """What a client wrote contradicts the gateway's statement, or is an element too many."""
    made = beside(cluster, "istio", changes={"manager": {"forward_client_cert_details": mode}})
    before = made.application.requests
    for certificate in (None, "bob"):
        answer = requested(made, "alice", certificate, ("x-forwarded-client-cert", alices(made)))
        status, reason = outcome(made, answer)
        assert status == 403
        assert reason in {"header_elements_unexpected", "proxy_statement_contradicts", "certificate_required"}
    assert made.application.requests == before


@pytest.mark.parametrize(
    ("gateway", "sent", "reason"),
    [
        ("envoy gateway", ["x-forwarded-client-cert"], "proxy_statement_missing"),
        ("envoy gateway", ["x-authz-peer"], "proxy_statement_contradicts"),
        ("istio", ["authorization"], "proxy_statement_contradicts"),
    ],
)
def test_header_left_out_of_the_list_refuses(
    cluster: GatewayStage, beside: Beside, gateway: str, sent: list[str], reason: str
) -> None:
    """A certificate that the gateway does not pass on is not taken for none, nor believed without its word."""
    made = beside(cluster, gateway, changes={"checks": {"allowed_headers": matchers(sent)}})
    assert outcome(made, requested(made, "alice", "alice")) == (403, reason)
    assert outcome(made, requested(made, "olga", "revoked"))[0] == 403


SANITIZED = proxy_headers("With a sidecar of its own")


@pytest.fixture(scope="module")
def own_sidecar(envoy: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnSidecarStage]:
    """A service that takes the other name, with the sidecar of the page."""
    made = OwnSidecarStage(tmp_path_factory.mktemp("own-sidecar"), SANITIZED)
    with running(made.application, made.service, *made.envoys):
        yield made


@pytest.fixture(scope="module")
def not_renamed(envoy: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnSidecarStage]:
    """A service that does not; none of its Envoys is started."""
    made = OwnSidecarStage(tmp_path_factory.mktemp("not-renamed"), SANITIZED, renamed=False)
    with running(made.application, made.service):
        yield made


def test_own_sidecar_as_documented_decides_alike(own_sidecar: OwnSidecarStage) -> None:
    """The client's certificate comes under the other name; the header that the sidecar would write is gone."""
    made = own_sidecar
    assert outcome(made, requested(made, "alice", "alice")) == (200, None)
    assert outcome(made, requested(made, "alice", "bob")) == (403, "certificate_of_another_user")
    assert outcome(made, requested(made, "alice", None)) == (403, "certificate_required")
    assert outcome(made, requested(made, "olga", None)) == (200, None)
    for name in ("x-authz-client-cert", "x-forwarded-client-cert"):
        answer = requested(made, "alice", None, (name, alices(made)))
        assert outcome(made, answer) == (403, "certificate_required")


@pytest.mark.parametrize("mode", ["APPEND_FORWARD", "SANITIZE_SET"])
def test_own_sidecar_without_the_annotation_refuses_everybody(
    own_sidecar: OwnSidecarStage, beside: Beside, mode: str
) -> None:
    """Its own element arrives beside the other header."""
    made = beside(own_sidecar, {"forwardedClientCert": mode})
    assert outcome(made, requested(made, "alice", "alice")) == (403, "header_unexpected")
    assert outcome(made, requested(made, "olga", None)) == (403, "header_unexpected")


TRAP = {
    "APPEND_FORWARD, its default": {},
    "APPEND_FORWARD with the certificate": {"setCurrentClientCertDetails": {"cert": True}},
    "SANITIZE_SET": {"forwardedClientCert": "SANITIZE_SET", "setCurrentClientCertDetails": {"cert": True}},
    "SANITIZE": {"forwardedClientCert": "SANITIZE"},
}
REFUSED = {"header_without_certificate", "header_elements_unexpected", "proxy_statement_contradicts"}


@pytest.mark.parametrize("headers", TRAP.values(), ids=list(TRAP))
def test_own_sidecar_that_replaces_the_header_lets_no_request_in(
    not_renamed: OwnSidecarStage, beside: Beside, headers: dict[str, object]
) -> None:
    """istio/istio#56219: the gateway's certificate in the place of the client's, or behind it, or nothing."""
    made = beside(not_renamed, headers)
    before = made.application.requests
    status, reason = outcome(made, requested(made, "alice", "alice"))
    assert status == 403
    assert reason in REFUSED
    assert made.application.requests == before


@pytest.fixture(scope="module")
def chain(envoy: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChainStage]:
    """Gateway and sidecar as documented."""
    made = ChainStage(tmp_path_factory.mktemp("chain"), proxy_headers("Gateway and sidecar"))
    with running(made.application, made.service, *made.envoys):
        yield made


@pytest.mark.parametrize(
    ("user", "certificate", "expected"),
    [
        ("alice", "alice", (200, None)),
        ("alice", "bob", (403, "certificate_of_another_user")),
        ("alice", "revoked", (403, "certificate_revoked")),
        ("alice", None, (403, "certificate_required")),
        ("olga", None, (200, None)),
    ],
)
def test_clients_element_is_judged_behind_the_gateways(
    chain: ChainStage, user: str, certificate: str | None, expected: tuple[int, str | None]
) -> None:
    """By the chain of Istio's own defaults, and the annotation."""
    assert outcome(chain, requested(chain, user, certificate)) == expected
    if certificate != "alice":
        spoof = ("x-forwarded-client-cert", alices(chain))
        assert outcome(chain, requested(chain, user, certificate, spoof)) == expected


@pytest.mark.parametrize("gateways", [False, True])
def test_workload_that_calls_the_sidecar_is_refused(chain: ChainStage, gateways: bool) -> None:
    """With a victim's element, and with the gateway's behind it."""
    chain.certificate("workload-reports", "spiffe://cluster.local/ns/shop/sa/reports", issuer=chain.mesh)
    spoof = alices(chain)
    if gateways:
        pem = (chain.files / "workload-gateway.pem").read_text()
        spoof += "," + present(ssl.PEM_cert_to_DER_cert(pem), []).decode()
    context = client_context(chain.files / "mesh-ca.pem", chain.files / "workload-reports.pem")
    context.check_hostname = False
    headers = [*bearer(chain, "alice"), ("x-forwarded-client-cert", spoof)]
    before = chain.application.requests
    answer = ask(chain.sidecar.port, context, HOST, headers)
    assert outcome(chain, answer) == (403, "header_elements_unexpected" if gateways else "hop_not_trusted")
    assert chain.application.requests == before


def test_sidecar_without_the_certificate_in_its_element_is_refused(chain: ChainStage, beside: Beside) -> None:
    """Istio's default says who called in words only."""
    made = beside(chain, {"forwardedClientCert": "APPEND_FORWARD"})
    assert outcome(made, requested(made, "alice", "alice")) == (403, "header_without_certificate")
