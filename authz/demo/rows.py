"""The requests of the demonstration, and the answer expected to each."""

from __future__ import annotations

from dataclasses import dataclass, replace

from authz.demo.client import ClientResponse
from authz.demo.mint import HOST, NEIGHBOUR_HOST, POOL_HOST
from authz.reasons import Reason


@dataclass(frozen=True, slots=True)
class Row:
    """One request: whose token, which certificate, and the answer expected.

    The `kind` of the token is "expired", "logout", "bound" (to the user's own certificate), "globex" (the neighbour's
    user of that name) or "initech" (where any registered certificate will do), or empty for an ordinary one. `ordinary`
    goes through the listener that asks for no certificate.

    `expected` is a status, or "alert" where Envoy itself ends the handshake with that `alert`; at request level such a
    request is refused with 403 and the reason `at_request_level`. `spoofs` are headers of the client's
    own that must not arrive, `arrives` are headers that the application must receive instead.
    """

    what: str
    user: str | None
    certificate: str | None
    expected: int | str
    reason: Reason | None = None
    host: str = HOST
    spoofs: tuple[tuple[str, str], ...] = ()
    arrives: tuple[tuple[str, str], ...] = ()
    at_request_level: Reason | None = None
    alert: str = "unknown ca"
    kind: str = ""
    ordinary: bool = False

    def for_level(self, *, request_level: bool) -> Row:
        """The row with the answer expected where Envoy refuses no certificate, or where it does."""
        if not request_level or self.expected != "alert":
            return self
        return replace(self, expected=403, reason=self.at_request_level)

    def holds(self, answer: ClientResponse, reason: str) -> bool:
        """Whether the answer is the expected one, in every respect."""
        if self.expected == "alert":
            return answer.alert.endswith(f"alert {self.alert}")
        if answer.status != self.expected or reason != (self.reason or ""):
            return False
        seen = answer.seen
        if any(value in seen.values() for _, value in self.spoofs) or "x-forwarded-client-cert" in seen:
            return False
        return all(seen.get(key) == value for key, value in self.arrives)


_ALICE = (("x-authz-organization", "acme"), ("x-authz-user", "alice"), ("x-authz-binding", "bound"))
_OLGA = (("x-authz-user", "olga"),)
_TWIN = (("x-authz-organization", "globex"), ("x-authz-user", "alice"), ("x-authz-binding", "bound"))
_POOLED = (("x-authz-organization", "initech"), ("x-authz-user", "carol"), ("x-authz-binding", "bound"))
_SPOOFED = (("x-forwarded-client-cert", "Hash=00;Cert=spoofed"),)
_FORGED = (("x-authz-user", "root"), ("x-authz-organization", "evil"), ("x-authz-certificate", "00"))
_OBSERVED = (("x-authz-user", "oscar"), ("x-authz-binding", Reason.CERTIFICATE_OF_ANOTHER_USER.value))
_STOLEN = Reason.TOKEN_BOUND_TO_ANOTHER_CERTIFICATE

ROWS = (
    Row("required user, right certificate", "alice", "alice", 200, arrives=_ALICE),
    Row("required user, no certificate", "alice", None, 403, Reason.CERTIFICATE_REQUIRED),
    Row("required user, another user's", "alice", "bob", 403, Reason.CERTIFICATE_OF_ANOTHER_USER),
    Row("required user, registered for no user", "alice", "stranger", 403, Reason.CERTIFICATE_NOT_REGISTERED),
    Row("required user, retired", "alice", "retired", 403, Reason.CERTIFICATE_REGISTRATION_INACTIVE),
    Row("required user, not yet active", "alice", "scheduled", 403, Reason.CERTIFICATE_REGISTRATION_INACTIVE),
    Row(
        "required user, expired",
        "alice",
        "expired",
        "alert",
        at_request_level=Reason.CERTIFICATE_EXPIRED,
        alert="certificate expired",
    ),
    Row("required user, revoked", "alice", "revoked", 403, Reason.CERTIFICATE_REVOKED),
    Row("required user, intermediate revoked", "alice", "withdrawn", 403, Reason.CERTIFICATE_REVOKED),
    Row("required user, foreign root", "alice", "foreign", "alert", at_request_level=Reason.ISSUER_UNKNOWN),
    Row("required user, its CA not sent", "alice", "alone", "alert", at_request_level=Reason.ISSUER_UNKNOWN),
    Row("off user, foreign root", "olga", "foreign", "alert", at_request_level=Reason.ISSUER_UNKNOWN),
    Row("off user, self-signed", "olga", "self-signed", "alert", at_request_level=Reason.CERTIFICATE_SELF_SIGNED),
    Row("off user, no certificate", "olga", None, 200, arrives=(("x-authz-user", "olga"), ("x-authz-binding", ""))),
    Row("off user, valid stranger", "olga", "stranger", 200, arrives=_OLGA),
    Row("off user, under an anchor that all share", "olga", "partner", 200, arrives=_OLGA),
    Row("a colleague's, organization scope", "carol", "partner", 200, host=POOL_HOST, kind="initech", arrives=_POOLED),
    Row("off user, revoked", "olga", "revoked", 403, Reason.CERTIFICATE_REVOKED),
    Row("observe user, another user's", "oscar", "bob", 200, arrives=_OBSERVED),
    Row("unknown host", "alice", "alice", 403, Reason.ORGANIZATION_UNKNOWN, host="unknown.example.test"),
    Row("unknown user", "mallory", "alice", 403, Reason.USER_UNKNOWN),
    Row("required user, at an ordinary listener", "alice", "alice", 403, Reason.CERTIFICATE_REQUIRED, ordinary=True),
    Row("off user, at an ordinary listener", "olga", None, 200, arrives=_OLGA, ordinary=True),
    Row("the neighbour's alice", "alice", "globex-alice", 200, host=NEIGHBOUR_HOST, kind="globex", arrives=_TWIN),
    Row("the neighbour's certificate, a CA of the same name", "alice", "globex-alice", 403, Reason.SIGNATURE_INVALID),
    Row("the neighbour's token", "alice", "alice", 401, Reason.IDENTITY_OF_ANOTHER_ORGANIZATION, kind="globex"),
    Row("logout token", "alice", "alice", 401, Reason.TOKEN_TYPE_NOT_ALLOWED, kind="logout"),
    Row("expired token", "alice", "alice", 401, Reason.TOKEN_EXPIRED, kind="expired"),
    Row("bound token, its certificate", "alice", "alice", 200, kind="bound", arrives=_ALICE),
    Row("bound token, stolen, no certificate", "alice", None, 403, _STOLEN, kind="bound"),
    Row("bound token, stolen, the thief's certificate", "alice", "stranger", 403, _STOLEN, kind="bound"),
    Row("no token", None, "alice", 401, Reason.TOKEN_MISSING),
    Row("spoofed certificate header", "alice", None, 403, Reason.CERTIFICATE_REQUIRED, spoofs=_SPOOFED),
    Row("spoofed certificate header beside a certificate", "alice", "alice", 200, spoofs=_SPOOFED, arrives=_ALICE),
    Row("spoofed identity headers", "alice", "alice", 200, spoofs=_FORGED, arrives=_ALICE),
)
