"""The copies on disk: whole or not at all, whatever is killed or full; and never believed too much."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import io
import json
import os
import random
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.crl_writer_script import NAME, body
from support.process_kill import Writers

from authz.crls.disk_store import (
    MAX_CORRUPT,
    MAX_WHY,
    TEMPORARY,
    CrlDiskStore,
    DiskCopy,
    DiskStoreFailed,
    FetchRecord,
    copy_name,
)
from authz.errors import ConfigError

ROOT = Path(__file__).parents[2]
FETCHED = datetime(2026, 6, 1, 12, tzinfo=UTC)
ORIGIN = FetchRecord("http://crl.example.com/ca.crl", '"v1"', "Mon, 01 Jun 2026 11:00:00 GMT", FETCHED)


@pytest.fixture
def keep(tmp_path: Path) -> Iterator[CrlDiskStore]:
    """A keep in a folder that was not there."""
    with CrlDiskStore(tmp_path / "below" / "crls") as made:
        yield made


def put(keep: CrlDiskStore, data: bytes = b"crl", *, name: str = "ca", origin: FetchRecord | None = ORIGIN) -> Path:
    """Keep these octets."""
    return keep.put(name, io.BytesIO(data), origin)


def again(keep: CrlDiskStore) -> CrlDiskStore:
    """The same folder, by a service that was started anew."""
    keep.close()
    return CrlDiskStore(keep.folder)


def contents(keep: CrlDiskStore) -> dict[str, bytes]:
    """What the keep gives back."""
    return {one.name: one.path.read_bytes() for one in keep.load()}


def files(keep: CrlDiskStore) -> set[str]:
    """The names of all files but the lock."""
    return {one.name for one in keep.folder.iterdir()} - {".lock"}


def test_copy_is_there_after_a_restart(keep: CrlDiskStore) -> None:
    """With where it came from."""
    path = put(keep, b"one")
    with again(keep) as fresh:
        assert fresh.load() == [DiskCopy("ca", path)]
        assert path.read_bytes() == b"one"
        assert fresh.origin("ca") == ORIGIN
        put(fresh, b"two", name="other", origin=None)
        assert contents(fresh) == {"ca": b"one", "other": b"two"}
        assert fresh.origin("other") is None


def test_origin_remembers_that_an_operator_named_it(keep: CrlDiskStore) -> None:
    """A sidecar of an earlier version does not say so, and neither does one that says anything else."""
    put(keep, origin=dataclasses.replace(ORIGIN, named=True))
    assert keep.origin("ca") == dataclasses.replace(ORIGIN, named=True)
    sidecar = keep.folder / "ca.json"
    told = json.loads(sidecar.read_text())
    for odd in ({**told, "named": "yes"}, {key: value for key, value in told.items() if key != "named"}):
        sidecar.write_text(json.dumps(odd))
        assert keep.origin("ca") == ORIGIN


def test_newer_copy_takes_the_place_of_the_older(keep: CrlDiskStore) -> None:
    """Under the same name, of any size."""
    put(keep, b"old" * 1_000_000)
    put(keep, b"new")
    assert contents(keep) == {"ca": b"new"}
    assert files(keep) == {"ca.crl", "ca.json"}


def test_copy_without_an_origin_forgets_the_one_before(keep: CrlDiskStore) -> None:
    """It came from somewhere else."""
    put(keep)
    put(keep, origin=None)
    assert files(keep) == {"ca.crl"}


def test_empty_copy_is_not_kept(keep: CrlDiskStore) -> None:
    """Nothing never replaces something."""
    put(keep)
    with pytest.raises(DiskStoreFailed, match="copy before it stays: it is empty"):
        put(keep, b"")
    assert contents(keep) == {"ca": b"crl"}
    assert files(keep) == {"ca.crl", "ca.json"}


def test_files_and_folder_are_private(keep: CrlDiskStore) -> None:
    """0600 and 0700, whatever the umask."""
    previous = os.umask(0)
    try:
        put(keep)
    finally:
        os.umask(previous)
    modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in keep.folder.iterdir()}
    assert modes == {"ca.crl": 0o600, "ca.json": 0o600, ".lock": 0o600}
    assert stat.S_IMODE(keep.folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["", "..", "a/b", "a.b", ".tmp-x", "a\n", "ä", "a" * 101])
def test_name_that_could_lead_elsewhere_is_an_error_of_the_caller(keep: CrlDiskStore, name: str) -> None:
    """Names are made by `copy_name`."""
    with pytest.raises(ValueError, match="not a name"):
        put(keep, name=name)


def test_name_is_of_issuer_key_scope_and_kind() -> None:
    """Each of them makes another one, and none flows into the next."""
    names = {
        copy_name(b"issuer", b"key", b"scope", delta=False),
        copy_name(b"issuer", b"key", b"scope", delta=True),
        copy_name(b"issuer", b"key", b"", delta=False),
        copy_name(b"issuer", b"keys", b"cope", delta=False),
        copy_name(b"issue", b"rkey", b"scope", delta=False),
    }
    assert len(names) == 5
    assert {len(one) for one in names} == {64}


def test_other_files_are_left_alone(keep: CrlDiskStore) -> None:
    """A folder, a link, a name of another kind: not ours."""
    put(keep)
    (keep.folder / "folder.crl").mkdir()
    (keep.folder / "link.crl").symlink_to("ca.crl")
    (keep.folder / "a name.crl").write_bytes(b"x")
    (keep.folder / "readme.txt").write_bytes(b"x")
    with again(keep) as fresh:
        assert contents(fresh) == {"ca": b"crl"}
        assert {"folder.crl", "link.crl", "a name.crl", "readme.txt"} < files(fresh)


def test_unfinished_files_are_removed_at_the_start(keep: CrlDiskStore) -> None:
    """What a killed writer, or a killed fetch, left; what cannot be removed does no harm."""
    put(keep)
    (keep.folder / f"{TEMPORARY}x").write_bytes(b"half")
    (keep.folder / f"{TEMPORARY}folder").mkdir()
    with again(keep) as fresh:
        assert files(fresh) == {"ca.crl", "ca.json", f"{TEMPORARY}folder"}


def test_folder_that_vanished_is_reported(keep: CrlDiskStore) -> None:
    """Somebody tidied up."""
    (keep.folder / ".lock").unlink()
    keep.folder.rmdir()
    with pytest.raises(DiskStoreFailed, match="cannot be listed"):
        keep.load()
    with pytest.raises(DiskStoreFailed, match="cannot be kept"):
        put(keep)


# The source of a copy: a hint, and only for the very copy held.


def test_origin_of_another_body_is_ignored(keep: CrlDiskStore) -> None:
    """A stale ETag would hide a new CRL for ever."""
    path = put(keep)
    path.write_bytes(b"changed behind our back")
    assert keep.origin("ca") is None


def test_origin_is_noted_anew(keep: CrlDiskStore) -> None:
    """The server said that nothing changed, and gave another tag."""
    put(keep)
    newer = FetchRecord("https://other.example/", None, None, datetime(2026, 6, 2, tzinfo=UTC))
    keep.note("ca", newer)
    assert keep.origin("ca") == newer
    assert contents(keep) == {"ca": b"crl"}


def test_origin_of_a_copy_that_is_not_there_cannot_be_noted(keep: CrlDiskStore) -> None:
    """There is nothing it would belong to."""
    with pytest.raises(DiskStoreFailed, match="cannot be kept"):
        keep.note("ca", ORIGIN)
    assert keep.origin("ca") is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: b"",
        lambda _: b"\xff\xfe",
        lambda _: b"[" * 60_000,
        lambda _: b"[]",
        lambda _: b"null",
        lambda told: json.dumps({**told, "etag": 1}).encode(),
        lambda told: json.dumps({**told, "url": None}).encode(),
        lambda told: json.dumps({**told, "last_modified": []}).encode(),
        lambda told: json.dumps({**told, "sha256": "00"}).encode(),
        lambda told: json.dumps({**told, "fetched_at": "yesterday"}).encode(),
        lambda told: json.dumps({**told, "fetched_at": "2026-06-01T12:00:00"}).encode(),
        lambda told: json.dumps({**told, "fetched_at": None}).encode(),
        lambda told: json.dumps({key: told[key] for key in told if key != "url"}).encode(),
        lambda told: json.dumps(told).encode() + b" " * 70_000 + b"x",
        lambda told: json.dumps({**told, "etag": "x" * 70_000}).encode(),
    ],
)
def test_origin_that_cannot_be_read_is_absent(keep: CrlDiskStore, spoil: Callable[[dict[str, object]], bytes]) -> None:
    """The copy is fetched whole next time."""
    put(keep)
    sidecar = keep.folder / "ca.json"
    assert keep.origin("ca") == ORIGIN
    sidecar.write_bytes(spoil(json.loads(sidecar.read_bytes())))
    if sidecar.stat().st_size < 70_000 or b"xx" in sidecar.read_bytes():
        assert keep.origin("ca") is None
    assert contents(keep) == {"ca": b"crl"}


# What cannot be used is set aside.


def test_corrupt_copy_is_set_aside_with_the_reason(keep: CrlDiskStore) -> None:
    """It is not loaded again, and a new one may take its place; the reason is safe to show."""
    put(keep, b"bad")
    keep.set_aside("ca", "crl_malformed\x1b[2J\n" + "x" * 5_000)
    assert keep.load() == []
    assert (keep.folder / "ca.corrupt").read_bytes() == b"bad"
    why = (keep.folder / "ca.why").read_text(encoding="utf-8")
    assert why.startswith("crl_malformed\\u001b")
    assert len(why) < MAX_WHY + 20
    assert keep.origin("ca") is None
    put(keep, b"good")
    assert contents(keep) == {"ca": b"good"}


def test_only_the_newest_corrupt_copies_are_kept(keep: CrlDiskStore) -> None:
    """A disk that goes bad does not fill itself."""
    for number in range(MAX_CORRUPT + 5):
        put(keep, name=f"n{number:02}")
        keep.set_aside(f"n{number:02}", "bad")
    kept = {name.removesuffix(".corrupt") for name in files(keep) if name.endswith(".corrupt")}
    assert len(kept) == MAX_CORRUPT
    assert f"n{MAX_CORRUPT + 4:02}" in kept
    assert files(keep) == {f"{name}{suffix}" for name in kept for suffix in (".corrupt", ".why")}


def test_corrupt_copies_are_bounded_in_octets(keep: CrlDiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is for those that answer; of one that is too large the reason goes, too."""
    monkeypatch.setattr("authz.crls.disk_store.MAX_ASIDE_BYTES", 10)
    for name, octets in (("a", 4), ("b", 5), ("c", 6)):
        put(keep, bytes(octets), name=name)
        keep.set_aside(name, "damaged")
        time.sleep(0.02)
    assert [one.stem for one in keep.folder.glob("*.corrupt")] == ["c"]
    put(keep, bytes(11), name="d")
    keep.set_aside("d", "damaged")
    assert list(keep.folder.glob("*.corrupt")) == []


