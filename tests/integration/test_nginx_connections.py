"""Behind nginx: resumption, connections that stay open, large certificates, long chains, a service that is gone."""

from __future__ import annotations

import re
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from support.certificates import Authority, Minted, chain_pem, new_key, san
from support.clients import Dial, bearer, paused, retired, revoked, stopped
from support.directory import DirectoryStore
from support.nginx_stage import Beside, NginxStage
from support.tampered import pss_key, reissued
from test_connections import VERSIONS, assert_denied_within_the_bound, context_of

from authz.admin.organizations import OrganizationChange, PathChange, change_organization
from authz.demo.client import ClientResponse
from authz.demo.mint import HOST
from authz.demo.world import ORGANIZATION
from authz.envoy_sds import replace_file
from authz.model import Algorithm
from authz.pki import Certificate, Crl

pytestmark = pytest.mark.nginx

RESUMING = {"ssl_session_tickets off;": "", "ssl_session_cache off;": ""}
SHARED = {"ssl_session_tickets off;": "", "ssl_session_cache off;": "ssl_session_cache shared:s:1m;"}
CURVES = "X25519:prime256v1:brainpoolP256r1:brainpoolP384r1:brainpoolP512r1"
BRAINPOOL = {"ssl_session_cache off;": f"ssl_session_cache off;\n    ssl_ecdh_curve {CURVES};"}

NOW = datetime.now(UTC).replace(microsecond=0)
LIFE = {"not_before": NOW - timedelta(days=1), "not_after": NOW + timedelta(days=30)}
CRL_LIFE = {"this_update": NOW - timedelta(hours=1), "next_update": NOW + timedelta(days=1)}


@pytest.fixture
def open_store() -> Iterator[Callable[[NginxStage], DirectoryStore]]:
    """Opens the directory of a stage, as the operator's command does."""
    opened: list[DirectoryStore] = []

    def of(stage: NginxStage) -> DirectoryStore:
        opened.append(DirectoryStore(stage.world.database))
        return opened[-1]

    yield of
    for one in opened:
        one.close()


@VERSIONS
@pytest.mark.parametrize(("certificate", "status"), [("alice", 200), ("bob", 403), (None, 403)])
def test_tls_version_is_checked_alike(
    nginx_stage: NginxStage, dial: Dial, version: ssl.TLSVersion, certificate: str | None, status: int
) -> None:
    """Both carry the certificate."""
    context = context_of(nginx_stage, certificate or "self-signed", version)
    options = {} if certificate is None else {"context": context}
    assert dial(nginx_stage, certificate, **options).get(headers=bearer(nginx_stage, "alice")).status == status


@VERSIONS
def test_session_is_not_resumed(nginx_stage: NginxStage, dial: Dial, version: ssl.TLSVersion) -> None:
    """Each connection shows its certificate."""
    context = context_of(nginx_stage, "alice", version)
    first = dial(nginx_stage, "alice", context=context)
    assert first.get(headers=bearer(nginx_stage, "alice")).status == 200
    again = dial(nginx_stage, "alice", context=context, session=first.tls.session)
    assert not again.tls.session_reused
    assert again.get(headers=bearer(nginx_stage, "alice")).status == 200


@VERSIONS
@pytest.mark.parametrize("changes", [RESUMING, SHARED], ids=["tickets", "shared"])
def test_resumed_session_is_still_checked(
    restored_nginx_stage: NginxStage, beside: Beside, dial: Dial, version: ssl.TLSVersion, changes: dict[str, str]
) -> None:
    """Where an operator lets sessions be resumed: the first handshake's certificate, and a retired one is refused."""
    stage = beside(restored_nginx_stage, changes)
    context = context_of(stage, "alice", version)
    first = dial(stage, "alice", context=context)
    assert first.get(headers=bearer(stage, "alice")).status == 200
    resumed = dial(stage, "alice", context=context, session=first.tls.session)
    assert resumed.tls.session_reused
    assert resumed.get(headers=bearer(stage, "alice")).status == 200
    with retired(stage):
        assert_denied_within_the_bound(stage, resumed)


