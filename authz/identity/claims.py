"""From a verified token's claims (RFC 7519) to an identity, tied to one organization and one moment."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from authz.errors import Refused
from authz.identity.base64url import decode_base64url
from authz.identity.single_header import is_name
from authz.model import Identity, Organization, TokenSettings
from authz.pki.cache import weigh
from authz.reasons import Reason
from authz.text import media_type

LEEWAY: Final = 30
"""Seconds by which the clocks of issuer and service may differ; RFC 7519 section 4.1.4 allows "a few minutes"."""

MAX_TIME: Final = 253_402_300_799
"""The last second of the year 9999: what a date can hold."""

_EMPTY: Final[tuple[object, ...]] = (None, "", [], {})

MAX_CLAIMS: Final = 32 * 1024
"""Bytes of claims, once parsed, that are cached; 2 KB are usual."""


def identity_from_claims(
    claims: Mapping[str, Any], organization: Organization, now: datetime, typ: str | None = None
) -> Identity:
    """The identity in `claims`, if they are `organization`'s and valid at `now`; `typ` is the JOSE header's, if any.

    Raises `Refused`: identity_of_another_organization, token_type_not_allowed, token_expired, token_not_yet_valid,
    identity_malformed, token_binding_unsupported.
    """
    settings = organization.token
    _check_tie(claims, organization, settings)
    _check_type(claims, typ, settings)
    _check_times(claims, now.timestamp())
    user = claims.get(settings.user_claim)
    if not isinstance(user, str) or not is_name(user):
        raise Refused(Reason.IDENTITY_MALFORMED, f"the claim {settings.user_claim} is not a user name")
    return Identity(user, _confirmation(claims))


class Signature(NamedTuple):
    """The `kid` and `alg` of a token, and the number of the key that verified it, which is that key's for ever."""

    kid: str | None
    algorithm: str
    key: int


class ReadClaims:
    """Parsed claims, with the identity that they have for one organization, whose settings are applied once.

    Every check compares the times again. Claims that no settings can name are not kept. An organization that was
    changed is another object. `signature` is that of the token that they were verified in here, if they were.
    """

    __slots__ = ("_claims", "_expiry", "_identity", "_organization", "_starts", "_typ", "signature")

    def __init__(self, claims: Mapping[str, Any], typ: str | None = None, signature: Signature | None = None) -> None:
        self.signature = signature
        self._claims = {name: value for name, value in claims.items() if name in _CHECKED or _may_be_set(value)}
        self._typ = typ
        self._organization: Organization | None = None
        self._expiry = 0.0
        self._starts: tuple[tuple[str, float], ...] = ()
        self._identity = Identity("")

    @property
    def weight(self) -> int:
        """Bytes that they take in memory."""
        return 512 + weigh((self._claims, self._typ, self.signature), MAX_CLAIMS)

    def identity(self, organization: Organization, now: datetime) -> Identity:
        """As `identity_from_claims`."""
        if organization is self._organization:
            seconds = now.timestamp()
            _check_expiry(self._expiry, seconds)
            for claim, start in self._starts:
                _check_start(claim, start, seconds)
            return self._identity
        identity = identity_from_claims(self._claims, organization, now, self._typ)
        starts = ((claim, _time(self._claims, claim)) for claim in _STARTS)
        self._starts = tuple((claim, start) for claim, start in starts if start is not None)
        self._expiry = _time(self._claims, "exp") or 0.0
        self._identity, self._organization = identity, organization
        return identity


_CHECKED: Final = frozenset({"iss", "aud", "exp", "nbf", "iat", "cnf", "events"})
"""The claims that are checked whatever the settings."""


def _may_be_set(value: object) -> bool:
    """Whether settings can name a claim with this value; objects, of roles or permissions, may be most of a token."""
    return not isinstance(value, dict | list) or _audiences(value) is value


