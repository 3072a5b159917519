"""Who depends on a CA, and who has another way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from support.certificates import Authority, Minted
from support.command_world import ALICE, CA, HOST, LIFE, NOW, ROOT
from support.directory import DIALECTS, new_store, url_of
from support.sightings import add_sighting

from authz.admin.dependents import crl_dependents, dependents
from authz.directory import Store
from authz.directory.organizations import get_organization
from authz.directory.schema import registrations
from authz.directory.seen_cas import keep_seen_cas
from authz.model import BindingScope, Enforcement, Organization, RegistrationKind
from authz.pki import Certificate

DAY = timedelta(days=1)
OTHER = Authority.root("Other", **LIFE)
OTHER_CA = OTHER.intermediate("Other CA", **LIFE)
# The same key and name as CA, issued by the other root.
CROSSED = OTHER.intermediate("CA", key=CA.key, **LIFE)


@pytest.fixture(params=DIALECTS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """One organization with its CAs and alice, in each dialect."""
    opened = new_store(url_of(request.param, tmp_path))
    opened.add_organization(Organization(0, "acme", (HOST,)))
    opened.add_anchors("acme", [parsed(ROOT)])
    opened.add_intermediates("acme", [parsed(CA)])
    opened.add_user("acme", "alice")
    yield opened
    opened.close()


def parsed(minted: Minted) -> Certificate:
    """As the directory takes it."""
    return Certificate.parse(minted.der)


def register(store: Store, user: str, leaf: Minted, *chain: Minted) -> int:
    """A registration of acme's; its number."""
    added = store.register("acme", user, parsed(leaf), [parsed(ca) for ca in chain], now=NOW)
    return added.registration.id


def found(store: Store, ca: Minted, owner: str | None = "acme") -> dict[str, bool]:
    """The users who depend on a CA, and whether each stops without it."""
    with store.reading() as connection:
        return {one.user: one.stops for one in dependents(connection, owner, ca.sha256, NOW)}


def test_user_with_a_certificate_below_the_ca_depends_on_it(store: Store) -> None:
    """On the anchor, and on the intermediate; one who has none does not."""
    store.add_user("acme", "bob")
    register(store, "alice", ALICE, CA)
    assert found(store, ROOT) == {"alice": True}
    assert found(store, CA) == {"alice": True}


def test_user_with_a_second_certificate_elsewhere_does_not_stop(store: Store) -> None:
    """Its CA must lead to an anchor that stays; the stored chain counts."""
    register(store, "alice", ALICE, CA)
    register(store, "alice", OTHER_CA.leaf("alice", **LIFE), OTHER_CA)
    assert found(store, ROOT) == {"alice": True}
    store.add_anchors("acme", [parsed(OTHER)])
    assert found(store, ROOT) == {"alice": False}


def test_cross_signed_ca_leads_elsewhere(store: Store) -> None:
    """The certificate is the same; another path verifies."""
    register(store, "alice", ALICE, CA)
    store.add_anchors("acme", [parsed(OTHER)])
    store.add_intermediates("acme", [parsed(CROSSED)])
    assert found(store, ROOT) == {"alice": False}
    assert found(store, OTHER) == {"alice": False}


def observe(store: Store) -> None:
    """Nothing is required of alice."""
    store.set_user(replace(store.user("acme", "alice"), enforcement=Enforcement.OBSERVE))


def show(store: Store, *path: Minted, **columns: object) -> None:
    """Alice presented a certificate of her own, whose path has these CAs."""
    digests = b"".join(ca.sha256 for ca in path)
    values = {"not_after": parsed(ALICE).not_after, "path": digests, "anchor_sha256": path[-1].sha256, **columns}
    add_sighting(store, "acme", "alice", NOW, **values)


def test_what_was_presented_lately_leads_there_too(store: Store) -> None:
    """By its path, whatever is registered; another way is one to an anchor that is still trusted."""
    observe(store)
    show(store, CA, ROOT)
    assert found(store, ROOT) == {"alice": True}
    show(store, OTHER)
    assert found(store, ROOT) == {"alice": True}
    store.add_anchors("acme", [parsed(OTHER)])
    assert found(store, ROOT) == {"alice": False}
    store.remove_anchor("acme", OTHER.sha256)
    assert found(store, ROOT) == {"alice": True}


def test_what_was_presented_below_a_ca_that_has_expired_leads_nowhere(store: Store) -> None:
    """Although its anchor is still in the directory."""
    ended = Authority.root("Ended", not_before=NOW - 9 * DAY, not_after=NOW - DAY)
    store.add_anchors("acme", [parsed(ended)])
    observe(store)
    show(store, CA, ROOT)
    show(store, ended)
    assert found(store, ROOT) == {"alice": True}


