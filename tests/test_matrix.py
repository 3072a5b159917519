"""The decision matrix, generated: every combination of what can vary, judged by an oracle that stands apart.

No cell may be allowed that `matrix_oracle` denies, nor denied that it allows. The neighbour's names, users, CA
names, serial numbers, issuer, audience and even a key collide on purpose. What is remembered of one cell is there
for the next, so that nothing remembered may answer for another.
"""

from __future__ import annotations

import ast
import asyncio
import itertools
import json
import sys
import tempfile
from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path

import jwt
import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from jwt.algorithms import RSAAlgorithm
from support import matrix_oracle
from support.certificates import NOW, Authority, Minted, new_key
from support.decision_world import (
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
    decide,
    request,
)
from support.matrix_oracle import CERTIFICATES, ENFORCEMENTS, FORMS, REGISTRATIONS, SCOPES, Cell, cells, oracle

from authz.decision import Allow
from authz.identity.header import UserNameHeader
from authz.identity.keys import JwksCache, JwksKey
from authz.identity.payload import PayloadHeader
from authz.identity.token import BearerToken
from authz.identity.verification_budget import VerificationBudget
from authz.model import (
    BindingScope,
    CheckRequest,
    Enforcement,
    HeaderRules,
    IndicatorForm,
    Organization,
    Registration,
    TokenSettings,
    User,
)
from authz.pki import Crl, CrlStore
from authz.view import Listener

WITHDRAWN_CA = ROOT.intermediate("Withdrawn CA")
SILENT_CA = ROOT.intermediate("Silent CA")
ROOT_CRL = ROOT.crl(WITHDRAWN_CA, number=2, this_update=NOW)
SERVER = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])

CHAINS: dict[str, tuple[Minted, ...]] = {
    "none": (),
    "own": (ALICE, CA),
    "own, more sent": (ALICE, ROOT, BOB, CA),
    "another's": (BOB, CA),
    "neighbour's twin": (EVIL_ALICE, EVIL_CA),
    "same key, neighbour's CA": (EVIL_CA.leaf("alice", key=ALICE.key), EVIL_CA),
    "without its CA": (ALICE,),
    "with the neighbour's CA": (ALICE, EVIL_CA),
    "expired": (CA.leaf("alice", not_after=NOW - timedelta(seconds=1)), CA),
    "not yet valid": (CA.leaf("alice", not_before=NOW + timedelta(seconds=1)), CA),
    "revoked": (REVOKED, CA),
    "CA revoked": (WITHDRAWN_CA.leaf("alice"), WITHDRAWN_CA),
    "CA without a CRL": (SILENT_CA.leaf("alice"), SILENT_CA),
    "for servers": (CA.leaf("alice", extensions=[(SERVER, False)]), CA),
    "self-signed": (Authority.root("alice"),),
    "foreign": (Authority.root("Root").leaf("alice"),),
}

# -- the organizations, their tokens and their users ---------------------------------------------------

KEY, ANOTHER_KEY = new_key("rsa2048"), new_key("rsa2048")
USERS = {"alice": 1, "bob": 2}


def key_ring() -> tuple[JwksCache, str]:
    """A ring that has read the one key set of both organizations, and where that was."""
    key = {**json.loads(RSAAlgorithm.to_jwk(KEY.public_key())), "kid": "k"}  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "jwks.json"
        path.write_text(json.dumps({"keys": [key]}))
        ring = JwksCache(monotonic=lambda: 0.0, warn=pytest.fail)
        ring.budget = VerificationBudget(itertools.count().__next__)  # new tokens are not what is tried here
        asyncio.run(ring.load(JwksKey(str(path))))
    return ring, str(path)


RING, KEYS = key_ring()
TOKENS = TokenSettings(issuer="https://id", audience="api", organization_claim="org", keys=KEYS)
ORGANIZATIONS = {"acme": replace(ACME, token=TOKENS), "evil": replace(EVIL, token=TOKENS)}

