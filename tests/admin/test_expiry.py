"""What ends when: CAs and CRLs, with the users below them, and what belongs to single users."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from support.certificates import Authority
from support.command_world import ALICE, CA, CRL_LIFE, NOW, ROOT
from support.sightings import add_registration, add_sighting

from authz.admin.expiry import Ending, endings, stopping
from authz.directory import Store, user_kinds
from authz.directory.holders import Holder, holders
from authz.directory.schema import crl_sources, fetched_crls
from authz.directory.seen_cas import keep_seen_cas
from authz.model import BindingScope, Enforcement, Expiring, Organization, RegistrationKind
from authz.pki import Certificate, Crl

DAY = timedelta(days=1)
ROOT_END = Certificate.parse(ROOT.der).not_after
CA_KEY = Certificate.parse(CA.der).plain_spki_sha256
PATH = CA.sha256 + ROOT.sha256
SEEN = {"path": PATH, "anchor_sha256": ROOT.sha256, "not_after": NOW + 90 * DAY}

COMPARED = user_kinds._compared


def ending(store: Store, kind: Expiring, days: int = 31) -> list[Ending]:
    """What of that kind ends within so many days."""
    with store.reading() as connection:
        return [one for one in endings(connection, NOW, NOW + days * DAY) if one.kind is kind]


def show(store: Store, **columns: object) -> None:
    """Alice, of whom no certificate is required, shows one."""
    store.set_user(replace(store.user("acme", "alice"), enforcement=Enforcement.OBSERVE))
    add_sighting(store, "acme", "alice", NOW, **{**SEEN, **columns})


def test_ca_ends_with_the_users_below_it(store: Store) -> None:
    """The anchor and the intermediate each have a line; a CA that ends later has none."""
    show(store)
    [anchor], [intermediate] = (ending(store, kind) for kind in (Expiring.ANCHOR, Expiring.INTERMEDIATE))
    assert (anchor.at, anchor.organization, anchor.below, anchor.stops) == (ROOT_END, "acme", 1, 1)
    assert (intermediate.below, intermediate.stops, intermediate.anchors) == (1, 1, {ROOT.sha256})
    assert CA.sha256.hex() in intermediate.what
    assert ending(store, Expiring.ANCHOR, days=29) == []


def test_renewed_certificate_of_the_same_ca_replaces_the_one_that_ends(store: Store) -> None:
    """With the same name and key, stored for the same organization or for all: no user stops."""
    show(store)
    renewed = Authority.root("Root", key=ROOT.key, not_before=NOW - DAY, not_after=NOW + 400 * DAY)
    store.add_anchors(None, [Certificate.parse(renewed.der)])
    [anchor] = ending(store, Expiring.ANCHOR)
    assert (anchor.below, anchor.stops, anchor.replacement) == (1, 0, f"certificate {renewed.sha256.hex()}")


def test_ca_whose_key_is_of_an_unknown_kind_is_listed_without_a_replacement(store: Store) -> None:
    """It came with a registration, and has the name of a CA that all share: it spoils no answer."""
    life = {"not_before": NOW - DAY}
    shared, odd = (ROOT.intermediate("Shared", not_after=NOW + days * DAY, **life) for days in (400, 5))
    key = odd.certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ec = bytes.fromhex("2a8648ce3d0201")
    spoiled = Certificate.parse(odd.der.replace(key, key.replace(ec, ec[:-1] + b"\5")))
    store.add_intermediates(None, [Certificate.parse(shared.der)])
    store.register("acme", "alice", Certificate.parse(ALICE.der), [spoiled], now=NOW)
    [line] = [ca for ca in ending(store, Expiring.INTERMEDIATE) if spoiled.sha256.hex() in ca.what]
    assert line.replacement == ""


def test_ca_that_only_clients_have_is_listed_without_a_date(store: Store) -> None:
    """It is not stored, so only its SHA-256 is known."""
    digest = b"x" * 32
    show(store, path=digest + PATH)
    [unknown] = [one for one in ending(store, Expiring.INTERMEDIATE) if one.at is None]
    assert (unknown.organization, unknown.below) == ("", 1)
    assert digest.hex() in unknown.what


def test_ca_that_only_clients_send_has_its_date_once_it_was_seen(store: Store) -> None:
    """The user who showed a certificate below it stops; once a renewed one is stored, the user goes on."""
    life = {"key": CA.key, "not_before": NOW - DAY}
    sent = ROOT.intermediate("Sent", **life, not_after=NOW + 5 * DAY)
    show(store, path=sent.sha256 + ROOT.sha256)
    with store.transaction() as connection:
        keep_seen_cas(connection, [(store.organization("acme").id, sent.sha256, sent.der)], NOW)
    [line] = ending(store, Expiring.INTERMEDIATE, days=7)
    assert (line.at, line.below, line.stops) == (Certificate.parse(sent.der).not_after, 1, 1)
    renewed = ROOT.intermediate("Sent", **life, not_after=NOW + 50 * DAY)
    store.add_intermediates("acme", [Certificate.parse(renewed.der)])
    assert [line.stops for line in ending(store, Expiring.INTERMEDIATE, days=7)] == [0]


def test_crl_that_was_added_ends_by_its_next_update(store: Store) -> None:
    """Every user below its CA stops; unless a source has one of the same CA as well."""
    show(store)
    assert [(crl.below, crl.stops) for crl in ending(store, Expiring.CRL)] == [(1, 1), (1, 1)]
    fetched(store, failures=0)
    crls = ending(store, Expiring.CRL)
    assert sorted((crl.stops, crl.replacement) for crl in crls) == [(0, "fetched from its distribution point"), (1, "")]


def test_fetched_crl_is_a_line_only_if_its_source_fails(store: Store) -> None:
    """Any other comes by itself."""
    fetched(store, failures=3)
    [line] = [crl for crl in ending(store, Expiring.CRL) if "http" in crl.what]
    assert line.what == "CRL of CN=CA from http://crls.example.test/ca.crl: timeout"


def fetched(store: Store, *, failures: int) -> None:
    """A CRL of the CA from a distribution point, whose source failed so often since."""
    location = "http://crls.example.test/ca.crl"
    crl = {"name": "ca", "location": location, "sha256": b"s" * 32, "signer": CA_KEY}
    crl |= {"issuer": "CN=CA", "delta": False, "entries": 0, "this_update": NOW, "fetched_at": NOW}
    source = {"location": location, "kind": "point", "failures": failures, "outcome": "timeout", "detail": ""}
    with store.transaction() as connection:
        connection.execute(sa.insert(fetched_crls).values(**crl, next_update=NOW + DAY))
        connection.execute(sa.insert(crl_sources).values(**source))


def test_lines_of_single_users_say_what_is_there_to_replace_it(store: Store) -> None:
    """A registration by its number, a certificate presented by its SHA-256."""
    first = add_registration(store, "acme", "alice", NOW, not_after=NOW + DAY)
    second = add_registration(store, "acme", "alice", NOW, not_after=NOW + 50 * DAY)
    [line] = ending(store, Expiring.REGISTRATION)
    assert line.what.startswith(f"registration {first}: certificate ")
    assert (line.user, line.stops, line.replacement) == ("alice", 0, f"registration {second}")
    add_sighting(store, "acme", "alice", NOW, not_after=NOW + DAY)
    [seen] = ending(store, Expiring.PRESENTED)
    assert seen.replacement == f"registration {second}"


def test_user_with_a_certificate_below_another_ca_stops_when_that_ends_as_well(store: Store) -> None:
    """By the last of both: the CRLs of the first have ended before, by which the user did not stop."""
    other = Authority.root("Other", not_before=NOW - DAY, not_after=NOW + 5 * DAY)
    store.add_anchors("acme", [Certificate.parse(other.der)])
    show(store)
    show(store, path=other.sha256, anchor_sha256=other.sha256)
    with store.reading() as connection:
        named = [(line.kind, line.user) for line in stopping(connection, NOW, NOW + 31 * DAY)]
    assert named == [(Expiring.ANCHOR, "alice")]
    assert [line.stops for line in ending(store, Expiring.CRL)] == [0, 0]
    assert [(line.at == ROOT_END, line.stops) for line in ending(store, Expiring.ANCHOR)] == [(False, 1), (True, 0)]


def test_what_ends_within_this_second_is_a_line(store: Store) -> None:
    """A certificate is good through it, and ends then; what ended before is no line."""
    second = NOW.replace(microsecond=0)
    for ago in (0, 1):
        add_registration(store, "acme", "alice", NOW, not_after=second - timedelta(seconds=ago))
    with store.reading() as connection:
        lines = list(endings(connection, second + timedelta(milliseconds=700), NOW + DAY))
    assert [(line.at, line.stops) for line in lines if line.user] == [(second, 1)]


def test_user_with_two_registrations_stops_with_the_last_one(store: Store) -> None:
    """On the same day an hour later, or at the same moment by either."""
    for hours in (1, 2):
        add_registration(store, "acme", "alice", NOW, not_after=NOW + timedelta(hours=hours))
    assert [line.stops for line in ending(store, Expiring.REGISTRATION)] == [0, 1]
    add_registration(store, "acme", "alice", NOW, not_after=NOW + timedelta(hours=2))
    assert [line.stops for line in ending(store, Expiring.REGISTRATION)] == [0, 1, 1]


def test_user_with_a_name_or_key_that_was_registered_without_a_certificate_does_not_stop(store: Store) -> None:
    """Of which a certificate may be issued by any CA; a name's below its anchor."""
    store.set_organization(replace(store.organization("acme"), binding_kinds=tuple(RegistrationKind)))
    end = {"not_after": NOW + 3 * DAY}
    named = {"kind": "identity", "identity": "dns:a", "anchor_sha256": ROOT.sha256}
    for name, what in {"alice": named, "bob": {"kind": "key", "spki_sha256": b"k" * 32}}.items():
        if name != "alice":
            store.add_user("acme", name)
        add_registration(store, "acme", name, NOW, **end)
        number = add_registration(store, "acme", name, NOW, **{"sha256": None, **what})
        [line] = [line for line in ending(store, Expiring.REGISTRATION) if line.user == name]
        assert (line.stops, line.replacement) == (0, f"registration {number}")


