"""One real Envoy with a listener for each fault of doctor_faults.py, before a stage's service and application."""

from __future__ import annotations

import copy
import json
import shutil
import ssl
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import yaml

from authz.demo import Stage
from authz.demo.client import ClientResponse, ask, client_context
from authz.demo.mint import HOST
from authz.demo.processes import free_ports, placed
from authz.doctor.findings import SEEN
from authz.doctor.rules import ENVOY_RULES
from support.certificates import Authority
from support.clients import bearer
from support.doctor_faults import ENVOY, ENVOY_FAULTS, WORDS, changed, mended
from support.proxy_tls import server, write
from support.second_envoy import SecondEnvoy

SHOWN: Final = tuple(rule.id for rule in ENVOY_RULES if rule.proof == SEEN and rule.id in ENVOY_FAULTS)
"""The faults that have a listener here."""

MENDED: Final = tuple(f"{rule}, mended" for rule in SHOWN if rule not in WORDS)
"""The same after what the rule says was done, as a diff: Envoy must take it."""

DEAD: Final = ("envoy-failure-mode-allow",)
ASKS_STRANGER: Final = (
    "envoy-certificate-forwarded",
    "envoy-certificate-names",
    "envoy-headers-joined",
    "envoy-word-from-client",
    "envoy-service-cleartext",
)
"""Faults that are shown where a recorder stands in the service's place, which says yes to everything."""

ASKS_STRANGER_BY_TLS: Final = ("envoy-service-unverified",)
EXTRA: Final = ("envoy-way-around", "envoy-tunnel-around", "envoy-listener-cleartext")
"""Faults that are a listener more."""

AS_SHIPPED: Final = {
    "shipped": (),
    "shipped, service dead": DEAD,
    "shipped, stranger asked": ASKS_STRANGER,
}


