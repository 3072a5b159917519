"""Proxies x what the client shows x what it adds or takes away x enforcement, generated, through the real proxies.

HAProxy, Apache and Caddy run the blocks of docs/proxies.md. Traefik and AWS ALB are the bytes that they write: by
`sanitize` and `certSeparator` in Traefik 3's pkg/middlewares/passtlsclientcert/pass_tls_client_cert.go, and by the
section "HTTP headers and mutual TLS" of AWS's guide for Application Load Balancers.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import re
import ssl
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from support.certificates import Authority, san
from support.clients import bearer, stopped
from support.edge_stage import EdgeStage, program, registered_for_all
from support.matrix_oracle import Cell, oracle
from support.mesh_stage import life, write
from support.requirements import need

from authz.demo.client import ClientResponse, Connection, ask, client_context
from authz.demo.mint import HOST
from authz.demo.processes import running
from authz.headers import base64_der, escaped_pem, pem, present, rfc9440

pytestmark = [getattr(pytest.mark, name) for name in ("envoy", "nginx", "haproxy", "apache", "caddy")]

Headers = list[tuple[str, str]]


def traefik_writes(ders: tuple[bytes, ...]) -> bytes:
    """PEM without delimiters and line ends, the certificates joined by commas."""
    return b",".join(re.sub(rb"-----\w+ CERTIFICATE-----|\n", b"", pem.write((der,))) for der in ders)


def alb_writes(ders: tuple[bytes, ...], safe: str = "+=/-") -> bytes:
    """PEM, percent-encoded "with +=/ as safe characters", the leaf first."""
    return quote(pem.write(ders), safe=safe).encode()


@dataclass(frozen=True)
class Proxy:
    """How a proxy writes a certificate header (`write`) and its statement (`state`, if it makes one).

    `passes` says which headers of a client reach the service: no others than the proxy replaces, those of other names,
    or it refuses names with "_" itself. `removable`, whether a client's Connection removes headers.
    """

    header: str
    write: Callable[[tuple[bytes, ...]], bytes]
    state: Callable[[bytes], str] | None
    passes: str = "no others"
    removable: bool = False


def digest_of(der: bytes) -> str:
    """The statement of Envoy, HAProxy and Caddy."""
    return f"sha256={hashlib.sha256(der).hexdigest()}"


def one_line(ders: tuple[bytes, ...]) -> bytes:
    """Apache's `%{SSL_CLIENT_CERT}s`."""
    return pem.write(ders[:1]).replace(b"\n", b" ")


def of_leaf(write: Callable[[bytes], bytes]) -> Callable[[tuple[bytes, ...]], bytes]:
    """The same for a proxy that writes the leaf alone."""
    return lambda ders: write(ders[0])


RFC9440 = of_leaf(rfc9440.format_certificate)
ESCAPED = of_leaf(lambda der: escaped_pem.format((der,)))
PROXIES = {
    "envoy": Proxy("x-forwarded-client-cert", lambda ders: present(ders[0], ders[1:]), digest_of, "refuses twins"),
    "nginx": Proxy("x-ssl-client-cert", ESCAPED, lambda _: "SUCCESS"),
    "haproxy": Proxy("x-ssl-client-cert", of_leaf(base64.b64encode), digest_of),
    "haproxy-rfc9440": Proxy("client-cert", RFC9440, lambda _: "1"),
    "apache": Proxy("ssl-client-cert", ESCAPED, lambda _: "SUCCESS", removable=True),
    "apache-blanks": Proxy("ssl-client-cert", one_line, lambda _: "SUCCESS", removable=True),
    "caddy": Proxy("client-cert", RFC9440, digest_of, "others"),
    "traefik": Proxy("x-forwarded-tls-client-cert", traefik_writes, None, "others", removable=True),
    "alb": Proxy("x-amzn-mtls-clientcert", alb_writes, None, removable=True),
}
WRITTEN = ("traefik", "alb")
"""Those that do not run here."""

