"""A plan has a step for each difference, in an order in which each can be taken, or says what is wrong and where."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import orjson
import pytest
from support.certificates import Authority, chain_pem
from support.command_world import ALICE, BOB, CA, HOST, LIFE, NOW

from authz.admin import plan as planning
from authz.admin.apply import compare
from authz.admin.audited_store import AuditedStore
from authz.admin.canary import CANARY
from authz.admin.document_reader import DocumentSource
from authz.admin.plan import Action, Plan, Step, name_of
from authz.admin.registrations import retire
from authz.admin.users import add_user
from authz.model import Organization
from authz.pki import Certificate

ORGANIZATION = f"kind: Organization\nname: acme\nhosts: [{HOST}]\n"
ALICE_USER = "kind: User\norganization: acme\nname: alice\n"
ALICE_PEM = textwrap.indent(chain_pem(ALICE, CA), "  ")
LAPTOP = f"kind: Certificate\norganization: acme\nuser: alice\ncertificate: |\n{ALICE_PEM}"


@pytest.fixture
def plan() -> Iterator[Plan]:
    """An empty plan."""
    made = Plan()
    yield made
    made.close()


def planned(plan: Plan, store: AuditedStore, *documents: str) -> Plan:
    """The plan of documents, compared with the directory."""
    plan.read(DocumentSource(Path("-"), io.BytesIO("---\n".join(documents).encode())))
    compare(store, plan, NOW)
    return plan


def steps(plan: Plan, *, prune: bool = False) -> list[str]:
    """What is done to what, by the beginning of its name."""
    return [f"{step.action.name.lower()} {name_of(step.wanted)[:20]}" for step in plan.steps(prune=prune)]


def messages(plan: Plan) -> list[str]:
    """What is wrong."""
    return [str(error) for error in plan.errors]


def register(store: AuditedStore, minted: object = ALICE, **options: object) -> int:
    """Register alice's certificate; its id."""
    leaf, chain = Certificate.parse(minted.der), [Certificate.parse(CA.der)]  # type: ignore[attr-defined]
    return store.register("acme", "alice", leaf, chain, now=NOW, **options).registration.id  # type: ignore[arg-type]


def test_what_is_as_it_is_written_is_no_step(plan: Plan, store: AuditedStore) -> None:
    """Whatever else the directory has; without --prune it stays."""
    register(store)
    planned(plan, store, ORGANIZATION, ALICE_USER, LAPTOP)
    assert (messages(plan), steps(plan)) == ([], [])
    assert plan.counts[Action.REMOVE] == 2


def test_steps_are_in_an_order_in_which_each_can_be_taken(plan: Plan, store: AuditedStore) -> None:
    """Organization and CAs, then users before their certificates, then what changes, whatever order they stand in."""
    root = textwrap.indent(Authority.root("Other", **LIFE).pem, "  ")
    bob = textwrap.indent(chain_pem(BOB, CA), "  ")
    planned(
        plan,
        store,
        f"kind: Certificate\norganization: new\nuser: bob\ncertificate: |\n{bob}",
        "kind: User\norganization: new\nname: bob\n",
        ALICE_USER + "enforcement: off\n",
        f"kind: Anchor\norganization: new\ncertificate: |\n{root}",
        "kind: Organization\nname: new\n",
    )
    assert messages(plan) == []
    assert [step.split()[:2] for step in steps(plan)] == [
        ["add", "organization"], ["add", "anchor"], ["add", "user"], ["add", "certificate"], ["change", "user"],
    ]  # fmt: skip


def test_removals_are_last_and_in_the_opposite_order(plan: Plan, store: AuditedStore) -> None:
    """A user's certificate goes with the user, and is no step of its own; alice's own is retired."""
    register(store)
    store.add_user("acme", "bob")
    store.register("acme", "bob", Certificate.parse(BOB.der), [], now=NOW)
    planned(plan, store, ALICE_USER)
    removals = [step.split()[:2] for step in steps(plan, prune=True)]
    assert removals == [["remove", "certificate"], ["remove", "user"], ["remove", "intermediate"], ["remove", "anchor"]]


