"""The decision matrix, generated: every combination of what can vary, judged by an oracle of its own.

The oracle knows the table of the design and nothing of the product: it is told the facts of a cell in
words, and says whether the request may pass. No cell may be allowed that it denies, nor denied that it
allows. The neighbour's names, users, CA names, serial numbers and even a key collide on purpose.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from pki_factory import NOW, Authority, Minted
from world import (
    ACME,
    ALICE,
    BOB,
    CA,
    CRLS,
    EVIL,
    EVIL_ALICE,
    EVIL_CA,
    REVOKED,
    ROOT,
    MemoryView,
    Says,
    decide,
    request,
)

from authz.decision import Allow
from authz.model import BindingScope, CheckRequest, Enforcement, Registration, User
from authz.view import Door

WITHDRAWN_CA = ROOT.intermediate("Withdrawn CA")
SILENT_CA = ROOT.intermediate("Silent CA")
ROOT_CRL = ROOT.crl(WITHDRAWN_CA, number=2, this_update=NOW)
SERVER = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])

# What the client shows: the chain, and in words whether it verifies in which organization.
CERTIFICATES: dict[str, tuple[tuple[Minted, ...], str]] = {
    "none": ((), ""),
    "own": ((ALICE, CA), "acme"),
    "own, more sent": ((ALICE, ROOT, BOB, CA), "acme"),
    "another's": ((BOB, CA), "acme"),
    "neighbour's twin": ((EVIL_ALICE, EVIL_CA), "evil"),
    "same key, neighbour's CA": ((EVIL_CA.leaf("alice", key=ALICE.key), EVIL_CA), "evil"),
    "without its CA": ((ALICE,), "never"),
    "with the neighbour's CA": ((ALICE, EVIL_CA), "never"),
    "expired": ((CA.leaf("alice", not_after=NOW - timedelta(seconds=1)), CA), "never"),
    "not yet valid": ((CA.leaf("alice", not_before=NOW + timedelta(seconds=1)), CA), "never"),
    "revoked": ((REVOKED, CA), "never"),
    "CA revoked": ((WITHDRAWN_CA.leaf("alice"), WITHDRAWN_CA), "never"),
    "CA without a CRL": ((SILENT_CA.leaf("alice"), SILENT_CA), "never"),
    "for servers": ((CA.leaf("alice", extensions=[(SERVER, False)]), CA), "never"),
    "self-signed": ((Authority.root("alice"),), "never"),
    "foreign": ((Authority.root("Root").leaf("alice"),), "never"),
}
# For whom the leaf shown is registered: organization, user, whether active now.
REGISTRATIONS: dict[str, tuple[tuple[str, str, bool], ...]] = {
    "nowhere": (),
    "user's, active": (("acme", "alice", True),),
    "user's, retired": (("acme", "alice", False),),
    "colleague's, active": (("acme", "bob", True),),
    "colleague's and user's retired": (("acme", "bob", True), ("acme", "alice", False)),
    "both, active": (("acme", "bob", True), ("acme", "alice", True)),
    "neighbour's, active": (("evil", "alice", True),),
}
# What the identity source says: the user, and whose leaf the token is bound to, if any.
IDENTITIES = {
    "alice": ("alice", ""),
    "alice, bound": ("alice", "shown"),
    "alice, bound elsewhere": ("alice", "other"),
    "stranger": ("nobody", ""),
    "ALICE": ("ALICE", ""),
}
HEADERS = ("as made", "twice", "another beside", "twin beside")
HOSTS = ("acme", "evil", "unknown", "acme, off")


@dataclass(frozen=True)
class Cell:
    """One combination, in words."""

    enforcement: str
    certificate: str
    registration: str
    identity: str
    header: str
    host: str
    scope: str


def oracle(cell: Cell) -> bool:
    """Whether the request may pass, by the design's table alone."""
    organization = {"acme": "acme", "evil": "evil"}.get(cell.host)
    user, bound = IDENTITIES[cell.identity]
    chain, verifies_in = CERTIFICATES[cell.certificate]
    shown = bool(chain)
    if organization is None or user != "alice":
        return False
    if cell.header != "as made" and (shown or cell.header != "twice"):
        return False
    if bound == "other" or (bound == "shown" and not shown):
        return False
    if shown and verifies_in != organization:
        return False
    if cell.enforcement != "required":
        return True
    counting = [
        active
        for where, whose, active in REGISTRATIONS[cell.registration]
        if where == organization and (cell.scope == "organization" or whose == "alice")
    ]
    return shown and any(counting)


