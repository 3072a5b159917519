"""An export is everything that an operator gave the directory: applied to an empty one, that has it too."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from support.certificates import Authority
from support.command_world import ALICE, BOB, CA, CRL_LIFE, LIFE, NOW, ROOT
from support.directory import new_store

from authz.admin import export as exporting
from authz.admin import plan as planning
from authz.admin.apply import Applied, apply, compare
from authz.admin.audit import verify
from authz.admin.audited_store import AuditedStore
from authz.admin.document_reader import MAX_DOCUMENT, DocumentSource
from authz.admin.documents import MAX_CRL
from authz.admin.export import as_yaml, export, left_out
from authz.admin.plan import Action, Plan
from authz.admin.users import add_user
from authz.directory import schema
from authz.errors import StoreError
from authz.model import Algorithm, Enforcement, Organization, PathSettings, RegistrationKind, TokenSettings
from authz.pki import Certificate, Crl

GIVEN = ("organizations", "hosts", "anchors", "intermediates", "users", "registrations", "crls")
"""The tables of what operators give; the others are the service's, or say when what changed."""

OTHERWISE = {"id", "organization_id", "user_id", "created_at", "added_at", "revision", "trust_revision"}
"""Columns that say when, or by which number; whose a thing is stands in its document."""

NEWER = CRL_LIFE | {"number": 7, "this_update": NOW - timedelta(seconds=1)}


@pytest.fixture
def store(either_store: AuditedStore) -> AuditedStore:
    """The directory, in each dialect, with everything that there can be."""
    store, other = either_store, Authority.root("Other", **LIFE)
    kinds = tuple(RegistrationKind)
    path = PathSettings(algorithms=(Algorithm.RSA, Algorithm.SECP256R1), min_rsa_bits=3072, policies=("1.2.3",))
    token = TokenSettings(issuer="https://issuer.example", audience="here")
    store.add_organization(
        Organization(0, "b\u00f8b & co", ("b.example",), token=token, path=path, binding_kinds=kinds)
    )
    store.add_anchors(None, [Certificate.parse(other.der)])
    store.add_intermediates(None, [Certificate.parse(other.intermediate("Below", **LIFE).der)])
    add_user(store, "b\u00f8b & co", "yes: [no]", Enforcement.OBSERVE)
    add_user(store, "acme", "bob")
    leaf, chain = Certificate.parse(ALICE.der), [Certificate.parse(CA.der)]
    key = store.register("acme", "alice", leaf, chain, label="laptop", now=NOW).registration.id
    store.retire(key, NOW)
    for user, minted in (("alice", BOB), ("bob", ALICE)):
        until = NOW + timedelta(days=3)
        store.register("acme", user, Certificate.parse(minted.der), [], valid_until=until, now=NOW)
    name = {"kind": RegistrationKind.IDENTITY, "identity": "dns:a.example", "anchor_sha256": bytes(32)}
    store.register("b\u00f8b & co", "yes: [no]", None, now=NOW, **name)  # type: ignore[arg-type]
    store.register("b\u00f8b & co", "yes: [no]", leaf, chain, kind=RegistrationKind.KEY, now=NOW)
    store.add_crl(Crl(other.crl(**CRL_LIFE)), NOW)
    store.add_crl(Crl(CA.crl(ALICE, **NEWER)), NOW)
    store.add_crl(Crl(CA.crl(BOB, number=8, extensions=[(x509.DeltaCRLIndicator(7), True)], **CRL_LIFE)), NOW)
    return store


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[AuditedStore]:
    """A directory with nothing in it."""
    with contextlib.closing(new_store(f"sqlite:///{tmp_path}/empty.db")) as opened:
        yield opened


def given(store: AuditedStore) -> dict[str, list[dict[str, Any]]]:
    """The rows of those tables, in an order of their own."""
    with store.reading() as connection:
        rows = {
            name: [row._asdict() for row in connection.execute(sa.select(schema.metadata.tables[name]))]
            for name in GIVEN
        }
    plain = {name: [{key: row[key] for key in row if key not in OTHERWISE} for row in rows[name]] for name in GIVEN}
    return {name: sorted(plain[name], key=repr) for name in GIVEN}


def written(store: AuditedStore) -> str:
    """All documents."""
    with store.reading() as connection:
        return "".join(map(as_yaml, export(connection)))


def applied(store: AuditedStore, text: str, *, prune: bool = False) -> Applied:
    """What an apply did."""
    with contextlib.closing(Plan()) as plan:
        plan.read(DocumentSource(Path("-"), io.BytesIO(text.encode())))
        state = compare(store, plan, NOW, prune=prune)
        assert plan.errors == []
        return apply(store, plan, state, NOW, prune=prune)


def crl_document(crl: bytes) -> str:
    """A document of a CRL, as JSON."""
    pem = x509.load_der_x509_crl(crl).public_bytes(Encoding.PEM).decode()
    return json.dumps({"kind": "Crl", "crl": pem}) + "\n"


def test_export_gives_an_empty_directory_everything(store: AuditedStore, empty: AuditedStore) -> None:
    """Each row of each table, and nothing to change after it."""
    before = given(store)
    assert all(before.values())
    applied(empty, written(store))
    assert given(empty) == before
    assert written(empty) == written(store)
    assert applied(empty, written(store), prune=True).counts == {}
    assert verify(empty).problems == []


def crls_of(store: AuditedStore) -> set[bytes]:
    """The CRLs that were added."""
    return {stored.crl.sha256 for stored in store.crls()}


