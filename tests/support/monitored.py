"""A real service that is scraped as Prometheus does: over TLS, by a named client, after requests of every outcome."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
from base64 import urlsafe_b64encode
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from authz.headers import present
from authz.model import Enforcement, Organization, TokenSettings
from authz.pki import Certificate, Crl
from support.certificates import Authority, Minted
from support.directory import DirectoryStore
from support.proxy_tls import MESH, client, proxy, server, write
from support.served import PATIENCE, Served

HOST, ISSUER, AUDIENCE = "api.acme.example.test", "https://issuer.example.test", "acme-api"
READER = "prometheus.example.test"
NOW = datetime.now(UTC).replace(microsecond=0)
LIFE = {"not_before": NOW - timedelta(days=1), "not_after": NOW + timedelta(days=20)}
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Series(NamedTuple):
    """One line of a scrape."""

    name: str
    labels: dict[str, str]
    value: float


class Monitored(Served):
    """`authz serve` with `[ops.tls]` and a listener for probes, and a directory with something of each kind."""

    def __init__(self, folder: Path) -> None:
        write(folder, "server", server(MESH, "localhost"))
        write(folder, "ca", MESH)
        write(folder, "reader", proxy(READER))
        tls = f'certificate = "{folder}/server.pem"\nkey = "{folder}/server.key"\nclient_ca = "{folder}/ca.pem"\n'
        crl = (
            f'[crl]\nurls = ["http://127.0.0.1:9/none.crl"]\nfiles = ["{folder}/ca.crl"]\nnetworks = ["127.0.0.0/8"]\n'
        )
        self.probes, self.tokens = folder / "probes.sock", folder / "tokens.sock"
        verifying = f'name = "tokens"\naddress = "unix:{self.tokens}"\nidentity = [{{kind = "token"}}]\n'
        super().__init__(folder, 1, f'[[listener]]\n{verifying}[ops.tls]\n{tls}names = ["{READER}"]\n{crl}')
        text = self.config.read_text()
        self.config.write_text(text.replace("[ops]\n", f'[ops]\nhealth_probe_address = "unix:{self.probes}"\n', 1))
        root = Authority.root("Root", **LIFE)
        issuing = root.intermediate("CA", **LIFE)
        self.alice, self.chain = issuing.leaf("alice", **LIFE), issuing
        with closing(DirectoryStore(f"sqlite:///{folder}/authz.db")) as store:
            self._fill(store, root, issuing)
        ends = {"this_update": NOW - timedelta(hours=1), "next_update": NOW + timedelta(hours=12)}
        (folder / "ca.crl").write_bytes(issuing.crl(**ends))

    def _fill(self, store: DirectoryStore, root: Authority, issuing: Authority) -> None:
        token = TokenSettings(ISSUER, AUDIENCE, keys=str(self.folder / "missing.json"))
        store.add_organization(Organization(0, "acme", (HOST,), token=token))
        store.add_anchors("acme", [Certificate.parse(root.der)])
        store.add_intermediates("acme", [Certificate.parse(issuing.der)])
        store.add_user("acme", "alice", Enforcement.REQUIRED)
        store.add_user("acme", "oscar", Enforcement.OBSERVE)
        store.register("acme", "alice", Certificate.parse(self.alice.der), (), label="", now=NOW)
        ends = {"this_update": NOW - timedelta(hours=1), "next_update": NOW + timedelta(hours=12)}
        store.add_crl(Crl(root.crl(**ends)), NOW)

    def ask(self, user: str, *chain: Minted) -> int:
        """The status of a check of a user who shows a chain, or none."""
        headers = {
            "host": HOST,
            "x-authz-payload": payload_of(user),
            "traceparent": TRACEPARENT,
            "x-authz-peer": "sha256=",
        }
        if chain:
            headers["x-forwarded-client-cert"] = present(chain[0].der, [one.der for one in chain[1:]]).decode()
            headers["x-authz-peer"] += chain[0].sha256.hex()
        return _over(self.socket, "/v1/check/", headers)[0]

    def show_token(self) -> int:
        """The status of a check with a token of a key set that cannot be read."""
        token = f"{_encoded({'alg': 'ES256', 'kid': 'a'})}.{payload_of('alice')}.{'A' * 86}"
        headers = {"host": HOST, "authorization": f"Bearer {token}", "x-authz-peer": "sha256="}
        return _over(self.tokens, "/v1/check/", headers | {"traceparent": TRACEPARENT})[0]

    def exercise(self) -> None:
        """Start, make a request of each outcome and a handshake that fails, and wait until the metrics have them.

        What is in the history is read at the start, and then every minute: the service is started twice.
        """
        self.start()
        self._answered(200, "oscar")
        self.stop()
        self.start()
        self._answered(200, "alice", self.alice, self.chain)
        self._answered(200, "oscar")
        self._answered(403, "alice")
        self.until(lambda: self.show_token() == 401)
        with contextlib.suppress(OSError):
            self.scrape(None)
        wanted = {"authz_proxies_refused_total", "authz_observed_refusals_total", "authz_observed_users"}
        wanted |= {"authz_expiry_seconds", "authz_crl_fetches_total", "authz_decisions_total"}
        self.until(lambda: wanted <= {series.name for series in self.series()})

    def _answered(self, status: int, user: str, *chain: Minted) -> None:
        """Ask until the answer has this status: a worker that has just started on a busy machine may answer 503."""
        self.until(lambda: self.ask(user, *chain) == status)

    def probe(self, path: str) -> tuple[int, str]:
        """An answer of the listener for probes."""
        return _over(self.probes, path, {"host": "authz"})

    @property
    def port(self) -> int:
        """That of the operators' listener."""
        opened = [line for line in self.lines if (line["event"], line.get("listener")) == ("listening", "ops")]
        return int(str(opened[-1]["address"]).rpartition(":")[2])

    def scrape(self, name: str | None = "reader", path: str = "/metrics") -> str:
        """A page as a client with the certificate `name` reads it. Raises `OSError` where it is refused."""
        context = client(self.folder, name)
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=PATIENCE)
        with closing(connection):
            connection.request("GET", path)
            return connection.getresponse().read().decode()

    def series(self) -> list[Series]:
        """What a scrape has."""
        lines = [line for line in self.scrape().splitlines() if line and not line.startswith("#")]
        return [Series(*_parts(line)) for line in lines]


def payload_of(user: str) -> str:
    """What a token of the organization says of a user."""
    return _encoded({"iss": ISSUER, "aud": AUDIENCE, "sub": user, "exp": (NOW + timedelta(hours=1)).timestamp()})


def _encoded(value: dict[str, object]) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _parts(line: str) -> tuple[str, dict[str, str], float]:
    series, _, value = line.rpartition(" ")
    name, _, labels = series.partition("{")
    return name, dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels)), float(value)


def _connected(path: Path) -> socket.socket:
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    opened.settimeout(PATIENCE)
    opened.connect(str(path))
    return opened


def _over(path: Path, target: str, headers: dict[str, str]) -> tuple[int, str]:
    """An answer at a Unix socket."""
    connection = http.client.HTTPConnection("authz", timeout=PATIENCE)
    connection.sock = _connected(path)
    with closing(connection):
        connection.putrequest("GET", target, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
