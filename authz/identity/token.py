"""The bearer token itself (RFC 6750, RFC 7519), verified here: for proxies that do not verify tokens.

PyJWT verifies the signature. Our own code checks claims and times, at every check, also if the signature
was verified before.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import jwt
from jwt.api_jws import PyJWS

from authz.errors import Refused
from authz.identity.base64url import decode_base64url
from authz.identity.claims import ReadClaims
from authz.identity.claims_cache import ClaimsCache
from authz.identity.keys import ALGORITHMS, JwksCache
from authz.identity.strict_json import read_object
from authz.model import Identity
from authz.pki.cache import SharedCache
from authz.reasons import Reason

if TYPE_CHECKING:
    from datetime import datetime

    from authz.model import CheckRequest, Organization

MAX_TOKEN: Final = 16 * 1024
"""Bytes of a token: twice what servers allow for all of a client's headers by default."""

_JWS: Final = PyJWS()


class VerifiedToken(NamedTuple):
    """A token by its SHA-256, with the key set, and its version, whose key verified the signature.

    A newer version of the set may lack that key: then the token is verified again.
    """

    digest: bytes
    keys: str
    version: int


class BearerToken:
    """The identity in the `Authorization` header, verified with the organization's own keys."""

    def __init__(self, keys: JwksCache, memory: SharedCache | None = None) -> None:
        self._keys = keys
        self._cache = ClaimsCache(SharedCache() if memory is None else memory)

    def identify(self, check: CheckRequest, organization: Organization, now: datetime) -> Identity:
        """The identity; see `authz.view.IdentitySource`.

        Raises `Refused`: token_missing, token_malformed, token_key_unknown, token_keys_unavailable,
        token_signature_invalid, and what `identity_from_claims` raises; `NotLoaded` for the key set.
        """
        token = _bearer(check)
        location = _keys_of(organization)
        kid, algorithm, typ = _header(token)
        signing, version = self._keys.find(location, kid)
        verified = VerifiedToken(hashlib.sha256(token).digest(), location, version)
        claims = self._cache.get(organization.id, verified)
        if claims is not None:
            return claims.identity(organization, now)
        if not signing.fits(algorithm):
            raise Refused(Reason.TOKEN_SIGNATURE_INVALID, f"the key {kid} is not one for {algorithm}")
        claims = ReadClaims(_verify(token, signing.key, algorithm), typ)
        identity = claims.identity(organization, now)
        # Only now is it known to be the organization's own: keys may be shared, other tokens must not fill its cache.
        self._cache.put(organization.id, verified, claims)
        return identity


def _bearer(check: CheckRequest) -> bytes:
    """The one bearer token (RFC 6750 section 2.1); the scheme in any case."""
    values = check.values("authorization")
    if len(values) > 1:
        raise Refused(Reason.IDENTITY_AMBIGUOUS, f"authorization arrived {len(values)} times")
    scheme, _, token = values[0].partition(b" ") if values else (b"", b"", b"")
    if scheme.lower() != b"bearer":
        raise Refused(Reason.TOKEN_MISSING, "no bearer token in authorization")
    if not 0 < len(token) <= MAX_TOKEN:
        raise Refused(Reason.TOKEN_MALFORMED, f"a token of {len(token)} bytes")
    return token


def _keys_of(organization: Organization) -> str:
    """The location of the key set. RFC 8725 sections 3.8 and 3.9: issuer and audience must be checked, too.

    A proxy that verified a token checked both; no proxy verified this one, so an organization claim is not enough.
    """
    settings = organization.token
    if settings.keys is None:
        raise Refused(Reason.TOKEN_KEYS_UNAVAILABLE, f"{organization.name} has no key set configured")
    if settings.issuer is None or settings.audience is None:
        raise Refused(
            Reason.IDENTITY_OF_ANOTHER_ORGANIZATION,
            f"{organization.name} has not both an issuer and an audience configured",
        )
    return settings.keys


def _header(token: bytes) -> tuple[str | None, str, str | None]:
    """`kid`, `alg` and `typ` of a JWS in compact form (RFC 7515 section 7.1)."""
    parts = token.split(b".")
    try:
        if len(parts) != 3 or any(b"=" in part for part in parts):
            raise ValueError("not three parts")  # noqa: TRY301 - reported like all errors of the parser
        header = read_object(decode_base64url(parts[0]))
    except ValueError as error:
        raise Refused(Reason.TOKEN_MALFORMED, f"the token's header: {error}") from error
    kid, algorithm, typ = header.get("kid"), header.get("alg"), header.get("typ")
    # RFC 7515 section 4.1.11: a critical parameter that is not understood refuses; b64 is one.
    if "crit" in header or "b64" in header or not isinstance(kid, str | None) or not isinstance(typ, str | None):
        raise Refused(Reason.TOKEN_MALFORMED, "the token's header has a parameter that is not supported")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise Refused(Reason.TOKEN_SIGNATURE_INVALID, "the token's algorithm is not allowed")
    return kid, algorithm, typ


def _verify(token: bytes, key: Any, algorithm: str) -> dict[str, Any]:
    """The claims of a token whose signature verifies."""
    try:
        payload = _JWS.decode(token, key, algorithms=[algorithm])
    except jwt.DecodeError as error:
        reason = Reason.TOKEN_SIGNATURE_INVALID
        if not isinstance(error, jwt.InvalidSignatureError):
            reason = Reason.TOKEN_MALFORMED
        raise Refused(reason, f"the token does not verify: {type(error).__name__}") from error
    except (jwt.PyJWTError, ValueError) as error:
        raise Refused(Reason.TOKEN_SIGNATURE_INVALID, f"the token does not verify: {type(error).__name__}") from error
    try:
        return read_object(payload)
    except ValueError as error:
        raise Refused(Reason.TOKEN_MALFORMED, f"the token's payload: {error}") from error