def test_pruning_keeps_to_the_organizations_that_are_named(plan: Plan, store: AuditedStore) -> None:
    """Others, and what all share, are only removed if organizations are written themselves."""
    store.add_anchors(None, [Certificate.parse(Authority.root("Shared", **LIFE).der)])
    planned(plan, store, "kind: Organization\nname: other\n")
    assert [step.split()[:2] for step in steps(plan, prune=True)] == [
        ["add", "organization"], ["remove", "anchor"], ["remove", "organization"],
    ]  # fmt: skip


def test_nothing_written_removes_nothing(plan: Plan, store: AuditedStore) -> None:
    """An empty file is no order to remove everything."""
    planned(plan, store, "")
    assert steps(plan, prune=True) == []


def test_canary_is_neither_written_nor_removed(plan: Plan, store: AuditedStore) -> None:
    """It is made for an hour by a command of its own."""
    planned(plan, store, f"kind: Organization\nname: {CANARY}\n", ORGANIZATION)
    assert messages(plan) == [f"-:1: {CANARY} is not an organization's name: probes use it"]


def test_organization_that_is_missing_is_one_error(plan: Plan, store: AuditedStore) -> None:
    """That it has no user either follows from it."""
    planned(plan, store, LAPTOP.replace("acme", "nope"))
    assert len(messages(plan)) == 1


def test_enforcement_that_is_left_out_is_the_organization_s(plan: Plan, store: AuditedStore) -> None:
    """As the documents have it, or the directory."""
    planned(plan, store, ORGANIZATION + "enforcement: observe\n", ALICE_USER, ALICE_USER.replace("alice", "bob"))
    wanted = [step.wanted for step in plan.steps(prune=False)]
    contents = {thing.user: orjson.loads(thing.content)["enforcement"] for thing in wanted}
    assert contents == {"": "observe", "bob": "observe", "alice": "observe"}


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ((ALICE_USER, ALICE_USER), "-:5: user alice stands twice, first in -:1"),
        ((LAPTOP, LAPTOP), "stands twice, first in -:1"),
        ((ORGANIZATION, ORGANIZATION), "-:5: organization stands twice, first in -:1"),
        (("kind: User\norganization: b\nname: x\n",), "-:1: there is no organization b for this user"),
        ((LAPTOP.replace("alice", "zed"),), "-:1: acme has no user zed"),
        (("kind: User\norganization: acme\nname: ' x'\n",), "-:3: name: ' x' cannot name a user"),
        (("kind: User\norganization: acme\nname:\n",), "-:3: name: Input should be a valid string"),
        (("kind: User\nname: x\n",), "-:1: organization: Field required"),
        (
            ("kind: User\norganization: acme\nname: x\nactive: perhaps\n",),
            "-:4: active: Input should be a valid boolean",
        ),
        (("name: x\n",), "-:1: Unable to extract tag"),
        ((ORGANIZATION.replace(HOST, "a b"),), "-:1: not a host name: a b"),
        (("kind: Organization\nname: x\ntoken: {keys: 'http://x'}\n",), "-:1:"),
        (("kind: Organization\nname: x\npath: {min_rsa_bits: 1}\n",), "-:1:"),
        (("kind: Anchor\norganization: acme\n",), "-:1: needs a certificate or a file, and not both"),
        (("kind: Anchor\norganization: acme\ncertificate: x\n",), "-:1:"),
        (("kind: Anchor\norganization: acme\nfile: missing.pem\n",), "-:1: cannot read"),
        ((f"kind: Anchor\ncertificate: |\n{ALICE_PEM}",), "-:1: 2 certificates"),
        ((f"kind: Anchor\ncertificate: |\n{textwrap.indent(CA.pem, '  ')}",), "-:1: CN=CA is not self-signed"),
        ((f"kind: Intermediate\ncertificate: |\n{textwrap.indent(ALICE.pem, '  ')}",), "-:1: CN=alice is no CA"),
        ((LAPTOP.replace(ALICE_PEM, textwrap.indent(ALICE.key_pem, "  ")),), "holds a private key"),
        ((LAPTOP + f"label: {'x' * 65}\n",), "label: String should have at most 64 characters"),
        ((LAPTOP + "from: tomorrow\n",), "from: is not a moment"),
        ((LAPTOP + "from: 2030-01-01\nuntil: 2029-01-01\n",), "would end before it begins"),
        ((LAPTOP + "from: 99999999999999999999\n",), "from: is not a moment"),
        (("kind: User\n" + "".join(f"k{n}: x\n" for n in range(200)),), "-:1: 201 keys"),
        (("kind: Organization\ntoken:\n" + "".join(f"  k{n}: x\n" for n in range(200)),), "-:3: 200 keys"),
    ],
    ids=range(26),
)
def test_what_cannot_be_is_an_error_with_its_place(
    plan: Plan, store: AuditedStore, documents: tuple[str, ...], message: str
) -> None:
    """And there is no step of such a document."""
    planned(plan, store, *documents)
    assert any(message in found for found in messages(plan)), messages(plan)