SHOWN = {
    "good": ("alice", "own", "user's, active"),
    "none": (None, "none", "user's, active"),
    "another's": ("bob", "another's", "colleague's, active"),
    "revoked": ("revoked", "revoked", "user's, active"),
}
"""What the client shows: the certificate of the world, and in the oracle's words what it is and for whom registered."""

CHANGES = (
    *("nothing", "spoofed", "spoofed twice", "twin", "another proxy's", "identity", "identity twin"),
    *("certificate removed", "statement removed", "both removed", "identity in Connection"),
)
USERS = {"required": "alice", "observe": "oscar", "off": "olga"}
REASONS = {
    "own": "",
    "none": "certificate_required",
    "another's": "certificate_of_another_user",
    "revoked": "certificate_revoked",
}
OF_THE_HEADER = {"header_unexpected", "proxy_statement_contradicts", "proxy_statement_missing"}


def cell_of(proxy: Proxy, change: str, shown: str, enforcement: str) -> Cell:
    """The cell in the oracle's words: the change counts only where this proxy does not undo it."""
    _, certificate, registration = SHOWN[shown]
    header = "as made"
    if (change == "twin" and proxy.passes != "no others") or (change, proxy.passes) == (
        "identity twin",
        "refuses twins",
    ):
        header = "twin beside"
    elif (change, proxy.passes) == ("another proxy's", "others"):
        header = "another beside"
    elif change.endswith("removed") and proxy.removable:
        if proxy.state is not None:
            header = "lost" if change == "certificate removed" else "unstated"
        elif change != "statement removed":
            certificate = "none"  # what the service warns of at every start
    return Cell(enforcement, certificate, registration, "token: alice", header, "acme", "user")


def ders_of(stage: EdgeStage, name: str) -> tuple[bytes, ...]:
    """A client's chain, the leaf first."""
    party = stage.world.clients[name]
    return tuple(one.public_bytes(Encoding.DER) for one in (party.certificate, *party.chain))


def authority(stage: EdgeStage, name: str) -> Authority:
    """One of the world's CAs, to issue what the world does not have."""
    party = stage.world.authorities[name]
    return Authority(party.certificate, party.key)


def added(stage: EdgeStage, proxy: Proxy, change: str) -> Headers:
    """The client's own headers: alice's certificate, as this proxy would write it; what its Connection names."""
    ders = ders_of(stage, "alice")
    removed = {"certificate removed": [proxy.header], "statement removed": ["x-authz-peer"]}
    removed["both removed"] = [proxy.header, "x-authz-peer"]
    removed["identity in Connection"] = ["x-authz-user", "x-authz-certificate"]
    if change in removed:
        return [("connection", ", ".join(["close", *removed[change]]))]
    identity = [("x-authz-user", "root"), ("x-authz-certificate", "root")]
    spoofs = [(proxy.header, proxy.write(ders).decode())]
    spoofs += [] if proxy.state is None else [("x-authz-peer", proxy.state(ders[0]))]
    return {
        "spoofed": spoofs,
        "spoofed twice": spoofs * 2,
        "twin": twins(spoofs),
        "another proxy's": [("x-arr-clientcert", base64.b64encode(ders[0]).decode())],
        "identity": identity,
        "identity twin": twins(identity),
    }.get(change, [])


def twins(headers: Headers) -> Headers:
    """The same with underscores, which many servers treat as hyphens."""
    return [(name.replace("-", "_"), value) for name, value in headers]


def ask_as(stage: EdgeStage, name: str, certificate: str | None, headers: Headers) -> ClientResponse:
    """The answer of a proxy that runs, or of what stands behind one that does not."""
    if name in WRITTEN:
        return ask_behind(stage, name, certificate, headers)
    folder = stage.world.folder
    context = client_context(folder / "roots.pem", None if certificate is None else folder / f"{certificate}.pem")
    return ask(stage.ports[name], context, HOST, headers)


