"""The process that `authz serve` is: it opens the sockets, starts workers and keeper, and sees to it that they live.

Signals: TERM and INT end the service, HUP reads the settings again and replaces one process after the other
(`authz.supervision.reload`), USR2 does the same with the version of the program that is installed by then
(`authz.supervision.upgrade`).
"""

from __future__ import annotations

import gc
import os
import resource
import selectors
import shutil
import signal
import socket
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import uvloop

from authz.app.config import Settings
from authz.app.listeners import OPS, warn_of_plaintext
from authz.app.systemd import notify
from authz.errors import ConfigError
from authz.supervision import binary_upgrade as handover
from authz.supervision.control import Told, tell
from authz.supervision.crl_process import keep
from authz.supervision.inherited_images import Images
from authz.supervision.metrics import folder_of_metrics, forget_gauges, write_as
from authz.supervision.process_table import Family, Member, Role
from authz.supervision.reload import Renewing
from authz.supervision.restarts import LONGEST_DELAY, Restarts
from authz.supervision.upgrade import Upgrade
from authz.supervision.watchdog import Watch
from authz.supervision.worker import bound_memory, work
from authz.telemetry import Telemetry

TURN_SECONDS: Final = 0.25
"""How often the supervisor looks around, when nothing happens."""

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2, signal.SIGCHLD)


