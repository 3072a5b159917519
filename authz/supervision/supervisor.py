"""The process that `authz serve` is: it opens the sockets, starts workers and keeper, and sees to it that they live.

Signals: TERM and INT end the service, HUP reads the settings again and replaces one process after the other,
USR2 does the same with the version of the program that is installed by then (`authz.supervision.handover`).
"""

from __future__ import annotations

import gc
import os
import resource
import selectors
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import uvloop

from authz.config import Settings
from authz.crl_keeping import check_crls
from authz.directory.migrate import migrate
from authz.doors import OPS, Sockets, check_listeners, door_of, tls_of, warn_of_plaintext
from authz.errors import ConfigError, StoreError
from authz.supervision import handover
from authz.supervision.control import Told, tell
from authz.supervision.family import Family, Member, Role
from authz.supervision.keeper import keep
from authz.supervision.metrics import forget_gauges, usage, write_as
from authz.supervision.restarts import LONGEST_DELAY, Restarts
from authz.supervision.rolling import Rolling
from authz.supervision.worker import bound_memory, work
from authz.systemd import notify
from authz.telemetry import Telemetry

TURN_SECONDS: Final = 0.25
"""How often the supervisor looks around, when nothing happens."""

HANG_SECONDS: Final = 5.0
"""How long a child may be silent; its heartbeat comes every half second."""

MEMORY_SECONDS: Final = 5.0
"""How often the workers' memory is looked at."""

READY_SECONDS: Final = 60.0
"""How long a worker may take to be ready once there is a keeper, and the version that is installed to be tried."""