def test_all_errors_are_found_at_once(plan: Plan, store: AuditedStore) -> None:
    """In documents, between them, and against the directory."""
    planned(plan, store, "kind: x\n", ALICE_USER, ALICE_USER, LAPTOP.replace("alice", "zed"), "- x\n")
    assert len(messages(plan)) == 4


# -- certificates: periods, and what was taken away ---------------------------------------------------


def test_change_of_a_period_or_label_is_a_change_of_that_registration(plan: Plan, store: AuditedStore) -> None:
    """And not another one beside it."""
    key = register(store)
    planned(plan, store, LAPTOP + "label: laptop\nuntil: 2099-01-01\n")
    (step,) = plan.steps(prune=False)
    assert (step.action, step.row) == (Action.CHANGE, key)


def test_certificate_that_was_retired_is_not_brought_back(plan: Plan, store: AuditedStore) -> None:
    """By a file that does not know it: a stolen laptop's stays away, and so does one whose end is set for later."""
    retire(store, register(store), NOW + timedelta(hours=1))
    planned(plan, store, LAPTOP)
    assert "this certificate of alice was retired at" in messages(plan)[0]
    compare(store, plan, NOW + timedelta(hours=2))
    assert len(messages(plan)) == 2


def test_retirement_may_be_written_and_moved_forward_alone(plan: Plan, store: AuditedStore) -> None:
    """With its moment it is as it is written; with an earlier one it changes."""
    end = NOW + timedelta(hours=1)
    retire(store, register(store), end)
    planned(plan, store, LAPTOP + f"retired: {end.isoformat()}\n")
    assert (messages(plan), steps(plan)) == ([], [])
    other = Plan()
    planned(other, store, LAPTOP + f"retired: {NOW.isoformat()}\n")
    assert (messages(other), [step.action for step in other.steps(prune=False)]) == ([], [Action.CHANGE])
    other.close()


def test_registration_that_ended_is_history_and_not_removed(plan: Plan, store: AuditedStore) -> None:
    """A file that no longer has it says nothing about it."""
    retire(store, register(store), NOW - timedelta(hours=1))
    planned(plan, store, ALICE_USER, ORGANIZATION)
    assert [step for step in steps(plan, prune=True) if "certificate" in step] == []


def test_leaf_is_registered_again_for_a_later_time(plan: Plan, store: AuditedStore) -> None:
    """Two documents of one leaf whose periods do not meet are two registrations."""
    begin, end = NOW + timedelta(days=2), NOW + timedelta(days=1)
    register(store, valid_until=end)
    planned(plan, store, LAPTOP + f"until: {end.isoformat()}\n", LAPTOP + f"from: {begin.isoformat()}\n")
    assert messages(plan) == []
    assert [step.action for step in plan.steps(prune=True) if step.wanted.user and step.wanted.name] == [Action.ADD]