def test_user_stops_with_the_last_registration_of_another_where_that_counts(store: Store) -> None:
    """Of those that admit the certificate; the line says whose it is that ends."""
    store.add_user("acme", "bob")
    digest = add_sighting(store, "acme", "bob", NOW, **SEEN)
    dates = {"sha256": digest, "not_after": NOW + 90 * DAY}
    for day in (2, 3):
        add_registration(store, "acme", "alice", NOW, retired_at=NOW + day * DAY, **dates)
    assert ending(store, Expiring.PRESENTED) == []
    store.set_organization(replace(store.organization("acme"), binding_scope=BindingScope.ORGANIZATION))
    [line] = ending(store, Expiring.PRESENTED)
    assert (line.at, line.user, line.stops, line.replacement) == (NOW + 3 * DAY, "bob", 1, "")
    assert line.what == f"certificate {digest.hex()}, by a registration of another user"
    [first, last] = ending(store, Expiring.REGISTRATION)
    assert (first.stops, last.stops) == (0, 1)
    add_registration(store, "acme", "alice", NOW, **dates)
    assert ending(store, Expiring.PRESENTED) == []


def test_registration_that_begins_only_later_is_no_replacement_before(store: Store) -> None:
    """By its own period, or as its certificate is not valid yet."""
    add_registration(store, "acme", "alice", NOW, not_after=NOW + DAY)
    later = {"valid_from": NOW + 3 * DAY}, {"not_before": NOW + 3 * DAY}
    for columns in later:
        add_registration(store, "acme", "alice", NOW, not_after=NOW + 90 * DAY, **columns)
    assert [line.stops for line in ending(store, Expiring.REGISTRATION)] == [1]


