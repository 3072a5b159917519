"""How much one organization's distribution points may give: one tenant's CRLs must not fill the disk that all share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from authz.crl_source.library import Copy
from authz.crl_source.source import Source
from authz.crl_source.sources import Sources

MAX_OCTETS_EACH: Final = 512 * 1024 * 1024
"""Octets of the CRLs that one organization's distribution points may give: a dozen with a million entries each."""


def room_for(source: Source, copies: Iterable[Copy], sources: Sources) -> int:
    """Octets that a source may give, beside the `copies` that are held of what `sources` gave."""
    if not source.organizations:
        return MAX_OCTETS_EACH
    given = [(one.octets, sources.get(one.origin.url)) for one in copies]
    others = [(octets, by) for octets, by in given if by is not None and by is not source and by.organizations]
    # By whoever has most room: an organization that names another's point must not take its own limit there.
    return MAX_OCTETS_EACH - min(
        sum(octets for octets, by in others if organization in by.authorities) for organization in source.authorities
    )
