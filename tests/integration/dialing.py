"""How tests talk to a stage."""

from __future__ import annotations

from collections.abc import Callable

from authz.demo import Stage
from authz.demo.client import Connection

Dial = Callable[..., Connection]
"""`dial(stage, "alice", context=…)`: a connection as the holder of a certificate."""


def bearer(stage: Stage, user: str) -> list[tuple[str, str]]:
    """The header with a token for `user`."""
    return [("authorization", f"Bearer {stage.token(user)}")]
