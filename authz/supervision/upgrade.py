"""The version of the program that is installed by now takes over, once it was tried and everybody does his work."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sized
from pathlib import Path
from typing import Final

from authz.errors import ConfigError
from authz.supervision import binary_upgrade as handover
from authz.supervision.inherited_images import Images
from authz.supervision.process_table import Family, Role
from authz.supervision.reload import Renewing
from authz.telemetry import Telemetry

TRIAL_SECONDS: Final = 60.0
"""How long the version that is installed may take to say whether it would start."""


class Upgrade:
    """At most one at a time; `unheard` are the signals that nobody acted on yet."""

    def __init__(
        self, family: Family, renewing: Renewing, images: Images, unheard: Sized, telemetry: Telemetry
    ) -> None:
        self._family = family
        self._renewing = renewing
        self._images = images
        self._unheard = unheard
        self._telemetry = telemetry
        self._trial: subprocess.Popen[bytes] | None = None
        self._began_at = 0.0

    def begin(self, now: float) -> None:
        """Try whether the program that is installed now would start, before this one makes way for it."""
        if self._trial is not None:
            return
        self._telemetry.say("upgrading")
        command, environment = [*handover.command(), "--check"], {**os.environ, **handover.announced()}
        try:
            self._trial = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)  # noqa: S603 - our own
        except OSError as error:
            self._telemetry.warn(f"the version that is installed cannot be run: {error}; this one stays")
        self._began_at = now

    def step(self, now: float, folder: Path | None) -> None:
        """Make way for it when it was tried; `folder` is that of the metrics."""
        if self._trial is None:
            return
        code = self._trial.poll()
        if code is None and now - self._began_at > TRIAL_SECONDS:
            self._trial.kill()
        if code is None or not self.settled:
            return
        self._trial = None
        if code != 0 or folder is None:
            self._telemetry.warn(f"the version that is installed does not start (exit code {code}); this one stays")
            return
        try:
            handover.leap(self._renewing.open_for_another(), self._images, folder, self._family, self._unheard)
        except (ConfigError, OSError) as error:
            self._telemetry.warn(f"the version that is installed cannot be run: {error}; this one stays")

    @property
    def settled(self) -> bool:
        """Whether everybody does his work, and nobody is being replaced: only that can be handed over."""
        members = list(self._family)
        whole = all(one.serving and (one.linked or one.role is Role.KEEPER) for one in members)
        complete = len(members) == self._renewing.now.settings.limits.workers + 1
        return whole and complete and not self._renewing.rolling and not self._unheard

    def close(self) -> None:
        """What is being tried ends, too."""
        if self._trial is not None:
            self._trial.kill()
            self._trial.wait()