def test_copy_that_is_gone_cannot_be_set_aside(keep: CrlDiskStore) -> None:
    """Reported, since another program was at the folder."""
    with pytest.raises(DiskStoreFailed, match="cannot be set aside"):
        keep.set_aside("ca", "bad")


def test_removed_copy_is_gone(keep: CrlDiskStore) -> None:
    """With its origin; to remove what is not there is no error."""
    put(keep)
    keep.remove("ca")
    keep.remove("ca")
    assert files(keep) == set()


def test_copy_that_cannot_be_removed_is_reported(keep: CrlDiskStore) -> None:
    """A folder in its place, say."""
    (keep.folder / "ca.crl").mkdir()
    with pytest.raises(DiskStoreFailed, match="cannot be removed"):
        keep.remove("ca")


# One process, one folder, nobody else.


def test_folder_has_one_owner(keep: CrlDiskStore) -> None:
    """A second service is informed, and the first is not disturbed."""
    put(keep)
    with pytest.raises(ConfigError, match="another process keeps its CRLs") as error:
        CrlDiskStore(keep.folder)
    assert error.value.hint
    assert contents(keep) == {"ca": b"crl"}


def test_folder_others_may_write_to_is_refused(tmp_path: Path) -> None:
    """A user who writes there could bring back an old CRL."""
    for mode in (0o770, 0o702, 0o1777):
        tmp_path.chmod(mode)
        with pytest.raises(ConfigError, match="others may write") as error:
            CrlDiskStore(tmp_path)
        assert error.value.hint
    tmp_path.chmod(0o755)
    CrlDiskStore(tmp_path).close()


