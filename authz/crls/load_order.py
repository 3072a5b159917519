"""In which order kept copies are read after a start: one tenant's keep no other's waiting. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

from authz.crls.disk_store import Kept
from authz.crls.signer_sightings import NO_ORGANIZATION
from authz.pki.x509.distinguished_name import Name

COPY_COST: Final = 32 * 1024
"""Bytes that each copy counts for besides its own: its mark and its descriptor cost what indexing so many does."""


class Unread(NamedTuple):
    """A copy: its length in bytes, the issuer that it names (None if that cannot be read), and who needs it."""

    kept: Kept
    octets: int
    issuer: Name | None
    organizations: Collection[int]


def in_turns(copies: Iterable[Unread]) -> list[list[Kept]]:
    """Groups, each of which is to be held at once: with one of its CRLs missing the others could say "good" too early.

    A group is of one issuer's name and of organizations in common: whose CA merely has the same name is another's.
    Organizations are served by what was read for each before, their smallest first; what ended a reader comes last.
    """
    served: defaultdict[int, int] = defaultdict(int)
    turns = []
    for group in sorted(_groups(copies), key=_cost):
        cost, organizations = _cost(group), {each for one in group for each in one.organizations} or {NO_ORGANIZATION}
        # What several share is read as early as for the one that has had least, and is charged to it alone.
        least = min(organizations, key=lambda one: served[one])
        served[least] += cost
        turns.append((max(one.kept.deaths for one in group), served[least], [one.kept for one in group]))
    turns.sort(key=lambda one: one[:2])
    return [group for _, _, group in turns]


def _cost(group: Iterable[Unread]) -> int:
    return sum(one.octets + COPY_COST for one in group)


def _groups(copies: Iterable[Unread]) -> list[list[Unread]]:
    found: dict[Name | None, list[tuple[set[int], list[Unread]]]] = {}
    for one in copies:
        named, group = set(one.organizations) or {NO_ORGANIZATION}, [one]
        apart = []
        for other in found.get(one.issuer, ()):
            if named.isdisjoint(other[0]):
                apart.append(other)
            else:
                # The longer list is kept: a tenant may have thousands.
                other[1].extend(group)
                named, group = named | other[0], other[1]
        found[one.issuer] = [*apart, (named, group)]
    return [group for groups in found.values() for _, group in groups]