class Supervisor:
    """`settings` are those of now, `load` reads them again. `run` is called once, where there is no other thread.

    `monotonic` gives seconds.
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
        self._images = Images()
        self._folder: Path | None = None
        self._restarts = {role: Restarts() for role in Role}
        self._next_start = dict.fromkeys(Role, 0.0)
        self._died: Counter[str] = Counter({role.value: 0 for role in Role})
        self._announced = False
        self._ending = False
        self._error: ConfigError | None = None
        self._status: dict[str, Any] = {}
        self.family = Family(self._selector, self._take)
        self.renewing = Renewing(
            settings,
            load,
            self.family,
            self._telemetry,
            start=self._start_worker,
            hopeless=lambda: self._restarts[Role.WORKER].hopeless,
        )
        self.upgrade = Upgrade(self.family, self.renewing, self._images, self._signals, self._telemetry)
        self._watch = Watch(self.family, self.renewing.rolling, self._telemetry)

    @property
    def _settings(self) -> Settings:
        return self.renewing.now.settings

    # -- life ----------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until told to end. Raises `ConfigError` or `StoreError` when the service cannot start, or live."""
        try:
            self._begin()
            while not self._ending or len(self.family):
                self._turn(self._monotonic())
                for key, _ in self._selector.select(TURN_SECONDS):
                    key.data()
        finally:
            self._close()
        if self._error is not None:
            raise self._error

    def _begin(self) -> None:
        for one in (self._wake, self._woken):
            one.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ, lambda: self._woken.recv(4096))
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, lambda number, _: self._signals.append(number))
        estate = handover.take(self._monotonic())
        if estate is None:
            self.renewing.begin()
            self._folder = folder_of_metrics()
        else:
            self._inherit(estate)
        handover.let_signals_in()
        warn_of_plaintext(self._settings, self._telemetry.warn)
        for name, opened in self.renewing.now.sockets.items():
            self._telemetry.say("listening", listener=name, address=opened.shown)
        # Children share what was there before them for as long as nobody writes to it: nor does the collector.
        gc.collect()
        gc.freeze()

    def _inherit(self, estate: handover.Estate) -> None:
        self._folder = estate.folder
        self._images.update(estate.images)
        self._announced = True
        for one in estate.members:
            self.family.adopt(one)
        self.renewing.inherit(estate)

    def _close(self) -> None:
        signal.set_wakeup_fd(-1)
        for one in self.family:
            one.kill(signal.SIGKILL)
        while len(self.family):
            self.family.bury()
            time.sleep(0.001)
        self.upgrade.close()
        self.renewing.close()
        self._images.close()
        self._selector.close()
        self._wake.close()
        self._woken.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _turn(self, now: float) -> None:
        """Everything that may be due, in an order in which each step sees what those before it did."""
        self._watch.forgive_own_absence(now)
        while self._signals:
            self._act_on(self._signals.popleft(), now)
        self._bury(now)
        if self._ending:
            self._end_the_rest(now)
        else:
            self._watch.kill_the_silent(now)
            self._watch.kill_the_unready(now)
            self._start_the_missing(now)
            self.renewing.step(now)
            self._watch.replace_the_large(now, self._settings.limits.worker_memory << 20)
        self.family.link(now)
        self._watch.kill_the_late(now, self._settings.limits.stop_seconds)
        self._announce()
        self._tell_the_keeper()
        if not self._ending:
            self.upgrade.step(now, self._folder)

    def _act_on(self, number: int, now: float) -> None:
        if number in {signal.SIGTERM, signal.SIGINT}:
            self._end(now)
        elif number == signal.SIGHUP and not self._ending:
            self.renewing.renew()
        elif number == signal.SIGUSR2 and not self._ending:
            self.upgrade.begin(now)

    def _announce(self) -> None:
        keeper, workers = self.family.keeper, [one for one in self.family.workers if one.serving]
        if self._announced or keeper is None or not keeper.serving or len(workers) < self._settings.limits.workers:
            return
        self._announced = True
        self._telemetry.say("ready", process=os.getpid(), workers=len(workers))
        notify("READY=1")

    def _tell_the_keeper(self) -> None:
        keeper = self.family.keeper
        processes = {
            one.place: {"pid": one.pid, "ready": one.serving, **({} if one.checks is None else {"checks": one.checks})}
            for one in self.family
        }
        answering = not self._ending and any(one.serving for one in self.family.workers)
        status = {"processes": processes, "restarts": dict(self._died), "answering": answering}
        if status != self._status and keeper is not None and tell(keeper.control, None, status):
            self._status = status

    # -- children ------------------------------------------------------------------------------------------

    def _start(self, role: Role, now: float) -> Member | None:
        """One more child; None before its time, or where the system gives none."""
        if now < self._next_start[role]:
            return None
        try:
            return self.family.start(
                role, self.renewing.now.era, now, self._answer if role is Role.WORKER else self._keep
            )
        except OSError as error:
            self._telemetry.warn(f"a {role} cannot be started: {error}")
            self._next_start[role] = now + LONGEST_DELAY
            return None

    def _start_worker(self, now: float) -> Member | None:
        return self._start(Role.WORKER, now)

    def _answer(self, place: str, control: socket.socket) -> int:
        """In a worker."""
        self._become(place)
        self._images.close()
        sockets = self.renewing.now.sockets
        sockets[OPS].socket.close()
        bound_memory(self._settings.limits.worker_memory)
        return uvloop.run(work(self._settings, sockets, control))

    def _keep(self, place: str, control: socket.socket) -> int:
        """In the keeper."""
        self._become(place)
        sockets = self.renewing.now.sockets
        for name, one in sockets.items():
            if name != OPS:
                one.socket.close()
        return uvloop.run(keep(self._settings, sockets, control, self._images))

    def _become(self, place: str) -> None:
        """In a child: what is the supervisor's alone is closed."""
        self._selector.close()
        self._wake.close()
        self._woken.close()
        self.renewing.forget()
        assert self._folder is not None  # noqa: S101 - made before the first child
        write_as(place, self._folder)

    def _take(self, member: Member, told: Told) -> None:
        member.heard = self._monotonic()
        self._images.take(told)
        what = told.what
        if "unlinked" in what:
            member.linked = False
        elif "error" in what:
            member.trouble = what["error"], what.get("hint", "")
        elif "ready" in what:
            member.checks = what.get("checks")
            if what["ready"] and member.ready_since is None:
                member.ready_since = member.heard

    def _bury(self, now: float) -> None:
        for member, status in self.family.bury():
            if self._folder is not None:
                forget_gauges(member.place, self._folder)
            if member.role is Role.KEEPER:
                self._status = {}
            if member.stopping is None:
                self._mourn(member, status, now)

    def _mourn(self, member: Member, status: int, now: float) -> None:
        """One died that was to go on."""
        code = os.waitstatus_to_exitcode(status)
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        trouble, hint = member.trouble
        self._died[member.role.value] += 1
        self._telemetry.warn(f"{member.place} (process {member.pid}) ended: {trouble or how}")
        restarts = self._restarts[member.role]
        ready_for = None if member.ready_since is None else now - member.ready_since
        places = self._settings.limits.workers if member.role is Role.WORKER else 1
        self._next_start[member.role] = now + restarts.died(ready_for, places)
        if trouble and not self._announced:
            self._give_up(trouble, hint, now)
        elif self.renewing.blames(member):
            self.renewing.go_back(f"{member.place} did not start: {trouble or how}")
        elif restarts.hopeless and not any(one.serving for one in self.family.of(member.role)):
            self._give_up(
                f"{member.role} started {restarts.fruitless} times and never was ready; the last: {trouble or how}",
                hint or "the log says what each start ended with",
                now,
            )

    def _give_up(self, message: str, hint: str, now: float) -> None:
        self._error = self._error or ConfigError(message, hint=hint)
        self._end(now)

    def _start_the_missing(self, now: float) -> None:
        if not self.family.of(Role.KEEPER):
            self._start(Role.KEEPER, now)
        while len(self.family.workers) - self.renewing.rolling.additional < self._settings.limits.workers:
            if self._start_worker(now) is None:
                return

    # -- the end -------------------------------------------------------------------------------------------

    def _end(self, now: float) -> None:
        if self._ending:
            return
        self._ending = True
        notify("STOPPING=1")
        self._telemetry.say("stopping")
        # Whoever connects from now on shall not wait for an answer that nobody gives.
        self.renewing.close()
        for one in self.family.workers:
            one.stop(now)

    def _end_the_rest(self, now: float) -> None:
        for one in self.family.workers:
            one.stop(now)
        if not self.family.of(Role.WORKER):
            for one in self.family:
                one.stop(now)


def serve(settings: Settings, load: Callable[[], Settings]) -> None:
    """Run the service until it is told to stop. Raises `ConfigError` or `StoreError`."""
    _raise_open_files()
    Supervisor(settings, load).run()


def _raise_open_files() -> None:
    """As many descriptors as the operator allows (`LimitNOFILE=`): the usual soft limit, 1024, is too few."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