NAME, PAYLOAD, TOKEN = UserNameHeader("x-user", "x-organization"), PayloadHeader("x-payload"), BearerToken(RING)
RULES = HeaderRules(indicator_header="x-authz-peer", indicator=IndicatorForm.ENVOY_FINGERPRINT)
DOORS = {
    "name": Listener("matrix", (NAME,), RULES),
    "payload": Listener("matrix", (PAYLOAD,), RULES),
    "token": Listener("matrix", (TOKEN,), RULES),
    "name and token": Listener("matrix", (NAME, TOKEN), RULES),
}

Headers = tuple[tuple[bytes, bytes], ...]


def thumbprint(digest: bytes) -> str:
    """`x5t#S256` of RFC 8705."""
    return jwt.utils.base64url_encode(digest).decode()


@cache
def token_of(stated: str, organization: str, leaf: bytes) -> bytes:
    """A token that says so of the user; `leaf` is the SHA-256 of the one shown."""
    other = "evil" if organization == "acme" else "acme"
    user = stated if stated in {"nobody", "ALICE"} else "alice"
    claims = {"iss": "https://id", "aud": "api", "sub": user, "exp": NOW + timedelta(minutes=5), "org": organization}
    claims |= {
        "alice, bound": {"cnf": {"x5t#S256": thumbprint(leaf)}},
        "alice, bound elsewhere": {"cnf": {"x5t#S256": thumbprint(bytes(32))}},
        "alice, bound otherwise": {"cnf": {"jkt": thumbprint(leaf)}},
        "the other organization's alice": {"org": other},
        "expired": {"exp": NOW - timedelta(minutes=1)},
    }.get(stated, {})
    key = ANOTHER_KEY if stated == "forged" else KEY
    return jwt.encode(claims, key, algorithm="RS256", headers={"kid": "k"}).encode()


@cache
def identity_headers(form: str, stated: str, organization: str, leaf: bytes) -> Headers:
    """What is said of the user."""
    name = {"bob beside alice": "bob"}.get(stated, stated if stated in {"nobody", "ALICE"} else "alice")
    where = organization
    if stated == "the other organization's alice":
        where = "evil" if organization == "acme" else "acme"
    named = ((b"x-user", name.encode()), (b"x-organization", where.encode()))
    token = token_of(stated, organization, leaf)
    said: dict[str, Headers] = {
        "name": named,
        "payload": ((b"x-payload", token.split(b".")[1]),),
        "token": ((b"authorization", b"Bearer " + token),),
    }
    said["name and token"] = (*(named if stated != "nothing beside alice" else ()), *said["token"])
    if stated == "none":
        return ()
    return said[form] * 2 if stated == "twice" else said[form]


# -- the certificate header, and the proxy's statement -------------------------------------------------


@cache
def certificate_headers(certificate: str, state: str) -> Headers:
    """What the proxy hands over, and what it says of it."""
    chain = CHAINS[certificate]
    swapped = (BOB, CA) if chain[:1] == (ALICE,) else (ALICE, CA)
    made = request(*chain).headers
    says = b"sha256=" + (chain[0].sha256.hex().encode() if chain else b"")
    otherwise = b"sha256=" + (b"" if chain else ALICE.sha256.hex().encode())
    statement = ((b"x-authz-peer", says),)
    return {
        "as made": made + statement,
        "twice": made * 2 + statement,
        "lost": statement,
        "another beside": (*made, *statement, (b"client-cert", b":AA==:")),
        "twin beside": (*made, *statement, (b"x_forwarded_client_cert", b"x")),
        "unstated": made,
        "stated otherwise": (*made, (b"x-authz-peer", otherwise)),
        "swapped": request(*swapped).headers + statement,
    }[state]


# -- a cell, as the product meets it -------------------------------------------------------------------


