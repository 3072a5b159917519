"""Other settings for a service that runs: taken when every process has come to be ready with them, or given up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from authz.app.config import Settings
from authz.app.listeners import Sockets
from authz.directory.sqlite.migrate import migrate
from authz.errors import ConfigError, StoreError
from authz.supervision.binary_upgrade import OF_ANOTHER_VERSION, Estate
from authz.supervision.config_check import check
from authz.supervision.process_table import Family, Member, Role
from authz.supervision.rolling_restart import Rolling
from authz.telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class Terms:
    """What processes are started with; `era` is the number that they have in common."""

    settings: Settings
    sockets: Sockets
    era: int


class Renewing:
    """The terms of `now`, those of `before` until every process has those of now, and who is still to be replaced.

    `load` reads the settings again, `start` starts a worker, or says with None that it cannot be done now;
    `hopeless` says whether to try that again is of no use.
    """

    def __init__(
        self,
        settings: Settings,
        load: Callable[[], Settings],
        family: Family,
        telemetry: Telemetry,
        *,
        start: Callable[[float], Member | None],
        hopeless: Callable[[], bool],
    ) -> None:
        self.now = Terms(settings, Sockets({}), era=0)
        self.before: Terms | None = None
        self._load = load
        self._family = family
        self._telemetry = telemetry
        self._hopeless = hopeless
        self._eras = 0
        self.rolling = Rolling(family, start, self._replacement_failed)

    def begin(self) -> None:
        """The first terms: sockets and directory are made. Raises `ConfigError` or `StoreError`."""
        settings = self.now.settings
        check(settings, self._telemetry)
        self.now = replace(self.now, sockets=Sockets.open(settings))
        migrate(settings.database)

    def inherit(self, estate: Estate) -> None:
        """Processes and sockets of the version before: all are replaced."""
        settings = self.now.settings
        self.before = Terms(settings, estate.sockets, OF_ANOTHER_VERSION)
        self.now = replace(self.now, sockets=estate.sockets)
        try:
            self.now = replace(self.now, sockets=estate.sockets.renewed(settings))
            migrate(settings.database)
        except (ConfigError, StoreError) as error:
            # The version before tried this, and found nothing wrong.
            self._telemetry.warn(f"the processes of the version before stay: {error}")
            return
        self.rolling.begin(estate.members)

    def renew(self) -> None:
        """Take the settings that are read now, or stay with those of before."""
        between = None if self.before is None else self.before.sockets
        try:
            settings = self._load()
            check(settings, self._telemetry)
            sockets = self.now.sockets.renewed(settings, between)
            if settings.database != self.now.settings.database:
                migrate(settings.database)
        except (ConfigError, StoreError) as error:
            self._telemetry.warn(f"the settings stay as they were: {error}; {error.hint}")
            return
        if between is None:
            self.before = self.now
        else:
            self.now.sockets.close(sockets, between)
        self._eras += 1
        self.now = Terms(settings, sockets, self._eras)
        self._telemetry.say("renewing", workers=settings.limits.workers)
        self.rolling.begin(one for one in self._family if one.stopping is None)

    def step(self, now: float) -> None:
        """Replace who is still to be replaced, as far as possible."""
        self.rolling.step(now, self.now.settings.limits.workers)
        if self.before is None or self.rolling:
            return
        if any(one.era != self.now.era or not one.serving for one in self._family) or not self._proven:
            return
        self.before.sockets.close(self.now.sockets)
        self.before = None
        self._telemetry.say("renewed", workers=len(self._family.workers))

    @property
    def _proven(self) -> bool:
        """Whether a process of each kind has come to be ready with the settings of now."""
        ready = {one.role for one in self._family if one.era == self.now.era and one.ready_since is not None}
        return ready == set(Role)

    def blames(self, member: Member) -> bool:
        """Whether it is for the settings of now that a process ended, and those of before are to hold again."""
        return (
            self.before is not None and member.ready_since is None and member.era == self.now.era and not self._proven
        )

    def go_back(self, why: str) -> None:
        """To the settings of before: those of now do not work, or not every process of theirs could be started."""
        if self.before is None:
            return
        self._telemetry.warn(f"the settings stay as they were: {why}")
        self.now.sockets.close(self.before.sockets)
        self.now, self.before = self.before, None
        try:
            # Their rights, which the listeners' settings of now have changed.
            self.now.sockets.renewed(self.now.settings)
        except ConfigError as error:
            self._telemetry.warn(str(error))
        self.rolling.forget()
        self.rolling.begin(one for one in self._family if one.era != self.now.era and one.stopping is None)

    def _replacement_failed(self, old: Member, new: Member) -> None:
        """It had an accident, or too little memory; that settings do not work was seen before."""
        if old.era == self.now.era and new.era != self.now.era:
            return
        # Whose settings hold no more is not left as it is, however long it takes.
        if old.era == self.now.era and self._hopeless():
            self._telemetry.warn(f"{old.place} stays as it is: its replacements do not start")
            return
        self.rolling.begin([old])

    def open_for_another(self) -> Sockets:
        """The sockets for another version of the program, which reads the settings of now: all have to be there.

        Raises `ConfigError`.
        """
        settings = self._load()
        check(settings, self._telemetry)
        self.now.sockets.renewed(settings).close(self.now.sockets)
        return self.now.sockets

    def forget(self) -> None:
        """In a child: the sockets of before are closed, but for those that stay."""
        if self.before is not None:
            self.before.sockets.forget(self.now.sockets)

    def close(self) -> None:
        """Close all sockets, and replace no more."""
        self.rolling.forget()
        if self.before is not None:
            self.before.sockets.close()
        self.now.sockets.close()