def test_what_was_presented_below_a_ca_that_has_another_certificate_leads_elsewhere(store: Store) -> None:
    """As for what is registered: the next path goes by that."""
    observe(store)
    show(store, CA, ROOT)
    store.add_intermediates("acme", [parsed(CROSSED)])
    assert found(store, CA) == {"alice": True}
    store.add_anchors("acme", [parsed(OTHER)])
    assert found(store, CA) == found(store, ROOT) == {"alice": False}


def test_ca_that_came_with_a_registration_leads_no_other_certificate_elsewhere(store: Store) -> None:
    """It completes the path of that certificate alone: what was presented, or registered without it, has no other."""
    store.add_anchors("acme", [parsed(OTHER)])
    store.add_user("acme", "bob")
    register(store, "bob", CA.leaf("bob", **LIFE), CROSSED)
    register(store, "alice", ALICE)
    assert found(store, ROOT) == {"alice": True, "bob": False}
    observe(store)
    show(store, CA, ROOT)
    assert found(store, ROOT) == {"alice": True, "bob": False}


def test_what_was_presented_elsewhere_and_refused_is_no_other_way(store: Store) -> None:
    """Unless nothing is required of the user."""
    store.add_anchors("acme", [parsed(OTHER)])
    register(store, "alice", ALICE, CA)
    show(store, OTHER, refused_by="certificate_not_registered")
    assert found(store, ROOT) == {"alice": True}
    observe(store)
    assert found(store, ROOT) == {"alice": False}


def test_what_was_presented_elsewhere_is_another_way_while_its_registration_counts(store: Store) -> None:
    """Once that is retired it is refused, though another user has it; unless any of the organization's is enough."""
    store.add_anchors("acme", [parsed(OTHER)])
    register(store, "alice", ALICE, CA)
    leaf = OTHER_CA.leaf("alice", **LIFE)
    number = register(store, "alice", leaf)
    show(store, OTHER_CA, OTHER, sha256=leaf.sha256, matched="certificate")
    assert found(store, ROOT) == {"alice": False}
    store.retire(number, NOW)
    store.add_user("acme", "bob")
    other = register(store, "bob", leaf)
    assert found(store, ROOT) == {"alice": True}
    with store.reading() as connection:
        acme = get_organization(connection, "acme")
    store.set_organization(replace(acme, binding_scope=BindingScope.ORGANIZATION))
    assert found(store, ROOT) == {"alice": False}
    store.retire(other, NOW)
    assert found(store, ROOT) == {"alice": True}


def test_ca_that_has_expired_is_no_other_way(store: Store) -> None:
    """Although it is stored, and the leaf below it lasts."""
    ended = Authority.root("Ended", not_before=NOW - 9 * DAY, not_after=NOW - DAY)
    store.add_anchors("acme", [parsed(ended)])
    register(store, "alice", ALICE, CA)
    register(store, "alice", ended.leaf("alice", **LIFE))
    assert found(store, ROOT) == {"alice": True}


def test_certificates_that_came_with_thousands_of_different_cas_are_no_error(store: Store) -> None:
    """More than an expression may have parts in SQLite; nor are leaves that cannot be read."""
    alice = store.user("acme", "alice")
    row = {"organization_id": alice.organization_id, "user_id": alice.id, "label": "", "created_at": NOW}
    row |= {"kind": "certificate", "der": b"", "chain": b"", "issuer": parsed(ALICE).issuer_der}
    with store.transaction() as connection:
        digests = [b"%032d" % number for number in range(1_500)]
        connection.execute(
            sa.insert(registrations), [{**row, "sha256": digest, "chain_sha256": digest} for digest in digests]
        )
    assert found(store, ROOT) == {}
    register(store, "alice", ALICE, CA)
    assert found(store, ROOT) == {"alice": True}


def register_name(store: Store, anchor: Minted, *certificates: Minted) -> None:
    """A name of alice below an anchor, with a certificate that has it, or without."""
    with store.reading() as connection:
        acme = get_organization(connection, "acme")
    store.set_organization(replace(acme, binding_kinds=tuple(RegistrationKind)))
    leaf, *chain = [*map(parsed, certificates)] or [None]
    named = {"identity": "dns:alice.example.test", "anchor_sha256": anchor.sha256}
    store.register("acme", "alice", leaf, chain, kind=RegistrationKind.IDENTITY, now=NOW, **named)


