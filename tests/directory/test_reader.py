"""The running service's view: of one confirmed revision, noticed when it changes, bounded."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import AsyncIterator, Callable, Collection, Hashable
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest
from support.certificates import NOW, Authority
from support.directory import DIALECTS, SQLITE_ALONE, execute, new_store

from authz.directory import DirectoryReader, Store
from authz.directory.keys import HostKey, RegistrationsKey, RowKey, UserKey
from authz.directory.row_log import State
from authz.directory.session import Reading
from authz.directory.waiting_rows import MAX_BATCH, MAX_WAITING_EACH
from authz.errors import NotLoaded, Refused
from authz.model import DEFAULT_PATHS, Algorithm, Enforcement, LeafKeys, Organization, PathSettings, User
from authz.pki import SERVICE_POLICY, Certificate, Crl, CrlStore, ModeOf, RevocationMode, service_policy
from authz.reasons import Reason
from authz.service import queue_key

ROOT = Authority.root()
CA = ROOT.intermediate("CA")
ALICE = ROOT.leaf("alice")
HOST = "acme.example.test"


class Counter:
    """A monotonic counter that is set by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        """The seconds."""
        return self.seconds


class Crls:
    """The keeper of the CRLs: what it received and was asked."""

    def __init__(self) -> None:
        self.revisions: list[object] = []
        self.store = CrlStore()
        self.sought: list[tuple[Organization, tuple[bytes, ...]]] = []

    def crls(self) -> CrlStore:
        """See the protocol."""
        return self.store

    def mode_of(self, organization: Organization) -> ModeOf | None:
        """See the protocol."""
        return lambda _: RevocationMode(soft=organization.name == "acme")

    def request_crls(self, organization: Organization, path: tuple[bytes, ...]) -> None:
        """See the protocol."""
        self.sought.append((organization, path))

    def directory_read(self, revision: Hashable) -> None:
        """See the protocol."""
        self.revisions.append(revision)


class Scene:
    """A directory with alice, its store, a reader and the reader's warnings."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.store = new_store(self.url, fill)
        self.warnings: list[str] = []
        self.counter = Counter()
        self.crls = Crls()
        self.reader = DirectoryReader(self.url, self.crls, monotonic=self.counter, warn=self.warnings.append)

    @property
    def file(self) -> Path:
        """That of SQLite."""
        return Path(self.url.removeprefix("sqlite:///"))

    async def organization(self, host: str = HOST) -> Organization | None:
        """The organization of a host, loaded if need be."""
        return await self.loaded(lambda: self.reader.organization(host))  # type: ignore[no-any-return]

    async def until_read(self) -> None:
        """Until the directory was read once more, from beginning to end."""
        count = len(self.crls.revisions)

        async def read() -> bool:
            return len(self.crls.revisions) >= count + 2

        await self.until(read)

    async def user(self, name: str = "alice", organization: Organization | None = None) -> User | None:
        """A user, loaded if need be."""
        owner = organization or await self.organization()
        assert owner is not None
        return await self.loaded(lambda: self.reader.user(owner, name))  # type: ignore[no-any-return]

    async def loaded(self, look):  # noqa: ANN001, ANN201
        """Look, loading what is missing, as the service does."""
        for _ in range(10):
            try:
                return look()
            except NotLoaded as missing:
                await self.reader.load(missing.key)
        pytest.fail("it is never loaded")

    async def until(self, condition) -> None:  # noqa: ANN001
        """Wait for what the poll will bring."""
        async with asyncio.timeout(20):
            while not await condition():
                await asyncio.sleep(0.01)


@pytest.fixture
async def scene(url: str) -> AsyncIterator[Scene]:
    """A started reader over one organization with alice in it."""
    made = Scene(url)
    await made.reader.start()
    yield made
    await made.reader.close()
    made.store.close()


def fill(store: Store) -> None:
    """Add them."""
    store.add_organization(Organization(0, "acme", (HOST,)))
    store.add_user("acme", "alice")


async def test_row_is_loaded_once_and_then_at_hand(scene: Scene) -> None:
    """The first look raises, the second answers."""
    with pytest.raises(NotLoaded):
        scene.reader.organization(HOST)
    organization = await scene.organization()
    assert organization is not None
    assert scene.reader.organization(HOST) is organization
    assert (await scene.user()) == scene.store.user("acme", "alice")


async def test_poll_ages_what_is_remembered_of_crls(scene: Scene) -> None:
    """So that the tenant idle longest gives first there, too."""
    await scene.until_read()
    remembered, tenant = scene.crls.store.memory, object()
    remembered.tenant(tenant).weigh(1)
    assert remembered.tenant(tenant).seen > 0


@pytest.mark.parametrize("missing", [NotLoaded(HostKey(HOST)), Refused(Reason.CRLS_UNAVAILABLE)])
@pytest.mark.slow
async def test_poll_goes_on_while_there_are_no_crls(
    scene: Scene, missing: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the start, and while the process that keeps them does not answer."""
    failed: list[BaseException] = []
    scene.reader.failed_by = failed.append
    monkeypatch.setattr(scene.crls, "crls", Mock(side_effect=missing))
    await scene.until_read()
    scene.store.set_user(replace(scene.store.user("acme", "alice"), active=False))
    await scene.until_read()
    assert (await scene.user()).active is False  # type: ignore[union-attr]
    assert failed == scene.warnings == []


