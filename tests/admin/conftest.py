"""A directory to administer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command_world import CA, CRL_LIFE, HOST, NOW, ROOT
from support.directory import new_store

from authz.directory import Store
from authz.model import Organization
from authz.pki import Certificate, Crl


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """One organization with its CAs, their CRLs, and alice."""
    opened = new_store(f"sqlite:///{tmp_path / 'a.db'}")
    opened.add_organization(Organization(0, "acme", (HOST,)))
    opened.add_anchors("acme", [Certificate.parse(ROOT.der)])
    opened.add_intermediates("acme", [Certificate.parse(CA.der)])
    for authority in (ROOT, CA):
        opened.add_crl(Crl(authority.crl(**CRL_LIFE)), NOW)
    opened.add_user("acme", "alice")
    yield opened
    opened.close()
