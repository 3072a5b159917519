"""What an operator lets pass where RFC 5280 6.3 says "undetermined": an overdue CRL (grace), or no CRL (soft-fail).

Neither is the default, and neither lets a certificate pass that a CRL lists. `checker.py` decides by it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from authz.pki.x509.certificate import Certificate


class Exemption(StrEnum):
    """What a certificate needed to pass."""

    GRACE = "grace"
    """An applicable CRL is overdue, though not for longer than the grace period."""
    SOFT_FAIL = "unsafe_soft_fail"
    """No CRL is applicable, or only an overdue one."""


@dataclass(frozen=True, slots=True)
class RevocationMode:
    """What is let pass for the certificates of one issuer.

    `grace` is how long after its nextUpdate a CRL still counts as current, `soft` whether a certificate passes
    without an applicable, current CRL. A CRL that is there but cannot be used (an unknown critical extension, an
    algorithm that policy refuses) is not a missing one: `soft` does not cover it.
    """

    grace: timedelta = timedelta(0)
    soft: bool = False


HARD_FAIL: Final = RevocationMode()
"""The default: after nextUpdate, and without a CRL, nothing passes."""

ModeOf = Callable[["Certificate"], RevocationMode]
"""The mode for a certificate."""