class Stranger:
    """Answers 200 to whatever it is asked, and keeps the headers of each request."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        asked = self.asked = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                """Yes."""
                asked.append([(key.lower(), value) for key, value in self.headers.items()])
                self.send_response(200)
                self.send_header("content-length", "3")
                self.end_headers()
                self.wfile.write(b"yes")

            def log_message(self, *_args: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]

    def start(self) -> None:
        """Answer in a thread."""
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()


def stranger_by_tls(folder: Path) -> Stranger:
    """One with a certificate that a CA issued of which no user has heard."""
    write(folder, "stranger", server(Authority.root("Stranger")))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "stranger.pem", folder / "stranger.key")
    return Stranger(context)


class Lab:
    """The Envoy, and who asks it."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        self.stage = stage
        self.stranger, self.by_tls = Stranger(), stranger_by_tls(folder)
        names = [*SHOWN, *MENDED, *AS_SHIPPED, "admin"]
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        # What the rules' diffs name.
        shutil.copy(stage.world.folder / "roots.pem", stage.world.folder / "client-ca.pem")
        self.log = folder / "envoy.log"
        self.envoy = SecondEnvoy(stage, folder, change=self._fill)

    @property
    def parts(self) -> tuple[Any, ...]:
        """What is started, in order."""
        return self.stranger, self.by_tls, self.envoy

    def _fill(self, config: Any) -> None:
        resources = config["static_resources"]
        resources["clusters"] += [
            _cluster("stranger", self.stranger.port),
            _cluster("dead", 1),
            _cluster("stranger by tls", self.by_tls.port, tls=True),
        ]
        for rule in self.ports:
            if rule != "admin":
                resources["listeners"].append(self._listener(rule))
        address = {"socket_address": {"address": "0.0.0.0", "port_value": self.ports["admin"]}}  # noqa: S104 - the fault
        config["admin"] = {"address": address}

    def _listener(self, name: str) -> Any:
        fault = name.removesuffix(", mended")
        text = changed(ENVOY, ENVOY_FAULTS.get(fault, {}))
        text = text if fault == name else mended("envoy.yaml", text, fault)
        text = placed(text, {"/etc/envoy/tls/": f"{self.stage.world.folder}/"})
        listeners = yaml.safe_load(text)["static_resources"]["listeners"]
        extra = [one for one in listeners if one["name"] == "extra"]
        # A copy, or the aliases of one listener would be those of another.
        made = copy.deepcopy(extra[0] if fault in EXTRA else listeners[0])
        made["name"] = name
        made["address"] = {"socket_address": {"address": "127.0.0.1", "port_value": self.ports[name]}}
        for cluster, rules in (("dead", DEAD), ("stranger", ASKS_STRANGER), ("stranger by tls", ASKS_STRANGER_BY_TLS)):
            if fault in rules or rules == AS_SHIPPED.get(name):
                _check(made)["http_service"]["server_uri"]["cluster"] = cluster
        if rules_accept(fault):
            _accept_untrusted(made)
        return made

    def nobody(self, rule: str, path: str = "/", *headers: tuple[str, str]) -> ClientResponse:
        """Without token and certificate."""
        return ask(self.ports[rule], self.context(None), HOST, headers, path)

    def user(
        self, rule: str, name: str = "alice", *headers: tuple[str, str], path: str = "/", certificate: str | None = ""
    ) -> ClientResponse:
        """A user with her token, and her certificate unless another one is named."""
        shown = name if certificate == "" else certificate
        return ask(self.ports[rule], self.context(shown), HOST, [*bearer(self.stage, name), *headers], path)

    def context(self, certificate: str | None) -> ssl.SSLContext:
        """A client's."""
        folder = self.stage.world.folder
        return client_context(folder / "roots.pem", certificate and folder / f"{certificate}.pem")

    def served(self, act: Callable[[], object]) -> bool:
        """Whether the application hears of it."""
        before = self.stage.application.requests
        act()
        return self.stage.application.requests > before

    def asked(self, act: Callable[[], object]) -> list[list[tuple[str, str]]]:
        """What the stranger is asked meanwhile."""
        before = len(self.stranger.asked)
        act()
        return self.stranger.asked[before:]


def arrived(answer: ClientResponse, name: str) -> str:
    """What the application received under a name, in order; empty if it was not reached."""
    return ",".join(value for key, value in received(answer) or () if key == name)


def received(answer: ClientResponse) -> list[tuple[str, str]] | None:
    """The headers that the application received; nothing if it is not the application's answer."""
    if answer.status != 200 or not answer.body.startswith(b'{"headers"'):
        return None
    return [(key, value) for key, value in json.loads(answer.body)["headers"]]


def values(headers: Sequence[tuple[str, str]], name: str) -> list[str]:
    """The values of a header."""
    return [value for key, value in headers if key == name]


def _check(listener: Any) -> Any:
    (manager,) = listener["filter_chains"][0]["filters"]
    filters = manager["typed_config"]["http_filters"]
    return next(one for one in filters if one["name"] == "envoy.filters.http.ext_authz")["typed_config"]


def _accept_untrusted(listener: Any) -> None:
    common = listener["filter_chains"][0]["transport_socket"]["typed_config"]["common_tls_context"]
    common.pop("validation_context_sds_secret_config", None)
    common["validation_context"] = {"trust_chain_verification": "ACCEPT_UNTRUSTED"}


def _cluster(name: str, port: int, *, tls: bool = False) -> Any:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    made: dict[str, Any] = {"name": name, "type": "STATIC", "connect_timeout": "1s"}
    made["load_assignment"] = {"cluster_name": name, "endpoints": endpoints}
    if tls:
        kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
        made["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": {"@type": kind}}
    return made


def rules_accept(name: str) -> bool:
    """Whether the listener lets strangers' certificates pass, so that more can be shown."""
    return name in ASKS_STRANGER or AS_SHIPPED.get(name) == ASKS_STRANGER
