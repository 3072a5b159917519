"""Organizations, users, anchors, registered certificates and CRLs, in SQLite."""

from authz.directory.reader import DirectoryReader
from authz.directory.store import Store

__all__ = ["DirectoryReader", "Store"]
