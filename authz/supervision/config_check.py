"""Whether a service would start; checked also before it takes other settings, and before another version takes over."""

from __future__ import annotations

from authz.app.config import Settings
from authz.app.crls import check_crls
from authz.app.listeners import check_listeners, listener_of, tls_of
from authz.directory.sqlite.version import check_directory
from authz.supervision.binary_upgrade import check_version
from authz.telemetry import Telemetry


def check(settings: Settings, telemetry: Telemetry) -> None:
    """Whether a service of these settings would start, as far as that can be known without starting it.

    Raises `ConfigError`, or `StoreError` where the directory is not there or not of this version.
    """
    for listener in settings.listener:
        listener_of(listener)
        tls_of(listener.name, listener.tls, telemetry)
    check_listeners(settings)
    check_crls(settings)
    check_directory(settings.database)
    check_version()