def ask_behind(stage: EdgeStage, name: str, certificate: str | None, headers: Headers) -> ClientResponse:
    """The request as the proxy would write it: without what Connection names, its own header in the client's place."""
    proxy = PROXIES[name]
    gone = dict(headers).get("connection", "").split(", ")
    kept = [header for header in headers if header[0] not in {"connection", proxy.header}]
    if certificate is not None and proxy.header not in gone:
        kept.append((proxy.header, proxy.write(ders_of(stage, certificate)).decode()))
    if name == "traefik":
        kept += [("host", "authz.internal"), ("x-forwarded-host", HOST), ("x-forwarded-uri", "/")]
        kept += [("x-forwarded-method", "GET"), ("x-forwarded-tls-client-cert-info", "Subject%3D%22CN%3Droot%22")]
    else:
        kept.append(("host", HOST))
    connection = http.client.HTTPConnection("127.0.0.1", stage.ports[name], timeout=15)
    connection.putrequest("GET", "/v1/auth" if name == "traefik" else "/", skip_host=True)
    for header in kept:
        connection.putheader(*header)
    connection.endheaders()
    response = connection.getresponse()
    answer = ClientResponse(
        response.status, {key.lower(): value for key, value in response.getheaders()}, response.read()
    )
    connection.close()
    return answer


def fault(stage: EdgeStage, name: str, change: str, shown: str, enforcement: str) -> str:
    """What is wrong with the answer to a cell; empty if nothing is."""
    proxy, user, certificate = PROXIES[name], USERS[enforcement], SHOWN[shown][0]
    cell = cell_of(proxy, change, shown, enforcement)
    answer = ask_as(stage, name, certificate, [*bearer(stage, user), *added(stage, proxy, change)])
    if (answer.status == 200) is not oracle(cell):
        return f"{answer.status} {stage.reason(answer)}"
    if answer.status == 200:
        identity = answer.headers if name == "traefik" else answer.seen
        leaf = None if cell.certificate == "none" else stage.world.clients[certificate or ""].certificate
        learned = identity.get("x-authz-user"), identity.get("x-authz-certificate") or ""
        private = {"authorization", "x-authz-peer", proxy.header} & set(identity)
        right = learned == (user, leaf.fingerprint(SHA256()).hex() if leaf else "") and b"root" not in answer.body
        right = right and not private
        return "" if right else f"the application learned {identity}"
    good = OF_THE_HEADER if cell.header != "as made" else set()
    good = good | ({REASONS[cell.certificate]} if cell.header in {"as made", "lost"} else set())
    refused_itself = answer.status == 400 and name == "envoy" and "twin" in change
    return "" if refused_itself or stage.reason(answer) in good else stage.reason(answer)


@pytest.fixture(scope="module")
def stage(envoy: None, nginx: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeStage]:
    """Every proxy before one service."""
    need("haproxy", found=program("haproxy") is not None)
    need("apache", found=program("apache2") is not None)
    need("caddy", found=program("caddy") is not None)
    with tempfile.TemporaryDirectory(prefix="edge-") as sockets:
        Path(sockets).chmod(0o755)
        made = EdgeStage(tmp_path_factory.mktemp("edge"), Path(sockets))
        registered_for_all(made.world)
        parts = (made.nginx, made.envoy, *made.behind.values(), *made.edges.values())
        with running(made.application, made.service, *parts):
            yield made


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", PROXIES)
def test_answer_is_the_one_of_the_table(stage: EdgeStage, name: str, change: str) -> None:
    """Who passes is the user of the token, with the certificate that the client holds the key of, or none."""
    faults = {cell: fault(stage, name, change, *cell) for cell in product(SHOWN, USERS)}
    assert {cell: what for cell, what in faults.items() if what} == {}


