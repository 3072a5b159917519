"""docs/envoy.md and docs/nginx.md: each diff is applied to the plain file before it, run, and tried as a client would.

A reader of a page has a proxy then that asks, and that passes on no identity of a client.
"""

from __future__ import annotations

import itertools
import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from support.clients import Dial, bearer
from support.documented import PlacedEnvoy, blocks, linted, patched
from support.nginx_stage import Nginx, NginxStage, placed

from authz.demo import Stage
from authz.demo.processes import ServiceProcess, free_port, running
from authz.doctor.probe.probes import forged_headers
from authz.headers import KNOWN_HEADERS
from authz.web.answer import IDENTITY_HEADERS

pytestmark = [pytest.mark.envoy, pytest.mark.nginx, pytest.mark.usefixtures("patch")]

PLAIN = {
    "envoy": (blocks("envoy.md", "yaml")[0], blocks("envoy.md", "diff")[0]),
    "nginx": (blocks("nginx.md", "nginx")[0], blocks("nginx.md", "diff")[0]),
    "ingress-nginx": (blocks("nginx.md", "nginx")[1], blocks("nginx.md", "diff")[1]),
}
"""A configuration that does not ask, and what a page adds to it."""


def behind_envoy(text: str, world: Path, folder: Path) -> Stage:
    """The world behind an Envoy, with the service's settings of the page."""
    made = Stage(world)
    places = {
        "sqlite:////var/lib/authz/authz.db": made.world.database,
        "/run/authz/authz.sock": str(made.world.socket),
        '"envoy"\nclient': f'"{os.getgid()}"\nclient',
    }
    settings = placed(blocks("envoy.md", "toml")[0], places) + f'[ops]\naddress = "127.0.0.1:{free_port()}"\n'
    made.service = ServiceProcess(world, settings)
    made.proxy = PlacedEnvoy(made, folder, text, application=made.application.port)
    return made


def behind_nginx(text: str, world: Path, folder: Path) -> Stage:
    """The world behind an nginx, with the service's settings of the page."""
    made = NginxStage(world)
    made.proxy = proxy = Nginx(made.world, application=made.application.port, folder=folder)
    places = {
        "events {}": f"user {pwd.getpwuid(os.getuid()).pw_name}; pid {folder}/nginx.pid; events {{}}",
        "http {": f"http {{ access_log {folder}/nginx-access.log;",
        "/run/authz/nginx.sock": str(world / "nginx.sock"),
        "listen 8443": f"listen 127.0.0.1:{proxy.port}",
        "127.0.0.1:8080": f"127.0.0.1:{made.application.port}",
        "/etc/nginx/tls/": f"{world}/",
    }
    proxy.config.write_text(placed(text, places), encoding="utf-8")
    return made


