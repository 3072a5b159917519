"""Only certificates that can be those of CAs become anchors or intermediates."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.certificates import Authority, Minted, new_key
from support.command_world import ALICE, CA, LIFE, ROOT

from authz.admin.authorities import add_anchors, add_intermediates, remove_anchor, remove_intermediate
from authz.admin.organizations import OrganizationChange, PathChange, add_organization, change_organization
from authz.directory import Store
from authz.errors import ConfigError, Problem, Refused
from authz.model import Algorithm
from authz.pki import Certificate
from authz.reasons import Reason

Add = Callable[..., list[Certificate]]
BOTH = pytest.mark.parametrize("add", [add_anchors, add_intermediates])


def parsed(*minted: Minted) -> list[Certificate]:
    """Minted certificates, read."""
    return [Certificate.parse(certificate.der) for certificate in minted]


@BOTH
def test_certificate_of_a_user_is_refused_with_all_beside_it(store: Store, add: Add) -> None:
    """The error names the source, and whose certificate it is."""
    before = store.anchors(), store.intermediates()
    with pytest.raises(ConfigError, match="holds the certificate of CN=alice, which is no CA") as caught:
        add(store, "acme", parsed(Authority.root("Other", **LIFE), ALICE), "cas.pem")
    assert caught.value.kind is Problem.IS_NO_CA
    assert (store.anchors(), store.intermediates()) == before


@BOTH
def test_key_that_policy_refuses_is_refused_when_it_is_added(store: Store, add: Add) -> None:
    """Not at the first request."""
    with pytest.raises(Refused) as caught:
        add(store, None, parsed(Authority.root("Weak", key=new_key("rsa1024"), **LIFE)), "weak.pem")
    assert caught.value.reason is Reason.KEY_SIZE_NOT_ALLOWED


@BOTH
@pytest.mark.parametrize("owner", ["acme", None], ids=["own", "shared"])
def test_key_that_its_organization_accepts_is_added(store: Store, add: Add, owner: str | None) -> None:
    """A shared one, if any organization accepts it: each check asks its own. One of another organization is refused."""
    change = PathChange(algorithms=[Algorithm.BRAINPOOL_P256R1], min_rsa_bits=1024)
    change_organization(store, "acme", OrganizationChange(path=change))
    add_organization(store, "other", OrganizationChange())
    ca = parsed(Authority.root("Brainpool", key=new_key("bp256"), **LIFE))
    assert add(store, owner, ca, "ca.pem") == ca
    for other, kind in (("other", "bp256"), ("acme", "p256"), ("acme", "rsa1024")):
        with pytest.raises(Refused) as caught:
            add(store, other, parsed(Authority.root("Odd", key=new_key(kind), **LIFE)), "ca.pem")
        assert caught.value.reason is Reason.ALGORITHM_NOT_ALLOWED


def test_ca_is_added_once_and_removed(store: Store) -> None:
    """What was new is returned."""
    assert add_anchors(store, None, parsed(ROOT), "a") == parsed(ROOT)
    assert add_anchors(store, None, parsed(ROOT), "a") == []
    remove_anchor(store, None, ROOT.sha256)
    remove_intermediate(store, "acme", CA.sha256)
    assert (len(store.anchors()), store.intermediates()) == (1, [])
