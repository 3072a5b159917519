"""Whether a service would start; asked also before it takes other settings, and before another version takes over."""

from __future__ import annotations

from authz.app.config import Settings
from authz.app.crls import check_crls
from authz.app.listeners import check_listeners, listener_of, tls_of
from authz.supervision import binary_upgrade as handover
from authz.telemetry import Telemetry


def check(settings: Settings, telemetry: Telemetry) -> None:
    """Whether a service of these settings would start, as far as can be told without starting it.

    Raises `ConfigError`.
    """
    for one in settings.listener:
        listener_of(one)
        tls_of(one.name, one.tls, telemetry)
    check_listeners(settings)
    check_crls(settings)
    handover.check_version()
