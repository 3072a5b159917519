"""The payload of a token that the proxy verified (Envoy's jwt_authn, `forward_payload_header`).

The proxy verified the signature; issuer, audience and times are checked here, at every check. The proxy
does not pass the token's header on, so that its `typ` is unknown: an organization that requires a `typ`
accepts no payload. Decoded payloads are cached.
"""

from __future__ import annotations

from dataclasses import InitVar, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from authz.errors import Refused
from authz.identity.base64url import decode_base64url
from authz.identity.claims import ReadClaims
from authz.identity.claims_cache import ClaimsCache
from authz.identity.single_header import single_value
from authz.identity.strict_json import read_object
from authz.model import Identity
from authz.pki.cache import SharedCache
from authz.reasons import Reason

if TYPE_CHECKING:
    from datetime import datetime

    from authz.model import CheckRequest, Organization

MAX_PAYLOAD: Final = 16 * 1024
"""Bytes of a payload header: twice the 8 KB that servers allow for all of a client's headers by default."""


@dataclass(frozen=True, slots=True)
class PayloadHeader:
    """The claims of a verified token in `header`, as base64url of their JSON."""

    header: str
    memory: InitVar[SharedCache | None] = None
    _cache: ClaimsCache = field(init=False, repr=False, compare=False)

    def __post_init__(self, memory: SharedCache | None) -> None:
        object.__setattr__(self, "_cache", ClaimsCache(SharedCache() if memory is None else memory))

    def identify(self, check: CheckRequest, organization: Organization, now: datetime) -> Identity:
        """The identity; see `authz.view.IdentitySource`. Raises what `identity_from_claims` raises, too."""
        value = single_value(check, self.header)
        if b"," in value:
            raise Refused(Reason.IDENTITY_AMBIGUOUS, f"{self.header} holds several values joined")
        claims = self._cache.get(organization.id, value)
        if claims is not None:
            return claims.identity(organization, now)
        claims = ReadClaims(read_claims(value))
        identity = claims.identity(organization, now)
        # Only now is it known to be the organization's own: other payloads must not fill its cache.
        self._cache.put(organization.id, value, claims)
        return identity


def read_claims(value: bytes) -> dict[str, Any]:
    """The JSON object in base64url, with or without padding. Raises `Refused` (identity_malformed)."""
    if len(value) > MAX_PAYLOAD:
        raise Refused(Reason.IDENTITY_MALFORMED, f"a payload of {len(value)} bytes")
    try:
        return read_object(decode_base64url(value))
    except ValueError as error:
        raise Refused(Reason.IDENTITY_MALFORMED, f"payload: {error}") from error