def test_session_without_a_user_stays_without(nginx_stage: NginxStage, beside: Beside, dial: Dial) -> None:
    """Resumed without a certificate: none."""
    stage = beside(nginx_stage, RESUMING)
    context = context_of(stage, "alice", ssl.TLSVersion.TLSv1_3)
    nobody = ssl.create_default_context(cafile=str(stage.world.folder / "roots.pem"))
    first = dial(stage, None, context=nobody)
    assert first.get(headers=bearer(stage, "olga")).status == 200
    resumed = dial(stage, None, context=nobody, session=first.tls.session)
    assert resumed.tls.session_reused
    assert resumed.get(headers=bearer(stage, "alice")).status == 403
    assert dial(stage, "alice", context=context).get(headers=bearer(stage, "alice")).status == 200


def test_registration_retired_open_connection_is_denied_within_the_bound(
    restored_nginx_stage: NginxStage, dial: Dial
) -> None:
    """Nothing about the connection changes, and its next requests are refused."""
    connection = dial(restored_nginx_stage, "alice")
    assert connection.get(headers=bearer(restored_nginx_stage, "alice")).status == 200
    with retired(restored_nginx_stage):
        assert_denied_within_the_bound(restored_nginx_stage, connection)


def test_certificate_revoked_open_connection_is_denied_within_the_bound(
    restored_nginx_stage: NginxStage, dial: Dial
) -> None:
    """A newly published CRL bites on a connection that was opened before, and nginx learns nothing of it."""
    connection = dial(restored_nginx_stage, "alice")
    assert connection.get(headers=bearer(restored_nginx_stage, "alice")).status == 200
    with revoked(restored_nginx_stage):
        assert_denied_within_the_bound(restored_nginx_stage, connection)


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_certificate_request_has_an_empty_ca_list(nginx_stage: NginxStage, openssl: str, version: str) -> None:
    """A client is asked for a certificate, and no CA names are sent that it might filter by."""
    command = [openssl, "s_client", "-connect", f"127.0.0.1:{nginx_stage.proxy.port}", version, "-msg"]
    done = subprocess.run(command, input="", capture_output=True, text=True, check=False, timeout=30)
    assert "CertificateRequest" in done.stdout
    assert "No client certificate CA names sent" in done.stdout
    assert not re.search(r"Acceptable client certificate CA names", done.stdout)


def test_certificate_request_is_not_sent_at_the_ordinary_listener(nginx_stage: NginxStage, openssl: str) -> None:
    """No service is asked there."""
    command = [openssl, "s_client", "-connect", f"127.0.0.1:{nginx_stage.proxy.ordinary_port}", "-tls1_2", "-msg"]
    done = subprocess.run(command, input="", capture_output=True, text=True, check=False, timeout=30)
    assert "ServerHello" in done.stdout
    assert "CertificateRequest" not in done.stdout


def registered(stage: NginxStage, store: DirectoryStore, root: Authority, chain: list[Minted], *, stored: int) -> None:
    """Alice's client shows `chain`; `stored` of its intermediates are stored with her certificate, the others known."""
    folder = stage.world.folder
    (folder / "minted.pem").write_text(chain_pem(*chain))
    (folder / "minted.key").write_text(chain[0].key_pem)
    leaf, *above = (Certificate.parse(one.der) for one in chain)
    store.add_anchors(ORGANIZATION, [Certificate.parse(root.der)])
    # A CRL needs a CA that is known; known to another organization, so that it completes no path of this one.
    store.add_intermediates(ORGANIZATION if stored < len(above) else "globex", above[stored:] or above)
    store.register(ORGANIZATION, "alice", leaf, above[:stored], now=NOW)
    for ca in (root, *chain[1:]):
        store.add_crl(Crl(ca.crl(**CRL_LIFE)), NOW)


