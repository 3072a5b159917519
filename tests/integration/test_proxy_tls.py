"""Mutual TLS between a real proxy and the service: who may ask, and that nothing passes where it fails."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from support.certificates import Minted
from support.clients import bearer, stopped
from support.nginx_stage import NginxStage, documented_settings
from support.proxy_tls import FOREIGN, MESH, PROXY, SERVICE, proxy, server, write
from support.worker_processes import until

from authz.demo.client import ClientResponse, ask, client_context
from authz.demo.mint import HOST
from authz.demo.processes import ServiceProcess, free_port, running, shipped

pytestmark = [pytest.mark.envoy, pytest.mark.nginx]
UNASKED = {"envoy": 503, "nginx": 500}


class Scene(NginxStage):
    """The demonstration's world, its service at TCP addresses with mutual TLS, and both proxies in front."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.tls = folder / "tls"
        self.tls.mkdir()
        self.ports = {"envoy": free_port(), "nginx": free_port()}
        write(self.tls, "server", server())
        write(self.tls, "client-ca", MESH)
        write(self.tls, "authz-ca", MESH)
        write(self.tls, "proxy", proxy())
        write(self.tls, "stranger", proxy("stranger.mesh.example"))
        write(self.tls, "foreign", proxy(by=FOREIGN))
        self.service = ServiceProcess(folder, self._settings())
        self._point_envoy()
        self._point_nginx()
        self.show("proxy")

    def _settings(self) -> str:
        files = "\n".join(
            f'{key} = "{self.tls}/{name}"'
            for key, name in (("certificate", "server.pem"), ("key", "server.key"), ("client_ca", "client-ca.pem"))
        )
        text = documented_settings(self.world)
        for name, port in self.ports.items():
            socket = {"envoy": self.world.socket, "nginx": self.world.folder / "nginx.sock"}[name]
            tls = f'[listener.tls]\n{files}\nnames = ["{PROXY}"]\n'
            text = text.replace(f'address = "unix:{socket}"', f'address = "127.0.0.1:{port}"')
            text = re.sub(
                rf'(?s)(\[\[listener]]\nname = "{name}".*?)(?=\n\[\[listener]]|\n\[ops])', rf"\1\n{tls}", text
            )
        return re.sub(r"(?m)^socket_group.*\n", "", text)

    def _point_envoy(self) -> None:
        text = shipped("envoy-mtls.yaml").read_text(encoding="utf-8").replace("/etc/envoy/tls/", f"{self.tls}/")
        at = "address: authz.internal.example, port_value: 9443"
        assert at in text
        cluster = yaml.safe_load(text.replace(at, f"address: 127.0.0.1, port_value: {self.ports['envoy']}"))
        path = self.world.folder / "envoy.yaml"
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        clusters = config["static_resources"]["clusters"]
        mine = [one for one in clusters if one["name"] != "authz"]
        config["static_resources"]["clusters"] = [*cluster["clusters"], *mine]
        path.write_text(yaml.safe_dump(config), encoding="utf-8")

    def _point_nginx(self) -> None:
        snippet = shipped("nginx-mtls.conf").read_text(encoding="utf-8").replace("/etc/nginx/tls/", f"{self.tls}/")
        at = "server authz.internal.example:9443"
        assert at in snippet
        text = self.nginx.config.read_text(encoding="utf-8")
        mtls = snippet.replace(at, f"server 127.0.0.1:{self.ports['nginx']}")
        text, count = re.subn(r"(?s)upstream authz \{.*?\n    \}\n", lambda _: mtls, text)
        assert count == 1
        self.nginx.config.write_text(text.replace("http://authz/v1/auth", "https://authz/v1/auth"), encoding="utf-8")

    def show(self, name: str) -> None:
        """The certificate that both proxies show to the service from their next start on."""
        secret = {
            "resources": [
                {
                    "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
                    "name": "proxy",
                    "tls_certificate": {
                        "certificate_chain": {"filename": f"{self.tls}/{name}.pem"},
                        "private_key": {"filename": f"{self.tls}/{name}.key"},
                    },
                }
            ]
        }
        (self.tls / "proxy.yaml").write_text(yaml.safe_dump(secret), encoding="utf-8")
        text = self.nginx.config.read_text(encoding="utf-8")
        text = re.sub(r"(proxy_ssl_certificate(?:_key)?\s+).*/\w+\.(pem|key);", rf"\1{self.tls}/{name}.\2;", text)
        self.nginx.config.write_text(text, encoding="utf-8")

    def ask(self, through: str, certificate: str = "alice") -> ClientResponse:
        """What alice is answered through one of the proxies."""
        folder = self.world.folder
        context = client_context(folder / "roots.pem", folder / f"{certificate}.pem")
        return ask({"envoy": self.envoy, "nginx": self.nginx}[through].port, context, HOST, bearer(self, "alice"))

    def refusals(self) -> list[str]:
        """What the service's log says of proxies that were turned away."""
        return [one for one in self.service.log if '"event":"proxy_refused"' in one]


