"""The CRLs that are held: what a start takes from the folder, and what a disk that fails leaves."""

from __future__ import annotations

import asyncio
import base64
import errno
import json
import os
import threading
from collections.abc import AsyncIterator, Collection, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from support.certificates import NOW, Authority
from support.crl_world import CA, ROOT, crl, sha256, spki
from support.kept_crls import read_kept
from support.tampered import compressed_point, reissued

from authz.crls.acceptance import SignedCrl
from authz.crls.disk_store import CrlDiskStore, DiskCopy, DiskStoreFailed, FetchRecord
from authz.crls.failures import FailureKind, FetchFailed
from authz.crls.indexing.client import index_crl
from authz.crls.store import MAX_GIVEN, CrlRegistry, HeldCrl, answering
from authz.crls.tombstones import FORGET_AFTER
from authz.errors import IndexingError, Refused
from authz.pki import Certificate, Crl
from authz.reasons import Reason

KEY = Certificate.parse(CA.der).spki_der
URL = "http://crl.example.test/ca.crl"
ORIGIN = FetchRecord(URL, '"1"', None, NOW, KEY)
OLD, NEW = crl(number=1), crl(number=2, hours=1)


@dataclass
class Scene:
    """A registry in a folder, which a service that starts again reads anew."""

    folder: Path
    cas: list[Authority] = field(default_factory=lambda: [ROOT, CA])
    warnings: list[str] = field(default_factory=list)
    problem: Exception | None = None
    keep: CrlDiskStore = field(init=False)
    registry: CrlRegistry = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """A service starts."""
        self.keep = CrlDiskStore(self.folder / "crls")
        self.registry = CrlRegistry(self.keep, self.index, self.warnings.append)

    async def restart(self, now: datetime = NOW) -> None:
        """It ends, and another reads the folder."""
        self.keep.close()
        self.start()
        await read_kept(self.registry, self.authorities, now)

    async def authorities(self) -> list[bytes]:
        """The CAs that are known."""
        return [one.der for one in self.cas]

    async def index(self, path: Path | int, keys: Collection[bytes]) -> Crl:
        """As in the service, or the problem that is set."""
        if self.problem is not None:
            raise self.problem
        return await index_crl(path, keys)

    async def take(self, der: bytes, origin: FetchRecord = ORIGIN, now: datetime = NOW) -> tuple[bool, str]:
        """A source gave this."""
        path = self.folder / "given"
        path.write_bytes(der)
        return await self.registry.accept(path, SignedCrl(Crl(der), spki(CA)), origin, now)

    def held(self) -> list[bytes]:
        """SHA-256 of what answers."""
        return sorted(one.crl.sha256 for one in self.registry)

    def file(self, suffix: str = "*.crl") -> Path:
        """The only file of a kind."""
        (found,) = self.keep.folder.glob(suffix)
        return found


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """A registry with one CRL, kept."""
    made = Scene(tmp_path)
    assert await made.take(OLD) == (True, "")
    yield made
    made.keep.close()


async def test_kept_crl_answers_after_a_restart_with_what_its_server_said(scene: Scene) -> None:
    """The next request to the server is a conditional one."""
    await scene.restart()
    assert scene.held() == sha256(OLD)
    assert [one.origin for one in scene.registry.of(URL)] == [ORIGIN]


async def test_newer_crl_is_the_only_one_held_and_kept(scene: Scene) -> None:
    """The old one would answer for no certificate, and might after a restart."""
    assert await scene.take(NEW) == (True, "")
    assert (scene.held(), len(scene.registry), scene.file().read_bytes()) == (sha256(NEW), 1, NEW)


async def test_crl_whose_number_went_back_is_taken_once_the_kept_one_was_deleted(scene: Scene) -> None:
    """A CA that counts anew: the operator deletes what is kept, while the service is stopped."""
    anew = crl(number=0, hours=1)
    with pytest.raises(FetchFailed) as caught:
        await scene.take(anew)
    assert caught.value.kind is FailureKind.DISAGREES
    (held,) = scene.registry
    for file in scene.keep.folder.glob(f"{held.name}.*"):
        file.unlink()
    await scene.restart()
    assert await scene.take(anew) == (True, "")
    assert scene.held() == sha256(anew)


