"""An edge gateway and a sidecar: the client's element is found, and only the gateway can hand one over."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from support.certificates import Authority, Minted
from support.clients import bearer
from support.mesh_stage import GATEWAY, MeshStage, documented_changes
from support.worker_processes import until

from authz.demo.client import ClientResponse, ask, client_context
from authz.demo.mint import HOST
from authz.demo.processes import running
from authz.headers import present

pytestmark = pytest.mark.envoy

URIS = "set_current_client_cert_details: {cert: true, chain: true}"
SETS = "forward_client_cert_details: SANITIZE_SET"


@pytest.fixture(scope="module")
def mesh(envoy: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MeshStage]:
    """Both Envoys as documented."""
    made = MeshStage(tmp_path_factory.mktemp("mesh"))
    with running(made.application, made.service, made.sidecar, made.gateway):
        yield made


@pytest.fixture
def changed(mesh: MeshStage) -> Iterator[Callable[..., MeshStage]]:
    """Starts two other Envoys before the service, with changes that the documentation warns of."""
    with contextlib.ExitStack() as stack:

        def make(**changes: dict[str, str]) -> MeshStage:
            made = mesh.beside(**changes)
            stack.enter_context(running(made.sidecar, made.gateway))
            return made

        yield make


def element(mesh: MeshStage, name: str) -> str:
    """The very element that Envoy makes of somebody's certificate; of the gateway's too, which is no secret."""
    if name in mesh.world.clients:
        party = mesh.world.clients[name]
        leaf, others = party.certificate, party.chain
    else:
        leaf, others = x509.load_pem_x509_certificate((mesh.world.folder / f"{name}.pem").read_bytes()), ()
    return present(leaf.public_bytes(Encoding.DER), [one.public_bytes(Encoding.DER) for one in others]).decode()


def outcome(mesh: MeshStage, answer: ClientResponse) -> tuple[int, str | None]:
    """The status, and the reason in the service's log; each answer must be one that the service gave."""
    decision_id = answer.headers.get("x-authz-decision-id") or answer.seen["x-authz-decision-id"]
    line = mesh.service.decision(decision_id)
    assert line["listener"] == "sidecar"
    return answer.status, line.get("reason")  # type: ignore[return-value]


def at_gateway(mesh: MeshStage, certificate: str | None, user: str, *spoofs: str) -> ClientResponse:
    """A client's request, with certificate headers of its own."""
    folder = mesh.world.folder
    context = client_context(folder / "roots.pem", None if certificate is None else folder / f"{certificate}.pem")
    return ask(mesh.gateway.port, context, HOST, [*bearer(mesh, user), *xfcc(spoofs)])


def at_sidecar(mesh: MeshStage, workload: Path | None, *spoofs: str, port: int | None = None) -> ClientResponse:
    """A request in alice's name past the gateway, with her token."""
    context = client_context(mesh.world.folder / "mesh-ca.pem", workload)
    return ask(port or mesh.sidecar.port, context, HOST, [*bearer(mesh, "alice"), *xfcc(spoofs)])


def xfcc(values: tuple[str, ...]) -> list[tuple[str, str]]:
    """A header line each."""
    return [("x-forwarded-client-cert", one) for one in values]


@pytest.mark.parametrize(
    ("user", "certificate", "expected"),
    [
        ("alice", "alice", (200, None)),
        ("bob", "bob", (200, None)),
        ("alice", "bob", (403, "certificate_of_another_user")),
        ("alice", "stranger", (403, "certificate_not_registered")),
        ("alice", "revoked", (403, "certificate_revoked")),
        ("alice", None, (403, "certificate_required")),
        ("olga", None, (200, None)),
        ("olga", "revoked", (403, "certificate_revoked")),
    ],
)
def test_clients_element_is_judged_behind_the_gateways(
    mesh: MeshStage, user: str, certificate: str | None, expected: tuple[int, str | None]
) -> None:
    """As if there were one proxy; the gateway's certificate is no user's, and goes no further."""
    answer = at_gateway(mesh, certificate, user)
    assert outcome(mesh, answer) == expected
    assert "x-forwarded-client-cert" not in answer.seen
    assert answer.seen.get("x-authz-user") == (user if expected[0] == 200 else None)