def _check_tie(claims: Mapping[str, Any], organization: Organization, settings: TokenSettings) -> None:
    """Issuer and audience are the organization's, or a claim names it; all that is configured must match."""
    for claim in ("iss", "aud"):
        if claims.get(claim, claim) in _EMPTY:
            raise Refused(Reason.IDENTITY_OF_ANOTHER_ORGANIZATION, f"the claim {claim} is empty")
    tied = False
    if settings.issuer is not None:
        if claims.get("iss") != settings.issuer:
            raise _foreign("issuer")
        tied = settings.audience is not None
    if settings.audience is not None and settings.audience not in _audiences(claims.get(settings.audience_claim)):
        raise _foreign("audience")
    if settings.organization_claim is not None:
        if claims.get(settings.organization_claim) != organization.name:
            raise _foreign(f"claim {settings.organization_claim}")
        tied = True
    if not tied:
        raise Refused(
            Reason.IDENTITY_OF_ANOTHER_ORGANIZATION,
            f"{organization.name} has neither an issuer with an audience nor an organization claim configured",
        )


def _foreign(what: str) -> Refused:
    return Refused(Reason.IDENTITY_OF_ANOTHER_ORGANIZATION, f"the {what} is not the organization's")


def _audiences(value: object) -> list[str]:
    """RFC 7519 section 4.1.3: a string or an array of strings; anything else is no audience."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and all(isinstance(audience, str) for audience in value):
        return value
    return []


def _check_type(claims: Mapping[str, Any], typ: str | None, settings: TokenSettings) -> None:
    """RFC 8725 section 3.11: a token that was issued for another purpose identifies no user.

    One with the claim `events`, even empty, is a security event (RFC 8417 section 2.2), such as a logout token.
    """
    if "events" in claims:
        raise Refused(Reason.TOKEN_TYPE_NOT_ALLOWED, "the claim events is that of a security event")
    if settings.type is not None and media_type(typ or "") != settings.type:
        raise Refused(Reason.TOKEN_TYPE_NOT_ALLOWED, f"typ is {typ or 'not known'}, {settings.type} is required")


def _check_times(claims: Mapping[str, Any], now: float) -> None:
    """RFC 7519 sections 4.1.4 to 4.1.6; exp is required, nbf and iat are checked if they are present."""
    expiry = _time(claims, "exp")
    if expiry is None:
        raise Refused(Reason.IDENTITY_MALFORMED, "the claim exp is missing")
    _check_expiry(expiry, now)
    for claim in _STARTS:
        start = _time(claims, claim)
        if start is not None:
            _check_start(claim, start, now)


_STARTS: Final = ("nbf", "iat")


def _check_expiry(expiry: float, now: float) -> None:
    if now >= expiry + LEEWAY:
        raise Refused(Reason.TOKEN_EXPIRED, f"expired {now - expiry:.0f} seconds ago")


def _check_start(claim: str, start: float, now: float) -> None:
    if now < start - LEEWAY:
        raise Refused(Reason.TOKEN_NOT_YET_VALID, f"{claim} is {start - now:.0f} seconds ahead")


def _time(claims: Mapping[str, Any], claim: str) -> float | None:
    value = claims.get(claim)
    if value is None and claim not in claims:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Refused(Reason.IDENTITY_MALFORMED, f"the claim {claim} is not a time")
    # Also refuses infinity, NaN and integers too large for a float.
    if not 0 <= value <= MAX_TIME:
        raise Refused(Reason.IDENTITY_MALFORMED, f"the claim {claim} is out of range")
    return float(value)


def _confirmation(claims: Mapping[str, Any]) -> bytes | None:
    """RFC 8705 section 3.1: `cnf` with nothing but `x5t#S256`; no other binding can be checked here."""
    if "cnf" not in claims:
        return None
    cnf = claims["cnf"]
    if not isinstance(cnf, dict) or set(cnf) != {"x5t#S256"} or not isinstance(cnf["x5t#S256"], str):
        raise Refused(Reason.TOKEN_BINDING_UNSUPPORTED, "cnf holds something other than x5t#S256")
    return _thumbprint(cnf["x5t#S256"])


def _thumbprint(text: str) -> bytes:
    # RFC 7515 section 2: base64url without padding.
    try:
        digest = decode_base64url(text.encode("ascii"))
    except ValueError as error:
        raise Refused(Reason.TOKEN_BINDING_UNSUPPORTED, "x5t#S256 is not base64url") from error
    if len(digest) != 32 or "=" in text:
        raise Refused(Reason.TOKEN_BINDING_UNSUPPORTED, "x5t#S256 is not a SHA-256")
    return digest
