"""What the CRLs of one issuer, one key and one scope say together about a certificate: complete ones and their deltas.

Deltas are trusted unevenly, on purpose. Whatever a delta lists counts as soon as it is newer than the
complete CRL; that a certificate is off the list again counts only where RFC 5280 section 5.2.4 lets the
two be combined.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from authz.pki.revocation.crl_store import current as newest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from authz.pki.crl.crl import Crl
    from authz.pki.crl.index import Listed
    from authz.pki.x509.certificate import Certificate


class Answer(NamedTuple):
    """What was said: the CRLs asked, and an entry that lists the certificate, if any, with the CRL it is in.

    `stale` is whether that entry is only what was known last, because newer CRLs are due. `problem`
    says why the CRLs asked cannot prove the certificate good, empty if they can.
    """

    crls: tuple[Crl, ...]
    listed: tuple[Crl, Listed] | None
    stale: bool
    problem: str


@dataclass(slots=True)
class CrlGroup:
    """CRLs of one issuer, key and scope, none of them from the future, their signatures verified."""

    complete: Sequence[Crl]
    deltas: Sequence[Crl]
    silence: Answer | None = None
    """What one complete CRL without deltas says while it is current and does not list the certificate."""

    @classmethod
    def of(cls, crls: Iterable[Crl]) -> CrlGroup:
        """The group of `crls`; of complete CRLs those that no other supersedes."""
        crls = tuple(crls)
        if len(crls) == 1 and not crls[0].is_delta:
            return cls(crls, (), Answer(crls, None, stale=False, problem=_unusable(crls)))
        return cls(newest(one for one in crls if not one.is_delta), [one for one in crls if one.is_delta])

    def ask(self, certificate: Certificate, at: datetime) -> Answer:
        """6.3.3 (i) to (l). Where number and date disagree about which CRL is the newest, all of them must agree."""
        if self.silence is not None:
            return _answer_of(self.complete[0], self.silence, certificate, at)
        if not self.complete:
            return self._ask_deltas(certificate, at)
        asked: tuple[Crl, ...] = ()
        listed: tuple[Crl, Listed] | None = None
        stale, problem = True, ""
        for complete in self.complete:
            heard = _heard(complete, self.deltas, at) if self.deltas else ()
            asked += (complete, *heard)
            overdue = _overdue(complete, at)
            problem = problem or overdue or _unusable((complete, *heard))
            found = _listing(complete, heard, certificate, at)
            if found is not None and stale:
                listed, stale = found, bool(overdue and _overdue(found[0], at))
        return Answer(asked, listed, listed is not None and stale, problem)

    def _ask_deltas(self, certificate: Certificate, at: datetime) -> Answer:
        """Deltas without a complete CRL prove nobody good; whom they list, they list."""
        problem = "a delta CRL is held, and no complete one of its scope"
        for delta in newest(self.deltas):
            entry = delta.index.find(certificate.serial, certificate.issuer)
            if entry is not None and not entry.removes:
                return Answer((delta,), (delta, entry), bool(_overdue(delta, at)), problem)
        return Answer((), None, stale=False, problem=problem)


def _answer_of(crl: Crl, silence: Answer, certificate: Certificate, at: datetime) -> Answer:
    """What one complete CRL without deltas says, which is nearly always nothing."""
    entry = crl.index.find(certificate.serial, certificate.issuer)
    current = crl.next_update is not None and crl.next_update >= at
    if entry is None and current:
        return silence
    listed = None if entry is None else (crl, entry)
    return Answer((crl,), listed, stale=entry is not None and not current, problem=_overdue(crl, at) or silence.problem)


def _listing(complete: Crl, deltas: Iterable[Crl], certificate: Certificate, at: datetime) -> tuple[Crl, Listed] | None:
    """A listing that counts. One of the complete CRL is gone only if every delta that combines with it says so:

    of several that are left neither supersedes the other, and one that is silent says that nothing has changed.
    """
    verdicts = []
    for delta in deltas:
        entry = delta.index.find(certificate.serial, certificate.issuer)
        if entry is not None and not entry.removes:
            return delta, entry
        if _combines(delta, complete, at):
            verdicts.append(entry is not None)
    entry = complete.index.find(certificate.serial, certificate.issuer)
    removed = bool(verdicts) and all(verdicts)
    return None if entry is None or removed else (complete, entry)


def _heard(complete: Crl, deltas: Iterable[Crl], at: datetime) -> tuple[Crl, ...]:
    """The deltas that know more than `complete`, but for those that one which combines with it supersedes."""
    newer = [one for one in deltas if _is_newer(one, complete)]
    combined = [one for one in newer if _combines(one, complete, at)]
    return tuple(one for one in newer if not any(other.supersedes(one) for other in combined))


def _is_newer(delta: Crl, complete: Crl) -> bool:
    """Whether number or date puts the delta behind the complete CRL."""
    if delta.number is not None and complete.number is not None and delta.number > complete.number:
        return True
    return delta.this_update > complete.this_update


def _combines(delta: Crl, complete: Crl, at: datetime) -> bool:
    """5.2.4: the delta is current, starts at or before the complete CRL, and ends after it."""
    if delta.base_number is None or complete.number is None or delta.number is None or _overdue(delta, at):
        return False
    in_order = delta.base_number <= complete.number < delta.number
    return in_order and delta.this_update >= complete.this_update


def _overdue(crl: Crl, at: datetime) -> str:
    """Why the CRL is not current; empty if it is. Section 5.1.2.5 requires nextUpdate."""
    if crl.next_update is None:
        return f"the CRL of {crl.issuer.text} has no nextUpdate"
    if crl.next_update < at:
        return f"the CRL of {crl.issuer.text} expired on {crl.next_update:%Y-%m-%d %H:%M:%SZ}"
    return ""


def _unusable(crls: Iterable[Crl]) -> str:
    return next((f"the CRL of {one.issuer.text} has a {one.unusable}" for one in crls if one.unusable), "")
