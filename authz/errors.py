"""The errors that the package raises, by whose fault it is.

AuthzError
├── Refused        the client's: it becomes a Deny with a reason (`authz.decision.evaluate` alone does that)
├── NotLoaded      no fault: a view lacks a row that the caller can load before it asks again
├── AdvisedError
│   ├── ConfigError  the operator's: a setting or file; the service refuses to start, the command exits with 1
│   └── StoreError   the directory's: it refused, or could not be read or written
└── IndexingError  the machine's: the index of a CRL could not be built, or is invalid
"""

from __future__ import annotations

from collections.abc import Hashable
from enum import StrEnum, auto

from authz.reasons import Reason


class AuthzError(Exception):
    """The base of every error this package raises on purpose."""


class Refused(AuthzError):
    """A request, certificate or CRL is refused.

    `reason` is the stable reason, `detail` a sentence for the operator that may quote outside input
    (escape it where it is shown), `certificate` the DER of the certificate refused, if any, and `path`
    the DER certificates of its path, leaf first.
    """

    def __init__(
        self, reason: Reason, detail: str = "", *, certificate: bytes | None = None, path: tuple[bytes, ...] = ()
    ) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail
        self.certificate = certificate
        self.path = path

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail or self.reason.sentence}"


class NotLoaded(AuthzError):
    """A view lacks a row at its revision: load `key`, then decide again from the start."""

    def __init__(self, key: Hashable) -> None:
        super().__init__(key)
        self.key = key


class Problem(StrEnum):
    """What a caller words its own advice for, beside the sentence of the error: see `AdvisedError`."""

    ANCHOR_NOT_NAMED = auto()
    ANCHOR_NOT_SELF_SIGNED = auto()
    AUDIT_ENTRY_UNKNOWN = auto()
    CA_UNREADABLE = auto()
    CERTIFICATE_REGISTERED = auto()
    CERTIFICATE_UNKNOWN = auto()
    CRL_EXPIRED = auto()
    CRL_NUMBER_WENT_BACK = auto()
    CRL_SIGNER_UNKNOWN = auto()
    CRL_SOURCE_UNKNOWN = auto()
    CRL_UNKNOWN = auto()
    DECISION_UNKNOWN = auto()
    DIRECTORY_CHANGED = auto()
    IS_A_CA = auto()
    IS_A_CRL = auto()
    IS_NO_CA = auto()
    KIND_NOT_ALLOWED = auto()
    NAME_NOT_CLEAR = auto()
    ORGANIZATION_EXISTS = auto()
    ORGANIZATION_UNKNOWN = auto()
    PERIOD_IS_EMPTY = auto()
    REGISTRATION_UNKNOWN = auto()
    TOKENS_CROSS = auto()
    USER_EXISTS = auto()
    USER_UNKNOWN = auto()


class AdvisedError(AuthzError):
    """An error with advice.

    `hint` says what to do, where that is the same for every caller; else `kind` says what kind of problem it is, and
    `about` holds the names and ids that a caller's advice may mention.
    """

    def __init__(self, message: str, *, hint: str = "", kind: Problem | None = None, **about: object) -> None:
        super().__init__(message)
        self.hint = hint
        self.kind = kind
        self.about = about


class ConfigError(AdvisedError):
    """A setting or a file that the operator gave cannot be used."""


class StoreError(AdvisedError):
    """The directory refused, or could not be read or written."""


class IndexingError(AuthzError):
    """A process died, or ran out of time or memory, while it built the index of a CRL, or its response is invalid.

    This is no verdict on the CRL. The message is a sentence for the operator; it may quote the process, so
    escape it where it is shown.
    """
