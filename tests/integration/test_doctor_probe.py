"""`authz doctor probe` before the real Envoy and nginx: as shipped everything holds, and what is weakened is named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from support.command_world import Done, authz
from support.doctor_faults import ENVOY_FAULTS, changed
from support.nginx_stage import Beside, NginxStage
from support.second_envoy import SecondEnvoy

from authz.admin.canary import CANARY
from authz.cli import doctor_probe
from authz.demo import Stage
from authz.demo.mint import AUDIENCE, ISSUER
from authz.demo.processes import running
from authz.demo.world import ORGANIZATION_CLAIM
from authz.doctor.probe.clients import Clients, canary_clients
from authz.doctor.probe.dialing import Dialer, Endpoint
from authz.doctor.probe.other_protocols import HTTP2, early_data, http2
from authz.doctor.probe.run import Verdict, run_probes
from authz.doctor.service_settings import IDENTITY_HEADERS
from authz.envoy_sds import replace_file, sds_secret

HOST = "unknown.example.test"
"""A name of the demonstration's proxies that no organization has."""


def prepared(stage: Stage, *options: str) -> Path:
    """A canary, with an issuer of its own if the options do not name one."""
    folder = stage.world.folder / "canary"
    done = authz(*where(stage), "doctor", "prepare", str(folder), "--host", HOST, *options)
    assert done.code == 0, done.err
    return folder


def prepared_for_envoy(stage: Stage) -> Path:
    """One with tokens of the demonstration's issuer, which is the one that its Envoy knows."""
    folder = prepared(stage, "--issuer", ISSUER, "--audience", AUDIENCE, "--organization-claim", ORGANIZATION_CLAIM)
    for name, user in (("good", "canary"), ("off", "canary-off")):
        token = stage.world.mint.token(user, **{ORGANIZATION_CLAIM: CANARY})
        (stage.world.folder / f"{name}.token").write_text(token, encoding="ascii")
    return folder


def where(stage: Stage) -> tuple[str, str]:
    """The settings of the stage's service."""
    return "--config", str(stage.world.folder / "authz.toml")


def tokens(stage: Stage) -> tuple[str, ...]:
    """Those of the demonstration's issuer, if there are any; otherwise the canary has its own."""
    made = {f"--{option}": stage.world.folder / f"{name}.token" for option, name in OPTIONS.items()}
    return tuple(word for option, path in made.items() if path.exists() for word in (option, str(path)))


OPTIONS = {"token": "good", "off-token": "off"}


def probed(stage: Stage, port: int) -> tuple[Done, dict[str, dict[str, str]]]:
    """What the command finds, by the verdict, then the probe."""
    world = stage.world.folder
    found = ("--canary", str(world / "canary"), *tokens(stage), "--roots", str(world / "roots.pem"))
    connect = ("--connect", f"127.0.0.1:{port}")
    done = authz(*where(stage), "doctor", "probe", f"https://{HOST}/", *connect, *found, "--json")
    verdicts: dict[str, dict[str, str]] = {"held": {}, "way round": {}, "not proven": {}}
    for each in json.loads(done.out)["probes"]:
        verdicts[each["verdict"]][each["probe"]] = each["detail"]
    return done, verdicts


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound of the rate is tested elsewhere."""
    monkeypatch.setattr(doctor_probe, "Dialer", partial(Dialer, a_second=10_000))


@pytest.fixture(scope="module")
def stage(envoy: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The demonstration before Envoy, with a canary whose CA Envoy knows too."""
    made = Stage(tmp_path_factory.mktemp("probed"))
    folder = prepared_for_envoy(made)
    secret = sds_secret(made.world.bundle + (folder / "root.pem").read_text())
    replace_file(made.world.folder / "client-ca.yaml", secret)
    with running(made.application, made.service, made.envoy):
        yield made


def test_shipped_envoy_holds(stage: Stage, curl: str, openssl: str) -> None:
    """Every probe, with nothing unproven."""
    done, verdicts = probed(stage, stage.envoy.port)
    assert (verdicts["way round"], verdicts["not proven"], done.code) == ({}, {}, 0)
    assert verdicts["held"]["HTTP/2 without one's certificate"].endswith("certificate_required")


