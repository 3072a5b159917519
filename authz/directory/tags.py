"""What rows in memory are tagged with, by the state of the directory that was read last."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from authz.directory.keys import owner_of
from authz.directory.sqlite.session import Reading, Revisions, State

LINE: Final = 1 << 64
"""What a tag counts a line of changes with, as revisions have 63 bits. Within a line they only rise, and say all that
changed; a restored copy begins another. So no two states have one tag: line times this, and the revision."""


@dataclass(slots=True)
class Tags:
    """Tags of the present: of hosts, of shared trust, of CRLs, and of each organization's rows and trust.

    A row whose tag is another may have changed. Organizations are here only if rows of theirs were asked for.
    """

    state: State = field(default_factory=State)
    hosts: int = -1
    shared_trust: int = -1
    crls: int = -1
    owners: dict[int, Revisions] = field(default_factory=dict)
    line: int = 0

    def take(self, reading: Reading) -> None:
        """Make a reading the present."""
        if reading.anew:
            self.owners.clear()
            self.line += 1
        line, state = self.line * LINE, reading.state
        asked = {owner_of(key) for key in reading.found}
        for owner, (own, trust) in reading.changed.items():
            if owner in self.owners or owner in asked:
                self.owners[owner] = line + own, line + trust
        self.state = state
        self.hosts, self.shared_trust = line + state.organizations, line + state.trust
        self.crls = line + state.crls
