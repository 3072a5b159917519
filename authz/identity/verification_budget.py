"""Bounds what an organization's tokens that were not seen before cost the others: anybody can send such tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa

from authz.errors import Refused
from authz.reasons import Reason

USUAL_SECONDS: Final = 0.00025
"""Time of the one thread that a verification takes: measured, 0.2 ms with P-256, 0.25 with Ed25519."""

_SECONDS: Final = {"secp384r1": 0.0015, "secp521r1": 0.0015}


def verification_seconds(key: object) -> float:
    """The time that one verification with a public key takes; a tenant chooses its keys, and may choose expensive ones.

    RSA: measured, 1.2 ms with 8,192 bits and an exponent of 32; quadratic in the modulus, linear in the exponent.
    """
    if isinstance(key, rsa.RSAPublicKey):
        exponent = key.public_numbers().e.bit_length()
        return max(USUAL_SECONDS, (key.key_size / 8192) ** 2 * exponent * 0.00004)
    if isinstance(key, ec.EllipticCurvePublicKey):
        return _SECONDS.get(key.curve.name, USUAL_SECONDS)
    return 0.0006 if isinstance(key, ed448.Ed448PublicKey) else USUAL_SECONDS


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

    def spend(self, organization: int, seconds: float) -> None:
        """Account for one verification. Raises `Refused` (overloaded), which the proxy may try at another worker."""
        now = self._monotonic()
        full_at = max(self._full_at.get(organization, now), now) + seconds / SHARE
        if full_at - now > BURST_SECONDS / SHARE:
            raise Refused(Reason.OVERLOADED, "too many of the organization's tokens are new: their verification waits")
        self._full_at[organization] = full_at