async def test_absence_is_known_as_well(scene: Scene) -> None:
    """An unknown host, user and leaf are looked up once."""
    assert await scene.organization("nobody.test") is None
    assert scene.reader.organization("nobody.test") is None
    assert await scene.user("nobody") is None
    organization = await scene.organization()
    assert organization is not None
    assert await scene.loaded(lambda: scene.reader.registrations(organization, b"x" * 32)) == ()


async def test_change_by_somebody_else_is_seen(scene: Scene) -> None:
    """A user changed, an organization added, a certificate registered: without a restart."""
    organization = await scene.organization()
    assert organization is not None
    user = await scene.user()
    assert user is not None
    await scene.loaded(lambda: scene.reader.registrations(organization, ALICE.sha256))
    await scene.organization("b.test")
    scene.store.set_user(replace(user, enforcement=Enforcement.OFF))
    scene.store.register("acme", "alice", Certificate.parse(ALICE.der), now=NOW)
    scene.store.add_organization(Organization(0, "b", ("b.test",)))

    async def seen() -> bool:
        changed = await scene.user()
        registered = await scene.loaded(lambda: scene.reader.registrations(organization, ALICE.sha256))
        return changed is not None and changed.enforcement is Enforcement.OFF and len(registered) == 1

    await scene.until(seen)
    assert await scene.organization("b.test") is not None


async def test_change_in_one_organization_leaves_anothers_rows(scene: Scene) -> None:
    """A neighbour's many changes cost no other organization anything."""
    scene.store.add_organization(Organization(0, "b", ("b.test",)))
    other = await scene.organization("b.test")
    assert await scene.user() is not None
    before = scene.reader.revision
    scene.store.add_user("b", "bob")

    async def polled() -> bool:
        return scene.reader.revision > before

    await scene.until(polled)
    acme = scene.reader.organization(HOST)
    assert acme is not None
    assert scene.reader.user(acme, "alice") is not None
    assert other is not None


PARSED = Certificate.parse(ALICE.der)
SPKI = f"x'{PARSED.spki_sha256.hex()}'"
REGISTRATION = (
    "INSERT INTO registrations "
    "(organization_id, user_id, kind, label, created_at, identity, anchor_sha256, spki_sha256) VALUES "
)
ROWS: dict[str, Callable[[DirectoryReader, Organization], object]] = {
    "host": lambda reader, _: reader.organization(HOST),
    "alice": lambda reader, acme: reader.user(acme, "alice"),
    "bob": lambda reader, acme: reader.user(acme, "bob"),
    "leaf": lambda reader, acme: reader.registrations(acme, ALICE.sha256),
    "twin": lambda reader, acme: reader.renewals(acme, LeafKeys(PARSED.tbs_sha256, b"", ())),
    "key": lambda reader, acme: reader.renewals(acme, LeafKeys(b"", PARSED.spki_sha256, ())),
    "name": lambda reader, acme: reader.renewals(acme, LeafKeys(b"", b"", ("dns:älice",))),
    "other name": lambda reader, acme: reader.renewals(acme, LeafKeys(b"", b"", ("dns:bob",))),
    "trust": lambda reader, acme: reader.trust(acme),
}


