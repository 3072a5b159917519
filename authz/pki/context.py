"""What one validation is made with, besides the certificates: the same for every certificate and CRL it meets."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from datetime import datetime

    from authz.pki.budget import Budget
    from authz.pki.revocation.crl_store import CrlStore
    from authz.pki.revocation.mode import ModeOf
    from authz.pki.validation_policy import ValidationPolicy


class Validation(NamedTuple):
    """The inputs of one call of `verify_path`.

    `at` is aware and has no fraction of a second. `crls` is None where revocation is not checked, `mode_of` None
    where every issuer is hard-fail. `budget` alone changes: it is spent.
    """

    at: datetime
    policy: ValidationPolicy
    budget: Budget
    crls: CrlStore | None
    mode_of: ModeOf | None = None