@pytest.mark.parametrize("copies", [1, 2])
@pytest.mark.parametrize(
    ("certificate", "reason"), [(None, "certificate_required"), ("bob", "certificate_of_another_user")]
)
def test_clients_own_element_does_not_pass_the_gateway(
    mesh: MeshStage, certificate: str | None, reason: str, copies: int
) -> None:
    """Alice's certificate without her key, alone or with the gateway's behind it."""
    for spoof in (element(mesh, "alice"), f"{element(mesh, 'alice')},{element(mesh, 'gateway')}"):
        assert outcome(mesh, at_gateway(mesh, certificate, "alice", *[spoof] * copies)) == (403, reason)


def test_clients_own_element_harms_no_good_client(mesh: MeshStage) -> None:
    """It is replaced, not refused."""
    assert outcome(mesh, at_gateway(mesh, "alice", "alice", element(mesh, "bob"))) == (200, None)


def test_client_cannot_make_the_hops_lose_its_certificate(mesh: MeshStage) -> None:
    """A hop-by-hop removal would turn a revoked certificate into none."""
    folder = mesh.world.folder
    context = client_context(folder / "roots.pem", folder / "revoked.pem")
    for named in ("x-forwarded-client-cert", "x-authz-peer"):
        headers = [*bearer(mesh, "olga"), ("connection", f"close, {named}")]
        assert outcome(mesh, ask(mesh.gateway.port, context, HOST, headers)) == (403, "certificate_revoked")


def test_identity_header_of_the_client_does_not_pass_the_sidecar(mesh: MeshStage) -> None:
    """The gateway hands it on; what the application sees is the service's."""
    folder = mesh.world.folder
    context = client_context(folder / "roots.pem", folder / "alice.pem")
    names = ("x-authz-user", "x-authz-peer", "x-authz-payload", "client-cert", "x-forwarded-host")
    headers = [*bearer(mesh, "alice"), *[(name, "spoofed") for name in names]]
    answer = ask(mesh.gateway.port, context, HOST, headers)
    assert answer.seen["x-authz-user"] == "alice"
    assert "spoofed" not in answer.body.decode()


def test_element_too_long_for_the_sidecar_ends_there(mesh: MeshStage) -> None:
    """What the gateway hands over is within the sidecar's limit of headers: refused, not cut."""
    before = mesh.application.requests
    answer = at_sidecar(mesh, mesh.world.folder / "gateway.pem", "A" * 70_000)
    assert (answer.status, mesh.application.requests) == (431, before)


SPOOFS = {
    "nothing": ([], "hop_not_trusted"),
    "the victim": (["{alice}"], "hop_not_trusted"),
    "the victim and the gateway": (["{alice},{gateway}"], "header_elements_unexpected"),
    "the same in two lines": (["{alice}", "{gateway}"], "header_elements_unexpected"),
    "a quote left open": (['{alice},{gateway};Subject="'], "header_malformed"),
    "a quote left open behind the victim": (['{alice};Subject="'], "header_malformed"),
    "a backslash": (['{alice};Subject="\\'], "header_malformed"),
    "a comma": (["{alice},"], "header_malformed"),
    "a pair left open": (["{alice};"], "header_malformed"),
    "a name left open": (["{alice};URI="], "hop_not_trusted"),
}


