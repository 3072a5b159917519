"""Whether a CRL that came may take its place among those held. Pure: the time is an argument.

A CRL is known by issuer name, signing key and scope, and orders only against others of the same three.
Neither its number nor its thisUpdate may go back: whoever can put himself between us and the CA could
otherwise hand out the CRL of last week, in which his certificate is not yet listed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from authz.crls.failures import FailureKind, FetchFailed
from authz.pki import Crl

MAX_DELTAS: Final = 16
"""Delta CRLs of one issuer, key and scope that may be held: with one or two in use, many times that."""


@dataclass(frozen=True, slots=True)
class Held:
    """A CRL, and the key that signed it (`Certificate.spki_sha256`)."""

    crl: Crl
    signer: bytes

    @property
    def place(self) -> tuple[object, ...]:
        """What it orders within."""
        return self.crl.issuer, self.signer, self.crl.scope

    @property
    def known_as(self) -> str:
        """Issuer, number and date, for messages."""
        number = "" if self.crl.number is None else f" number {self.crl.number}"
        return f"the CRL{number} of {self.crl.issuer.text} of {self.crl.this_update:%Y-%m-%d %H:%M:%SZ}"


def accept(new: Held, held: Iterable[Held], now: datetime) -> list[Held]:
    """Those of `held` that `new` replaces; `new` itself among them if it is held already, and changes nothing.

    Raises `FetchFailed` (unusable, not_yet, older, disagrees, too_many); then `held` is to stay as it is.
    """
    mine = [one for one in held if one.place == new.place]
    same = [one for one in mine if one.crl.sha256 == new.crl.sha256]
    if same:
        return same
    if new.crl.unusable:
        raise FetchFailed(FailureKind.UNUSABLE, f"{new.known_as} has a {new.crl.unusable}")
    if new.crl.this_update > now:
        raise FetchFailed(FailureKind.NOT_YET, f"{new.known_as} begins later than now")
    for one in mine:
        if one.crl.is_delta == new.crl.is_delta:
            check_newer(new, one)
    stay = [one for one in mine if one.crl.is_delta and not new.crl.replaces(one.crl)]
    if new.crl.is_delta and len(stay) >= MAX_DELTAS:
        detail = f"{len(stay)} delta CRLs of {new.crl.issuer.text} wait for a complete one"
        raise FetchFailed(FailureKind.TOO_MANY, detail)
    return [one for one in mine if new.crl.replaces(one.crl)]


def check_newer(new: Held, held: Held) -> None:
    """Raises `FetchFailed` (older, disagrees) unless `new` is the newer one, by number and date alike, or the same."""
    if new.crl.sha256 == held.crl.sha256 or new.crl.supersedes(held.crl):
        return
    if held.crl.supersedes(new.crl):
        raise FetchFailed(FailureKind.OLDER, f"{new.known_as} is older than {held.known_as}, which is held")
    detail = f"{new.known_as} is neither newer nor older than {held.known_as}, which is held"
    raise FetchFailed(FailureKind.DISAGREES, detail)
