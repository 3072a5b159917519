"""What the demonstration starts."""

from __future__ import annotations

import itertools
import socket

import pytest

from authz.demo import processes
from authz.demo.processes import free_port, free_ports
from authz.errors import ConfigError


def test_free_ports_are_others_each() -> None:
    """Also those of two calls: a server may listen later. None is one that the system gives to a connection."""
    found = [*free_ports(100), *(free_port() for _ in range(100))]
    assert len(set(found)) == 200
    assert max(found) < 32_768


def test_port_at_which_somebody_listens_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """And if there is no other, that is said."""
    taken, free = free_ports(2)
    with socket.create_server(("127.0.0.1", taken)):
        monkeypatch.setattr(processes, "_ports", itertools.cycle([taken, free]))
        assert free_port() == free
        monkeypatch.setattr(processes, "_ports", itertools.repeat(taken))
        with pytest.raises(ConfigError, match="no 1 ports"):
            free_port()
