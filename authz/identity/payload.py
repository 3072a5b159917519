"""The payload of a token that the proxy verified (Envoy's jwt_authn, `forward_payload_header`).

The signature was checked by the proxy; whose it is, for whom and until when is checked again here, on
every check. The token's header stays at the proxy, and its `typ` with it: an organization that demands
a `typ` takes no payload. What a payload's octets decode to is remembered.
"""

from __future__ import annotations

from dataclasses import InitVar, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from authz.errors import Refused
from authz.identity.base64url import decode_base64url
from authz.identity.claims import ReadClaims
from authz.identity.memo import ClaimsMemo
from authz.identity.single_header import one_value
from authz.identity.strict_json import read_object
from authz.model import Identity
from authz.pki.cache import SharedCache
from authz.reasons import Reason

if TYPE_CHECKING:
    from datetime import datetime

    from authz.model import CheckRequest, Organization

MAX_PAYLOAD: Final = 16 * 1024
"""Octets of a payload header: twice the 8 KB that servers allow for all of a client's headers by default."""


@dataclass(frozen=True, slots=True)
class PayloadHeader:
    """The claims of a verified token in `header`, as base64url of their JSON."""

    header: str
    memory: InitVar[SharedCache | None] = None
    _decoded: ClaimsMemo = field(init=False, repr=False, compare=False)

    def __post_init__(self, memory: SharedCache | None) -> None:
        object.__setattr__(self, "_decoded", ClaimsMemo(SharedCache() if memory is None else memory))

    def identify(self, check: CheckRequest, organization: Organization, now: datetime) -> Identity:
        """The identity; see `authz.view.IdentitySource`. Raises what `identity_from_claims` raises, too."""
        value = one_value(check, self.header)
        if b"," in value:
            raise Refused(Reason.IDENTITY_AMBIGUOUS, f"{self.header} holds several values joined")
        claims = self._decoded.get(organization.id, value)
        if claims is not None:
            return claims.identity(organization, now)
        claims = ReadClaims(read_claims(value))
        identity = claims.identity(organization, now)
        # Only now is it known to be the organization's own: nobody else's payloads take its room.
        self._decoded.put(organization.id, value, claims)
        return identity


def read_claims(value: bytes) -> dict[str, Any]:
    """The JSON object in base64url, with or without padding. Raises `Refused` (identity_malformed)."""
    if len(value) > MAX_PAYLOAD:
        raise Refused(Reason.IDENTITY_MALFORMED, f"a payload of {len(value)} octets")
    try:
        return read_object(decode_base64url(value))
    except ValueError as error:
        raise Refused(Reason.IDENTITY_MALFORMED, f"payload: {error}") from error