def test_shipped_nginx_holds(nginx_prepared: NginxStage, curl: str, openssl: str) -> None:
    """Every probe, with nothing unproven."""
    done, verdicts = probed(nginx_prepared, nginx_prepared.nginx.port)
    assert (verdicts["way round"], verdicts["not proven"], done.code) == ({}, {}, 0)
    assert verdicts["held"]["no certificate"] == "refused: certificate_required"


@pytest.fixture(scope="module")
def nginx_prepared(nginx: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NginxStage]:
    """The demonstration before nginx, with a canary."""
    made = NginxStage(tmp_path_factory.mktemp("nginx-probed"))
    prepared(made)
    with running(made.application, made.service, made.nginx):
        yield made


def dialed(stage: Stage, port: int) -> tuple[Dialer, Clients]:
    """Who asks at a port, as the canary."""
    world = stage.world.folder
    clients = canary_clients(world / "canary")
    if clients.token is None:
        clients = replace(
            clients, token=(world / "good.token").read_text(), off_token=(world / "off.token").read_text()
        )
    target = Endpoint(HOST, port, address=("127.0.0.1", port), roots=world / "roots.pem")
    return Dialer(target, a_second=10_000), clients


def ways_round(stage: Stage, port: int) -> set[str]:
    """What gets through at a port, by the probes themselves."""
    dialer, clients = dialed(stage, port)
    results = [*run_probes(dialer, clients, lambda _ids: {}), early_data(dialer, clients)]
    results.append(http2(dialer, clients, lambda _ids: {}))
    return {each.probe for each in results if each.verdict is Verdict.WAY_ROUND}


class WeakEnvoy(SecondEnvoy):
    """With faults of `doctor_faults`."""

    def __init__(self, stage: Stage, folder: Path, *faults: str) -> None:
        super().__init__(stage, folder)
        text = self._config.read_text(encoding="utf-8")
        for fault in faults:
            text = changed(text, ENVOY_FAULTS[fault])
        self._config.write_text(text, encoding="utf-8")


def test_what_envoy_lets_arrive_is_named(stage: Stage, tmp_path: Path) -> None:
    """Each header that a weakened configuration no longer takes away, and no other."""
    weak = WeakEnvoy(stage, tmp_path, "envoy-underscores", "envoy-forwarded-host", "envoy-certificate-headers")
    with running(weak):
        found = ways_round(stage, weak.port)
    twins = {each for each in found if "with underscores" in each}
    names = {"x_authz_user", "x-forwarded-host", "x-ssl-cert", "x-ssl-client-cert"}
    assert found - twins == {f"{name} arrives" for name in names}
    assert len(twins) == len(IDENTITY_HEADERS)


UNASKED = {
    "no token",
    "an odd path",
    "no certificate",
    "another's certificate",
    "a certificate revoked",
    "a forged certificate header",
    "a forged payload",
    "a revoked one's session resumed",
}


def test_envoy_that_does_not_heed_the_answer_is_named(stage: Stage, tmp_path: Path, curl: str) -> None:
    """In shadow mode every refusal is let through."""
    weak = WeakEnvoy(stage, tmp_path, "envoy-check-shadow")
    with running(weak):
        assert ways_round(stage, weak.port) >= {*UNASKED, HTTP2}


def test_nginx_with_a_header_line_of_its_own_is_named(nginx_prepared: NginxStage, beside: Beside) -> None:
    """A location that sets one header has lost those that remove the others."""
    weak = beside(nginx_prepared, {OWN_PATH: "            proxy_set_header Host $host;\n"})
    found = ways_round(nginx_prepared, weak.nginx.port)
    assert found >= {f"{name} arrives" for name in ("x-authz-user", "x-authz-peer", "forwarded", "client-cert")}
    assert not found & UNASKED


EARLY = {"ssl_early_data off;": "ssl_early_data on;"}
SESSIONS = {"ssl_session_tickets off;": "ssl_session_tickets on;"}
OWN_PATH = "            # No path after the name, so that the application gets the path as the client wrote it.\n"