def test_anchor_of_two_organizations_is_a_line_for_each(store: Store) -> None:
    """With its own users; one that is switched off has none."""
    store.add_organization(Organization(0, "other", ("other.example.test",)))
    store.add_anchors("other", [Certificate.parse(ROOT.der)])
    store.add_intermediates("other", [Certificate.parse(CA.der)])
    for name in ("bob", "carol"):
        store.add_user("other", name, Enforcement.OBSERVE)
        add_sighting(store, "other", name, NOW, **SEEN)
    show(store)
    lines = {(line.organization, line.below, line.stops) for line in ending(store, Expiring.ANCHOR)}
    assert lines == {("acme", 1, 1), ("other", 2, 2)}
    store.set_organization(replace(store.organization("other"), active=False))
    assert ("other", 0, 0) in {(line.organization, line.below, line.stops) for line in ending(store, Expiring.ANCHOR)}


def test_user_who_is_switched_off_stops_by_nothing(store: Store) -> None:
    """By no CA, no CRL and no end of its own."""
    show(store)
    add_registration(store, "acme", "alice", NOW, not_after=NOW + DAY)
    store.set_user(replace(store.user("acme", "alice"), active=False))
    with store.reading() as connection:
        assert {line.stops + line.below for line in endings(connection, NOW, NOW + 31 * DAY)} == {0}
        assert list(stopping(connection, NOW, NOW + 31 * DAY)) == []


