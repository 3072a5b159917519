"""What an operator lets pass where RFC 5280 section 6.3 says "unknown": a late CRL for a while, or its absence.

Neither is the default, and neither ever lets a certificate pass that a CRL lists.
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
    """A CRL that speaks for it is out of date, though not for longer than the operator bears."""
    SOFT_FAIL = "unsafe_soft_fail"
    """No CRL speaks for it, or only one that is out of date."""


@dataclass(frozen=True, slots=True)
class RevocationMode:
    """For the certificates of one issuer, what is let pass.

    `grace` is how long after its nextUpdate a CRL goes on counting as current, `soft` whether a certificate
    passes for which no current CRL speaks. A CRL that is held and cannot be used (a critical extension that is
    unknown, an algorithm that policy refuses) is not a missing one: `soft` does not cover it.
    """

    grace: timedelta = timedelta(0)
    soft: bool = False


HARD_FAIL: Final = RevocationMode()
"""The default: after nextUpdate, and without a CRL, nothing passes."""

ModeOf = Callable[["Certificate"], RevocationMode]
"""How much is let pass about a certificate."""
