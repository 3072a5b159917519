"""Every refusal of the service, once: its stable name, its status, what it means and what to do.

The name is the spelling used everywhere: in this enumeration, as a metric label, in the log, in the
command's output and in the table of the documentation, which a test compares with this file.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class Gate(StrEnum):
    """The gates of a check, in the order in which they refuse."""

    REQUEST = "request"
    HEADER = "header"
    ORGANIZATION = "organization"
    USER = "user"
    CERTIFICATE = "certificate"
    REVOCATION = "revocation"
    BINDING = "binding"
    SERVICE = "service"


class Reason(StrEnum):
    """Why a request was refused: `value` is the stable name, `status` the HTTP status of the answer.

    `gate` is the gate that refuses, `sentence` says what was found and what to do about it. 401 means
    that no identity could be used, 403 that one could and is refused, 503 that the service itself
    could not decide.
    """

    gate: Gate
    status: int
    sentence: str

    def __new__(cls, value: str, gate: Gate, status: int, sentence: str) -> Self:
        """A member is the string of its name, with the rest of its row beside it."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.gate = gate
        member.status = status
        member.sentence = sentence
        return member

    # -- The request itself, before any gate -----------------------------------------------------

    REQUEST_MALFORMED = (
        "request_malformed",
        Gate.REQUEST,
        403,
        "The request of the proxy is not HTTP that can be read, or breaks a limit of the service; compare the proxy's "
        "configuration with deploy/.",
    )

    # -- Gate 1: the certificate header ----------------------------------------------------------

    HEADER_UNEXPECTED = (
        "header_unexpected",
        Gate.HEADER,
        403,
        "A certificate header other than the one this listener takes arrived, or an underscore twin of one; let the "
        "proxy remove it.",
    )
    HEADER_AMBIGUOUS = (
        "header_ambiguous",
        Gate.HEADER,
        403,
        "The certificate header, or a Cert, Chain or Hash in it, arrived more than once; let the proxy set it itself "
        "and drop what the client sent.",
    )
    HEADER_TOO_LARGE = (
        "header_too_large",
        Gate.HEADER,
        403,
        "The certificate header is longer than the limit; the client should send its leaf and intermediates only.",
    )
    HEADER_MALFORMED = (
        "header_malformed",
        Gate.HEADER,
        403,
        "The certificate header does not follow the grammar of the form this listener takes; a proxy that always "
        "sends it has a value for no certificate, which certificate.none names.",
    )
    HEADER_ELEMENTS_UNEXPECTED = (
        "header_elements_unexpected",
        Gate.HEADER,
        403,
        "The certificate header holds another number of elements than this listener's hops add; use SANITIZE_SET, or "
        "name the gateways whose hops are to be skipped.",
    )
    HEADER_HASH_MISMATCH = (
        "header_hash_mismatch",
        Gate.HEADER,
        403,
        "Hash in the certificate header is not the SHA-256 of the leaf beside it; let the proxy set the header itself "
        "and drop what the client sent.",
    )
    HEADER_WITHOUT_CERTIFICATE = (
        "header_without_certificate",
        Gate.HEADER,
        403,
        "The certificate header holds no certificate, or does not arrive from a proxy that always sends it; switch "
        "cert and chain on in Envoy's set_current_client_cert_details, or compare certificate.none.",
    )
    HOP_NOT_TRUSTED = (
        "hop_not_trusted",
        Gate.HEADER,
        403,
        "The element that a gateway should have added holds no certificate of a gateway this listener allows; compare "
        "the gateway's with the listener's trusted_proxies.",
    )
    PROXY_STATEMENT_MISSING = (
        "proxy_statement_missing",
        Gate.HEADER,
        403,
        "The proxy did not indicate whether the client presented a certificate; configure the indicator header as "
        "deploy/ does.",
    )
    PROXY_STATEMENT_CONTRADICTS = (
        "proxy_statement_contradicts",
        Gate.HEADER,
        403,
        "The proxy's indication about the client certificate does not agree with the certificate header; let the "
        "proxy set both itself, as deploy/ does.",
    )

    # -- Gate 2: the organization ----------------------------------------------------------------

    HOST_MALFORMED = (
        "host_malformed",
        Gate.ORGANIZATION,
        403,
        "The host is missing, repeated or not a host name; client_request names the header that holds it.",
    )
    ORGANIZATION_UNKNOWN = (
        "organization_unknown",
        Gate.ORGANIZATION,
        403,
        "No organization has this host; add it with 'authz org set NAME --host HOST', and --host for each host that "
        "the organization has, for those given replace them; or, if it is the service's own, let client_request name "
        "the header that holds the client's.",
    )
    ORGANIZATION_INACTIVE = (
        "organization_inactive",
        Gate.ORGANIZATION,
        403,
        "The organization of this host is switched off; switch it on with 'authz org set NAME --on'.",
    )
    ORGANIZATION_NOT_SERVED = (
        "organization_not_served",
        Gate.ORGANIZATION,
        403,
        "This listener does not serve the organization of this host; add it to the listener's organizations, or let "
        "the client ask at its own listener.",
    )

    # -- Gate 3: the user ------------------------------------------------------------------------

    IDENTITY_MISSING = (
        "identity_missing",
        Gate.USER,
        401,
        "No verified identity came with the request; send a token, and let the proxy pass its payload on.",
    )
    IDENTITY_AMBIGUOUS = (
        "identity_ambiguous",
        Gate.USER,
        401,
        "The identity header arrived more than once, joined, or with an underscore twin; let the proxy set it itself "
        "and drop what the client sent.",
    )
    IDENTITY_MALFORMED = (
        "identity_malformed",
        Gate.USER,
        401,
        "The identity header cannot be read in the form that this listener's identity source names; compare the "
        "proxy's filter with the listener's identity.",
    )
    IDENTITY_OF_ANOTHER_ORGANIZATION = (
        "identity_of_another_organization",
        Gate.USER,
        401,
        "The identity was issued for another organization: issuer, audience or organization claim differ; let the "
        "client obtain a token for this one, or compare 'authz org show'.",
    )
    IDENTITY_SOURCES_DISAGREE = (
        "identity_sources_disagree",
        Gate.USER,
        401,
        "Two identity sources of this listener name different users; let the client send the tokens of one.",
    )
    TOKEN_MISSING = (
        "token_missing",
        Gate.USER,
        401,
        "No token came with the request; send one in the header that the listener names, as a rule Authorization.",
    )
    TOKEN_MALFORMED = (
        "token_malformed",
        Gate.USER,
        401,
        "The bearer token is not a signed JWT in compact form; let the issuer give the client one that is.",
    )
    TOKEN_SIGNATURE_INVALID = (
        "token_signature_invalid",
        Gate.USER,
        401,
        "The token's signature does not verify with the organization's keys and the algorithms allowed; compare the "
        "issuer's keys with those of 'authz org show'.",
    )
    TOKEN_KEY_UNKNOWN = (
        "token_key_unknown",
        Gate.USER,
        401,
        "The organization's key set has no key for the token's kid and alg; compare issuer and key set, of which "
        "'authz org show' lists every key.",
    )
    TOKEN_KEY_AMBIGUOUS = (
        "token_key_ambiguous",
        Gate.USER,
        401,
        "More than 4 keys of the organization's key set may be the token's; let the issuer put a kid into the token.",
    )
    TOKEN_KEYS_UNAVAILABLE = (
        "token_keys_unavailable",
        Gate.USER,
        401,
        "The organization's key set is not configured, or cannot be read; see 'authz org show'.",
    )
    TOKEN_EXPIRED = ("token_expired", Gate.USER, 401, "The identity's expiry (exp) has passed; obtain a new token.")
    TOKEN_NOT_YET_VALID = (
        "token_not_yet_valid",
        Gate.USER,
        401,
        "The identity is not valid yet (nbf or iat lies ahead); compare the clocks of issuer and service.",
    )
    TOKEN_TYPE_NOT_ALLOWED = (
        "token_type_not_allowed",
        Gate.USER,
        401,
        "The token is no access token of the organization: it reports an event, as a logout token does, or its typ is "
        "not the one demanded (see 'authz org show'), which the payload of a token cannot prove; send an access token.",
    )
    TOKEN_BINDING_UNSUPPORTED = (
        "token_binding_unsupported",
        Gate.USER,
        401,
        "The token is bound (cnf) in a way that cannot be checked here; let the issuer bind it by x5t#S256, or not at "
        "all.",
    )
    TOKEN_BOUND_TO_ANOTHER_CERTIFICATE = (
        "token_bound_to_another_certificate",
        Gate.USER,
        403,
        "The token is bound to a certificate (cnf x5t#S256) that was not presented; let the client present that one.",
    )
    TOKEN_NOT_VERIFIED = (
        "token_not_verified",
        Gate.USER,
        401,
        "The proxy did not verify the token, and the detail is its own message; let the client obtain a new one.",
    )
    USER_UNKNOWN = (
        "user_unknown",
        Gate.USER,
        403,
        "The organization has no user of this name; add one with 'authz user add ORGANIZATION NAME'.",
    )
    USER_INACTIVE = (
        "user_inactive",
        Gate.USER,
        403,
        "The user is switched off; switch the user on with 'authz user set ORGANIZATION NAME --on'.",
    )

    # -- Gate 4: the certificate and its path (RFC 5280 section 6.1) -------------------------------

    CERTIFICATE_MALFORMED = (
        "certificate_malformed",
        Gate.CERTIFICATE,
        403,
        "A certificate is not well-formed DER X.509, or holds more names or extensions than are read "
        "(docs/validation.md has the bounds); let its CA issue another.",
    )
    TOO_MANY_CERTIFICATES = (
        "too_many_certificates",
        Gate.CERTIFICATE,
        403,
        "The client sent more certificates than the limit; send the leaf and its intermediates only.",
    )
    TRUST_ANCHORS_MISSING = (
        "trust_anchors_missing",
        Gate.CERTIFICATE,
        403,
        "The organization has no trust anchor; add one with 'authz anchor add ORGANIZATION FILE'.",
    )
    TRUST_ANCHORS_UNUSABLE = (
        "trust_anchors_unusable",
        Gate.CERTIFICATE,
        403,
        "A stored trust anchor or intermediate of the organization cannot be read; remove it and add it again.",
    )
    ISSUER_UNKNOWN = (
        "issuer_unknown",
        Gate.CERTIFICATE,
        403,
        "No chain of issuers leads from the certificate to a trust anchor of the organization; send the "
        "intermediates, or add them with 'authz intermediate add'.",
    )
    CERTIFICATE_SELF_SIGNED = (
        "certificate_self_signed",
        Gate.CERTIFICATE,
        403,
        "The leaf is signed by its own key; let a CA issue one.",
    )
    SIGNATURE_INVALID = (
        "signature_invalid",
        Gate.CERTIFICATE,
        403,
        "The signature of a certificate does not verify under its issuer's key, as where another CA of that name "
        "issued it; add that CA, if it is trusted.",
    )
    ALGORITHM_NOT_ALLOWED = (
        "algorithm_not_allowed",
        Gate.CERTIFICATE,
        403,
        "A certificate or CRL is signed with an algorithm, or holds a key, that policy refuses; let its CA issue "
        "another, or see --algorithm of 'authz org set' for what can be accepted.",
    )
    KEY_SIZE_NOT_ALLOWED = (
        "key_size_not_allowed",
        Gate.CERTIFICATE,
        403,
        "A key on the path is smaller or larger than policy allows; let its CA certify a key of another size.",
    )
    CERTIFICATE_EXPIRED = (
        "certificate_expired",
        Gate.CERTIFICATE,
        403,
        "A certificate on the path has expired; renew it.",
    )
    CERTIFICATE_NOT_YET_VALID = (
        "certificate_not_yet_valid",
        Gate.CERTIFICATE,
        403,
        "A certificate on the path is not valid yet; compare the clocks of CA and service.",
    )
    NOT_A_CA = (
        "not_a_ca",
        Gate.CERTIFICATE,
        403,
        "A certificate that issued another one is not a CA (basic constraints); let a CA issue the leaf.",
    )
    PATH_LENGTH_EXCEEDED = (
        "path_length_exceeded",
        Gate.CERTIFICATE,
        403,
        "More CA certificates follow than a path length constraint allows; let a CA nearer to the anchor issue it.",
    )
    KEY_USAGE_NOT_ALLOWED = (
        "key_usage_not_allowed",
        Gate.CERTIFICATE,
        403,
        "The key usage of a certificate on the path forbids what its key was used for; let its CA issue another.",
    )
    EXTENDED_KEY_USAGE_NOT_ALLOWED = (
        "extended_key_usage_not_allowed",
        Gate.CERTIFICATE,
        403,
        "The extended key usage of a certificate on the path does not include client authentication; let its CA issue "
        "one for it, or name another purpose with 'authz org set --purpose'.",
    )
    CRITICAL_EXTENSION_UNKNOWN = (
        "critical_extension_unknown",
        Gate.CERTIFICATE,
        403,
        "A certificate on the path has a critical extension that is not understood here; let its CA issue one in "
        "which it is not critical.",
    )
    NAME_CONSTRAINT_VIOLATED = (
        "name_constraint_violated",
        Gate.CERTIFICATE,
        403,
        "A name in a certificate lies outside what the name constraints of a CA above it allow; let its CA issue one "
        "with names that they allow.",
    )
    NAME_CONSTRAINT_UNSUPPORTED = (
        "name_constraint_unsupported",
        Gate.CERTIFICATE,
        403,
        "A name constraint applies to a kind of name that cannot be compared here; let its CA issue a certificate "
        "without such names, or constraints.",
    )
    POLICY_NOT_ALLOWED = (
        "policy_not_allowed",
        Gate.CERTIFICATE,
        403,
        "No certificate policy that is acceptable here is valid for the whole path; let the CAs state one, or see "
        "--policy of 'authz org set'.",
    )
    BUDGET_EXCEEDED = (
        "budget_exceeded",
        Gate.CERTIFICATE,
        403,
        "Looking for a path took more work than one check may cost; send the leaf and its intermediates only.",
    )

    # -- Gate 4, second half: revocation (RFC 5280 section 6.3) ------------------------------------

    CERTIFICATE_REVOKED = (
        "certificate_revoked",
        Gate.REVOCATION,
        403,
        "A certificate on the path is listed in a CRL of its issuer; let a CA issue a new one.",
    )
    REVOCATION_UNKNOWN = (
        "revocation_unknown",
        Gate.REVOCATION,
        403,
        "No usable, current CRL applies to a certificate on the path; 'authz crl list' shows why, and 'authz crl add' "
        "or the setting crl.urls brings one that no distribution point gives.",
    )
    CRL_MALFORMED = (
        "crl_malformed",
        Gate.REVOCATION,
        403,
        "A CRL is not well-formed DER, or names issuers in a way that cannot be read; fetch it again from its CA.",
    )

    # -- Gate 5: the binding of certificate and user -----------------------------------------------

    CERTIFICATE_REQUIRED = (
        "certificate_required",
        Gate.BINDING,
        403,
        "The user's enforcement is required, and no client certificate was presented; let the client present the one "
        "that is registered.",
    )
    CERTIFICATE_NOT_REGISTERED = (
        "certificate_not_registered",
        Gate.BINDING,
        403,
        "The certificate verifies, but is not registered in this organization; register it with 'authz cert add'.",
    )
    CERTIFICATE_OF_ANOTHER_USER = (
        "certificate_of_another_user",
        Gate.BINDING,
        403,
        "The certificate verifies, but is registered for another user; let the client present the user's own.",
    )
    CERTIFICATE_REGISTRATION_INACTIVE = (
        "certificate_registration_inactive",
        Gate.BINDING,
        403,
        "The certificate verifies, but its registration is scheduled, has ended or is retired; present another, or "
        "see 'authz cert set' and 'authz cert reinstate'.",
    )

    # -- Our own failures ----------------------------------------------------------------------------

    DIRECTORY_UNAVAILABLE = (
        "directory_unavailable",
        Gate.SERVICE,
        503,
        "The directory could not be read, or its revision could not be confirmed in time; the log has the cause.",
    )
    CRLS_UNAVAILABLE = (
        "crls_unavailable",
        Gate.SERVICE,
        503,
        "The process that manages the CRLs did not confirm in time that they are current; the log has how it ended.",
    )
    OVERLOADED = (
        "overloaded",
        Gate.SERVICE,
        503,
        "More checks wait than the service takes, or more new tokens or certificates of the organization than it "
        "verifies in time; add workers, or raise the limit.",
    )
    INTERNAL_ERROR = (
        "internal_error",
        Gate.SERVICE,
        503,
        "The service failed internally; the log has the error under the decision id.",
    )
