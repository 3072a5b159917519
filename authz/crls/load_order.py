"""In which order kept copies are read after a start: one tenant's keep no other's waiting. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

from authz.crls.disk_store import DiskCopy
from authz.crls.sightings import NO_ORGANIZATION
from authz.pki.x509.distinguished_name import Name

COPY_COST: Final = 32 * 1024
"""Bytes that each copy counts for besides its own: its mark and its descriptor cost what indexing so many does."""


class UnreadCopy(NamedTuple):
    """A copy: its length in bytes, the issuer that it names (None if that cannot be read), and who needs it."""

    kept: DiskCopy
    size: int
    issuer: Name | None
    organizations: Collection[int]


def in_turns(copies: Iterable[UnreadCopy]) -> list[list[DiskCopy]]:
    """Groups, each of which is to be held at once: with one of its CRLs missing the others could say "good" too early.

    A group is of one issuer's name and organizations in common: another CA of the same name has another.
    Organizations are served by what was read for each before, their smallest first; what ended a reader comes last.
    """
    served: defaultdict[int, int] = defaultdict(int)
    turns = []
    for group in sorted(_groups(copies), key=_cost):
        cost, organizations = _cost(group), {each for copy in group for each in copy.organizations} or {NO_ORGANIZATION}
        # What several share is read as early as for the one that has had least, and is charged to it alone.
        least = min(organizations, key=lambda organization: served[organization])
        served[least] += cost
        turns.append((max(copy.kept.deaths for copy in group), served[least], [copy.kept for copy in group]))
    turns.sort(key=lambda turn: turn[:2])
    return [group for _, _, group in turns]


def _cost(group: Iterable[UnreadCopy]) -> int:
    return sum(copy.size + COPY_COST for copy in group)


def _groups(copies: Iterable[UnreadCopy]) -> list[list[UnreadCopy]]:
    groups_of: dict[Name | None, list[tuple[set[int], list[UnreadCopy]]]] = {}
    for copy in copies:
        named, group = set(copy.organizations) or {NO_ORGANIZATION}, [copy]
        apart = []
        for other in groups_of.get(copy.issuer, ()):
            if named.isdisjoint(other[0]):
                apart.append(other)
            else:
                # The longer list is kept: a tenant may have thousands.
                other[1].extend(group)
                named, group = named | other[0], other[1]
        groups_of[copy.issuer] = [*apart, (named, group)]
    return [group for groups in groups_of.values() for _, group in groups]