@pytest.mark.parametrize(
    ("statement", "gone"),
    [
        ("UPDATE registrations SET retired_at = 0 WHERE id = 1", {"leaf", "twin", "key"}),
        ("DELETE FROM registrations WHERE id = 2", {"name"}),
        ("UPDATE registrations SET identity = 'dns:bob' WHERE id = 2", {"name", "other name"}),
        (f"{REGISTRATION} (1, 1, 'key', '', 0, NULL, NULL, {SPKI})", {"key"}),
        (f"{REGISTRATION} (1, 1, 'identity', '', 0, 'dns:bob', x'01', NULL)", {"other name"}),
        ("UPDATE users SET active = false WHERE name = 'alice'", {"alice"}),
        ("UPDATE organizations SET active = false", {"host", "trust"}),
        ("DELETE FROM anchors", {"trust"}),
        ("DELETE FROM hosts", {"host"}),
        ("INSERT INTO users VALUES (9, 1, 'carol', 'off', true)", set()),
        ("INSERT INTO crls (sha256, signer, der, added_at) VALUES (x'', x'', x'', 0)", set()),
    ],
)
@pytest.mark.slow
async def test_change_drops_at_the_next_poll_what_changed_and_leaves_the_rest(
    scene: Scene, statement: str, gone: set[str]
) -> None:
    """Retired, switched off, an anchor removed: not one answer more, and no other row is read again."""
    acme = await scene.organization()
    assert acme is not None
    scene.store.add_user("acme", "bob")
    scene.store.register("acme", "alice", Certificate.parse(ALICE.der), now=NOW)
    scene.store.add_anchors("acme", [Certificate.parse(ROOT.der)])
    execute(scene.url, f"{REGISTRATION} (1, 1, 'identity', '', 0, 'dns:älice', x'00', NULL)")
    await scene.until_read()
    for look in ROWS.values():
        await scene.loaded(lambda look=look: look(scene.reader, acme))  # type: ignore[misc]
    execute(scene.url, statement)
    await scene.until_read()
    missing = set()
    for name, look in ROWS.items():
        try:
            look(scene.reader, acme)
        except NotLoaded:
            missing.add(name)
    assert missing == gone


@pytest.mark.parametrize(
    ("statement", "another"),
    [
        ("UPDATE users SET active = false", False),
        ("INSERT INTO hosts VALUES ('b.test', 1)", True),
        ("UPDATE organizations SET active = false", True),
        ("INSERT INTO anchors (organization_id, sha256, der) VALUES (NULL, x'', x'')", True),
        ("INSERT INTO intermediates (organization_id, sha256, der) VALUES (1, x'', x'')", True),
    ],
)
@pytest.mark.slow
async def test_change_of_a_user_is_no_change_of_the_organizations(scene: Scene, statement: str, another: bool) -> None:
    """Ten thousand organizations are not read again for it, as they are after a change of one or of its CAs."""
    before = scene.reader.tenants_revision
    execute(scene.url, statement)
    await scene.until_read()
    assert (scene.reader.tenants_revision != before) is another


@pytest.mark.slow
async def test_user_comes_with_registrations_and_trust(scene: Scene) -> None:
    """One wait instead of three; an unknown user brings nothing, for anybody can ask for one."""
    acme = await scene.organization()
    assert acme is not None
    scene.store.register("acme", "alice", Certificate.parse(ALICE.der), now=NOW)
    scene.store.add_anchors("acme", [Certificate.parse(ROOT.der)])
    await scene.until_read()
    await scene.reader.load(UserKey(acme.id, "nobody"))
    with pytest.raises(NotLoaded):
        scene.reader.trust(acme)
    await scene.reader.load(UserKey(acme.id, "alice"))
    assert scene.reader.trust(acme)
    assert len(scene.reader.registrations(acme, ALICE.sha256)) == 1


