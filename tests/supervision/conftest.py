"""The service as `authz serve` is, running."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.clocked_supervisor import Crew
from support.served import Served, end

from authz.supervision.control import control_pair


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """Two workers, ready."""
    made = Served(tmp_path)
    made.start()
    yield made
    end(made)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Two workers, ready, for the tests of a module."""
    made = Served(tmp_path_factory.mktemp("served"))
    made.start()
    yield made
    end(made)


@pytest.fixture
def left_whole(running: Served) -> Iterator[Served]:
    """The same two workers for each test that leaves them ready; its log begins with the test."""
    running.forget_log()
    yield running
    running.write(2)
    assert len(running.children) == 3


@pytest.fixture
def crew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Crew]:
    """Two workers and a CRL manager, ready; the clock is the test's."""
    made = Crew(tmp_path, monkeypatch)
    try:
        made.settle()
        yield made
    finally:
        made.close()


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The supervisor's end of a control, and the child's."""
    ours, theirs = control_pair()
    yield ours, theirs
    ours.close()
    theirs.close()
