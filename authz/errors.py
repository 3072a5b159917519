"""The errors that the package raises, by whose fault it is.

AuthzError
├── Refused        the client's: it becomes a Deny with a reason (`authz.decision.evaluate` alone does that)
├── NotLoaded      no fault: a view lacks a row that the caller can load before it asks again
├── ConfigError    the operator's: a setting or file; the service refuses to start, the command exits with 1
├── IndexingError  the machine's: the index of a CRL could not be built, or is invalid
└── StoreError     the directory's: it could not be read or written
"""

from __future__ import annotations

from collections.abc import Hashable

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


class ConfigError(AuthzError):
    """A setting or a file that the operator gave cannot be used; `hint` says what to do."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class IndexingError(AuthzError):
    """A process died, or ran out of time or memory, while it built the index of a CRL, or its response is invalid.

    This is no verdict on the CRL. The message is a sentence for the operator; it may quote the process, so
    escape it where it is shown.
    """


class StoreError(AuthzError):
    """The directory refused, or could not be read or written; `hint` says what to do."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint
