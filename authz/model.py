"""The nouns of the service: plain values, made by the edges and read by the core.

Certificates are DER bytes here; `authz.pki` gives them meaning. Times are aware and in UTC.
A certificate's identity is the SHA-256 of its DER (32 bytes), never a name.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from datetime import datetime

    from authz.reasons import Reason


class Enforcement(StrEnum):
    """What is demanded of one user's certificate."""

    OFF = "off"
    OBSERVE = "observe"
    REQUIRED = "required"


class BindingScope(StrEnum):
    """Whose registration counts: the user's own, or any of the organization (the model's own rule)."""

    USER = "user"
    ORGANIZATION = "organization"


class RegistrationState(StrEnum):
    """Where a registration stands at one moment."""

    SCHEDULED = "scheduled"
    ACTIVE = "active"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class TokenSettings:
    """How an organization's tokens are recognized: who issues them, for whom, and which claim names the user.

    `organization_claim` is an alternative tie: the payload's claim of that name must equal the
    organization's name. With neither an issuer nor an organization claim, no token is accepted.
    `keys` is the JWKS as a file or an https URL, needed only where the service verifies tokens itself. `type` is what
    a token's `typ` must say, in lower case and without "application/" (`at+jwt`, RFC 9068 section 2.1).
    """

    issuer: str | None = None
    audience: str | None = None
    user_claim: str = "sub"
    organization_claim: str | None = None
    keys: str | None = None
    type: str | None = None


@dataclass(frozen=True, slots=True)
class Organization:
    """A tenant: `id` is the directory's key, `name` the operator's word for it."""

    id: int
    name: str
    hosts: tuple[str, ...]
    active: bool = True
    binding_scope: BindingScope = BindingScope.USER
    default_enforcement: Enforcement = Enforcement.REQUIRED
    token: TokenSettings = field(default_factory=TokenSettings)


@dataclass(frozen=True, slots=True)
class User:
    """A user of exactly one organization; `name` is compared byte for byte."""

    id: int
    organization_id: int
    name: str
    enforcement: Enforcement
    active: bool = True


@dataclass(frozen=True, slots=True)
class Registration:
    """One certificate registered for one user, from `valid_from` (inclusive) until `valid_until` (exclusive).

    `sha256` is that of the leaf's DER; `chain` holds the intermediates stored with it (DER), which
    complete the path for proxies that forward the leaf alone. `retired_at` ends it for good.
    """

    id: int
    organization_id: int
    user_id: int
    sha256: bytes
    label: str = ""
    chain: tuple[bytes, ...] = ()
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    retired_at: datetime | None = None

    def state(self, at: datetime) -> RegistrationState:
        """The state at `at`: a retirement counts from its moment on, and an end is an end."""
        if self.retired_at is not None and self.retired_at <= at:
            return RegistrationState.RETIRED
        if self.valid_until is not None and self.valid_until <= at:
            return RegistrationState.RETIRED
        if self.valid_from is not None and at < self.valid_from:
            return RegistrationState.SCHEDULED
        return RegistrationState.ACTIVE


@dataclass(slots=True, unsafe_hash=True, init=False)
class PresentedChain:
    """What the proxy handed over: the leaf whose key it saw proven, and a bag of other certificates (DER).

    The bag is in the order sent, without the leaf, with duplicates dropped; nothing in it is trusted.
    `sha256` (32 bytes) is the leaf's, computed once: what a header decodes to is remembered. `written` is the text of
    the bag in the header where another header may hold the same, until it is remembered itself.
    """

    leaf: bytes
    others: tuple[bytes, ...]
    sha256: bytes = field(repr=False, compare=False)
    written: bytes | None = field(repr=False, compare=False)

    def __init__(self, leaf: bytes, others: tuple[bytes, ...] = ()) -> None:
        self.leaf = leaf
        self.others = others
        self.sha256 = hashlib.sha256(leaf).digest()
        self.written = None


class CertificateForm(StrEnum):
    """The form of a listener's certificate header; a setting, never guessed."""

    XFCC = "xfcc"
    XFCC_JSON = "xfcc-json"
    RFC9440 = "rfc9440"
    ESCAPED_PEM = "escaped-pem"
    BASE64_DER = "base64-der"


class StatementForm(StrEnum):
    """How the proxy states whether a client certificate was shown."""

    NONE = "none"
    ENVOY_FINGERPRINT = "envoy-fingerprint"
    NGINX_VERIFY = "nginx-verify"


@dataclass(frozen=True, slots=True)
class HeaderRules:
    """Which header a listener reads the certificate from, in which form, and how the proxy vouches for silence.

    `max_bytes` bounds the header's value. `max_certificates` counts the leaf and every other
    certificate after duplicates are dropped.
    """

    certificate_header: str = "x-forwarded-client-cert"
    form: CertificateForm = CertificateForm.XFCC
    chain_header: str | None = None
    statement_header: str | None = None
    statement: StatementForm = StatementForm.NONE
    max_bytes: int = 64 * 1024
    max_certificates: int = 10


