"""The demonstration's world behind the gateways of deploy/, as `mesh_translation` has them."""

from __future__ import annotations

import copy
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import yaml
from cryptography import x509

from authz.demo import Stage
from authz.demo.processes import Application, ServiceProcess, free_port
from authz.demo.world import World
from support import mesh_translation as made
from support.certificates import Authority, san
from support.manifests import the
from support.mesh_stage import MeshStage, Placed
from support.nginx_stage import placed
from support.proxy_tls import LIFE, SERVER_USE, write

DOCS = Path(__file__).parents[2] / "docs" / "mesh.md"
SERVICE_NAME, GATEWAY_NAME = "authz.authz.svc.cluster.local", "gateway.proxies.example.test"
GATEWAY_ACCOUNT = "spiffe://cluster.local/ns/edge/sa/istio-ingress"

GATEWAYS: dict[str, Any] = {
    "istio": lambda: (
        made.istio_manager(filtered=False),
        made.istio_checks(),
        made.istio_removed(),
        made.istio_names(),
    ),
    "istio with the filter": lambda: (
        made.istio_manager(filtered=True),
        made.istio_checks(),
        made.istio_removed(),
        made.istio_names(),
    ),
    "envoy gateway": lambda: (
        made.envoy_gateway_manager(),
        made.envoy_gateway_checks(),
        made.envoy_gateway_removed(),
        made.envoy_gateway_names(),
    ),
}


def documented(section: str, kind: str, number: int = 0) -> str:
    """A block of that kind in a section of docs/mesh.md."""
    text = DOCS.read_text(encoding="utf-8").partition(f"# {section}\n")[2]
    return str(re.findall(rf"```{kind}\n(.*?)```", re.split(r"^#+ ", text, flags=re.MULTILINE)[0], re.DOTALL)[number])


def proxy_headers(section: str) -> Mapping[str, Any]:
    """`proxyHeaders` of the annotation that a section shows."""
    annotations = yaml.safe_load(documented(section, "yaml"))["annotations"]
    return dict(yaml.safe_load(annotations["proxy.istio.io/config"])["proxyHeaders"])


class ClusterStage(Stage):
    """The service and the application, with the certificates of the cluster; a subclass puts Envoys in front.

    Its `front` makes them, and `envoys` are they, in the order in which they are started.
    """

    front: Callable[..., None]
    envoys: tuple[Placed, ...]

    def beside(self, *what: Any, **options: Any) -> Self:
        """The same world, service and application behind other Envoys."""
        made = copy.copy(self)
        made.front(*what, **options)
        return made

    def __init__(self, folder: Path, settings: str) -> None:
        self.world = World(folder).build()
        self.application = Application()
        self.files = folder / "cluster"
        self.files.mkdir()
        self.proxies_ca, self.mesh = Authority.root("Proxies CA", **LIFE), Authority.root("Mesh CA", **LIFE)
        for name, authority in (("proxies-ca", self.proxies_ca), ("mesh-ca", self.mesh)):
            (self.files / f"{name}.pem").write_text(authority.pem)
        own = self.proxies_ca.leaf("authz", extensions=[(san(SERVICE_NAME), False), SERVER_USE], **LIFE)
        write(self.files, "tls", own)
        self.certificate("gateway", GATEWAY_NAME)
        places = {
            "/etc/authz/tls/tls.crt": f"{self.files}/tls.pem",
            "/etc/authz/tls/": f"{self.files}/",
            "/etc/authz/anchors/": f"{self.files}/",
            "/var/cache/authz/": f"{folder}/",
        }
        self.service_port = free_port()
        text = placed(settings, {key: place for key, place in places.items() if key in settings})
        text = re.sub(
            r'^address = "[\d.]+:\d+"', f'address = "127.0.0.1:{self.service_port}"', text, flags=re.MULTILINE
        )
        text = text.replace('[ops]\nhealth_probe_address = "127.0.0.1:9902"\n', "")
        ops = f'[ops]\naddress = "127.0.0.1:{free_port()}"\nhealth_probe_address = "127.0.0.1:{free_port()}"'
        whole = f'database = "{self.world.database}"\n{text}\n{ops}\n'
        self.service = ServiceProcess(folder, whole)
        self._tokens = {}

    def certificate(self, name: str, *names: str, issuer: Authority | None = None) -> None:
        """`name.pem` and `name.key` in the cluster's folder: a proxy's for the service, or somebody's of the mesh."""
        uris = [x509.UniformResourceIdentifier(one) if "://" in one else one for one in names]
        write(self.files, name, (issuer or self.proxies_ca).leaf(name, extensions=[(san(*uris), False)], **LIFE))

    client = MeshStage.client

    def edge(self) -> made.Config:
        """The gateway's transport: its server's certificate, and clients' asked for and not required."""
        base = self.world.folder
        (base / "client-ca.pem").write_text(self.world.bundle, encoding="ascii")
        return made.downstream(made.common_tls(base, "server", "client-ca"), required=False)

    def envoy(self, name: str, config: made.Config, port: int) -> Placed:
        """An Envoy with these settings."""
        folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.world.folder))
        return Placed(folder, yaml.safe_dump(config), port)


