"""What of a recorded decision can be decided again: the history keeps no token, and headers only where they count."""

from __future__ import annotations

from authz.model import RecordedDecision
from authz.reasons import Gate, Reason

_GATES = {reason.value: reason.gate for reason in Reason}


def obstacle_to_replay(decision: RecordedDecision) -> str:
    """Why nothing of the request can be decided again; empty if it can, at least up to its token."""
    if decision.headers is None:
        return "the certificate header of this request was too large to be kept"
    if _GATES.get(decision.reason) is Gate.REQUEST:
        return "this request could not be read, and nothing of it was kept"
    return ""


def headers_were_kept(decision: RecordedDecision) -> bool:
    """Whether the certificate headers are those of the request: without a user, only where their own gate refused."""
    return bool(decision.user) or _GATES.get(decision.reason) is Gate.HEADER


def can_be_replayed(decision: RecordedDecision) -> bool:
    """Whether a replay reaches the gate that refused: of a token that was refused nothing is kept."""
    token = not decision.user and _GATES.get(decision.reason) is Gate.USER
    return not obstacle_to_replay(decision) and not token