@pytest.mark.parametrize("names", [100, 300, 1_000])
def test_certificate_with_many_names_is_allowed(
    restored_nginx_stage: NginxStage, open_store: Callable[[NginxStage], DirectoryStore], dial: Dial, names: int
) -> None:
    """Its header is larger than servers like: 19 KB for 300 names."""
    stage = restored_nginx_stage
    root = Authority.root("Large Root", **LIFE)
    sans = san(*(f"host-{number:04}.a-rather-long-name.example.test" for number in range(names)))
    registered(stage, open_store(stage), root, [root.leaf("alice", extensions=[(sans, False)], **LIFE)], stored=0)
    assert allowed_within_the_bound(stage, dial).status == 200


def test_certificate_beyond_the_limit_is_refused_with_a_reason(restored_nginx_stage: NginxStage, dial: Dial) -> None:
    """More than 64 KB of header: 403 and a reason in the log, not a failure."""
    stage = restored_nginx_stage
    root = Authority.root("Large Root", **LIFE)
    sans = san(*(f"host-{number:04}.a-rather-long-name.example.test" for number in range(1_500)))
    leaf = root.leaf("alice", extensions=[(sans, False)], **LIFE)
    (stage.world.folder / "minted.pem").write_text(leaf.pem)
    (stage.world.folder / "minted.key").write_text(leaf.key_pem)
    answer = dial(stage, "minted").get(headers=bearer(stage, "olga"))
    assert (answer.status, stage.reason(answer)) == (403, "header_too_large")


@pytest.mark.parametrize(
    ("stored", "told"), [(3, "stored"), (0, "known"), (1, "stored+known")], ids=["stored", "known", "both"]
)
@pytest.mark.parametrize("trusted", [True, False], ids=["nginx_knows_the_root", "nginx_does_not"])
def test_long_chain_is_completed_and_the_answer_says_from_where(
    restored_nginx_stage: NginxStage,
    open_store: Callable[[NginxStage], DirectoryStore],
    dial: Dial,
    stored: int,
    told: str,
    trusted: bool,
) -> None:
    """Three intermediates, which nginx sees and never hands over."""
    stage = restored_nginx_stage
    root = Authority.root("Deep Root", **LIFE)
    first = root.intermediate("First", **LIFE)
    second = first.intermediate("Second", **LIFE)
    third = second.intermediate("Third", **LIFE)
    chain = [third.leaf("alice", **LIFE), third, second, first]
    registered(stage, open_store(stage), root, chain, stored=stored)
    if trusted:
        bundle = stage.world.folder / "client-ca.pem"
        # As `authz anchor export` does: nginx 1.30 keeps what it read of a file overwritten within one second.
        replace_file(bundle, bundle.read_text() + root.pem)
        stage.nginx.reload()
    answer = allowed_within_the_bound(stage, dial)
    line = stage.service.decision(answer.seen["x-authz-decision-id"])
    assert (line["completed_by"], line["path_length"]) == (told, 5)
    verdict = "SUCCESS" if trusted else "FAILED:"
    said = logged(stage, answer.seen["x-authz-decision-id"])
    assert f'"completed_by":"{told}"' in said
    assert f'"verify":"{verdict}' in said


@dataclass(frozen=True)
class BrainpoolClient:
    """curl with the minted certificate, which offers brainpool's curves; a connection for each request."""

    stage: NginxStage
    curl: str

    def get(self, headers: list[tuple[str, str]]) -> ClientResponse:
        """The answer's status and decision id. OpenSSL knows no signature of TLS 1.3 on these curves before 3.2."""
        port, folder = self.stage.proxy.port, self.stage.world.folder
        command = [self.curl, "--silent", "--output", "/dev/null", "--tls-max", "1.2", "--curves", CURVES]
        for option, name in (("--cacert", "roots.pem"), ("--cert", "minted.pem"), ("--key", "minted.key")):
            command += [option, str(folder / name)]
        for name, value in (*headers, ("host", HOST)):
            command += ["--header", f"{name}: {value}"]
        command += ["--write-out", "%{http_code} %header{x-authz-decision-id}", f"https://localhost:{port}/"]
        status, _, decision = subprocess.run(command, capture_output=True, text=True, check=True).stdout.partition(" ")
        return ClientResponse(int(status), {"x-authz-decision-id": decision})