class Identity(NamedTuple):
    """Who a listener's identity source says the user is.

    `confirmation` is the SHA-256 of the certificate the token is bound to (RFC 8705 `cnf.x5t#S256`, 32
    bytes), or None where the identity is bound to none.
    """

    user: str
    confirmation: bytes | None = None


class Binding(NamedTuple):
    """What the binding gate found for a user: the active registration, or why `required` would refuse.

    Exactly one of the two is set.
    """

    registration: Registration | None = None
    refusal: Reason | None = None

    def __str__(self) -> str:
        """`bound`, or the reason: what `x-authz-binding`, log and history say."""
        return "bound" if self.refusal is None else str(self.refusal)


class CheckRequest:
    """One question of a proxy, raw: the core refuses what is malformed in it.

    `headers` are lower-case names and undecoded values, in the order received; `method` and `target`
    are for the log only, no decision looks at them. `alike` has the headers by their folded names (see `fold`).
    """

    __slots__ = ("alike", "decision_id", "headers", "host", "method", "target")

    def __init__(
        self, decision_id: str, host: str, headers: tuple[tuple[bytes, bytes], ...], method: str = "", target: str = ""
    ) -> None:
        self.decision_id = decision_id
        self.host = host
        self.headers = headers
        self.method = method
        self.target = target
        self.alike: dict[bytes, list[tuple[bytes, bytes]]] = {}
        for one in headers:
            folded = one[0].replace(b"-", b"_")
            if folded in self.alike:
                self.alike[folded].append(one)
            else:
                self.alike[folded] = [one]

    def values(self, name: str) -> list[bytes]:
        """Every value of the header `name` (lower case), in order."""
        wanted, folded = fold(name)
        return [value for key, value in self.alike.get(folded, ()) if key == wanted]


@cache
def fold(name: str) -> tuple[bytes, bytes]:
    """The octets of a configured header's name; and folded, as servers do that take "-" and "_" for one."""
    octets = name.encode("ascii")
    return octets, octets.replace(b"-", b"_")


class Outcome(StrEnum):
    """Why a decision is in the history: it refused, or `observe` let pass what `required` would have refused."""

    DENIED = "denied"
    OBSERVED = "observed"


@dataclass(frozen=True, slots=True)
class Recorded:
    """One decision of the history, with what is needed to decide the same request again.

    `reason` is the reason's value, of this version or an earlier one. `organization`, `user`, `certificate`
    (SHA-256 of the leaf) and `subject` are there as far as the gates came. `headers` are those gate 1
    looked at, raw; None where they were too large to keep. `target` ends at the query's question mark. No
    token is kept, nor any other header.

    `organization_id` is never that of another organization of the same name. `proven` says that the directory has the
    user. Where not even a token named one, decisions alike are one: the last of `repeats`, the first at `first_at`.
    """

    decision_id: str
    at: datetime
    listener: str
    outcome: Outcome
    reason: str
    detail: str = ""
    host: str = ""
    method: str = ""
    target: str = ""
    organization: str = ""
    user: str = ""
    confirmation: bytes | None = None
    certificate: bytes | None = None
    subject: str = ""
    headers: tuple[tuple[bytes, bytes], ...] | None = None
    organization_id: int | None = None
    proven: bool = False
    repeats: int = 1
    first_at: datetime | None = None


class CrlSourceKind(StrEnum):
    """What CRLs are read from."""

    FILE = "file"
    """A file that the operator named, or one in a folder that he named."""
    URL = "url"
    """A URL that the operator named."""
    POINT = "point"
    """A distribution point of a certificate on a path that verified."""


@dataclass(frozen=True, slots=True)
class CrlSourceState:
    """How a source of CRLs fares, for the operator.

    `location` is its path or URL. `outcome` is what came of the last try: "accepted", "unchanged", why not
    (`authz.crls.failures.FailureKind`), or empty before the first; `detail` says more. `failures`
    are those in a row, `accepted_at` is when it last gave a CRL that is held.
    """

    location: str
    kind: CrlSourceKind
    tried_at: datetime | None = None
    accepted_at: datetime | None = None
    next_at: datetime | None = None
    failures: int = 0
    outcome: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class FetchedCrl:
    """A CRL that the service holds from one of its sources, for the operator.

    `name` is the one it is kept under, `signer` the SHA-256 of the key that signed it, `number` in decimal.
    """

    name: str
    location: str
    sha256: bytes
    signer: bytes
    issuer: str
    number: str | None
    delta: bool
    entries: int
    this_update: datetime
    next_update: datetime | None
    fetched_at: datetime


class CrlRow(NamedTuple):
    """A CRL in the directory: its SHA-256, the SHA-256 of the key that signed it, its length in octets, and that key.

    The key is a SubjectPublicKeyInfo in DER; empty for a CRL that an earlier version added.
    """

    sha256: bytes
    signer: bytes
    size: int
    key: bytes
