"""Whether a service would start; checked also before it takes other settings, and before another version takes over."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from authz.app.config import ListenerSettings, Settings, TlsSettings
from authz.app.crls import check_crls, folder_of
from authz.app.listeners import OPS, Sockets, check_listeners, listener_of, tls_of
from authz.directory.database import VERSION
from authz.directory.databases import database_of
from authz.supervision.binary_upgrade import check_version
from authz.telemetry import Telemetry


def check(settings: Settings, telemetry: Telemetry) -> None:
    """Whether a service of these settings would start, as far as that can be known without starting it.

    Raises `ConfigError`, or `StoreError` where the directory is not there or not of this version.
    """
    deque(checked(settings, telemetry), maxlen=0)


def checked(settings: Settings, telemetry: Telemetry) -> Iterator[tuple[str, str]]:
    """What is checked, and as what it was found good, one after the other. Raises as `check` does."""
    for listener in settings.listener:
        listener_of(listener)
        tls_of(listener.name, listener.tls, telemetry)
        yield f"listener {listener.name}", _files_of(listener)
    tls_of(OPS, settings.ops.tls, telemetry)
    yield "operators' listener", _tls_files(settings.ops.tls) or "it needs no file"
    check_listeners(settings)
    yield "addresses", "each may be listened at"
    check_crls(settings)
    yield "folder of CRLs", str(folder_of(settings))
    database = database_of(settings.database)
    database.check()
    yield "directory", f"{database.name}, version {VERSION}"
    check_version()


def check_sockets(settings: Settings) -> Iterator[tuple[str, str]]:
    """Open every socket as a start does, and close it again. Raises `ConfigError`."""
    opened = Sockets.open(settings)
    try:
        for name, listening in opened.items():
            yield f"socket of {name}", listening.shown
    finally:
        opened.close()


def _files_of(listener: ListenerSettings) -> str:
    anchors = [str(proxy.anchors) for proxy in listener.trusted_proxies]
    return ", ".join(filter(None, (_tls_files(listener.tls), *anchors))) or "it needs no file"


def _tls_files(tls: TlsSettings | None) -> str:
    return "" if tls is None else f"{tls.certificate}, {tls.key}, {tls.client_ca}"
