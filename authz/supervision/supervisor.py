"""The process that `authz serve` is: it opens the sockets, forks workers and CRL manager, and keeps them alive.

Signals: TERM and INT end the service, HUP reads the settings again and replaces one process after the other
(`authz.supervision.reload`), USR2 does the same with the version of the program that is installed by then
(`authz.supervision.binary_upgrade`).
"""

from __future__ import annotations

import gc
import os
import resource
import selectors
import shutil
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import uvloop

from authz.app.config import Settings
from authz.app.listeners import OPERATORS, warn_of_weakness
from authz.app.systemd import notify
from authz.errors import ConfigError
from authz.supervision.binary_upgrade import BinaryUpgrade, InheritedState, take_inherited_state, unblock_signals
from authz.supervision.control import ControlMessage, send
from authz.supervision.crl_process import manage_crls
from authz.supervision.inherited_images import InheritedImages
from authz.supervision.metrics import make_metrics_folder, remove_gauges, write_metrics_as
from authz.supervision.process_table import ChildProcess, ProcessTable, Role
from authz.supervision.reload import Reload
from authz.supervision.restarts import LONGEST_DELAY, Restarts
from authz.supervision.watchdog import Watchdog
from authz.supervision.worker import answer_checks, bound_memory
from authz.telemetry import DescriptorOutput, Telemetry

TURN_SECONDS: Final = 0.25
"""How often the supervisor looks at its children when no event wakes it."""

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2, signal.SIGCHLD)


