"""Bounds what an organization's tokens that were not seen before cost the others: anybody can send such tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from authz.errors import Refused
from authz.reasons import Reason

SECONDS: Final = {"ES384": 0.0015, "ES512": 0.0015}
"""Time of the one thread that a verification takes; measured, 0.2 ms with ES256, 0.25 with Ed25519, 0.5 with Ed448."""

USUAL_SECONDS: Final = 0.00025

SHARE: Final = 0.1
"""Of the time of a worker: 400 tokens with ES256 in a second, and its other organizations lose a tenth of it."""

BURST_SECONDS: Final = 0.5
"""Time that may be used at once: 2,000 tokens with ES256, for a worker that has just started and has seen none."""


class VerificationBudget:
    """For each organization a bucket of verification time, which fills at `SHARE`; `monotonic` gives seconds.

    Each bucket is kept as the time at which it will be full (the generic cell rate algorithm, ITU-T I.371).
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._full_at: dict[int, float] = {}

    def spend(self, organization: int, algorithm: str) -> None:
        """Account for one verification. Raises `Refused` (overloaded), which the proxy may try at another worker."""
        now = self._monotonic()
        full_at = max(self._full_at.get(organization, now), now) + SECONDS.get(algorithm, USUAL_SECONDS) / SHARE
        if full_at - now > BURST_SECONDS / SHARE:
            raise Refused(Reason.OVERLOADED, "too many of the organization's tokens are new: their verification waits")
        self._full_at[organization] = full_at
