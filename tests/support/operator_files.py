"""The files that an operator has before anything is set up, by the names that the documentation uses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from support.certificates import Authority, chain_pem


def write_files(folder: Path) -> None:
    """A root, its issuing CA, alice's chain, and the CRLs of both, good for a day."""
    now = datetime.now(UTC)
    life = {"not_before": now - timedelta(days=1), "not_after": now + timedelta(days=30)}
    fresh = {"this_update": now - timedelta(hours=1), "next_update": now + timedelta(days=1)}
    root = Authority.root(**life)
    issuing = root.intermediate(**life)
    (folder / "roots.pem").write_text(root.pem)
    (folder / "issuing-ca.pem").write_text(issuing.pem)
    (folder / "alice-chain.pem").write_text(chain_pem(issuing.leaf("alice", **life), issuing))
    (folder / "root.crl").write_bytes(root.crl(**fresh))
    (folder / "issuing-ca.crl").write_bytes(issuing.crl(**fresh))