@cache
def view_of(enforcement: str, certificate: str, registration: str, scope: str, off: bool) -> MemoryView:
    """The directory of a cell. The same ids in both organizations: an id alone must never match."""
    view = MemoryView()
    view.stores, crls = stores(), held_crls()
    view.crls = lambda _organization: crls  # type: ignore[method-assign]
    scoped = [replace(one, binding_scope=BindingScope(scope)) for one in ORGANIZATIONS.values()]
    scoped = [replace(one, active=not (off and one.name == "acme")) for one in scoped]
    view.organizations = {one.hosts[0]: one for one in scoped}
    numbers = {one.name: one.id for one in scoped}
    view.users = [
        User(number, organization, name, Enforcement(enforcement))
        for name, number in USERS.items()
        for organization in numbers.values()
    ]
    view.registered = [
        Registration(key, numbers[where], USERS[whose], leaf_of(certificate), retired_at=None if active else NOW)
        for key, (where, whose, active) in enumerate(REGISTRATIONS[registration])
    ]
    return view


@cache
def leaf_of(certificate: str) -> bytes:
    """The SHA-256 of the leaf shown; of alice's, where none is."""
    return (CHAINS[certificate] or (ALICE,))[0].sha256


@cache
def stores() -> dict[int, object]:
    """The organizations' anchors, read once for all cells."""
    view = MemoryView()
    return {one.id: view.trust(one) for one in (ACME, EVIL)}


@cache
def held_crls() -> CrlStore:
    """The CRLs, read once for all cells."""
    return CrlStore(map(Crl, (ROOT_CRL, *CRLS[1:])))


def build(cell: Cell) -> tuple[CheckRequest, MemoryView, Listener]:
    """The cell's request, directory and listener."""
    where: Organization = ORGANIZATIONS["evil" if cell.host == "evil" else "acme"]
    said = identity_headers(cell.form, cell.stated, where.name, leaf_of(cell.certificate))
    headers = certificate_headers(cell.certificate, cell.header) + said
    view = view_of(cell.enforcement, cell.certificate, cell.registration, cell.scope, cell.host == "acme, off")
    host = f"{cell.host.partition(',')[0]}.example.test"
    return CheckRequest("id", host, headers), view, DOORS[cell.form]


@pytest.mark.slow
@pytest.mark.parametrize("enforcement", ENFORCEMENTS)
@pytest.mark.parametrize("certificate", list(CERTIFICATES))
def test_matrix_agrees_with_the_oracle(enforcement: str, certificate: str) -> None:
    """Registration x identity x header x host x scope: 13,888 cells for each enforcement and certificate."""
    wrong = []
    for cell in cells(enforcement, certificate):
        check, view, listener = build(cell)
        decision = decide(check, view=view, listener=listener)
        if isinstance(decision, Allow) is not oracle(cell):
            wrong.append((cell, decision))
    assert wrong == []


@pytest.mark.slow
def test_matrix_holds_both_answers() -> None:
    """An oracle that always denies would prove nothing, nor would one that no form of identity passes."""
    every = [one for enforcement in ENFORCEMENTS for shown in CERTIFICATES for one in cells(enforcement, shown)]
    allowed = [one for one in every if oracle(one)]
    assert (len(every), len(allowed)) == (666_624, 1_644)
    assert {one.form for one in allowed} == set(FORMS)
    assert {one.scope for one in allowed} == set(SCOPES)


def test_oracle_knows_nothing_of_the_product() -> None:
    """It imports the standard library, and nothing that could have learned from the code it judges."""
    tree = ast.parse(Path(matrix_oracle.__file__).read_text(encoding="utf-8"))
    imported = {one.module for one in ast.walk(tree) if isinstance(one, ast.ImportFrom)}
    imported |= {name.name for one in ast.walk(tree) if isinstance(one, ast.Import) for name in one.names}
    assert {str(one).partition(".")[0] for one in imported} <= sys.stdlib_module_names


def test_chain_of_every_certificate_is_built() -> None:
    """The words of the oracle, and no others."""
    assert set(CHAINS) == set(CERTIFICATES)