class GatewayStage(ClusterStage):
    """One gateway in front; `own` is the certificate that it shows to the service.

    `changes` are made to its `manager` and its `checks`, and to the `name` that it verifies of the service.
    """

    def __init__(self, folder: Path, gateway: str) -> None:
        super().__init__(folder, the("ConfigMap", "kubernetes", "authz-settings")["data"]["authz.toml"])
        self.certificate("stranger", "stranger.proxies.example.test")
        self.front(gateway)

    def front(self, gateway: str, *, own: str = "gateway", changes: Mapping[str, Any] | None = None) -> None:
        """See the class."""
        manager, checks, removed, (sni, name) = GATEWAYS[gateway]()
        made.merge(manager, (changes or {}).get("manager", {}))
        checks |= (changes or {}).get("checks", {})
        tls = made.common_tls(self.files, own, "proxies-ca", name=(changes or {}).get("name", name))
        clusters = [
            made.upstream("authz", self.service_port, tls, sni),
            made.upstream("next", self.application.port),
        ]
        port = free_port()
        self.proxy = self.envoy("edge", made.proxy(port, self.edge(), manager, checks, removed, clusters), port)
        self.envoys = (self.proxy,)


class OwnSidecarStage(ClusterStage):
    """Istio's gateway, and a sidecar before the service itself; `headers` are the sidecar's `proxyHeaders`."""

    section = "With a sidecar of its own"

    def __init__(self, folder: Path, headers: Mapping[str, Any], *, renamed: bool = True) -> None:
        settings = documented(self.section, "toml")
        plain = 'certificate = {form = "xfcc", header = "x-authz-client-cert"}\n'
        super().__init__(folder, settings if renamed else placed(settings, {plain: ""}))
        self.certificate("workload-gateway", GATEWAY_ACCOUNT, issuer=self.mesh)
        own = self.mesh.leaf("own", extensions=[(san(SERVICE_NAME), False), SERVER_USE], **LIFE)
        write(self.files, "workload-authz", own)
        self.renamed = renamed
        self.front(headers)

    def front(self, headers: Mapping[str, Any]) -> None:
        """See the class."""
        ports = [free_port(), free_port()]
        transport = made.downstream(made.common_tls(self.files, "workload-authz", "mesh-ca"), required=True)
        clusters = [made.upstream("next", self.service_port)]
        sidecar = made.proxy(ports[1], transport, made.sidecar_manager(headers), None, [], clusters)
        tls = made.common_tls(self.files, "workload-gateway", "mesh-ca", name=SERVICE_NAME)
        clusters = [made.upstream("authz", ports[1], tls, SERVICE_NAME), made.upstream("next", self.application.port)]
        changes = yaml.safe_load(documented(self.section, "yaml", 1)) if self.renamed else {}
        manager, checks = made.istio_manager(filtered=False), made.istio_checks(changes)
        gateway = made.proxy(ports[0], self.edge(), manager, checks, made.istio_removed(), clusters)
        self.sidecar = self.envoy("sidecar", sidecar, ports[1])
        self.proxy = self.envoy("edge", gateway, ports[0])
        self.envoys = (self.sidecar, self.proxy)


class ChainStage(ClusterStage):
    """Istio's gateway, which only forwards, and the application's sidecar, which asks the service."""

    def __init__(self, folder: Path, headers: Mapping[str, Any]) -> None:
        super().__init__(folder, documented("Gateway and sidecar", "toml"))
        self.certificate("orders", "orders.proxies.example.test")
        self.certificate("workload-gateway", GATEWAY_ACCOUNT, issuer=self.mesh)
        own = self.mesh.leaf("own", extensions=[(san("orders.shop.svc.cluster.local"), False), SERVER_USE], **LIFE)
        write(self.files, "workload-orders", own)
        self.front(headers)

    def front(self, headers: Mapping[str, Any]) -> None:
        """See the class."""
        ports = [free_port(), free_port()]
        sni, name = made.istio_names("shop")
        tls = made.common_tls(self.files, "orders", "proxies-ca", name=name)
        clusters = [made.upstream("authz", self.service_port, tls, sni), made.upstream("next", self.application.port)]
        transport = made.downstream(made.common_tls(self.files, "workload-orders", "mesh-ca"), required=True)
        manager, checks = made.sidecar_manager(headers), made.istio_checks()
        sidecar = made.proxy(ports[1], transport, manager, checks, ["x-forwarded-client-cert"], clusters)
        tls = made.common_tls(self.files, "workload-gateway", "mesh-ca", name="orders.shop.svc.cluster.local")
        gateway = made.proxy(
            ports[0],
            self.edge(),
            made.istio_manager(filtered=True),
            None,
            [],
            [made.upstream("next", ports[1], tls, "orders.shop.svc.cluster.local")],
        )
        self.sidecar = self.envoy("sidecar", sidecar, ports[1])
        self.proxy = self.envoy("edge", gateway, ports[0])
        self.envoys = (self.sidecar, self.proxy)
