"""A supervisor whose clock the test turns, and whose children the test speaks for.

The children are real processes, which sleep; their controls, signals and ends are real, too. What they tell, and
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
from authz.supervision.control import Gone, Told, hear, pair, tell
from authz.supervision.process_table import Family, Member, Role
from authz.supervision.supervisor import Supervisor
from authz.telemetry import Telemetry

TURN = 0.25


class Crew:
    """The supervisor `made`, at `now` (seconds); `settings` are what it reads when it is told to.

    Of its children, `idle` ones tell that they are not ready, `silent` ones nothing, and those in `trouble` what keeps
    them from starting; whoever is born is idle unless they are `able`. They do not end when told to if they are `deaf`.
    """

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.now = 1000.0
        self.settings = self.written()
        self.ends: dict[Member, socket.socket] = {}
        self.links: dict[Member, list[int]] = {}
        self.idle: set[Member] = set()
        self.silent: set[Member] = set()
        self.trouble: dict[Member, str] = {}
        self.able = True
        self.deaf = False
        self.born = 0
        self._log = BytesIO()
        patch.setattr(Family, "start", self._start)
        patch.setattr(Member, "kill", _killing(self))
        self.made = Supervisor(self.settings, lambda: self.settings, Telemetry(self._log), lambda: self.now)
        self.made.renewing.begin()
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

    def _start(self, role: Role, era: int, now: float, work: Callable[[str, socket.socket], int]) -> Member:
        """In the place of a fork."""
        ours, theirs = pair()
        pid = os.posix_spawnp("sleep", ["sleep", "600"], os.environ)
        made = Member(role, self.family._free_place(role), pid, ours, era, now, now)
        self.ends[made], self.links[made] = theirs, []
        if not self.able:
            self.idle.add(made)
        self.born += 1
        self.family.adopt(made)
        return made

    @property
    def family(self) -> Family:
        """Its children."""
        return self.made.family

    @property
    def keeper(self) -> Member:
        """Who keeps the CRLs."""
        assert self.family.keeper is not None
        return self.family.keeper

    @property
    def workers(self) -> list[Member]:
        """Those that are to go on."""
        return self.family.workers

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
        for one in self.family:
            if one in self.trouble:
                tell(self.ends[one], None, {"error": self.trouble[one]})
            elif one not in self.silent:
                tell(self.ends[one], None, {"ready": one not in self.idle})
            self._listen(one)
        for key, _ in self.made._selector.select(0):
            key.data()
        self.made._turn(self.now)
        for one in self.family:
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

    def _listen(self, member: Member) -> None:
        for one in self.heard(member):
            if one.descriptor is not None:
                self.links[member].append(one.descriptor)

    def heard(self, member: Member) -> Iterator[Told]:
        """What the supervisor told a child since."""
        with contextlib.suppress(Gone):
            while (told := hear(self.ends[member])) is not None:
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


def _killing(crew: Crew) -> Callable[[Member, signal.Signals], None]:
    """What sends a signal, and sees that the process has ended."""

    def kill(member: Member, number: signal.Signals) -> None:
        if number == signal.SIGTERM and crew.deaf:
            return
        os.kill(member.pid, number)
        os.waitid(os.P_PID, member.pid, os.WEXITED | os.WNOWAIT)

    return kill
