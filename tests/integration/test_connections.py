"""Protocols, resumption, and what happens on connections that stay open."""

from __future__ import annotations

import json
import re
import ssl
import subprocess
import time
from datetime import UTC, datetime, timedelta

import pytest
from support.clients import Dial, bearer, retired, revoked

from authz.demo import Stage
from authz.demo.client import Connection, client_context
from authz.demo.mint import HOST

pytestmark = pytest.mark.envoy

BOUND = 1.0
"""Seconds from a change to the last request it does not hold for: the published bound."""


def context_of(stage: Stage, name: str, version: ssl.TLSVersion) -> ssl.SSLContext:
    """A client of one TLS version."""
    context = client_context(stage.world.folder / "roots.pem", stage.world.folder / f"{name}.pem")
    context.minimum_version = context.maximum_version = version
    return context


VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])


@VERSIONS
def test_tls_version_right_certificate_is_allowed(stage: Stage, dial: Dial, version: ssl.TLSVersion) -> None:
    """Both versions carry the certificate."""
    connection = dial(stage, "alice", context=context_of(stage, "alice", version))
    assert connection.get(headers=bearer(stage, "alice")).status == 200
    assert connection.tls.version() == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]


@VERSIONS
def test_tls_version_wrong_certificate_is_denied(stage: Stage, dial: Dial, version: ssl.TLSVersion) -> None:
    """Both versions carry the wrong one as well."""
    connection = dial(stage, "bob", context=context_of(stage, "bob", version))
    assert connection.get(headers=bearer(stage, "alice")).status == 403


@VERSIONS
def test_resumed_session_is_still_checked(restored_stage: Stage, dial: Dial, version: ssl.TLSVersion) -> None:
    """A resumed session carries the certificate of its first handshake, and a retired one is refused."""
    context = context_of(restored_stage, "alice", version)
    first = dial(restored_stage, "alice", context=context)
    assert first.get(headers=bearer(restored_stage, "alice")).status == 200
    session = first.tls.session
    resumed = dial(restored_stage, "alice", context=context, session=session)
    assert resumed.tls.session_reused
    assert resumed.get(headers=bearer(restored_stage, "alice")).status == 200
    with retired(restored_stage):
        assert_denied_within_the_bound(restored_stage, resumed)


def test_registration_retired_open_connection_is_denied_within_the_bound(restored_stage: Stage, dial: Dial) -> None:
    """Nothing about the connection changes, and its next requests are refused."""
    connection = dial(restored_stage, "alice")
    assert connection.get(headers=bearer(restored_stage, "alice")).status == 200
    with retired(restored_stage):
        assert_denied_within_the_bound(restored_stage, connection)


def test_certificate_revoked_open_connection_is_denied_within_the_bound(restored_stage: Stage, dial: Dial) -> None:
    """A newly published CRL bites on a connection that was opened before."""
    connection = dial(restored_stage, "alice")
    assert connection.get(headers=bearer(restored_stage, "alice")).status == 200
    with revoked(restored_stage):
        assert_denied_within_the_bound(restored_stage, connection)


def test_certificate_revoked_open_connection_of_http_2_is_denied_within_the_bound(
    restored_stage: Stage, curl: str
) -> None:
    """Every stream of it is a check of its own."""
    streams = 80
    url = f"https://{HOST}:{restored_stage.envoy.port}/[1-{streams}]"
    told = "%{http_code} %{http_version} %{num_connects}\\n"
    command = curl_command(restored_stage, curl, "alice", "--http2", "--rate", "1200/m", "--write-out", told, url)
    before = len(decisions(restored_stage))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        deadline = time.monotonic() + 60
        while len(decisions(restored_stage)) < before + 10 and time.monotonic() < deadline:
            time.sleep(0.01)
        with revoked(restored_stage):
            changed = datetime.now(UTC)
            answers = [line.split() for line in (running.stdout or [])]
            asked = decisions(restored_stage)[before:]
    assert {tuple(one) for one in answers[1:]} == {("200", "2", "0"), ("403", "2", "0")}
    statuses = [one[0] for one in answers]
    assert len(statuses) == streams
    assert statuses == sorted(statuses)
    allowed = [one["time"] for one in asked if one["outcome"] == "allow"]
    assert datetime.fromisoformat(allowed[-1]) < changed + timedelta(seconds=BOUND)


def decisions(stage: Stage) -> list[dict[str, str]]:
    """What the service has logged of its decisions, in order."""
    return [json.loads(line) for line in list(stage.service.log) if '"event":"decision"' in line]


def assert_denied_within_the_bound(stage: Stage, connection: Connection) -> None:
    """Every request that begins later than the bound is denied: asked without a pause until a quarter of it more."""
    changed = time.monotonic()
    last_allowed = 0.0
    while time.monotonic() < changed + 1.25 * BOUND:
        began = time.monotonic()
        if connection.get(headers=bearer(stage, "alice")).status == 200:
            last_allowed = began
        time.sleep(0.005)
    assert last_allowed < changed + BOUND


@pytest.mark.parametrize("protocol", ["--http1.1", "--http2"])
@pytest.mark.parametrize(("certificate", "status"), [("alice", "200"), ("bob", "403")])
def test_http_version_is_checked_alike(stage: Stage, curl: str, protocol: str, certificate: str, status: str) -> None:
    """HTTP/1.1 and HTTP/2 ask the same question."""
    version = {"--http1.1": "1.1", "--http2": "2"}[protocol]
    assert (
        run_curl(stage, curl, certificate, protocol, "--write-out", "%{http_code} %{http_version}")
        == f"{status} {version}"
    )


def run_curl(stage: Stage, curl: str, certificate: str, *options: str) -> str:
    """What curl writes, the body left out, as alice with somebody's certificate."""
    command = curl_command(stage, curl, certificate, *options, f"https://{HOST}:{stage.envoy.port}/")
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def curl_command(stage: Stage, curl: str, certificate: str, *options: str) -> list[str]:
    """A call of curl as alice with somebody's certificate."""
    folder, port = stage.world.folder, stage.envoy.port
    files = {"--cacert": "roots.pem", "--cert": f"{certificate}.pem", "--key": f"{certificate}.key"}
    command = [curl, "--silent", "--show-error", "--output", "/dev/null"]
    for option, name in files.items():
        command += [option, str(folder / name)]
    command += ["--connect-to", f"{HOST}:{port}:127.0.0.1:{port}"]
    return [*command, "--header", f"authorization: Bearer {stage.token('alice')}", *options]


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
@pytest.mark.parametrize("level", ["stage", "request_level_stage"])
def test_certificate_request_has_an_empty_ca_list(
    request: pytest.FixtureRequest, openssl: str, version: str, level: str
) -> None:
    """A client is asked for a certificate, and no CA names are sent that it might filter by."""
    stage: Stage = request.getfixturevalue(level)
    command = [openssl, "s_client", "-connect", f"127.0.0.1:{stage.envoy.port}", version, "-msg"]
    done = subprocess.run(command, input="", capture_output=True, text=True, check=False, timeout=30)
    assert "CertificateRequest" in done.stdout
    assert "No client certificate CA names sent" in done.stdout
    assert not re.search(r"Acceptable client certificate CA names", done.stdout)