@pytest.fixture(scope="module", params=sorted(PLAIN))
def stage(
    request: pytest.FixtureRequest, envoy: None, nginx: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """The world behind a proxy as the page has it."""
    name, (plain, diff) = request.param, PLAIN[request.param]
    behind = behind_envoy if name == "envoy" else behind_nginx
    made = behind(patched(plain, diff), tmp_path_factory.mktemp("world"), tmp_path_factory.mktemp("proxy"))
    with running(made.application, made.service, made.proxy):
        yield made


@pytest.mark.parametrize("name", sorted(PLAIN))
def test_result_is_clean_and_the_plain_file_is_not(name: str) -> None:
    """By `authz doctor lint`."""
    plain, diff = PLAIN[name]
    file = "envoy.yaml" if name == "envoy" else "nginx.conf"
    assert linted(file, patched(plain, diff)) == []
    assert linted(file, plain) != []


@pytest.mark.parametrize("name", sorted(PLAIN))
def test_every_addition_says_what_goes_wrong_without_it(name: str) -> None:
    """In the comments of each run of added lines."""
    lines = PLAIN[name][1].splitlines()[2:]
    runs = [list(run) for added, run in itertools.groupby(lines, lambda line: line.startswith("+")) if added]
    assert len(runs) >= 3
    assert [run for run in runs if not any("# With" in line for line in run)] == []


@pytest.mark.parametrize(
    ("certificate", "user", "expected"),
    [
        ("alice", "alice", (200, "")),
        ("bob", "alice", (403, "certificate_of_another_user")),
        ("stranger", "alice", (403, "certificate_not_registered")),
        (None, "alice", (403, "certificate_required")),
        (None, "olga", (200, "")),
        ("alice", None, (401, "token_missing")),
    ],
)
def test_service_is_asked(
    stage: Stage, dial: Dial, certificate: str | None, user: str | None, expected: tuple[int, str]
) -> None:
    """And every refusal has its reason in the log."""
    answer = dial(stage, certificate).get(headers=bearer(stage, user) if user else [])
    assert (answer.status, stage.reason(answer)) == expected
    assert answer.seen.get("x-authz-user") == (user if answer.status == 200 else None)


@pytest.mark.parametrize("copies", [1, 2])
@pytest.mark.parametrize("certificate", ["alice", None])
@pytest.mark.parametrize("name", [*IDENTITY_HEADERS, "X-AUTHZ-USER", "x_authz_user"])
def test_identity_that_a_client_writes_reaches_no_application(
    stage: Stage, dial: Dial, name: str, certificate: str | None, copies: int
) -> None:
    """Beside a certificate and without one; a proxy may also refuse it."""
    user = certificate or "olga"
    spoofs = [(name, "root")] * copies
    answer = dial(stage, certificate).get(headers=[*bearer(stage, user), *spoofs])
    assert answer.status == 200 or (answer.status == 400 and "_" in name)
    assert "root" not in answer.body.decode()
    assert answer.seen.get("x-authz-user", user) == user


@pytest.mark.parametrize("statement", ["NONE", "SUCCESS", "sha256=", "root", ""])
def test_statement_that_a_client_writes_changes_nothing(stage: Stage, dial: Dial, statement: str) -> None:
    """The proxy's own takes its place."""
    spoof = ("x-authz-peer", statement)
    assert dial(stage, "alice").get(headers=[*bearer(stage, "alice"), spoof]).seen["x-authz-binding"] == "bound"
    assert dial(stage, None).get(headers=[*bearer(stage, "alice"), spoof]).status == 403
    assert dial(stage, None).get(headers=[*bearer(stage, "olga"), spoof]).seen["x-authz-user"] == "olga"


@pytest.mark.parametrize("names", ["x-authz-user", "x-authz-peer", "x-ssl-client-cert, x-authz-peer", "authorization"])
def test_connection_header_takes_no_identity_away(stage: Stage, dial: Dial, names: str) -> None:
    """RFC 9110 section 7.6.1 lets a client name headers that a proxy drops."""
    answer = dial(stage, "bob").get(headers=[*bearer(stage, "alice"), ("connection", names), ("x-authz-user", "root")])
    assert answer.status in {401, 403, 400}
    allowed = dial(stage, "alice").get(headers=[*bearer(stage, "alice"), ("connection", names)])
    assert allowed.seen.get("x-authz-user", "alice") == "alice"


@pytest.mark.parametrize("name", sorted(KNOWN_HEADERS))
def test_certificate_that_a_client_writes_counts_for_nothing(stage: Stage, dial: Dial, name: str) -> None:
    """Alice's, without her key, in every form that a proxy is known to use."""
    forged = forged_headers(stage.world.clients["alice"].certificate.public_bytes(Encoding.DER))
    for certificate in ("bob", None):
        answer = dial(stage, certificate).get(headers=[*bearer(stage, "alice"), (name, forged[name])])
        assert answer.status == 403


def test_application_learns_the_checked_host_and_no_token(stage: Stage, dial: Dial) -> None:
    """Whatever else names a host."""
    spoofs = [("x-forwarded-host", "other.test"), ("forwarded", "host=other.test")]
    answer = dial(stage, "alice").get(headers=[*bearer(stage, "alice"), *spoofs])
    assert answer.status == 200
    assert "other.test" not in answer.body.decode()
    assert "authorization" not in answer.seen


def test_service_that_is_down_lets_no_request_through(stage: Stage, dial: Dial) -> None:
    """503 from Envoy, 500 from nginx; the last test, because it ends the service."""
    stage.service.stop()
    answer = dial(stage, "alice").get(headers=bearer(stage, "alice"))
    assert answer.status in {500, 503}
    stage.service.start()