def test_name_below_an_anchor_that_is_not_trusted_leads_nowhere(store: Store) -> None:
    """Nor one below an anchor that has expired; with the anchor it is another way."""
    register(store, "alice", ALICE, CA)
    register_name(store, OTHER)
    assert found(store, ROOT) == {"alice": True}
    store.add_anchors("acme", [parsed(OTHER)])
    assert found(store, ROOT) == found(store, CA) == {"alice": False}
    assert found(store, OTHER) == {"alice": False}


def test_name_that_was_registered_with_a_certificate_depends_on_its_issuer(store: Store) -> None:
    """Its renewed certificates come from the same CA, which only the path to the name's own anchor counts for."""
    register_name(store, ROOT, ALICE)
    store.add_anchors("acme", [parsed(OTHER)])
    store.add_intermediates("acme", [parsed(CROSSED)])
    assert found(store, CA) == found(store, ROOT) == {"alice": True}
    assert found(store, OTHER) == {"alice": False}


def test_name_without_a_certificate_is_no_other_way_than_a_ca_below_its_anchor(store: Store) -> None:
    """By which of them its certificates are issued is not known."""
    register(store, "alice", ALICE, CA)
    register_name(store, ROOT)
    assert found(store, CA) == {"alice": True}


def test_certificate_that_is_not_valid_yet_is_no_other_way(store: Store) -> None:
    """Its user has nothing else today."""
    store.add_anchors("acme", [parsed(OTHER)])
    register(store, "alice", ALICE, CA)
    register(store, "alice", OTHER.leaf("alice", not_before=NOW + DAY, not_after=NOW + 9 * DAY))
    assert found(store, ROOT) == {"alice": True}


def test_ca_of_the_same_name_and_another_key_leads_nowhere(store: Store) -> None:
    """A neighbour's CA may have any name."""
    twin = Authority.root("Root", **LIFE)
    store.add_anchors("acme", [parsed(twin)])
    register(store, "alice", ALICE, CA)
    assert found(store, twin) == {}
    assert found(store, ROOT) == {"alice": True}


def test_registration_that_does_not_count_leads_nowhere(store: Store) -> None:
    """One that was retired, or is of a user who is switched off."""
    store.retire(register(store, "alice", ALICE, CA), NOW)
    assert found(store, ROOT) == {}


def test_dependents_of_a_shared_anchor_are_of_every_organization(store: Store) -> None:
    """For None as the owner."""
    store.add_anchors(None, [parsed(OTHER)])
    store.add_organization(Organization(0, "globex", ("globex.example.test",)))
    store.add_user("globex", "bob")
    register(store, "alice", OTHER_CA.leaf("alice", **LIFE), OTHER_CA)
    store.register("globex", "bob", parsed(OTHER.leaf("bob", **LIFE)), [], now=NOW)
    assert found(store, OTHER, None) == {"alice": True, "bob": True}


def test_users_below_the_cas_of_a_key_depend_on_its_crls(store: Store) -> None:
    """Whatever certificate the CA has; another CA's certificate is another way, unless its anchor is not trusted."""
    register(store, "alice", ALICE, CA)
    store.add_anchors("acme", [parsed(OTHER)])
    store.add_intermediates("acme", [parsed(CROSSED)])

    def users(signer: Minted) -> dict[str, bool]:
        with store.reading() as connection:
            listed = crl_dependents(connection, parsed(signer).plain_spki_sha256, NOW)
            return {dependent.user: dependent.stops for dependent in listed}

    assert users(CA) == {"alice": True}
    assert users(ROOT) == {"alice": False}
    assert users(OTHER_CA) == {}
    register(store, "alice", OTHER_CA.leaf("alice", **LIFE), OTHER_CA)
    assert users(CA) == {"alice": False}


def test_ca_that_only_clients_send_is_known_once_it_was_seen(store: Store) -> None:
    """Users below it depend on its CRLs, and once it has expired it leads nowhere."""
    observe(store)
    sent = OTHER.intermediate("Sent", not_before=NOW - DAY, not_after=NOW + DAY)
    store.add_anchors("acme", [parsed(OTHER)])
    show(store, sent, OTHER)
    with store.transaction() as connection:
        keep_seen_cas(connection, [(get_organization(connection, "acme").id, sent.sha256, sent.der)], NOW)
        assert [one.user for one in crl_dependents(connection, parsed(sent).plain_spki_sha256, NOW)] == ["alice"]
    show(store, CA, ROOT)
    assert found(store, CA) == {"alice": False}
    with store.reading() as connection:
        assert [one.stops for one in dependents(connection, "acme", CA.sha256, NOW + 2 * DAY)] == [True]
