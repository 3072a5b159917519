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
from authz.crls.sources import CrlSource, CrlSources
from authz.crls.store import HeldCrl
from authz.model import CrlSourceKind

MAX_BYTES_EACH: Final = 512 * 1024 * 1024
"""Bytes of the CRLs that one organization's distribution points may give: a dozen with a million entries each."""

SHARE: Final = 4
"""The part of the memory of each process that one organization's CRLs may take: one in so many."""


SLICES: Final = 16
"""The slices of all of which one is shared evenly, and one left for what grows."""

GROWTH: Final = 8
"""A CRL may grow into its slice by one part in so many at a time."""

NAME_CHARGE: Final = 16 * 1024
"""Bytes of memory that each name of a CRL's distribution point is charged with besides: whenever any CRL changes, each
process looks all of them up anew, in 4 us each. With the memory that there is by default they are 16,000, and 64 ms."""


class Charge(NamedTuple):
    """What CRLs take, in bytes: `kept` on the disk or in shared memory, `memory` in each process."""

    kept: int
    memory: int

    def __sub__(self, other: Charge) -> Charge:
        return Charge(self.kept - other.kept, self.memory - other.memory)


def charge_of(copy: HeldCrl, rules: CrlRules) -> Charge:
    """What one copy takes; of the descriptors that there are, it takes one, and of the memory the same part."""
    crl = copy.crl
    memory = crl.memory + NAME_CHARGE * len(crl.names) + rules.memory // rules.descriptors
    return Charge(max(copy.size, crl.shared), memory)


def quota_for(source: CrlSource, copies: Iterable[HeldCrl], sources: CrlSources, rules: CrlRules) -> Charge:
    """What a CRL of `source` may take beside the `copies` that others of `sources` gave, or in the place of its own."""
    by_it: dict[bool, list[HeldCrl]] = {True: [], False: []}
    for copy in copies:
        by_it[copy.origin.url == source.location].append(copy)
    return _beside(source, by_it[True], by_it[False], sources, rules)


def check_quota(
    copy: HeldCrl, replaced: Iterable[HeldCrl], staying: Iterable[HeldCrl], sources: CrlSources, rules: CrlRules
) -> None:
    """Raises `FetchFailed` (too_large) where there is no room for `copy`, beside `others` and for those `replaced`."""
    source = sources.get(copy.origin.url)
    if source is None:
        return
    room, charge = _beside(source, replaced, staying, sources, rules), charge_of(copy, rules)
    if charge.kept > room.kept or charge.memory > room.memory:
        raise FetchFailed(
            FailureKind.TOO_LARGE,
            f"it takes {charge.kept} bytes and {charge.memory} of each process, and there is room for {room.kept} "
            f"and {room.memory}",
        )


def _beside(
    source: CrlSource, replaced: Iterable[HeldCrl], staying: Iterable[HeldCrl], sources: CrlSources, rules: CrlRules
) -> Charge:
    given = [(charge_of(copy, rules), _organizations(sources.get(copy.origin.url))) for copy in staying]
    bound = Charge(rules.kept_octets, rules.memory)
    limit = Charge(MAX_BYTES_EACH, rules.memory // SHARE)
    # What takes no more than what goes is always let in: a newcomer must not turn out a CRL that is held.
    before = _sum(charge_of(copy, rules) for copy in replaced)
    rooms = [before]
    if source.kind is not CrlSourceKind.POINT:
        rooms.append(bound - _sum(charge for charge, _ in given))
    else:
        # The largest quota of those that name it: naming another's point must not impose one's own limit there.
        naming = source.authorities or (None,)
        rooms += [_room(organization, given, before, limit, bound) for organization in naming]
    return Charge(*map(max, zip(*rooms, strict=True)))


def _organizations(source: CrlSource | None) -> Collection[int]:
    return () if source is None else source.organizations


def _room(
    organization: int | None,
    given: Collection[tuple[Charge, Collection[int]]],
    before: Charge,
    limit: Charge,
    bound: Charge,
) -> Charge:
    own = _sum(charge for charge, by in given if organization in by)
    others = _sum(charge for charge, by in given if organization not in by)
    holders = len({organization, *(holder for _, by in given for holder in by)})
    return Charge(*(_bytes(*figures, holders) for figures in zip(own, others, before, limit, bound, strict=True)))


def _bytes(own: int, others: int, before: int, limit: int, bound: int, holders: int) -> int:
    """What may come in the place of what was there `before`, beside what the organization has of its `own`."""
    slice_of_all = bound // SLICES
    left = bound - own - others
    room = min(limit, (bound - 2 * slice_of_all - others) // 2) - own
    room = max(room, min(slice_of_all // holders - own, limit - own, left))
    if before and own + before <= min(limit, bound // holders):
        room = max(room, before + min((left - before - slice_of_all) // 2, before // GROWTH))
    return room


def _sum(charges: Iterable[Charge]) -> Charge:
    kept, memory = zip(Charge(0, 0), *charges, strict=True)
    return Charge(sum(kept), sum(memory))
