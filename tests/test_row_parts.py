"""Parts made of rows: made once, never used for another row, another leaf or another tenant."""

from __future__ import annotations

from dataclasses import replace

from support.decision_world import ACME, ALICE, BOB, EVIL

from authz.decision import Allow, Evidence
from authz.model import Enforcement, Organization, User
from authz.pki.cache import SharedCache
from authz.row_parts import RowParts

USER = User(7, 1, "alice", Enforcement.OFF)


class Maker:
    """Makes a text of a decision, and counts how often."""

    def __init__(self, memory: SharedCache | None = None) -> None:
        self.made = 0
        self.parts = RowParts(SharedCache() if memory is None else memory, self.make)

    def make(self, decision: Allow) -> str:
        """A text that differs each time."""
        self.made += 1
        return f"{decision.organization.name} {decision.user.name} {self.made}"

    def of(self, user: User = USER, organization: Organization = ACME, leaf: bytes | None = ALICE.sha256) -> str:
        """The part for a decision about these."""
        return self.parts.of(Allow(organization, user, leaf, None, Evidence()))


def test_part_is_made_once_while_rows_and_leaf_are_the_same() -> None:
    """Each leaf has its own, and so has a request without one."""
    maker = Maker()
    assert maker.of() == maker.of() == "acme alice 1"
    assert maker.of(leaf=BOB.sha256) == "acme alice 2"
    assert maker.of(leaf=None) == "acme alice 3"
    assert maker.of() == "acme alice 1"


def test_row_that_was_read_again_makes_the_part_anew() -> None:
    """A row of the same key is another object after a change, whether it is equal or not."""
    maker = Maker()
    maker.of()
    assert maker.of(user=replace(USER, name="alicia")) == "acme alicia 2"
    assert maker.of(user=replace(USER, name="alicia")) == "acme alicia 3"
    assert maker.of(organization=replace(ACME, name="acme2")) == "acme2 alice 4"
    assert maker.of() == "acme alice 5"


def test_tenants_never_share_a_part() -> None:
    """Also where the numbers of their users are the same."""
    maker = Maker()
    assert maker.of() == "acme alice 1"
    assert maker.of(organization=EVIL) == "evil alice 2"
    assert maker.of() == "acme alice 1"


def test_parts_of_two_makers_are_apart_in_one_memory() -> None:
    """What the log says is no header."""
    memory = SharedCache()
    first, second = Maker(memory), Maker(memory)
    first.make(Allow(ACME, USER, None, None, Evidence()))
    assert (first.of(), second.of()) == ("acme alice 2", "acme alice 1")


def test_parts_are_bounded_and_weigh_what_they_hold() -> None:
    """A tenant's flood of leaves evicts its own."""
    memory = SharedCache(64 * 1024)
    maker = Maker(memory)
    for number in range(1_000):
        maker.of(leaf=number.to_bytes(32, "big"))
    assert memory.weight <= 64 * 1024 + 8 * 1024
    assert 10 < len(memory) < 100
