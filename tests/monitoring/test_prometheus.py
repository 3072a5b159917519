"""A real Prometheus with the shipped configuration and rules, at a real service."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import urlopen

import pytest
from support.generate_docs import ROOT
from support.monitored import Monitored
from support.requirements import need

SHIPPED = ROOT / "deploy" / "prometheus"


def configured(monitored: Monitored, folder: Path) -> Path:
    """The shipped configuration as it stands, but for its places and intervals."""
    for name, file in (("authz-ca.pem", "ca.pem"), ("client.pem", "reader.pem"), ("client.key", "reader.key")):
        shutil.copy(monitored.folder / file, folder / name)
    shutil.copy(SHIPPED / "rules.yml", folder)
    text = (SHIPPED / "prometheus.yml").read_text(encoding="utf-8").replace("/etc/prometheus/tls", str(folder))
    text = re.sub(r'targets: \["authz-1.*\]', f'targets: ["localhost:{monitored.port}"]', text)
    (folder / "prometheus.yml").write_text(re.sub(r"interval: \d+s", "interval: 1s", text))
    return folder / "prometheus.yml"


class Server:
    """Its interface."""

    def __init__(self, port: int) -> None:
        self._address = f"http://127.0.0.1:{port}/api/v1/"

    def get(self, path: str) -> Any:
        """The data of an answer; none where it does not answer yet."""
        try:
            with urlopen(self._address + path, timeout=10) as answer:  # noqa: S310 - it is loopback
                return json.load(answer)["data"]
        except (URLError, ConnectionError):
            return None

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an expression, now."""
        return (self.get("query?query=" + quote(expression)) or {"result": []})["result"]  # type: ignore[no-any-return]

    def critical(self) -> set[str]:
        """The critical alerts that are pending or firing."""
        alerts = (self.get("alerts") or {"alerts": []})["alerts"]
        return {one["labels"]["alertname"] for one in alerts if one["labels"]["severity"] == "critical"}


@pytest.fixture
def prometheus(monitored: Monitored, tmp_path: Path) -> Iterator[Server]:
    """Debian's; it scrapes the service."""
    program = shutil.which("prometheus")
    need("promtool", found=program is not None)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(program), f"--config.file={configured(monitored, tmp_path)}", f"--storage.tsdb.path={tmp_path}/data"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        try:
            yield Server(port)
        finally:
            running.terminate()


def test_prometheus_reads_the_service_and_its_rules_see_what_is_wrong(monitored: Monitored, prometheus: Server) -> None:
    """Over TLS, by its name; a key set that cannot be read is about to be an alert, and nothing else critical is."""
    monitored.until(lambda: bool(prometheus.query("authz_directory_confirmed == 1")))
    (up,) = prometheus.query("up")
    assert (up["metric"]["job"], up["value"][1]) == ("authz", "1")
    # Before the first scrape, it is the absence of every service.
    monitored.until(lambda: prometheus.critical() == {"AuthzKeySetFailing"})