async def test_trust_follows_anchors_own_and_shared(scene: Scene) -> None:
    """None refuses; one added anywhere is taken."""
    organization = await scene.organization()
    assert organization is not None
    with pytest.raises(Refused) as caught:
        await scene.loaded(lambda: scene.reader.trust(organization))
    assert caught.value.reason is Reason.TRUST_ANCHORS_MISSING
    scene.store.add_anchors(None, [Certificate.parse(ROOT.der)])

    async def trusted() -> bool:
        try:
            await scene.loaded(lambda: scene.reader.trust(organization))
        except Refused:
            return False
        return True

    await scene.until(trusted)


async def test_policy_is_a_part_of_the_trust_and_no_other_organization_reads_its_own_again(scene: Scene) -> None:
    """Other settings make another store, whose mark no memory of paths has; the neighbour keeps the one it has."""
    scene.store.add_organization(Organization(0, "b", ("b.test",)))
    scene.store.add_anchors(None, [Certificate.parse(ROOT.der)])
    acme, other = await scene.organization(), await scene.organization("b.test")
    assert acme is not None
    assert other is not None
    before, neighbours = [await scene.loaded(lambda who=who: scene.reader.trust(who)) for who in (acme, other)]
    assert before.policy is SERVICE_POLICY
    assert acme.path is DEFAULT_PATHS, "each row in memory would weigh more"
    settings = PathSettings((Algorithm.BRAINPOOL_P256R1,), policies=("1.2.3", "1.2.4"), inhibit_any_policy=True)
    scene.store.set_organization(replace(scene.store.organization("acme"), path=settings))

    async def changed() -> bool:
        return await scene.loaded(lambda: scene.reader.trust(acme)) is not before

    await scene.until(changed)
    after = await scene.loaded(lambda: scene.reader.trust(acme))
    assert after.policy == service_policy(settings)
    assert after.mark is not before.mark
    assert await scene.loaded(lambda: scene.reader.trust(other)) is neighbours
    assert await scene.organization() == replace(scene.store.organization("acme"), hosts=())


@pytest.mark.parametrize(
    ("change", "url"),
    [
        *(
            (change, dialect)
            for change in ("path_algorithms = 'rot13'", "path_algorithms = ''", "path_policies = 'x'")
            for dialect in DIALECTS
        ),
        ("path_min_rsa_bits = 'x'", "sqlite"),
    ],
    indirect=["url"],
)
@pytest.mark.slow
async def test_policy_that_makes_no_sense_denies_its_organization_alone(scene: Scene, change: str) -> None:
    """However it came into the row: perhaps a later version wrote it."""
    scene.store.add_organization(Organization(0, "b", ("b.test",)))
    scene.store.add_anchors(None, [Certificate.parse(ROOT.der)])
    acme, other = await scene.organization(), await scene.organization("b.test")
    assert acme is not None
    assert other is not None
    execute(scene.url, f"UPDATE organizations SET {change} WHERE name = 'acme'")
    await scene.until_read()
    with pytest.raises(Refused) as caught:
        await scene.loaded(lambda: scene.reader.trust(acme))
    assert caught.value.reason is Reason.DIRECTORY_UNAVAILABLE
    assert await scene.loaded(lambda: scene.reader.trust(other))


async def test_anchor_that_cannot_be_read_denies_its_organization_alone(scene: Scene) -> None:
    """And is reported."""
    scene.store.add_organization(Organization(0, "b", ("b.test",)))
    scene.store.add_anchors("b", [Certificate.parse(ROOT.der)])
    columns = "(organization_id, sha256, der) SELECT id, x'00', x'3000' FROM organizations WHERE name = 'acme'"
    execute(scene.url, f"INSERT INTO anchors {columns}")
    acme, other = await scene.organization(), await scene.organization("b.test")
    assert acme is not None
    assert other is not None
    with pytest.raises(Refused) as caught:
        await scene.loaded(lambda: scene.reader.trust(acme))
    assert caught.value.reason is Reason.TRUST_ANCHORS_UNUSABLE
    assert caught.value.detail == "the CA certificate 00: DER: short data"
    assert await scene.loaded(lambda: scene.reader.trust(other))
    assert scene.warnings


