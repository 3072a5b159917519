"""Which refusal is told when every path failed: the one that brings its reader furthest.

A path that failed late came close to being good, so what stopped it is what to mend; that some other
candidate had the wrong key says nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from authz.reasons import Reason

if TYPE_CHECKING:
    from authz.errors import Refused

# Most useful first. "Revoked" stands before "unknown": it is known of one path, however others are.
USEFULNESS: Final = (
    Reason.BUDGET_EXCEEDED,
    Reason.CERTIFICATE_REVOKED,
    Reason.REVOCATION_UNKNOWN,
    Reason.POLICY_NOT_ALLOWED,
    Reason.NAME_CONSTRAINT_VIOLATED,
    Reason.NAME_CONSTRAINT_UNSUPPORTED,
    Reason.EXTENDED_KEY_USAGE_NOT_ALLOWED,
    Reason.PATH_LENGTH_EXCEEDED,
    Reason.CERTIFICATE_EXPIRED,
    Reason.CERTIFICATE_NOT_YET_VALID,
    Reason.CRITICAL_EXTENSION_UNKNOWN,
    Reason.KEY_USAGE_NOT_ALLOWED,
    Reason.NOT_A_CA,
    Reason.KEY_SIZE_NOT_ALLOWED,
    Reason.ALGORITHM_NOT_ALLOWED,
    Reason.CERTIFICATE_MALFORMED,
    Reason.SIGNATURE_INVALID,
    Reason.CERTIFICATE_SELF_SIGNED,
    Reason.ISSUER_UNKNOWN,
)
_RANK: Final = {reason: -position for position, reason in enumerate(USEFULNESS)}


def most_specific(known: Refused | None, new: Refused) -> Refused:
    """The refusal of the two that is told; of equals the longer path's, then the one met first."""
    if known is None:
        return new
    return max(known, new, key=lambda one: (_RANK.get(one.reason, -len(USEFULNESS)), len(one.path)))
