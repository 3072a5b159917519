"""`authz serve`, as far as the command does it."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from support.command_world import Done, authz, prepare_canary, write

from authz.admin.canary import CANARY
from authz.cli import run
from authz.errors import StoreError
from authz.supervision.binary_upgrade import VERSION, VERSION_VARIABLE

pytestmark = pytest.mark.usefixtures("own_folder")


def test_serve_warns_of_a_left_over_canary(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """At its start, and only then; a directory that cannot be read is the service's to report."""
    said: list[str] = []
    monkeypatch.setattr(run, "run_service", lambda *_: None)
    monkeypatch.setattr(run.Telemetry, "warn", lambda _self, message: said.append(message))
    assert authz("serve").code == 0
    prepare_canary()
    assert (authz("serve").code, len(said)) == (0, 1)
    assert CANARY in said[0]
    monkeypatch.setattr(run, "is_left_over", lambda _store: (_ for _ in ()).throw(StoreError("no", hint="")))
    assert (authz("serve").code, len(said)) == (0, 1)


KEYS = {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}


def checked(more: str = "", *options: str) -> Done:
    """What `serve --check` says of settings whose sockets can be opened, and these."""
    settings = f'[ops]\naddress = "127.0.0.1:0"\n[[listener]]\naddress = "unix:s.sock"\n{more}'
    return authz("--config", write("authz.toml", settings), "serve", "--check", *options)


def test_check_names_everything_that_was_checked() -> None:
    """And leaves no socket."""
    done = checked()
    assert done.code == 0, done.err
    for name in ("listener envoy", "addresses", "folder of CRLs", "directory", "socket of ops", "socket of envoy"):
        assert name in done.out
    assert not Path("s.sock").exists()


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ('[[listener]]\nname = "b"\naddress = "unix:no/such/folder/s.sock"\n', "make the socket's folder"),
        ('[[listener]]\nname = "b"\naddress = "192.0.2.1:1"\nunsafe_plaintext = true\n', "an address of this machine"),
        (
            '[[listener]]\nname = "b"\naddress = "127.0.0.1:0"\n'
            '[listener.tls]\ncertificate = "no.pem"\nkey = "no.key"\nclient_ca = "ca.pem"\nnames = ["p"]\n',
            "no.pem",
        ),
        ('[crl]\nfolder = "authz.db"\n', "authz.db"),
        ('[crl]\nca_file = "no.pem"\n', "no.pem"),
    ],
)
def test_check_fails_where_a_start_would(more: str, problem: str) -> None:
    """And says what to do."""
    done = checked(more)
    assert (done.code, done.out) == (1, "")
    assert problem in done.err
    assert "Traceback" not in done.err


def test_check_fails_while_another_process_has_an_address() -> None:
    """Unless it is to be the running service."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        more = f'[[listener]]\nname = "b"\naddress = "127.0.0.1:{other.getsockname()[1]}"\n'
        done = checked(more)
        assert (done.code, "already in use" in done.err, "--check --running" in done.err) == (1, True, True)
        assert checked(more, "--running").code == 0
    assert authz("serve", "--running").code == 2


def test_version_that_is_tried_opens_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """The version that tries it has them, and no tenant's key set may keep the service from changing."""
    monkeypatch.setenv(VERSION_VARIABLE, str(VERSION))
    monkeypatch.setattr(run, "check_sockets", lambda _settings: pytest.fail("it opens sockets"))
    monkeypatch.setattr(run, "_key_sets", lambda _settings: pytest.fail("it reads key sets"))
    assert checked().code == 0


def test_check_reads_the_key_sets_of_organizations() -> None:
    """One in a file must be usable; one behind a URL is its tenant's, and is reported."""
    location = Path(write("jwks.json", json.dumps(KEYS))).absolute()
    assert authz("org", "add", "acme", "--keys", str(location)).code == 0
    assert authz("org", "add", "remote", "--keys", "http://127.0.0.1:1/keys").code == 0
    done = checked()
    assert (done.code, "key set of acme" in done.out, "cannot be used now" in done.out) == (0, True, True)
    location.write_text('{"keys": []}')
    done = checked()
    assert (done.code, "the list is empty" in done.err, "authz org show acme" in done.err) == (1, True, True)


def test_variables_of_kubernetes_are_one_line_of_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the start; a variable that is mistyped is an error."""
    said: list[tuple[str, object]] = []
    monkeypatch.setattr(run, "run_service", lambda *_: None)
    monkeypatch.setattr(run.Telemetry, "say", lambda _self, event, **fields: said.append((event, fields)))
    monkeypatch.setenv("AUTHZ_PORT", "tcp://10.0.0.1:9901")
    monkeypatch.setenv("AUTHZ_SERVICE_HOST", "10.0.0.1")
    assert authz("serve").code == 0
    assert said == [("variables_passed_over", {"variables": ["AUTHZ_PORT", "AUTHZ_SERVICE_HOST"]})]
    done = checked()
    assert (done.code, "AUTHZ_PORT, AUTHZ_SERVICE_HOST" in done.out) == (0, True)
    monkeypatch.setenv("AUTHZ_OPS_ADDRESS", "127.0.0.1:1")
    done = authz("serve")
    assert (done.code, "AUTHZ_OPS__ADDRESS does" in done.err) == (1, True)
