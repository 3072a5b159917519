"""What a client writes itself must decide nothing, and arrive nowhere."""

from __future__ import annotations

import contextlib
import ssl
import time

import pytest
from support.clients import Dial, bearer

from authz.demo import Stage
from authz.demo.client import Connection, ask, client_context
from authz.demo.mint import HOST
from authz.headers import KNOWN_HEADERS, present

pytestmark = pytest.mark.envoy


def alices_header(stage: Stage) -> str:
    """The very header that Envoy makes of alice's certificate."""
    der = ssl.PEM_cert_to_DER_cert(
        (stage.world.folder / "alice.pem").read_text().partition("-----END")[0] + "-----END CERTIFICATE-----\n"
    )
    return present(der, []).decode("ascii")


@pytest.mark.parametrize("certificate", [None, "stranger"])
@pytest.mark.parametrize(
    "name", ["x-forwarded-client-cert", "X-Forwarded-Client-Cert", "client-cert", "ssl-client-cert", "x-ssl-cert"]
)
def test_certificate_header_of_the_client_is_not_believed(
    stage: Stage, dial: Dial, name: str, certificate: str | None
) -> None:
    """Alice's certificate in a header, without her key, is no proof."""
    connection = dial(stage, certificate)
    answer = connection.get(headers=[*bearer(stage, "alice"), (name, alices_header(stage))])
    assert answer.status == 403


@pytest.mark.parametrize("copies", [1, 2])
def test_spoofed_xfcc_beside_the_own_certificate_is_replaced(stage: Stage, dial: Dial, copies: int) -> None:
    """Bob stays bob, however many of alice's headers come with the request."""
    spoofs = [("x-forwarded-client-cert", alices_header(stage))] * copies
    assert dial(stage, "bob").get(headers=[*bearer(stage, "alice"), *spoofs]).status == 403
    assert dial(stage, "bob").get(headers=[*bearer(stage, "bob"), *spoofs]).status == 200


@pytest.mark.parametrize("name", ["x_forwarded_client_cert", "x_authz_user", "x_authz_payload"])
def test_underscore_twin_is_rejected_by_the_proxy(stage: Stage, dial: Dial, name: str) -> None:
    """A name that servers fold into a trusted one does not get in."""
    assert dial(stage, "alice").get(headers=[*bearer(stage, "alice"), (name, "root")]).status == 400


@pytest.mark.parametrize("name", ["x-forwarded-client-cert", "x-authz-peer", "x-authz-payload"])
@pytest.mark.parametrize("space", [" ", "\t"])
def test_space_between_name_and_colon_is_rejected_by_the_proxy(stage: Stage, dial: Dial, name: str, space: str) -> None:
    """Another spelling of a trusted name."""
    tls = dial(stage, "bob").tls
    (_, token), *_ = bearer(stage, "alice")
    spoof = f"{name}{space}: {alices_header(stage)}"
    tls.sendall(f"GET / HTTP/1.1\r\nhost: {HOST}\r\nauthorization: {token}\r\n{spoof}\r\n\r\n".encode())
    assert tls.recv(65536).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("name", ["x-authz-user", "x-authz-binding", "x-authz-peer", "x-authz-payload", "X-AUTHZ-USER"])
def test_identity_header_of_the_client_is_replaced(stage: Stage, dial: Dial, name: str) -> None:
    """Whatever the client claims, the application sees what was decided, once."""
    answer = dial(stage, None).get(headers=[*bearer(stage, "olga"), (name, "spoofed")])
    assert answer.status == 200
    assert "spoofed" not in answer.body.decode()
    assert answer.seen["x-authz-user"] == "olga"


@pytest.mark.parametrize("name", [*sorted(KNOWN_HEADERS), "ssl-client-verify", "x-forwarded-host", "forwarded"])
def test_certificate_or_host_stated_by_the_client_does_not_reach_the_application(
    stage: Stage, dial: Dial, name: str
) -> None:
    """Nor what any other proxy would state: the application has one proxy in front, and believes it."""
    answer = dial(stage, None).get(headers=[*bearer(stage, "olga"), (name, "spoofed")])
    assert answer.status == 200
    assert "spoofed" not in answer.body.decode()


