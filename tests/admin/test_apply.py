"""An apply does what its plan says, whole or in batches, with an entry for each step, whatever happens beside it."""

from __future__ import annotations

import contextlib
import io
import json
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.certificates import chain_pem
from support.command_world import ALICE, BOB, CA, NOW
from support.directory import new_store

from authz.admin import apply as applying
from authz.admin.apply import Applied, ChangedMeanwhileError, apply, compare
from authz.admin.audit import verify
from authz.admin.audited_store import AuditedStore
from authz.admin.described import rfc3339
from authz.admin.document_reader import DocumentSource
from authz.admin.export import as_yaml, export
from authz.admin.plan import Action, Plan
from authz.admin.users import add_user, change_user, remove_user
from authz.directory.audit import AuditFilter, list_entries
from authz.errors import StoreError
from authz.model import Enforcement
from authz.pki import Certificate


def users(*names: str, enforcement: str = "off") -> str:
    """A document for each user."""
    one = "kind: User\norganization: acme\nenforcement: " + enforcement
    return "---\n".join(f"{one}\nname: {json.dumps(name, ensure_ascii=False)}\n" for name in names)


@contextlib.contextmanager
def planned(store: AuditedStore, *documents: str, prune: bool = False) -> Iterator[tuple[Plan, applying.State]]:
    """A plan of documents, compared with the directory."""
    with contextlib.closing(Plan()) as plan:
        plan.read(DocumentSource(Path("-"), io.BytesIO("---\n".join(documents).encode())))
        state = compare(store, plan, NOW, prune=prune)
        assert plan.errors == []
        yield plan, state


def applied(store: AuditedStore, *documents: str, prune: bool = False) -> Applied:
    """What an apply of documents did."""
    with planned(store, *documents, prune=prune) as (plan, state):
        return apply(store, plan, state, NOW, prune=prune)


def names(store: AuditedStore) -> list[str]:
    """The users of acme."""
    return [user.name for user in store.users("acme")]


def exported(store: AuditedStore) -> str:
    """All documents."""
    with store.reading() as connection:
        return "".join(map(as_yaml, export(connection)))


@pytest.fixture
def store(either_store: AuditedStore) -> AuditedStore:
    """The directory, in each dialect."""
    return either_store


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four steps are one transaction, and of more each has two."""
    monkeypatch.setattr(applying, "ONE_TRANSACTION", 4)
    monkeypatch.setattr(applying, "BATCH", 2)
    monkeypatch.setattr(applying, "BETWEEN_BATCHES", 0)


@pytest.mark.slow
def test_each_step_has_an_entry_of_the_apply(store: AuditedStore) -> None:
    """And the log is sound: a second apply does nothing."""
    store.apply_id = None
    done = applied(store, users("bob", "alice"))
    assert done.counts == {Action.ADD: 1, Action.CHANGE: 1}
    with store.reading() as connection:
        entries = list(list_entries(connection, AuditFilter(apply_id=done.apply_id)))
    assert [(entry.action, entry.object) for entry in entries] == [("change", "user alice"), ("add", "user bob")]
    assert verify(store).problems == []
    assert applied(store, users("bob", "alice")).counts == {}


def test_certificate_that_is_pruned_is_retired_and_remembered(store: AuditedStore) -> None:
    """For what was taken away stays away; the entry has the moment."""
    pem = textwrap.indent(chain_pem(ALICE, CA), "  ")
    certificate = f"kind: Certificate\norganization: acme\nuser: alice\ncertificate: |\n{pem}"
    applied(store, certificate)
    applied(store, users("alice"), prune=True)
    (stored,) = store.registrations("acme")
    assert stored.registration.retired_at == NOW
    with store.reading() as connection:
        (entry,) = [entry for entry in list_entries(connection) if entry.action == "retire"]
    assert json.loads(entry.after or "")["retired"] == rfc3339(NOW)
    with contextlib.closing(Plan()) as plan:
        plan.read(DocumentSource(Path("-"), io.BytesIO(certificate.encode())))
        compare(store, plan, NOW)
        assert "was retired at" in str(plan.errors[0])


def named(user: str, name: str = "dns:a.test", **more: str) -> str:
    """A document of a registered name."""
    what = {"registers": "identity", "name": json.dumps(name), "anchor": json.dumps("0" * 64), **more}
    written = "".join(f"{key}: {value}\n" for key, value in what.items())
    return f"kind: Certificate\norganization: acme\nuser: {user}\n{written}"


def owners(store: AuditedStore) -> dict[str | None, str]:
    """Who has each name."""
    every = store.registrations("acme")
    return {each.registration.identity: each.user for each in every if each.registration.retired_at is None}


@pytest.mark.parametrize("size", [1, 2, 100])
@pytest.mark.slow
def test_names_move_between_users_in_one_apply(store: AuditedStore, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exchanged, or left by a user who goes; each is retired before it is added, and the log says so."""
    monkeypatch.setattr(applying, "ONE_TRANSACTION", size)
    monkeypatch.setattr(applying, "BATCH", size)
    everyone = users("alice", "bob", "carol")
    applied(store, everyone, named("alice"), named("bob", "dns:b.test"), named("carol", "dns:c.test"))
    wanted = (named("bob"), named("alice", "dns:b.test"), named("alice", "dns:c.test"))
    done = applied(store, users("alice", "bob"), *wanted, prune=True)
    assert owners(store) == {"dns:a.test": "bob", "dns:b.test": "alice", "dns:c.test": "alice"}
    with store.reading() as connection:
        entries = [*list_entries(connection, AuditFilter(apply_id=done.apply_id))]
    of_a = [(entry.action, json.loads(entry.after or "")["user"]) for entry in entries if "a.test" in entry.object]
    assert of_a[::-1] == [("retire", "alice"), ("add", "bob")]
    assert verify(store).problems == []
    assert applied(store, users("alice", "bob"), *wanted, prune=True).counts == {}


