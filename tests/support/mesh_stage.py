"""The demonstration's world behind two real Envoys: a gateway and a sidecar, as `docs/listeners.md` has them."""

from __future__ import annotations

import copy
import re
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from authz.demo import Stage
from authz.demo.mint import Party
from authz.demo.processes import Application, Envoy, ServiceProcess, free_port, shipped
from authz.demo.world import World
from support.certificates import Authority, Minted, chain_pem, san
from support.nginx_stage import placed

DOCS = Path(__file__).parents[2] / "docs" / "listeners.md"
GATEWAY, SIDECAR = "gateway.mesh.example.test", "sidecar.mesh.example.test"


def life() -> dict[str, datetime]:
    """A validity that holds now."""
    now = datetime.now(UTC).replace(microsecond=0)
    return {"not_before": now - timedelta(days=1), "not_after": now + timedelta(days=30)}


def documented(kind: str) -> str:
    """The block of that kind in the section about two Envoys."""
    section = DOCS.read_text(encoding="utf-8").partition("## Two Envoys in a row\n")[2]
    (block,) = re.findall(rf"```{kind}\n(.*?)```", section, re.DOTALL)
    return str(block)


def documented_changes() -> dict[str, str]:
    """What the sidecar has in the places of deploy/envoy.yaml: each run of "-" lines, and the "+" lines behind it."""
    runs = re.findall(r"((?:^-.*\n)+)((?:^\+.*\n)+)", documented("diff"), re.MULTILINE)
    return {_bare(old): _bare(new) for old, new in runs}


def _bare(lines: str) -> str:
    return "".join(one[1:] for one in lines.splitlines(keepends=True))


def write(folder: Path, name: str, minted: Minted, *others: Minted) -> Path:
    """A chain file with its key beside it."""
    path = folder / f"{name}.pem"
    path.write_text(chain_pem(minted, *others))
    path.with_suffix(".key").touch(mode=0o600)
    path.with_suffix(".key").write_text(minted.key_pem)
    return path


class Placed(Envoy):
    """An Envoy with files in a folder of its own, as on a machine of its own."""

    def __init__(self, folder: Path, text: str, port: int) -> None:
        self._folder, self.port = folder, port
        self._config = folder / "envoy.yaml"
        self._config.write_text(text, encoding="utf-8")
        self.process = None


class MeshStage(Stage):
    """A client, the gateway, the sidecar, the service and the application; everybody of the mesh has a certificate.

    `at_gateway` and `at_sidecar` are changes besides, for tests of what must not be changed; `listener` is
    added to the listener's settings, in TOML.
    """

    def __init__(
        self,
        folder: Path,
        *,
        at_gateway: Mapping[str, str] | None = None,
        at_sidecar: Mapping[str, str] | None = None,
        listener: str = "",
    ) -> None:
        self.world = World(folder).build()
        self.application = Application()
        self.mesh = Authority.root("Mesh CA", **life())
        (folder / "mesh-ca.pem").write_text(self.mesh.pem)
        places = {"/run/authz/authz.sock": str(self.world.socket), "/etc/authz/": f"{folder}/"}
        places |= {"[[listener]]\n": f"[[listener]]\n{listener}\n"}
        settings = f'database = "{self.world.database}"\n' + placed(documented("toml"), places)
        self.service = ServiceProcess(folder, settings + f'[ops]\naddress = "127.0.0.1:{free_port()}"\n')
        self._tokens = {}
        self.workload("sidecar", SIDECAR, "localhost")
        self.workload("gateway", GATEWAY)
        self._front(at_gateway or {}, at_sidecar or {})

    def _front(self, at_gateway: Mapping[str, str], at_sidecar: Mapping[str, str]) -> None:
        self.sidecar = self._sidecar(at_sidecar)
        self.proxy = self.gateway = self._gateway(at_gateway)

    def beside(
        self, *, at_gateway: Mapping[str, str] | None = None, at_sidecar: Mapping[str, str] | None = None
    ) -> Self:
        """The same world, service and application behind two other Envoys."""
        made = copy.copy(self)
        made._front(at_gateway or {}, at_sidecar or {})
        return made

    def workload(self, name: str, *names: str | x509.GeneralName, issuer: Authority | None = None) -> Path:
        """The chain file of somebody in the mesh, who may be client and server."""
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        extensions = [(x509.ExtendedKeyUsage(usages), False), (san(*names), False)]
        return write(self.world.folder, name, (issuer or self.mesh).leaf(name, extensions=extensions, **life()))

    def client(self, name: str, uri: str) -> Path:
        """The chain file of a client of the organization, whose CA lets it choose its URI."""
        issuing: Party = self.world.authorities["issuing"]
        ca = Authority(issuing.certificate, issuing.key)
        extensions = [(san(x509.UniformResourceIdentifier(uri)), False)]
        return write(self.world.folder, name, ca.leaf(name, extensions=extensions, **life()), ca)

    def _machine(self, name: str, files: Mapping[str, Path]) -> Path:
        folder = Path(tempfile.mkdtemp(prefix=f"{name}-machine-", dir=self.world.folder))
        for file, source in files.items():
            (folder / file).write_bytes(source.read_bytes())
        return folder

    def _sidecar(self, changes: Mapping[str, str]) -> Placed:
        base = self.world.folder
        own = base / "sidecar.pem"
        files = {"server.pem": own, "server.key": own.with_suffix(".key")}
        files |= {one: base / one for one in ("mesh-ca.pem", "jwks.json")}
        folder, port = self._machine("sidecar", files), free_port()
        self.sidecar_ordinary = free_port()
        places = documented_changes() | dict(changes)
        places |= {
            "0.0.0.0, port_value: 8443": f"127.0.0.1, port_value: {port}",
            "0.0.0.0, port_value: 8444": f"127.0.0.1, port_value: {self.sidecar_ordinary}",
            "127.0.0.1, port_value: 8080": f"127.0.0.1, port_value: {self.application.port}",
            "/run/authz/authz.sock": str(self.world.socket),
            "/etc/envoy/tls/": f"{folder}/",
        }
        return Placed(folder, placed(shipped("envoy.yaml").read_text(encoding="utf-8"), places), port)

    def _gateway(self, changes: Mapping[str, str]) -> Placed:
        base = self.world.folder
        own = base / "gateway.pem"
        files = {"gateway.pem": own, "gateway.key": own.with_suffix(".key")}
        files |= {one: base / one for one in ("mesh-ca.pem", "server.pem", "server.key", "client-ca.yaml")}
        folder, port = self._machine("gateway", files), free_port()
        places = dict(changes) | {
            "0.0.0.0, port_value: 8443": f"127.0.0.1, port_value: {port}",
            "127.0.0.1, port_value: 9443": f"127.0.0.1, port_value: {self.sidecar.port}",
            "/etc/envoy/tls/": f"{folder}/",
        }
        return Placed(folder, placed(shipped("envoy-gateway.yaml").read_text(encoding="utf-8"), places), port)