@pytest.mark.parametrize("enforcement", [Enforcement.OFF, Enforcement.OBSERVE])
def test_user_of_whom_nothing_is_required_stops_by_a_ca_only_once_seen(store: Store, enforcement: Enforcement) -> None:
    """Its request without a certificate passes."""
    leaf = Certificate.parse(ALICE.der)
    store.register("acme", "alice", leaf, [], now=NOW)
    store.set_user(replace(store.user("acme", "alice"), enforcement=enforcement))
    assert [line.stops for line in ending(store, Expiring.ANCHOR)] == [0]
    add_sighting(store, "acme", "alice", NOW, **{**SEEN, "sha256": leaf.sha256})
    assert [line.stops for line in ending(store, Expiring.ANCHOR)] == [1]


def test_delta_crl_stops_no_one(store: Store) -> None:
    """Without it, its base says what is revoked."""
    show(store)
    delta = [(x509.DeltaCRLIndicator(1), True)]
    crl = Crl(CA.crl(number=2, extensions=delta, this_update=NOW - DAY, next_update=NOW + DAY))
    store.add_crl(crl, NOW)
    [line] = [line for line in ending(store, Expiring.CRL, days=2) if crl.sha256.hex() in line.what]
    assert line.stops == 0


def test_what_ends_at_the_same_moment_stops_those_below_it_alone(store: Store) -> None:
    """As CRLs of several CAs do that are made together."""
    other = Authority.root("Other", not_before=NOW - DAY, not_after=ROOT_END)
    store.add_anchors("acme", [Certificate.parse(other.der)])
    store.add_crl(Crl(other.crl(**CRL_LIFE)), NOW)
    show(store)
    assert [crl.stops for crl in ending(store, Expiring.CRL)] == [1, 0, 1]
    assert [(other.sha256.hex() in ca.what, ca.stops) for ca in ending(store, Expiring.ANCHOR)] == [
        (True, 0),
        (False, 1),
    ]


def test_crl_that_two_services_fetched_counts_its_users_once(store: Store) -> None:
    """Both sources fail."""
    show(store)
    for crl in ending(store, Expiring.CRL):
        assert crl.stops == 1
    fetched(store, failures=3)
    with store.transaction() as connection:
        for table in (fetched_crls, crl_sources):
            row = connection.execute(sa.select(table)).mappings().one()
            connection.execute(sa.insert(table).values({**row, "replica": 1}))
    assert {crl.stops for crl in ending(store, Expiring.CRL)} <= {0, 1}


def test_ca_that_came_with_a_registration_alone_has_its_date(store: Store) -> None:
    """Of a path that was seen: no one need add it."""
    below = CA.intermediate("Below", not_before=NOW - DAY, not_after=NOW + 5 * DAY)
    leaf = Certificate.parse(below.leaf("leaf", not_before=NOW - DAY, not_after=NOW + 9 * DAY).der)
    store.register("acme", "alice", leaf, [Certificate.parse(below.der)], now=NOW)
    [line] = ending(store, Expiring.INTERMEDIATE, days=7)
    assert (line.at, line.stops, line.organization) == (Certificate.parse(below.der).not_after, 1, "")


