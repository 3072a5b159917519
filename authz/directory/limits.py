"""What may be written to the directory: names, hosts, ties of tokens, registrations, and CRLs in their order."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from authz import pki
from authz.errors import Problem, Refused, StoreError
from authz.host import canonical_host
from authz.model import Registration, TokenSettings

if TYPE_CHECKING:
    from authz.pki import Certificate, Crl

MAX_CHAIN = 10
"""Certificates of one registration, the leaf included: the model's own limit."""

MAX_LABEL = 64
"""Characters of a label: the model's own limit."""


def stored_host(raw: str) -> str:
    """A host in the one spelling it is stored in. Raises `StoreError`."""
    try:
        return canonical_host(raw)
    except Refused as refusal:
        problem = f"{raw} is a URL, not a host name" if "://" in raw else str(refusal.detail)
        raise StoreError(problem, hint=f"write it as {_host_in(raw)}") from refusal


def _host_in(raw: str) -> str:
    """The host of what was given as a URL, or an example."""
    with suppress(Refused, ValueError):
        return canonical_host(urlsplit(raw).netloc)
    return "api.example.com"


def check_name(kind: str, name: str) -> None:
    """Raises `StoreError` unless `name` can name a user or an organization, as identity headers can carry it."""
    if not name or len(name.encode("utf-8", "replace")) > 255 or not name.isprintable() or name != name.strip():
        problem = f"{name!r} cannot name {'an' if kind == 'organization' else 'a'} {kind}"
        raise StoreError(problem, hint="a name has 1 to 255 bytes, all printable, and no space at its ends")


def check_tokens(own: TokenSettings, neighbour: str, neighbours: TokenSettings) -> None:
    """Raises `StoreError` where a token made for one of two organizations could name a user of the other."""
    if _crosses(own, neighbours) or _crosses(neighbours, own):
        message = (
            f"a token of {neighbour} could name a user of this organization, or one of this organization a user there"
        )
        raise StoreError(message, kind=Problem.TOKENS_CROSS)


def _crosses(made: TokenSettings, read: TokenSettings) -> bool:
    """Whether a token that is made for the one may be good where the other reads it."""
    if not (_accepts(made) and _accepts(read)):
        return False
    if read.organization_claim is None:
        return _meet(made.issuer, read.issuer) and _meet_audiences(made, read)
    # An organization can have its own issuer write any organization's name, for where no issuer is asked for.
    return read.issuer is None and made.issuer is not None


def _accepts(settings: TokenSettings) -> bool:
    """Whether any token is accepted: see `authz.identity.claims`."""
    return settings.organization_claim is not None or None not in (settings.issuer, settings.audience)


def _meet_audiences(made: TokenSettings, read: TokenSettings) -> bool:
    """As `_meet`: one token may have the audience of each, in different claims."""
    return made.audience_claim != read.audience_claim or _meet(made.audience, read.audience)


def _meet(first: str | None, second: str | None) -> bool:
    """Whether one token can satisfy both; a value that is not asked for may be anything."""
    return first is None or second is None or first == second


def check_registration(
    chain: Sequence[Certificate], label: str, valid_from: datetime | None, valid_until: datetime | None
) -> None:
    """Raises `StoreError` for a registration beyond the model's limits, or one that ends before it begins."""
    if len(chain) >= MAX_CHAIN:
        raise StoreError(f"{len(chain) + 1} certificates", hint=f"at most {MAX_CHAIN}, the leaf included")
    if len(label) > MAX_LABEL:
        raise StoreError(f"a label of {len(label)} characters", hint=f"at most {MAX_LABEL}")
    if valid_from is not None and valid_until is not None and valid_until <= valid_from:
        raise StoreError("the registration would end before it begins", kind=Problem.PERIOD_IS_EMPTY)


def overlaps(
    registration: Registration, valid_from: datetime | None, valid_until: datetime | None, now: datetime
) -> bool:
    """Whether a new period meets the time for which `registration` is or will be active."""
    ends = [end for end in (registration.valid_until, registration.retired_at) if end is not None]
    if ends and min(ends) <= (valid_from or now):
        return False
    begin = registration.valid_from
    return valid_until is None or begin is None or valid_until > begin


def check_order(new: Crl, former: Crl) -> None:
    """Raises `StoreError` unless `new` is newer than `former` in number and date; neither may go back."""
    if new.sha256 == former.sha256:
        raise StoreError("this very CRL is held already", hint="nothing was changed")
    if not pki.is_newer(new, former):
        held, this = (f"number {crl.number} of {crl.this_update:%Y-%m-%d %H:%M:%SZ}" for crl in (former, new))
        message = f"the CRL held is {held}, and this one, {this}, is not newer in both"
        if new.this_update > former.this_update:
            raise StoreError(message, kind=Problem.CRL_NUMBER_WENT_BACK, sha256=former.sha256.hex()[:12])
        raise StoreError(message, hint="fetch the current CRL from its CA")