def test_token_in_the_query_names_no_user(stage: Stage, dial: Dial) -> None:
    """A token has one place; URLs are written down everywhere."""
    assert dial(stage, None).get(f"/?access_token={stage.token('olga')}").status == 401


def test_parameter_of_the_application_refuses_no_request(stage: Stage, dial: Dial) -> None:
    """What the query holds is the application's, by whatever name."""
    for value in ("opaque", stage.token("alice")):
        assert dial(stage, None).get(f"/?access_token={value}", headers=bearer(stage, "olga")).status == 200


def test_payload_of_the_client_is_not_an_identity(stage: Stage, dial: Dial) -> None:
    """A payload header without a verified token names no user."""
    payload = stage.token("olga").split(".")[1]
    assert dial(stage, None).get(headers=[("x-authz-payload", payload)]).status == 401


def test_token_with_a_forged_signature_names_no_user(stage: Stage, dial: Dial) -> None:
    """The proxy hands no payload over, and the service refuses."""
    head, payload, signature = stage.token("olga").split(".")
    forged = f"{head}.{payload}.{signature[::-1]}"
    assert dial(stage, None).get(headers=[("authorization", f"Bearer {forged}")]).status == 401


@pytest.mark.parametrize("target", ["x-forwarded-client-cert", "x-authz-peer", "x-authz-payload"])
def test_hop_by_hop_removal_denies_at_worst(stage: Stage, dial: Dial, target: str) -> None:
    """Naming a trusted header in Connection makes no required user out of a certificate-less one."""
    answer = dial(stage, "bob").get(headers=[*bearer(stage, "alice"), ("connection", f"close, {target}")])
    assert answer.status in {400, 401, 403}


def test_large_header_of_the_client_does_no_harm(stage: Stage, dial: Dial) -> None:
    """150 KB of a spoofed header are Envoy's to refuse."""
    answer = dial(stage, "alice").get(headers=[*bearer(stage, "alice"), ("x-forwarded-client-cert", "A" * 150_000)])
    assert answer.status == 431


def test_fat_chain_of_the_client_is_refused_by_the_service_with_a_reason(stage: Stage) -> None:
    """Envoy hands over whatever a handshake holds; the limit, and the word for it, are ours.

    The answer need not arrive: BoringSSL fails to write a session ticket that holds so long a chain.
    """
    folder, before = stage.world.folder, stage.application.requests
    pem = (folder / "alice.pem").read_text()
    issuing = pem[pem.rindex("-----BEGIN") :]
    (folder / "fat.pem").write_text(pem + issuing * 130)
    (folder / "fat.key").write_bytes((folder / "alice.key").read_bytes())
    context = client_context(folder / "roots.pem", folder / "fat.pem")
    with contextlib.suppress(ConnectionError):
        assert ask(stage.proxy.port, context, HOST, bearer(stage, "alice")).status == 403
    deadline = time.monotonic() + 30
    while not any('"reason":"header_too_large"' in line for line in list(stage.service.log)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert stage.application.requests == before


@pytest.mark.parametrize("path", ["/a%2Fb/..%2fc", "//x", "/v1/check/../../", "/healthz", "/metrics", "/v1/verify"])
def test_path_of_the_client_changes_no_decision(stage: Stage, dial: Dial, path: str) -> None:
    """No path is exempt, and none reaches the service's own."""
    assert dial(stage, "bob").get(path, headers=bearer(stage, "alice")).status in {400, 403}


def test_host_spelled_otherwise_is_the_same_organization(stage: Stage, dial: Dial) -> None:
    """Case, port and a trailing dot name no other host."""
    for host in (HOST.upper(), f"{HOST}:8443", f"{HOST}."):
        connection: Connection = dial(stage, "alice")
        connection._host = host
        assert connection.get(headers=bearer(stage, "alice")).status == 200