async def test_older_crl_leaves_everything_as_it_was(scene: Scene) -> None:
    """Neither memory nor disk goes back."""
    await scene.take(NEW)
    with pytest.raises(FetchFailed) as caught:
        await scene.take(OLD)
    assert (caught.value.kind, scene.held(), scene.file().read_bytes()) == (FailureKind.OLDER, sha256(NEW), NEW)


async def test_copy_that_an_earlier_version_filed_under_a_compressed_key_is_replaced(tmp_path: Path) -> None:
    """It is held for the key, in whichever form that is stated."""
    scene = Scene(tmp_path)
    stated = Certificate.parse(reissued(CA, ROOT, compressed_point).der).spki_der
    await scene.take(OLD, replace(ORIGIN, signer=stated))
    await scene.restart()
    assert [(copy.crl.sha256, copy.signer) for copy in scene.registry] == [(*sha256(OLD), spki(CA))]
    await scene.take(OLD)
    assert [scene.registry.stored(one) for one in sha256(OLD)] == list(scene.registry)
    assert await scene.take(NEW) == (True, "")
    assert (scene.held(), scene.file().read_bytes(), scene.warnings) == (sha256(NEW), NEW, [])
    scene.keep.close()


async def test_same_crl_from_elsewhere_changes_nothing_but_where_it_came_from(scene: Scene) -> None:
    """Checks need no new view of it."""
    elsewhere = FetchRecord("http://other.example.test/ca.crl", None, None, NOW, KEY)
    assert await scene.take(OLD, elsewhere) == (False, "")
    assert [one.origin for one in scene.registry] == [elsewhere]
    assert (scene.registry.of(URL), scene.keep.origin(scene.file().stem)) == ([], elsewhere)


async def test_what_a_source_gave_is_found_by_the_source_until_it_is_another_ones(scene: Scene) -> None:
    """And what an operator sees of it is made anew with every change, and then only."""
    (before,) = scene.registry.of(URL)
    assert (before.state.location, before.state.number, before.state is before.state) == (URL, "1", True)
    await scene.take(NEW)
    (after,) = scene.registry.of(URL)
    assert (after.state.number, after.state.fetched_at) == ("2", NOW)
    await scene.take(NEW, replace(ORIGIN, url="http://other.example.test/", fetched_at=NOW + timedelta(hours=1)))
    (moved,) = scene.registry.of("http://other.example.test/")
    assert (moved.state.number, moved.state.fetched_at) == ("2", NOW + timedelta(hours=1))
    assert scene.registry.of(URL) == scene.registry.of("http://nowhere.example.test/") == []


async def test_source_that_confirms_its_crl_keeps_the_signer(scene: Scene) -> None:
    """A 304 says nothing of keys; without one the copy could not be verified as before."""
    await scene.registry.touch(URL, FetchRecord(URL, '"2"', None, NOW + timedelta(hours=1), b""))
    await scene.restart()
    (copy,) = scene.registry
    assert (copy.origin.etag, copy.origin.signer) == ('"2"', KEY)


async def test_altered_copy_is_set_aside_and_never_answers(scene: Scene) -> None:
    """One bit of the signature."""
    scene.file().write_bytes(OLD[:-1] + bytes([OLD[-1] ^ 1]))
    await scene.restart()
    assert (scene.held(), scene.file("*.corrupt").stat().st_size) == ([], len(OLD))


async def test_copy_of_another_crl_of_the_same_key_is_set_aside(scene: Scene) -> None:
    """A CRL under another name would stand beside its like, and an older one could answer."""
    name = scene.file()
    name.rename(name.with_name("0" * 64 + ".crl"))
    name.with_suffix(".json").rename(name.with_name("0" * 64 + ".json"))
    await scene.restart()
    assert scene.held() == []
    assert scene.warnings == [f"the kept CRL {'0' * 64} is set aside: it is another CRL than its name says"]
    assert scene.file("*.why").read_text() == "it is another CRL than its name says"


async def test_copy_without_its_sidecar_is_verified_under_the_known_cas(scene: Scene) -> None:
    """What to ask the server is lost, the CRL is not."""
    scene.file("*.json").unlink()
    await scene.restart()
    (copy,) = scene.registry
    assert (copy.crl.sha256, copy.origin.url, copy.origin.signer) == (*sha256(OLD), "", KEY)


ANOTHERS = Certificate.parse(ROOT.der).spki_der