@pytest.fixture(scope="module")
def scene(envoy: None, nginx: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Everything running, with the certificates that are allowed; what a test changes it puts right again."""
    made = Scene(tmp_path_factory.mktemp("scene"))
    with running(made.application, made.service, made.nginx, made.envoy):
        yield made


@contextlib.contextmanager
def shown(scene: Scene, name: str) -> Iterator[None]:
    """Both proxies are started again with another certificate, and with their own in the end."""

    def start_again(name: str) -> None:
        scene.show(name)
        for one in (scene.nginx, scene.envoy):
            one.stop()
            one.start()

    start_again(name)
    try:
        yield
    finally:
        start_again("proxy")


@contextlib.contextmanager
def served(scene: Scene, certificate: Minted) -> Iterator[None]:
    """The service is started again with another certificate, and with its own in the end."""
    with stopped(scene):
        write(scene.tls, "server", certificate)
    try:
        yield
    finally:
        with stopped(scene):
            write(scene.tls, "server", server())


@pytest.mark.parametrize("through", UNASKED)
def test_allowed_proxy_asks_and_the_certificate_decides(scene: Scene, through: str) -> None:
    """The shipped settings of both proxies, and the rows that matter most."""
    assert scene.ask(through).status == 200
    refused = scene.ask(through, "bob")
    assert refused.status == 403
    line = scene.service.decision(refused.headers["x-authz-decision-id"])
    assert (line["listener"], line["reason"]) == (through, "certificate_of_another_user")


@pytest.mark.parametrize(("certificate", "told"), [("stranger", "no allowed name"), ("foreign", "verify failed")])
def test_proxy_that_is_not_allowed_lets_no_request_in(scene: Scene, certificate: str, told: str) -> None:
    """The application is not reached, the client gets the proxy's own failure, the operator reads why."""
    with shown(scene, certificate):
        for through, unasked in UNASKED.items():
            before, said = scene.application.requests, len(scene.refusals())
            assert scene.ask(through).status == unasked
            assert scene.application.requests == before
            until(lambda said=said: len(scene.refusals()) > said)  # type: ignore[misc]
            assert all(told in one for one in scene.refusals()[said:])


def test_service_that_is_another_is_not_asked(scene: Scene) -> None:
    """A process that took its address decides nothing: not by the mesh's CA alone, the name must be the service's."""
    assert [scene.ask(through).status for through in UNASKED] == [200, 200]
    before, said = scene.application.requests, len(scene.refusals())
    with served(scene, server(MESH, "other.internal.example")):
        for through, unasked in UNASKED.items():
            assert scene.ask(through).status == unasked
        assert scene.application.requests == before
        assert SERVICE not in "".join(scene.refusals()[said:])


@pytest.mark.parametrize("through", UNASKED)
def test_certificates_renewed_on_both_sides_interrupt_no_client(scene: Scene, through: str) -> None:
    """The service reads its own anew, Envoy through its watched file, nginx on reload."""
    assert scene.ask(through).status == 200
    said = len(scene.refusals())
    write(scene.tls, "server", server())
    write(scene.tls, "fresh", proxy())
    scene.show("fresh")
    scene.nginx.reload()
    assert [scene.ask(through).status for _ in range(5)] == [200] * 5
    assert scene.refusals()[said:] == []


@pytest.mark.parametrize("through", UNASKED)
def test_ca_that_is_removed_ends_the_connections_it_let_in(scene: Scene, through: str) -> None:
    """Those that the proxy keeps open, and the sessions it would resume; one that is added beside disturbs none."""
    said = len(scene.refusals())
    write(scene.tls, "client-ca", MESH, FOREIGN)
    assert [scene.ask(through).status for _ in range(5)] == [200] * 5
    assert len(scene.refusals()) == said
    write(scene.tls, "client-ca", FOREIGN)
    try:
        until(lambda: scene.ask(through).status == UNASKED[through])
        until(lambda: any("no longer in the file" in one for one in scene.refusals()[said:]))
    finally:
        write(scene.tls, "client-ca", MESH)
    until(lambda: scene.ask(through).status == 200)