@pytest.mark.parametrize("kind", ["bp256", "bp384", "bp512"])
def test_certificate_on_a_brainpool_curve_is_allowed_until_its_organization_refuses_it(
    restored_nginx_stage: NginxStage,
    beside: Beside,
    open_store: Callable[[NginxStage], DirectoryStore],
    curl: str,
    kind: str,
) -> None:
    """Leaf and CA. A leaf that is known is refused within the bound once the organization's settings are narrower."""
    stage, store = beside(restored_nginx_stage, BRAINPOOL), open_store(restored_nginx_stage)
    root = Authority.root("Brainpool Root", key=new_key(kind), **LIFE)
    accepted = PathChange(algorithms=(Algorithm.DEFAULT, Algorithm(root.key.curve.name)))  # type: ignore[union-attr]
    change_organization(store, ORGANIZATION, OrganizationChange(path=accepted))
    registered(stage, store, root, [root.leaf("alice", key=new_key(kind), **LIFE)], stored=0)
    client, tries = BrainpoolClient(stage, curl), iter(range(500))
    while client.get(bearer(stage, "alice")).status != 200:
        next(tries)
    change_organization(store, ORGANIZATION, OrganizationChange(path=PathChange(algorithms=(Algorithm.DEFAULT,))))
    assert_denied_within_the_bound(stage, client)  # type: ignore[arg-type]
    answer = client.get(bearer(stage, "alice"))
    assert (answer.status, stage.reason(answer)) == (403, "algorithm_not_allowed")


@VERSIONS
def test_certificate_with_a_key_for_pss_is_allowed_where_its_organization_accepts_it(
    restored_nginx_stage: NginxStage,
    open_store: Callable[[NginxStage], DirectoryStore],
    dial: Dial,
    openssl: str,
    version: ssl.TLSVersion,
) -> None:
    """RFC 8446 section 4.2.3, rsa_pss_pss: nginx needs no setting for it."""
    stage, store = restored_nginx_stage, open_store(restored_nginx_stage)
    key = stage.world.folder / "pss.key"
    subprocess.run([openssl, "genpkey", "-algorithm", "RSA-PSS", "-out", str(key)], check=True, capture_output=True)
    root = Authority.root("PSS Root", **LIFE)
    # The library loads it like any RSA key, and writes it as one.
    leaf = root.leaf("alice", key=load_pem_private_key(key.read_bytes(), None), **LIFE)
    change = PathChange(algorithms=(Algorithm.DEFAULT, Algorithm.RSASSA_PSS))
    change_organization(store, ORGANIZATION, OrganizationChange(path=change))
    registered(stage, store, root, [reissued(leaf, root, pss_key())], stored=0)
    key.replace(stage.world.folder / "minted.key")
    context = context_of(stage, "minted", version)
    tries = iter(range(2_000))
    while dial(stage, "minted", context=context).get(headers=bearer(stage, "alice")).status != 200:
        next(tries)


def logged(stage: NginxStage, what: str) -> str:
    """The line of nginx's log that holds `what`; nginx writes it once the answer is sent."""
    for _ in range(2_000):
        for line in stage.nginx.log("access"):
            if what in line:
                return line
    pytest.fail(f"nginx never writes {what}")


def allowed_within_the_bound(stage: NginxStage, dial: Dial) -> object:
    """The answer to alice with her minted certificate, once the service has seen the change."""
    for _ in range(2_000):
        answer = dial(stage, "minted").get(headers=bearer(stage, "alice"))
        if answer.status == 200:
            return answer
    pytest.fail(f"never allowed: {stage.reason(answer)}")