def test_folder_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner may write, whatever its mode says."""
    tmp_path.chmod(0o700)
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(ConfigError, match="others may write"):
        CrlDiskStore(tmp_path)


def test_folder_that_cannot_be_made_is_an_error_of_the_operator(tmp_path: Path) -> None:
    """A file in its place, and a lock that is a link."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match="cannot be kept in") as error:
        CrlDiskStore(tmp_path / "file" / "crls")
    assert error.value.hint
    tmp_path.chmod(0o700)
    (tmp_path / ".lock").symlink_to("file")
    with pytest.raises(ConfigError, match="cannot be kept in"):
        CrlDiskStore(tmp_path)


def test_folder_without_locks_is_an_error_of_the_operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems over the network have none."""

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    tmp_path.chmod(0o700)
    monkeypatch.setattr("authz.crls.disk_store.fcntl.flock", no_locks)
    with pytest.raises(ConfigError, match="No locks available"):
        CrlDiskStore(tmp_path)


# Full and failing disks.


@contextlib.contextmanager
def small_disk(path: Path, size: str) -> Iterator[Path]:
    """A real file system of this size; skips the test where it may not be mounted."""
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(path)]
    try:
        refused = os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode
    except OSError:
        refused = True
    if refused:
        pytest.skip("no right to mount a file system")
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)


def test_full_disk_leaves_the_old_copy(tmp_path: Path) -> None:
    """A real one: the error is reported with what to do, nothing is left over, and with room again it works."""
    with small_disk(tmp_path / "disk", "256k") as disk, CrlDiskStore(disk) as keep:
        put(keep, b"old" * 10_000)
        with pytest.raises(DiskStoreFailed, match="copy before it stays: No space left on device") as error:
            put(keep, b"new" * 200_000)
        assert "room" in error.value.hint
        assert contents(keep) == {"ca": b"old" * 10_000}
        assert keep.origin("ca") == ORIGIN
        assert files(keep) == {"ca.crl", "ca.json"}
        put(keep, b"new" * 10_000)
        assert contents(keep) == {"ca": b"new" * 10_000}


FAILURES = pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])


def failing(code: int, *, after: int = 0) -> Callable[..., int]:
    """A system call that fails, after some that did not (one octet each, where it is a write)."""
    calls = iter(range(after))

    def call(descriptor: int, data: bytes | memoryview = b"") -> int:
        if next(calls, None) is None:
            raise OSError(code, os.strerror(code))
        return real_write(descriptor, bytes(data[:1])) if data else 0

    return call


real_write = os.write


@FAILURES
@pytest.mark.parametrize("call", ["write", "fsync"])
def test_failing_disk_leaves_the_old_copy(
    keep: CrlDiskStore, monkeypatch: pytest.MonkeyPatch, code: int, call: str
) -> None:
    """At the first octet, after some, or when they are to be on the disk."""
    put(keep, b"old")
    for after in (0, 2) if call == "write" else (0,):
        with monkeypatch.context() as patch:
            patch.setattr(os, call, failing(code, after=after))
            with pytest.raises(DiskStoreFailed, match="copy before it stays") as error:
                put(keep, b"newer")
        assert os.strerror(code) in str(error.value)
        assert bool(error.value.hint) is (code != errno.EIO)
        assert contents(keep) == {"ca": b"old"}
        assert keep.origin("ca") == ORIGIN
        assert files(keep) == {"ca.crl", "ca.json"}


@FAILURES
def test_failing_folder_is_reported_and_the_new_copy_is_whole(
    keep: CrlDiskStore, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """It is renamed, and only a power failure could undo that; the stale origin is not believed."""
    put(keep, b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(code, after=1))
        with pytest.raises(DiskStoreFailed, match="may not survive"):
            put(keep, b"newer")
    assert contents(keep) == {"ca": b"newer"}
    assert keep.origin("ca") is None


@FAILURES
def test_failing_sidecar_is_reported_and_the_new_copy_is_kept(
    keep: CrlDiskStore, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """The next fetch is a whole one."""
    put(keep, b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(code, after=2))
        with pytest.raises(DiskStoreFailed, match="is kept, but not what to ask"):
            put(keep, b"newer")
    assert contents(keep) == {"ca": b"newer"}
    assert keep.origin("ca") is None
    assert files(keep) == {"ca.crl", "ca.json"}


def test_reason_that_cannot_be_written_is_reported_and_the_copy_is_set_aside(
    keep: CrlDiskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk does not bring a corrupt copy back."""
    put(keep)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", failing(errno.ENOSPC))
        with pytest.raises(DiskStoreFailed, match="set aside, but not why"):
            keep.set_aside("ca", "bad")
    assert files(keep) == {"ca.corrupt"}


