"""The service manager's side: readiness is reported, sockets are taken over, and what does not fit is refused."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from support.directory import new_store

from authz.app.systemd import inherited_sockets, notify

TAKE = """
import os, sys
os.environ["LISTEN_PID"] = str(os.getpid())
from authz.errors import ConfigError
from authz.app.systemd import inherited_sockets
try:
    taken = inherited_sockets()
except ConfigError as error:
    sys.exit(str(error))
print({name: one.getsockname() for name, one in taken.items()}, inherited_sockets(), os.get_inheritable(3))
"""


def take(given: socket.socket, names: str, count: int = 1) -> subprocess.CompletedProcess[str]:
    """A process that is handed `given` as descriptor 3 (and 4) by a real exec, as a manager does it."""
    shell = f'exec "$0" -c "$1" 3<&{given.fileno()} 4<&{given.fileno()}'
    return subprocess.run(
        ["bash", "-c", shell, sys.executable, TAKE],
        pass_fds=[given.fileno()],
        env={**os.environ, "LISTEN_FDS": str(count), "LISTEN_FDNAMES": names},
        capture_output=True,
        text=True,
        check=False,
    )


def unix(path: Path) -> socket.socket:
    """A bound Unix socket."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.bind(str(path))
    return made


def test_handed_socket_is_taken_once_and_not_inherited_further(tmp_path: Path) -> None:
    """A child that indexes CRLs must not hold the listener open."""
    with unix(tmp_path / "s") as made:
        made.listen()
        assert take(made, "main").stdout == f"{ {'main': str(tmp_path / 's')} } {{}} False\n"


def test_socket_that_does_not_listen_is_refused(tmp_path: Path) -> None:
    """A connection is not a listener."""
    with unix(tmp_path / "s") as made:
        assert "no listening Unix socket" in take(made, "main").stderr


def test_handed_tcp_socket_is_refused() -> None:
    """Its reach is not the service's to know."""
    with socket.create_server(("127.0.0.1", 0)) as made:
        assert "no listening Unix socket" in take(made, "main").stderr


def test_two_sockets_of_one_name_are_refused(tmp_path: Path) -> None:
    """One of them would never be answered."""
    with unix(tmp_path / "s") as made:
        made.listen()
        assert "two sockets" in take(made, "main:main", 2).stderr


def test_socket_without_a_name_is_refused(tmp_path: Path) -> None:
    """Nor is a second one dropped in silence."""
    with unix(tmp_path / "s") as made:
        made.listen()
        assert "2 sockets are handed over with 1 names" in take(made, "main", 2).stderr


def test_sockets_for_another_process_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """LISTEN_PID says whose they are."""
    monkeypatch.setenv("LISTEN_PID", "1")
    monkeypatch.setenv("LISTEN_FDS", "1")
    assert inherited_sockets() == {}


@pytest.mark.parametrize("abstract", [False, True])
def test_manager_is_notified(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, abstract: bool) -> None:
    """At a path, or an abstract address written with @."""
    address = f"@{tmp_path}" if abstract else str(tmp_path / "n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address.replace("@", "\0"))
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        assert notify("READY=1")
        assert manager.recv(100) == b"READY=1"


@pytest.mark.parametrize("address", ["", "vsock:2:1", "/nowhere/at/all"])
def test_no_manager_to_notify_is_no_error(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """The service runs without a manager too."""
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    assert not notify("READY=1")


SERVE = 'LISTEN_PID=$$ exec "$0" -m authz --config "$1" serve 3<&{}'


def serve(folder: Path, given: socket.socket, name: str, notified: Path) -> subprocess.Popen[str]:
    """The service, started as a manager starts it, with `given` handed over as `name`."""
    config = folder / "authz.toml"
    new_store(f"sqlite:///{folder}/authz.db").close()
    config.write_text(
        f'database = "sqlite:///{folder}/authz.db"\n[ops]\naddress = "127.0.0.1:0"\n'
        f'[[listener]]\naddress = "unix:{folder}/s"\n'
    )
    return subprocess.Popen(
        ["bash", "-c", SERVE.format(given.fileno()), sys.executable, str(config)],
        pass_fds=[given.fileno()],
        env={**os.environ, "LISTEN_FDS": "1", "LISTEN_FDNAMES": name, "NOTIFY_SOCKET": str(notified)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def answer(path: Path) -> bytes:
    """The status line of a check at `path`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(60)
        client.connect(str(path))
        client.sendall(b"GET /v1/check/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        return client.recv(100).split(b"\r\n")[0]


def test_activated_service_tells_answers_and_leaves_the_socket(tmp_path: Path) -> None:
    """A client that connected before the start is answered; the socket is there for the next start."""
    with unix(tmp_path / "s") as made, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        made.listen()
        manager.bind(str(tmp_path / "n"))
        manager.settimeout(60)
        with serve(tmp_path, made, "envoy", tmp_path / "n") as process:
            try:
                assert b"403" in answer(tmp_path / "s")
                assert manager.recv(100) == b"READY=1"
                limits = Path(f"/proc/{process.pid}/limits").read_text().partition("Max open files")[2].split()
                assert limits[0] == limits[1]
                process.terminate()
                assert manager.recv(100) == b"STOPPING=1"
                assert process.wait(60) == 0
            finally:
                process.kill()
        assert (tmp_path / "s").is_socket()


def test_socket_of_another_listener_stops_the_start(tmp_path: Path) -> None:
    """A name that no listener has would never be answered."""
    with unix(tmp_path / "s") as made:
        made.listen()
        with serve(tmp_path, made, "other", tmp_path / "n") as process:
            assert "belongs to no listener" in process.communicate(timeout=60)[1]
        assert process.returncode == 1
