"""The bearer token itself (RFC 6750, RFC 7519), verified here: for proxies that do not verify tokens.

PyJWT's algorithms verify the signature. Our own code checks claims and times, at every check, also if the signature
was verified before.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

from jwt.algorithms import get_default_algorithms

from authz.errors import Refused
from authz.identity.base64url import decode_base64url
from authz.identity.claims import ReadClaims, Signature
from authz.identity.claims_cache import ClaimsCache
from authz.identity.key_set import ALGORITHMS
from authz.identity.keys import JwksCache
from authz.identity.single_header import single_value
from authz.identity.strict_json import read_object
from authz.model import Identity
from authz.pki.cache import SharedCache
from authz.reasons import Reason

if TYPE_CHECKING:
    from datetime import datetime

    from authz.identity.key_set import SigningKey
    from authz.model import CheckRequest, Organization

MAX_TOKEN: Final = 16 * 1024
"""Bytes of a token: twice what servers allow for all of a client's headers by default."""

USUAL_HEADER: Final = 512
"""Bytes of a token's header that are read whatever they hold."""

MAX_VALUES: Final = 100
"""Values in a larger one, such as certificates in x5c: unbounded, they cost four times what a verification does."""

AUTHORIZATION: Final = "authorization"

_VERIFIERS: Final[dict[str, Any]] = get_default_algorithms()
_VERIFIERS.update(dict.fromkeys(("Ed25519", "Ed448"), _VERIFIERS["EdDSA"]))


class BearerToken:
    """The identity of the token in a header, verified with the organization's own keys."""

    def __init__(self, keys: JwksCache, memory: SharedCache | None = None, header: str = AUTHORIZATION) -> None:
        self._keys = keys
        self._cache = ClaimsCache(SharedCache() if memory is None else memory)
        self._header = header

    def identify(self, check: CheckRequest, organization: Organization, now: datetime) -> Identity:
        """The identity; see `authz.view.IdentitySource`.

        Raises `Refused`: token_missing, token_malformed, token_key_unknown, token_key_ambiguous,
        token_keys_unavailable, token_signature_invalid, overloaded, and what `identity_from_claims` raises;
        `NotLoaded` for the key set.
        """
        token = _token(single_value(check, self._header, Reason.TOKEN_MISSING), self._header)
        location = _keys_of(organization)
        # In a tuple, unlike a payload, which may be cached here, too.
        digest = (hashlib.sha256(token).digest(),)
        known = self._cache.get(organization.id, digest)
        if known is not None and known.signature is not None:
            kid, algorithm, number = known.signature
            for key in self._keys.find(location, kid, algorithm):
                if key.number == number:
                    return known.identity(organization, now)
        kid, algorithm, typ = _header(token)
        candidates = self._keys.find(location, kid, algorithm)
        signer = self._signer(token, candidates, algorithm, organization)
        if signer is None:
            if kid is None or candidates[0].kid != kid:
                self._keys.read_again(location)
            raise Refused(Reason.TOKEN_SIGNATURE_INVALID, f"the token does not verify with {len(candidates)} keys")
        claims = ReadClaims(_claims(token), typ, Signature(kid, algorithm, signer.number))
        identity = claims.identity(organization, now)
        # Only now is it known to be the organization's own: keys may be shared, other tokens must not fill its cache.
        self._cache.put(organization.id, digest, claims)
        return identity

    def _signer(
        self, token: bytes, candidates: tuple[SigningKey, ...], algorithm: str, organization: Organization
    ) -> SigningKey | None:
        """The key that verifies the signature (RFC 7515 section 5.2), or None."""
        message, _, encoded = token.rpartition(b".")
        try:
            signature = decode_base64url(encoded)
        except ValueError as error:
            raise Refused(Reason.TOKEN_MALFORMED, f"the token's signature: {error}") from error
        for key in candidates:
            self._keys.budget.spend(organization.id, key.seconds)
            if _VERIFIERS[algorithm].verify(message, key.key, signature):
                return key
        return None


def _token(value: bytes, header: str) -> bytes:
    """The token of a header: in `Authorization` behind the scheme, in any case (RFC 6750 section 2.1), else alone."""
    scheme, *rest = value.split()[:3] or (b"",)
    if scheme.lower() != b"bearer":
        if header == AUTHORIZATION:
            raise Refused(Reason.TOKEN_MISSING, "no bearer token in authorization")
        rest = [scheme, *rest]
    if b"," in value:
        raise Refused(Reason.IDENTITY_AMBIGUOUS, f"{header} holds several values joined")
    if len(rest) != 1 or len(rest[0]) > MAX_TOKEN:
        raise Refused(Reason.TOKEN_MALFORMED, f"{header} holds no token of at most {MAX_TOKEN} bytes")
    return rest[0]


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
        data = decode_base64url(parts[0])
        if len(data) > USUAL_HEADER and sum(map(data.count, b",[{")) > MAX_VALUES:
            raise ValueError("too many members")  # noqa: TRY301
        header = read_object(data)
    except ValueError as error:
        raise Refused(Reason.TOKEN_MALFORMED, f"the token's header: {error}") from error
    kid, algorithm, typ = header.get("kid"), header.get("alg"), header.get("typ")
    # RFC 7515 section 4.1.11: a critical parameter that is not understood refuses; b64 is one.
    if "crit" in header or "b64" in header or not isinstance(kid, str | None) or not isinstance(typ, str | None):
        raise Refused(Reason.TOKEN_MALFORMED, "the token's header has a parameter that is not supported")
    if (not kid and "kid" in header) or (not typ and "typ" in header):
        raise Refused(Reason.TOKEN_MALFORMED, "the token's header has an empty kid or typ")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise Refused(Reason.TOKEN_SIGNATURE_INVALID, "the token's algorithm is not allowed")
    return kid, algorithm, typ


def _claims(token: bytes) -> dict[str, Any]:
    """The claims of a token whose signature verified."""
    try:
        return read_object(decode_base64url(token.split(b".")[1]))
    except ValueError as error:
        raise Refused(Reason.TOKEN_MALFORMED, f"the token's payload: {error}") from error
