"""Which refusal is reported when every path failed: the most specific one.

A path that failed late came close to being good, so its failure is what to correct; that another candidate had the
wrong key says little.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from authz.reasons import Reason

if TYPE_CHECKING:
    from authz.errors import Refused

# Most specific first. "Revoked" stands before "unknown": it is certain for one path.
MOST_SPECIFIC_FIRST: Final = (
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
_RANK: Final = {reason: -position for position, reason in enumerate(MOST_SPECIFIC_FIRST)}
_LAST: Final = -len(MOST_SPECIFIC_FIRST)


def most_specific(known: Refused | None, new: Refused) -> Refused:
    """The refusal of the two that is reported; of equals the longer path's, then `known`."""
    return new if known is None or outranks(new, len(new.path), known) else known


def outranks(new: Refused, length: int, known: Refused) -> bool:
    """Whether `new`, met on a path of `length` certificates, is reported instead of `known`."""
    return _rank(new, length) > _rank(known, len(known.path))


def _rank(refusal: Refused, length: int) -> tuple[int, int]:
    return _RANK.get(refusal.reason, _LAST), length