@pytest.mark.parametrize(
    ("values", "url"),
    [
        *(
            (values, dialect)
            for values in ("chain = x'30'", "valid_until = 1000000000000000000")
            for dialect in DIALECTS
        ),
        ("chain = 'text'", "sqlite"),
        ("valid_until = 'tomorrow'", "sqlite"),
        ("label = CAST(x'ff' AS TEXT)", "sqlite"),
    ],
    indirect=["url"],
)
async def test_row_that_makes_no_sense_refuses_the_check_that_asks_for_it_alone(scene: Scene, values: str) -> None:
    """Read in one transaction with another's, which is answered, and the reader goes on."""
    acme = await scene.organization()
    assert acme is not None
    sha256 = Certificate.parse(ALICE.der).sha256
    scene.store.register("acme", "alice", Certificate.parse(ALICE.der), now=NOW)
    loose = ["PRAGMA ignore_check_constraints = 1"] if scene.url.startswith("sqlite:") else []
    execute(scene.url, *loose, f"UPDATE registrations SET {values}")
    keys = (RegistrationsKey(acme.id, sha256), UserKey(acme.id, "alice"))
    bad, good = await asyncio.gather(*map(scene.reader.load, keys), return_exceptions=True)
    assert isinstance(bad, Refused)
    assert bad.reason is Reason.DIRECTORY_UNAVAILABLE
    assert good is True


async def test_host_that_was_known_waits_with_its_organization(scene: Scene) -> None:
    """After its organization changed, a host is read again, and must not wait behind those that strangers make up."""
    acme = await scene.organization()
    assert acme is not None
    scene.store.set_organization(replace(acme, hosts=(HOST,), active=False))

    missing: list[Hashable] = []

    async def changed() -> bool:
        try:
            scene.reader.organization(HOST)
        except NotLoaded as outdated:
            missing.append(outdated.key)
        return bool(missing)

    await scene.until(changed)
    assert missing == [HostKey(HOST, acme.id)]
    assert queue_key(HostKey(HOST, acme.id)) == queue_key(UserKey(acme.id, "alice"))
    assert queue_key(HostKey("unknown.test")) == queue_key(HostKey("other.test"))
    assert await scene.organization() == replace(acme, active=False)


async def test_everything_about_crls_is_asked_of_their_keeper(scene: Scene) -> None:
    """The reader is a view, and holds none itself."""
    acme = await scene.organization()
    assert acme is not None
    assert scene.reader.crls(acme) is scene.crls.store
    mode_of = scene.reader.mode_of(acme)
    assert mode_of is not None
    assert mode_of(Certificate.parse(ROOT.der)).soft
    scene.reader.request_crls(acme, (b"leaf", b"root"))
    assert scene.crls.sought == [(acme, (b"leaf", b"root"))]


@pytest.mark.slow
async def test_keeper_is_notified_when_the_crls_change(scene: Scene) -> None:
    """Another revision; what else changes is nothing to it."""
    scene.store.add_anchors("acme", [Certificate.parse(ROOT.der)])
    await scene.until_read()
    before = scene.crls.revisions[-1]
    scene.store.add_user("acme", "bob")
    await scene.until_read()
    assert scene.crls.revisions[-1] == before
    scene.store.add_crl(Crl(ROOT.crl()), NOW)
    await scene.until_read()
    assert scene.crls.revisions[-1] != before


async def test_directory_gives_its_crls_with_their_signers_keys(scene: Scene) -> None:
    """The smallest first; and every CA that may have signed one."""
    scene.store.add_anchors("acme", [Certificate.parse(ROOT.der)])
    scene.store.add_intermediates(None, [Certificate.parse(CA.der)])
    large, small = Crl(ROOT.crl(*range(1, 99))), Crl(CA.crl())
    for one in (large, small):
        scene.store.add_crl(one, NOW)
    rows = await scene.reader.listed()
    assert [one.sha256 for one in rows] == [small.sha256, large.sha256]
    assert [hashlib.sha256(row.signer_spki).digest() for row in rows] == [row.signer_spki_sha256 for row in rows]
    assert await scene.reader.der(small.sha256) == small.der
    assert await scene.reader.der(b"another") is None
    assert sorted(await scene.reader.authorities()) == sorted([ROOT.der, CA.der])


