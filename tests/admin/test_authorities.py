"""Only certificates that can be those of CAs become anchors or intermediates."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from datetime import timedelta
from importlib.metadata import files, version
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from support import raw_der
from support.certificates import Authority, Minted, new_key
from support.command_world import ALICE, CA, LIFE, NOW, ROOT

from authz.admin.authorities import (
    add_anchors,
    add_intermediates,
    anchor_warnings,
    intermediate_warnings,
    is_self_signed,
    remove,
)
from authz.admin.organizations import OrganizationChange, PathChange, add_organization, change_organization
from authz.admin.public_roots import PUBLIC_ROOTS, SOURCE
from authz.directory import Store
from authz.directory.authorities import ANCHORS, INTERMEDIATES
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
    remove(store, ANCHORS, None, ROOT.sha256)
    remove(store, INTERMEDIATES, "acme", CA.sha256)
    assert (len(store.anchors()), store.intermediates()) == (1, [])


def test_anchor_that_is_not_self_signed_is_added_only_if_that_is_wanted(store: Store) -> None:
    """No CRL is asked about an anchor: its own CA could not revoke it."""
    before = store.anchors()
    for ca in (CA, NAMED_ALIKE):
        with pytest.raises(ConfigError, match="is not self-signed, and as an anchor") as caught:
            add_anchors(store, "acme", parsed(Authority.root("Other", **LIFE), ca), "cas.pem")
        assert caught.value.kind is Problem.ANCHOR_NOT_SELF_SIGNED
    assert store.anchors() == before
    assert add_anchors(store, "acme", parsed(CA), "cas.pem", anyway=True) == parsed(CA)


NAMED_ALIKE = ROOT.intermediate("Root", **LIFE)
OVER = Authority.root("Over", not_before=NOW - timedelta(days=9), not_after=NOW - timedelta(days=1))


@pytest.mark.parametrize(
    ("ca", "anchor", "intermediate"),
    [
        (ROOT, [], ["is self-signed"]),
        (CA, ["is not self-signed"], []),
        (NAMED_ALIKE, ["is not self-signed"], []),
        (OVER, ["expired on"], ["expired on", "is self-signed"]),
    ],
)
def test_what_an_operator_should_know_of_a_ca_is_reported(
    ca: Minted, anchor: list[str], intermediate: list[str]
) -> None:
    """Each fact in a sentence that names the CA."""
    for warnings, expected in ((anchor_warnings, anchor), (intermediate_warnings, intermediate)):
        found = list(warnings(parsed(ca), NOW))
        assert [fact in text for fact, text in zip(expected, found, strict=True)] == [True] * len(expected)
        assert all(text.startswith("CN=") for text in found)


def test_root_with_an_algorithm_that_is_not_accepted_is_self_signed_by_its_names() -> None:
    """The signature of an anchor is verified by no rule."""
    key = new_key()
    spki, issuer = raw_der.spki_of(key), raw_der.raw_name(b"Old")  # type: ignore[arg-type]
    md5 = raw_der.sequence(bytes.fromhex("06092a864886f70d010104"))
    old = raw_der.handmade(key, issuer=issuer, subject=issuer, spki=spki, inner=md5, outer=md5)  # type: ignore[arg-type]
    assert is_self_signed(Certificate.parse(old))


def test_public_root_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever certificate has its key."""
    key = Certificate.parse(CA.der).spki_sha256.hex()
    monkeypatch.setattr("authz.admin.authorities.PUBLIC_ROOTS", {key})
    found = list(anchor_warnings(parsed(ROOT, CA), NOW))
    assert ["public root" in text for text in found] == [False, True]


def test_public_roots_are_those_of_their_source() -> None:
    """ISRG Root X1, of which the pin is published, is among them; a newer certifi needs a new list."""
    assert base64.b64decode("C5+lpZ7tcVwmwQIMcRtPbsQtWLABXhQzejna0wHFr8M=").hex() in PUBLIC_ROOTS
    certifi = pytest.importorskip("certifi")
    if f"certifi {version('certifi')}" == SOURCE:
        pem = Path(certifi.where()).read_bytes()
        roots = {spki_sha256(root) for root in x509.load_pem_x509_certificates(pem)}
        assert roots >= PUBLIC_ROOTS
        # Where all traffic is inspected, the inspector's own CA is often written into the file.
        [recorded] = [file for file in files("certifi") or () if file.name == "cacert.pem"]
        assert len(pem) != recorded.size or roots == PUBLIC_ROOTS


def spki_sha256(root: x509.Certificate) -> str:
    """SHA-256 of its SubjectPublicKeyInfo."""
    return hashlib.sha256(root.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