@pytest.mark.parametrize("spoof", SPOOFS)
def test_workload_that_calls_the_sidecar_with_the_victims_element_is_refused(mesh: MeshStage, spoof: str) -> None:
    """A certificate of the mesh is not the gateway's: Envoy writes the caller's own behind whatever it sent."""
    values, reason = SPOOFS[spoof]
    places = {"alice": element(mesh, "alice"), "gateway": element(mesh, "gateway")}
    workload = mesh.workload("reports", "reports.mesh.example.test")
    before = mesh.application.requests
    answer = at_sidecar(mesh, workload, *[one.format(**places) for one in values])
    assert outcome(mesh, answer) == (403, reason)
    assert mesh.application.requests == before


def test_gateways_key_is_what_the_refusals_hang_on(mesh: MeshStage) -> None:
    """The same request with the gateway's own key is allowed: the cases above fail for no other cause."""
    assert outcome(mesh, at_sidecar(mesh, mesh.world.folder / "gateway.pem", element(mesh, "alice"))) == (200, None)


@pytest.mark.parametrize(
    "name",
    [f"x.{GATEWAY}", f"{GATEWAY}.evil.test", GATEWAY.upper(), "*.mesh.example.test", f"{GATEWAY},{GATEWAY}"],
)
def test_name_that_resembles_the_gateways_is_refused(mesh: MeshStage, name: str) -> None:
    """Compared exactly."""
    workload = mesh.workload("resembling", name)
    assert outcome(mesh, at_sidecar(mesh, workload, element(mesh, "alice"))) == (403, "hop_not_trusted")


def test_caller_without_a_certificate_of_the_mesh_does_not_reach_the_sidecar(mesh: MeshStage) -> None:
    """Nor does alice herself, past the gateway, nor a foreign CA's gateway."""
    impostor = mesh.workload("impostor", GATEWAY, issuer=Authority.root("Mesh CA"))
    for caller in (None, mesh.world.folder / "alice.pem", impostor):
        assert at_sidecar(mesh, caller, element(mesh, "alice")).alert


def test_listener_without_certificates_is_no_way_round_the_gateway(mesh: MeshStage) -> None:
    """The sidecar's ordinary TLS, left open: Envoy drops the header, and no gateway's element is there."""
    both = f"{element(mesh, 'alice')},{element(mesh, 'gateway')}"
    for spoof in (element(mesh, "alice"), both):
        answer = at_sidecar(mesh, None, spoof, port=mesh.sidecar_ordinary)
        assert outcome(mesh, answer) == (403, "header_elements_unexpected")


def test_each_documented_change_is_one_of_the_shipped_file() -> None:
    """Three, and none that changes nothing."""
    changes = documented_changes()
    assert len(changes) == 3
    assert all(old != new for old, new in changes.items())


def test_impostor_that_the_sidecar_lets_in_is_refused_by_the_service(changed: Callable[..., MeshStage]) -> None:
    """With a sidecar that takes any certificate, a gateway's name under a CA of one's own is still nothing."""
    unverified = "trusted_ca: {filename: /etc/envoy/tls/mesh-ca.pem}"
    mesh = changed(at_sidecar={unverified: "trust_chain_verification: ACCEPT_UNTRUSTED"})
    impostor = mesh.workload("impostor", GATEWAY, issuer=Authority.root("Mesh CA"))
    assert outcome(mesh, at_sidecar(mesh, impostor, element(mesh, "alice"))) == (403, "hop_not_trusted")
    assert outcome(mesh, at_gateway(mesh, "alice", "alice")) == (200, None)


INJECTIONS = {
    "an element": (",{alice}", "header_elements_unexpected"),
    "a second certificate": (';Cert="{cert}"', "header_ambiguous"),
    "a second hash": (";Hash={hash}", "header_ambiguous"),
    "an element and an open quote": (',{alice};Subject="', "header_malformed"),
    "an open quote": (';Subject="', "header_malformed"),
    "a bare quote": ('"', "header_malformed"),
    "a bare comma": (",", "header_malformed"),
    "a backslash": ("\\", "header_malformed"),
    "nothing": ("", "certificate_not_registered"),
}


