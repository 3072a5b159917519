"""Only a proxy reaches the application, and only a proxy the service; the image needs neither root nor shell."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Iterator

import pytest
from support.compose_stage import FRONTS, INSTANCES, ComposeStage, run, wait_until

pytestmark = pytest.mark.docker

CONNECT = """
import socket, sys
try:
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), 3) as it:
        it.sendall(b"GET / HTTP/1.1\\r\\nhost: x\\r\\nconnection: close\\r\\n\\r\\n")
        print("reached", it.recv(100))
except OSError as error:
    print("not reached", error)
"""


def address(stage: ComposeStage, service: str) -> str:
    """The address of a service's container in its one network."""
    return run(
        "docker",
        "inspect",
        "--format",
        "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}",
        stage.container(service),
    ).strip()


def test_application_is_not_reached_from_the_machine(containers: ComposeStage) -> None:
    """Nothing is published, and the bridge has no address; whatever answers at that address is not the application."""
    at = (address(containers, "application"), 8080)
    with (
        containers.nobody_reaches_the_application(),
        contextlib.suppress(OSError),
        socket.create_connection(at, 3) as it,
    ):
        it.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nx-authz-user: root\r\nconnection: close\r\n\r\n")
        assert b"x-authz-user" not in it.recv(65_536)


@pytest.mark.parametrize("network", ["edge", "crls"])
def test_application_is_not_reached_from_another_network(containers: ComposeStage, network: str) -> None:
    """Neither where the proxies' clients are, nor where the service is."""
    command = ["--entrypoint=python", f"--network={containers.project}_{network}", "mtls-authz", "-c", CONNECT]
    with containers.nobody_reaches_the_application():
        assert "x-authz" not in run("docker", "run", "--rm", *command, address(containers, "application"), "8080")
    assert containers.python("application", "import socket; print(socket.gethostbyname('application'))")


@pytest.mark.parametrize("port", ["9901", "9902", "8080", "443"])
def test_service_is_at_no_address(containers: ComposeStage, port: str) -> None:
    """Its sockets are its listeners; what operators read is its own loopback's."""
    code = CONNECT.replace("sys.argv[1]", "'authz-1'").replace("sys.argv[2]", port)
    assert "not reached" in containers.python("crls", code)


ASK_AT = "import socket; s = socket.socket(socket.AF_UNIX); s.connect('/listener/authz.sock'); print('connected')"


@pytest.mark.parametrize(("user", "connected"), [("101:10001", True), ("101:101", False), ("12345:12345", False)])
def test_socket_is_for_its_group(containers: ComposeStage, user: str, connected: bool) -> None:
    """A container that mounts a listener and is not in the service's group stays outside."""
    options = [
        "--rm",
        f"--user={user}",
        f"--volume={containers.project}_envoy-listener-1:/listener",
        "--entrypoint=python",
    ]
    done = subprocess.run(["docker", "run", *options, "mtls-authz", "-c", ASK_AT], capture_output=True, check=False)
    assert (done.returncode == 0) is connected
    assert connected or b"PermissionError" in done.stderr


@pytest.mark.parametrize("service", [*INSTANCES, "crls", "application"])
def test_container_runs_without_root_and_cannot_write_to_its_image(containers: ComposeStage, service: str) -> None:
    """A numeric user, a root that is read only."""
    code = """
import os
print(os.getuid(), os.getgid())
try:
    open("/opt/authz/x", "w")
except OSError as error:
    print(error.strerror)
"""
    assert containers.python(service, code).split("\n")[:2] == ["10001 10001", "Read-only file system"]


@pytest.fixture
def without_a_shell(docker: None, containers: ComposeStage) -> Iterator[str]:
    """The image by itself, as `docker run` starts it, without any shell in it."""
    hidden = [f"--volume=/dev/null:/usr/bin/{one}:ro" for one in ("sh", "dash", "bash")]
    directory = f"{containers.project}_alone"
    places = ["--tmpfs=/tmp", "--volume=/run/authz", f"--volume={directory}:/var/lib/authz"]
    alone = ["--read-only", *places, *hidden, "mtls-authz"]
    run("docker", "run", "--rm", *alone, "db", "upgrade", "--create")
    container = run("docker", "run", "--detach", *alone).strip()
    yield container
    run("docker", "rm", "--force", "--volumes", container)
    run("docker", "volume", "rm", directory)


def test_image_needs_no_shell(without_a_shell: str) -> None:
    """It starts, and its own health check finds it well."""
    with pytest.raises(RuntimeError):
        run("docker", "exec", without_a_shell, "sh", "-c", "true")
    state = ["docker", "inspect", "--format", "{{.State.Health.Status}}", without_a_shell]
    wait_until(lambda: run(*state).strip() == "healthy", "healthy")


def test_proxies_are_all_that_is_published(containers: ComposeStage) -> None:
    """By their ports, and by no other."""
    for service in ("migrate", "mint", *INSTANCES, "crls", "application"):
        assert run("docker", "port", containers.container(service)) == ""
    for front in FRONTS:
        published = run("docker", "port", containers.container(front.name))
        assert f":{front.port}" in published
        assert f":{front.ordinary_port}" in published
