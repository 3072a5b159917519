"""Whether a CRL that came may take its place among those held. Pure: the time is an argument.

A CRL is known by issuer name, signing key and scope, and orders only against others of the same three.
Neither its number nor its thisUpdate may go back: an attacker between us and the CA could
otherwise replay the CRL of last week, in which a certificate is not yet listed.

A CA that was restored may begin to count anew. Then an operator says up to which date the numbers before do not count:
the first CRL of the new count must be of a later date than all of them, so that nothing from before can be replayed.

A CRL that can prove no certificate good replaces none: it is held beside the others, as evidence.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from authz.crls.failures import FailureKind, FetchFailed
from authz.pki import Crl
from authz.pki.crl.crl import EXPIRED_WHEN_IT_CAME, MAX_EVIDENCE, is_newer, puts_out

MAX_DELTAS: Final = 16
"""Delta CRLs of one issuer, key and scope that may be held: with one or two in use, many times that."""


@dataclass(frozen=True, slots=True)
class SignedCrl:
    """A CRL, and the key that signed it (`Certificate.plain_spki_sha256`)."""

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


def begins_anew(new: SignedCrl, existing: SignedCrl, now: datetime) -> bool:
    """Whether `new` may be the first of a CA that counts anew: current, complete and of later date, its number lower.

    Of what was held before no CRL can pass for it, for its date is earlier. A delta waits for the complete one.
    """
    number, held = new.crl.number, existing.crl.number
    if new.crl.is_delta or new.crl.unusable or new.crl.next_update is None or number is None or held is None:
        return False
    return number < held and existing.crl.this_update < new.crl.this_update <= now <= new.crl.next_update


def accept(
    new: SignedCrl, existing: Iterable[SignedCrl], now: datetime, by_date: Collection[SignedCrl] = ()
) -> list[SignedCrl]:
    """Those of `existing` that `new` replaces; `new` itself among them if it is held already, and changes nothing.

    `by_date` are those whose numbers do not count for it. If `new` has expired, and would replace one that has not, it
    is marked as evidence. Raises `FetchFailed` (not_yet, older, disagrees, too_many); then everything held is to stay
    as it is.
    """
    peers = [crl for crl in existing if crl.place == new.place]
    same = [peer for peer in peers if peer.crl.sha256 == new.crl.sha256]
    # That it has expired by now, though not when it came, or that an operator wants it all the same, is known of it.
    new.crl.mark_expired(when_it_came=bool(same) and same[0].crl.unusable == EXPIRED_WHEN_IT_CAME)
    if same:
        return same
    if new.crl.this_update > now:
        raise FetchFailed(FailureKind.NOT_YET, f"{new.known_as} begins later than now")
    before = [peer for peer in peers if peer in by_date and begins_anew(new, peer, now)]
    for peer in peers:
        if peer.crl.is_delta == new.crl.is_delta and not peer.crl.unusable and peer not in before:
            check_newer(new, peer)
    new.crl.mark_expired(when_it_came=puts_out(new.crl, (peer.crl for peer in peers), now))
    if new.crl.unusable:
        evidence = sorted((peer for peer in peers if peer.crl.unusable), key=lambda peer: peer.crl.this_update)
        return evidence[: max(0, len(evidence) + 1 - MAX_EVIDENCE)]
    stay = [peer for peer in peers if peer.crl.is_delta and not peer.crl.unusable]
    stay = [peer for peer in stay if not new.crl.replaces(peer.crl)]
    if new.crl.is_delta and len(stay) >= MAX_DELTAS:
        detail = f"{len(stay)} delta CRLs of {new.crl.issuer.text} wait for a complete one"
        raise FetchFailed(FailureKind.TOO_MANY, detail)
    return [peer for peer in peers if new.crl.replaces(peer.crl) or peer in before]


def check_newer(new: SignedCrl, existing: SignedCrl) -> None:
    """Raises `FetchFailed` (older, disagrees) unless `new` is the newer one, by number and date alike, or the same."""
    if new.crl.sha256 == existing.crl.sha256 or is_newer(new.crl, existing.crl):
        return
    if is_newer(existing.crl, new.crl):
        raise FetchFailed(FailureKind.OLDER, f"{new.known_as} is older than {existing.known_as}, which is held")
    detail = f"{new.known_as} is neither newer nor older than {existing.known_as}, which is held"
    raise FetchFailed(FailureKind.DISAGREES, detail)
