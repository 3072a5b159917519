"""What is exported is what the JSON Schema allows, and what a document leaves out has the default."""

from __future__ import annotations

from ipaddress import IPv4Address

import jsonschema
import orjson
import pytest
from cryptography import x509
from support.certificates import NOW, Authority, Minted, san
from support.command_world import ALICE, CA

from authz.admin.audited_store import AuditedStore
from authz.admin.documents import ADAPTER, Kind, Wanted, json_schema, moment, retired_content
from authz.admin.export import as_yaml, export
from authz.admin.pem import ISSUERS
from authz.admin.registrations import retire
from authz.errors import ConfigError, Refused
from authz.pki import Certificate


def wanted(document: dict[str, object]) -> Wanted:
    """What a document wants, which names no file."""
    return ADAPTER.validate_python(document).wanted(lambda name: name.encode())


def test_every_document_of_an_export_is_valid_by_the_schema(store: AuditedStore) -> None:
    """Of every kind, with dates."""
    store.register("acme", "alice", Certificate.parse(ALICE.der), [Certificate.parse(CA.der)], label="é", now=NOW)
    retire(store, store.registrations()[0].registration.id, NOW)
    with store.reading() as connection:
        documents = list(export(connection))
    assert {document["kind"] for document in documents} == {kind.name.capitalize() for kind in Kind}
    validator = jsonschema.Draft202012Validator(json_schema())
    for document in documents:
        validator.validate(document)
        assert as_yaml(document).startswith("---\n")


@pytest.mark.parametrize(
    "document",
    [
        {"kind": "User", "organization": "acme"},
        {"kind": "User", "organization": "acme", "name": "x", "enforcement": "never"},
        {"kind": "Nothing"},
        {"kind": "Organization", "name": "x", "other": 1},
    ],
    ids=range(4),
)
def test_what_is_no_document_is_not_valid_by_the_schema(document: dict[str, object]) -> None:
    """So an editor shows it before an apply does."""
    assert not jsonschema.Draft202012Validator(json_schema()).is_valid(document)


def test_what_is_left_out_has_the_default() -> None:
    """An organization that is written with its defaults is the same."""
    short = wanted({"kind": "Organization", "name": "acme"})
    path = {"min_rsa_bits": "2048"}
    long = wanted({"kind": "Organization", "name": "acme", "active": "true", "enforcement": "required", "path": path})
    assert short == long
    assert orjson.loads(short.content)["enforcement"] == "required"


UNREADABLE_NAMES = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.17"), b"0")


def outcome(leaf: Minted) -> Wanted | str:
    """What the document of a registration makes of a leaf, or why it is refused."""
    document = {"kind": "Certificate", "organization": "acme", "user": "alice", "certificate": leaf.pem + CA.pem}
    try:
        return wanted(document)
    except (ConfigError, Refused) as error:
        return str(error)


@pytest.mark.parametrize(
    "leaf",
    [
        CA.leaf("bob"),
        CA.leaf("bob", extensions=[(san("bob.test", x509.IPAddress(IPv4Address("192.0.2.1"))), False)]),
        CA.leaf("bob", without=[x509.SubjectAlternativeName], extensions=[(UNREADABLE_NAMES, True)]),
        CA.leaf("bob", extensions=[(x509.BasicConstraints(ca=True, path_length=None), True)]),
        CA.leaf("bob", without=[x509.KeyUsage, x509.AuthorityKeyIdentifier]),
        CA.intermediate("bob"),
        Authority.root("CA").leaf("bob"),
    ],
    ids=range(7),
)
def test_leaf_is_read_the_same_whatever_leaf_was_read_before(leaf: Minted) -> None:
    """What leaves of an issuer have in common is remembered: it makes no CA a leaf, and hides nothing."""
    ISSUERS.clear()
    first = outcome(leaf)
    ISSUERS.clear()
    assert isinstance(outcome(ALICE), Wanted)
    assert ISSUERS
    assert outcome(leaf) == first


def test_hosts_have_one_spelling_and_order() -> None:
    """So that they are compared with what is stored."""
    first = wanted({"kind": "Organization", "name": "a", "hosts": ["B.example.", "a.example:443"]})
    assert orjson.loads(first.content)["hosts"] == ["a.example", "b.example"]


def test_moments_without_an_offset_are_utc() -> None:
    """And a moment is written in one way, whatever zone it came in."""
    assert moment("2026-06-01T12:00:00") == moment("2026-06-01T14:00:00+02:00") == NOW
    assert moment(None) is None


def test_content_that_is_retired_keeps_an_earlier_moment() -> None:
    """What ended before does not end later."""
    earlier = b'{"retired":"2026-01-01T00:00:00Z"}'
    assert retired_content(earlier, NOW) == earlier
    assert retired_content(b'{"retired":null}', NOW) == b'{"retired":"2026-06-01T12:00:00Z"}'