async def test_directory_says_who_is_active_and_whether_any_trust_has_changed(scene: Scene) -> None:
    """An organization more or less, on or off, and a CA of one or of all; a user is no reason."""
    globex = Organization(0, "globex", ("globex.example.test",))
    off = replace(globex, id=2, active=False)
    anchor = Certificate.parse(ROOT.der)
    changes: list[tuple[Callable[[], object], list[int]]] = [
        (lambda: scene.store.add_organization(globex), [1, 2]),
        (lambda: scene.store.add_anchors("acme", [anchor]), [1, 2]),
        (lambda: scene.store.add_intermediates(None, [Certificate.parse(CA.der)]), [1, 2]),
        (lambda: scene.store.remove_anchor("acme", anchor.sha256), [1, 2]),
        (lambda: scene.store.set_organization(off), [1]),
        (lambda: scene.store.remove_organization("globex"), [1]),
    ]
    seen = [(await scene.reader.active())[0]]
    for change, active in changes:
        change()
        trust, found = await scene.reader.active()
        assert found == active
        assert trust != seen[-1]
        seen.append(trust)
    scene.store.add_user("acme", "bob")
    assert (await scene.reader.active())[0] == seen[-1]


@SQLITE_ALONE
async def test_revision_not_confirmed_for_two_seconds_is_unavailable(scene: Scene) -> None:
    """Old knowledge is no knowledge; when the file is back, so is the service."""
    assert scene.reader.view() is scene.reader
    hidden = scene.file.with_suffix(".away")
    scene.file.rename(hidden)
    scene.counter.seconds += 3
    with pytest.raises(Refused) as caught:
        scene.reader.view()
    assert caught.value.reason is Reason.DIRECTORY_UNAVAILABLE
    hidden.rename(scene.file)

    async def back() -> bool:
        return scene.reader.confirmed

    await scene.until(back)


@SQLITE_ALONE
async def test_load_from_a_file_that_is_gone_is_refused(scene: Scene) -> None:
    """And not an exception of the driver's."""
    scene.file.unlink()
    with pytest.raises(Refused) as caught:
        await scene.organization("new.test")
    assert caught.value.reason is Reason.DIRECTORY_UNAVAILABLE