KILL_SECONDS: Final = 5.0
"""How much longer than it may take a child that was told to end lives."""

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
        self._settings = settings
        self._load = load
        self._monotonic = monotonic
        self._telemetry = telemetry or Telemetry()
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._signals: deque[int] = deque()
        self._family = Family(self._selector, self._take)
        self._rolling = Rolling(self._family, self._start_worker, self._replacement_failed)
        self._sockets = Sockets({})
        self._before: tuple[Settings, Sockets, int] | None = None
        self._images: dict[bytes, int] = {}
        self._folder: Path | None = None
        self._era = self._eras = 0
        self._restarts = {role: Restarts() for role in Role}
        self._next_start = dict.fromkeys(Role, 0.0)
        self._died: Counter[str] = Counter({role.value: 0 for role in Role})
        self._announced = False
        self._ending = False
        self._error: ConfigError | None = None
        self._status: dict[str, Any] = {}
        self._looked_at = 0.0
        self._turned_at = 0.0
        self._trying: subprocess.Popen[bytes] | None = None
        self._tried_at = 0.0

    # -- life ----------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until told to end. Raises `ConfigError` or `StoreError` when the service cannot start, or live."""
        try:
            self._begin()
            while not self._ending or len(self._family):
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
            check(self._settings, self._telemetry)
            self._sockets = Sockets.open(self._settings)
            migrate(self._settings.database)
            self._folder = folder_of_metrics()
        else:
            self._inherit(estate)
        handover.let_signals_in()
        warn_of_plaintext(self._settings, self._telemetry.warn)
        for name, opened in self._sockets.items():
            self._telemetry.say("listening", door=name, address=opened.shown)
        # Children share what was there before them for as long as nobody writes to it: nor does the collector.
        gc.collect()
        gc.freeze()

    def _inherit(self, estate: handover.Estate) -> None:
        self._folder, self._images = estate.folder, estate.images
        self._announced = True
        for one in estate.members:
            self._family.adopt(one)
        self._before = self._settings, estate.sockets, handover.OF_ANOTHER_VERSION
        self._sockets = estate.sockets
        try:
            self._sockets = estate.sockets.renewed(self._settings)
            migrate(self._settings.database)
        except (ConfigError, StoreError) as error:
            # The version before tried this, and found nothing wrong.
            self._telemetry.warn(f"the processes of the version before stay: {error}")
            return
        self._rolling.begin(estate.members)

    def _close(self) -> None:
        signal.set_wakeup_fd(-1)
        for one in self._family:
            one.kill(signal.SIGKILL)
        while len(self._family):
            self._family.bury()
            time.sleep(0.001)
        if self._trying is not None:
            self._trying.kill()
            self._trying.wait()
        if self._before is not None:
            self._before[1].close()
        self._sockets.close()
        for image in self._images.values():
            os.close(image)
        self._selector.close()
        self._wake.close()
        self._woken.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _turn(self, now: float) -> None:
        """Everything that may be due, in an order in which each step sees what those before it did."""
        self._forgive_own_absence(now)
        while self._signals:
            self._act_on(self._signals.popleft(), now)
        self._bury(now)
        if self._ending:
            self._end_the_rest(now)
        else:
            self._kill_the_silent(now)
            self._kill_the_unready(now)
            self._start_the_missing(now)
            self._roll(now)
            self._look_at_memory(now)
        self._family.link(now)
        self._kill_the_late(now)
        self._announce()
        self._tell_the_keeper()
        if not self._ending:
            self._leap_when_tried(now)

    def _forgive_own_absence(self, now: float) -> None:
        """Who was paused himself, with all his children perhaps, must not take them for hanging."""
        if now - self._turned_at > HANG_SECONDS / 2:
            for one in self._family:
                one.heard = now
        self._turned_at = now

    def _act_on(self, number: int, now: float) -> None:
        if number in {signal.SIGTERM, signal.SIGINT}:
            self._end(now)
        elif number == signal.SIGHUP and not self._ending:
            self._renew()
        elif number == signal.SIGUSR2 and not self._ending and self._trying is None:
            self._try_what_is_installed(now)

    def _announce(self) -> None:
        keeper, workers = self._family.keeper, [one for one in self._family.workers if one.serving]
        if self._announced or keeper is None or not keeper.serving or len(workers) < self._settings.limits.workers:
            return
        self._announced = True
        self._telemetry.say("ready", process=os.getpid(), workers=len(workers))
        notify("READY=1")

    def _tell_the_keeper(self) -> None:
        keeper = self._family.keeper
        processes = {
            one.place: {"pid": one.pid, "ready": one.serving, **({} if one.checks is None else {"checks": one.checks})}
            for one in self._family
        }
        answering = not self._ending and any(one.serving for one in self._family.workers)
        status = {"processes": processes, "restarts": dict(self._died), "answering": answering}
        if status != self._status and keeper is not None and tell(keeper.control, None, status):
            self._status = status

    # -- children ------------------------------------------------------------------------------------------

    def _start(self, role: Role, now: float) -> Member | None:
        """One more child; None before its time, or where the system gives none."""
        if now < self._next_start[role]:
            return None
        try:
            return self._family.start(role, self._era, now, self._work if role is Role.WORKER else self._keep)
        except OSError as error:
            self._telemetry.warn(f"a {role} cannot be started: {error}")
            self._next_start[role] = now + LONGEST_DELAY
            return None

    def _start_worker(self, now: float) -> Member | None:
        return self._start(Role.WORKER, now)

    def _work(self, place: str, control: socket.socket) -> int:
        """In a worker."""
        self._become(place)
        for image in self._images.values():
            os.close(image)
        self._sockets[OPS].socket.close()
        bound_memory(self._settings.limits.worker_memory)
        return uvloop.run(work(self._settings, self._sockets, control))

    def _keep(self, place: str, control: socket.socket) -> int:
        """In the keeper."""
        self._become(place)
        for name, one in self._sockets.items():
            if name != OPS:
                one.socket.close()
        return uvloop.run(keep(self._settings, self._sockets, control, self._images))

    def _become(self, place: str) -> None:
        """In a child: what is the supervisor's alone is closed."""
        self._selector.close()
        self._wake.close()
        self._woken.close()
        if self._before is not None:
            self._before[1].forget(self._sockets)
        assert self._folder is not None  # noqa: S101 - made before the first child
        write_as(place, self._folder)

    def _take(self, member: Member, told: Told) -> None:
        member.heard = self._monotonic()
        what = told.what
        if "image" in what and told.descriptor is not None:
            self._give_back(what["image"])
            self._images[bytes.fromhex(what["image"])] = told.descriptor
        elif told.descriptor is not None:
            os.close(told.descriptor)
        elif "unlinked" in what:
            member.linked = False
        elif "dropped" in what:
            self._give_back(what["dropped"])
        elif "error" in what:
            member.trouble = what["error"], what.get("hint", "")
        elif "ready" in what:
            member.checks = what.get("checks")
            if what["ready"] and member.ready_since is None:
                member.ready_since = member.heard

    def _give_back(self, sha256: str) -> None:
        image = self._images.pop(bytes.fromhex(sha256), None)
        if image is not None:
            os.close(image)

    def _bury(self, now: float) -> None:
        for member, status in self._family.bury():
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
        elif self._before is not None and ready_for is None and member.era == self._era and not self._proven:
            self._go_back(f"{member.place} did not start: {trouble or how}")
        elif restarts.hopeless and not any(one.serving for one in self._family.of(member.role)):
            self._give_up(
                f"{member.role} started {restarts.fruitless} times and never was ready; the last: {trouble or how}",
                hint or "the log says what each start ended with",
                now,
            )

    @property
    def _proven(self) -> bool:
        """Whether a process of each kind has come to be ready with the settings of now."""
        ready = {one.role for one in self._family if one.era == self._era and one.ready_since is not None}
        return ready == set(Role)

    def _give_up(self, message: str, hint: str, now: float) -> None:
        self._error = self._error or ConfigError(message, hint=hint)
        self._end(now)

    def _start_the_missing(self, now: float) -> None:
        if not self._family.of(Role.KEEPER):
            self._start(Role.KEEPER, now)
        while len(self._family.workers) - self._rolling.additional < self._settings.limits.workers:
            if self._start_worker(now) is None:
                return

    def _kill_the_silent(self, now: float) -> None:
        for one in self._family:
            if one.stopping is None and now - one.heard > HANG_SECONDS:
                self._telemetry.warn(f"{one.place} (process {one.pid}) hangs, and is killed")
                one.heard = now
                one.kill(signal.SIGKILL)

    def _kill_the_unready(self, now: float) -> None:
        """A worker waits for the keeper's CRLs, and for nothing else that may take long."""
        keeper = self._family.keeper
        if keeper is None or keeper.ready_since is None:
            return
        for one in self._family.workers:
            if one.ready_since is None and now - max(one.born, keeper.ready_since) > READY_SECONDS:
                self._telemetry.warn(f"{one.place} (process {one.pid}) does not come to be ready, and is killed")
                one.born = now
                one.kill(signal.SIGKILL)

    def _kill_the_late(self, now: float) -> None:
        patience = self._settings.limits.stop_seconds + KILL_SECONDS
        for one in self._family:
            if one.stopping is not None and now - one.stopping > patience:
                one.kill(signal.SIGKILL)

    def _look_at_memory(self, now: float) -> None:
        if now - self._looked_at < MEMORY_SECONDS:
            return
        self._looked_at = now
        bound = self._settings.limits.worker_memory << 20
        for one in self._family.workers:
            found = usage(one.pid)
            if one.serving and found is not None and found.own > bound and not self._rolling:
                self._telemetry.warn(f"{one.place} (process {one.pid}) has {found.own / (1 << 20):.0f} MiB; replaced")
                self._rolling.begin([one])

    # -- the end -------------------------------------------------------------------------------------------

    def _end(self, now: float) -> None:
        if self._ending:
            return
        self._ending = True
        notify("STOPPING=1")
        self._telemetry.say("stopping")
        self._rolling.forget()
        # Whoever connects from now on shall not wait for an answer that nobody gives.
        if self._before is not None:
            self._before[1].close()
        self._sockets.close()
        for one in self._family.workers:
            one.stop(now)

    def _end_the_rest(self, now: float) -> None:
        for one in self._family.workers:
            one.stop(now)
        if not self._family.of(Role.WORKER):
            for one in self._family:
                one.stop(now)

    # -- other settings, and another version ------------------------------------------------------------------

    def _renew(self) -> None:
        """Take the settings of now, or stay with those of before."""
        between = None if self._before is None else self._before[1]
        try:
            settings = self._load()
            check(settings, self._telemetry)
            sockets = self._sockets.renewed(settings, between)
            if settings.database != self._settings.database:
                migrate(settings.database)
        except (ConfigError, StoreError) as error:
            self._telemetry.warn(f"the settings stay as they were: {error}; {error.hint}")
            return
        if between is None:
            self._before = self._settings, self._sockets, self._era
        else:
            self._sockets.close(sockets, between)
        self._settings, self._sockets = settings, sockets
        self._eras += 1
        self._era = self._eras
        self._telemetry.say("renewing", workers=settings.limits.workers)
        self._rolling.begin(one for one in self._family if one.stopping is None)

    def _roll(self, now: float) -> None:
        self._rolling.step(now, self._settings.limits.workers)
        if self._before is None or self._rolling:
            return
        if any(one.era != self._era or not one.serving for one in self._family) or not self._proven:
            return
        self._before[1].close(self._sockets)
        self._before = None
        self._telemetry.say("renewed", workers=len(self._family.workers))

    def _go_back(self, why: str) -> None:
        """To the settings of before: those of now do not work, or not every process of theirs could be started."""
        if self._before is None:
            return
        self._telemetry.warn(f"the settings stay as they were: {why}")
        settings, sockets, era = self._before
        self._sockets.close(sockets)
        self._before = None
        self._settings, self._sockets, self._era = settings, sockets, era
        try:
            # Their rights, which the listeners' settings of now have changed.
            sockets.renewed(settings)
        except ConfigError as error:
            self._telemetry.warn(str(error))
        self._rolling.forget()
        self._rolling.begin(one for one in self._family if one.era != era and one.stopping is None)

    def _replacement_failed(self, old: Member, new: Member) -> None:
        """It had an accident, or too little memory; that settings do not work was seen before."""
        if old.era != self._era or new.era == self._era:
            # Whose settings hold no more is not left as it is, however long it takes.
            if old.era == self._era and self._restarts[Role.WORKER].hopeless:
                self._telemetry.warn(f"{old.place} stays as it is: its replacements do not start")
                return
            self._rolling.begin([old])

    def _try_what_is_installed(self, now: float) -> None:
        """Whether the program that is installed now would start, before this one makes way for it."""
        self._telemetry.say("upgrading")
        command, environment = [*handover.command(), "--check"], {**os.environ, **handover.announced()}
        try:
            self._trying = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)  # noqa: S603 - our own
        except OSError as error:
            self._telemetry.warn(f"the version that is installed cannot be run: {error}; this one stays")
        self._tried_at = now

    def _leap_when_tried(self, now: float) -> None:
        if self._trying is None:
            return
        code = self._trying.poll()
        if code is None and now - self._tried_at > READY_SECONDS:
            self._trying.kill()
        if code is None or not self._settled:
            return
        self._trying = None
        if code != 0 or self._folder is None:
            self._telemetry.warn(f"the version that is installed does not start (exit code {code}); this one stays")
            return
        try:
            # It reads the settings of now: their sockets have to be there for the taking.
            settings = self._load()
            check(settings, self._telemetry)
            self._sockets.renewed(settings).close(self._sockets)
            handover.leap(self._sockets, self._images, self._folder, self._family, self._signals)
        except (ConfigError, OSError) as error:
            self._telemetry.warn(f"the version that is installed cannot be run: {error}; this one stays")

    @property
    def _settled(self) -> bool:
        """Whether everybody does his work, and nobody is being replaced: only that can be handed over."""
        members = list(self._family)
        whole = all(one.serving and (one.linked or one.role is Role.KEEPER) for one in members)
        return whole and len(members) == self._settings.limits.workers + 1 and not self._rolling and not self._signals


def folder_of_metrics() -> Path:
    """A folder in which the processes write the values of their metrics. Raises `ConfigError`."""
    try:
        return Path(tempfile.mkdtemp(prefix="authz-"))
    except OSError as error:
        raise ConfigError(
            f"there is no temporary folder for the metrics: {error.strerror or error}",
            hint="let TMPDIR name a folder that may be written to; a few MB of tmpfs at /tmp are enough",
        ) from error


def check(settings: Settings, telemetry: Telemetry) -> None:
    """Whether a service of these settings would start, as far as can be told without starting it.

    Raises `ConfigError`.
    """
    for one in settings.listener:
        door_of(one)
        tls_of(one.name, one.tls, telemetry)
    check_listeners(settings)
    check_crls(settings)
    handover.check_version()


def serve(settings: Settings, load: Callable[[], Settings]) -> None:
    """Run the service until it is told to stop. Raises `ConfigError` or `StoreError`."""
    _raise_open_files()
    Supervisor(settings, load).run()


def _raise_open_files() -> None:
    """As many descriptors as the operator allows (`LimitNOFILE=`): the usual soft limit, 1024, is too few."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
