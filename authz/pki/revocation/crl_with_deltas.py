"""What complete CRLs and deltas of one issuer, key and scope say together about a certificate (RFC 5280 5.2.4, 6.3.3).

Listing and removing are deliberately not treated alike. An entry of a delta counts as soon as the delta is newer than
the complete CRL; a removal counts only where section 5.2.4 lets the two be combined.

A CRL that can never prove a certificate good (`CrlHeader.unusable`) supersedes none, but it is evidence: what it lists
is revoked until a newer CRL that is complete and usable no longer lists it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from authz.pki.crl.crl import Crl
    from authz.pki.crl.index import RevokedEntry
    from authz.pki.x509.certificate import Certificate


class StatusAnswer(NamedTuple):
    """The CRLs asked, and an entry that lists the certificate, if any, with the CRL it stands in.

    `stale` is whether that entry is only the last known one, because newer CRLs are due. `problem`
    says why the CRLs asked cannot prove the certificate good, empty if they can.
    """

    crls: tuple[Crl, ...]
    listed: tuple[Crl, RevokedEntry] | None
    stale: bool
    problem: str


@dataclass(slots=True)
class CrlSet:
    """CRLs of one issuer, key and scope, none of them from the future, their signatures verified.

    `complete` and `deltas` are usable; `evidence` are those that are not, without what a complete one supersedes.
    """

    complete: Sequence[Crl]
    deltas: Sequence[Crl]
    evidence: Sequence[Crl] = ()
    not_listed: StatusAnswer | None = None
    """The answer of one complete CRL without deltas while it is current and does not list the certificate."""

    @classmethod
    def of(cls, crls: Iterable[Crl]) -> CrlSet:
        """The set of `crls`; of complete CRLs those that no other supersedes."""
        crls = tuple(crls)
        usable = [crl for crl in crls if not crl.unusable]
        complete = current(crl for crl in usable if not crl.is_delta)
        deltas = [crl for crl in usable if crl.is_delta]
        evidence = [crl for crl in crls if crl.unusable and not any(other.supersedes(crl) for other in complete)]
        alone = len(complete) == 1 and not deltas and not evidence
        return cls(
            complete, deltas, evidence, StatusAnswer((*complete,), None, stale=False, problem="") if alone else None
        )

    def ask(self, certificate: Certificate, at: datetime) -> StatusAnswer:
        """6.3.3 (i) to (l), apart from the reasons."""
        if self.not_listed is None:
            answer = self._ask_all(certificate, at) if self.complete else self._ask_deltas(certificate, at)
            return self._weighed(answer, certificate) if self.evidence else answer
        crl = self.complete[0]
        entry = crl.index.find(certificate.serial, certificate.issuer)
        in_time = crl.next_update is not None and crl.next_update >= at
        if entry is None and in_time:
            return self.not_listed
        listed = None if entry is None else (crl, entry)
        return StatusAnswer((crl,), listed, stale=entry is not None and not in_time, problem=_overdue(crl, at))

    def _weighed(self, answer: StatusAnswer, certificate: Certificate) -> StatusAnswer:
        """What the others answered, with what stands in the evidence: neither it nor its age can be made up for."""
        asked = (*answer.crls, *self.evidence) if answer.problem else answer.crls
        problem = answer.problem if self.complete else _unusable(self.evidence)
        for crl in self.evidence:
            entry = crl.index.find(certificate.serial, certificate.issuer)
            if entry is not None and not (crl.is_delta and entry.removes):
                return StatusAnswer(asked, (crl, entry), stale=False, problem=problem)
        return StatusAnswer(asked, answer.listed, answer.stale, problem)

    def _ask_all(self, certificate: Certificate, at: datetime) -> StatusAnswer:
        """Where number and date disagree about which complete CRL is the newest, all of them must agree."""
        asked: tuple[Crl, ...] = ()
        listed: tuple[Crl, RevokedEntry] | None = None
        stale, problem = True, ""
        for complete in self.complete:
            deltas = _newer_deltas(complete, self.deltas, at) if self.deltas else ()
            asked += (complete, *deltas)
            overdue = _overdue(complete, at)
            problem = problem or overdue
            listing = _listing(complete, deltas, certificate, at)
            if listing is not None and stale:
                listed, stale = listing, bool(overdue and _overdue(listing[0], at))
        return StatusAnswer(asked, listed, listed is not None and stale, problem)

    def _ask_deltas(self, certificate: Certificate, at: datetime) -> StatusAnswer:
        """Deltas without a complete CRL prove no certificate good, but their entries count."""
        problem = "a delta CRL is held, and no complete one of its scope" if self.deltas else "no CRL has begun"
        for delta in current(self.deltas):
            entry = delta.index.find(certificate.serial, certificate.issuer)
            if entry is not None and not entry.removes:
                return StatusAnswer((delta,), (delta, entry), bool(_overdue(delta, at)), problem)
        return StatusAnswer((), None, stale=False, problem=problem)


def current(crls: Iterable[Crl]) -> list[Crl]:
    """Those of `crls`, all of one issuer, key and scope, that no other supersedes."""
    crls = list(crls)
    return [crl for crl in crls if not any(other.supersedes(crl) for other in crls)]


def _listing(
    complete: Crl, deltas: Iterable[Crl], certificate: Certificate, at: datetime
) -> tuple[Crl, RevokedEntry] | None:
    """An entry that counts. One of the complete CRL is removed only if every delta that combines with it removes it:

    where several are left neither supersedes the other, and one without the certificate says that nothing has changed.
    """
    removals = []
    for delta in deltas:
        entry = delta.index.find(certificate.serial, certificate.issuer)
        if entry is not None and not entry.removes:
            return delta, entry
        if _combines(delta, complete, at):
            removals.append(entry is not None)
    entry = complete.index.find(certificate.serial, certificate.issuer)
    removed = bool(removals) and all(removals)
    return None if entry is None or removed else (complete, entry)


def _newer_deltas(complete: Crl, deltas: Iterable[Crl], at: datetime) -> tuple[Crl, ...]:
    """The deltas that are newer than `complete`, without those superseded by one that combines with it."""
    newer = [delta for delta in deltas if _is_newer(delta, complete)]
    combined = [delta for delta in newer if _combines(delta, complete, at)]
    return tuple(delta for delta in newer if not any(other.supersedes(delta) for other in combined))


def _is_newer(delta: Crl, complete: Crl) -> bool:
    """Whether the delta's number or date is later than the complete CRL's."""
    if delta.number is not None and complete.number is not None and delta.number > complete.number:
        return True
    return delta.this_update > complete.this_update


def _combines(delta: Crl, complete: Crl, at: datetime) -> bool:
    """5.2.4: the delta is current, starts at or before the complete CRL, and ends after it."""
    if delta.base_number is None or complete.number is None or delta.number is None or _overdue(delta, at):
        return False
    in_order = delta.base_number <= complete.number < delta.number
    return in_order and delta.this_update >= complete.this_update


def lateness(crl: Crl, at: datetime) -> str:
    """Why the CRL is not in time at `at`; empty if it is. Section 5.1.2.5 requires nextUpdate."""
    if crl.next_update is None:
        return "has no nextUpdate"
    return f"expired on {crl.next_update:%Y-%m-%d %H:%M:%SZ}" if crl.next_update < at else ""


def _overdue(crl: Crl, at: datetime) -> str:
    late = lateness(crl, at)
    return late and f"the CRL of {crl.issuer.text} {late}"


def _unusable(crls: Iterable[Crl]) -> str:
    return next((f"the CRL of {crl.issuer.text} has {crl.unusable}" for crl in crls), "")
