"""`authz org`: the tenants and their hosts."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Annotated, Final

import typer

from authz.cli.options import AsJson, OrganizationName, open_store
from authz.cli.output import Row, emit, emit_one, hint, say
from authz.identity.claims import media_type
from authz.identity.keys import check_location
from authz.model import BindingScope, Enforcement, Organization, TokenSettings

app = typer.Typer(help="Organizations: tenants with hosts of their own.", no_args_is_help=True)

Hosts = Annotated[list[str] | None, typer.Option("--host", help="A host of the organization; may be repeated.")]
Scope = Annotated[
    BindingScope | None,
    typer.Option(
        "--binding-scope", help="Whose registered certificate counts: his own, or anybody's of the organization."
    ),
]
Default = Annotated[Enforcement | None, typer.Option("--enforcement", help="What new users get.")]
Issuer = Annotated[str | None, typer.Option("--issuer", help="iss of the organization's tokens.")]
Audience = Annotated[str | None, typer.Option("--audience", help="aud of the organization's tokens.")]
UserClaim = Annotated[str | None, typer.Option("--user-claim", help="The claim with the user's name.")]
OrganizationClaim = Annotated[
    str | None, typer.Option("--organization-claim", help="A claim that must equal the organization's name.")
]
Keys = Annotated[str | None, typer.Option("--keys", help="The issuer's key set (JWKS): a file or an https URL.")]
TokenType = Annotated[
    str | None,
    typer.Option("--token-type", help="What typ of its tokens must say: at+jwt; the service must verify them itself."),
]


@app.command(
    "add", epilog="Example: authz org add acme --host api.acme.example --issuer https://id.example --audience a"
)
def add(
    context: typer.Context,
    name: OrganizationName,
    host: Hosts = None,
    binding_scope: Scope = None,
    enforcement: Default = None,
    issuer: Issuer = None,
    audience: Audience = None,
    user_claim: UserClaim = None,
    organization_claim: OrganizationClaim = None,
    keys: Keys = None,
    token_type: TokenType = None,
    as_json: AsJson = False,
) -> None:
    """Add an organization."""
    new = Organization(0, name, tuple(host or ()))
    changed = _changed(
        new, binding_scope, enforcement, issuer, audience, user_claim, organization_claim, keys, token_type
    )
    with open_store(context) as store:
        added = store.add_organization(changed)
    emit_one(describe(added), as_json=as_json)
    if not added.hosts:
        hint(f"no request reaches it yet: authz org set {name} --host HOST")
    _advise(added.token)
    hint(f"trust its CA: authz anchor add {name} roots.pem")


@app.command("set", epilog="Example: authz org set acme --binding-scope organization")
def set_(
    context: typer.Context,
    name: OrganizationName,
    host: Hosts = None,
    binding_scope: Scope = None,
    enforcement: Default = None,
    issuer: Issuer = None,
    audience: Audience = None,
    user_claim: UserClaim = None,
    organization_claim: OrganizationClaim = None,
    keys: Keys = None,
    token_type: TokenType = None,
    active: Annotated[bool | None, typer.Option("--on/--off", help="Switch the organization on or off.")] = None,
    as_json: AsJson = False,
) -> None:
    """Change what is given of an organization; hosts given replace the ones it has."""
    with open_store(context) as store:
        held = store.organization(name)
        changed = _changed(
            held, binding_scope, enforcement, issuer, audience, user_claim, organization_claim, keys, token_type
        )
        if host is not None:
            changed = replace(changed, hosts=tuple(host))
        if active is not None:
            changed = replace(changed, active=active)
        held = store.set_organization(changed)
    emit_one(describe(held), as_json=as_json)
    _advise(held.token)


def _advise(token: TokenSettings) -> None:
    """Say what of the settings for tokens lets nobody in, or more than one may think."""
    if token.keys is not None and None in (token.issuer, token.audience):
        hint("tokens that the service verifies need --issuer and --audience beside --keys")
    if token.type is not None and token.keys is None:
        hint("a typ is seen only where the service verifies the token itself: give --keys, too")
    if token.organization_claim is not None and token.issuer is None:
        hint("whoever issues tokens that the proxy takes can name its users: give --issuer, too")


def _changed(
    held: Organization,
    scope: BindingScope | None,
    enforcement: Enforcement | None,
    issuer: str | None,
    audience: str | None,
    user_claim: str | None,
    organization_claim: str | None,
    keys: str | None,
    token_type: str | None,
) -> Organization:
    """What is given, over what is held; an empty text takes a token setting away."""
    token = held.token
    return replace(
        held,
        binding_scope=scope or held.binding_scope,
        default_enforcement=enforcement or held.default_enforcement,
        token=TokenSettings(
            issuer=_over(token.issuer, issuer),
            audience=_over(token.audience, audience),
            user_claim=user_claim or token.user_claim,
            organization_claim=_over(token.organization_claim, organization_claim),
            keys=_location(_over(token.keys, keys)),
            type=_media_type(_over(token.type, token_type)),
        ),
    )


def _location(keys: str | None) -> str | None:
    if keys is not None and "://" in keys:
        try:
            check_location(keys)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
    return keys


def _media_type(given: str | None) -> str | None:
    found = None if given is None else media_type(given)
    if found is not None and not _is_type(found):
        raise typer.BadParameter(f"{given} is no type of a token, such as at+jwt")
    return found


_is_type: Final = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}").fullmatch
"""RFC 6838 section 4.2."""


def _over(held: str | None, given: str | None) -> str | None:
    return held if given is None else given or None


@app.command("list", epilog="Example: authz org list --json")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """List every organization."""
    with open_store(context) as store:
        found = store.organizations()
    emit([describe(one) for one in found], as_json=as_json)
    if not found:
        hint("add one: authz org add NAME --host HOST")


@app.command("show", epilog="Example: authz org show acme")
def show(context: typer.Context, name: OrganizationName, as_json: AsJson = False) -> None:
    """Show one organization."""
    with open_store(context) as store:
        emit_one(describe(store.organization(name)), as_json=as_json)


@app.command("remove", epilog="Example: authz org remove acme (to switch it off instead: authz org set acme --off)")
def remove(context: typer.Context, name: OrganizationName, as_json: AsJson = False) -> None:
    """Remove an organization with its hosts, users, anchors and registered certificates."""
    with open_store(context) as store:
        held = store.organization(name)
        store.remove_organization(name)
    emit_one({"removed": name, "hosts": held.hosts}, as_json=as_json)
    say("everything of it is gone; requests to its hosts are refused within a second")


def describe(one: Organization) -> Row:
    """An organization as it is printed."""
    return {
        "name": one.name,
        "hosts": one.hosts,
        "active": one.active,
        "binding_scope": one.binding_scope,
        "enforcement": one.default_enforcement,
        "issuer": one.token.issuer,
        "audience": one.token.audience,
        "user_claim": one.token.user_claim,
        "organization_claim": one.token.organization_claim,
        "keys": one.token.keys,
        "token_type": one.token.type,
    }