@pytest.mark.parametrize("signer", [b"", b"no key", ANOTHERS, KEY[:-9]], ids=["none", "no key", "another", "cut"])
async def test_whole_copy_beside_a_sidecar_that_is_not_is_verified_under_the_known_cas(
    scene: Scene, signer: bytes
) -> None:
    """The last good copy must not be lost because of what was remembered of it."""
    sidecar = scene.file("*.json")
    told = json.loads(sidecar.read_text())
    sidecar.write_text(json.dumps(told | {"signer": base64.b64encode(signer).decode()}))
    await scene.restart()
    assert (scene.held(), scene.warnings) == (sha256(OLD), [])


async def test_copy_stays_on_disk_while_the_directory_cannot_say_which_cas_are_known(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing speaks against the copy."""

    async def away(_: Scene) -> list[bytes]:
        raise Refused(Reason.DIRECTORY_UNAVAILABLE)

    scene.file("*.json").unlink()
    with monkeypatch.context() as patched:
        patched.setattr(Scene, "authorities", away)
        await scene.restart()
    assert (scene.held(), [("is not used" in one) for one in scene.warnings]) == ([], [True])
    await scene.restart()
    assert scene.held() == sha256(OLD)


async def test_copy_whose_ca_is_known_no_more_stays_on_disk_unused(scene: Scene) -> None:
    """The CA may come back; the copy is not corrupt."""
    scene.file("*.json").unlink()
    scene.cas = [ROOT]
    await scene.restart()
    assert (scene.held(), scene.file().read_bytes()) == ([], OLD)
    assert "is not used" in scene.warnings[0]


async def test_copy_that_cannot_be_indexed_now_stays_on_disk_unused(scene: Scene) -> None:
    """Whatever killed the process said nothing of the copy."""
    scene.problem = IndexingError("the process ended")
    await scene.restart()
    assert (scene.held(), scene.file().read_bytes()) == ([], OLD)
    assert scene.warnings == [f"the kept CRL {scene.file().stem} is not used: the process ended"]


async def test_nothing_older_takes_the_place_of_a_copy_that_could_not_be_read_at_the_start(scene: Scene) -> None:
    """What was refused for a passing reason is what a replay would wait for."""
    await scene.take(NEW)
    scene.problem = IndexingError("the process ended")
    await scene.restart()
    with pytest.raises(FetchFailed) as caught:
        await scene.take(OLD)
    assert (caught.value.kind, scene.held()) == (FailureKind.INDEXING, [])
    scene.problem = None
    with pytest.raises(FetchFailed) as caught:
        await scene.take(OLD)
    assert (caught.value.kind, scene.held()) == (FailureKind.OLDER, sha256(NEW))
    assert [one.number for one in (one.crl for one in scene.registry.of(URL))] == [2]


async def test_nothing_older_takes_the_place_of_a_copy_whose_ca_was_not_known_at_the_start(scene: Scene) -> None:
    """It is known again, and what it signed was kept."""
    await scene.take(NEW)
    scene.file("*.json").unlink()
    scene.cas = [ROOT]
    await scene.restart()
    with pytest.raises(FetchFailed) as caught:
        await scene.take(OLD)
    assert (caught.value.kind, scene.held()) == (FailureKind.OLDER, sha256(NEW))


async def test_damaged_copy_that_could_not_be_read_at_the_start_is_set_aside_for_what_comes(scene: Scene) -> None:
    """It is trusted for nothing."""
    scene.file().write_bytes(OLD[:-1] + bytes([OLD[-1] ^ 1]))
    scene.problem = IndexingError("the process ended")
    await scene.restart()
    scene.problem = None
    assert await scene.take(NEW) == (True, "")
    assert (scene.held(), scene.file().read_bytes(), scene.file("*.corrupt").stat().st_size) == (
        sha256(NEW), NEW, len(OLD)
    )  # fmt: skip


async def test_copy_is_read_though_no_mark_can_be_made(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk must not cost what is there; it is reported."""

    def full(*_: object) -> None:
        raise DiskStoreFailed("that it is being read cannot be noted")

    monkeypatch.setattr(CrlDiskStore, "mark", full)
    await scene.restart()
    assert scene.held() == sha256(OLD)
    assert scene.warnings == ["that it is being read cannot be noted; it is read all the same"]


async def test_stop_while_a_mark_is_made_leaves_none(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two stops that were ordered must not have a good copy set aside."""
    began, go = threading.Event(), threading.Event()
    mark = scene.keep.mark

    def slow(kept: DiskCopy) -> None:
        began.set()
        go.wait()
        mark(kept)

    monkeypatch.setattr(scene.keep, "mark", slow)
    reading = asyncio.create_task(read_kept(scene.registry, scene.authorities, NOW))
    await asyncio.to_thread(began.wait)
    reading.cancel()
    await asyncio.sleep(0)
    go.set()
    await asyncio.wait({reading})
    assert (reading.cancelled(), list(scene.keep.folder.glob("*.reading"))) == (True, [])


async def test_copy_whose_reader_fails_bears_no_mark(scene: Scene) -> None:
    """What failed was another process, or memory: this one lives."""
    scene.problem = IndexingError("ended with -9")
    for _ in range(3):
        await scene.restart()
        assert list(scene.keep.folder.glob("*.reading")) == []
    scene.problem = None
    await scene.restart()
    assert scene.held() == sha256(OLD)


async def test_crl_beyond_the_room_leaves_everything_as_it_was(scene: Scene) -> None:
    """Neither memory nor disk takes it, and what it would replace is not counted against it."""
    beside: list[int] = []

    def none(_: HeldCrl, replaced: Iterable[HeldCrl], others: Iterable[HeldCrl]) -> None:
        beside.extend((len(list(replaced)), len(list(others))))
        raise FetchFailed(FailureKind.TOO_LARGE, "no room")

    scene.registry.check_quota = none
    with pytest.raises(FetchFailed):
        await scene.take(NEW)
    assert (beside, scene.held(), scene.file().read_bytes()) == ([1, 0], sha256(OLD), OLD)


async def test_copy_long_expired_is_thrown_away(scene: Scene) -> None:
    """On the last day of the bound it is still there."""
    expired = NOW + timedelta(days=6) + FORGET_AFTER
    await scene.restart(expired)
    assert scene.held() == sha256(OLD)
    await scene.restart(expired + timedelta(seconds=1))
    assert (scene.held(), list(scene.keep.folder.glob("*.crl"))) == ([], [])


async def test_folder_that_is_gone_is_reported_and_holds_nothing(scene: Scene) -> None:
    """The service starts all the same: sources may have the CRLs."""
    scene.keep.folder.rename(scene.folder / "moved")
    registry = CrlRegistry(scene.keep, scene.index, scene.warnings.append)
    await read_kept(registry, scene.authorities, NOW)
    assert (len(registry), len(scene.warnings)) == (0, 1)
    assert "cannot be listed" in scene.warnings[0]


async def test_full_disk_holds_the_newest_and_keeps_the_last_good_copy(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is revoked bites at once; the operator learns what to do."""

    def full(_descriptor: int, _data: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        changed, problem = await scene.take(NEW)
    assert (changed, scene.held(), scene.file().read_bytes()) == (True, sha256(NEW), OLD)
    assert "No space left" in problem
    assert "make room" in problem


async def test_crl_that_could_not_be_kept_is_kept_when_it_comes_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same octets are not taken for kept."""
    with monkeypatch.context() as patch:
        patch.setattr(scene.keep, "put", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "it broke")))
        assert await scene.take(NEW) == (True, "it broke")
    assert await scene.take(NEW) == (False, "")
    assert scene.file().read_bytes() == NEW


async def test_crls_that_one_source_gives_are_bounded(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with a scope of its own, so that none replaces another; what is held may still be replaced."""

    def scoped(name: int, number: int) -> bytes:
        uri = x509.UniformResourceIdentifier(f"http://crl.example.test/{name}")
        point = x509.IssuingDistributionPoint([uri], None, False, False, None, False, False)
        return crl(number=number, hours=9 - number, extensions=[(point, True)])

    monkeypatch.setattr("authz.crls.store.MAX_GIVEN", 3)
    for name in range(2):
        await scene.take(scoped(name, 1))
    with pytest.raises(FetchFailed) as caught:
        await scene.take(scoped(2, 1))
    assert (caught.value.kind, len(scene.registry)) == (FailureKind.TOO_MANY, 3)
    assert await scene.take(scoped(1, 2)) == (True, "")
    assert await scene.take(scoped(2, 1), replace(ORIGIN, url="http://other.example.test/")) == (True, "")
    assert len(scene.registry) == 4


async def test_delta_goes_with_the_complete_crl_that_replaces_it(scene: Scene) -> None:
    """On disk, too."""
    base = int(Crl(OLD).number or 0)
    delta = crl(number=2, hours=2, extensions=[(x509.DeltaCRLIndicator(base), True)])
    assert await scene.take(delta) == (True, "")
    assert scene.held() == sha256(OLD, delta)
    assert await scene.take(crl(number=3, hours=1)) == (True, "")
    assert (len(scene.registry), len(list(scene.keep.folder.glob("*.crl")))) == (1, 1)


async def test_copy_that_is_not_needed_goes_from_memory_and_disk_unless_something_newer_came(scene: Scene) -> None:
    """And its signer with the last of its CRLs."""
    before = list(scene.registry)
    assert list(scene.registry.signers) == [spki(CA)]
    await scene.take(NEW)
    await scene.registry.let_go(before)
    assert scene.held() == sha256(NEW)
    await scene.registry.let_go(list(scene.registry))
    assert (scene.held(), list(scene.registry.signers)) == ([], [])
    assert list(scene.keep.folder.glob("*.crl")) == list(scene.keep.folder.glob("*.json")) == []


async def test_nothing_older_takes_the_place_of_a_copy_that_was_let_go(scene: Scene) -> None:
    """After a restart neither; the same comes back, and what is newer does."""
    await scene.take(NEW)
    await scene.registry.let_go(list(scene.registry))
    for _ in range(2):
        with pytest.raises(FetchFailed) as caught:
            await scene.take(OLD)
        assert (caught.value.kind, scene.held()) == (FailureKind.OLDER, [])
        await scene.restart()
    assert await scene.take(NEW) == (True, "")
    assert await scene.take(crl(number=3, hours=0.5)) == (True, "")


async def test_older_delta_takes_no_place_of_one_that_was_let_go_whatever_its_base(scene: Scene) -> None:
    """As while it was held: deltas of one issuer, key and scope are ordered together."""
    newer, older = (
        crl(number=number, hours=9 - number, extensions=[(x509.DeltaCRLIndicator(base), True)])
        for number, base in ((6, 3), (5, 2))
    )
    await scene.take(newer)
    await scene.registry.let_go(list(scene.registry))
    with pytest.raises(FetchFailed) as caught:
        await scene.take(older)
    assert caught.value.kind is FailureKind.OLDER
    assert await scene.take(OLD) == (True, "")


async def test_tombstone_lasts_as_long_as_the_copy_would_have(scene: Scene) -> None:
    """The older CRL has expired long before, or counts for what it says."""
    await scene.take(NEW)
    await scene.registry.let_go(list(scene.registry))
    expired = NOW + timedelta(days=6) + FORGET_AFTER
    await scene.restart(expired)
    with pytest.raises(FetchFailed):
        await scene.take(OLD)
    await scene.restart(expired + timedelta(seconds=1))
    assert await scene.take(OLD) == (True, "")


async def test_copy_stays_while_it_cannot_be_kept_that_it_was_held(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk must not open the way for an older one."""

    def full(*_: object) -> None:
        raise DiskStoreFailed("it is full")

    with monkeypatch.context() as patch:
        patch.setattr(CrlDiskStore, "bury", full)
        await scene.registry.let_go(list(scene.registry))
    assert scene.held() == sha256(OLD)
    assert scene.warnings == ["it is full; what is not needed any more stays until they can"]


@pytest.mark.parametrize("noted", [False, True], ids=["put", "noted since"])
async def test_nothing_older_takes_the_place_of_a_copy_that_was_set_aside(scene: Scene, *, noted: bool) -> None:
    """Its sidecar remembers what it was; the same CRL is taken again."""
    await scene.take(NEW)
    if noted:
        await scene.registry.touch(URL, ORIGIN)
    scene.file().write_bytes(b"damaged")
    await scene.restart()
    assert (scene.held(), scene.file("*.corrupt").read_bytes()) == ([], b"damaged")
    await scene.restart()
    with pytest.raises(FetchFailed) as caught:
        await scene.take(OLD)
    assert caught.value.kind is FailureKind.OLDER
    assert await scene.take(NEW) == (True, "")


async def test_what_comes_while_its_kept_copy_waits_to_be_read_waits_with_it(scene: Scene) -> None:
    """And goes not back against it; what has no copy there waits for nothing."""
    await scene.take(NEW)
    scene.keep.close()
    scene.start()
    await scene.registry.look_through(NOW)
    older = asyncio.create_task(scene.take(OLD))
    (scene.folder / "other").write_bytes(of_root := crl(ROOT))
    key = Certificate.parse(ROOT.der).spki_der
    other = SignedCrl(Crl(of_root), spki(ROOT))
    assert await scene.registry.accept(scene.folder / "other", other, replace(ORIGIN, signer=key), NOW) == (
        True,
        "",
    )
    assert (older.done(), scene.held()) == (False, sha256(of_root))
    await scene.registry.read(scene.authorities, NOW)
    with pytest.raises(FetchFailed) as caught:
        await older
    assert (caught.value.kind, scene.held()) == (FailureKind.OLDER, sha256(of_root, NEW))
    assert [one.crl.sha256 for one in scene.registry.read_lately()] == sha256(NEW)
    assert scene.registry.read_lately() == []


async def test_complete_crl_answers_after_a_restart_only_with_its_delta(scene: Scene) -> None:
    """What the delta lists would be good meanwhile."""
    await scene.take(crl(number=2, hours=2, extensions=[(x509.DeltaCRLIndicator(1), True)]))
    scene.keep.close()
    scene.start()
    seen: list[int] = []
    mark = scene.keep.mark
    scene.keep.mark = lambda kept: (seen.append(len(scene.registry)), mark(kept))[1]  # type: ignore[method-assign]
    await read_kept(scene.registry, scene.authorities, NOW)
    assert (seen, len(scene.registry)) == ([0, 0], 2)


UNREADABLE = [(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)]
OVER = {"hours": 1, "next_update": NOW - timedelta(minutes=1)}


@pytest.mark.parametrize("more", [{"extensions": UNREADABLE}, OVER])
async def test_evidence_is_held_beside_the_good_one_across_restarts(scene: Scene, more: dict[str, Any]) -> None:
    """Until a newer complete CRL comes; given again it changes nothing."""
    evidence = crl(CA, 0x77, number=2, **more)
    assert await scene.take(evidence) == (True, "")
    assert await scene.take(evidence) == (False, "")
    for _ in range(2):
        await scene.restart()
        assert scene.held() == sha256(OLD, evidence)
        assert {copy.crl.sha256 for copy in scene.registry if not copy.crl.unusable} == set(sha256(OLD))
        assert [copy.crl.sha256 for copy in answering(scene.registry)] == sha256(OLD)
    newer = crl(number=3, hours=0.5)
    assert await scene.take(newer) == (True, "")
    assert scene.held() == sha256(newer)
    assert scene.file().read_bytes() == newer


async def test_evidence_is_not_forgotten_for_its_age(scene: Scene) -> None:
    """The good one beside it may run for years."""
    good = crl(number=2, hours=1, next_update=NOW + 9 * FORGET_AFTER)
    evidence = crl(CA, 0x77, number=3, hours=0.5, next_update=NOW + timedelta(days=1), extensions=UNREADABLE)
    for der in (good, evidence):
        await scene.take(der)
    await scene.restart(NOW + 2 * FORGET_AFTER)
    assert scene.held() == sha256(good, evidence)


async def test_evidence_of_ever_new_scopes_is_bounded(scene: Scene) -> None:
    """One source gives CRLs of so many scopes, whether they can be used or not."""
    for number in range(MAX_GIVEN - 1):
        await scene.take(crl(extensions=[*UNREADABLE, scope(number)]))
    with pytest.raises(FetchFailed) as caught:
        await scene.take(crl(extensions=[*UNREADABLE, scope(99)]))
    assert caught.value.kind is FailureKind.TOO_MANY
    assert await scene.take(crl(number=2, hours=1, extensions=[*UNREADABLE, scope(0)])) == (True, "")


def scope(number: int) -> tuple[x509.ExtensionType, bool]:
    """An issuing distribution point of that number."""
    name = x509.UniformResourceIdentifier(f"http://crl.example.test/{number}")
    return x509.IssuingDistributionPoint([name], None, False, False, None, False, False), True
