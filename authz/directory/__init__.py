"""Organizations, users, anchors, registered certificates, CRLs and the history of decisions, in SQLite."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from authz.directory.crl_status_tables import CrlStatusTables
    from authz.directory.history import History, HistoryLimits
    from authz.directory.last_seen import LastSeen
    from authz.directory.reader import DirectoryReader
    from authz.directory.store import Store

__all__ = ["CrlStatusTables", "DirectoryReader", "History", "HistoryLimits", "LastSeen", "Store"]

_HOMES: Final = {
    "CrlStatusTables": "authz.directory.crl_status_tables",
    "History": "authz.directory.history",
    "HistoryLimits": "authz.directory.history",
    "LastSeen": "authz.directory.last_seen",
    "DirectoryReader": "authz.directory.reader",
    "Store": "authz.directory.store",
}


def __getattr__(name: str) -> Any:
    """What is named here is imported when it is asked for (PEP 562): the command's verbs need few of the modules."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
