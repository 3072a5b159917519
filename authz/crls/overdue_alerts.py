"""What operators are told of CRLs that are late, and of certificates that pass all the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from authz.crls.rules import CrlRules
from authz.crls.store import Copy, answering


class Lateness:
    """Tells `warn` of each CRL once that its nextUpdate has passed, as long as no newer one has come."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._late: set[str] = set()

    def look(self, held: Sequence[Copy], now: datetime) -> None:
        """At everything that is held; nextUpdate has no fractions of a second."""
        now = now.replace(microsecond=0)
        late = dict[str, str]()
        if any(_is_late(one, now) for one in held):
            late = {one.name: one.held.known_as for one in answering(held) if _is_late(one, now)}
        for name in late.keys() - self._late:
            self._warn(f"{late[name]} is out of date, and nothing newer has come")
        self._late = set(late)


def _is_late(one: Copy, now: datetime) -> bool:
    return one.held.crl.next_update is not None and one.held.crl.next_update < now


def warn_of_exemptions(rules: CrlRules, warn: Callable[[str], None]) -> None:
    """Of every rule by which a certificate passes whose revocation nobody knows."""
    if rules.mode.soft:
        warn("unsafe_soft_fail is on: certificates pass whose revocation nobody knows")
    for one in rules.exceptions:
        if one.mode.soft:
            whose = "everybody" if one.issuer is None else one.issuer.text
            warn(f"unsafe_soft_fail is on for {whose}: its certificates pass when their revocation is unknown")
