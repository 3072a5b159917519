"""SIGHUP: other settings for a running service, taken once every process is ready with them, or given up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from authz.app.config import Settings
from authz.app.listeners import Sockets
from authz.directory.databases import database_of
from authz.errors import ConfigError, StoreError
from authz.supervision.binary_upgrade import OF_ANOTHER_VERSION, InheritedState
from authz.supervision.config_check import check
from authz.supervision.process_table import ChildProcess, ProcessTable, Role
from authz.supervision.rolling_restart import RollingRestart
from authz.telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class Generation:
    """What processes are started with; `number` is what they have in common."""

    settings: Settings
    sockets: Sockets
    number: int


class Reload:
    """The `current` generation, the `previous` one until every process is of the current, and what is to be replaced.

    `load` reads the settings again, `start` starts a worker, or returns None when that cannot be done now;
    `hopeless` is whether trying that again is of no use.
    """

    def __init__(
        self,
        settings: Settings,
        load: Callable[[], Settings],
        processes: ProcessTable,
        telemetry: Telemetry,
        *,
        start: Callable[[float], ChildProcess | None],
        hopeless: Callable[[], bool],
    ) -> None:
        self.current = Generation(settings, Sockets({}), number=0)
        self.previous: Generation | None = None
        self._load = load
        self._processes = processes
        self._telemetry = telemetry
        self._hopeless = hopeless
        self._generations = 0
        self.rolling = RollingRestart(processes, start, self._replacement_failed)

    def open(self) -> None:
        """Make the first generation's sockets. Raises `ConfigError` or `StoreError`."""
        settings = self.current.settings
        check(settings, self._telemetry)
        self.current = replace(self.current, sockets=Sockets.open(settings))

    def inherit(self, state: InheritedState) -> None:
        """Take over processes and sockets of the version before: all processes are replaced."""
        settings = self.current.settings
        self.previous = Generation(settings, state.sockets, OF_ANOTHER_VERSION)
        self.current = replace(self.current, sockets=state.sockets)
        try:
            self.current = replace(self.current, sockets=state.sockets.updated(settings))
            database_of(settings.database).check()
        except (ConfigError, StoreError) as error:
            # The version before tried this, and it succeeded.
            self._telemetry.warn(f"the processes of the version before stay: {error}")
            return
        self.rolling.begin(state.children)

    def begin(self) -> None:
        """Take the settings that are read now, or stay with the current ones."""
        oldest = None if self.previous is None else self.previous.sockets
        try:
            settings = self._load()
            check(settings, self._telemetry)
            sockets = self.current.sockets.updated(settings, oldest)
        except (ConfigError, StoreError) as error:
            self._telemetry.warn(f"the settings are not reloaded: {error}; {error.hint}")
            return
        if oldest is None:
            self.previous = self.current
        else:
            self.current.sockets.close(sockets, oldest)
        self._generations += 1
        self.current = Generation(settings, sockets, self._generations)
        self._telemetry.say("reloading", workers=settings.limits.workers)
        self.rolling.begin(self._running)

    def step(self, now: float) -> None:
        """Replace what is still to be replaced, as far as possible."""
        self.rolling.step(now, self.current.settings.limits.workers)
        if self.previous is None or self.rolling or not self._proven:
            return
        if any(child.generation != self.current.number or not child.serving for child in self._processes):
            return
        self.previous.sockets.close(self.current.sockets)
        self.previous = None
        self._telemetry.say("reloaded", workers=len(self._processes.workers))

    @property
    def _running(self) -> list[ChildProcess]:
        return [child for child in self._processes if child.stopping_since is None]

    @property
    def _proven(self) -> bool:
        """Whether a process of each role has become ready in the current generation."""
        number = self.current.number
        ready = {
            child.role for child in self._processes if child.generation == number and child.ready_since is not None
        }
        return ready == set(Role)

    @property
    def settled(self) -> bool:
        """Whether all processes are there and do their work, and none is being replaced."""
        children = list(self._processes)
        working = all(child.serving and (child.linked or child.role is Role.CRL_MANAGER) for child in children)
        return working and len(children) == self.current.settings.limits.workers + 1 and not self.rolling

    def is_to_blame(self, child: ChildProcess) -> bool:
        """Whether a process ended because of the current settings, so that the previous ones are to hold again."""
        unproven = child.ready_since is None and child.generation == self.current.number and not self._proven
        return self.previous is not None and unproven

    def roll_back(self, cause: str) -> None:
        """Return to the previous settings: the current ones do not work, or their processes could not be started."""
        if self.previous is None:
            return
        self._telemetry.warn(f"the settings are not reloaded: {cause}")
        self.current.sockets.close(self.previous.sockets)
        self.current, self.previous = self.previous, None
        try:
            # The current settings have changed the sockets' modes and groups.
            self.current.sockets.updated(self.current.settings)
        except ConfigError as error:
            self._telemetry.warn(str(error))
        self.rolling.cancel()
        self.rolling.begin(child for child in self._running if child.generation != self.current.number)

    def _replacement_failed(self, old: ChildProcess, new: ChildProcess) -> None:
        """It crashed, or had too little memory; settings that do not work were noticed before."""
        current = old.generation == self.current.number
        if current and new.generation != self.current.number:
            return
        # A process of settings that hold no more is replaced, however long it takes.
        if current and self._hopeless():
            self._telemetry.warn(f"{old.slot} is not replaced: its replacements do not start")
            return
        self.rolling.begin([old])

    def sockets_for_upgrade(self) -> Sockets:
        """The sockets for another version of the program, which reads the settings anew: all can be opened.

        Raises `ConfigError`.
        """
        settings = self._load()
        check(settings, self._telemetry)
        self.current.sockets.updated(settings).close(self.current.sockets)
        return self.current.sockets

    def close_previous(self) -> None:
        """In a child: close the previous generation's sockets, but for those that stay."""
        if self.previous is not None:
            self.previous.sockets.forget(self.current.sockets)

    def close(self) -> None:
        """Close all sockets, and replace no more."""
        self.rolling.cancel()
        if self.previous is not None:
            self.previous.sockets.close()
        self.current.sockets.close()
