"""The log of a real service, shipped by a real rsyslog to a collector over TLS: every line, as it was written."""

from __future__ import annotations

import json
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.generate_docs import ROOT
from support.monitored import Monitored
from support.proxy_tls import MESH, proxy, server, write
from support.requirements import need
from support.served import PATIENCE

SHIPPED = (ROOT / "deploy" / "rsyslog" / "authz.conf").read_text(encoding="utf-8")
COLLECTOR = "logs.example.test"
LONGEST = 20_000


@pytest.fixture
def rsyslogd() -> str:
    """Debian's, of the packages `rsyslog` and `rsyslog-gnutls`."""
    path = shutil.which("rsyslogd", path="/usr/sbin:/usr/bin")
    need("rsyslog", found=path is not None and any(Path("/usr/lib").glob("*/rsyslog/lmnsd_gtls.so")))
    return str(path)


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[socket.socket]:
    """A server that takes lines from clients with a certificate."""
    write(tmp_path, "client", proxy(COLLECTOR))
    write(tmp_path, "collector", server(MESH, COLLECTOR))
    write(tmp_path, "collector-ca", MESH)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(PATIENCE)
        yield listening


def configured(folder: Path, port: int) -> str:
    """The shipped file as it stands, but for its places, and what a distribution has: a source of messages."""
    text = SHIPPED.replace("/etc/rsyslog-tls", str(folder)).replace(f'target="{COLLECTOR}"', 'target="127.0.0.1"')
    text = re.sub(r'port="\d+"', f'port="{port}"', text)
    source = f'module(load="imuxsock" SysSock.Use="off")\ninput(type="imuxsock" Socket="{folder}/log")\n'
    # As in Debian's rsyslog.conf, which includes /etc/rsyslog.d behind its own modules.
    return f'{source}global(workDirectory="{folder}")\n{text}'


def received(collector: socket.socket, folder: Path, number: int) -> list[bytes]:
    """The first lines that the collector is sent."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(folder / "collector-ca.pem"))
    context.load_cert_chain(folder / "collector.pem", folder / "collector.key")
    context.verify_mode = ssl.CERT_REQUIRED
    connection, _ = collector.accept()
    with context.wrap_socket(connection, server_side=True) as stream, stream.makefile("rb") as lines:
        return [lines.readline().rstrip(b"\n") for _ in range(number)]


def test_every_line_arrives_as_it_was_written(
    monitored: Monitored, rsyslogd: str, collector: socket.socket, tmp_path: Path
) -> None:
    """Those of a service, and one of the greatest length; what other programs log, and what is no object, stays."""
    config = tmp_path / "rsyslog.conf"
    config.write_text(configured(tmp_path, collector.getsockname()[1]))
    written = [line for line in monitored.log.read_bytes().splitlines() if line.startswith(b"{")]
    written.append(json.dumps({"event": "decision", "detail": "x" * (LONGEST - 40)}).encode())
    command = [rsyslogd, "-n", "-f", str(config), "-i", str(tmp_path / "pid")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as running:
        try:
            monitored.until((tmp_path / "log").exists)
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
                journal.connect(str(tmp_path / "log"))
                journal.send(b"<14>cron[1]: {}")
                journal.send(b"<14>authz[1]: Traceback")
                for line in written:
                    journal.send(b"<14>authz[1]: " + line)
            assert received(collector, tmp_path, len(written)) == written
        finally:
            running.terminate()
