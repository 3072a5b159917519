"""`authz doctor prepare` and `probe`, as an operator types them."""

from __future__ import annotations

import json
import socket
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from support.command_world import authz
from support.directory import new_store

from authz.admin.canary import CANARY
from authz.cli import canary as making
from authz.cli import run
from authz.cli.canary import CanaryPlan, prepare
from authz.directory import Store
from authz.errors import ConfigError, StoreError
from authz.model import Enforcement

HOST = "canary.acme.example"
DATABASE = "sqlite:///authz.db"


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AUTHZ_DATABASE", raising=False)
    new_store(DATABASE).close()


def prepared(*options: str) -> Path:
    """A canary's folder."""
    done = authz("doctor", "prepare", "canary", "--host", HOST, *options)
    assert done.code == 0, done.err
    return Path("canary")


def test_canary_ends_after_an_hour() -> None:
    """Its certificates, its CA, its CRL and its registrations."""
    folder = prepared()
    latest = datetime.now(UTC) + timedelta(hours=1, seconds=1)
    for path in folder.glob("*.pem"):
        for each in x509.load_pem_x509_certificates(path.read_bytes()):
            assert each.not_valid_after_utc <= latest, path
    with closing(Store(DATABASE)) as store:
        held = store.registrations(CANARY)
        assert len(held) == 4
        assert all(until is not None and until <= latest for until in (each.registration.valid_until for each in held))
        (stored,) = store.crls()
        assert stored.crl.next_update is not None
        assert stored.crl.next_update <= latest


def test_keys_and_tokens_are_for_their_owner_alone() -> None:
    """From their birth on; the CA's and the issuer's keys are written nowhere."""
    folder = prepared()
    secrets = [*folder.glob("*.key"), *folder.glob("*.token")]
    assert {path.stat().st_mode & 0o777 for path in secrets} == {0o600}
    assert {path.stem for path in folder.glob("*.key")} == set(making.PARTIES)
    assert '"d"' not in (folder / "jwks.json").read_text()


def test_no_anchor_is_shared() -> None:
    """The canary's CA speaks for the canary only, and its other users need no exemption elsewhere."""
    prepared()
    with closing(Store(DATABASE)) as store:
        assert {each.organization for each in store.anchors()} == {CANARY}
        users = {each.name: each.enforcement for each in store.users(CANARY)}
    required = Enforcement.REQUIRED
    assert users == {"canary": required, "canary-other": required, "canary-off": Enforcement.OFF}


def test_remove_leaves_nothing() -> None:
    """Neither in the directory nor on the disk; to do it again is no error."""
    prepared()
    for _ in range(2):
        assert authz("doctor", "prepare", "canary", "--remove").code == 0
    with closing(Store(DATABASE)) as store:
        assert (store.organizations(), store.anchors(), store.crls(), store.registrations()) == ([], [], [], [])
    assert not Path("canary").exists()


def test_remove_takes_nothing_of_others() -> None:
    """A folder that is not the canary's stays, and so does what somebody put into one that is."""
    Path("mine").mkdir()
    Path("mine/good.pem").write_text("mine")
    assert authz("doctor", "prepare", "mine", "--remove").code == 1
    assert Path("mine/good.pem").read_text() == "mine"
    (prepared() / "notes.txt").write_text("mine")
    done = authz("doctor", "prepare", "canary", "--remove")
    assert (done.code, Path("canary/notes.txt").read_text()) == (1, "mine")
    assert not list(Path("canary").glob("*.key"))


def test_canary_is_made_wholly_or_not_at_all() -> None:
    """A host that is taken leaves neither folder nor organization."""
    authz("org", "add", "acme", "--host", HOST)
    assert authz("doctor", "prepare", "canary", "--host", HOST).code == 1
    assert not Path("canary").exists()
    with closing(Store(DATABASE)) as store:
        assert [each.name for each in store.organizations()] == ["acme"]


def test_second_canary_and_existing_folder_are_refused() -> None:
    """What is there stays as it is."""
    folder = prepared()
    assert authz("doctor", "prepare", "other", "--host", "other.example").code == 1
    assert not Path("other").exists()
    with closing(Store(DATABASE)) as store:
        store.remove_organization(CANARY)
        with pytest.raises(ConfigError, match="cannot be made"):
            prepare(store, CanaryPlan(HOST, folder))
    assert (folder / "good.key").exists()


def test_serve_warns_of_a_left_over_canary(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """At its start, and only then; a directory that cannot be read is the service's to report."""
    said: list[str] = []
    monkeypatch.setattr(run, "run_service", lambda *_: None)
    monkeypatch.setattr(run.Telemetry, "warn", lambda _self, message: said.append(message))
    assert authz("serve").code == 0
    prepared()
    assert (authz("serve").code, len(said)) == (0, 1)
    assert CANARY in said[0]
    monkeypatch.setattr(run, "is_left_over", lambda _store: (_ for _ in ()).throw(StoreError("no", hint="")))
    assert (authz("serve").code, len(said)) == (0, 1)


def test_doctor_names_a_left_over_canary() -> None:
    """Beside what else is not well."""
    prepared()
    done = authz("doctor", "--json")
    assert any(CANARY in row["what"] for row in json.loads(done.out))


@pytest.mark.parametrize(
    "words",
    [
        ("http://a.example/",),
        ("https:///",),
        ("https://a.example/?q=1",),
        ("https://a.example/a b",),
        ("https://a.example/\r\nx: y",),
        ('https://a.example/"',),
        ("https://a.example/", "--token", "spaced.token"),
        ("https://u@a.example/",),
        ("https://a.example:x/",),
        ("https://a.example/", "--canary", "nowhere"),
        ("https://a.example/", "--cert", "a.pem"),
        ("https://a.example/", "--token", "nowhere"),
        ("https://a.example/", "--connect", "127.0.0.1:no"),
        ("https://a.example/", "--connect", "127.0.0.1:1"),
        ("https://a.example/", "--service", "nonsense", "--connect", "127.0.0.1:1"),
    ],
)
def test_what_cannot_be_tried_exits_2(words: tuple[str, ...]) -> None:
    """And nothing is printed on stdout, which a program might take for an answer."""
    Path("spaced.token").write_text("a\nb")
    done = authz("doctor", "probe", *words)
    assert (done.code, done.out) == (2, "")


def test_port_without_tls_is_a_way_round(canary_port: int) -> None:
    """Not something that could not be reached."""
    done = authz("doctor", "probe", f"https://127.0.0.1:{canary_port}/", "--echo", str(canary_port), "--json")
    assert done.code == 1
    assert [each["probe"] for each in json.loads(done.out)["probes"]] == ["no TLS"]


@pytest.fixture
def canary_port() -> int:
    """A free port."""
    with closing(socket.create_server(("127.0.0.1", 0))) as held:
        return int(held.getsockname()[1])
