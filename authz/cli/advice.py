"""What an operator can do about an error, in words of the command."""

from __future__ import annotations

from shlex import join, quote
from typing import Final

from authz.errors import AdvisedError, Problem

PROBLEMS: Final = {
    Problem.ANCHOR_NOT_NAMED: "name it by how its SHA-256 begins, with --anchor; 'authz anchor list' lists them",
    Problem.ANCHOR_NOT_SELF_SIGNED: "add its root with 'authz anchor add', and this one with 'authz intermediate add'; "
    "--anyway trusts it without ever asking a CRL about it",
    Problem.AUDIT_ENTRY_UNKNOWN: "list them with 'authz audit list'; those that were pruned are gone",
    Problem.CA_UNREADABLE: "remove it, then add it again: authz {what} remove {organization} {sha256}",
    Problem.CERTIFICATE_REGISTERED: "change it with 'authz cert set {id}', or end it with 'authz cert retire {id}'",
    Problem.CERTIFICATE_UNKNOWN: "list them with 'authz anchor list' or 'authz intermediate list'",
    Problem.CRL_EXPIRED: "fetch the current CRL from its CA; --anyway replaces the one held, and every certificate of "
    "{issuer} is refused then",
    Problem.CRL_NUMBER_WENT_BACK: "ask its CA whether a server of it lags behind, or it counts anew: then remove the "
    "one held with 'authz crl remove {sha256}'",
    Problem.CRL_SIGNER_UNKNOWN: "add its CA first, with 'authz anchor add' or 'authz intermediate add'",
    Problem.CRL_SOURCE_UNKNOWN: "list them with 'authz crl list'",
    Problem.CRL_UNKNOWN: "list them with 'authz crl list'",
    Problem.DECISION_UNKNOWN: "list them with 'authz decisions list'; those answered 503 and those too old are not "
    "kept, those allowed only with history.allowed, and of a day's refusals alike, without any identity, only the last",
    Problem.DIRECTORY_CHANGED: "look what changed with 'authz audit list', and try again; nothing was changed",
    Problem.IS_A_CA: "add it with 'authz intermediate add'; a self-signed root with 'authz anchor add'",
    Problem.IS_A_CRL: "add it with 'authz crl add {file}'",
    Problem.IS_NO_CA: "register a user's certificate with 'authz cert add'",
    Problem.KIND_NOT_ALLOWED: "allow it: authz org set {organization} --binding-kinds {kinds}",
    Problem.NAME_NOT_CLEAR: "say which one, with its type: --name uri:spiffe://acme/alice",
    Problem.ORGANIZATION_EXISTS: "change it with 'authz org set'",
    Problem.ORGANIZATION_UNKNOWN: "add it with 'authz org add {organization} --host HOST'",
    Problem.PERIOD_IS_EMPTY: "compare --from and --until",
    Problem.REGISTRATION_UNKNOWN: "list them with 'authz cert list'",
    Problem.TOKENS_CROSS: "tell them apart by --issuer or --audience, or by --organization-claim and --issuer, in both",
    Problem.USER_EXISTS: "change it with 'authz user set'",
    Problem.USER_UNKNOWN: "add the user with 'authz user add {organization} {user}'",
}


def advice(error: AdvisedError) -> str:
    """What to do about an error, as a line that can be pasted; empty where nothing is known."""
    if error.kind is None:
        return error.hint
    about = {key: quote(str(value)) if key in _ARGUMENTS else value for key, value in error.about.items()}
    if error.kind is Problem.USER_UNKNOWN and "-" in {str(error.about[name])[:1] for name in ("organization", "user")}:
        about["organization"] = f"-- {about['organization']}"
    if error.kind is Problem.CA_UNREADABLE and error.about["organization"] is None:
        about["organization"] = "--shared"
    return PROBLEMS[error.kind].format(**about)


def of_user(command: str, organization: str, user: str, options: str = "") -> str:
    """A command whose arguments are a user: behind `--` where a name begins like an option, as random ids may."""
    names = join((organization, user))
    words = [options, "--", names] if "-" in {organization[:1], user[:1]} else [names, options]
    return " ".join(filter(None, (command, *words)))


_ARGUMENTS: Final = {"organization", "user", "file"}
"""What stands in a line as an argument."""
