"""Drawn documents and commands: the export, the directory, and the answers of a service that runs beside them agree."""

from __future__ import annotations

import asyncio
import contextlib
import io
import shutil
import tempfile
import textwrap
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from support.certificates import NOW, Authority, Minted
from support.decision_world import request
from support.directory import new_store

from authz.admin.apply import apply, compare
from authz.admin.audit import verify
from authz.admin.document_reader import DocumentSource
from authz.admin.export import as_yaml, export
from authz.admin.plan import Plan
from authz.admin.users import add_user, change_user
from authz.decision import Allow
from authz.directory import DirectoryReader
from authz.directory.registrations import list_registrations
from authz.identity.header import UserNameHeader
from authz.model import Enforcement, Organization
from authz.pki import Crl, CrlStore, ModeOf
from authz.service import Service, ServiceLimits
from authz.view import Listener

ROOT = Authority.root()
LEAVES = {name: ROOT.leaf(name) for name in ("one", "two", "three")}
NAMES = ("alice", "bøb", "carol")
HOST = "acme.example.test"
FIRST = f"kind: Organization\nname: acme\nhosts: [{HOST}]\n---\nkind: Anchor\norganization: acme\ncertificate: |\n"
FIRST += textwrap.indent(ROOT.pem, "  ")
LISTENER = Listener("machine", (UserNameHeader("x-user"),))

Users = dict[str, tuple[str, bool]]
"""Enforcement, and whether active, by name."""

Leaves = frozenset[tuple[str, str]]
"""Who has which leaf."""


class Crls:
    """The root's CRL."""

    def __init__(self) -> None:
        self._store = CrlStore([Crl(ROOT.crl())])

    def crls(self) -> CrlStore:
        """See `authz.ports.CrlView`."""
        return self._store

    def mode_of(self, organization: Organization) -> ModeOf | None:
        """See the protocol."""

    def directory_read(self, revision: object) -> None:
        """See the protocol."""

    def request_crls(self, organization: Organization, path: tuple[bytes, ...]) -> None:
        """See the protocol."""


class Clock:
    """The moment of the certificates."""

    def now(self) -> datetime:
        """The moment."""
        return NOW

    def monotonic(self) -> float:
        """No time passes."""
        return 0.0


class Applies(RuleBasedStateMachine):
    """A directory, what it should hold, and a service that read it from the beginning."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        url = f"sqlite:///{self.folder / 'a.db'}"
        self.store = new_store(url)
        self.users: Users = {}
        self.leaves: set[tuple[str, str]] = set()
        self.gone: set[tuple[str, str]] = set()
        self.loop = asyncio.new_event_loop()
        self.apply(FIRST)
        self.reader = DirectoryReader(url, Crls(), monotonic=Clock().monotonic, warn=print)
        self.service = Service(self.reader, Clock(), limits=ServiceLimits(seconds=30))
        self.loop.run_until_complete(self.reader.start())

    def apply(self, text: str, *, prune: bool = False) -> int:
        """Apply documents; how many steps there were."""
        with contextlib.closing(Plan()) as plan:
            plan.read(DocumentSource(Path("-"), io.BytesIO(text.encode())))
            state = compare(self.store, plan, NOW)
            assert plan.errors == []
            return apply(self.store, plan, state, NOW, prune=prune).counts.total()

    @rule(
        users=st.dictionaries(st.sampled_from(NAMES), st.tuples(st.sampled_from(list(Enforcement)), st.booleans())),
        leaves=st.frozensets(st.tuples(st.sampled_from(NAMES), st.sampled_from(sorted(LEAVES)))),
        prune=st.booleans(),
    )
    def documents(self, users: Users, leaves: Leaves, prune: bool) -> None:
        """Users and certificates; of those that were retired none is written, for that would be an error."""
        known = users.keys() if prune else users.keys() | self.users.keys()
        leaves = frozenset(pair for pair in leaves - self.gone if pair[0] in known)
        self.apply(
            FIRST + "".join(map(user_document, users.items())) + "".join(map(leaf_document, leaves)), prune=prune
        )
        if prune:
            stay = {pair for pair in self.leaves if pair[0] in users}
            self.gone = {pair for pair in self.gone if pair[0] in users} | (stay - leaves)
            self.users, self.leaves = {}, set()
        self.users |= users
        self.leaves |= leaves

    @rule(name=st.sampled_from(NAMES), enforcement=st.sampled_from(list(Enforcement)))
    def command(self, name: str, enforcement: Enforcement) -> None:
        """Another administrator, by a command."""
        if name in self.users:
            change_user(self.store, "acme", name, enforcement=enforcement, active=None)
            self.users[name] = (enforcement, self.users[name][1])
        else:
            add_user(self.store, "acme", name, enforcement)
            self.users[name] = (enforcement, True)

    @invariant()
    def directory_holds_what_was_written(self) -> None:
        """Users with their enforcement, and registrations that are not retired."""
        users = {user.name: (user.enforcement, user.active) for user in self.store.users("acme")}
        assert users == self.users
        with self.store.reading() as connection:
            stored = list(list_registrations(connection, "acme"))
        by_sha256 = {leaf.sha256: name for name, leaf in LEAVES.items()}
        pairs = {(row.user, by_sha256[row.leaf.sha256]) for row in stored if row.registration.retired_at is None}
        assert pairs == self.leaves

    @invariant()
    def export_changes_nothing(self) -> None:
        """Applied with all that it leaves out removed; and the audit log is sound."""
        with self.store.reading() as connection:
            text = "".join(map(as_yaml, export(connection)))
        assert self.apply(text, prune=True) == 0
        assert verify(self.store).problems == []

    @invariant()
    def service_answers_as_it_is_written(self) -> None:
        """Each user with each leaf, by the service that has followed every change."""
        self.loop.run_until_complete(self.reader._read(()))
        for name in NAMES:
            for leaf_name, leaf in LEAVES.items():
                decision = self.loop.run_until_complete(self.service.check(check(name, leaf), LISTENER))
                enforcement, active = self.users.get(name, (Enforcement.REQUIRED, False))
                allowed = active and (enforcement is not Enforcement.REQUIRED or (name, leaf_name) in self.leaves)
                assert isinstance(decision, Allow) == allowed, (name, leaf_name, decision)

    def teardown(self) -> None:
        """Give everything back."""
        self.loop.run_until_complete(self.reader.close())
        self.loop.close()
        self.store.close()
        shutil.rmtree(self.folder)


def check(name: str, leaf: Minted) -> object:
    """The request of a user with a leaf."""
    return request(leaf, host=HOST, headers=((b"x-user", name.encode()),))


def user_document(user: tuple[str, tuple[str, bool]]) -> str:
    """In YAML."""
    name, (enforcement, active) = user
    fields = {"kind": "User", "organization": "acme", "name": name, "enforcement": str(enforcement), "active": active}
    return as_yaml(fields)


def leaf_document(pair: tuple[str, str]) -> str:
    """In YAML."""
    name, leaf = pair
    return as_yaml({"kind": "Certificate", "organization": "acme", "user": name, "certificate": LEAVES[leaf].pem})


@pytest.mark.slow
def test_export_directory_and_answers_agree() -> None:
    """After any documents, with and without what they leave out, and commands between them."""
    run_state_machine_as_test(
        Applies,
        settings=settings(
            max_examples=15, stateful_step_count=8, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
