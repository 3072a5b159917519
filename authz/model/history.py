"""The decisions that the history keeps."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


class Outcome(StrEnum):
    """Why a decision is kept: it denied, or `observe` allowed a request that `required` would have denied.

    Allowed requests are kept only if the settings say so.
    """

    DENIED = "denied"
    OBSERVED = "observed"
    ALLOWED = "allowed"


class KeptAllowed(StrEnum):
    """Which allowed requests the history keeps."""

    NONE = "none"
    FIRST_PER_DAY = "first-per-day"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class RecordedDecision:
    """One decision of the history, with the headers needed to decide the same request again.

    `reason` is the reason's value, of this version or an earlier one. `organization`, `user`, `certificate`
    (SHA-256 of the leaf) and `subject` are set as far as the gates got. `headers` are those that gate 1
    looks at, undecoded; None if they were too large to keep. `target` ends before the query. No
    token and no other header is kept.

    `organization_id` is never that of another organization of the same name. `proven`: the directory has the user.
    Without a user, decisions that are alike are merged: this is the last of `repeats`, the first was at `first_at`.
    """

    decision_id: str
    at: datetime
    listener: str
    outcome: Outcome
    reason: str
    detail: str = ""
    host: str = ""
    method: str = ""
    target: str = ""
    organization: str = ""
    user: str = ""
    confirmation: bytes | None = None
    certificate: bytes | None = None
    subject: str = ""
    headers: tuple[tuple[bytes, bytes], ...] | None = None
    organization_id: int | None = None
    proven: bool = False
    repeats: int = 1
    first_at: datetime | None = None