NAME = f"kind: Certificate\norganization: acme\nregisters: identity\nname: dns:a.test\nanchor: '{'0' * 64}'\n"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("", ""),
        ("", "from: 2099-01-01\n"),
        ("until: 2099-01-01\n", ""),
        ("retired: 2099-01-01\n", ""),
        ("", "retired: 2099-01-01\n"),
        ("retired: 2099-01-01\n", "from: 2098-01-01\nretired: 2100-01-01\n"),
    ],
)
def test_name_is_not_two_users_at_one_time(plan: Plan, store: AuditedStore, first: str, second: str) -> None:
    """Nor of two who are to have it until somebody retires it; whatever stands first."""
    add_user(store, "acme", "bob")
    planned(plan, store, f"{NAME}user: alice\n{first}", f"{NAME}user: bob\n{second}")
    assert "is registered for" in messages(plan)[0]


@pytest.mark.parametrize("field", ["binding_kinds: [{}]", "hosts: [{}]", "path: {{policies: [{}]}}"])
def test_list_of_wrong_values_is_one_error(plan: Plan, store: AuditedStore, field: str) -> None:
    """At the line of the first."""
    planned(plan, store, "kind: Organization\nname: x\n" + field.format("\n[],\n" * 3))
    assert [message.split(": ")[0] for message in messages(plan)] == ["-:4"]


def test_registration_stands_in_as_many_documents_as_it_has_periods(plan: Plan, store: AuditedStore) -> None:
    """One that meets any of them is named with it, however many others begin in between."""
    periods = [f"{LAPTOP}from: {year}-01-01\nuntil: {year + 1}-01-01\n" for year in range(2030, 2060)]
    long = f"{LAPTOP}from: 2029-06-01\nuntil: 2029-07-01\n", f"{LAPTOP}from: 2059-06-01\n"
    planned(plan, store, ALICE_USER, *reversed(periods), *long)
    assert len(messages(plan)) == 1
    assert messages(plan)[0].endswith(f"certificate {ALICE.sha256.hex()} stands twice, first in -:5")


def test_name_is_not_written_twice_without_a_retirement(plan: Plan, store: AuditedStore) -> None:
    """Even for periods that do not meet: the directory stores one of them."""
    planned(plan, store, f"{NAME}user: alice\nuntil: 2020-01-01\n", f"{NAME}user: alice\nfrom: 2021-01-01\n")
    assert "stands twice" in messages(plan)[0]


def test_name_is_anothers_after_its_end(plan: Plan, store: AuditedStore) -> None:
    """The periods may meet, and what is over already does not count."""
    add_user(store, "acme", "bob")
    later = "from: 2099-01-01\n"
    planned(plan, store, f"{NAME}user: alice\nretired: 2099-01-01\n", f"{NAME}user: bob\n{later}")
    assert messages(plan) == []


def test_plan_can_be_compared_again(plan: Plan, store: AuditedStore) -> None:
    """When the directory has changed meanwhile."""
    planned(plan, store, ALICE_USER + "enforcement: off\n", LAPTOP)
    assert len(steps(plan)) == 2
    register(store)
    compare(store, plan, NOW)
    assert steps(plan) == ["change user alice"]


def test_step_knows_what_was_before(plan: Plan, store: AuditedStore) -> None:
    """For the audit log, and for what is printed."""
    planned(plan, store, ALICE_USER + "enforcement: off\n")
    (step,) = plan.steps(prune=False)
    assert isinstance(step, Step)
    assert orjson.loads(step.before or b"") == {"active": True, "enforcement": "required"}


def test_other_organizations_are_not_read_for_documents_of_one(
    plan: Plan, store: AuditedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few documents are compared with their own organization alone, however large the directory is."""
    store.add_organization(Organization(0, "other", ()))
    store.add_user("other", "zed")
    compared: list[int] = []
    plan.read(DocumentSource(Path("-"), io.BytesIO(ALICE_USER.encode())))
    compare(store, plan, NOW, compared.append)
    assert (messages(plan), steps(plan, prune=True)[0].split()[:2]) == ([], ["remove", "intermediate"])
    few = len(compared)
    monkeypatch.setattr(planning, "MAX_NAMED", 0)
    compare(store, plan, NOW, compared.append)
    assert len(compared) - few == few + 1
