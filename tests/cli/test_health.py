"""`authz doctor`: the service's own health, on a directory as the command sets it up."""

from __future__ import annotations

import contextlib
import os
import shutil
import ssl
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from support.certificates import Authority, chain_pem
from support.command_world import ALICE, CA, CRL_LIFE, HOST, LIFE, NOW, ROOT, authz, write

from authz.cli import health
from authz.clock import SystemClock
from authz.envoy_sds import request_level_secret, sds_secret

OTHER = Authority.root("Other", **LIFE)


@pytest.fixture(autouse=True)
def _well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, well_folder: Path) -> None:
    """An organization whose one user's certificate works; the machine's clock is not what is tried."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTHZ_DATABASE", "sqlite:///authz.db")
    monkeypatch.setattr(health, "clock_synchronized", lambda: True)
    shutil.copytree(well_folder, tmp_path, dirs_exist_ok=True)


@pytest.fixture(scope="module")
def well_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with such a directory, and the files that it was made of."""
    folder = tmp_path_factory.mktemp("well")
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patched:
        patched.setenv("AUTHZ_DATABASE", "sqlite:///authz.db")
        fill()
    return folder


def fill() -> None:
    """Set the organization up."""
    for words in (
        ("db", "init"),
        ("org", "add", "acme", "--host", HOST),
        ("anchor", "add", "acme", write("root.pem", ROOT.pem)),
        ("intermediate", "add", "acme", write("ca.pem", CA.pem)),
        ("user", "add", "acme", "alice", "--enforcement", "required"),
        ("cert", "add", "acme", write("alice.pem", chain_pem(ALICE, CA)), "--user", "alice"),
        ("crl", "add", write("root.crl", ROOT.crl(**CRL_LIFE))),
        ("crl", "add", write("ca.crl", CA.crl(**CRL_LIFE))),
    ):
        assert authz(*words).code == 0, words


def found(*words: str) -> dict[str, str]:
    """What each check finds, and that the exit code says so."""
    done = authz("doctor", "--json", *words)
    assert isinstance(done.data, list)
    assert done.code == (1 if done.data else 0)
    return {row["check"]: row["what"] for row in done.data}


@pytest.mark.slow
def test_well_service_exits_0() -> None:
    """And says so."""
    done = authz("doctor")
    assert (done.code, done.out, done.err) == (0, "", "well\n")


def test_clock_that_nothing_sets_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the kernel's word."""
    monkeypatch.setattr(health, "clock_synchronized", lambda: False)
    assert "not synchronized" in found()["clock"]


def test_clock_that_went_back_is_found() -> None:
    """The directory was written later than now."""
    later = time.time() + 3_600
    os.utime("authz.db", (later, later))
    assert "went back" in found()["clock"]


def at(monkeypatch: pytest.MonkeyPatch, moment: datetime) -> None:
    """The machine's clock says so."""
    monkeypatch.setattr(SystemClock, "now", lambda _clock: moment)


def test_crl_of_later_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock was set back since it was added."""
    at(monkeypatch, NOW - timedelta(hours=3))
    assert "is to come" in authz("doctor").out


@pytest.mark.slow
def test_rights_of_others_are_found() -> None:
    """To the directory, a key, a socket."""
    Path("authz.db").chmod(0o644)
    assert "authz.db" in found()["rights"]
    Path("authz.db").chmod(0o600)
    for name in ("server.key", "authz.sock"):
        Path(name).touch(mode=0o600)
    settings = (
        '[[listener]]\nname = "a"\naddress = "unix:authz.sock"\n[[listener]]\nname = "b"\naddress = "10.0.0.1:1"\n'
        '[listener.tls]\ncertificate = "c"\nkey = "server.key"\nclient_ca = "ca"\nnames = ["proxy.test"]\n'
    )
    config = write("authz.toml", settings)
    assert authz("--config", config, "doctor").code == 0
    for name in ("server.key", "authz.sock"):
        Path(name).chmod(0o666)
    done = authz("--config", config, "doctor")
    assert done.code == 1
    assert "server.key" in done.out
    assert "authz.sock" in done.out


def ops(section: str) -> str:
    """What is found with this section `ops`."""
    return authz("--config", write("authz.toml", f"[ops]\n{section}"), "doctor").out


def test_operators_pages_in_plain_text_are_found() -> None:
    """Beyond loopback they tell every client the names of tenants."""
    assert "every client of 0.0.0.0:9901 reads" in ops('address = "0.0.0.0:9901"\nunsafe_plaintext = true\n')


@pytest.mark.slow
def test_operators_listener_with_tls_is_judged_by_its_key_and_its_probes() -> None:
    """The key's rights; and an orchestrator must be able to ask without a certificate."""
    tls = '[ops.tls]\ncertificate = "c"\nkey = "ops.key"\nclient_ca = "ca"\nnames = ["prometheus.test"]\n'
    Path("ops.key").touch(mode=0o600)
    assert ops(f'health_probe_address = "127.0.0.1:0"\n{tls}') == ""
    assert "probes have no listener" in ops(tls)
    Path("ops.key").chmod(0o640)
    assert "the key of the operators' listener (ops.key) is open to others" in ops(tls)


def test_old_cryptography_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its version."""
    monkeypatch.setattr(health, "cryptography_version", "49.0.0")
    assert "cryptography 49.0.0" in found()["versions"]


@pytest.mark.slow
def test_organization_without_anchor_is_found() -> None:
    """Nothing verifies there; a shared anchor is one."""
    assert authz("org", "add", "empty", "--host", "empty.test").code == 0
    assert "empty has no trust anchor" in found()["directory"]
    assert authz("anchor", "add", "--shared", write("other.pem", OTHER.pem)).code == 0
    assert found() == {}


def test_certificate_that_stopped_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the CRL that is not current any more."""
    at(monkeypatch, NOW + timedelta(days=2))
    assert "1 registered certificates of acme do not work now" in found()["certificates"]


def test_public_root_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Among the machine's own."""
    context = ssl.create_default_context(cadata=ROOT.pem)
    monkeypatch.setattr(ssl, "create_default_context", lambda: context)
    assert "CN=Root is a public root" in found()["anchors"]


@pytest.mark.slow
@pytest.mark.parametrize("form", [str, sds_secret])
def test_bundle_of_the_proxy_is_compared(form: object) -> None:
    """As PEM and as a secret: what it lacks, and what it has besides."""
    assert callable(form)
    assert found("--bundle", write("bundle", form(ROOT.pem))) == {}
    both = authz("doctor", "--bundle", write("bundle", form(OTHER.pem)))
    assert both.code == 1
    assert "the proxy does not trust CN=Root" in both.out
    assert "the proxy trusts CN=Other" in both.out


@pytest.mark.slow
def test_what_cannot_be_read_exits_2() -> None:
    """A bundle without anchors, settings that are none, a directory that is not there: it is not made."""
    for text in (request_level_secret(), "{}", "{", "no PEM"):
        assert authz("doctor", "--bundle", write("bundle", text)).code == 2
    assert authz("doctor", "--bundle", "missing").code == 2
    assert authz("--config", "missing.toml", "doctor").code == 2
    Path("authz.db").unlink()
    assert authz("doctor").code == 2
    assert not Path("authz.db").exists()