@pytest.mark.parametrize(
    ("changes", "verdict", "detail"),
    [
        pytest.param(EARLY | SESSIONS, Verdict.WAY_ROUND, "before the handshake ended: 200", id="on"),
        pytest.param(SESSIONS, Verdict.HELD, "sessions allow none", id="off"),
        pytest.param(EARLY, Verdict.NOT_PROVEN, "before the handshake ended: no", id="not-resumed"),
        pytest.param(
            EARLY | SESSIONS | {OWN_PATH: "            if ($ssl_early_data) { return 425; }\n"},
            Verdict.HELD,
            "before the handshake ended: 425",
            id="too-early",
        ),
    ],
)
def test_early_data_is_really_sent(
    nginx_prepared: NginxStage, beside: Beside, openssl: str, changes: dict[str, str], verdict: Verdict, detail: str
) -> None:
    """A good client's request is served before the handshake ended, unless it is answered 425."""
    result = early_data(*dialed(nginx_prepared, beside(nginx_prepared, changes).nginx.port))
    assert (result.verdict, detail in result.detail) == (verdict, True), result.detail


def test_early_data_without_a_good_client_is_not_proven(
    nginx_prepared: NginxStage, beside: Beside, openssl: str
) -> None:
    """Sessions allow it, and what is refused shows nothing of what would be served."""
    dialer, _ = dialed(nginx_prepared, beside(nginx_prepared, EARLY | SESSIONS).nginx.port)
    result = early_data(dialer, Clients())
    assert (result.verdict, "sessions allow 16384 bytes" in result.detail) == (Verdict.NOT_PROVEN, True)


LOGIN = {
    "error_page 401 403 @refused;": "error_page 401 403 =302 https://login.example/;",
}


def test_redirect_to_the_login_is_no_way_round(nginx_prepared: NginxStage, beside: Beside, curl: str) -> None:
    """The canary's application is an echo, which redirects to nowhere."""
    assert not ways_round(nginx_prepared, beside(nginx_prepared, LOGIN).nginx.port)


def test_nginx_that_does_not_ask_is_named(nginx_prepared: NginxStage, beside: Beside) -> None:
    """Whatever is shown; it resumes no session, so that there is no session to take up."""
    weak = beside(nginx_prepared, {"auth_request /_authz;": "auth_request off;"})
    assert ways_round(nginx_prepared, weak.nginx.port) >= UNASKED - {"a revoked one's session resumed"}


def test_canary_that_the_proxy_does_not_know_proves_nothing(stage: Stage, tmp_path: Path) -> None:
    """Whose CA is not in Envoy's bundle is refused for that, whatever else is wrong."""
    replace_file(stage.world.folder / "client-ca.yaml", sds_secret(stage.world.bundle))
    weak = WeakEnvoy(stage, tmp_path)
    with running(weak):
        done, verdicts = probed(stage, weak.port)
    assert done.code == 1
    assert not verdicts["way round"]
    assert verdicts["not proven"].keys() >= {"one's own certificate", "a certificate revoked", "x-authz-user arrives"}
    assert not verdicts["held"]


def test_real_user_stands_in_for_the_canary(stage: Stage, tmp_path: Path) -> None:
    """What needs another of that CA's certificates is not proven; ports that answer alone are named."""
    world = stage.world.folder
    (tmp_path / "token").write_text(stage.token("alice"), encoding="ascii")
    (tmp_path / "off-token").write_text(stage.token("olga"), encoding="ascii")
    off = ("--off-token", str(tmp_path / "off-token"), "--token", str(tmp_path / "token"))
    own = (*off, "--cert", str(world / "alice.pem"), "--key", str(world / "alice.key"))
    ports = ("--application", f"http://127.0.0.1:{stage.application.port}/", "--service", f"unix:{stage.world.socket}")
    place = ("--roots", str(world / "roots.pem"), "--connect", f"127.0.0.1:{stage.envoy.port}")
    done = authz(*where(stage), "doctor", "probe", "https://acme.example.test/", *own, *ports, *place, "--json")
    verdicts = {each["probe"]: each["verdict"] for each in json.loads(done.out)["probes"]}
    assert done.code == 1
    assert [name for name, verdict in verdicts.items() if verdict == "way round"] == [
        f"the application's own port (127.0.0.1:{stage.application.port})"
    ]
    assert verdicts["a certificate revoked"] == verdicts["another's certificate"] == "not proven"
    assert verdicts["no certificate"] == verdicts["a forged certificate header"] == "held"
    for name in ("foreign", "self-signed"):
        assert verdicts[f"a certificate {name}"] == verdicts[f"a certificate {name} in place of one's own"] == "held"
    assert verdicts[f"the service's own port (unix:{stage.world.socket})"] == "held"
