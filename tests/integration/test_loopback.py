"""Proxies that ask a service on loopback, by the lines that the shipped files have in comments."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.clients import bearer
from support.nginx_stage import NginxStage, documented_settings, placed

from authz.demo.client import ask, client_context
from authz.demo.mint import HOST
from authz.demo.processes import ServiceProcess, free_port, running

pytestmark = [pytest.mark.envoy, pytest.mark.nginx]

LINES = {
    "envoy": (r"( +)- endpoint: \{address: \{pipe.*\n(?: +# A service.*\n) +# (.*port_value: )9002(.*)\n"),
    "nginx": (r"( +)server unix:.*\n(?: +# A service.*\n) +# (server 127.0.0.1:)9003(.*)\n"),
}
"""A line, what is said of loopback, and the line for it, about its port."""


class Loopback(NginxStage):
    """Both proxies before one service, at two ports of this machine."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        text = re.sub(r"(?m)^socket_group.*\n", "", documented_settings(self.world))
        sockets = {"envoy": self.world.socket, "nginx": folder / "nginx.sock"}
        for name, path in (("envoy", folder / "envoy.yaml"), ("nginx", self.nginx.config)):
            port = free_port()
            text = placed(text, {f'"unix:{sockets[name]}"': f'"127.0.0.1:{port}"'})
            config, count = re.subn(LINES[name], rf"\g<1>\g<2>{port}\g<3>\n", path.read_text(encoding="utf-8"))
            assert count == 1
            path.write_text(config, encoding="utf-8")
        self.service = ServiceProcess(folder, text)


@pytest.fixture(scope="module")
def stage(envoy: None, nginx: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    """Everything running, and no Unix socket."""
    made = Loopback(tmp_path_factory.mktemp("loopback"))
    with running(made.application, made.service, made.nginx, made.envoy):
        yield made


@pytest.mark.parametrize("through", ["envoy", "nginx"])
@pytest.mark.parametrize(
    ("certificate", "reason"),
    [("alice", None), ("bob", "certificate_of_another_user"), (None, "certificate_required")],
)
def test_service_on_loopback_decides_alike(
    stage: Loopback, through: str, certificate: str | None, reason: str | None
) -> None:
    """Each proxy at its own listener."""
    folder = stage.world.folder
    assert not list(folder.glob("*.sock"))
    context = client_context(folder / "roots.pem", None if certificate is None else folder / f"{certificate}.pem")
    answer = ask({"envoy": stage.envoy, "nginx": stage.nginx}[through].port, context, HOST, bearer(stage, "alice"))
    line = stage.service.decision(answer.headers.get("x-authz-decision-id") or answer.seen["x-authz-decision-id"])
    assert answer.status == (200 if reason is None else 403)
    assert (line["listener"], line.get("reason")) == (through, reason)
