"""Warnings about CRLs that are overdue, and about certificates that pass with their revocation unknown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from authz.crls.rules import CrlRules
from authz.crls.store import HeldCrl, answering


class OverdueAlerts:
    """Warns once of each CRL whose nextUpdate has passed while no newer one has come."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._late: set[str] = set()

    def look(self, copies: Sequence[HeldCrl], now: datetime) -> None:
        """At everything that is held; nextUpdate has no fractions of a second."""
        now = now.replace(microsecond=0)
        late = dict[str, str]()
        if any(_is_late(copy, now) for copy in copies):
            late = {copy.name: copy.signed.known_as for copy in answering(copies) if _is_late(copy, now)}
        for name in late.keys() - self._late:
            self._warn(f"{late[name]} is out of date, and nothing newer has come")
        self._late = set(late)

    def warn_of_exemptions(self, rules: CrlRules) -> None:
        """Of every rule by which a certificate passes whose revocation is unknown."""
        if rules.mode.soft:
            self._warn("unsafe_soft_fail is on: certificates pass whose revocation is unknown")
        for rule in rules.exceptions:
            if rule.mode.soft:
                whose = "everybody" if rule.issuer is None else rule.issuer.text
                self._warn(
                    f"unsafe_soft_fail is on for {whose}: its certificates pass when their revocation is unknown"
                )


def _is_late(copy: HeldCrl, now: datetime) -> bool:
    return copy.crl.next_update is not None and copy.crl.next_update < now
