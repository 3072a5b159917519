"""What is let pass of an organization's certificates, by the operator's rules and by which sources were refused."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from authz.crls.rules import CrlRules
from authz.crls.source import Source
from authz.crls.sources import urls_of
from authz.model import CrlSourceKind, Organization
from authz.pki import Certificate, ModeOf, RevocationMode


def modes_for(rules: CrlRules, refused: Collection[Source], organization: Organization) -> ModeOf | None:
    """See `authz.view.View.mode_of`; `refused` are the sources whose last answer was refused."""
    if rules.hard:
        return None

    def of(certificate: Certificate) -> RevocationMode:
        found = rules.of(certificate.issuer, organization.name)
        if found.soft and _was_refused(certificate, organization, refused):
            return replace(found, soft=False)
        return found

    return of


def _was_refused(certificate: Certificate, organization: Organization, refused: Collection[Source]) -> bool:
    """Whether what should have been the certificate's CRL came, and was refused: that is not a missing one.

    Its URL says so where the certificate names it, and the name in the CRL: for everybody where the operator named
    the source, for the organizations whose paths led there where it is a distribution point.
    """
    urls = urls_of((certificate, certificate)) if refused else ()
    return any(
        one.location in urls
        or (
            (one.kind is not CrlSourceKind.POINT or organization.id in one.authorities)
            and one.may_be_of(certificate.issuer)
        )
        for one in refused
    )
