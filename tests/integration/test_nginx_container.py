"""The same facts with the nginx of a container, which is another version: 1.26, where Debian 12 has 1.22."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator

import pytest
from support.nginx_stage import Nginx, NginxStage
from support.requirements import docker_found, need
from test_nginx_bypasses import (  # noqa: F401 - the tests, and their fixture
    opened,
    test_way_round_the_check_is_closed_as_shipped,
    test_way_round_the_check_is_one_where_it_is_written_in,
)
from test_nginx_connections import (  # noqa: F401 - the tests, and their fixtures
    open_store,
    test_certificate_beyond_the_limit_is_refused_with_a_reason,
    test_certificate_request_has_an_empty_ca_list,
    test_certificate_revoked_open_connection_is_denied_within_the_bound,
    test_certificate_with_many_names_is_allowed,
    test_expired_certificate_is_refused_by_nginx_with_the_public_code,
    test_refusal_tells_the_client_the_public_code_only,
    test_registration_retired_open_connection_is_denied_within_the_bound,
    test_resumed_session_is_still_checked,
    test_service_paused_is_500,
    test_service_stopped_is_500_and_recovers,
    test_session_is_not_resumed,
    test_shipped_configuration_validates_without_a_warning,
    test_tls_version_is_checked_alike,
)
from test_nginx_rows import *  # noqa: F403 - likewise
from test_nginx_spoofing import *  # noqa: F403 - likewise

from authz.demo.processes import running

pytestmark = [pytest.mark.docker, pytest.mark.nginx]
IMAGE = os.environ.get("NGINX_IMAGE", "nginx:1.26")


class ContainerNginx(Nginx):
    """nginx in a container that has the machine's network and the world's folder, and nothing else of either."""

    @property
    def _name(self) -> str:
        return f"authz-test-nginx-{self.port}"

    @property
    def command(self) -> list[str]:
        """How it is started."""
        # By its name only where it stays: `-t` beside it is another.
        named = [] if self.process is not None else ["--name", self._name]
        volume = f"{self._world}:{self._world}"
        local = super().command[1:]
        return ["docker", "run", "--rm", "--network=host", *named, "--volume", volume, IMAGE, "nginx", *local]

    def _master(self) -> int:
        command = ["docker", "inspect", "--format", "{{.State.Pid}}", self._name]
        return int(subprocess.run(command, check=True, capture_output=True).stdout)

    def stop(self) -> None:
        """Stop it."""
        subprocess.run(["docker", "rm", "--force", self._name], check=False, capture_output=True)
        super().stop()


class ContainerStage(NginxStage):
    """The world behind it."""

    kind = ContainerNginx


@pytest.fixture(scope="session")
def image() -> str:
    """The image's name, where there is docker."""
    need("docker", found=docker_found())
    return IMAGE


@pytest.fixture(scope="module")
def nginx_stage(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContainerStage]:
    """The demonstration's world behind it; tests that change it use `restored_nginx_stage`."""
    made = ContainerStage(tmp_path_factory.mktemp("nginx-container"))
    with running(made.application, made.service, made.nginx):
        yield made


@pytest.fixture(scope="module")
def restored_nginx_stage(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContainerStage]:
    """Another such world, for tests that change it and put it right again."""
    made = ContainerStage(tmp_path_factory.mktemp("restored-nginx-container"))
    with running(made.application, made.service, made.nginx):
        yield made


def test_version_is_another_than_debians(image: str) -> None:
    """1.26 or later."""
    told = subprocess.run(["docker", "run", "--rm", image, "nginx", "-v"], check=True, capture_output=True, text=True)
    (version,) = re.findall(r"nginx/1\.(\d+)", told.stderr)
    assert int(version) >= 26