def test_crl_that_a_newer_one_replaced_is_not_wanted_back(store: AuditedStore) -> None:
    """A file that is a day old stops no apply, and takes no newer CRL away; a newer one is added."""
    before = crls_of(store)
    older = crl_document(CA.crl(**CRL_LIFE | {"number": 2}))
    assert applied(store, older).counts == {}
    newest = CA.crl(**CRL_LIFE | {"number": 9, "this_update": NOW})
    assert applied(store, crl_document(newest)).counts == {Action.ADD: 1}
    assert crls_of(store) - before == {Crl(newest).sha256}
    assert applied(store, older, prune=True).counts[Action.ADD] == 0
    assert Crl(newest).sha256 in crls_of(store)


def test_crls_of_a_signer_are_read_once_for_a_plan(store: AuditedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many of its CRLs are written."""
    reading = Mock(side_effect=planning.signed_by)
    monkeypatch.setattr(planning, "signed_by", reading)
    written = [crl_document(CA.crl(**CRL_LIFE | {"number": number})) for number in (2, 3, 4)]
    assert applied(store, "".join(written)).counts == {}
    assert reading.call_count == 1


def test_newer_crl_of_another_ca_of_that_name_replaces_none(store: AuditedStore) -> None:
    """A neighbour's, who calls its CA as it likes."""
    rival = Authority.root("Rival", **LIFE).intermediate(CA.certificate.subject, **LIFE)
    store.add_organization(Organization(0, "rival", ("rival.example",)))
    store.add_intermediates("rival", [Certificate.parse(rival.der)])
    store.remove_crls(Certificate.parse(CA.der).plain_spki_sha256)
    store.add_crl(Crl(rival.crl(**NEWER)), NOW)
    wanted = CA.crl(ALICE, **CRL_LIFE | {"number": 2})
    assert applied(store, crl_document(wanted)).counts == {Action.ADD: 1}
    assert Crl(wanted).sha256 in crls_of(store)


def test_crls_are_pruned_only_where_one_is_written(store: AuditedStore) -> None:
    """Documents of a version that knew none take none away, and those of one organization no other's."""
    with store.reading() as connection:
        documents = [*export(connection)]
    others = "".join(as_yaml(document) for document in documents if document["kind"] != "Crl")
    assert applied(store, others, prune=True).counts == {}
    wanted = CA.crl(**CRL_LIFE | {"number": 9, "this_update": NOW})
    users = "".join(as_yaml(document) for document in documents if document["kind"] not in {"Crl", "Organization"})
    assert applied(store, users + "---\n" + crl_document(CA.crl(**CRL_LIFE | {"number": 2})), prune=True).counts == {}
    done = applied(store, others + "---\n" + crl_document(wanted), prune=True)
    # Those of the same place were replaced by it, or stay; the two of other CAs go.
    assert done.counts == {Action.ADD: 1, Action.REMOVE: 2}
    assert Crl(wanted).sha256 in crls_of(store)
    assert {stored.crl.issuer.text for stored in store.crls()} == {Crl(wanted).issuer.text}


def test_crl_of_no_known_ca_is_refused_with_its_place(empty: AuditedStore) -> None:
    """Wholly; with its CA in the same documents it is taken, in whatever order they stand."""
    crl = crl_document(ROOT.crl(**CRL_LIFE))
    with pytest.raises(StoreError, match=r"^-:1: this CRL is not accepted: no known CA"):
        applied(empty, crl)
    anchor = json.dumps({"kind": "Anchor", "certificate": ROOT.pem}) + "\n"
    assert applied(empty, crl + anchor).counts == {Action.ADD: 2}


def test_chain_that_is_cut_is_left_out(store: AuditedStore) -> None:
    """With it no certificate of the chain could be used, and without it the others of the directory are exported."""
    with store.reading() as connection:
        whole = [document.get("certificate", "") for document in export(connection)]
    with store.transaction() as connection:
        connection.execute(sa.update(schema.registrations).values(chain=CA.der[:-1]))
        cut = [document.get("certificate", "") for document in export(connection)]
    assert len(cut) == len(whole)
    assert [text.count("BEGIN") for text in whole if text.count("BEGIN") > 1]
    assert not [text.count("BEGIN") for text in cut if text.count("BEGIN") > 1]


def test_crl_that_no_document_can_hold_is_left_out(store: AuditedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """And counted. The largest that is not is read again."""
    sizes = sorted(len(stored.crl.der or b"") for stored in store.crls())
    monkeypatch.setattr(exporting, "MAX_CRL", sizes[-2])
    with store.reading() as connection:
        kinds = [document["kind"] for document in export(connection)]
        assert (left_out(connection), kinds.count("Crl")) == (1, len(sizes) - 1)
    largest = {"kind": "Crl", "crl": exporting.pem_of_crl(bytes(MAX_CRL))}
    assert len(as_yaml(largest)) < MAX_DOCUMENT


@pytest.mark.parametrize("more", ["", "crl: x\nfile: y\n", "crl: |\n  -----BEGIN CERTIFICATE-----\n", "file: ../x\n"])
def test_what_is_no_crl_is_an_error_of_its_line(store: AuditedStore, more: str) -> None:
    """Neither both, nor anything else."""
    with contextlib.closing(Plan()) as plan:
        plan.read(DocumentSource(Path("-"), io.BytesIO(f"kind: Crl\n{more}".encode())))
        assert str(plan.errors[0]).startswith("-:1")
        assert compare(store, plan, NOW)