def injected(mesh: MeshStage, what: str, victim: str) -> tuple[str, str]:
    """A URI that writes what is called so, about the victim; and the reason that must come of it."""
    text, reason = INJECTIONS[what]
    whole = element(mesh, victim)
    digest, cert = whole.split(";")[:2]
    places = {"alice": whole, "cert": cert.split('"')[1], "hash": digest.partition("=")[2]}
    return "spiffe://x" + text.format(**places), reason


@pytest.fixture(scope="module")
def careless(mesh: MeshStage) -> Iterator[MeshStage]:
    """Both Envoys write names, which neither escapes."""
    named = {URIS: "set_current_client_cert_details: {cert: true, chain: true, uri: true, dns: true}"}
    made = mesh.beside(at_gateway=named, at_sidecar=named)
    with running(made.sidecar, made.gateway):
        yield made


@pytest.mark.parametrize("what", INJECTIONS)
def test_name_of_a_client_forges_nothing_through_a_careless_gateway(careless: MeshStage, what: str) -> None:
    """In a certificate that the client's own CA issued."""
    uri, reason = injected(careless, what, "alice")
    careless.client("mallory", uri)
    assert outcome(careless, at_gateway(careless, "mallory", "alice")) == (403, reason)


@pytest.mark.parametrize("what", INJECTIONS)
def test_name_of_a_client_does_not_leave_the_gateway_as_documented(mesh: MeshStage, what: str) -> None:
    """Without uri the name is inside the certificate, and nowhere else."""
    mesh.client("mallory", injected(mesh, what, "alice")[0])
    assert outcome(mesh, at_gateway(mesh, "mallory", "alice")) == (403, "certificate_not_registered")


@pytest.mark.parametrize("values", [[], ["{alice}"]])
def test_name_of_a_workload_forges_no_gateway(careless: MeshStage, values: list[str]) -> None:
    """The forged element is the last one, and the sidecar's statement is about another certificate."""
    uri = f"spiffe://x,{element(careless, 'gateway')}"
    workload = careless.workload("forger", x509.UniformResourceIdentifier(uri))
    answer = at_sidecar(careless, workload, *[one.format(alice=element(careless, "alice")) for one in values])
    assert outcome(careless, answer) == (403, "proxy_statement_contradicts")


def test_gateway_that_appends_is_refused_with_a_spoof(changed: Callable[..., MeshStage]) -> None:
    """The spoofed element comes first, and is one too many; honest clients pass."""
    mesh = changed(at_gateway={SETS: "forward_client_cert_details: APPEND_FORWARD"})
    spoofed = at_gateway(mesh, "bob", "alice", element(mesh, "alice"))
    assert outcome(mesh, spoofed) == (403, "header_elements_unexpected")
    assert outcome(mesh, at_gateway(mesh, None, "alice", element(mesh, "alice"))) == (403, "certificate_required")
    assert outcome(mesh, at_gateway(mesh, "alice", "alice")) == (200, None)


def test_gateway_that_removes_the_header_makes_no_certificate(changed: Callable[..., MeshStage]) -> None:
    """Who needs one is refused; who needs none passes even with a revoked one, which nothing behind can know."""
    mesh = changed(at_gateway={SETS: "forward_client_cert_details: SANITIZE"})
    assert outcome(mesh, at_gateway(mesh, "alice", "alice")) == (403, "certificate_required")
    assert outcome(mesh, at_gateway(mesh, None, "olga")) == (200, None)
    assert outcome(mesh, at_gateway(mesh, "revoked", "olga")) == (200, None)


def test_gateway_that_only_forwards_is_believed(changed: Callable[..., MeshStage]) -> None:
    """The limit of what can be checked from behind, as the documentation states it."""
    mesh = changed(at_gateway={SETS: "forward_client_cert_details: FORWARD_ONLY"})
    assert outcome(mesh, at_gateway(mesh, "bob", "alice", element(mesh, "alice"))) == (200, None)