USERS = {"alice": 1, "bob": 2}
NUMBERS = {"acme": 1, "evil": 2}


def build(cell: Cell) -> tuple[CheckRequest, MemoryView, Door]:
    """The cell, as the product meets it."""
    chain, _ = CERTIFICATES[cell.certificate]
    view = MemoryView(crl_ders=(ROOT_CRL, *CRLS[1:]))
    view.stores = stores()
    scope = BindingScope(cell.scope)
    view.organizations = {
        "acme.example.test": replace(ACME, binding_scope=scope, active=cell.host != "acme, off"),
        "evil.example.test": replace(EVIL, binding_scope=scope),
    }
    # The same ids in both organizations: an id alone must never match.
    view.users = [
        User(number, organization, name, Enforcement(cell.enforcement))
        for name, number in USERS.items()
        for organization in NUMBERS.values()
    ]
    leaf = chain[0].sha256 if chain else ALICE.sha256
    view.registered = [
        Registration(key, NUMBERS[where], USERS[whose], leaf, retired_at=None if active else NOW)
        for key, (where, whose, active) in enumerate(REGISTRATIONS[cell.registration])
    ]
    user, bound = IDENTITIES[cell.identity]
    confirmation = {"": None, "shown": leaf, "other": b"\x00" * 32}[bound]
    host = f"{cell.host.partition(',')[0]}.example.test"
    return with_header(request(*chain, host=host), cell.header), view, Door("matrix", (Says(user, confirmation),))


@cache
def stores() -> dict[int, object]:
    """The organizations' anchors, read once for all cells."""
    view = MemoryView()
    return {one.id: view.trust(one) for one in (ACME, EVIL)}


def with_header(check: CheckRequest, state: str) -> CheckRequest:
    """The same request, its headers tampered with."""
    own = tuple(one for one in check.headers if one[0] == b"x-forwarded-client-cert")
    more = {
        "as made": (),
        "twice": own,
        "another beside": ((b"client-cert", b":AA==:"),),
        "twin beside": ((b"x_forwarded_client_cert", b"x"),),
    }[state]
    return replace(check, headers=check.headers + more)


ENFORCEMENTS, SCOPES = ("required", "observe", "off"), ("user", "organization")


@pytest.mark.parametrize("enforcement", ENFORCEMENTS)
@pytest.mark.parametrize("certificate", list(CERTIFICATES))
def test_matrix_agrees_with_the_oracle(enforcement: str, certificate: str) -> None:
    """Registration x identity x header x host x scope: 1,120 cells for each enforcement and certificate."""
    wrong = []
    for rest in itertools.product(REGISTRATIONS, IDENTITIES, HEADERS, HOSTS, SCOPES):
        cell = Cell(enforcement, certificate, *rest)
        check, view, door = build(cell)
        allowed = isinstance(decide(check, view=view, door=door), Allow)
        if allowed is not oracle(cell):
            wrong.append((cell, allowed))
    assert wrong == []


def test_matrix_holds_both_answers() -> None:
    """An oracle that always denies would prove nothing."""
    cells = [
        Cell(*one)
        for one in itertools.product(ENFORCEMENTS, CERTIFICATES, REGISTRATIONS, IDENTITIES, HEADERS, HOSTS, SCOPES)
    ]
    assert len(cells) == 53_760
    assert sum(map(oracle, cells)) == 436
