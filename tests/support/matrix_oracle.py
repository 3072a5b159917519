"""The decision matrix in words, and who may pass by the table of the design: nothing here knows the product.

A cell is one combination of what can vary. Its words are facts of the world ("verifies in acme", "registered
for bob"); `tests/test_matrix.py` builds what they say and asks the product. This module imports the standard
library alone, so that no mistake of the product's can be repeated here.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

ENFORCEMENTS = ("required", "observe", "off")
SCOPES = ("user", "organization")

CERTIFICATES = {
    "none": "",
    "own": "acme",
    "own, more sent": "acme",
    "another's": "acme",
    "neighbour's twin": "evil",
    "same key, neighbour's CA": "evil",
    "without its CA": "never",
    "with the neighbour's CA": "never",
    "expired": "never",
    "not yet valid": "never",
    "revoked": "never",
    "CA revoked": "never",
    "CA without a CRL": "never",
    "for servers": "never",
    "self-signed": "never",
    "foreign": "never",
}
"""What the client shows, and the organization in which it verifies."""

REGISTRATIONS: dict[str, tuple[tuple[str, str, bool], ...]] = {
    "nowhere": (),
    "user's, active": (("acme", "alice", True),),
    "user's, retired": (("acme", "alice", False),),
    "colleague's, active": (("acme", "bob", True),),
    "colleague's and user's retired": (("acme", "bob", True), ("acme", "alice", False)),
    "both, active": (("acme", "bob", True), ("acme", "alice", True)),
    "neighbour's, active": (("evil", "alice", True),),
}
"""For whom the leaf shown is registered: organization, user, whether active now."""

STATED: dict[str, tuple[str, str]] = {
    "alice": ("alice", ""),
    "alice, bound": ("alice", "shown"),
    "alice, bound elsewhere": ("alice", "other"),
    "alice, bound otherwise": ("", ""),
    "nobody": ("nobody", ""),
    "ALICE": ("ALICE", ""),
    "the other organization's alice": ("", ""),
    "expired": ("", ""),
    "forged": ("", ""),
    "none": ("", ""),
    "twice": ("", ""),
    "bob beside alice": ("", ""),
    "nothing beside alice": ("", ""),
}
"""What is stated of the user: the name, empty if none is usable; and the leaf that the token is bound to, if any."""

_NAME = ("alice", "nobody", "ALICE", "the other organization's alice", "none", "twice")
_CLAIMS = (*_NAME, "alice, bound", "alice, bound elsewhere", "alice, bound otherwise", "expired")
FORMS = {
    "name": _NAME,
    "payload": _CLAIMS,
    "token": (*_CLAIMS, "forged"),
    "name and token": ("alice", "alice, bound elsewhere", "bob beside alice", "nothing beside alice"),
}
"""The forms of identity, and what can be said in each."""

IDENTITIES = tuple(f"{form}: {stated}" for form, can in FORMS.items() for stated in can)

HEADERS = {
    "as made": "never",
    "twice": "shown",
    "lost": "shown",
    "another beside": "always",
    "twin beside": "always",
    "unstated": "always",
    "stated otherwise": "always",
    "swapped": "always",
}
"""The certificate header and the proxy's statement, and when that refuses: never, always, if a certificate is shown."""

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

    @property
    def form(self) -> str:
        """The form of the identity."""
        return self.identity.partition(": ")[0]

    @property
    def stated(self) -> str:
        """What it states."""
        return self.identity.partition(": ")[2]


def cells(enforcement: str, certificate: str) -> Iterator[Cell]:
    """Every cell of an enforcement and a certificate."""
    for rest in itertools.product(REGISTRATIONS, IDENTITIES, HEADERS, HOSTS, SCOPES):
        yield Cell(enforcement, certificate, *rest)


def oracle(cell: Cell) -> bool:
    """Whether the request may pass."""
    shown = cell.certificate != "none"
    if HEADERS[cell.header] == "always" or (HEADERS[cell.header] == "shown" and shown):
        return False
    if cell.host not in {"acme", "evil"}:
        return False
    user, bound = STATED[cell.stated]
    if user != "alice" or bound == "other" or (bound == "shown" and not shown):
        return False
    if shown and CERTIFICATES[cell.certificate] != cell.host:
        return False
    if cell.enforcement != "required":
        return True
    counting = [
        active
        for where, whose, active in REGISTRATIONS[cell.registration]
        if where == cell.host and (cell.scope == "organization" or whose == "alice")
    ]
    return shown and any(counting)