def test_octets_written_in_pieces_are_all_written(keep: CrlDiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system may take fewer than it is given."""
    monkeypatch.setattr(os, "write", failing(errno.EIO, after=10_000))
    put(keep, b"in small pieces")
    monkeypatch.undo()
    assert contents(keep) == {"ca": b"in small pieces"}
    assert keep.origin("ca") == ORIGIN


# kill -9.


@pytest.fixture
def writers() -> Iterator[Writers]:
    """Writers to kill."""
    made = Writers(ROOT / "tests" / "support" / "crl_writer_script.py")
    yield made
    made.close()


@pytest.mark.slow
def test_killed_writer_leaves_the_newest_whole_copy(writers: Writers, tmp_path: Path) -> None:
    """Fifty times, at random moments: what was reported as installed is there, or its successor, never half of it."""
    folder = tmp_path / "crls"
    chance = random.Random()
    last = -1
    for _ in range(50):
        last = writers.killed(folder, str(last + 1), last, after=chance.randrange(3), pause=chance.random() / 100)
        with CrlDiskStore(folder) as keep:
            kept = contents(keep)
            if last < 0 and not kept:
                continue
            number = int(kept[NAME].partition(b"\n")[0])
            assert number in {last, last + 1}
            assert kept[NAME] == body(number)
            origin = keep.origin(NAME)
            assert origin is None or origin.url == str(number)
            assert files(keep) <= {f"{NAME}.crl", f"{NAME}.json"}
            last = number


def test_who_met_what_is_there_after_a_restart(keep: CrlDiskStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no copy; and when it cannot be written, what was there before stays."""
    assert keep.remembered() == b""
    keep.remember(b"one")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(DiskStoreFailed, match="who met which CRL"):
            keep.remember(b"two")
    with again(keep) as fresh:
        assert (fresh.remembered(), fresh.load()) == (b"one", [])
