"""What an operator can do about an error, in words of the command."""

from __future__ import annotations

from typing import Final

from authz.admin.organizations import PathGap, TokenGap
from authz.errors import AdvisedError, Problem

PROBLEMS: Final = {
    Problem.ANCHOR_NOT_SELF_SIGNED: "add its root with 'authz anchor add', and this one with 'authz intermediate add'; "
    "--anyway trusts it without ever asking a CRL about it",
    Problem.CERTIFICATE_REGISTERED: "it has the id {id}; retire it with 'authz cert retire {id}'",
    Problem.CERTIFICATE_UNKNOWN: "list them with 'authz anchor list' or 'authz intermediate list'",
    Problem.CRL_EXPIRED: "fetch the current CRL from its CA; --anyway replaces the one held, and every certificate of "
    "{issuer} is refused then",
    Problem.CRL_SIGNER_UNKNOWN: "add its CA first, with 'authz anchor add' or 'authz intermediate add'",
    Problem.CRL_SOURCE_UNKNOWN: "list them with 'authz crl list'",
    Problem.CRL_UNKNOWN: "list them with 'authz crl list'",
    Problem.DECISION_UNKNOWN: "list them with 'authz decisions list'; those allowed, and those too old, are not kept, "
    "and of a day's refusals alike, without any identity, only the last",
    Problem.IS_A_CA: "add it with 'authz intermediate add'; a self-signed root with 'authz anchor add'",
    Problem.IS_NO_CA: "register a user's certificate with 'authz cert add'",
    Problem.ORGANIZATION_EXISTS: "change it with 'authz org set'",
    Problem.ORGANIZATION_UNKNOWN: "add it with 'authz org add {organization} --host HOST'",
    Problem.PERIOD_IS_EMPTY: "compare --from and --until",
    Problem.REGISTRATION_UNKNOWN: "list them with 'authz cert list'",
    Problem.TOKENS_CROSS: "tell them apart by --issuer or --audience, or by --organization-claim and --issuer, in both",
    Problem.USER_EXISTS: "change it with 'authz user set'",
    Problem.USER_UNKNOWN: "add the user with 'authz user add {organization} {user}'",
}

TOKEN_GAPS: Final = {
    TokenGap.KEYS_WITHOUT_ISSUER_OR_AUDIENCE: "tokens that the service verifies need --issuer and --audience "
    "beside --keys",
    TokenGap.TYPE_WITHOUT_KEYS: "a typ is seen only where the service verifies the token itself: give --keys, too",
    TokenGap.CLAIM_WITHOUT_ISSUER: "any issuer of tokens that the proxy takes can name its users: give --issuer, too",
}

PATH_GAPS: Final = {
    PathGap.POLICIES_NOT_REQUIRED: "these policies count only where a CA requires one: give --explicit-policy, too",
    PathGap.ONLY_IN_STORED: "SHA-1 and RSA below 2048 bits count only in certificates stored with 'authz anchor add' "
    "or 'authz intermediate add', never in one that a client brings, nor in a CRL",
}


def advice(error: AdvisedError) -> str:
    """What to do about an error; empty where nothing is known."""
    return error.hint if error.kind is None else PROBLEMS[error.kind].format(**error.about)