@SQLITE_ALONE
async def test_file_replaced_is_read_anew(scene: Scene, tmp_path: Path) -> None:
    """Another file is another directory, whatever its numbers say."""
    assert await scene.organization() is not None
    file = tmp_path / "other.db"
    other = new_store(f"sqlite:///{file}")
    other.add_organization(Organization(0, "other", (HOST,)))
    other.close()
    execute(f"sqlite:///{file}", "PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.move(file, scene.file)

    async def replaced() -> bool:
        found = await scene.organization()
        return found is not None and found.name == "other"

    await scene.until(replaced)
    assert any("replaced" in one for one in scene.warnings)


@SQLITE_ALONE
async def test_revision_that_goes_back_clears_everything(scene: Scene) -> None:
    """A restored copy counts from where it was."""
    assert await scene.user() is not None
    unlogged = "DROP TRIGGER number_users_delete", "DELETE FROM users", "DROP TRIGGER rise_state"
    execute(scene.url, "BEGIN", *unlogged, "UPDATE directory_state SET revision = 0", "COMMIT")

    async def cleared() -> bool:
        return await scene.user() is None

    await scene.until(cleared)


async def test_key_of_somebody_else_is_not_loaded(scene: Scene) -> None:
    """Another source may know it."""
    assert not await scene.reader.load("a key of another source")


async def test_waiters_for_one_row_share_its_reading(scene: Scene) -> None:
    """A hundred checks for one user are one query."""
    with pytest.raises(NotLoaded) as missing:
        scene.reader.organization(HOST)
    assert all(await asyncio.gather(*(scene.reader.load(missing.value.key) for _ in range(100))))
    assert scene.reader.organization(HOST) is not None


async def test_start_without_a_database_is_refused(tmp_path: Path) -> None:
    """The service does not start blind."""
    reader = DirectoryReader(f"sqlite:///{tmp_path / 'none.db'}", Crls(), monotonic=Counter(), warn=print)
    with pytest.raises(Refused):
        await reader.start()
    await reader.close()


async def test_row_of_one_organization_does_not_wait_behind_a_flood_of_another(scene: Scene) -> None:
    """In turns: it is read in the next transaction but one, however many rows of the other wait."""
    read: list[list[object]] = []
    inner = scene.reader._session.read

    def watched(known: State, keys: Collection[RowKey] = (), wanted: Collection[int] = ()) -> Reading:
        read.append(list(keys))
        return inner(known, keys, wanted)

    scene.reader._session.read = watched  # type: ignore[method-assign,assignment]
    flood = [asyncio.create_task(scene.reader.load(UserKey(1, f"u{number}"))) for number in range(MAX_WAITING_EACH)]
    await asyncio.sleep(0)
    await scene.reader.load(UserKey(2, "alice"))
    batches = [one for one in read if one]
    assert UserKey(2, "alice") in {key for batch in batches[:3] for key in batch}
    assert max(map(len, batches)) <= MAX_BATCH
    assert all(await asyncio.gather(*flood))


async def test_rows_that_wait_are_bounded_for_each_organization(scene: Scene) -> None:
    """Beyond it they are refused at once, and another organization's are not."""
    flood = [asyncio.create_task(scene.reader.load(UserKey(1, f"u{number}"))) for number in range(MAX_WAITING_EACH)]
    await asyncio.sleep(0)
    with pytest.raises(Refused) as caught:
        await scene.reader.load(UserKey(1, "one more"))
    assert caught.value.reason is Reason.OVERLOADED
    assert await scene.reader.load(UserKey(2, "alice"))
    assert all(await asyncio.gather(*flood))


async def test_check_that_gives_up_leaves_the_others_their_row(scene: Scene) -> None:
    """A reading is shared, and no waiter may cancel it."""
    impatient = asyncio.create_task(scene.reader.load(UserKey(1, "alice")))
    patient = asyncio.create_task(scene.reader.load(UserKey(1, "alice")))
    await asyncio.sleep(0)
    impatient.cancel()
    assert await patient


async def test_failed_reading_refuses_everybody_who_waited(scene: Scene) -> None:
    """And the next one works."""
    inner = scene.reader._session.read

    def broken(*_: object) -> Reading:
        raise Refused(Reason.DIRECTORY_UNAVAILABLE)

    scene.reader._session.read = broken  # type: ignore[method-assign,assignment]
    found = await asyncio.gather(*(scene.reader.load(HostKey(f"h{n}")) for n in range(3)), return_exceptions=True)
    assert [one.reason for one in found] == [Reason.DIRECTORY_UNAVAILABLE] * 3  # type: ignore[union-attr]
    scene.reader._session.read = inner  # type: ignore[method-assign]
    assert await scene.reader.load(HostKey("h0"))


async def test_reading_that_fails_by_a_defect_is_reported_and_ends(url: str) -> None:
    """For lack of memory, say: the supervisor of this process has to hear of it, for nothing is confirmed again."""
    new_store(url).close()
    warnings: list[str] = []
    failures: list[BaseException] = []
    made = DirectoryReader(url, Crls(), monotonic=Counter(), warn=warnings.append)
    made.failed_by = failures.append
    await made.start()

    def fail(*_: object) -> Reading:
        raise MemoryError

    made._session.read = fail  # type: ignore[method-assign]
    async with asyncio.timeout(20):
        while not failures:
            await asyncio.sleep(0.01)
    assert isinstance(failures[0], MemoryError)
    assert warnings == ["directory poller failed: MemoryError"]
    await made.close()
    await made.close()
