"""One request of a proxy, and what is read from it: the chain presented, the identity, the binding found."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from authz.model.tenancy import Registration
    from authz.reasons import Reason


class CheckRequest:
    """One question of a proxy, unparsed: the core refuses what is malformed in it.

    `headers` are lower-case names and undecoded values, in the order received; `headers_by_folded_name` groups
    them by `fold`. `method` and `target` are for the log only: no decision depends on them.
    """

    __slots__ = ("decision_id", "headers", "headers_by_folded_name", "host", "method", "target")

    def __init__(
        self, decision_id: str, host: str, headers: tuple[tuple[bytes, bytes], ...], method: str = "", target: str = ""
    ) -> None:
        self.decision_id = decision_id
        self.host = host
        self.headers = headers
        self.method = method
        self.target = target
        self.headers_by_folded_name: dict[bytes, list[tuple[bytes, bytes]]] = {}
        for header in headers:
            folded = header[0].replace(b"-", b"_")
            if folded in self.headers_by_folded_name:
                self.headers_by_folded_name[folded].append(header)
            else:
                self.headers_by_folded_name[folded] = [header]

    def values(self, name: str) -> list[bytes]:
        """Every value of the header `name` (lower case), in order."""
        wanted, folded = fold(name)
        return [value for key, value in self.headers_by_folded_name.get(folded, ()) if key == wanted]


@cache
def fold(name: str) -> tuple[bytes, bytes]:
    """A configured header's name as bytes, and folded: servers exist that treat "-" and "_" in names as one."""
    encoded = name.encode("ascii")
    return encoded, encoded.replace(b"-", b"_")


@dataclass(slots=True, unsafe_hash=True, init=False)
class PresentedChain:
    """What the proxy passed on: the leaf, whose key the client proved to it, and other certificates (DER).

    `intermediates` are in the order sent, without the leaf and duplicates; nothing vouches for them.
    `sha256` (32 bytes) is the leaf's, computed once, as decoded headers are cached. `encoded_intermediates` is their
    text in the header, as long as it waits to be cached for other headers that hold the same text.
    """

    leaf: bytes
    intermediates: tuple[bytes, ...]
    sha256: bytes = field(repr=False, compare=False)
    encoded_intermediates: bytes | None = field(repr=False, compare=False)

    def __init__(self, leaf: bytes, intermediates: tuple[bytes, ...] = ()) -> None:
        self.leaf = leaf
        self.intermediates = intermediates
        self.sha256 = hashlib.sha256(leaf).digest()
        self.encoded_intermediates = None


class Identity(NamedTuple):
    """The user that a listener's identity source names.

    `confirmation` is the SHA-256 of the certificate that the token is bound to (RFC 8705 `cnf.x5t#S256`, 32
    bytes), or None for a token that is bound to no certificate.
    """

    user: str
    confirmation: bytes | None = None


class LeafKeys(NamedTuple):
    """By what a leaf's registrations are found, besides its own SHA-256: see `Registration`.

    `identities` are at most one name of each type.
    """

    tbs_sha256: bytes
    spki_sha256: bytes
    identities: tuple[str, ...]


class Binding(NamedTuple):
    """The result of the binding gate: the active registration, or the reason for which `required` would refuse.

    Exactly one of the two is set. With a refusal, `nearest` is the registration that nearly matched, if any did, and
    `detail` is for the operator: whose it is, its state, what it lacks.
    """

    registration: Registration | None = None
    refusal: Reason | None = None
    nearest: Registration | None = None
    detail: str = ""

    def __str__(self) -> str:
        """`bound`, or the reason: the text in `x-authz-binding`, log and history."""
        return "bound" if self.refusal is None else str(self.refusal)
