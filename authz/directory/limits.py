"""What may be written to the directory: names, hosts, ties of tokens, registrations, and CRLs in their order."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from authz.errors import Refused, StoreError
from authz.host import canonical_host
from authz.model import Registration, TokenSettings
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
        raise StoreError(str(refusal.detail), hint="write a host as api.example.com") from refusal


def check_name(kind: str, name: str) -> None:
    """Raises `StoreError` unless `name` can name a user or an organization, as identity headers can carry it."""
    if not name or len(name.encode("utf-8", "replace")) > 255 or not name.isprintable() or name != name.strip():
        raise StoreError(f"not a name for a {kind}", hint="1 to 255 octets, printable, no space at its ends")


def check_tokens(mine: TokenSettings, other: str, others: TokenSettings) -> None:
    """Raises `StoreError` where a token made for one of two organizations could name a user of the other."""
    if _crosses(mine, others) or _crosses(others, mine):
        raise StoreError(
            f"a token of {other} could name a user of this organization, or one of this organization a user there",
            hint="tell them apart by --issuer or --audience, or by --organization-claim and --issuer, in both",
        )


def _crosses(made: TokenSettings, read: TokenSettings) -> bool:
    """Whether a token that is made for the one may be good where the other reads it."""
    if not (_accepts(made) and _accepts(read)):
        return False
    if read.organization_claim is None:
        return _meet(made.issuer, read.issuer) and _meet(made.audience, read.audience)
    # Who has an issuer of his own can have it write any organization's name where no issuer is asked for.
    return read.issuer is None and made.issuer is not None


def _accepts(settings: TokenSettings) -> bool:
    """Whether any token is accepted: see `authz.identity.claims`."""
    return settings.organization_claim is not None or None not in (settings.issuer, settings.audience)


def _meet(one: str | None, other: str | None) -> bool:
    """What is not asked for may be anything."""
    return one is None or other is None or one == other


def check_registration(
    chain: Sequence[Certificate], label: str, valid_from: datetime | None, valid_until: datetime | None
) -> None:
    """Raises `StoreError` for a registration beyond the model's limits, or one that ends before it begins."""
    if len(chain) >= MAX_CHAIN:
        raise StoreError(f"{len(chain) + 1} certificates", hint=f"at most {MAX_CHAIN}, the leaf included")
    if len(label) > MAX_LABEL:
        raise StoreError(f"a label of {len(label)} characters", hint=f"at most {MAX_LABEL}")
    if valid_from is not None and valid_until is not None and valid_until <= valid_from:
        raise StoreError("the registration would end before it begins", hint="compare --from and --until")


def overlaps(held: Registration, valid_from: datetime | None, valid_until: datetime | None, now: datetime) -> bool:
    """Whether a new period meets the time for which `held` is or will be active."""
    ends = [one for one in (held.valid_until, held.retired_at) if one is not None]
    held_end = min(ends) if ends else None
    start = valid_from or now
    if held_end is not None and held_end <= start:
        return False
    return not (valid_until is not None and held.valid_from is not None and valid_until <= held.valid_from)


def check_order(new: Crl, held: Crl) -> None:
    """Raises `StoreError` unless `new` is newer than `held` in number and date; neither may go back."""
    if new.sha256 == held.sha256:
        raise StoreError("this very CRL is held already", hint="nothing was changed")
    if not new.supersedes(held):
        told = f"the CRL held is number {held.number} of {held.this_update:%Y-%m-%d %H:%M:%SZ}"
        raise StoreError(f"{told}, and this one is not newer in both", hint="fetch the current CRL from its CA")
