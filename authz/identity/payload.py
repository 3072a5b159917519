"""The payload of a token that the proxy verified (Envoy's jwt_authn, `forward_payload_header`).

The proxy verified the signature; issuer, audience and times are checked here, at every check. The proxy
does not pass the token's header on, so that its `typ` is unknown: an organization that requires a `typ`
accepts no payload. Decoded payloads are cached.
"""

from __future__ import annotations

from contextlib import suppress
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


MAX_STATUS: Final = 1024
"""Bytes of a status: a number and one of some sixty sentences."""


@dataclass(frozen=True, slots=True)
class PayloadHeader:
    """The claims of a verified token in `header`, as base64url of their JSON.

    Without them, `status_header` says why: `failed_status_in_metadata` of jwt_authn, which decides nothing else.
    """

    header: str
    memory: InitVar[SharedCache | None] = None
    status_header: str | None = None
    _cache: ClaimsCache = field(init=False, repr=False, compare=False)

    def __post_init__(self, memory: SharedCache | None) -> None:
        object.__setattr__(self, "_cache", ClaimsCache(SharedCache() if memory is None else memory))

    def identify(self, check: CheckRequest, organization: Organization, now: datetime) -> Identity:
        """The identity; see `authz.view.IdentitySource`. Raises what `identity_from_claims` raises, too."""
        try:
            value = single_value(check, self.header)
        except Refused as refusal:
            raise (self._why_missing(check) if refusal.reason is Reason.IDENTITY_MISSING else None) or refusal from None
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

    def _why_missing(self, check: CheckRequest) -> Refused | None:
        """The refusal for what the proxy says about the token, if it says anything."""
        with suppress(Refused, ValueError):
            status = read_object(single_value(check, self.status_header or self.header)[:MAX_STATUS])
            # One provider's status, or the metadata of the filter: a status for each provider.
            statuses = [each for each in (status, *status.values()) if isinstance(each, dict) and "message" in each]
            refusals = [_refusal(str(each["message"])) for each in statuses]
            # Each provider refuses the tokens of another's issuer.
            return min(refusals, key=lambda refusal: refusal.reason is Reason.IDENTITY_OF_ANOTHER_ORGANIZATION)
        return None


def _refusal(message: str) -> Refused:
    reasons = [reason for start, reason in _REASONS if message.startswith(start)]
    return Refused((*reasons, Reason.TOKEN_NOT_VERIFIED)[0], f"jwt_authn: {message}")


_REASONS: Final = (
    ("Jwt is missing", Reason.TOKEN_MISSING),
    ("Jwt is expired", Reason.TOKEN_EXPIRED),
    ("Jwt not yet valid", Reason.TOKEN_NOT_YET_VALID),
    ("Jwt verification fails", Reason.TOKEN_SIGNATURE_INVALID),
    ("Jwt header [alg] is not supported", Reason.TOKEN_SIGNATURE_INVALID),
    ("Jwt issuer is not configured", Reason.IDENTITY_OF_ANOTHER_ORGANIZATION),
    ("Audiences in Jwt are not allowed", Reason.IDENTITY_OF_ANOTHER_ORGANIZATION),
    ("Found multiple Jwt tokens", Reason.IDENTITY_AMBIGUOUS),
    ("Jwks doesn't have key to match kid or alg from Jwt", Reason.TOKEN_KEY_UNKNOWN),
    ("Jwks ", Reason.TOKEN_KEYS_UNAVAILABLE),
    ("Jwt ", Reason.TOKEN_MALFORMED),
)
"""How the messages of Envoy's jwt_verify_lib (status.cc) begin; the first that matches counts."""


def read_claims(value: bytes) -> dict[str, Any]:
    """The JSON object in base64url, with or without padding. Raises `Refused` (identity_malformed)."""
    if len(value) > MAX_PAYLOAD:
        raise Refused(Reason.IDENTITY_MALFORMED, f"a payload of {len(value)} bytes")
    try:
        return read_object(decode_base64url(value))
    except ValueError as error:
        raise Refused(Reason.IDENTITY_MALFORMED, f"payload: {error}") from error
