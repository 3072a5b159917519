"""One organization's distribution points, in the running service, and what its neighbour feels of them."""

from __future__ import annotations

import http.client
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import AF_UNIX, SOCK_STREAM, create_server, socket
from typing import Self
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from support.directory import DirectoryStore
from support.served import PATIENCE, Served, end

from authz.demo.mint import HOST, NEIGHBOUR_HOST, Party
from authz.demo.world import NEIGHBOUR, World
from authz.model import Enforcement

CRL = '[crl]\nnetworks = ["127.0.0.0/8"]\nfirst_fetch_wait_seconds = 0.28\n'


class Unix(http.client.HTTPConnection):
    """A connection to the service itself."""

    def __init__(self, path: Path) -> None:
        super().__init__("x", timeout=PATIENCE)
        self.sock = socket(AF_UNIX, SOCK_STREAM)
        self.sock.connect(str(path))


class Tenants:
    """Two organizations with a CA of their own each, which the directory does not know; users need no registration."""

    def __init__(self, folder: Path) -> None:
        self.world = World(folder).build()
        self.served = Served(folder, more=CRL)
        self.served.socket = self.world.socket
        self.served.write(2, CRL)
        mint, known = self.world.mint, self.world.authorities
        self.cas = {
            HOST: mint.authority("Fresh", known["root"]),
            NEIGHBOUR_HOST: mint.authority("Evil", known["twin root"]),
        }
        self.users = {HOST: self.world.token("olga"), NEIGHBOUR_HOST: self.world.token("mallory", "globex")}
        with closing(DirectoryStore(self.world.database)) as store:
            store.add_user(NEIGHBOUR, "mallory", Enforcement.OFF)

    def check(self, host: str, url: str, known: Party | None = None) -> int:
        """The status of a check with a new certificate that names the URL; its CA is the organization's or `known`."""
        client = self.world.mint.client("somebody", known or self.cas[host], crls=[url])
        chain = [one.public_bytes(Encoding.PEM).decode() for one in (client.certificate, *client.chain)]
        mark = client.certificate.fingerprint(SHA256()).hex()
        headers = {
            "host": host,
            "x-forwarded-client-cert": f'Hash={mark};Cert="{quote(chain[0])}";Chain="{quote("".join(chain))}"',
            "x-authz-peer": f"sha256={mark}",
            "x-authz-payload": self.users[host].split(".")[1],
        }
        with closing(Unix(self.world.socket)) as connection:
            connection.request("GET", "/v1/check/", headers=headers)
            return connection.getresponse().status

    def listed(self, table: str, column: str) -> set[str]:
        """What operators are shown."""
        with closing(sqlite3.connect(self.served.folder / "authz.db")) as database:
            return {one for (one,) in database.execute(f"SELECT {column} FROM {table}")}

    def serving(self, host: str) -> Publisher:
        """A server of the CRL of the organization's CA."""
        return Publisher(self.world.mint.crl(self.cas[host]))


class Publisher:
    """A CA's web server on loopback."""

    def __init__(self, body: bytes) -> None:
        self.requests = requests = list[str]()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                """Answer with the CRL."""
                requests.append(self.path)
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/ca.crl"

    def __enter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


@contextmanager
def silent() -> Iterator[str]:
    """The URL of a server that takes connections and never says anything."""
    with create_server(("127.0.0.1", 0), backlog=128) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def tenants(tmp_path: Path) -> Iterator[Tenants]:
    """Two tenants of one service."""
    made = Tenants(tmp_path)
    made.served.start()
    yield made
    end(made.served)


def test_neighbour_that_names_a_point_behind_many_slow_ones_delays_it_not(tenants: Tenants) -> None:
    """It is asked in the turns of the organization that needs it, though the other was first."""
    known = tenants.world.authorities["twin"]
    with silent() as slow, silent() as slow_too, tenants.serving(HOST) as acme:
        for number in range(63):
            assert tenants.check(NEIGHBOUR_HOST, f"{(slow, slow_too)[number % 2]}/{number}", known) == 200
        assert tenants.check(NEIGHBOUR_HOST, acme.url, known) == 200
        tenants.served.until(lambda: acme.url in tenants.listed("crl_sources", "location"))
        assert acme.requests == []
        tenants.served.until(lambda: tenants.check(HOST, acme.url) == 200)
        assert len(acme.requests) == 1


def test_nothing_of_an_organization_outlives_it(tenants: Tenants) -> None:
    """Its points are asked no more, and its CRLs are gone, at once and for good; the neighbour's stay."""
    served, location = tenants.served, ("crl_sources", "location")
    with tenants.serving(NEIGHBOUR_HOST) as evil, tenants.serving(HOST) as acme:
        for host, server in ((NEIGHBOUR_HOST, evil), (HOST, acme)):
            served.until(lambda host=host, server=server: tenants.check(host, server.url) == 200)  # type: ignore[misc]
        served.until(lambda: tenants.listed("fetched_crls", "issuer") == {"CN=Fresh", "CN=Evil"})
        with closing(DirectoryStore(tenants.world.database)) as store:
            store.remove_organization(NEIGHBOUR)
        served.until(lambda: tenants.listed(*location) == {acme.url})
        assert len(list(served.folder.glob("authz.crls/*.crl"))) == 1
        assert tenants.check(HOST, acme.url) == 200
        assert served.stop() == 0
        served.start()
        assert tenants.check(HOST, acme.url) == 200
        assert tenants.listed(*location) == {acme.url}
        assert tenants.listed("fetched_crls", "issuer") == {"CN=Fresh"}
        assert len(evil.requests) == 1
