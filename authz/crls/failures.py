"""Why a CRL could not be fetched, or was not accepted, in a few words that do not change."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from enum import StrEnum

from authz.errors import AuthzError
from authz.text import shown


class FailureKind(StrEnum):
    """Why a CRL could not be fetched, or was not accepted; also the label of a metric."""

    SCHEME = "scheme"
    """The URL is not of http or https: ldap, say."""
    URL = "url"
    """The URL is malformed, too long, or holds credentials."""
    HOST_NOT_ALLOWED = "host_not_allowed"
    """The host is not on the operator's list."""
    ADDRESS_NOT_ALLOWED = "address_not_allowed"
    """An address of the host is not public, or is spelled in disguise."""
    DNS = "dns"
    """The host's name has no address."""
    CONNECT = "connect"
    """No connection: refused, unreachable."""
    TLS = "tls"
    """No TLS: a certificate that is not trusted, no protocol in common."""
    TIMEOUT = "timeout"
    """Too slow, in connecting, in silence, or in all."""
    RESET = "reset"
    """The server hung up without an answer."""
    PROTOCOL = "protocol"
    """What came is not HTTP, or its header is too large."""
    REDIRECT = "redirect"
    """The server redirects; redirects are not followed."""
    STATUS = "status"
    """Another status than 200, or a 304 that was not asked for."""
    ENCODING = "encoding"
    """A content encoding that was not asked for."""
    TOO_LARGE = "too_large"
    """More bytes than a CRL may have."""
    TRUNCATED = "truncated"
    """The body ended before it was complete."""
    EMPTY = "empty"
    """No body."""
    NOT_A_CRL = "not_a_crl"
    """Neither one DER sequence that fills the body, nor one CRL in PEM."""
    STORAGE = "storage"
    """Our own disk: full, failing."""
    FILE = "file"
    """A file or folder of the operator's that cannot be read."""
    INDEXING = "indexing"
    """The process that reads large CRLs died, or ran out of time or memory."""

    MALFORMED = "malformed"
    """It looks like a CRL, and is not well-formed."""
    SIGNER_UNKNOWN = "signer_unknown"
    """No CA that is known here, or stands on a path that led to the source, signed it."""
    ALGORITHM = "algorithm"
    """It is signed with an algorithm, or under a key, that is not accepted."""
    UNUSABLE = "unusable"
    """It can prove no certificate good; what it lists is revoked, and it replaces no other CRL."""
    NOT_YET = "not_yet"
    """It begins later than now."""
    OLDER = "older"
    """The CRL held is newer."""
    DISAGREES = "disagrees"
    """By its number it is newer than the one held, by its date older, or the other way round."""
    TOO_MANY = "too_many"
    """Too many delta CRLs are held that nothing newer replaces, or too many CRLs from one source."""

    @property
    def of_content(self) -> bool:
        """Whether something came and was refused, rather than nothing usable having come."""
        return self in _OF_CONTENT


_OF_CONTENT = frozenset(
    {
        FailureKind.EMPTY,
        FailureKind.NOT_A_CRL,
        FailureKind.MALFORMED,
        FailureKind.SIGNER_UNKNOWN,
        FailureKind.ALGORITHM,
        FailureKind.UNUSABLE,
        FailureKind.NOT_YET,
        FailureKind.OLDER,
        FailureKind.DISAGREES,
        FailureKind.TOO_MANY,
    }
)


class FetchFailed(AuthzError):
    """A CRL could not be fetched, or was not accepted: `kind` says why, `detail` more about it, safe to show."""

    def __init__(self, kind: FailureKind, detail: str) -> None:
        super().__init__(kind, detail)
        self.kind = kind
        self.detail = shown(detail)

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}"


Row = tuple[tuple[type[Exception], ...], FailureKind]


@contextlib.contextmanager
def raised_as(rows: tuple[Row, ...]) -> Iterator[None]:
    """Raise an error as the `FetchFailed` of the first of `rows` that has its type; any other goes on as it is."""
    try:
        yield
    except tuple(error_type for types, _ in rows for error_type in types) as error:
        kind = next(kind for types, kind in rows if isinstance(error, types))
        raise FetchFailed(kind, str(error) or type(error).__name__) from error
