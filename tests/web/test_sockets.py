"""Listening sockets: closed to everybody else, never stolen, taken away."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from authz.errors import ConfigError
from authz.web.sockets import adjust, begin, bind, listen, remove, socket_inode


@pytest.fixture
def address(tmp_path: Path) -> str:
    """A Unix socket's address."""
    return f"unix:{tmp_path / 's.sock'}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Its path."""
    return tmp_path / "s.sock"


def test_unix_socket_has_mode_and_group(address: str, path: Path) -> None:
    """0660 and the group that was configured."""
    with closing(bind(address, group=str(os.getgid()))):
        assert path.stat().st_mode & 0o777 == 0o660
        assert path.stat().st_gid == os.getgid()


def test_connections_beyond_the_backlog_wait_outside(address: str, path: Path) -> None:
    """Linux lets one more in than the number says."""
    with closing(listen(address, backlog=1)), ExitStack() as clients:
        tried = [clients.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) for _ in range(3)]
        for one in tried:
            one.setblocking(False)
        assert [one.connect_ex(str(path)) for one in tried] == [0, 0, errno.EAGAIN]


def test_bound_socket_refuses_connections_until_it_listens(address: str, path: Path) -> None:
    """A proxy then asks another instance; other rights do not make it listen, another backlog is taken once it does."""
    with closing(bind(address)) as opened, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        adjust(opened, address, 0o666, None, 5)
        assert path.stat().st_mode & 0o777 == 0o666
        assert client.connect_ex(str(path)) == errno.ECONNREFUSED
        opened.listen(1)
        adjust(opened, address, 0o660, None, 5)
        assert client.connect_ex(str(path)) == 0


def test_group_that_does_not_exist_is_refused(address: str) -> None:
    """By name."""
    with pytest.raises(ConfigError, match="no group"):
        bind(address, group="no-such-group-here")


def test_socket_on_which_somebody_answers_is_not_taken(address: str) -> None:
    """The other keeps it."""
    with closing(listen(address)), pytest.raises(ConfigError, match="another process listens"):
        listen(address)


def test_socket_of_a_service_that_starts_is_not_taken(address: str, path: Path) -> None:
    """It refuses connections until a worker is ready: `serve --check` meanwhile must not take its file away."""
    with closing(bind(address)):
        with pytest.raises(ConfigError, match="another process listens"):
            bind(address)
        assert path.exists()


def test_of_two_sockets_at_one_port_the_first_listens() -> None:
    """Both may be bound while neither does; the second fails with the reason."""
    with closing(bind("127.0.0.1:0")) as first:
        address = "{}:{}".format(*first.getsockname())
        with closing(bind(address)) as second:
            begin(first, address, 1)
            with pytest.raises(ConfigError, match=f"cannot listen at {address}"):
                begin(second, address, 1)


def test_socket_without_a_listener_is_taken_over(address: str, path: Path) -> None:
    """What a killed service left behind."""
    listen(address).close()
    assert path.exists()
    with closing(listen(address)):
        assert path.exists()


def test_file_that_is_no_socket_is_left_alone(address: str, path: Path) -> None:
    """Somebody else's file."""
    path.write_text("x")
    with pytest.raises(ConfigError, match="not a socket"):
        listen(address)
    assert path.read_text() == "x"


def test_own_socket_is_removed_and_no_other(address: str, path: Path) -> None:
    """By inode: one that took its place stays."""
    with closing(listen(address)):
        inode = socket_inode(address)
        remove(address, None)
        remove(address, (inode or 0) + 1)
        assert path.exists()
        remove(address, inode)
        assert not path.exists()
        remove(address, inode)


@pytest.fixture(params=["127.0.0.1:0", "[::1]:0"])
def loopback(request: pytest.FixtureRequest) -> str:
    """Loopback, if the machine has it."""
    try:
        family = socket.AF_INET6 if "[" in request.param else socket.AF_INET
        with socket.socket(family) as probe:
            probe.bind((request.param.rpartition(":")[0].strip("[]"), 0))
    except OSError:
        pytest.skip("this machine has no such loopback address")
    return str(request.param)


def test_loopback_is_listened_at(loopback: str) -> None:
    """IPv4 and IPv6."""
    with closing(listen(loopback)) as opened:
        assert opened.getsockname()[1] > 0


@pytest.mark.parametrize(
    "address", ["0.0.0.0:9000", "192.0.2.1:80", "[::]:80", "localhost:80", "x", "127.0.0.1:x", ":80", "127.0.0.1:99999"]
)
def test_address_beyond_loopback_or_none_is_refused(address: str) -> None:
    """A process that connects there could claim any certificate."""
    with pytest.raises(ConfigError) as caught:
        listen(address)
    assert caught.value.hint


def test_address_beyond_loopback_is_listened_at_where_the_caller_answers_for_it() -> None:
    """Behind mutual TLS, or where the operator said so."""
    with closing(listen("0.0.0.0:0", anywhere=True)) as opened:
        assert opened.getsockname()[1] > 0


def test_folder_that_is_missing_is_a_configuration_error(tmp_path: Path) -> None:
    """And not a traceback."""
    with pytest.raises(ConfigError, match="cannot listen"):
        listen(f"unix:{tmp_path}/none/s.sock")
