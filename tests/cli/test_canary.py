"""The canary of `authz doctor prepare`: what is made, for how long, and how it goes again."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from support.command_world import CANARY_HOST, authz, prepare_canary
from support.directory import DirectoryStore

from authz.admin.canary import CANARY
from authz.cli import canary as making
from authz.cli.canary import CanaryPlan, impostors, prepare
from authz.doctor.probe.dialing import Shown
from authz.errors import ConfigError
from authz.model import Enforcement

pytestmark = pytest.mark.usefixtures("own_folder")
DATABASE = "sqlite:///authz.db"


def test_canary_ends_after_an_hour() -> None:
    """Its certificates, its CA, its CRL and its registrations."""
    folder = prepare_canary()
    latest = datetime.now(UTC) + timedelta(hours=1, seconds=1)
    for path in folder.glob("*.pem"):
        for each in x509.load_pem_x509_certificates(path.read_bytes()):
            assert each.not_valid_after_utc <= latest, path
    with closing(DirectoryStore(DATABASE)) as store:
        held = store.registrations(CANARY)
        assert len(held) == 4
        assert all(until is not None and until <= latest for until in (each.registration.valid_until for each in held))
        (stored,) = store.crls()
        assert stored.crl.next_update is not None
        assert stored.crl.next_update <= latest


def test_keys_and_tokens_are_for_their_owner_alone() -> None:
    """From their birth on; the CA's and the issuer's keys are written nowhere."""
    folder = prepare_canary()
    secrets = [*folder.glob("*.key"), *folder.glob("*.token")]
    assert {path.stat().st_mode & 0o777 for path in secrets} == {0o600}
    assert {path.stem for path in folder.glob("*.key")} == set(making.PARTIES)
    assert '"d"' not in (folder / "jwks.json").read_text()


def test_no_anchor_is_shared() -> None:
    """The canary's CA speaks for the canary only, and its other users need no exemption elsewhere."""
    prepare_canary()
    with closing(DirectoryStore(DATABASE)) as store:
        assert {each.organization for each in store.anchors()} == {CANARY}
        users = {each.name: each.enforcement for each in store.users(CANARY)}
    required = Enforcement.REQUIRED
    assert users == {"canary": required, "canary-other": required, "canary-off": Enforcement.OFF}


def test_remove_leaves_nothing() -> None:
    """Neither in the directory nor on the disk; to do it again is no error."""
    prepare_canary()
    for _ in range(2):
        assert authz("doctor", "prepare", "canary", "--remove").code == 0
    with closing(DirectoryStore(DATABASE)) as store:
        assert (store.organizations(), store.anchors(), store.crls(), store.registrations()) == ([], [], [], [])
    assert not Path("canary").exists()


def test_remove_takes_nothing_of_others() -> None:
    """A folder that is not the canary's stays, and so does what somebody put into one that is."""
    Path("mine").mkdir()
    Path("mine/good.pem").write_text("mine")
    assert authz("doctor", "prepare", "mine", "--remove").code == 1
    assert Path("mine/good.pem").read_text() == "mine"
    (prepare_canary() / "notes.txt").write_text("mine")
    done = authz("doctor", "prepare", "canary", "--remove")
    assert (done.code, Path("canary/notes.txt").read_text()) == (1, "mine")
    assert not list(Path("canary").glob("*.key"))


def test_canary_is_made_wholly_or_not_at_all() -> None:
    """A host that is taken leaves neither folder nor organization."""
    authz("org", "add", "acme", "--host", CANARY_HOST)
    assert authz("doctor", "prepare", "canary", "--host", CANARY_HOST).code == 1
    assert not Path("canary").exists()
    with closing(DirectoryStore(DATABASE)) as store:
        assert [each.name for each in store.organizations()] == ["acme"]


def test_second_canary_and_existing_folder_are_refused() -> None:
    """What is there stays as it is."""
    folder = prepare_canary()
    assert authz("doctor", "prepare", "other", "--host", "other.example").code == 1
    assert not Path("other").exists()
    with closing(DirectoryStore(DATABASE)) as store:
        store.remove_organization(CANARY)
        with pytest.raises(ConfigError, match="cannot be made"):
            prepare(store, CanaryPlan(CANARY_HOST, folder))
    assert (folder / "good.key").exists()


def test_impostors_say_what_the_real_certificate_says() -> None:
    """Names, serial number, dates and uses; the keys and the signatures are others."""
    folder = prepare_canary()
    own = Shown(folder / "good.pem", folder / "good.key")
    real = x509.load_der_x509_certificate(own.der)
    made = {name: x509.load_der_x509_certificate(each.der) for name, each in impostors(own, Path()).items()}
    assert made["foreign"].issuer == real.issuer
    assert made["self-signed"].issuer == real.subject
    for each in made.values():
        assert (each.subject, each.serial_number) == (real.subject, real.serial_number)
        assert each.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert each.public_key() != real.public_key()
    root = x509.load_pem_x509_certificate((folder / "root.pem").read_bytes())
    with pytest.raises(InvalidSignature):
        made["foreign"].verify_directly_issued_by(root)
