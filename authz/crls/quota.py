"""How much the CRLs that came from sources may take: one tenant's must not fill the disk and memory that all share.

A CRL is charged with what it takes: on the disk, or in the memory that processes share where that is more, and in each
process besides. An organization may take half of what the others leave: however many fill all they can, there is room
for one more. Two slices of all are not for those that came first: one is shared evenly, and one is for CRLs that are
held and become longer, so that what others took keeps no revocation out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

from authz.crls.failures import FailureKind, FetchFailed
from authz.crls.rules import CrlRules
from authz.crls.source import Source
from authz.crls.sources import Sources
from authz.crls.store import Copy
from authz.model import CrlSourceKind

MAX_OCTETS_EACH: Final = 512 * 1024 * 1024
"""Octets of the CRLs that one organization's distribution points may give: a dozen with a million entries each."""

SHARE: Final = 4
"""The part of the memory of each process that one organization's CRLs may take: one in so many."""


SLICES: Final = 16
"""The slices of all of which one is shared evenly, and one left for what grows."""

GROWTH: Final = 8
"""A CRL may grow into its slice by one part in so many at a time."""

NAME_CHARGE: Final = 16 * 1024
"""Octets of memory that each name of a CRL's distribution point is charged with besides: whenever any CRL changes, each
process looks all of them up anew, in 4 us each. With the memory that there is by default they are 16,000, and 64 ms."""


class Charge(NamedTuple):
    """What CRLs take, in octets: `kept` on the disk or in shared memory, `memory` in each process."""

    kept: int
    memory: int

    def __sub__(self, other: Charge) -> Charge:
        return Charge(self.kept - other.kept, self.memory - other.memory)


def charge_of(copy: Copy, rules: CrlRules) -> Charge:
    """What one copy takes; of the descriptors that there are, it takes one, and of the memory the same part."""
    crl = copy.held.crl
    memory = crl.memory + NAME_CHARGE * len(crl.names) + rules.memory // rules.descriptors
    return Charge(max(copy.octets, crl.shared), memory)


def room_for(source: Source, copies: Iterable[Copy], sources: Sources, rules: CrlRules) -> Charge:
    """What a CRL of `source` may take beside the `copies` that others of `sources` gave, or in the place of its own."""
    by_it: dict[bool, list[Copy]] = {True: [], False: []}
    for one in copies:
        by_it[one.origin.url == source.location].append(one)
    return _beside(source, by_it[True], by_it[False], sources, rules)


def check_room(copy: Copy, replaced: Iterable[Copy], others: Iterable[Copy], sources: Sources, rules: CrlRules) -> None:
    """Raises `FetchFailed` (too_large) where there is no room for `copy`, beside `others` and for those `replaced`."""
    source = sources.get(copy.origin.url)
    if source is None:
        return
    room, charge = _beside(source, replaced, others, sources, rules), charge_of(copy, rules)
    if charge.kept > room.kept or charge.memory > room.memory:
        raise FetchFailed(
            FailureKind.TOO_LARGE,
            f"it takes {charge.kept} octets and {charge.memory} of each process, and there is room for {room.kept} "
            f"and {room.memory}",
        )


def _beside(
    source: Source, replaced: Iterable[Copy], others: Iterable[Copy], sources: Sources, rules: CrlRules
) -> Charge:
    given = [(charge_of(one, rules), _organizations(sources.get(one.origin.url))) for one in others]
    bound = Charge(rules.kept_octets, rules.memory)
    each = Charge(MAX_OCTETS_EACH, rules.memory // SHARE)
    # What takes no more than what goes is always let in: a newcomer must not turn out a CRL that is held.
    before = _sum(charge_of(one, rules) for one in replaced)
    rooms = [before]
    if source.kind is not CrlSourceKind.POINT:
        rooms.append(bound - _sum(charge for charge, _ in given))
    else:
        # By whoever has most room: an organization that names another's point must not take its own limit there.
        named = source.authorities or (None,)
        rooms += [_room(organization, given, before, each, bound) for organization in named]
    return Charge(*map(max, zip(*rooms, strict=True)))


def _organizations(source: Source | None) -> Collection[int]:
    return () if source is None else source.organizations


def _room(
    organization: int | None,
    given: Collection[tuple[Charge, Collection[int]]],
    before: Charge,
    each: Charge,
    bound: Charge,
) -> Charge:
    own = _sum(charge for charge, by in given if organization in by)
    others = _sum(charge for charge, by in given if organization not in by)
    holders = len({organization, *(one for _, by in given for one in by)})
    return Charge(*(_octets(*each, holders) for each in zip(own, others, before, each, bound, strict=True)))


def _octets(own: int, others: int, before: int, each: int, bound: int, holders: int) -> int:
    """What may come in the place of what was there `before`, beside what the organization has of its `own`."""
    slice_of_all = bound // SLICES
    left = bound - own - others
    room = min(each, (bound - 2 * slice_of_all - others) // 2) - own
    room = max(room, min(slice_of_all // holders - own, each - own, left))
    if before and own + before <= min(each, bound // holders):
        room = max(room, before + min((left - before - slice_of_all) // 2, before // GROWTH))
    return room


def _sum(charges: Iterable[Charge]) -> Charge:
    kept, memory = zip(Charge(0, 0), *charges, strict=True)
    return Charge(sum(kept), sum(memory))