def test_end_behind_which_nothing_lasts_is_answered_as_by_all_that_the_user_has(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is required of the user, whatever counts in the organization, and whatever was seen."""
    ends = {"not_after": NOW + DAY}, {"not_after": NOW + 50 * DAY, "valid_until": NOW + DAY}
    kinds: dict[str, dict[str, Any]] = {
        "certificate": {},
        "key": {"spki_sha256": b"k" * 32},
        "unreadable": {"kind": "certificate", "not_after": None},
    }
    for enforcement, what, dates, seen in product(Enforcement, kinds, ends, (None, "", "refused")):
        name = f"{enforcement} {what} {len(dates)} seen={seen}"
        store.add_user("acme", name, enforcement)
        columns = {"kind": what, **dates, "sha256": name.encode(), **kinds[what]}
        add_registration(store, "acme", name, NOW, **columns)
        if seen is not None:
            add_sighting(store, "acme", name, NOW, sha256=name.encode(), not_after=NOW + DAY, refused_by=seen)
    acme = store.organization("acme")
    for scope, counting in product(BindingScope, [("certificate",), ("key",), ("certificate", "key")]):
        allowed = tuple(RegistrationKind(kind) for kind in counting)
        store.set_organization(replace(acme, binding_scope=scope, binding_kinds=allowed))
        quick = ending(store, Expiring.REGISTRATION) + ending(store, Expiring.PRESENTED)
        with monkeypatch.context() as patched:
            patched.setattr("authz.admin.expiry.stops_alone", lambda *_: None)
            assert quick == ending(store, Expiring.REGISTRATION) + ending(store, Expiring.PRESENTED)
        assert {line.stops for line in quick} == {0, 1}


@pytest.mark.slow
def test_users_who_are_alike_stop_as_each_would_alone(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is required, registered, seen or refused, in organizations of each scope; two users of each sort."""
    issuer = Certificate.parse(ALICE.der).issuer_der
    kinds: tuple[dict[str, Any], ...] = (
        {"issuer": issuer},
        {"kind": "key", "spki_sha256": b"k" * 32, "issuer": issuer},
        {"issuer": Certificate.parse(Authority.root("Stranger").leaf("leaf").der).issuer_der},
    )
    dates = {}, {"valid_until": CRL_LIFE["next_update"]}, {"valid_from": NOW + 9 * DAY}, {"not_before": NOW + 9 * DAY}
    seen: tuple[dict[str, object] | None, ...] = (None, {}, {"refused_by": "refused"}, {"not_after": NOW + DAY / 2})
    for enforcement, what, date, shown, matches, copy in product(Enforcement, kinds, dates, seen, (0, 1), "ab"):
        name = f"{enforcement} {kinds.index(what)} {date} {shown} {matches} {copy}"
        store.add_user("acme", name, enforcement)
        digest = hashlib.sha256(name.encode()).digest()
        own = {"spki_sha256": digest} if "kind" in what else {}
        add_registration(store, "acme", name, NOW, sha256=digest, **({"not_after": NOW + 90 * DAY} | what | date | own))
        if shown is not None:
            mine = {"sha256": digest} if matches else {}
            add_sighting(store, "acme", name, NOW, **(SEEN | shown | mine))
    for scope in BindingScope:
        store.set_organization(replace(store.organization("acme"), binding_scope=scope))
        with store.reading() as connection, monkeypatch.context() as patched:
            together = list(stopping(connection, NOW, NOW + 31 * DAY))
            patched.setattr("authz.directory.user_kinds._compared", each_alone)
            assert together == list(stopping(connection, NOW, NOW + 31 * DAY))
        assert {line.kind for line in together} >= {Expiring.ANCHOR, Expiring.CRL}


def test_user_without_anything_below_what_ends_is_not_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the issuers and paths of its kind; one that is not known may stand anywhere."""
    store.set_organization(replace(store.organization("acme"), binding_kinds=tuple(RegistrationKind)))
    other = Authority.root("Other", not_after=NOW + 900 * DAY)
    store.add_anchors("acme", [Certificate.parse(other.der)])
    issuers = {"below": Certificate.parse(ALICE.der).issuer_der, "beside": Certificate.parse(other.der).issuer_der}
    for name in ("below", "beside", "shown", "shown beside", "unknown"):
        store.add_user("acme", name, Enforcement.OBSERVE)
    for name, issuer in issuers.items():
        add_registration(store, "acme", name, NOW, issuer=issuer, not_after=NOW + 90 * DAY)
    add_registration(store, "acme", "unknown", NOW, kind="key", sha256=None, spki_sha256=b"k" * 32)
    add_sighting(store, "acme", "shown", NOW, **SEEN)
    add_sighting(store, "acme", "shown beside", NOW, **{**SEEN, "path": other.sha256, "anchor_sha256": other.sha256})
    asked = list[str]()

    def noted(connection: sa.Connection, users: set[int], *rest: Any) -> dict[int, Holder]:
        found = holders(connection, users, *rest)
        asked.extend(holder.name for holder in found.values())
        return found

    monkeypatch.setattr("authz.admin.expiry.holders", noted)
    [line] = ending(store, Expiring.ANCHOR)
    assert (sorted(asked), line.stops) == (["below", "shown", "unknown"], 1)


def each_alone(*arguments: Any) -> Iterator[tuple[Any, tuple[object, ...]]]:
    """The users, none of them alike to another."""
    return ((user, (number, *key[1:])) for number, (user, key) in enumerate(COMPARED(*arguments)))