@pytest.mark.parametrize("names", [100, 520, 700, 1500])
def test_certificate_of_any_size_is_read_or_refused(stage: EdgeStage, names: int) -> None:
    """A proxy that can hold no more of it never states that there was none; up to 4 KB, each can."""
    sans = [f"host-{number:04d}.example.test" for number in range(names)]
    ca = authority(stage, "issuing")
    leaf = ca.leaf("large", extensions=[(san(*sans), False)], **life())
    write(stage.world.folder, f"large-{names}", leaf, ca)
    for name in PROXIES.keys() - set(WRITTEN):
        try:
            answer = ask_as(stage, name, f"large-{names}", bearer(stage, "olga"))
        except ConnectionError:
            answer = ClientResponse()  # refused in the handshake, or before the request was read
        read = answer.seen.get("x-authz-certificate") == leaf.sha256.hex()
        assert read or (names > 100 and answer.status != 200), (name, answer.status, stage.reason(answer))


def test_written_bytes_are_framed_as_their_sources_have_them(stage: EdgeStage) -> None:
    """AWS's text says which signs are safe, and its example escapes one of them: both are read."""
    ders = ders_of(stage, "alice")
    example = (
        "-----BEGIN%20CERTIFICATE-----%0A<...>%3D%3D%0A-----END%20CERTIFICATE-----%0A"
        "-----BEGIN%20CERTIFICATE-----%0A<...>%3D%3D%0A-----END%20CERTIFICATE-----%0A"
    )
    frame = re.sub("MII.+?(%3D){0,2}%0A-----END", "<...>%3D%3D%0A-----END", alb_writes(ders, safe="-").decode())
    assert frame == example
    assert escaped_pem.parse(alb_writes(ders, safe="-")) == escaped_pem.parse(alb_writes(ders)) == ders
    assert base64_der.parse(traefik_writes(ders)) == ders
    assert re.fullmatch(rb"MII[A-Za-z0-9+/]+=*,MII[A-Za-z0-9+/]+=*", traefik_writes(ders))


@pytest.mark.parametrize("name", ["haproxy", "haproxy-rfc9440"])
def test_full_buffer_loses_no_certificate(stage: EdgeStage, name: str) -> None:
    """A client that leaves HAProxy no room for the headers it adds is refused by HAProxy, or with its certificate."""
    for padding in range(14_000, 16_000, 100):
        spoofs = [("x-padding", "a" * padding)]
        answer = ask_as(stage, name, "revoked", [*bearer(stage, "olga"), *spoofs])
        assert answer.status in {400, 500} or stage.reason(answer) == "certificate_revoked"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_resumed_session_is_decided_by_its_certificate(stage: EdgeStage, version: ssl.TLSVersion) -> None:
    """Where a proxy resumes sessions; the others ask for the certificate again."""
    folder = stage.world.folder
    for name in PROXIES.keys() - set(WRITTEN):
        context = client_context(folder / "roots.pem", folder / "revoked.pem")
        context.minimum_version = context.maximum_version = version
        session = None
        for _ in range(2):
            connection = Connection(stage.ports[name], context, HOST, session=session)
            answer = connection.get(headers=bearer(stage, "olga"))
            session = connection.tls.session
            connection.close()
            assert stage.reason(answer) == "certificate_revoked"


def test_chain_arrives_where_the_page_says_so(stage: EdgeStage) -> None:
    """From Envoy, and from HAProxy as RFC 9440; a CA that the service does not know is unknown behind the others."""
    ca = authority(stage, "unheard")
    write(stage.world.folder, "unheard", ca.leaf("unheard", **life()), ca)
    names = PROXIES.keys() - set(WRITTEN)
    reasons = {name: stage.reason(ask_as(stage, name, "unheard", bearer(stage, "olga"))) for name in names}
    assert {name for name, reason in reasons.items() if reason != "issuer_unknown"} == {"envoy", "haproxy-rfc9440"}


def test_service_that_is_down_lets_no_request_through(stage: EdgeStage) -> None:
    """Each proxy answers with an error of its own."""
    asked = stage.application.requests
    with stopped(stage):
        statuses = {
            name: ask_as(stage, name, "alice", bearer(stage, "alice")).status for name in PROXIES if name != "traefik"
        }
    assert {status // 100 for status in statuses.values()} == {5}
    assert stage.application.requests == asked