class Supervisor:
    """`settings` are the current ones, `load` reads them again. `run` is called once, in a process of one thread.

    `monotonic` returns seconds.
    """

    def __init__(
        self,
        settings: Settings,
        load: Callable[[], Settings],
        telemetry: Telemetry | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic = monotonic
        self._telemetry = telemetry or Telemetry()
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._signals: deque[int] = deque()
        self._images = InheritedImages()
        self._folder: Path | None = None
        self._restarts = {role: Restarts() for role in Role}
        self._announced = False
        self._ending = False
        self._error: ConfigError | None = None
        self._status: dict[str, Any] = {}
        self.processes = ProcessTable(self._selector, self._receive)
        self.reload = Reload(
            settings,
            load,
            self.processes,
            self._telemetry,
            start=self._start_worker,
            hopeless=lambda: self._restarts[Role.WORKER].hopeless,
        )
        self.upgrade = BinaryUpgrade(
            self.processes,
            self._images,
            self._signals,
            self._telemetry,
            settled=lambda: self.reload.settled,
            sockets=self.reload.sockets_for_upgrade,
        )
        self._watchdog = Watchdog(self.processes, self.reload.rolling, self._telemetry)

    @property
    def _settings(self) -> Settings:
        return self.reload.current.settings

    # -- life ----------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until asked to end. Raises `ConfigError` or `StoreError` when the service cannot start, or go on."""
        try:
            self._begin()
            while not self._ending or len(self.processes):
                self._turn(self._monotonic())
                for key, _ in self._selector.select(TURN_SECONDS):
                    key.data()
        finally:
            self._close()
        if self._error is not None:
            raise self._error

    def _begin(self) -> None:
        for end in (self._wake, self._woken):
            end.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ, lambda: self._woken.recv(4096))
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, lambda number, _: self._signals.append(number))
        state = take_inherited_state(self._monotonic())
        if state is None:
            self.reload.open()
            self._folder = make_metrics_folder()
        else:
            self._inherit(state)
        unblock_signals()
        warn_of_weakness(self._settings, self._telemetry.warn)
        for name, opened in self.reload.current.sockets.items():
            self._telemetry.say("listening", listener=name, address=opened.shown)
        # Children share these pages for as long as no process writes to them: nor does the collector.
        gc.collect()
        gc.freeze()

    def _inherit(self, state: InheritedState) -> None:
        self._folder = state.folder
        self._images.update(state.images)
        self._announced = True
        for child in state.children:
            self.processes.adopt(child)
        self.reload.inherit(state)

    def _close(self) -> None:
        signal.set_wakeup_fd(-1)
        for child in self.processes:
            child.kill(signal.SIGKILL)
        while len(self.processes):
            self.processes.reap()
            time.sleep(0.001)
        self.upgrade.close()
        self.reload.close()
        self._images.close()
        self._selector.close()
        self._wake.close()
        self._woken.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _turn(self, now: float) -> None:
        """Do all that may be due, in an order in which each step sees the effects of those before it."""
        self._watchdog.forgive_own_pause(now)
        while self._signals:
            self._act_on(self._signals.popleft(), now)
        self._reap(now)
        if self._ending:
            self._end_the_rest(now)
        else:
            self._watchdog.kill_hung(now)
            self._watchdog.kill_never_ready(now)
            self._start_missing(now)
            self.reload.step(now)
            self._watchdog.recycle_oversized(now, self._settings.limits.worker_memory << 20)
        self.processes.link(now)
        self._watchdog.kill_overdue(now, self._settings.limits.stop_seconds)
        self._announce()
        self._report_status()
        self._telemetry.flush()
        if not self._ending:
            self.upgrade.step(now, self._folder)

    def _act_on(self, number: int, now: float) -> None:
        if number in {signal.SIGTERM, signal.SIGINT}:
            self._end(now)
        elif number == signal.SIGHUP and not self._ending:
            self.reload.begin()
        elif number == signal.SIGUSR2 and not self._ending:
            self.upgrade.begin(now)

    def _announce(self) -> None:
        manager, serving = self.processes.crl_manager, [child for child in self.processes.workers if child.serving]
        if self._announced or manager is None or not manager.serving or len(serving) < self._settings.limits.workers:
            return
        self._announced = True
        if lost := self.reload.current.sockets.lost:
            message = f"another process has taken {', '.join(lost)} while this one started"
            self._give_up(message, "start one service for an address", self._monotonic())
            return
        self._telemetry.say("ready", process=os.getpid(), workers=len(serving))
        notify("READY=1")

    def _report_status(self) -> None:
        """Send the CRL manager, which serves the metrics, the status of all processes, if it has changed."""
        manager = self.processes.crl_manager
        processes = {
            child.slot: {"pid": child.pid, "ready": child.serving}
            | ({} if child.checks is None else {"checks": child.checks})
            for child in self.processes
        }
        restarts = {role.value: self._restarts[role].total for role in Role}
        answering = not self._ending and any(child.serving for child in self.processes.workers)
        status = {"processes": processes, "restarts": restarts, "answering": answering}
        status["key_sets"] = self.processes.key_sets
        if status != self._status and manager is not None and send(manager.control, None, status):
            self._status = status

    # -- children ------------------------------------------------------------------------------------------

    def _start(self, role: Role, now: float) -> ChildProcess | None:
        """One more child; None before its time, or where the system cannot fork."""
        if now < self._restarts[role].next_at:
            return None
        work = self._work if role is Role.WORKER else self._manage_crls
        try:
            return self.processes.spawn(role, self.reload.current.number, now, work)
        except OSError as error:
            self._telemetry.warn(f"a {role} cannot be started: {error}")
            self._restarts[role].next_at = now + LONGEST_DELAY
            return None

    def _start_worker(self, now: float) -> ChildProcess | None:
        return self._start(Role.WORKER, now)

    def _work(self, slot: str, control: socket.socket) -> int:
        """In a worker."""
        self._become(slot)
        self._images.close()
        sockets = self.reload.current.sockets
        for name in sockets.keys() & OPERATORS:
            sockets[name].socket.close()
        bound_memory(self._settings.limits.worker_memory)
        return uvloop.run(answer_checks(self._settings, sockets, control))

    def _manage_crls(self, slot: str, control: socket.socket) -> int:
        """In the CRL manager."""
        self._become(slot)
        sockets = self.reload.current.sockets
        for name, opened in sockets.items():
            if name not in OPERATORS:
                opened.socket.close()
        return uvloop.run(manage_crls(self._settings, sockets, control, self._images))

    def _become(self, slot: str) -> None:
        """In a child: close what is the supervisor's alone."""
        self._selector.close()
        self._wake.close()
        self._woken.close()
        self.reload.close_previous()
        assert self._folder is not None  # noqa: S101 - made before the first child
        write_metrics_as(slot, self._folder)

    def _receive(self, child: ChildProcess, message: ControlMessage) -> None:
        child.heard_at = self._monotonic()
        self._images.receive(message)
        content = message.content
        if "unlinked" in content:
            child.linked = False
        elif "error" in content:
            child.failure = content["error"], content.get("hint", "")
        elif "ready" in content:
            child.checks = content.get("checks")
            child.key_sets = content.get("key_sets", {})
            if content["ready"] and child.ready_since is None:
                child.ready_since = child.heard_at

    def _reap(self, now: float) -> None:
        for child, status in self.processes.reap():
            if self._folder is not None:
                remove_gauges(child.slot, self._folder)
            if child.role is Role.CRL_MANAGER:
                self._status = {}
            if child.stopping_since is None:
                self._on_unexpected_exit(child, os.waitstatus_to_exitcode(status), now)

    def _on_unexpected_exit(self, child: ChildProcess, code: int, now: float) -> None:
        failure, hint = child.failure
        cause = failure or (f"signal {-code}" if code < 0 else f"exit code {code}")
        self._telemetry.warn(f"{child.slot} (process {child.pid}) ended: {cause}")
        restarts = self._restarts[child.role]
        ready_for = None if child.ready_since is None else now - child.ready_since
        processes = self._settings.limits.workers if child.role is Role.WORKER else 1
        restarts.next_at = now + restarts.died(ready_for, processes)
        if failure and not self._announced:
            self._give_up(failure, hint, now)
        elif self.reload.is_to_blame(child):
            self.reload.roll_back(f"{child.slot} did not start: {cause}")
        elif restarts.hopeless and not any(other.serving for other in self.processes.of(child.role)):
            message = f"{child.role} started {restarts.failed_starts} times and never was ready; the last: {cause}"
            self._give_up(message, hint or "the log says how each start ended", now)

    def _give_up(self, message: str, hint: str, now: float) -> None:
        self._error = self._error or ConfigError(message, hint=hint)
        self._end(now)

    def _start_missing(self, now: float) -> None:
        if not self.processes.of(Role.CRL_MANAGER):
            self._start(Role.CRL_MANAGER, now)
        while len(self.processes.workers) - self.reload.rolling.additional < self._settings.limits.workers:
            if self._start_worker(now) is None:
                return

    # -- the end -------------------------------------------------------------------------------------------

    def _end(self, now: float) -> None:
        if self._ending:
            return
        self._ending = True
        notify("STOPPING=1")
        self._telemetry.say("stopping")
        # Connections made from now on are refused, rather than left without an answer.
        self.reload.close()
        for worker in self.processes.workers:
            worker.stop(now)

    def _end_the_rest(self, now: float) -> None:
        for worker in self.processes.workers:
            worker.stop(now)
        if not self.processes.of(Role.WORKER):
            for child in self.processes:
                child.stop(now)


def serve(settings: Settings, load: Callable[[], Settings]) -> None:
    """Run the service until asked to stop. Raises `ConfigError` or `StoreError`."""
    _raise_open_files()
    Supervisor(settings, load, Telemetry(DescriptorOutput(sys.stdout.fileno()))).run()


def _raise_open_files() -> None:
    """Raise the limit of descriptors to the operator's (`LimitNOFILE=`): the usual soft limit, 1024, is too low."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
