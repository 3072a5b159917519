"""From settings to the keeper of CRLs: where from, how often, what is let pass."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from io import BytesIO
from ipaddress import ip_network
from pathlib import Path

import pytest
from support.certificates import Authority
from support.directory import new_store

from authz.app.config import Settings, parse_settings
from authz.app.crls import CrlSnapshot, RefreshedCrls, folder_of, rules_of
from authz.clock import SystemClock
from authz.directory import DirectoryReader
from authz.errors import ConfigError
from authz.model import Organization
from authz.pki import HARD_FAIL, Certificate, Crl, CrlStore, RevocationMode
from authz.pki.x509.distinguished_name import Name
from authz.telemetry import Telemetry

CA = Authority.root("CA")
ACME = Organization(1, "acme", ())


def settings(**crl: object) -> Settings:
    """Settings of the section `crl`."""
    return parse_settings({"crl": crl}, origin="test")


def test_nothing_is_let_pass_by_default() -> None:
    """And points are asked, of public addresses only."""
    made = settings()
    rules = rules_of(made)
    assert rules.hard
    assert rules.points
    assert made.crl.networks == ()


def test_copies_stand_beside_the_database_unless_set_otherwise(tmp_path: Path) -> None:
    """One service, one folder."""
    database = f"sqlite:///{tmp_path / 'a.db'}"
    assert folder_of(Settings(database=database)) == tmp_path / "a.crls"
    assert folder_of(settings(folder="/var/lib/authz/crls")) == Path("/var/lib/authz/crls")


def test_folder_is_named_where_the_directory_is_no_file() -> None:
    """Copies are each machine's own, and the directory is not on it."""
    made = Settings(database="postgresql://localhost/a")
    with pytest.raises(ConfigError, match=r"crl\.folder") as caught:
        folder_of(made)
    assert "folder" in caught.value.hint
    named = made.model_copy(update={"crl": settings(folder="/crls").crl})
    assert folder_of(named) == Path("/crls")


def test_exception_is_for_the_name_however_it_is_written() -> None:
    """As RFC 5280 compares names; the most precise exception counts."""
    exceptions = [
        {"issuer": "CN=ca", "grace": "12h"},
        {"issuer": "CN=CA", "organization": "acme", "unsafe_soft_fail": True},
        {"organization": "acme", "grace": "1d"},
    ]
    rules = rules_of(settings(exception=exceptions))
    name = Name(CA.certificate.subject)
    assert rules.of(name, "globex") == RevocationMode(timedelta(hours=12))
    assert rules.of(name, "acme") == RevocationMode(soft=True)
    assert rules.of(Name(Authority.root("Other").certificate.subject), "acme") == RevocationMode(timedelta(days=1))
    assert rules.of(Name(Authority.root("Other").certificate.subject), "globex") == HARD_FAIL


@pytest.mark.parametrize(("written", "meant"), [("90s", 90), ("15m", 900), ("12h", 43_200), ("2d", 172_800)])
def test_time_is_written_with_its_unit(written: str, meant: int) -> None:
    """So that minutes are not taken for seconds."""
    assert settings(grace=written).crl.grace == timedelta(seconds=meant)


@pytest.mark.parametrize(
    "crl",
    [
        {"grace": "12"},
        {"grace": 12},
        {"grace": "-1h"},
        {"grace": "h"},
        {"networks": ["10.0.0.1/8"]},
        {"exception": [{"issuer": "not a name"}]},
        {"soft_fail": True},
        {"first_fetch_wait_seconds": 5},
        {"max_bytes": 1 << 40},
    ],
)
def test_setting_that_means_nothing_refuses_the_start(crl: dict[str, object]) -> None:
    """With the setting's name, and never silently something else."""
    with pytest.raises(ConfigError, match="crl"):
        settings(**crl)


def test_intervals_out_of_order_refuse_the_start() -> None:
    """A floor above the ceiling."""
    with pytest.raises(ConfigError, match="intervals"):
        rules_of(settings(min_interval="1h", max_interval="1m"))


def test_networks_are_read_as_networks() -> None:
    """Those that are allowed though they are not public."""
    assert settings(networks=["127.0.0.0/8", "fd00::/8"]).crl.networks == (
        ip_network("127.0.0.0/8"),
        ip_network("fd00::/8"),
    )


def test_command_exempts_as_the_service_does(tmp_path: Path) -> None:
    """By the same rules; and it asks no source."""
    database = f"sqlite:///{tmp_path / 'a.db'}"
    hard = CrlSnapshot(Settings(database=database), CrlStore())
    assert hard.mode_of(ACME) is None
    soft = parse_settings({"database": database, "crl": {"unsafe_soft_fail": True}}, origin="test")
    mode_of = CrlSnapshot(soft, CrlStore()).mode_of(ACME)
    assert mode_of is not None
    assert mode_of(Certificate.parse(CA.der)).soft
    hard.request_crls(ACME, ())
    hard.directory_read(1)


async def test_crl_of_the_gateways_ca_is_kept(tmp_path: Path) -> None:
    """It is no organization's: the operator named it among a listener's hops."""
    now = datetime.now(UTC)
    gateways = Authority.root("Gateways", not_before=now - timedelta(days=1), not_after=now + timedelta(days=1))
    anchors, file = tmp_path / "gateways.pem", tmp_path / "gateways.crl"
    anchors.write_text(gateways.pem)
    file.write_bytes(gateways.crl(this_update=now - timedelta(hours=1), next_update=now + timedelta(hours=1)))
    hops = [{"anchors": str(anchors), "names": ["gateway"]}]
    values = {
        "database": f"sqlite:///{tmp_path}/a.db",
        "listener": [{"trusted_proxies": hops}],
        "crl": {"files": [str(file)]},
    }
    made = parse_settings(values, origin="test")
    new_store(made.database).close()
    kept = RefreshedCrls(made, SystemClock(), Telemetry(BytesIO()))
    directory = DirectoryReader(made.database, kept.view, monotonic=time.monotonic, warn=print)
    await directory.start()
    await kept.start(directory)
    try:
        async with asyncio.timeout(60):
            while not [one.issuer.text for one in kept.view.crls()]:
                await asyncio.sleep(0.01)
    finally:
        await kept.close()
        await directory.close()


def test_command_reads_the_copies_of_an_issuer_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the others the beginning, where the name is; one that names none is read and passed over."""
    made = parse_settings({"database": f"sqlite:///{tmp_path / 'a.db'}"}, origin="test")
    folder, roots = folder_of(made), [Authority.root(f"root {number}") for number in range(2)]
    folder.mkdir()
    for number, root in enumerate(roots):
        (folder / f"{number}.crl").write_bytes(root.crl())
    (folder / "none.crl").write_bytes(b"no CRL")
    read, read_bytes = [], Path.read_bytes

    def noting(path: Path) -> bytes:
        read.append(path.name)
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", noting)
    crls = CrlSnapshot(made, CrlStore([Crl(roots[1].crl())])).crls()
    assert read == ["none.crl"]
    assert len(crls.under(Crl(roots[0].crl()).issuer) or ()) == 1
    assert read == ["none.crl", "0.crl"]
    assert len(crls.under(Crl(roots[1].crl()).issuer) or ()) == 2
