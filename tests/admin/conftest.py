"""A directory to administer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.command_world import CA, CRL_LIFE, HOST, NOW, ROOT
from support.directory import DIALECTS, new_store, url_of

from authz.admin.audited_store import AuditedStore
from authz.model import Organization
from authz.pki import Certificate, Crl


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AuditedStore]:
    """One organization with its CAs, their CRLs, and alice."""
    with closing(filled(url_of("sqlite", tmp_path))) as opened:
        yield opened


@pytest.fixture(params=DIALECTS)
def either_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AuditedStore]:
    """The same, in each dialect."""
    with closing(filled(url_of(request.param, tmp_path))) as opened:
        yield opened


def filled(url: str) -> AuditedStore:
    """A new directory with that."""
    return new_store(url, fill)


def fill(store: AuditedStore) -> None:
    """Add it."""
    store.add_organization(Organization(0, "acme", (HOST,)))
    store.add_anchors("acme", [Certificate.parse(ROOT.der)])
    store.add_intermediates("acme", [Certificate.parse(CA.der)])
    for authority in (ROOT, CA):
        store.add_crl(Crl(authority.crl(**CRL_LIFE)), NOW)
    store.add_user("acme", "alice")