def test_expired_certificate_is_refused_by_nginx_with_the_public_code(nginx_stage: NginxStage, dial: Dial) -> None:
    """It says so in its own log; the service is not asked."""
    before = len(nginx_stage.service.log)
    answer = dial(nginx_stage, "expired").get(headers=bearer(nginx_stage, "alice"))
    assert answer.status == 403
    assert b"MUTUAL_AUTHENTICATION_FAILED" in answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(nginx_stage.service.log) == before
    assert '"status":403' in logged(nginx_stage, "FAILED:certificate has expired")


@pytest.mark.parametrize(("user", "status"), [("alice", 403), ("nobody", 403), (None, 401)])
def test_refusal_tells_the_client_the_public_code_only(
    nginx_stage: NginxStage, dial: Dial, user: str | None, status: int
) -> None:
    """Status, code and decision id as the service said them; the reason stays with the operator."""
    headers = [] if user is None else bearer(nginx_stage, user)
    answer = dial(nginx_stage, None).get(headers=headers)
    decision_id = answer.headers["x-authz-decision-id"]
    assert answer.status == status
    assert f'"status":{status},"code":"MUTUAL_AUTHENTICATION_FAILED","decision_id":"{decision_id}"' in (
        answer.body.decode()
    )
    assert nginx_stage.reason(answer).encode() not in answer.body
    assert ("www-authenticate" in answer.headers) is (status == 401)


def test_applications_own_refusal_is_the_applications(nginx_stage: NginxStage, dial: Dial) -> None:
    """It reads at most a hundred headers of a request, and says so itself."""
    many = [(f"x-{number}", "a") for number in range(110)]
    answer = dial(nginx_stage, "alice").get(headers=[*bearer(nginx_stage, "alice"), *many])
    assert answer.status == 431
    assert b"MUTUAL" not in answer.body


def test_service_stopped_is_500_and_recovers(restored_nginx_stage: NginxStage, dial: Dial) -> None:
    """No request passes while no service decides; the new service takes the socket over, and nginx is not touched."""
    stage = restored_nginx_stage
    assert dial(stage, "alice").get(headers=bearer(stage, "alice")).status == 200
    with stopped(stage):
        before = stage.application.requests
        assert dial(stage, "alice").get(headers=bearer(stage, "alice")).status == 500
        assert dial(stage, None).get(headers=bearer(stage, "olga")).status == 500
        assert stage.application.requests == before
    assert dial(stage, "alice").get(headers=bearer(stage, "alice")).status == 200


def test_service_paused_is_500(restored_nginx_stage: NginxStage, dial: Dial) -> None:
    """A service that hangs is not waited for, and not guessed for."""
    stage, before = restored_nginx_stage, restored_nginx_stage.application.requests
    with paused(stage):
        assert dial(stage, "alice").get(headers=bearer(stage, "alice")).status == 500
        assert stage.application.requests == before


def test_shipped_configuration_validates_without_a_warning(nginx_stage: NginxStage) -> None:
    """The proxy itself finds nothing wrong with deploy/nginx.conf."""
    nginx = nginx_stage.nginx
    done = subprocess.run([*nginx.command, "-t"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert not re.search(r"\[(warn|alert|emerg|crit|error)\]", done.stderr + "\n".join(nginx.log("start")))


def test_cleartext_is_no_way_in(nginx_stage: NginxStage) -> None:
    """The ports speak TLS; a request without it gets an answer that says so, and the service is not asked."""
    before = nginx_stage.application.requests
    for port in (nginx_stage.proxy.port, nginx_stage.proxy.ordinary_port):
        with socket.create_connection(("127.0.0.1", port), 15) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\nhost: acme.example.test\r\nconnection: close\r\n\r\n")
            assert plain.recv(65_536).startswith(b"HTTP/1.1 400")
    assert nginx_stage.application.requests == before