JSON = {URIS: "set_current_client_cert_details: {cert: true, chain: true, uri: true, format: JSON}"}


@pytest.fixture(scope="module")
def mesh_in_json(envoy: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MeshStage]:
    """Both Envoys write JSON, and the service reads it."""
    listener = 'certificate = {form = "xfcc-json"}'
    made = MeshStage(tmp_path_factory.mktemp("json"), at_gateway=JSON, at_sidecar=JSON, listener=listener)
    with running(made.application, made.service, made.sidecar, made.gateway):
        yield made


def test_json_form_has_the_same_outcomes(mesh_in_json: MeshStage) -> None:
    """Envoy splices its own element into the array it received, and names forge nothing there."""
    mesh = mesh_in_json
    assert outcome(mesh, at_gateway(mesh, "alice", "alice", element(mesh, "bob"))) == (200, None)
    assert outcome(mesh, at_gateway(mesh, "bob", "alice")) == (403, "certificate_of_another_user")
    assert outcome(mesh, at_gateway(mesh, None, "alice")) == (403, "certificate_required")
    cert = (mesh.world.folder / "alice.pem").read_text().partition("-----END CERTIFICATE-----\n")
    victim = json.dumps([{"cert": "".join(cert[:2])}])
    mesh.client("mallory", f'spiffe://x"}},{victim[1:-1]}')
    assert outcome(mesh, at_gateway(mesh, "mallory", "alice")) == (403, "certificate_not_registered")
    workload = mesh.workload("reports", "reports.mesh.example.test")
    spoofs = {victim: "hop_not_trusted", element(mesh, "alice"): "header_malformed", "[]": "header_malformed"}
    for spoof, reason in spoofs.items():
        assert outcome(mesh, at_sidecar(mesh, workload, spoof)) == (403, reason)
    assert outcome(mesh, at_sidecar(mesh, mesh.world.folder / "gateway.pem", victim)) == (200, None)


@pytest.fixture
def with_crls(envoy: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MeshStage]:
    """Both Envoys, and a file of the operator's for the CRL of the mesh's CA."""
    monkeypatch.setenv("AUTHZ_CRL__FILES", json.dumps([str(tmp_path / "mesh.crl")]))
    made = MeshStage(tmp_path)
    publish(made, 1)
    with running(made.application, made.service, made.sidecar, made.gateway):
        yield made


def publish(mesh: MeshStage, number: int, *revoked: Minted) -> None:
    """Put a CRL of the mesh's CA, whose number says which is newer, in the place of the one before."""
    now = datetime.now(UTC)
    times = {"this_update": now - timedelta(minutes=10 - number), "next_update": now + timedelta(days=1)}
    fresh = mesh.world.folder / "mesh.crl.new"
    fresh.write_bytes(mesh.mesh.crl(*revoked, number=number, **times))
    fresh.replace(mesh.world.folder / "mesh.crl")


def test_gateway_that_is_revoked_hands_nothing_over(with_crls: MeshStage) -> None:
    """On connections that are open, for a client with a certificate and for one without, until the CA takes it back."""
    mesh = with_crls
    pem = (mesh.world.folder / "gateway.pem").read_bytes()
    gateway = Minted(x509.load_pem_x509_certificate(pem), mesh.mesh.key)
    clients = ((None, "olga"), ("alice", "alice"))
    assert [outcome(mesh, at_gateway(mesh, *one)) for one in clients] == [(200, None)] * 2
    publish(mesh, 2, gateway)
    refused = (403, "hop_not_trusted")
    until(lambda: outcome(mesh, at_gateway(mesh, *clients[0])) == refused)
    assert [outcome(mesh, at_gateway(mesh, *one)) for one in clients] == [refused] * 2
    publish(mesh, 3)
    until(lambda: outcome(mesh, at_gateway(mesh, *clients[0])) == (200, None))
