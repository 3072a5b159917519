"""Organizations, users, anchors, registered certificates, CRLs and the history of decisions, in SQLite."""

from authz.directory.crl_status_tables import CrlStatusTables
from authz.directory.history import History, HistoryLimits
from authz.directory.reader import DirectoryReader
from authz.directory.store import Store

__all__ = ["CrlStatusTables", "DirectoryReader", "History", "HistoryLimits", "Store"]