def test_name_that_is_retired_in_a_document_is_anothers_from_then_on(store: AuditedStore) -> None:
    """In the same apply, and the same user's again for a later time."""
    applied(store, users("alice", "bob"), named("alice"))
    applied(store, named("alice", retired=str(rfc3339(NOW))), named("bob"))
    assert owners(store) == {"dns:a.test": "bob"}
    applied(store, named("bob", retired=str(rfc3339(NOW))), named("bob", **{"from": "2099-01-01"}))
    assert owners(store) == {"dns:a.test": "bob"}


def test_name_whose_period_has_ended_is_its_users_until_it_is_retired(store: AuditedStore) -> None:
    """The same user's registration is changed, and another user's is planned only where it can be stored."""
    applied(store, users("alice", "bob"), named("alice", until="2020-01-01"))
    with contextlib.closing(Plan()) as plan:
        plan.read(DocumentSource(Path("-"), io.BytesIO(named("bob").encode())))
        compare(store, plan, NOW)
        assert "is registered for alice" in str(plan.errors[0])
    assert applied(store, named("alice", **{"from": "2021-01-01"})).counts == {Action.CHANGE: 1}
    applied(store, named("alice", **{"from": "2019-01-01"}, until="2020-01-01"))
    done = applied(store, users("alice", "bob"), named("bob"), prune=True)
    assert owners(store) == {"dns:a.test": "bob"}
    assert done.counts[Action.ADD] == 1


@pytest.mark.parametrize("written", [[], [named("alice", retired=str(rfc3339(NOW)))]])
def test_name_that_was_to_end_later_ends_before_it_is_anothers(store: AuditedStore, written: list[str]) -> None:
    """So that no batch that fails between the two leaves it to both."""
    applied(store, users("alice", "bob"), named("alice", retired="2099-01-01"))
    done = applied(store, users("alice", "bob"), named("bob"), *written, prune=True)
    with store.reading() as connection:
        entries = [*list_entries(connection, AuditFilter(apply_id=done.apply_id))]
    of_name = [json.loads(entry.after or "")["user"] for entry in entries if "a.test" in entry.object]
    assert of_name[::-1] == ["alice", "bob"]


def test_up_to_the_bound_is_one_transaction_or_nothing(store: AuditedStore, small: None) -> None:
    """A step that the directory refuses takes the others with it."""
    with planned(store, users("a", "b", "c"), "kind: Organization\nname: new\nhosts: [api.acme.test]\n") as (
        plan,
        state,
    ):
        before = exported(store)
        with pytest.raises(StoreError, match=r"-:\d+: the host api\.acme\.test belongs to acme"):
            apply(store, plan, state, NOW)
    assert exported(store) == before


