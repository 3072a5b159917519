"""`authz org`: the tenants and their hosts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from shlex import quote
from typing import Annotated, Any, Final

import typer

from authz.admin.organizations import (
    InvalidSettingError,
    OrganizationChange,
    PathChange,
    PathGap,
    TokenChange,
    TokenGap,
    add_organization,
    change_organization,
    path_gaps,
    problem_of_key_set,
    remove_organization,
    token_gaps,
)
from authz.cli.options import AfterName, AsJson, Limit, OrganizationName, open_store
from authz.cli.output import emit_one, emit_page, hint, say
from authz.cli.rows import organization_row, organization_summary
from authz.directory.organizations import list_organizations
from authz.model import Algorithm, BindingScope, Enforcement, RegistrationKind, TokenSettings

app = typer.Typer(no_args_is_help=True)

Hosts = Annotated[list[str] | None, typer.Option("--host", help="A host of the organization; may be repeated.")]
Scope = Annotated[
    BindingScope | None,
    typer.Option(
        "--binding-scope", help="Whose registered certificate counts: the user's, or any user's of the organization."
    ),
]
Kinds = Annotated[
    str | None,
    typer.Option(
        "--binding-kinds",
        metavar="KIND,…",
        help="What a registration may name: certificate, key, identity; see docs/registrations.md.",
    ),
]
Default = Annotated[Enforcement | None, typer.Option("--enforcement", help="What new users get.")]
Issuer = Annotated[str | None, typer.Option("--issuer", help="iss of the organization's tokens.")]
Audience = Annotated[str | None, typer.Option("--audience", help="The audience of the organization's tokens.")]
AudienceClaim = Annotated[
    str | None, typer.Option("--audience-claim", help="The claim with the audience; aud unless given: client_id, azp.")
]
UserClaim = Annotated[str | None, typer.Option("--user-claim", help="The claim with the user's name.")]
OrganizationClaim = Annotated[
    str | None, typer.Option("--organization-claim", help="A claim that must equal the organization's name.")
]
Keys = Annotated[
    str | None,
    typer.Option("--keys", help="The issuer's key set (JWKS): a file by its absolute path, or an https URL."),
]
TokenType = Annotated[
    str | None,
    typer.Option("--token-type", help="What typ of its tokens must say: at+jwt; the service must verify them itself."),
]
Algorithms = Annotated[
    list[Algorithm] | None,
    typer.Option(
        "--algorithm",
        help="A kind of keys that its certificates may have; may be repeated. `default`: all but rsassa-pss and "
        "brainpool. `sha1`: only in certificates that you stored.",
    ),
]
RsaBits = Annotated[
    int | None, typer.Option("--min-rsa-bits", help="Bits of an RSA key; below 2048 only in certificates you stored.")
]
Policies = Annotated[
    list[str] | None, typer.Option("--policy", help="A policy that is accepted, dotted; may be repeated.")
]
ExplicitPolicy = Annotated[
    bool | None,
    typer.Option("--explicit-policy/--no-explicit-policy", help="An accepted policy must be valid for the whole path."),
]
InhibitMapping = Annotated[
    bool | None, typer.Option("--inhibit-mapping/--no-inhibit-mapping", help="Mappings of policies do not count.")
]
InhibitAnyPolicy = Annotated[
    bool | None, typer.Option("--inhibit-any-policy/--no-inhibit-any-policy", help="anyPolicy does not count.")
]
Purpose = Annotated[
    str | None, typer.Option("--purpose", help="The extended key usage that a client's certificate must name, dotted.")
]


@app.command(
    "add", epilog="Example: authz org add acme --host api.acme.example --issuer https://id.example --audience a"
)
def add(
    context: typer.Context,
    name: OrganizationName,
    host: Hosts = None,
    binding_scope: Scope = None,
    binding_kinds: Kinds = None,
    enforcement: Default = None,
    issuer: Issuer = None,
    audience: Audience = None,
    user_claim: UserClaim = None,
    organization_claim: OrganizationClaim = None,
    keys: Keys = None,
    token_type: TokenType = None,
    audience_claim: AudienceClaim = None,
    as_json: AsJson = False,
) -> None:
    """Add an organization."""
    tokens = TokenChange(issuer, audience, user_claim, organization_claim, keys, token_type, audience_claim)
    settings = OrganizationChange(host, None, binding_scope, enforcement, tokens, binding_kinds=_kinds(binding_kinds))
    with _usage(), open_store(context) as store:
        added = add_organization(store, name, settings)
    emit_one(organization_row(added), as_json=as_json)
    if not added.hosts:
        hint(f"no request reaches it yet: authz org set {quote(name)} --host HOST")
    _advise(added.token, keys)
    hint(f"trust its CA: authz anchor add {quote(name)} roots.pem")


@app.command("set", epilog="Example: authz org set acme --binding-scope organization")
def set_(
    context: typer.Context,
    name: OrganizationName,
    host: Hosts = None,
    binding_scope: Scope = None,
    binding_kinds: Kinds = None,
    enforcement: Default = None,
    issuer: Issuer = None,
    audience: Audience = None,
    user_claim: UserClaim = None,
    organization_claim: OrganizationClaim = None,
    keys: Keys = None,
    token_type: TokenType = None,
    audience_claim: AudienceClaim = None,
    algorithm: Algorithms = None,
    min_rsa_bits: RsaBits = None,
    policy: Policies = None,
    explicit_policy: ExplicitPolicy = None,
    inhibit_mapping: InhibitMapping = None,
    inhibit_any_policy: InhibitAnyPolicy = None,
    purpose: Purpose = None,
    active: Annotated[bool | None, typer.Option("--on/--off", help="Switch the organization on or off.")] = None,
    as_json: AsJson = False,
) -> None:
    """Change what is given of an organization; hosts, algorithms and policies given replace the ones it has."""
    tokens = TokenChange(issuer, audience, user_claim, organization_claim, keys, token_type, audience_claim)
    path = PathChange(algorithm, min_rsa_bits, policy, explicit_policy, inhibit_mapping, inhibit_any_policy, purpose)
    change = OrganizationChange(host, active, binding_scope, enforcement, tokens, path, _kinds(binding_kinds))
    with _usage(), open_store(context) as store:
        changed = change_organization(store, name, change)
    emit_one(organization_row(changed), as_json=as_json)
    _advise(changed.token, keys)
    for gap in path_gaps(changed.path):
        hint(PATH_GAPS[gap])


def _kinds(text: str | None) -> list[RegistrationKind] | None:
    if text is None:
        return None
    try:
        return [RegistrationKind(word.strip()) for word in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"kinds are {', '.join(RegistrationKind)}, with commas between them") from None


def _advise(token: TokenSettings, keys: str | None) -> None:
    """Print what of the settings for tokens lets no user in, or too many; `keys` is the key set that was just given."""
    for gap in token_gaps(token):
        hint(TOKEN_GAPS[gap])
    if keys and "://" in keys:
        problem = problem_of_key_set(keys)
        if problem:
            say(f"the key set cannot be used now: {problem}")
            hint("this machine may not reach it, and the service may: the service's log says when it cannot read it")


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


@contextmanager
def _usage() -> Iterator[None]:
    """A value that cannot be is a mistake in the words of the call."""
    try:
        yield
    except InvalidSettingError as error:
        raise typer.BadParameter(str(error)) from None


@app.command("list", epilog="Example: authz org list --json")
def list_(context: typer.Context, limit: Limit = None, after: AfterName = None, as_json: AsJson = False) -> None:
    """List every organization, by name."""
    with open_store(context) as store, store.reading() as connection:
        organizations = map(
            organization_row if as_json else organization_summary, list_organizations(connection, after)
        )
        listed = emit_page(organizations, "name", limit, as_json=as_json)
    if not listed and after is None:
        hint("add one: authz org add NAME --host HOST")


@app.command("show", epilog="Example: authz org show acme")
def show(context: typer.Context, name: OrganizationName, as_json: AsJson = False) -> None:
    """Show one organization, and every key of its key set: whether it is used, and if not, why."""
    with open_store(context) as store:
        organization = store.organization(name)
    emit_one({**organization_row(organization), **_key_set(organization.token.keys)}, as_json=as_json)


def _key_set(location: str | None) -> dict[str, object]:
    """What the key set lists at this moment: for each key, whether it verifies tokens, and if not, why."""
    if location is None:
        return {}
    reader: Any = import_module("authz.identity.keys")
    try:
        listed = asyncio.run(reader.listed_keys(location))
    except reader.READING_ERRORS as error:
        return {"key_set": f"cannot be read: {reader.cause_of(error)}"}
    return {"key_set": [f"{entry.label}: {entry.cause or 'used'}" for entry in listed]}


@app.command("remove", epilog="Example: authz org remove acme (to switch it off instead: authz org set acme --off)")
def remove(context: typer.Context, name: OrganizationName, as_json: AsJson = False) -> None:
    """Remove an organization with its hosts, users, anchors and registered certificates."""
    with open_store(context) as store:
        removed = remove_organization(store, name)
    emit_one({"removed": name, "hosts": removed.hosts}, as_json=as_json)
    say("everything of it is gone; requests to its hosts are refused within a second")
