"""A supervisor whose clock the test turns, and whose children the test speaks for.

The children are real processes, which sleep; their controls, signals and ends are real, too. What they send, and
when, is the test's.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import orjson
import pytest

from authz.app.config import Settings, parse_settings
from authz.ipc import PeerClosed
from authz.supervision.control import ControlMessage, control_pair, receive, send
from authz.supervision.process_table import ChildProcess, ProcessTable, Role
from authz.supervision.supervisor import Supervisor
from authz.telemetry import Telemetry
from support.directory import new_store

TURN = 0.25


class Crew:
    """The supervisor `made`, at `now` (seconds); `settings` are what it reads when it is reported to.

    Of its children, `idle` ones report that they are not ready, `silent` ones nothing, and those in `trouble` what
    keeps them from starting; a child is spawned idle unless they are `able`. Those that are `deaf` ignore SIGTERM.
    """

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.now = 1000.0
        self.settings = self.written()
        self.ends: dict[ChildProcess, socket.socket] = {}
        self.links: dict[ChildProcess, list[int]] = {}
        self.idle: set[ChildProcess] = set()
        self.silent: set[ChildProcess] = set()
        self.trouble: dict[ChildProcess, str] = {}
        self.able = True
        self.deaf = False
        self.spawned = 0
        self._log = BytesIO()
        patch.setattr(ProcessTable, "spawn", self._spawn)
        patch.setattr(ChildProcess, "kill", _killing(self))
        self.made = Supervisor(self.settings, lambda: self.settings, Telemetry(self._log), lambda: self.now)
        new_store(self.settings.database).close()
        self.made.reload.open()
        self.made._folder = folder / "metrics"
        self.made._folder.mkdir()

    def written(self, workers: int = 2, listener: str = "first") -> Settings:
        """Settings with one listener, whose socket has its name."""
        return parse_settings(
            {
                "database": f"sqlite:///{self.folder}/authz.db",
                "ops": {"address": "127.0.0.1:0"},
                "limits": {"workers": workers},
                "listener": [{"name": listener, "address": f"unix:{self.folder}/{listener}.sock"}],
            },
            origin="test",
        )

    def _spawn(
        self, role: Role, generation: int, now: float, work: Callable[[str, socket.socket], int]
    ) -> ChildProcess:
        """In the place of a fork."""
        ours, theirs = control_pair()
        pid = os.posix_spawnp("sleep", ["sleep", "600"], os.environ)
        made = ChildProcess(role, self.processes.free_slot(role), pid, ours, generation, now, now)
        self.ends[made], self.links[made] = theirs, []
        if not self.able:
            self.idle.add(made)
        self.spawned += 1
        self.processes.adopt(made)
        return made

    @property
    def processes(self) -> ProcessTable:
        """Its children."""
        return self.made.processes

    @property
    def manager(self) -> ChildProcess:
        """The CRL manager."""
        assert self.processes.crl_manager is not None
        return self.processes.crl_manager

    @property
    def workers(self) -> list[ChildProcess]:
        """Those that are to go on."""
        return self.processes.workers

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What it logged."""
        return [orjson.loads(line) for line in self._log.getvalue().splitlines()]

    @property
    def said(self) -> str:
        """The names of what it logged, and its warnings."""
        return "\n".join(str(one.get("message", one["event"])) for one in self.lines)

    def turn(self, seconds: float = TURN) -> None:
        """A while passes, in which every child tells that it lives, but for the `silent` ones."""
        self.now += seconds
        for one in self.processes:
            if one in self.trouble:
                send(self.ends[one], None, {"error": self.trouble[one]})
            elif one not in self.silent:
                send(self.ends[one], None, {"ready": one not in self.idle})
            self._listen(one)
        for key, _ in self.made._selector.select(0):
            key.data()
        self.made._turn(self.now)
        for one in self.processes:
            self._listen(one)

    def turns(self, seconds: float) -> None:
        """Many turns."""
        for _ in range(round(seconds / TURN)):
            self.turn()

    def until(self, true: Callable[[], bool], seconds: float) -> None:
        """Turn, until something is so; it must be so in time."""
        until = self.now + seconds
        while not true():
            assert self.now < until, self.said
            self.turn()

    def _listen(self, child: ChildProcess) -> None:
        for one in self.heard(child):
            if one.descriptor is not None:
                self.links[child].append(one.descriptor)

    def heard(self, child: ChildProcess) -> Iterator[ControlMessage]:
        """What the supervisor reported a child since."""
        with contextlib.suppress(PeerClosed):
            while (told := receive(self.ends[child])) is not None:
                yield told

    def tell(self, number: signal.Signals) -> None:
        """Send the supervisor a signal."""
        self.made._signals.append(number)

    def settle(self) -> None:
        """Everybody is there, and ready."""
        self.until(lambda: self.made.upgrade.settled, 60)

    def close(self) -> None:
        """Nothing of it stays."""
        self.made._close()
        for one in self.ends.values():
            one.close()
        for links in self.links.values():
            for link in links:
                os.close(link)


def _killing(crew: Crew) -> Callable[[ChildProcess, signal.Signals], None]:
    """What sends a signal, and sees that the process has ended."""

    def kill(child: ChildProcess, number: signal.Signals) -> None:
        if number == signal.SIGTERM and crew.deaf:
            return
        os.kill(child.pid, number)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    return kill