def test_more_are_batches_and_one_that_fails_leaves_those_before(
    store: AuditedStore, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run again, it does the rest: each batch has its entries, and the log is sound throughout."""
    wanted = users(*"abcdefg")
    written = applying._Prepared.write
    batches = []

    def crash(prepared: applying._Prepared, change: object) -> None:
        written(prepared, change)  # type: ignore[arg-type]
        batches.append(len(prepared._steps))
        if len(batches) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(applying._Prepared, "write", crash)
    with pytest.raises(KeyboardInterrupt):
        applied(store, wanted)
    assert batches == [2, 2, 2]
    assert names(store) == ["a", "alice", "b", "c", "d"]
    assert verify(store).problems == []
    assert applied(store, wanted).counts == {Action.ADD: 3}
    assert names(store) == ["a", "alice", *"bcdefg"]
    assert verify(store).problems == []


def test_change_of_something_else_between_plan_and_write_does_not_matter(store: AuditedStore) -> None:
    """Another user's, nor a CRL's: nothing is compared again."""
    with planned(store, users("bob")) as (plan, state):
        add_user(store, "acme", "carol")
        assert apply(store, plan, state, NOW).counts == {Action.ADD: 1}
    assert names(store) == ["alice", "bob", "carol"]


def test_change_of_the_same_between_plan_and_write_is_compared_again(store: AuditedStore) -> None:
    """What the documents say holds in the end, and is recorded with what was really before."""
    with planned(store, users("alice")) as (plan, state):
        change_user(store, "acme", "alice", enforcement=Enforcement.OBSERVE, active=None)
        apply(store, plan, state, NOW)
    with store.reading() as connection:
        entry, *_ = list_entries(connection)
    assert json.loads(entry.before or "")["enforcement"] == "observe"
    assert store.user("acme", "alice").enforcement is Enforcement.OFF


def test_user_who_is_added_or_removed_meanwhile_is_no_error(store: AuditedStore) -> None:
    """The plan is made anew."""
    with planned(store, users("alice", "bob")) as (plan, state):
        add_user(store, "acme", "bob", Enforcement.OFF)
        remove_user(store, "acme", "alice")
        assert apply(store, plan, state, NOW).counts == {Action.ADD: 1}
    assert names(store) == ["alice", "bob"]


@pytest.mark.slow
def test_others_who_change_the_same_without_end_are_reported(
    store: AuditedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error, and nothing changed."""
    compared = applying.compare

    def disturbed(*arguments: object, prune: bool = False) -> applying.State:
        state = compared(*arguments, prune=prune)  # type: ignore[arg-type]
        change_user(store, "acme", "alice", enforcement=None, active=not store.user("acme", "alice").active)
        return state

    monkeypatch.setattr(applying, "compare", disturbed)
    with planned(store, users("alice")) as (plan, _), pytest.raises(StoreError, match="others keep changing"):
        apply(store, plan, disturbed(store, plan, NOW), NOW)
    assert store.user("acme", "alice").enforcement is Enforcement.REQUIRED


def test_change_of_an_organization_touches_every_batch(store: AuditedStore) -> None:
    """Its policy may have been what the documents were compared with."""
    with planned(store, users("bob")) as (plan, state):
        store.set_organization(store.organization("acme").__class__(1, "acme", ("api.acme.test",), active=False))
        (step,) = plan.steps(prune=False)
        prepared = applying._Prepared(store, [step], NOW)
        with pytest.raises(ChangedMeanwhileError), store.change() as change:
            applying._check_unchanged(change, state, prepared)


def test_other_revision_than_the_expected_is_refused(store: AuditedStore) -> None:
    """Two administrators: the second one's apply of an old revision changes nothing."""
    store.expected = 1
    with pytest.raises(StoreError, match="no longer at 1"):
        applied(store, users("bob"))
    assert names(store) == ["alice"]


PRINTABLE = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=40)


@given(st.sets(PRINTABLE, min_size=1, max_size=5))
@pytest.mark.slow
def test_names_of_any_characters_come_back_as_they_were(kept_store: AuditedStore, wanted: set[str]) -> None:
    """Whatever of Unicode a name may hold: documents, directory and export agree on its bytes."""
    wanted = {name for name in wanted if len(name.encode()) <= 255}
    applied(kept_store, users(*wanted, "alice"), prune=True)
    assert set(names(kept_store)) == {*wanted, "alice"}
    before = exported(kept_store)
    assert applied(kept_store, before, prune=True).counts == {}


@pytest.fixture(scope="module")
def kept_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuditedStore]:
    """A directory for many drawn applies."""
    store = new_store(f"sqlite:///{tmp_path_factory.mktemp('kept') / 'a.db'}")
    applied(store, "kind: Organization\nname: acme\n")
    yield store
    store.close()


def test_leaf_of_another_user_can_be_registered_too(store: AuditedStore) -> None:
    """The columns of a registration are those that a single one gets."""
    pem = textwrap.indent(chain_pem(BOB, CA), "  ")
    applied(store, f"kind: Certificate\norganization: acme\nuser: alice\ncertificate: |\n{pem}")
    single = add_user(store, "acme", "bob")
    store.register("acme", single.name, Certificate.parse(BOB.der), [Certificate.parse(CA.der)], now=NOW)
    with store.reading() as connection:
        first, second = connection.exec_driver_sql("SELECT * FROM registrations ORDER BY id").mappings()
    assert {key: value for key, value in first.items() if key not in {"id", "user_id"}} == {
        key: value for key, value in second.items() if key not in {"id", "user_id"}
    }


@pytest.mark.parametrize(
    ("size", "seconds", "following"),
    [(5_000, 0.1, 5_000), (5_000, 0.5, 5_000), (5_000, 5.0, 500), (500, 0.5, 500), (500, 0.1, 1_000), (1, 99.0, 1)],
)
def test_batch_that_held_the_lock_too_long_is_followed_by_a_smaller_one(
    size: int, seconds: float, following: int
) -> None:
    """And one that was fast by a larger one, at most twice as large."""
    assert applying.next_size(size, seconds) == following


def test_first_batch_is_small(store: AuditedStore, small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow machine is not known to be one before it."""
    monkeypatch.setattr(applying, "FIRST_BATCH", 1)
    taken: list[int] = []
    with planned(store, users(*"abcde")) as (plan, state):
        apply(store, plan, state, NOW, progress=taken.append)
    assert taken[0] == 1
    assert taken[-1] == 5
